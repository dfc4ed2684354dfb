//! The loop: whoever is due asks, while connections are free.
//!
//! One task owns all visitors and the books; requests run as tasks of their own and come back with what was heard. So nothing is
//! locked, and a hundred thousand who wait are entries in a heap.

use std::future::Future;
use std::time::Duration;

use fastrand::Rng;
use http::HeaderValue;
use tidegate_core::time::{Micros, Timestamp};
use tidegate_engine::{Clock, SystemClock};
use tidegate_wire::room::seat::RoomStatus;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::agenda::Agenda;
use super::asking::{Asking, Call, Heard};
use super::books::Tally;
use super::jar::Jar;
use super::plan::{NodeError, Plan, ShareError};
use super::progress::Progress;
use super::report::{Report, Run};
use super::visitor::Visitor;

/// How often the room is asked about itself, and the bar is drawn.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How many visitors may do something before answers are heard again.
const MOST_AT_ONCE: usize = 64;

/// Why a crowd cannot come.
#[derive(Debug, thiserror::Error)]
pub enum CrowdError {
    /// Habits contradict one another.
    #[error(transparent)]
    Habits(#[from] ShareError),
    /// An address is none.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// TLS cannot be checked.
    #[error("the system's certificates, which https:// needs, cannot be read: {0}")]
    Certificates(std::io::Error),
    /// Times cannot be measured.
    #[error("times cannot be measured: {0}")]
    Times(#[from] hdrhistogram::CreationError),
    /// A request panicked, which is a mistake in this program.
    #[error("a request could not be made: {0}")]
    Request(#[from] JoinError),
}

/// What came of a request.
enum Done {
    Asked { visitor: u32, call: Call, sent_at: Timestamp, heard: Heard, cookies: Vec<HeaderValue> },
    Looked(Option<RoomStatus>),
}

struct Crowd<'p> {
    plan: &'p Plan,
    clock: SystemClock,
    random: Rng,
    asking: Asking,
    visitors: Vec<Visitor>,
    start: Timestamp,
    /// How many have come.
    came: u32,
    agenda: Agenda,
    under_way: JoinSet<Done>,
    /// How many of them are of visitors, and whether one looks at the room.
    asked: usize,
    is_looking: bool,
    gone: u64,
    tally: Tally,
}

/// Sends a crowd, until all are gone, the time is over or `stop` is.
///
/// # Errors
/// [`CrowdError`]. A server that does not answer is none: that is in the report.
pub async fn run(
    plan: &Plan,
    stop: impl Future<Output = ()>,
    progress: &mut Progress,
) -> Result<Report, CrowdError> {
    plan.habits.check()?;
    let clock = SystemClock::new();
    let start = clock.now();
    let mut crowd = Crowd::new(plan, clock, start)?;
    let end = start.saturating_add(plan.at_most);
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop = std::pin::pin!(stop);
    while !crowd.is_over() {
        let now = crowd.clock.now();
        if now >= end {
            break;
        }
        let next = crowd.start_due(now).min(end);
        tokio::select! {
            biased;
            Some(done) = crowd.under_way.join_next(), if !crowd.under_way.is_empty() => {
                crowd.hear(done?);
                while let Some(done) = crowd.under_way.try_join_next() {
                    crowd.hear(done?);
                }
            }
            () = &mut stop => break,
            _ = look.tick() => {
                crowd.look();
                progress.update(&crowd.so_far(start));
            }
            () = sleep(next.since(now).into()) => {}
        }
    }
    progress.finish();
    crowd.under_way.abort_all();
    let seconds = crowd.clock.now().since(start).as_micros() as f64 / 1e6;
    let records = crowd.visitors.iter().map(|visitor| &visitor.record);
    Ok(Report::new(plan, seconds, &records, &crowd.tally)?)
}

impl<'p> Crowd<'p> {
    fn new(plan: &'p Plan, clock: SystemClock, start: Timestamp) -> Result<Self, CrowdError> {
        let mut random = Rng::with_seed(plan.seed);
        let visitors =
            (0..plan.visitors).map(|visitor| Visitor::new(plan, comes_at(plan, start, visitor), &mut random));
        let visitors = visitors.collect();
        Ok(Self {
            plan,
            clock,
            random,
            asking: Asking::new(plan)?,
            visitors,
            start,
            came: 0,
            agenda: Agenda::default(),
            under_way: JoinSet::new(),
            asked: 0,
            is_looking: false,
            gone: 0,
            tally: Tally::new()?,
        })
    }

    fn is_over(&self) -> bool {
        self.agenda.is_empty() && self.asked == 0 && self.came == self.plan.visitors
    }

    /// Lets those ask who are due, as far as connections are free; when to come again.
    fn start_due(&mut self, now: Timestamp) -> Timestamp {
        for _ in 0..MOST_AT_ONCE {
            if self.asked >= self.plan.connections as usize {
                return Timestamp::MAX;
            }
            let Some((wanted, visitor)) = self.agenda.due(now).or_else(|| self.arrival(now)) else {
                let next = self.next_arrival().map_or(Timestamp::MAX, |(at, _)| at);
                return self.agenda.next().map_or(next, |at| at.min(next));
            };
            self.tally.late.note(now.since(wanted));
            self.start(visitor, now);
        }
        now
    }

    /// Who comes next, and when.
    fn next_arrival(&self) -> Option<(Timestamp, u32)> {
        (self.came < self.plan.visitors).then(|| (comes_at(self.plan, self.start, self.came), self.came))
    }

    /// Somebody who comes now. Those who are there go first: where this program cannot keep up, fewer come, and nobody is kept from
    /// asking in time.
    fn arrival(&mut self, now: Timestamp) -> Option<(Timestamp, u32)> {
        let arrival = self.next_arrival().filter(|(at, _)| *at <= now)?;
        self.came += 1;
        Some(arrival)
    }

    fn start(&mut self, index: u32, now: Timestamp) {
        let visitor = &mut self.visitors[index as usize];
        let Some(call) = visitor.ask(now, &mut self.random) else {
            self.gone += 1;
            visitor.jar = Jar::default();
            return;
        };
        let node = self.random.usize(..self.plan.nodes.len());
        let cookies = visitor.jar.line().cloned();
        let (asking, clock) = (self.asking.clone(), self.clock.clone());
        self.asked += 1;
        self.under_way.spawn(async move {
            // Here, and not where it was wanted: nothing was sent before.
            let sent_at = clock.now();
            let (heard, cookies) = asking.ask(node, call, cookies).await;
            Done::Asked { visitor: index, call, sent_at, heard, cookies }
        });
    }

    fn hear(&mut self, done: Done) {
        let now = self.clock.now();
        let (index, call, sent_at, heard, cookies) = match done {
            Done::Asked { visitor, call, sent_at, heard, cookies } => {
                (visitor, call, sent_at, heard, cookies)
            }
            Done::Looked(status) => {
                self.is_looking = false;
                if let Some(status) = status {
                    self.tally.looked(status.active, status.capacity);
                }
                return;
            }
        };
        self.asked -= 1;
        self.tally.heard(call, &heard, now.since(sent_at));
        if let Heard::Seat(seat) = &heard
            && let Some(number) = seat.queue_number
        {
            self.tally.numbered(number, index);
        }
        let visitor = &mut self.visitors[index as usize];
        cookies.iter().for_each(|cookie| visitor.jar.keep(cookie));
        visitor.hear(call, &heard, sent_at, now, &mut self.tally);
        match visitor.next() {
            Some(next) => self.agenda.put(next, index),
            None => {
                self.gone += 1;
                // Nobody needs its cookies any more.
                visitor.jar = Jar::default();
            }
        }
    }

    /// Asks a node about the room, one at a time.
    fn look(&mut self) {
        if std::mem::replace(&mut self.is_looking, true) {
            return;
        }
        let node = self.random.usize(..self.plan.nodes.len());
        let asking = self.asking.clone();
        self.under_way.spawn(async move { Done::Looked(asking.status(node).await) });
    }

    fn so_far(&self, start: Timestamp) -> Run {
        Run {
            seconds: self.clock.now().since(start).as_micros() as f64 / 1e6,
            requests: self.tally.requests,
            errors: self.tally.errors.values().sum(),
            numbers: self.tally.numbers(),
            gone: self.gone,
        }
    }
}

/// When a visitor comes, if this program can keep up.
fn comes_at(plan: &Plan, start: Timestamp, visitor: u32) -> Timestamp {
    let after = u64::from(visitor) * 1_000_000 / u64::from(plan.arrivals_per_s.max(1));
    start.saturating_add(Micros::from_micros(after))
}
