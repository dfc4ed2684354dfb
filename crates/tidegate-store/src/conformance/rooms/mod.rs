//! The suite that every store of rooms runs from its tests: scenarios that each name one promise of the port, and random
//! histories in which the store and a room of the core answer alike.
//!
//! A store must take the time from the [`TestClock`] it is given. Every scenario gets a store of its own, without rooms.
//! A broken promise panics and says which; histories say the seed they can be repeated with.

mod history;
mod promises;

use core::future::Future;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::room::{
    Answer, Command, Identity, QueueNumber, RoomName, Settings, Spec, Ticket, Visitor,
};
use tidegate_core::time::{Micros, Timestamp};

use super::site::START;
use crate::rooms::{RoomStore, Told};

pub use history::{History, run_history};

/// Histories that [`run_all`] runs.
const HISTORIES: u64 = 8;
/// Commands of each of them.
const COMMANDS: usize = 400;

/// The time that a store under test goes by. It stands still until it is moved; clones share it.
#[derive(Clone, Debug)]
pub struct TestClock(Arc<AtomicU64>);

impl TestClock {
    /// The present.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }

    /// Lets time pass.
    pub fn advance(&self, span: Micros) {
        self.0.fetch_add(span.as_micros(), Ordering::SeqCst);
    }
}

impl Default for TestClock {
    /// A day in 2026.
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(START.as_micros())))
    }
}

macro_rules! run {
    ($make_store:ident: $($scenario:path),+ $(,)?) => {
        $({
            let clock = TestClock::default();
            let store = $make_store(clock.clone()).await;
            $scenario(&store, &clock).await;
        })+
    };
}

/// Runs everything: the scenarios, and some histories. Longer ones: [`run_history`].
pub async fn run_all<S, F>(make_store: impl Fn(TestClock) -> F)
where
    S: RoomStore,
    F: Future<Output = S>,
{
    run!(make_store:
        promises::racing_joins_of_one_visitor_give_one_ticket,
        promises::the_capacity_holds_however_many_come_at_once,
        promises::a_freed_seat_goes_to_the_next_in_line,
        promises::a_claim_is_told_the_same_session_again,
        promises::a_look_changes_nothing,
        promises::rooms_do_not_know_each_other,
        promises::settings_are_put_and_changed,
        promises::a_room_that_is_not_there_is_an_error,
        promises::tickets_of_a_removed_room_are_worth_nothing,
        promises::there_is_a_most_of_rooms,
        promises::a_turn_does_what_is_due_and_says_when_to_come_again,
        promises::watchers_are_told_everything_in_order,
    );
    for seed in 0..HISTORIES {
        let clock = TestClock::default();
        let store = make_store(clock.clone()).await;
        run_history(&store, &clock, History { seed, commands: COMMANDS }).await;
    }
}

// === what the scenarios share ===

fn name(text: &str) -> RoomName {
    RoomName::new(text).expect("the name is one")
}

/// So many seats, and a release rate that hinders nobody.
fn seats(capacity: u32) -> Spec {
    let release = Quota::new(Algorithm::TokenBucket, 1_000_000, Micros::from_secs(1), Some(1_000_000));
    Spec::new(capacity, release.expect("the rate is in range"))
}

fn settings(spec: Spec) -> Settings {
    Settings::new(spec).expect("the settings are in range")
}

fn visitor(identity: u64) -> Visitor {
    Visitor { identity: Some(Identity::new(identity)), prefix: None }
}

async fn ask<S: RoomStore>(store: &S, room: &RoomName, command: Command) -> Told {
    store.ask(room, &command).await.expect("the store answers")
}

/// A visitor joins; its ticket, and what it was told.
async fn join<S: RoomStore>(store: &S, room: &RoomName, identity: u64) -> (Ticket, Told) {
    let told = ask(store, room, Command::Join(visitor(identity))).await;
    let number = number_of(&told.answer).expect("whoever joins has a number");
    (Ticket { epoch: told.epoch, number, visitor: visitor(identity) }, told)
}

/// The number in an answer.
fn number_of(answer: &Answer) -> Option<QueueNumber> {
    match answer {
        Answer::Waiting(waiting) => Some(waiting.number),
        Answer::Ready(ready) => Some(ready.number),
        Answer::Admitted(admitted) => Some(admitted.number),
        Answer::Lapsed | Answer::Left | Answer::Done | Answer::Refused(_) => None,
    }
}
