//! A room of few seats, and who is told what in it.

use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::room::*;
use tidegate_core::time::Micros;

use super::{START, at};

/// A room and what has happened in it.
pub struct House {
    pub room: Room,
    pub now: u64,
    pub events: Vec<Event>,
}

pub fn rate(limit: u64, burst: u64) -> Quota {
    Quota::new(Algorithm::TokenBucket, limit, Micros::from_secs(1), Some(burst)).unwrap()
}

pub fn spec(capacity: u32) -> Spec {
    Spec::new(capacity, rate(100, 100))
}

impl House {
    pub fn new(spec: Spec) -> Self {
        let room = Room::new(Settings::new(spec).unwrap(), 1, at(START));
        Self { room, now: START, events: Vec::new() }
    }

    pub fn after(&mut self, micros: u64) -> &mut Self {
        self.now += micros;
        self
    }

    #[expect(clippy::needless_pass_by_value, reason = "it reads better, and is a test")]
    pub fn ask(&mut self, command: Command) -> Answer {
        self.events.clear();
        self.room.handle(at(self.now), &command, &mut self.events)
    }

    pub fn join(&mut self, who: u64) -> Answer {
        self.ask(Command::Join(person(who)))
    }

    pub fn ticket(&self, number: u64) -> Ticket {
        Ticket::new(self.room.epoch(), QueueNumber::new(number))
    }

    pub fn poll(&mut self, number: u64) -> Answer {
        let ticket = self.ticket(number);
        self.ask(Command::Poll(ticket))
    }

    pub fn claim(&mut self, number: u64) -> Answer {
        let ticket = self.ticket(number);
        self.ask(Command::Claim(ticket))
    }

    pub fn beat(&mut self, number: u64) -> Answer {
        let ticket = self.ticket(number);
        self.ask(Command::Heartbeat(ticket))
    }

    pub fn leave(&mut self, number: u64) -> Answer {
        let ticket = self.ticket(number);
        self.ask(Command::Leave(ticket))
    }

    pub fn change(&mut self, change: impl FnOnce(&mut Spec)) -> Answer {
        let mut spec = self.room.settings().spec().clone();
        change(&mut spec);
        self.ask(Command::Change(Box::new(Settings::new(spec).unwrap())))
    }

    pub fn look(&self, number: u64) -> Answer {
        self.room.look(at(self.now), &self.ticket(number))
    }

    pub fn status(&self) -> Status {
        self.room.status(at(self.now))
    }
}

pub fn person(who: u64) -> Visitor {
    Visitor { identity: Some(Identity::new(who.wrapping_mul(0x9e37_79b9_7f4a_7c15))), prefix: None }
}

pub fn waiting(answer: Answer) -> Waiting {
    match answer {
        Answer::Waiting(waiting) => waiting,
        other => panic!("{other:?} is not waiting"),
    }
}

pub fn admitted(answer: Answer) -> Admitted {
    match answer {
        Answer::Admitted(admitted) => admitted,
        other => panic!("{other:?} is not admitted"),
    }
}

pub fn ready(answer: Answer) -> Ready {
    match answer {
        Answer::Ready(ready) => ready,
        other => panic!("{other:?} is not ready"),
    }
}

/// Five seats for 40 seconds, and nobody to be missed for more than 15.
pub fn demo() -> House {
    let mut spec = spec(5);
    spec.session.limit = Some(Micros::from_secs(40));
    House::new(spec)
}
