//! Random traces: the same operations on a store and on the reference model, and equal answers to the last integer.
//!
//! Time only goes forward here, and a subject never changes its tier: a store may forget a bucket that is at rest,
//! and carries a bucket to another tier when it next charges it, where the model does so at once. Both have their
//! scenarios.

use core::fmt::Write;

use fastrand::Rng;
use tidegate_core::decision::{Gauge, Verdict};
use tidegate_core::model::{ModelBucket, ModelStore, Take};
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::model::{Domain, Mode, Queue, Rule, Rules};
use tidegate_core::rule::{CompiledRule, RuleSet};
use tidegate_core::time::{Micros, Timestamp};

use super::site::{START, decided};
use crate::plan::{Outcome, Plan};
use crate::port::BucketStore;

const RULES: usize = 3;
const USERS: [&str; 6] = ["ann", "bob", "cid", "dan", "eve", "fay"];
const TIER: &str = "pro";
/// The largest limit. With the slowest rules here, what was used of it fades within the 2^53 µs that every store can
/// keep exactly; the model knows no such end.
const MAX_UNITS: u64 = 50_000;

/// Which trace to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The algorithm of every rule; a mixture where absent.
    pub algorithm: Option<Algorithm>,
    /// Everything random follows from it.
    pub seed: u64,
    /// How many operations.
    pub operations: usize,
}

impl Trace {
    /// Every algorithm by itself, and all together.
    pub const ALGORITHMS: [Option<Algorithm>; 7] = [
        None,
        Some(Algorithm::TokenBucket),
        Some(Algorithm::LeakyBucket),
        Some(Algorithm::FixedWindow),
        Some(Algorithm::SlidingWindow),
        Some(Algorithm::SlidingWindowLog),
        Some(Algorithm::Concurrency),
    ];
}

/// Runs one trace.
///
/// # Panics
/// When the store and the model disagree; the message says the trace and the step.
pub async fn run_trace<S: BucketStore>(store: &S, trace: Trace) {
    let mut run = Run::new(store, trace);
    for step in 0..trace.operations {
        run.step = step;
        run.advance();
        match run.random.u32(0..100) {
            0..66 => run.apply().await,
            66..76 => run.peek().await,
            76..84 => run.refund().await,
            84..94 => run.release().await,
            94..97 => run.reset().await,
            _ => run.change_rules(),
        }
    }
}

struct Run<'s, S> {
    store: &'s S,
    model: ModelStore,
    trace: Trace,
    step: usize,
    random: Rng,
    now: Timestamp,
    rules: RuleSet,
    /// Permits that may be held: rule, user, id.
    permits: Vec<(usize, usize, u64)>,
}

/// One random request.
#[derive(Clone, Debug)]
struct Asked {
    user: usize,
    cost: u64,
    permit: u64,
    /// Per rule: whether it is asked, and what is reserved there.
    rules: Vec<(usize, u64)>,
}

impl<'s, S: BucketStore> Run<'s, S> {
    fn new(store: &'s S, trace: Trace) -> Self {
        let salt = trace.algorithm.map_or(0, |algorithm| 1 + algorithm as u64);
        let mut random = Rng::with_seed(trace.seed.wrapping_mul(31).wrapping_add(salt));
        let declared: Vec<Rule> = (0..RULES).map(|index| rule(index, trace.algorithm, &mut random)).collect();
        let mut model = ModelStore::new();
        declared.iter().for_each(|rule| model.change_rule(rule, START));
        let rules = compile(trace, declared);
        Self { store, model, trace, step: 0, random, now: START, rules, permits: Vec::new() }
    }

    fn context(&self, asked: &Asked) -> String {
        let Self { trace, step, now, .. } = self;
        let mut text = format!("{trace:?}, step {step}, at {} µs: {asked:?}", now.as_micros());
        for rule in rules_of(&self.rules) {
            let _ = write!(text, "\n  {:?}", rule.model());
        }
        text
    }

    fn advance(&mut self) {
        let window = rules_of(&self.rules)[self.random.usize(0..RULES)].model().quota.window().as_micros();
        let by = match self.random.u32(0..10) {
            0..4 => 0,
            4..6 => self.random.u64(0..100),
            6..9 => self.random.u64(0..=window / 3),
            _ => self.random.u64(0..=3 * window),
        };
        self.now = self.now.saturating_add(Micros::from_micros(by));
    }

    fn ask(&mut self) -> Asked {
        let user = self.random.usize(0..USERS.len());
        let rules = rules_of(&self.rules);
        let burst = rules[self.random.usize(0..RULES)].model().quota.burst();
        let cost = match self.random.u32(0..10) {
            0..6 => 1,
            6..8 => self.random.u64(0..4),
            8 => self.random.u64(0..=burst / 2 + 1),
            _ => self.random.u64(0..=burst + 1),
        };
        let asked: Vec<usize> = (0..RULES).filter(|_| self.random.u32(0..3) > 0).collect();
        let reserved = |index: &usize| {
            let burst = rules_of(&self.rules)[*index].model().quota.burst();
            (*index, if self.random.u32(0..4) == 0 { self.random.u64(0..=burst / 3) } else { 0 })
        };
        let rules = asked.iter().map(reserved).collect();
        Asked { user, cost, permit: self.step as u64 + 1, rules }
    }

    fn plan(&self, asked: &Asked) -> Plan<'_> {
        let mut plan = Plan::new(asked.cost);
        plan.permit = asked.permit;
        for (index, reserved) in &asked.rules {
            let rule = &rules_of(&self.rules)[*index];
            plan.add(rule, rule.metered(tier_of(asked.user)), *reserved, &[("user", USERS[asked.user])]);
        }
        plan
    }

    fn model_buckets(&self, asked: &Asked) -> Vec<ModelBucket> {
        let bucket = |(index, reserved): &(usize, u64)| {
            let rule = &rules_of(&self.rules)[*index];
            ModelBucket {
                rule: rule.name().to_owned(),
                key: key_of(rule, asked.user),
                tier: tier_of(asked.user).map(str::to_owned),
                reserved: *reserved,
            }
        };
        asked.rules.iter().map(bucket).collect()
    }

    async fn apply(&mut self) {
        let asked = self.ask();
        let take = Take { cost: asked.cost, permit: asked.permit };
        let expected = self.model.apply(&self.model_buckets(&asked), take, self.now);
        let applied = self.store.apply(&self.plan(&asked), self.now).await.expect("the store answers");
        let outcome = decided(applied);
        assert_eq!(answers(&outcome), expected.results, "apply, {}", self.context(&asked));
        assert_eq!(outcome.charged, expected.charged, "apply, {}", self.context(&asked));
        if outcome.charged {
            self.permits.extend(asked.rules.iter().map(|(rule, _)| (*rule, asked.user, asked.permit)));
        }
    }

    async fn peek(&mut self) {
        let asked = self.ask();
        let expected = self.model.peek(&self.model_buckets(&asked), asked.cost, self.now);
        let applied = self.store.peek(&self.plan(&asked), self.now).await.expect("the store answers");
        assert_eq!(answers(&decided(applied)), expected, "peek, {}", self.context(&asked));
    }

    async fn refund(&mut self) {
        let asked = self.ask();
        let expected = self.model.refund(&self.model_buckets(&asked), asked.cost, self.now);
        let applied = self.store.refund(&self.plan(&asked), self.now).await.expect("the store answers");
        let gauges: Vec<Gauge> = decided(applied).results.iter().map(|result| result.gauge).collect();
        assert_eq!(gauges, expected, "refund, {}", self.context(&asked));
    }

    async fn reset(&mut self) {
        let asked = self.ask();
        self.model.reset(&self.model_buckets(&asked));
        self.store.reset(&self.plan(&asked), self.now).await.expect("the store answers");
    }

    async fn release(&mut self) {
        if self.permits.is_empty() {
            return;
        }
        let (index, user, permit) = self.permits.swap_remove(self.random.usize(0..self.permits.len()));
        let rule = &rules_of(&self.rules)[index];
        let asked = Asked { user, cost: 1, permit, rules: vec![(index, 0)] };
        let expected = self.model.release(rule.name(), &key_of(rule, user), permit, self.now);
        let plan = self.plan(&asked);
        let address = self.store.address(&plan, &plan.buckets()[0]);
        let released = self.store.release(&address, permit, self.now).await.expect("the store answers");
        assert_eq!(released, expected, "release, {}", self.context(&asked));
    }

    fn change_rules(&mut self) {
        let changed = self.random.usize(0..RULES);
        let declared: Vec<Rule> = rules_of(&self.rules)
            .iter()
            .enumerate()
            .map(|(index, old)| {
                let mut new = old.model().clone();
                if index == changed {
                    new = rule(index, self.trace.algorithm, &mut self.random);
                    new.key = old.model().key.clone();
                    // Whether there are tiers stays as it is, or subjects would change theirs.
                    new.tiers.clear();
                    for (tier, _) in &old.model().tiers {
                        new.tiers.push((tier.clone(), quota(new.algorithm, &mut self.random)));
                    }
                }
                new
            })
            .collect();
        // Permits are not carried to another algorithm; the store may find that out later than the model.
        if declared[changed].algorithm != rules_of(&self.rules)[changed].model().algorithm {
            self.permits.retain(|(rule, _, _)| *rule != changed);
        }
        declared.iter().for_each(|rule| self.model.change_rule(rule, self.now));
        self.rules = compile(self.trace, declared).succeeding(&self.rules, self.now);
        self.store.rules_changed(&self.rules, self.now);
    }
}

fn answers(outcome: &Outcome) -> Vec<(Verdict, Gauge)> {
    outcome.results.iter().map(|result| (result.verdict, result.gauge)).collect()
}

fn rules_of(set: &RuleSet) -> &[CompiledRule] {
    set.domains()[0].rules()
}

fn compile(trace: Trace, rules: Vec<Rule>) -> RuleSet {
    let name = format!("trace-{:?}-{}", trace.algorithm, trace.seed);
    RuleSet::compile(Rules { domains: vec![Domain::new(name, rules)] }).expect("the rules make a set")
}

fn tier_of(user: usize) -> Option<&'static str> {
    (user % 2 == 1).then_some(TIER)
}

fn key_of(rule: &CompiledRule, user: usize) -> String {
    if rule.model().key.is_empty() { String::new() } else { USERS[user].to_owned() }
}

/// A random rule; only one with a bucket per user has tiers.
fn rule(index: usize, algorithm: Option<Algorithm>, random: &mut Rng) -> Rule {
    let algorithm = algorithm.unwrap_or_else(|| Algorithm::ALL[random.usize(0..Algorithm::ALL.len())]);
    let mut rule = Rule::new(format!("r{index}"), algorithm, quota(algorithm, random));
    if random.u32(0..3) > 0 {
        rule.key = vec!["user".to_owned()];
        if random.bool() {
            rule.tiers = vec![(TIER.to_owned(), quota(algorithm, random))];
        }
    }
    if random.u32(0..5) == 0 {
        rule.mode = Mode::Shadow;
    }
    if algorithm.has_burst() && random.bool() {
        let window = rule.quota.window().as_micros();
        let max_wait = Micros::from_micros(random.u64(0..=window));
        rule.queue = Some(Queue { max_wait, max_depth: random.u64(0..20) });
    }
    rule
}

fn quota(algorithm: Algorithm, random: &mut Rng) -> Quota {
    loop {
        let limit = match random.u32(0..10) {
            0 => 0,
            1 => random.u64(0..=algorithm.max_limit().min(MAX_UNITS)),
            _ => random.u64(1..30),
        };
        let window = match random.u32(0..4) {
            0 => Micros::from_secs(random.u64(1..100)),
            1 => Micros::from_micros(random.u64(1_000..10_000_000)),
            2 => Micros::from_micros(random.u64(1_000..100_000_000_000)),
            _ => Micros::from_millis(random.u64(1..5_000)),
        };
        let burst = (algorithm.has_burst() && random.bool()).then(|| random.u64(1..40));
        if let Ok(quota) = Quota::new(algorithm, limit, window, burst) {
            return quota;
        }
    }
}
