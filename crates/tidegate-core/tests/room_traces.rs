//! Goal: a room answers exactly as its reference model does, and its events make another room the same.
//! Method: random histories of visitors and operators, done on both; every answer, and now and then how everybody stands,
//! is compared. A second room is given the events alone, and a third is made of the parts of the first.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail, and prints its seed"
)]

mod common;

use common::room::{Kind, World, whole};
use common::{Random, at, operations, seed};
use proptest::prelude::*;
use tidegate_core::room::model::ModelRoom;
use tidegate_core::room::{Answer, Command, Event, QueueNumber, Room, Ticket};
use tidegate_core::time::Timestamp;

/// A room, its model, and the room that follows by events.
struct Trace {
    world: World,
    room: Room,
    model: ModelRoom,
    follower: Room,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    joined: u64,
    called: u64,
    admitted: u64,
    ended: u64,
    lost: u64,
    resumed: u64,
    refused: u64,
}

impl Trace {
    fn new(seed: u64, kind: Kind) -> Self {
        let world = World::new(seed, kind);
        let (settings, now) = (world.settings(), world.now());
        Self {
            room: Room::new(settings.clone(), 1, now),
            follower: Room::new(settings.clone(), 1, now),
            model: ModelRoom::new(settings, 1, now),
            world,
            counts: Counts::default(),
        }
    }

    fn step(&mut self) {
        self.world.advance(self.room.next_due(self.world.now()));
        let command = self.world.command();
        let now = self.world.now();
        let mut events = Vec::new();
        let answer = self.room.handle(now, &command, &mut events);
        assert_eq!(answer, self.model.handle(now, &command), "{command:?} at {now:?}, events {events:?}");
        self.count(&answer, &events);
        for event in &events {
            self.follower.replay(self.room.clock(), event).unwrap();
        }
        self.world.told(&command, &answer, &self.room);
        assert_eq!(self.room.status(now), self.model.status(now), "after {command:?} at {now:?}");
        self.compare_due(now);
    }

    /// The real room may look for ended leases too early, never too late; everything else is due exactly.
    fn compare_due(&self, now: Timestamp) {
        match (self.room.next_due(now), self.model.next_due(now)) {
            (Some(real), Some(model)) => assert!(real <= model, "due at {real:?}, not {model:?}"),
            (real, model) => assert_eq!(real, model),
        }
    }

    fn compare_all(&self) {
        let now = self.world.now();
        for number in 0..=self.room.status(now).next_number {
            let ticket = Ticket::new(self.room.epoch(), QueueNumber::new(number));
            assert_eq!(self.room.look(now, &ticket), self.model.look(now, &ticket), "ticket {number}");
        }
        let known = whole(&self.room);
        assert_eq!(known, whole(&self.follower), "the room that was told the events");
        let copy = Room::from_parts(known.0.clone(), known.1.clone(), known.2.clone()).unwrap();
        assert_eq!(known, whole(&copy), "the room of the same parts");
    }

    fn count(&mut self, answer: &Answer, events: &[Event]) {
        let counts = &mut self.counts;
        counts.refused += u64::from(matches!(answer, Answer::Refused(_)));
        for event in events {
            match event {
                Event::Joined { .. } => counts.joined += 1,
                Event::Called { .. } => counts.called += 1,
                Event::Admitted { .. } => counts.admitted += 1,
                Event::Ended { .. } => counts.ended += 1,
                Event::Expired { .. } | Event::Skipped { .. } | Event::Abandoned { .. } => counts.lost += 1,
                Event::Resumed { .. } => counts.resumed += 1,
                _ => {}
            }
        }
    }
}

fn run(seed: u64, total: u64, steps: u64, kind: Kind) -> Counts {
    let mut sum = Counts::default();
    for number in 0..total.div_ceil(steps) {
        let mut trace = Trace::new(seed.wrapping_add(number), kind);
        for step in 0..steps {
            trace.step();
            if step % 50 == 49 {
                trace.compare_all();
            }
        }
        let counts = trace.counts;
        sum.joined += counts.joined;
        sum.called += counts.called;
        sum.admitted += counts.admitted;
        sum.ended += counts.ended;
        sum.lost += counts.lost;
        sum.resumed += counts.resumed;
        sum.refused += counts.refused;
    }
    sum
}

#[test]
fn a_room_equals_its_model() {
    let seed = seed();
    let total = operations(300_000);
    let small = Kind { visitors: 40, capacity: 8, operated: true, any_method: true, hurry: 1 };
    let counts = run(seed, total, 500, small);
    let Counts { joined, called, admitted, ended, lost, resumed, refused } = counts;
    println!(
        "{total} operations: {joined} joined, {called} called, {admitted} admitted, {ended} ended, {lost} lost their \
         place, {resumed} restores, {refused} refusals"
    );
    assert!([joined, called, admitted, ended, lost, refused].iter().all(|count| *count > total / 100));
    assert!(resumed > total / 10_000);
}

/// Lines over several blocks of tickets, in which whole blocks leave.
#[test]
fn a_long_line_equals_its_model() {
    let total = operations(60_000);
    let large = Kind { visitors: 3_000, capacity: 30, operated: true, any_method: false, hurry: 40 };
    run(seed() ^ 0x11, total, 6_000, large);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// The same, in short histories that are made shorter when they fail.
    #[test]
    fn short_histories_equal_the_model(start in any::<u64>(), steps in prop::collection::vec(any::<u64>(), 1..60)) {
        let kind = Kind { visitors: 6, capacity: 2, operated: true, any_method: true, hurry: 1 };
        let mut trace = Trace::new(start, kind);
        for step in steps {
            trace.world.random = Random::new(step);
            trace.step();
        }
        trace.compare_all();
    }
}

#[test]
fn a_time_before_the_last_event_is_taken_for_it() {
    let world =
        World::new(5, Kind { visitors: 5, capacity: 1, operated: false, any_method: false, hurry: 1 });
    let mut spec = world.settings().spec().clone();
    (spec.capacity, spec.opening, spec.seats_per_prefix) = (1, None, None);
    let settings = tidegate_core::room::Settings::new(spec).unwrap();
    let mut room = Room::new(settings, 1, world.now());
    let mut events = Vec::new();
    room.handle(at(world.now + 1_000), &Command::Join(common::room::visitor(1)), &mut events);
    let clock = room.clock();
    let early = room.handle(at(world.now - 1_000), &Command::Join(common::room::visitor(1)), &mut events);
    assert!(matches!(early, Answer::Admitted(admitted) if admitted.start == clock), "{early:?}");
    assert_eq!(room.clock(), clock);
}
