//! The embedded store a way off: calls take time when they are told to, fail when they are told to, and are counted.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tidegate_core::rule::RuleSet;
use tidegate_core::time::Timestamp;
use tidegate_engine::{Clock, ManualClock};
use tidegate_store::{
    Applied, BucketAddress, BucketStore, MemoryOptions, MemoryStore, Outcome, Plan, PlannedBucket, StoreError,
};

/// How the store answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    #[default]
    Well,
    /// Nothing is done.
    Failing,
    /// It is done, and nobody hears of it.
    Mute,
}

/// What reached the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Called {
    Apply(u64),
    Peek,
    Refund(u64),
    Withdraw(u64),
    Reset,
}

/// Clones share everything.
#[derive(Clone)]
pub(crate) struct Remote(Arc<Inner>);

struct Inner {
    memory: MemoryStore,
    clock: ManualClock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    mood: Mood,
    /// How often a call is polled on its way to the store, and back.
    legs: [u64; 2],
    is_stopped: bool,
    calls: Vec<Called>,
}

impl Remote {
    pub(crate) fn new(clock: &ManualClock) -> Self {
        let memory = MemoryStore::new(&MemoryOptions::new([1, 2]));
        Self(Arc::new(Inner { memory, clock: clock.clone(), state: Mutex::default() }))
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        self.0.state.lock().unwrap().mood = mood;
    }

    /// How long the calls from now on take, in polls.
    pub(crate) fn set_legs(&self, legs: [u64; 2]) {
        self.0.state.lock().unwrap().legs = legs;
    }

    /// From now on calls arrive only when this is unset.
    pub(crate) fn set_stopped(&self, is_stopped: bool) {
        self.0.state.lock().unwrap().is_stopped = is_stopped;
    }

    /// The calls that set out since this was asked last.
    pub(crate) fn calls(&self) -> Vec<Called> {
        std::mem::take(&mut self.0.state.lock().unwrap().calls)
    }

    /// What the bucket of a plan has used.
    pub(crate) fn used(&self, plan: &Plan<'_>) -> u64 {
        match at_once(self.0.memory.peek(plan, self.0.clock.now())) {
            Ok(Applied::Decided(outcome)) => outcome.results[0].gauge.used,
            other => panic!("{other:?}"),
        }
    }

    /// A call on its way. It is carried out when it arrives, at the time that the store's clock shows then.
    async fn call<T>(
        &self,
        called: Called,
        work: impl FnOnce(&MemoryStore, Timestamp) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let [there, back] = {
            let mut state = self.0.state.lock().unwrap();
            state.calls.push(called);
            state.legs
        };
        self.leg(there).await;
        let mood = self.0.state.lock().unwrap().mood;
        if mood == Mood::Failing {
            return Err(StoreError::Unavailable("down".to_owned()));
        }
        let result = work(&self.0.memory, self.0.clock.now());
        self.leg(back).await;
        if mood == Mood::Mute { Err(StoreError::Timeout) } else { result }
    }

    async fn leg(&self, mut polls: u64) {
        poll_fn(|_| {
            if polls == 0 && !self.0.state.lock().unwrap().is_stopped {
                return Poll::Ready(());
            }
            polls = polls.saturating_sub(1);
            Poll::Pending
        })
        .await;
    }
}

/// The embedded store never waits.
fn at_once<T>(call: impl Future<Output = T>) -> T {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the embedded store waits"),
    }
}

impl BucketStore for Remote {
    async fn apply(&self, plan: &Plan<'_>, _now: Timestamp) -> Result<Applied, StoreError> {
        self.call(Called::Apply(plan.cost), |memory, now| at_once(memory.apply(plan, now))).await
    }

    async fn peek(&self, plan: &Plan<'_>, _now: Timestamp) -> Result<Applied, StoreError> {
        self.call(Called::Peek, |memory, now| at_once(memory.peek(plan, now))).await
    }

    async fn refund(&self, plan: &Plan<'_>, _now: Timestamp) -> Result<Applied, StoreError> {
        self.call(Called::Refund(plan.cost), |memory, now| at_once(memory.refund(plan, now))).await
    }

    async fn withdraw(&self, plan: &Plan<'_>, outcome: &Outcome, _now: Timestamp) -> Result<(), StoreError> {
        let work = |memory: &MemoryStore, now| at_once(memory.withdraw(plan, outcome, now));
        self.call(Called::Withdraw(plan.cost), work).await
    }

    async fn debit(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        self.0.memory.debit(plan, now).await
    }

    async fn reset(&self, plan: &Plan<'_>, _now: Timestamp) -> Result<(), StoreError> {
        self.call(Called::Reset, |memory, now| at_once(memory.reset(plan, now))).await
    }

    fn rules_changed(&self, rules: &RuleSet, at: Timestamp) {
        self.0.memory.rules_changed(rules, at);
    }

    fn address(&self, plan: &Plan<'_>, bucket: &PlannedBucket<'_>) -> BucketAddress {
        self.0.memory.address(plan, bucket)
    }

    async fn release(
        &self,
        address: &BucketAddress,
        permit: u64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.0.memory.release(address, permit, now).await
    }
}
