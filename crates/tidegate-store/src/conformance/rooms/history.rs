//! Random histories: the same commands to a store and to a room of the core, and equal answers.

use fastrand::Rng;
use tidegate_core::room::draw::Seed;
use tidegate_core::room::{
    Answer, Command, EarlyEnd, Flush, Identity, Method, Opening, OpeningOrder, Pass, Prefix, QueueNumber,
    Room, RoomName, RoomState, Settings, Spec, Ticket, Visitor,
};
use tidegate_core::time::{Micros, Timestamp};

use super::{TestClock, name, number_of, seats, settings};
use crate::rooms::{RoomStore, Told};

const VISITORS: u64 = 40;

/// Which history to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Everything random follows from it.
    pub seed: u64,
    /// How many commands.
    pub commands: usize,
}

/// Runs one history in a room of its own.
///
/// # Panics
/// When the store and the core disagree; the message says the history and the command.
pub async fn run_history<S: RoomStore>(store: &S, clock: &TestClock, history: History) {
    let mut random = Rng::with_seed(history.seed);
    let settings = any_settings(&mut random, clock.now());
    let room = name(&format!("history-{}", history.seed));
    assert_eq!(store.put(&room, &settings).await, Ok(Answer::Done));
    let status = store.status(&room).await.expect("the store answers");
    let model = Room::new(settings, status.status.epoch, status.at);
    let mut run = Run {
        store,
        clock,
        room,
        model,
        random,
        tickets: Vec::new(),
        passes: Vec::new(),
        last: String::new(),
    };
    for step in 0..history.commands {
        run.pass_time().await;
        let command = run.any_command(clock.now());
        run.last = format!("{history:?}, command {step}: {command:?}");
        run.ask(&command).await;
        if run.random.u8(..8) == 0 {
            run.compare().await;
        }
    }
    run.compare().await;
}

/// Two states that a room of the core and a store's must answer alike from.
struct Run<'s, S> {
    store: &'s S,
    clock: &'s TestClock,
    room: RoomName,
    model: Room,
    random: Rng,
    tickets: Vec<Ticket>,
    passes: Vec<Pass>,
    /// What was done last, and in which history.
    last: String,
}

impl<S: RoomStore> Run<'_, S> {
    async fn pass_time(&mut self) {
        let millis = match self.random.u8(..10) {
            0..6 => self.random.u64(..900),
            6..9 => self.random.u64(..9_000),
            _ => self.random.u64(..120_000),
        };
        self.clock.advance(Micros::from_millis(millis));
        if self.random.bool() {
            let now = self.clock.now();
            if self.model.next_due(now).is_some_and(|due| due <= now) {
                self.model.handle(now, &Command::Turn, &mut Vec::new());
            }
            let next = self.store.turn().await.expect("the store answers");
            assert_eq!(next, self.model.next_due(now), "after a turn; before it, {}", self.last);
        }
    }

    async fn ask(&mut self, command: &Command) {
        let now = self.clock.now();
        let told = self.store.ask(&self.room, command).await.expect("the store answers");
        let answer = self.model.handle(now, command, &mut Vec::new());
        assert_eq!(told, Told { answer, at: now, epoch: self.model.epoch() }, "{}", self.last);
        if let (Some(number), Command::Join(visitor)) = (number_of(&answer), command) {
            self.tickets.push(Ticket { epoch: told.epoch, number, visitor: *visitor });
        }
        if let Answer::Admitted(admitted) = answer
            && let Some(ticket) = self.tickets.iter().find(|ticket| ticket.number == admitted.number)
        {
            self.passes.push(Pass { ticket: *ticket, start: admitted.start, deadline: admitted.deadline });
        }
    }

    /// Everything that can be read.
    async fn compare(&mut self) {
        let now = self.clock.now();
        let status = self.store.status(&self.room).await.expect("the store answers");
        assert_eq!(status.at, now);
        assert_eq!(status.status, self.model.status(now), "{}", self.last);
        assert_eq!(status.settings, *self.model.settings(), "{}", self.last);
        assert_eq!(status.drawn.as_ref(), self.model.drawn(), "{}", self.last);
        let line = self.store.line(&self.room).await.expect("the store answers");
        let (first, counts) = self.model.blocks();
        assert_eq!((line.first_block, line.counts), (first, counts.collect()), "{}", self.last);
        assert_eq!(line.drawn.as_ref(), self.model.drawn(), "{}", self.last);
        for ticket in &self.tickets {
            let told = self.store.look(&self.room, ticket).await.expect("the store answers");
            let answer = self.model.look(now, ticket);
            assert_eq!(told, Told { answer, at: now, epoch: self.model.epoch() }, "{}", self.last);
        }
    }

    fn any_command(&mut self, now: Timestamp) -> Command {
        let random = &mut self.random;
        let ticket = match random.choice(&self.tickets) {
            Some(ticket) if random.u8(..20) > 0 => *ticket,
            _ => Ticket::new(self.model.epoch(), QueueNumber::new(random.u64(..VISITORS))),
        };
        match random.u8(..100) {
            0..30 => Command::Join(any_visitor(random)),
            30..50 => Command::Poll(ticket),
            50..60 => Command::Claim(ticket),
            60..68 => Command::Heartbeat(ticket),
            68..76 => Command::Leave(ticket),
            76..79 => Command::ExtendClaim(ticket),
            79..82 => Command::Renew(ticket),
            82..85 => Command::End(ticket.number),
            85..88 => Command::AdmitOne(random.bool().then_some(ticket.number)),
            88..91 => match random.choice(&self.passes) {
                Some(pass) => Command::Return(*pass),
                None => Command::Turn,
            },
            91..94 => Command::SetState(any_state(random)),
            94..97 => {
                let mut spec = any_spec(random, now);
                // What is fixed, so that most changes are none of that. An opening may be forgotten once it is over.
                let present = self.model.settings().spec();
                (spec.opening, spec.seed) = (present.opening.filter(|_| random.u8(..4) > 0), present.seed);
                Command::Change(Box::new(settings(spec)))
            }
            97 => Command::Beacon([random.u8(..3); 32]),
            98 => Command::Flush(if random.bool() { Flush::Line } else { Flush::Everybody }),
            _ => Command::Turn,
        }
    }
}

fn any_visitor(random: &mut Rng) -> Visitor {
    Visitor {
        identity: (random.u8(..10) > 0).then(|| Identity::new(1 + random.u64(..VISITORS))),
        prefix: random.bool().then(|| Prefix::new(1 + random.u32(..4))),
    }
}

fn any_state(random: &mut Rng) -> RoomState {
    // Mostly open, or nothing would happen.
    match random.u8(..8) {
        0 => RoomState::Paused,
        1 => RoomState::Draining,
        2 => RoomState::Closed,
        _ => RoomState::Open,
    }
}

fn any_settings(random: &mut Rng, now: Timestamp) -> Settings {
    settings(any_spec(random, now))
}

fn any_spec(random: &mut Rng, now: Timestamp) -> Spec {
    let mut spec = seats(random.u32(..8));
    spec.method = match random.u8(..8) {
        0 => Method::Random,
        1 => Method::Reject,
        2 => Method::Passthrough,
        _ => Method::Fifo,
    };
    spec.session.limit = random.bool().then(|| Micros::from_secs(random.u64(5..120)));
    spec.session.idle = match spec.session.limit {
        Some(_) if random.bool() => None,
        _ => Some(Micros::from_secs(random.u64(3..40))),
    };
    spec.session.renewals = if spec.session.limit.is_some() { random.u16(..3) } else { 0 };
    spec.session.early_end = if random.bool() { EarlyEnd::HoldsSeat } else { EarlyEnd::FreesSeat };
    spec.claim.extensions = random.u16(..3);
    spec.max_waiting = random.u32(5..60);
    spec.seats_per_prefix = random.bool().then(|| random.u32(2..12));
    spec.seed = Some(Seed::new([random.u8(..); 32]));
    spec.opening = (random.u8(..4) == 0).then(|| Opening {
        at: now.saturating_add(Micros::from_secs(random.u64(..300))),
        order: if random.bool() { OpeningOrder::Shuffled } else { OpeningOrder::AsTheyCame },
    });
    spec
}
