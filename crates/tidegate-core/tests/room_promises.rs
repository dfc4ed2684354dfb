//! Goal: what a room promises holds in every history: nobody is overtaken, no position grows, nobody is admitted twice,
//! seats never exceed the capacity and calls never the release rate, a seat is not sold before its pass expires, asking again
//! creates nothing, asking early changes nothing.
//! Method: random histories; a checker that sees only events and answers counts along. Every command is asked again at
//! once, and polls come earlier than they were told to.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail, and prints its seed"
)]

mod common;

use common::promises::Promises;
use common::room::{Kind, World, whole};
use common::{SECOND, at, operations, seed};
use tidegate_core::room::{Answer, Command, Event, Room, Ticket};

struct History {
    world: World,
    room: Room,
    promises: Promises,
    early: u64,
}

impl History {
    fn new(seed: u64, kind: Kind) -> Self {
        let world = World::new(seed, kind);
        let room = Room::new(world.settings(), 1, world.now());
        let promises = Promises::new(world.settings(), world.now);
        Self { world, room, promises, early: 0 }
    }

    fn step(&mut self) {
        self.world.advance(self.room.next_due(self.world.now()));
        let command = self.world.command();
        let (answer, events) = self.ask(&command);
        self.prefix_is_capped(&command, &events);
        self.ask_again(&command, &answer);
        let is_renewed = events.iter().any(|event| matches!(event, Event::Touched { .. }));
        if let Command::Poll(ticket) = &command
            && let Answer::Waiting(told) = answer
            && is_renewed
        {
            self.ask_early(ticket, told.poll_after.as_micros());
        }
    }

    fn ask(&mut self, command: &Command) -> (Answer, Vec<Event>) {
        let mut events = Vec::new();
        let answer = self.room.handle(self.world.now(), command, &mut events);
        self.promises.told(&answer, &events, &self.room, self.world.now);
        self.world.told(command, &answer, &self.room);
        (answer, events)
    }

    fn prefix_is_capped(&self, command: &Command, events: &[Event]) {
        let is_join = events.iter().any(|event| matches!(event, Event::Joined { .. }));
        if let Command::Join(visitor) = command
            && is_join
            && let Some(most) = self.room.settings().spec().seats_per_prefix
        {
            let (_, of_prefix) = self.promises.seats_of(None, visitor.prefix);
            assert!(of_prefix as u64 <= u64::from(most), "{of_prefix} seats of a prefix, not {most}");
        }
    }

    /// A retry is told the same and creates nothing.
    fn ask_again(&mut self, command: &Command, answer: &Answer) {
        let is_retried = match command {
            Command::Join(visitor) => visitor.identity.is_some(),
            Command::Poll(_) | Command::Heartbeat(_) | Command::Claim(_) | Command::Return(_) => true,
            Command::Leave(_) | Command::End(_) | Command::AdmitOne(Some(_)) | Command::SetState(_) => true,
            _ => false,
        };
        if !is_retried {
            return;
        }
        let next = self.room.status(self.world.now()).next_number;
        let (again, _) = self.ask(command);
        assert_eq!(self.room.status(self.world.now()).next_number, next, "{command:?} again made a ticket");
        match (answer, again) {
            (Answer::Left | Answer::Done, again) => assert!(matches!(again, Answer::Lapsed | Answer::Done)),
            (Answer::Waiting(first), Answer::Waiting(again)) => {
                // A lease may follow a pace that the first one has changed.
                assert_eq!(first.number, again.number);
                assert!(first.lease_until <= again.lease_until);
            }
            // What was more than one command does may have been done by the second.
            (answer, again) => assert_eq!(*answer, again, "{command:?}"),
        }
    }

    /// A poll more than a second before it was told to come changes nothing at all, if it would be told the same again.
    fn ask_early(&mut self, ticket: &Ticket, told: u64) {
        if told <= SECOND {
            return;
        }
        let early = self.world.now + self.world.random.below(told - SECOND);
        match self.room.look(at(early), ticket) {
            Answer::Waiting(waiting) if waiting.poll_after.as_micros() == told => {}
            _ => return,
        }
        let poll = &Command::Poll(*ticket);
        let before = whole(&self.room);
        let mut events = Vec::new();
        let answer = self.room.handle(at(early), poll, &mut events);
        assert!(matches!(answer, Answer::Waiting(_)));
        assert_eq!(events, [], "a poll {told} µs apart, early");
        assert_eq!(before, whole(&self.room));
        self.early += 1;
    }
}

fn run(seed: u64, total: u64, steps: u64, kind: Kind) -> u64 {
    let (mut calls, mut direct, mut early) = (0, 0, 0);
    for number in 0..total.div_ceil(steps) {
        let mut history = History::new(seed.wrapping_add(number), kind);
        (0..steps).for_each(|_| history.step());
        history.promises.finish();
        calls += history.promises.calls;
        direct += history.promises.direct;
        early += history.early;
    }
    println!("{total} operations: {calls} calls, {direct} admitted at once, {early} early polls");
    assert!(calls > total / 200 && direct > total / 200);
    early
}

#[test]
fn promises_hold_without_an_operator() {
    let kind = Kind { visitors: 60, capacity: 8, operated: false, any_method: false, hurry: 1 };
    run(seed(), operations(400_000), 1_000, kind);
}

#[test]
fn promises_hold_whatever_the_operator_does() {
    let kind = Kind { visitors: 60, capacity: 8, operated: true, any_method: true, hurry: 1 };
    run(seed() ^ 0x22, operations(400_000), 1_000, kind);
}

#[test]
fn promises_hold_in_a_crowd() {
    let kind = Kind { visitors: 2_000, capacity: 40, operated: true, any_method: false, hurry: 40 };
    let total = operations(150_000);
    assert!(run(seed() ^ 0x33, total, 10_000, kind) > total / 1_000);
}
