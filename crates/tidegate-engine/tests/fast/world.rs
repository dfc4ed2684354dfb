//! A world with a time, clocks that disagree about it, and a store that is a way off.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tidegate_core::algorithm::{Charge, State};
use tidegate_core::decision::Verdict;
use tidegate_core::rule::model::{Domain, Rule, Rules};
use tidegate_core::rule::{Revision, RuleSet};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::{
    Applied, BucketAddress, BucketResult, BucketStore, Outcome, Plan, PlannedBucket, StoreError,
};

/// When every history begins.
pub(crate) const START: u64 = 1_767_225_600_000_000;

/// Random enough (SplitMix64), and the same for the same seed.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

/// True time, which nobody knows.
#[derive(Clone)]
pub(crate) struct World(Arc<AtomicU64>);

impl World {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(START)))
    }

    pub(crate) fn micros(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn advance(&self, micros: u64) {
        self.0.fetch_add(micros, Ordering::Relaxed);
    }

    /// Lets time pass until a call is answered.
    pub(crate) fn run<F: Future>(&self, call: F) -> F::Output {
        let mut call = pin!(call);
        loop {
            if let Poll::Ready(output) = poll(call.as_mut()) {
                return output;
            }
            self.advance(50);
        }
    }
}

pub(crate) fn poll<F: Future + ?Sized>(call: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    call.poll(&mut Context::from_waker(Waker::noop()))
}

/// A clock that is wrong by an offset and runs too fast by some millionths.
pub(crate) struct WrongClock {
    world: World,
    offset: AtomicI64,
    ppm: i64,
}

impl WrongClock {
    pub(crate) fn new(world: &World, offset: i64, ppm: i64) -> Self {
        Self { world: world.clone(), offset: AtomicI64::new(offset), ppm }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.world.micros() - START).unwrap();
        let shown = START.cast_signed()
            + elapsed
            + elapsed * self.ppm / 1_000_000
            + self.offset.load(Ordering::Relaxed);
        Timestamp::from_micros(shown.cast_unsigned())
    }

    pub(crate) fn step(&self, by: i64) {
        self.offset.fetch_add(by, Ordering::Relaxed);
    }
}

/// Something was taken away from a bucket.
#[derive(Clone, Copy)]
pub(crate) struct Loosened {
    pub(crate) node: usize,
    /// True time.
    pub(crate) at: u64,
}

#[derive(Default)]
struct Buckets {
    held: HashMap<Vec<u8>, (Revision, State)>,
    repeats: HashMap<Box<[u8]>, Outcome>,
    loosened: HashMap<Vec<u8>, Vec<Loosened>>,
}

/// The store itself.
pub(crate) struct Remote {
    pub(crate) clock: WrongClock,
    world: World,
    buckets: Mutex<Buckets>,
    /// Calls that arrived.
    pub(crate) calls: AtomicU64,
    legs: Mutex<Rng>,
    /// The longest that a call, or its reply, is on its way, in microseconds.
    longest_leg: u64,
}

impl Remote {
    pub(crate) fn new(world: &World, clock: WrongClock, seed: u64, longest_leg: u64) -> Arc<Self> {
        Arc::new(Self {
            clock,
            world: world.clone(),
            buckets: Mutex::default(),
            calls: AtomicU64::new(0),
            legs: Mutex::new(Rng(seed)),
            longest_leg,
        })
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// What each bucket would say now. Changes nothing.
    pub(crate) fn would_say(&self, plan: &Plan<'_>) -> Vec<Verdict> {
        let now = self.clock.now();
        let buckets = self.buckets.lock().unwrap();
        plan.buckets()
            .iter()
            .map(|bucket| match open(&buckets, plan, bucket, now) {
                Some(state) => bucket.metered.meter.judge(&state, now, &plan.ask(bucket)),
                None => Verdict::ALLOW,
            })
            .collect()
    }

    pub(crate) fn loosenings_of(&self, key: &[u8]) -> Vec<Loosened> {
        self.buckets.lock().unwrap().loosened.get(key).cloned().unwrap_or_default()
    }

    fn apply(&self, plan: &Plan<'_>) -> Applied {
        let now = self.clock.now();
        let mut buckets = self.buckets.lock().unwrap();
        if let Some(outcome) = plan.idempotency_key.as_ref().and_then(|key| buckets.repeats.get(key)) {
            return Applied::Decided(Outcome { repeated: true, ..outcome.clone() });
        }
        let Some(mut states) = open_all(&buckets, plan, now) else { return Applied::Stale };
        let parts = || plan.buckets().iter();
        let verdicts: Vec<Verdict> = parts()
            .zip(&states)
            .map(|(bucket, state)| bucket.metered.meter.judge(state, now, &plan.ask(bucket)))
            .collect();
        let charged =
            parts().zip(&verdicts).all(|(bucket, verdict)| verdict.is_allow() || !bucket.is_enforced());
        for ((bucket, state), verdict) in parts().zip(&mut states).zip(&verdicts) {
            if charged && verdict.is_allow() {
                bucket.metered.meter.charge(state, now, &plan.ask(bucket));
            }
        }
        let outcome = outcome(plan, now, &states, |index| verdicts[index], charged);
        keep(&mut buckets, plan, states);
        if charged && let Some(key) = &plan.idempotency_key {
            buckets.repeats.insert(key.clone(), outcome.clone());
        }
        Applied::Decided(outcome)
    }

    fn change(
        &self,
        plan: &Plan<'_>,
        node: Option<usize>,
        change: impl Fn(usize, &PlannedBucket<'_>, &mut State, Timestamp),
    ) -> Applied {
        let now = self.clock.now();
        let mut buckets = self.buckets.lock().unwrap();
        let Some(mut states) = open_all(&buckets, plan, now) else { return Applied::Stale };
        for (index, (bucket, state)) in plan.buckets().iter().zip(&mut states).enumerate() {
            change(index, bucket, state, now);
            if let Some(node) = node {
                let loosened = buckets.loosened.entry(plan.key_of(bucket).to_vec()).or_default();
                loosened.push(Loosened { node, at: self.world.micros() });
            }
        }
        let outcome = outcome(plan, now, &states, |_| Verdict::ALLOW, false);
        keep(&mut buckets, plan, states);
        Applied::Decided(outcome)
    }

    async fn leg(&self) {
        let arrives = self.world.micros() + self.legs.lock().unwrap().below(self.longest_leg + 1);
        let here = |_: &mut Context<'_>| {
            if self.world.micros() >= arrives { Poll::Ready(()) } else { Poll::Pending }
        };
        poll_fn(here).await;
    }

    async fn there_and_back<T>(&self, work: impl FnOnce() -> T) -> T {
        self.leg().await;
        self.calls.fetch_add(1, Ordering::Relaxed);
        let answer = work();
        self.leg().await;
        answer
    }
}

fn open(buckets: &Buckets, plan: &Plan<'_>, bucket: &PlannedBucket<'_>, now: Timestamp) -> Option<State> {
    let meter = &bucket.metered.meter;
    let Some((revision, state)) = buckets.held.get(plan.key_of(bucket)) else { return Some(meter.fresh()) };
    let mut state = bucket.rule.carry(state.clone(), *revision, bucket.metered, now)?;
    meter.repair(&mut state, now);
    Some(state)
}

fn open_all(buckets: &Buckets, plan: &Plan<'_>, now: Timestamp) -> Option<Vec<State>> {
    plan.buckets().iter().map(|bucket| open(buckets, plan, bucket, now)).collect()
}

fn keep(buckets: &mut Buckets, plan: &Plan<'_>, states: Vec<State>) {
    for (bucket, state) in plan.buckets().iter().zip(states) {
        buckets.held.insert(plan.key_of(bucket).to_vec(), (bucket.metered.revision, state));
    }
}

fn outcome(
    plan: &Plan<'_>,
    now: Timestamp,
    states: &[State],
    verdict: impl Fn(usize) -> Verdict,
    charged: bool,
) -> Outcome {
    let result = |(index, (bucket, state)): (usize, (&PlannedBucket<'_>, &State))| BucketResult {
        verdict: verdict(index),
        gauge: bucket.metered.meter.gauge(state, now, bucket.reserved),
        place: None,
    };
    let results = plan.buckets().iter().zip(states).enumerate().map(result).collect();
    Outcome { states: Some(states.into()), ..Outcome::new(now, results, charged) }
}

/// One node's way to the store.
pub(crate) struct Link {
    pub(crate) remote: Arc<Remote>,
    pub(crate) node: usize,
}

impl BucketStore for Link {
    async fn apply(&self, plan: &Plan<'_>, _now: Timestamp) -> Result<Applied, StoreError> {
        Ok(self.remote.there_and_back(|| self.remote.apply(plan)).await)
    }

    async fn peek(&self, plan: &Plan<'_>, _now: Timestamp) -> Result<Applied, StoreError> {
        Ok(self.remote.there_and_back(|| self.remote.change(plan, None, |_, _, _, _| {})).await)
    }

    async fn refund(&self, plan: &Plan<'_>, _now: Timestamp) -> Result<Applied, StoreError> {
        let refund = |_: usize, bucket: &PlannedBucket<'_>, state: &mut State, now| {
            bucket.metered.meter.refund(state, now, plan.cost);
        };
        Ok(self.remote.there_and_back(|| self.remote.change(plan, Some(self.node), refund)).await)
    }

    async fn withdraw(&self, plan: &Plan<'_>, outcome: &Outcome, _now: Timestamp) -> Result<(), StoreError> {
        let withdraw = |index: usize, bucket: &PlannedBucket<'_>, state: &mut State, now| {
            let place = outcome.results[index].place;
            let charge = Charge { at: outcome.decided_at, cost: plan.cost, permit: plan.permit, place };
            bucket.metered.meter.withdraw(state, now, &charge);
        };
        self.remote.there_and_back(|| self.remote.change(plan, Some(self.node), withdraw)).await;
        Ok(())
    }

    async fn debit(&self, plan: &Plan<'_>, _now: Timestamp) -> Result<Applied, StoreError> {
        let debit = |_: usize, bucket: &PlannedBucket<'_>, state: &mut State, now| {
            bucket.metered.meter.debit(state, now, plan.cost);
        };
        Ok(self.remote.there_and_back(|| self.remote.change(plan, None, debit)).await)
    }

    async fn reset(&self, plan: &Plan<'_>, _now: Timestamp) -> Result<(), StoreError> {
        let reset = |_: usize, bucket: &PlannedBucket<'_>, state: &mut State, _| {
            *state = bucket.metered.meter.fresh();
        };
        self.remote.there_and_back(|| self.remote.change(plan, Some(self.node), reset)).await;
        Ok(())
    }

    fn address(&self, plan: &Plan<'_>, bucket: &PlannedBucket<'_>) -> BucketAddress {
        BucketAddress::from_slice(plan.key_of(bucket))
    }

    async fn release(
        &self,
        address: &BucketAddress,
        permit: u64,
        _now: Timestamp,
    ) -> Result<bool, StoreError> {
        let release = || {
            let now = self.remote.clock.now();
            match self.remote.buckets.lock().unwrap().held.get_mut(address.as_slice()) {
                Some((_, State::Permits(permits))) => permits.release(permit, now),
                _ => false,
            }
        };
        Ok(self.remote.there_and_back(release).await)
    }
}

/// What a plan is made of.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// Positions of rules.
    pub(crate) rules: Vec<usize>,
    pub(crate) user: String,
    pub(crate) cost: u64,
    pub(crate) priority: Option<&'static str>,
    pub(crate) idempotency_key: Option<u64>,
}

impl Spec {
    pub(crate) fn new(rules: &[usize], user: &str) -> Self {
        Self { rules: rules.to_vec(), user: user.into(), cost: 1, priority: None, idempotency_key: None }
    }

    pub(crate) fn plan<'r>(&self, set: &'r RuleSet) -> Plan<'r> {
        let rules = set.domain("d").unwrap().rules();
        let mut plan = Plan::new(self.cost);
        plan.permit = 1;
        plan.idempotency_key = self.idempotency_key.map(|key| key.to_le_bytes().into());
        for position in &self.rules {
            let rule = &rules[*position];
            let metered = rule.metered(None);
            plan.add(rule, metered, rule.reserved(metered, self.priority), &[("user", &self.user)]);
        }
        plan
    }
}

pub(crate) fn rule_set(rules: Vec<Rule>) -> RuleSet {
    RuleSet::compile(Rules { domains: vec![Domain::new("d", rules)] }).unwrap()
}

pub(crate) const fn millis(millis: u64) -> Micros {
    Micros::from_millis(millis)
}
