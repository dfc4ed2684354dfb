//! Random histories of several nodes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tidegate_core::decision::Verdict;
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::{Queue, Reserve, Rule};
use tidegate_core::time::Micros;
use tidegate_engine::{FastAnswers, FastOptions};
use tidegate_store::{Applied, BucketStore, Outcome, StoreError};

use super::world::{Link, Remote, Rng, Spec, World, WrongClock, millis, poll, rule_set};

const NODES: u64 = 3;
const USERS: u64 = 3;
const MAX_IN_FLIGHT: usize = 24;
const LONGEST_LEG: u64 = 8_000;
const MAX_AGE: Micros = millis(300);

/// What may happen.
#[derive(Clone, Copy, Debug)]
struct Profile {
    /// Refunds, resets and withdrawals.
    loosening: bool,
    /// New quotas for the rules.
    rule_changes: bool,
    operations: u64,
}

#[derive(Default, Debug)]
struct Tally {
    asked: u64,
    fast: u64,
    /// Fast denials where the store would have allowed, because of what another node had just given back.
    excused: u64,
}

struct Node {
    fast: Arc<FastAnswers<Link>>,
    clock: WrongClock,
}

type Call = Pin<Box<dyn Future<Output = Result<Option<Applied>, StoreError>>>>;

struct InFlight {
    node: usize,
    loosens: bool,
    spec: Spec,
    call: Call,
}

struct History {
    rng: Rng,
    profile: Profile,
    world: World,
    remote: Arc<Remote>,
    nodes: Vec<Node>,
    rules: Arc<RuleSet>,
    flying: Vec<InFlight>,
    /// The last outcomes that charged, to be withdrawn.
    charged: Vec<(Spec, Outcome)>,
    tally: Tally,
}

/// One rule of each algorithm with windows of all lengths that matter beside [`MAX_AGE`] and [`LONGEST_LEG`].
fn rules(rng: &mut Rng) -> RuleSet {
    let mut rule = |name: &str, algorithm: Algorithm, window: u64| {
        let limit = 1 + rng.below(6);
        let burst = algorithm.has_burst().then(|| 1 + rng.below(6));
        let quota = Quota::new(algorithm, limit, millis(window), burst).unwrap();
        Rule::new(name, algorithm, quota).with_key(["user"])
    };
    let mut reserved = rule("reserved", Algorithm::TokenBucket, 700);
    reserved.reserve = vec![Reserve { priority: "high".into(), percent: 40 }];
    let mut queue = rule("queue", Algorithm::LeakyBucket, 150);
    queue.queue = Some(Queue { max_wait: millis(60), max_depth: 3 });
    let mut all = rule("all", Algorithm::TokenBucket, 90);
    all.key.clear();
    rule_set(vec![
        rule("token", Algorithm::TokenBucket, 333),
        rule("fixed", Algorithm::FixedWindow, 70),
        rule("sliding", Algorithm::SlidingWindow, 90),
        rule("log", Algorithm::SlidingWindowLog, 110),
        reserved,
        queue,
        rule("slow fixed", Algorithm::FixedWindow, 2_000),
        rule("slow sliding", Algorithm::SlidingWindow, 2_500),
        rule("permits", Algorithm::Concurrency, 100),
        all,
    ])
}

impl History {
    fn new(seed: u64, profile: Profile) -> Self {
        let mut rng = Rng(seed);
        let world = World::new();
        let mut clock = || {
            let offset = rng.below(7_200_000_000).cast_signed() - 3_600_000_000;
            WrongClock::new(&world, offset, rng.below(401).cast_signed() - 200)
        };
        let (store_clock, clocks) = (clock(), [clock(), clock(), clock()]);
        let remote = Remote::new(&world, store_clock, rng.next(), LONGEST_LEG);
        let nodes = clocks
            .into_iter()
            .enumerate()
            .map(|(node, clock)| {
                let (deny_cache, shadow) = (node != 1, node != 2);
                let max_entries = if rng.one_in(4) { 32 } else { 4_096 };
                let options = FastOptions {
                    deny_cache,
                    shadow,
                    max_age: MAX_AGE,
                    max_entries,
                    seed: [rng.next(), rng.next()],
                };
                let link = Link { remote: Arc::clone(&remote), node };
                Node { fast: Arc::new(FastAnswers::new(link, &options)), clock }
            })
            .collect();
        let rules = Arc::new(rules(&mut rng));
        let (flying, charged, tally) = (Vec::new(), Vec::new(), Tally::default());
        Self { rng, profile, world, remote, nodes, rules, flying, charged, tally }
    }

    fn run(mut self) -> Tally {
        for _ in 0..self.profile.operations {
            self.pass_time();
            self.settle();
            if self.flying.len() >= MAX_IN_FLIGHT {
                continue;
            }
            match self.rng.below(200) {
                0 if self.profile.rule_changes => self.change_rules(),
                1..6 if self.profile.loosening => self.start_loosening(),
                6..8 => self.start_debit(),
                _ => self.ask(),
            }
        }
        self.tally
    }

    fn pass_time(&mut self) {
        let most = match self.rng.below(500) {
            0 => 400_000,
            1..10 => 30_000,
            _ => 500,
        };
        self.world.advance(self.rng.below(most));
    }

    /// Lets calls arrive and replies come back, in any order.
    fn settle(&mut self) {
        for index in (0..self.flying.len()).rev() {
            if let Poll::Ready(applied) = poll(self.flying[index].call.as_mut()) {
                let landed = self.flying.swap_remove(index);
                if let Some(Applied::Decided(outcome)) = applied.unwrap()
                    && outcome.charged
                    && !outcome.repeated
                {
                    self.charged.push((landed.spec, outcome));
                    self.charged.truncate(8);
                }
            }
        }
    }

    fn spec(&mut self) -> Spec {
        let rng = &mut self.rng;
        let mut rules = vec![rng.below(10) as usize];
        while rng.one_in(4) && rules.len() < 3 {
            let another = rng.below(10) as usize;
            if !rules.contains(&another) {
                rules.push(another);
            }
        }
        // The first is the hottest.
        let user = rng.below(USERS).min(rng.below(USERS)).min(rng.below(USERS));
        let mut spec = Spec::new(&rules, &user.to_string());
        spec.cost = if rng.one_in(3) { rng.below(5) } else { 1 };
        spec.priority = rng.one_in(2).then_some("high");
        spec.idempotency_key = rng.one_in(20).then(|| rng.below(200));
        spec
    }

    fn ask(&mut self) {
        let (node, spec) = (self.rng.below(NODES) as usize, self.spec());
        let (fast, rules, now) =
            (Arc::clone(&self.nodes[node].fast), Arc::clone(&self.rules), self.nodes[node].clock.now());
        let calls = self.remote.calls();
        let asked = spec.clone();
        let mut call: Call = Box::pin(async move { fast.apply(&asked.plan(&rules), now).await.map(Some) });
        self.tally.asked += 1;
        let first = poll(call.as_mut());
        if first.is_ready() && self.remote.calls() == calls {
            let Poll::Ready(Ok(Some(Applied::Decided(outcome)))) = first else { panic!("no decision") };
            self.check(node, &spec, &outcome);
        } else if first.is_pending() {
            self.flying.push(InFlight { node, loosens: false, spec, call });
        }
    }

    /// A fast denial must be what the store would have said at this very moment.
    fn check(&mut self, node: usize, spec: &Spec, outcome: &Outcome) {
        self.tally.fast += 1;
        let rules = Arc::clone(&self.rules);
        let plan = spec.plan(&rules);
        assert!(!outcome.charged && !outcome.repeated && outcome.results.len() == plan.buckets().len());
        let would = self.remote.would_say(&plan);
        for ((bucket, result), would) in plan.buckets().iter().zip(&outcome.results).zip(would) {
            let Verdict::Deny { retry_after: Some(retry_after) } = result.verdict else {
                panic!("{result:?}")
            };
            assert!(retry_after > Micros::ZERO);
            match would {
                // Others may have added since; nobody can have taken away. But clocks run apart within the age.
                Verdict::Deny { retry_after: Some(truly) } => {
                    let at_most = truly.saturating_add(Micros::from_micros(MAX_AGE.as_micros() / 1_000));
                    assert!(retry_after <= at_most || self.is_excused(node, plan.key_of(bucket)), "{spec:?}");
                }
                Verdict::Deny { retry_after: None } => panic!("never, {spec:?}"),
                Verdict::Allow { .. } => {
                    assert!(
                        self.is_excused(node, plan.key_of(bucket)),
                        "unsound: {node} {spec:?} {result:?}"
                    );
                    self.tally.excused += 1;
                }
            }
        }
    }

    /// Whether another node, or a call of this one that is not over, gave something back within the age.
    fn is_excused(&self, node: usize, key: &[u8]) -> bool {
        let since = self.world.micros() - MAX_AGE.as_micros() * 1_001 / 1_000;
        let own_is_flying = self.flying.iter().any(|flying| flying.loosens && flying.node == node);
        let loosenings = self.remote.loosenings_of(key);
        let mut recent = loosenings.iter().filter(|loosened| loosened.at >= since);
        recent.any(|loosened| loosened.node != node || own_is_flying)
    }

    fn start_loosening(&mut self) {
        let node = self.rng.below(NODES) as usize;
        let (fast, rules, now) =
            (Arc::clone(&self.nodes[node].fast), Arc::clone(&self.rules), self.nodes[node].clock.now());
        let withdrawn = self.charged.pop().filter(|_| self.rng.one_in(2));
        let resets = self.rng.one_in(2);
        let spec = match &withdrawn {
            Some((spec, _)) => spec.clone(),
            None => Spec { idempotency_key: None, ..self.spec() },
        };
        let given_back = spec.clone();
        let call: Call = Box::pin(async move {
            let plan = given_back.plan(&rules);
            match &withdrawn {
                Some((_, outcome)) => fast.withdraw(&plan, outcome, now).await?,
                None if resets => fast.reset(&plan, now).await?,
                None => drop(fast.refund(&plan, now).await?),
            }
            Ok(None)
        });
        self.flying.push(InFlight { node, loosens: true, spec, call });
    }

    fn start_debit(&mut self) {
        let (node, spec) = (self.rng.below(NODES) as usize, self.spec());
        let (fast, rules, now) =
            (Arc::clone(&self.nodes[node].fast), Arc::clone(&self.rules), self.nodes[node].clock.now());
        let taken = spec.clone();
        let call: Call = Box::pin(async move { fast.debit(&taken.plan(&rules), now).await.map(|_| None) });
        self.flying.push(InFlight { node, loosens: false, spec, call });
    }

    /// New quotas; not every node is told, because a request that is on its way knows its rules itself.
    fn change_rules(&mut self) {
        let at = self.remote.clock.now();
        self.rules = Arc::new(rules(&mut self.rng).succeeding(&self.rules, at));
        for node in &self.nodes {
            if self.rng.one_in(2) {
                node.fast.rules_changed(&self.rules, node.clock.now());
            }
        }
    }
}

fn run(profile: Profile, first_seed: u64) -> Tally {
    let mut all = Tally::default();
    for seed in first_seed..first_seed + 10 {
        println!("seed {seed}, {profile:?}");
        let tally = History::new(seed, profile).run();
        println!("{tally:?}");
        all.asked += tally.asked;
        all.fast += tally.fast;
        all.excused += tally.excused;
    }
    println!("all: {all:?}");
    all
}

#[test]
fn every_fast_denial_is_the_stores() {
    let all = run(Profile { loosening: false, rule_changes: false, operations: 60_000 }, 100);
    assert!(all.fast > all.asked / 5 && all.excused == 0, "{all:?}");
}

#[test]
fn every_fast_denial_is_the_stores_while_rules_change() {
    let all = run(Profile { loosening: false, rule_changes: true, operations: 30_000 }, 200);
    assert!(all.fast > all.asked / 10 && all.excused == 0, "{all:?}");
}

#[test]
fn what_is_given_back_is_seen_within_the_age_and_at_once_by_who_gave_it() {
    let all = run(Profile { loosening: true, rule_changes: true, operations: 30_000 }, 300);
    assert!(all.fast > all.asked / 10 && all.excused > 0, "{all:?}");
}
