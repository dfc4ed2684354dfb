//! Many plans under way at once go out together; each is answered as if it had come alone, in its turn.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says its seed"
)]

use std::time::Duration;

use fastrand::Rng;
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::{Domain, Mode, Queue, Rule, Rules};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_redis::{RedisOptions, RedisSettings, RedisStore, StoreClock};
use tidegate_store::{Applied, BucketStore, MemoryOptions, MemoryStore, Outcome, Plan};
use tidegate_testkit::RedisServer;

const START: Timestamp = Timestamp::from_micros(1_780_000_020_000_000);
const ROUNDS: usize = 150;
const USERS: [&str; 5] = ["ann", "bob", "cid", "dan", "eve"];

/// One connection, so that what was asked first is decided first.
async fn store(server: &RedisServer, prefix: &str, options: RedisOptions) -> RedisStore {
    let settings = RedisSettings::parse(&server.url()).unwrap().with_connections(1).unwrap();
    let settings =
        settings.with_call_deadline(Duration::from_secs(10)).unwrap().with_key_prefix(prefix).unwrap();
    let store = RedisStore::new(&settings, RedisOptions { clock: StoreClock::Caller, ..options }).unwrap();
    store.wait_until_tried().await;
    store
}

fn rules(random: &mut Rng) -> RuleSet {
    let mut all = Vec::new();
    for (number, algorithm) in Algorithm::ALL.into_iter().chain(Algorithm::ALL).enumerate() {
        let window = Micros::from_micros(random.u64(1_000..20_000_000));
        let quota = Quota::new(algorithm, random.u64(1..60), window, None).unwrap();
        let mut rule = Rule::new(format!("r{number}"), algorithm, quota);
        if random.u32(0..4) > 0 {
            rule = rule.with_key(["user"]);
        }
        if random.u32(0..5) == 0 {
            rule.mode = Mode::Shadow;
        }
        if algorithm.has_burst() && random.bool() {
            rule.queue = Some(Queue { max_wait: window, max_depth: random.u64(0..9) });
        }
        all.push(rule);
    }
    RuleSet::compile(Rules { domains: vec![Domain::new("batches", all)] }).unwrap()
}

/// What one of many asks.
struct Asked {
    rules: Vec<usize>,
    user: &'static str,
    cost: u64,
    permit: u64,
    idempotency_key: Option<u8>,
    is_peek: bool,
}

impl Asked {
    fn random(random: &mut Rng, permit: u64) -> Self {
        // Mostly one rule, so that equal ones meet.
        let count = if random.u32(0..4) == 0 { random.usize(2..6) } else { 1 };
        let mut rules: Vec<usize> = (0..count).map(|_| random.usize(0..12)).collect();
        rules.sort_unstable();
        rules.dedup();
        Self {
            rules,
            user: USERS[random.usize(0..USERS.len())],
            cost: if random.u32(0..3) > 0 { 1 } else { random.u64(0..5) },
            permit,
            idempotency_key: (random.u32(0..12) == 0).then(|| random.u8(0..3)),
            is_peek: random.u32(0..10) == 0,
        }
    }

    fn plan<'r>(&self, set: &'r RuleSet, round: usize) -> Plan<'r> {
        let mut plan = Plan::new(self.cost);
        plan.permit = self.permit;
        plan.idempotency_key = self.idempotency_key.filter(|_| !self.is_peek).map(|key| {
            format!("{round}/{key}/{:?}/{}/{}", self.rules, self.user, self.cost)
                .into_bytes()
                .into_boxed_slice()
        });
        for index in &self.rules {
            let rule = &set.domains()[0].rules()[*index];
            plan.add(rule, rule.metered(None), 0, &[("user", self.user)]);
        }
        plan
    }
}

async fn run<S: BucketStore>(store: &S, plan: &Plan<'_>, is_peek: bool, now: Timestamp) -> Outcome {
    let applied = if is_peek { store.peek(plan, now).await } else { store.apply(plan, now).await };
    match applied.unwrap() {
        Applied::Decided(outcome) => Outcome { states: None, ..outcome },
        Applied::Stale => panic!("every revision is known"),
    }
}

async fn answers_are_those_of_one_after_the_other(options: RedisOptions, prefix: &str) -> (u64, u64) {
    let server = RedisServer::start();
    let shared = store(&server, prefix, options).await;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    let set = rules(&mut random);
    let alone = MemoryStore::new(&MemoryOptions::new([1, 2]));
    let (mut now, mut permit) = (START, 0);
    // Calls of a script that the server does not know yet go out a second time, behind the others.
    for rule in 0..set.domains()[0].rules().len() {
        permit += 1;
        let asked =
            Asked { rules: vec![rule], user: "ann", cost: 1, permit, idempotency_key: None, is_peek: false };
        let plan = asked.plan(&set, 0);
        assert_eq!(run(&shared, &plan, false, now).await, run(&alone, &plan, false, now).await);
    }
    for round in 0..ROUNDS {
        now = now.saturating_add(Micros::from_micros(random.u64(0..3_000_000)));
        let many: Vec<Asked> = (0..random.usize(1..120))
            .map(|_| {
                permit += 1;
                Asked::random(&mut random, permit)
            })
            .collect();
        let plans: Vec<Plan<'_>> = many.iter().map(|asked| asked.plan(&set, round)).collect();
        let together = many.iter().zip(&plans).map(|(asked, plan)| run(&shared, plan, asked.is_peek, now));
        let together = futures_of(together).await;
        for (index, (asked, plan)) in many.iter().zip(&plans).enumerate() {
            let expected = run(&alone, plan, asked.is_peek, now).await;
            assert_eq!(together[index], expected, "seed {seed}, round {round}, {index}th of {}", many.len());
        }
    }
    let stats = shared.stats();
    assert_eq!(stats.plans, permit, "each was sent once");
    (stats.plans_sent, stats.script_calls)
}

/// Drives futures side by side; each is begun in its turn.
async fn futures_of<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, output) in &mut running {
            if output.is_none()
                && let std::task::Poll::Ready(ready) = future.as_mut().poll(context)
            {
                *output = Some(ready);
            }
        }
        if running.iter().all(|(_, output)| output.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    running.into_iter().map(|(_, output)| output.unwrap()).collect()
}

#[tokio::test]
async fn with_everything_they_ride_together() {
    let (sent, calls) = answers_are_those_of_one_after_the_other(RedisOptions::default(), "b1:").await;
    assert!(calls < sent / 10, "{calls} calls for {sent} plans");
}

#[tokio::test]
async fn without_riding_as_one_they_go_out_together() {
    let options = RedisOptions { coalesce: false, ..RedisOptions::default() };
    answers_are_those_of_one_after_the_other(options, "b2:").await;
}

#[tokio::test]
async fn without_anything_they_go_one_by_one() {
    let options = RedisOptions { coalesce: false, batch: false, witness: false, ..RedisOptions::default() };
    let (sent, calls) = answers_are_those_of_one_after_the_other(options, "b3:").await;
    assert_eq!(sent, calls);
}

/// A set of one rule, and the set that follows it with another window.
fn before_and_after() -> (RuleSet, RuleSet) {
    let set = |seconds| {
        let quota = Quota::new(Algorithm::TokenBucket, 10, Micros::from_secs(seconds), None).unwrap();
        let rule = Rule::new("r", Algorithm::TokenBucket, quota).with_key(["user"]);
        RuleSet::compile(Rules { domains: vec![Domain::new("d", vec![rule])] }).unwrap()
    };
    let before = set(60);
    let after = set(600).succeeding(&before, START);
    (before, after)
}

fn plan_of(set: &RuleSet, cost: u64) -> Plan<'_> {
    let mut plan = plan_for(set, "ann");
    plan.cost = cost;
    plan
}

fn plan_for<'r>(set: &'r RuleSet, user: &str) -> Plan<'r> {
    let mut plan = Plan::new(1);
    let rule = &set.domains()[0].rules()[0];
    plan.add(rule, rule.metered(None), 0, &[("user", user)]);
    plan
}

#[tokio::test]
async fn plans_of_old_and_new_rules_can_ride_together() {
    let server = RedisServer::start();
    let store = store(&server, "b4:", RedisOptions::default()).await;
    let (before, after) = before_and_after();
    let plans: Vec<Plan<'_>> = [&before, &before, &after, &after].map(|set| plan_of(set, 1)).into();
    let all = futures_of(plans.iter().map(|plan| store.apply(plan, START))).await;
    let charged =
        all.iter().filter(|applied| matches!(applied, Ok(Applied::Decided(outcome)) if outcome.charged));
    let stale = all.iter().filter(|applied| matches!(applied, Ok(Applied::Stale)));
    assert_eq!((charged.count(), stale.count()), (4, 0), "{all:?}");
    let look = store.peek(&plan_of(&after, 1), START).await.unwrap();
    let Applied::Decided(look) = look else { panic!("{look:?}") };
    assert_eq!(look.results[0].gauge.remaining, 6, "four units are used, whatever the order was");
    // And whoever still has the old rules is told so.
    assert_eq!(store.apply(&plan_of(&before, 1), START).await, Ok(Applied::Stale));
}

#[tokio::test]
async fn a_key_lives_until_its_bucket_is_at_rest_and_not_for_ever() {
    let server = RedisServer::start();
    let store = store(&server, "b5:", RedisOptions::default()).await;
    let random = &mut Rng::with_seed(5);
    let set = rules(random);
    let mut now = START;
    for permit in 0..600 {
        now = now.saturating_add(Micros::from_micros(random.u64(0..4_000_000)));
        let asked = Asked { idempotency_key: None, is_peek: false, ..Asked::random(random, permit) };
        let plan = asked.plan(&set, 0);
        let outcome = run(&store, &plan, false, now).await;
        for (bucket, result) in plan.buckets().iter().zip(&outcome.results) {
            if result.gauge.reset_after == Micros::ZERO {
                continue;
            }
            let key = store.address(&plan, bucket);
            let mut client = server.client();
            let left = client.command(&[b"PTTL".as_slice(), &key]).integer();
            // The tests' slack is an hour, less what has passed on the server's own clock.
            let life = left - 3_600_000 + 60_000;
            let rest = i64::try_from(result.gauge.reset_after.as_millis_ceil()).unwrap();
            assert!(life >= rest, "{}: {left} ms are left, at rest in {rest} ms", bucket.rule.name());
            let longest = 4 * 20_000 + 3_600_000 + 4 * 20_000 * 60;
            assert!(left <= longest, "{}: {left} ms", bucket.rule.name());
        }
    }
}

#[tokio::test]
async fn a_long_log_is_cut_at_its_old_end_and_counts_on() {
    let server = RedisServer::start();
    let store = store(&server, "b6:", RedisOptions::default()).await;
    let alone = MemoryStore::new(&MemoryOptions::new([1, 2]));
    let quota = Quota::new(Algorithm::SlidingWindowLog, 200, Micros::from_secs(10), None).unwrap();
    let rule = Rule::new("log", Algorithm::SlidingWindowLog, quota).with_key(["user"]);
    let set = RuleSet::compile(Rules { domains: vec![Domain::new("d", vec![rule])] }).unwrap();
    let random = &mut Rng::with_seed(6);
    let mut now = START;
    let mut longest = 0;
    for step in 0..1_500 {
        now = now.saturating_add(Micros::from_micros(random.u64(0..200_000)));
        let plan = plan_of(&set, random.u64(1..4));
        let expected = run(&alone, &plan, false, now).await;
        assert_eq!(run(&store, &plan, false, now).await, expected, "step {step}");
        let key = store.address(&plan, &plan.buckets()[0]);
        longest = longest.max(server.client().command(&[b"STRLEN".as_slice(), &key]).integer());
        if step % 97 == 0 {
            let back = plan_of(&set, 5);
            let (a, b) = (store.refund(&back, now).await, alone.refund(&back, now).await);
            assert_eq!(a, b, "step {step}");
        }
    }
    assert!(longest < 17 + 16 * 300, "what is over is cut off: {longest} bytes");
}

#[tokio::test]
async fn a_bucket_that_stands_twice_in_a_plan_is_charged_once() {
    let server = RedisServer::start();
    let store = store(&server, "b7:", RedisOptions::default()).await;
    let (set, alone) = (rules(&mut Rng::with_seed(7)), MemoryStore::new(&MemoryOptions::new([1, 2])));
    for rule in set.domains()[0].rules() {
        for permit in 1..4 {
            let mut plan = Plan::new(1);
            plan.permit = permit;
            plan.add(rule, rule.metered(None), 0, &[("user", "ann")]);
            plan.add(rule, rule.metered(None), 0, &[("user", "ann")]);
            let expected = run(&alone, &plan, false, START).await;
            assert_eq!(run(&store, &plan, false, START).await, expected, "{}", rule.name());
        }
    }
}

#[tokio::test]
async fn a_bucket_that_comes_to_rest_later_lives_longer() {
    let server = RedisServer::start();
    let store = store(&server, "b9:", RedisOptions::default()).await;
    let quota = Quota::new(Algorithm::TokenBucket, 100, Micros::from_secs(10), None).unwrap();
    let rule = Rule::new("r", Algorithm::TokenBucket, quota).with_key(["user"]);
    let set = RuleSet::compile(Rules { domains: vec![Domain::new("d", vec![rule])] }).unwrap();
    // Every half second for a while: whatever the grid is on which keys expire, its lines are met.
    for step in 0..400 {
        let now = START.saturating_add(Micros::from_millis(500 * step));
        let user = format!("user {step}");
        let mut client = server.client();
        for (cost, rest) in [(5, 500), (40, 4_500), (55, 10_000)] {
            let mut plan = plan_for(&set, &user);
            plan.cost = cost;
            assert!(run(&store, &plan, false, now).await.charged);
            let key = store.address(&plan, &plan.buckets()[0]);
            // The tests' slack is an hour, less the moment that has passed on the server's own clock.
            let left = client.command(&[b"PTTL".as_slice(), &key]).integer() - 3_600_000;
            assert!(left + 400 >= rest, "{left} ms are left of a bucket at rest in {rest} ms, step {step}");
            assert!(left <= 30_000, "{left} ms are left of a bucket at rest in {rest} ms, step {step}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_carry_a_bucket_over_at_once_lose_no_charge() {
    let server = RedisServer::start();
    let mut nodes = Vec::new();
    for _ in 0..4 {
        nodes.push(store(&server, "b8:", RedisOptions::default()).await);
    }
    let set = |seconds, before: Option<&RuleSet>| {
        let quota = Quota::new(Algorithm::TokenBucket, 40, Micros::from_secs(seconds), None).unwrap();
        let rule = Rule::new("r", Algorithm::TokenBucket, quota).with_key(["user"]);
        let set = RuleSet::compile(Rules { domains: vec![Domain::new("d", vec![rule])] }).unwrap();
        before.map_or(set.clone(), |before| set.succeeding(before, START))
    };
    let before = set(60, None);
    let after = std::sync::Arc::new(set(600, Some(&before)));
    for round in 0..30 {
        let user = format!("user {round}");
        for _ in 0..10 {
            assert!(run(&nodes[0], &plan_for(&before, &user), false, START).await.charged);
        }
        let running: Vec<_> = (0..64)
            .map(|call| {
                let (node, rules, user) = (nodes[call % nodes.len()].clone(), after.clone(), user.clone());
                tokio::spawn(async move { run(&node, &plan_for(&rules, &user), false, START).await.charged })
            })
            .collect();
        let mut granted = 0;
        for call in running {
            granted += u64::from(call.await.unwrap());
        }
        assert_eq!(granted, 30, "round {round}: ten of forty were used under the old rule");
    }
}
