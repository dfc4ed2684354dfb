//! Random histories of a room: settings, commands of many visitors, and time.

use std::collections::BTreeMap;

use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::room::draw::Seed;
use tidegate_core::room::{
    Answer, ClaimTerms, Command, EarlyEnd, Flush, Identity, Lost, Method, Opening, OpeningOrder, Pass,
    Prefix, QueueNumber, Resume, Room, RoomState, Seat, SessionTerms, Settings, Spec, Ticket, TicketRow,
    Visitor,
};
use tidegate_core::time::{Micros, Timestamp};

use super::{Random, SECOND, START, at};

/// Everything of a room, to be compared.
pub fn whole(room: &Room) -> (tidegate_core::room::Parts, Vec<TicketRow>, Vec<(QueueNumber, Seat)>) {
    let seats = room.seats().map(|(number, seat)| (number, *seat)).collect();
    (room.parts(), room.tickets().collect(), seats)
}

/// What a history is made of, besides chance.
#[derive(Clone, Copy)]
pub struct Kind {
    /// How many visitors there are at the most.
    pub visitors: u64,
    /// How many a room holds at the most.
    pub capacity: u64,
    /// Whether the operator changes states and settings, flushes, and restores.
    pub operated: bool,
    /// Whether rooms let visitors in at random, or without any gate.
    pub any_method: bool,
    /// How much less time passes than in a small room, so that many visitors are as diligent as few.
    pub hurry: u64,
}

pub struct World {
    pub random: Random,
    pub now: u64,
    kind: Kind,
    /// What each visitor holds: what the last answer with a number said.
    held: BTreeMap<u64, Ticket>,
    passes: BTreeMap<u64, Pass>,
    numbers: u64,
    epoch: u32,
    spec: Spec,
}

fn release(random: &mut Random) -> Quota {
    let (limit, window, burst) = match random.below(5) {
        0 => (1, SECOND, 1),
        1 => (10, SECOND, 10),
        2 => (3, 7 * SECOND, 2),
        3 => (100, SECOND, 5),
        _ => (random.range(1, 50), random.range(SECOND / 10, 20 * SECOND), random.range(1, 20)),
    };
    Quota::new(Algorithm::TokenBucket, limit, Micros::from_micros(window), Some(burst)).unwrap()
}

fn seconds(random: &mut Random, low: u64, high: u64) -> Micros {
    Micros::from_micros(random.range(low * SECOND, high * SECOND))
}

pub fn random_spec(random: &mut Random, kind: &Kind) -> Spec {
    let mut spec = Spec::new(random.below(kind.capacity + 1) as u32, release(random));
    if kind.any_method && random.once_in(2) {
        spec.method = random.pick(&[Method::Random, Method::Passthrough, Method::Reject]);
    }
    spec.claim = ClaimTerms { window: seconds(random, 5, 30), extensions: random.below(3) as u16 };
    let limit = (!random.once_in(4)).then(|| seconds(random, 1, 90));
    let idle = (limit.is_none() || !random.once_in(4)).then(|| seconds(random, 1, 30));
    let renewals = if limit.is_some() { random.below(3) as u16 } else { 0 };
    let early_end = random.pick(&[EarlyEnd::HoldsSeat, EarlyEnd::FreesSeat]);
    spec.session = SessionTerms { limit, idle, renewals, early_end };
    spec.max_waiting = random.any_size(2 * kind.visitors) as u32;
    spec.seats_per_prefix = random.once_in(3).then(|| random.range(1, 10) as u32);
    spec.min_lease = seconds(random, 5, 80);
    spec.seed = Some(Seed::new([random.next() as u8; 32]));
    if random.once_in(3) {
        let order = random.pick(&[OpeningOrder::AsTheyCame, OpeningOrder::Shuffled]);
        spec.opening = Some(Opening { at: at(START + random.below(200 * SECOND)), order });
    }
    spec
}

impl World {
    pub fn new(seed: u64, kind: Kind) -> Self {
        let mut random = Random::new(seed);
        let spec = random_spec(&mut random, &kind);
        Self {
            random,
            now: START,
            kind,
            held: BTreeMap::new(),
            passes: BTreeMap::new(),
            numbers: 0,
            epoch: 1,
            spec,
        }
    }

    pub fn settings(&self) -> Settings {
        Settings::new(self.spec.clone()).unwrap()
    }

    pub fn now(&self) -> Timestamp {
        at(self.now)
    }

    /// Some time passes: none, a little, much, or just until something is due.
    pub fn advance(&mut self, due: Option<Timestamp>) {
        let until_due = due.map_or(0, |due| due.since(self.now()).as_micros());
        let hurry = self.kind.hurry;
        self.now += match self.random.below(12) {
            0..=4 => 0,
            5..=7 => self.random.below(SECOND / 4 / hurry),
            8 => self.random.below(3 * SECOND / hurry),
            9 if self.random.once_in(hurry) => until_due,
            10 if self.random.once_in(hurry) => until_due.saturating_sub(1),
            _ if self.random.once_in(12 * hurry) => self.random.below(100 * SECOND),
            _ => self.random.below(SECOND / hurry),
        };
    }

    pub fn visitor(&mut self) -> (u64, Visitor) {
        let who = self.random.range(1, self.kind.visitors);
        (who, visitor(who))
    }

    pub fn ticket(&mut self) -> Ticket {
        if self.random.once_in(40) {
            let epoch = (self.epoch + 1).saturating_sub(self.random.below(4) as u32);
            let number = QueueNumber::new(self.random.below(self.numbers + 10));
            return Ticket::new(epoch, number);
        }
        let from = self.random.below(self.kind.visitors + 1);
        let found = self.held.range(from..).next().or_else(|| self.held.first_key_value());
        found.map_or(Ticket::new(self.epoch, QueueNumber::new(0)), |(_, ticket)| *ticket)
    }

    pub fn command(&mut self) -> Command {
        let ticket = self.ticket();
        match self.random.below(100) {
            0..=24 => Command::Join(self.visitor().1),
            25..=54 => Command::Poll(ticket),
            55..=66 => Command::Heartbeat(ticket),
            67..=78 => Command::Claim(ticket),
            79..=81 => Command::ExtendClaim(ticket),
            82..=83 => Command::Renew(ticket),
            84..=86 => Command::Leave(ticket),
            87 => Command::End(ticket.number),
            88..=89 => self.returning(),
            90..=91 if self.kind.operated => {
                let one = self.random.once_in(2).then_some(ticket.number);
                Command::AdmitOne(one)
            }
            92..=93 if self.kind.operated => self.operate(),
            _ => Command::Turn,
        }
    }

    fn returning(&mut self) -> Command {
        let from = self.random.below(self.numbers + 1);
        match self.passes.range(from..).next() {
            Some((_, pass)) => Command::Return(*pass),
            None => Command::Turn,
        }
    }

    fn operate(&mut self) -> Command {
        match self.random.below(16) {
            0..=3 => Command::SetState(RoomState::Open),
            4 => Command::SetState(RoomState::Paused),
            5 => Command::SetState(RoomState::Draining),
            6 if self.random.once_in(4) => Command::SetState(RoomState::Closed),
            7..=10 => self.change(),
            11 => Command::Beacon([self.random.below(3) as u8; 32]),
            12 if self.random.once_in(4) => Command::Flush(Flush::Line),
            13 if self.random.once_in(4) => Command::Flush(Flush::Everybody),
            14 if self.random.once_in(2) => self.resume(),
            _ => Command::Turn,
        }
    }

    /// Other settings, mostly with the opening that was committed to.
    fn change(&mut self) -> Command {
        let mut spec = random_spec(&mut self.random, &self.kind);
        if self.random.once_in(2) {
            spec.method = self.spec.method;
        }
        if !self.random.once_in(4) {
            (spec.opening, spec.seed) = (self.spec.opening, self.spec.seed);
        }
        Command::Change(Box::new(Settings::new(spec).unwrap()))
    }

    fn resume(&mut self) -> Command {
        let lost = self.random.once_in(2).then(|| Lost {
            serving: self.random.below(self.numbers + 5),
            last: (self.numbers + self.random.below(8)).saturating_sub(self.random.below(3)),
        });
        let longest_lease = seconds(&mut self.random, 0, 120);
        Command::Resume(Resume { epoch: self.epoch + self.random.below(3) as u32, longest_lease, lost })
    }

    /// Visitors keep what they are told.
    pub fn told(&mut self, command: &Command, answer: &Answer, room: &Room) {
        self.epoch = room.epoch();
        self.numbers = self.numbers.max(room.parts().next.get());
        if let (Command::Change(settings), Answer::Done) = (command, answer) {
            self.spec = settings.spec().clone();
        }
        let number = match answer {
            Answer::Waiting(waiting) => waiting.number,
            Answer::Ready(ready) => ready.number,
            Answer::Admitted(admitted) => admitted.number,
            _ => return,
        };
        let known = match command {
            Command::Join(visitor) => Some(*visitor),
            _ => None,
        };
        let before = self.held.values().find(|ticket| ticket.number == number).copied();
        let Some(visitor) = known.or(before.map(|ticket| ticket.visitor)) else { return };
        let who = visitor.identity.map_or(number.get() + 1_000_000, Identity::get);
        let ticket = before.unwrap_or(Ticket { epoch: room.epoch(), number, visitor });
        self.held.insert(who, ticket);
        if let Answer::Admitted(admitted) = answer {
            let pass = Pass { ticket, start: admitted.start, deadline: admitted.deadline };
            self.passes.insert(number.get(), pass);
        }
    }
}

/// One in eight has no identity, one in six no prefix.
pub fn visitor(who: u64) -> Visitor {
    Visitor {
        identity: (!who.is_multiple_of(8)).then(|| Identity::new(who)),
        prefix: (!who.is_multiple_of(6)).then(|| Prefix::new((who % 7) as u32)),
    }
}
