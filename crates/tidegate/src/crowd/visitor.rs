//! One visitor: what it does when, and what it makes of an answer. Time, chance and answers are arguments.

use fastrand::Rng;
use http::StatusCode;
use tidegate_core::time::{Micros, Timestamp};
use tidegate_wire::room::seat::{EndedWhy, Seat, Session, Standing};

use super::asking::{Call, Heard};
use super::books::{Finding, Record, Tally};
use super::jar::Jar;
use super::plan::{FirstCall, Habits, Plan};

#[cfg(test)]
mod tests;

/// The first wait after a request that failed; it doubles with each that fails after it.
const FIRST_RETRY: Micros = Micros::from_millis(250);
/// It doubles so often.
const MAX_DOUBLINGS: u8 = 4;
/// Whoever asks later than it was told by less than this has asked as told, and by less than the interval that it was told.
const MIN_GRACE: Micros = Micros::from_secs(1);
const MAX_GRACE: Micros = Micros::from_secs(5);
/// A page asks so long after a session was to end, to say what became of it.
const AFTER_THE_END: Micros = Micros::from_millis(100);
/// Clocks may differ by so much where it is asked whether a session was over.
const SLACK: Micros = Micros::from_secs(1);

/// Somebody who comes.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) jar: Jar,
    pub(super) record: Record,
    habit: Habit,
    stage: Stage,
    /// When it asks next.
    asks_at: Timestamp,
    /// When it was told to ask, and how much later is still as told.
    due: Timestamp,
    grace: Micros,
    /// Whether it asked later than that: what becomes of its place then is its own fault.
    is_late: bool,
    /// Requests that failed since the last answer.
    failures: u8,
    /// When it has enough.
    goes_at: Option<Timestamp>,
    /// When its session is to end, by its own clock.
    session_ends_at: Timestamp,
}

/// Where it believes to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has no place yet.
    Outside,
    Waiting,
    Ready,
    Inside,
    Gone,
}

/// What it is like.
#[derive(Clone, Copy, Debug)]
struct Habit {
    first: FirstCall,
    in_line: Way,
    inside: Way,
    claims: bool,
    patience: Micros,
    stay: Micros,
    reloads_percent: u8,
}

/// How it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// When it is told to.
    Stays,
    /// It says so.
    Leaves,
    /// Its page says so.
    Closes,
    /// Nobody hears of it.
    Vanishes,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum End {
    LeftLine,
    VanishedFromLine,
    Unclaimed,
    Left,
    Closed,
    Vanished,
    SessionOver,
    /// The operator, or whoever had its cookie, ended it.
    SentAway,
    Refused,
    /// It was not there in time.
    Late,
    /// It was, and is out all the same.
    Lost,
}

impl Habit {
    fn draw(plan: &Plan, random: &mut Rng) -> Self {
        let Habits { leave_line, vanish_line, leave_inside, close_inside, vanish_inside, .. } = plan.habits;
        let mut way = |shares: [(u8, Way); 3]| {
            let mut drawn = random.u8(..100);
            for (percent, way) in shares {
                if drawn < percent {
                    return way;
                }
                drawn -= percent;
            }
            Way::Stays
        };
        let in_line = way([
            (leave_line.as_percent(), Way::Leaves),
            (vanish_line.as_percent(), Way::Vanishes),
            (0, Way::Stays),
        ]);
        let inside = way([
            (leave_inside.as_percent(), Way::Leaves),
            (close_inside.as_percent(), Way::Closes),
            (vanish_inside.as_percent(), Way::Vanishes),
        ]);
        Self {
            first: plan.first_call,
            in_line,
            inside,
            claims: random.u8(..100) >= plan.habits.unclaimed.as_percent(),
            patience: about(plan.habits.patience, random),
            stay: about(plan.habits.stay, random),
            reloads_percent: plan.habits.reload.as_percent(),
        }
    }
}

/// From half of a time to one and a half of it.
fn about(time: Micros, random: &mut Rng) -> Micros {
    let micros = time.as_micros();
    Micros::from_micros(micros / 2 + random.u64(0..=micros))
}

impl Visitor {
    /// Somebody who comes at that instant.
    pub(super) fn new(plan: &Plan, comes_at: Timestamp, random: &mut Rng) -> Self {
        Self {
            jar: Jar::default(),
            record: Record::default(),
            habit: Habit::draw(plan, random),
            stage: Stage::Outside,
            asks_at: comes_at,
            due: comes_at,
            grace: MIN_GRACE,
            is_late: false,
            failures: 0,
            goes_at: None,
            session_ends_at: comes_at,
        }
    }

    /// When it does something next; `None` once it is gone.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let next = self.goes_at.map_or(self.asks_at, |goes_at| goes_at.min(self.asks_at));
        (self.stage != Stage::Gone).then_some(next)
    }

    /// What it asks now; `None` if it goes without a word.
    pub(super) fn ask(&mut self, now: Timestamp, random: &mut Rng) -> Option<Call> {
        if self.failures == 0 {
            self.is_late = now > self.due.saturating_add(self.grace);
        }
        let has_enough = self.goes_at.is_some_and(|goes_at| goes_at <= now);
        let way = match self.stage {
            Stage::Waiting if has_enough => self.habit.in_line,
            Stage::Inside if has_enough => self.habit.inside,
            _ => Way::Stays,
        };
        match (self.stage, way) {
            (Stage::Gone, _) => None,
            (_, Way::Leaves) => Some(Call::Leave),
            (_, Way::Closes) => Some(Call::Beacon),
            (Stage::Waiting, Way::Vanishes) => self.go(End::VanishedFromLine),
            (_, Way::Vanishes) => {
                self.record.stayed(now);
                self.go(End::Vanished)
            }
            (Stage::Outside, _) if self.habit.first == FirstCall::Page && self.jar.is_empty() => {
                Some(Call::Page)
            }
            (Stage::Outside, _) => Some(Call::Join),
            (Stage::Waiting, _) if random.u8(..100) < self.habit.reloads_percent => Some(Call::Join),
            (Stage::Waiting, _) => Some(Call::Poll),
            (Stage::Ready, _) if self.habit.claims => Some(Call::Claim),
            (Stage::Ready, _) => self.go(End::Unclaimed),
            (Stage::Inside, _) => Some(Call::Heartbeat),
        }
    }

    fn go(&mut self, end: End) -> Option<Call> {
        self.stage = Stage::Gone;
        self.record.end = Some(end);
        None
    }

    /// What it hears at `now` of what it asked at `sent_at`.
    pub(super) fn hear(
        &mut self,
        call: Call,
        heard: &Heard,
        sent_at: Timestamp,
        now: Timestamp,
        tally: &mut Tally,
    ) {
        match heard {
            Heard::Seat(seat) => {
                self.failures = 0;
                self.sit(seat, sent_at, now, tally);
            }
            Heard::Done => {
                self.failures = 0;
                self.done(call, sent_at, now);
            }
            Heard::Refused { status, .. } if *status == StatusCode::GONE => {
                self.failures = 0;
                match call {
                    Call::Leave | Call::Beacon => self.done(call, sent_at, now),
                    _ => self.ended(EndedWhy::Lapsed, now, tally),
                }
            }
            Heard::Refused { status, .. } if *status == StatusCode::CONFLICT && call == Call::Claim => {
                self.failures = 0;
                self.stage = Stage::Waiting;
                self.told(now, Micros::from_secs(1));
            }
            Heard::Refused { retry_after, .. } => self.try_again(now, *retry_after),
            Heard::Failed(_) => self.try_again(now, None),
        }
    }

    fn try_again(&mut self, now: Timestamp, after: Option<Micros>) {
        let usual = FIRST_RETRY.as_micros() << self.failures.min(MAX_DOUBLINGS);
        self.failures = self.failures.saturating_add(1);
        self.asks_at = now.saturating_add(after.unwrap_or_default().max(Micros::from_micros(usual)));
        // It has tried to go: it tries again then, not at once.
        if self.goes_at.is_some_and(|goes_at| goes_at <= now) {
            self.goes_at = Some(self.asks_at);
        }
    }

    /// It was told to ask after this time.
    fn told(&mut self, now: Timestamp, after: Micros) {
        self.due = now.saturating_add(after);
        self.asks_at = self.due;
        self.grace = after.clamp(MIN_GRACE, MAX_GRACE);
    }

    fn done(&mut self, call: Call, sent_at: Timestamp, now: Timestamp) {
        if matches!(call, Call::Leave | Call::Beacon) {
            self.record.stayed(sent_at);
        }
        match (call, self.stage) {
            (Call::Leave, Stage::Waiting) => self.go(End::LeftLine),
            (Call::Leave, _) => self.go(End::Left),
            (Call::Beacon, _) => self.go(End::Closed),
            // The page, and whatever a server says instead of a seat.
            _ => {
                self.told(now, if call == Call::Page { Micros::ZERO } else { MIN_GRACE });
                None
            }
        };
    }

    fn sit(&mut self, seat: &Seat, sent_at: Timestamp, now: Timestamp, tally: &mut Tally) {
        if let Some(number) = seat.queue_number
            && self.record.is_another(number)
        {
            tally.find(if self.is_late { Finding::Late } else { Finding::AnotherNumber });
            self.record.begin_anew();
        }
        match &seat.standing {
            Standing::Waiting => self.wait(seat, sent_at, now, tally),
            Standing::Ready(_) => {
                self.stage = Stage::Ready;
                self.goes_at = None;
                self.record.offered(now);
                self.told(now, Micros::ZERO);
            }
            Standing::Admitted { session, .. } => self.enter(session, now, tally),
            Standing::Ended(why) => self.ended(*why, now, tally),
            Standing::Refused(_) => {
                self.go(End::Refused);
            }
        }
        if let Some(number) = seat.queue_number {
            self.record.numbered(number, now);
        }
    }

    fn wait(&mut self, seat: &Seat, sent_at: Timestamp, now: Timestamp, tally: &mut Tally) {
        match self.stage {
            Stage::Outside if self.habit.in_line != Way::Stays => {
                self.goes_at = Some(now.saturating_add(self.habit.patience));
            }
            Stage::Inside => tally.find(Finding::LostSession),
            _ => {}
        }
        self.stage = Stage::Waiting;
        if self.record.waits(seat.position, sent_at) {
            tally.find(Finding::GrownPosition);
        }
        self.told(now, Micros::from_millis(seat.poll_after_ms));
    }

    fn enter(&mut self, session: &Session, now: Timestamp, tally: &mut Tally) {
        if self.stage != Stage::Inside {
            self.stage = Stage::Inside;
            let goes = self.habit.inside != Way::Stays;
            self.goes_at = goes.then(|| now.saturating_add(self.habit.stay));
        }
        if self.record.inside(session, now) {
            tally.find(Finding::AnotherSession);
        }
        let left = Micros::from_millis(session.left_ms);
        self.session_ends_at = now.saturating_add(left);
        self.told(now, Micros::from_millis(session.heartbeat_ms).min(left.saturating_add(AFTER_THE_END)));
    }

    fn ended(&mut self, why: EndedWhy, now: Timestamp, tally: &mut Tally) {
        let is_over = self.stage == Stage::Inside && now.saturating_add(SLACK) >= self.session_ends_at;
        let end = match why {
            EndedWhy::Left | EndedWhy::ByOperator | EndedWhy::Revoked => End::SentAway,
            _ if is_over => End::SessionOver,
            _ if self.is_late => End::Late,
            _ => End::Lost,
        };
        match end {
            End::Late => tally.find(Finding::Late),
            End::Lost if self.stage == Stage::Inside => tally.find(Finding::LostSession),
            End::Lost => tally.find(Finding::LostPlace),
            _ => {}
        }
        self.go(end);
    }
}
