//! Goal: the engine asks the right rules, obeys the right verdicts, waits its turn, and survives changes of rules.
//! Method: the embedded store on a clock that the test moves; tokio's paused time for waits; threads for races.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::room::RoomName;
use tidegate_core::rule::model::{Domain, Mode, OnLimit, Queue, Rule, Rules};
use tidegate_core::rule::{RuleSet, RuleTier};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_engine::{
    Answer, Clock, Decision, Engine, ManualClock, Observer, Request, Selection, SubjectQuotas,
};
use tidegate_store::{MemoryOptions, MemoryStore};

const START: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);
const MINUTE: Micros = Micros::from_secs(60);

type TestEngine = Engine<MemoryStore, ManualClock>;

fn rule(name: &str, algorithm: Algorithm, limit: u64) -> Rule {
    Rule::new(name, algorithm, Quota::new(algorithm, limit, MINUTE, None).unwrap()).with_key(["user"])
}

fn set(rules: Vec<Rule>) -> RuleSet {
    RuleSet::compile(Rules { domains: vec![Domain::new("d", rules)] }).unwrap()
}

fn engine(rules: Vec<Rule>) -> (TestEngine, ManualClock) {
    let clock = ManualClock::new(START);
    (
        Engine::with_parts(set(rules), MemoryStore::new(&MemoryOptions::new([1, 2])), clock.clone(), None),
        clock,
    )
}

const USER: [(&str, &str); 1] = [("user", "u1")];

fn request() -> Request<'static> {
    Request::new("d", &USER)
}

#[tokio::test]
async fn a_hierarchy_is_all_or_nothing_and_the_longest_denial_binds() {
    let mut wide = rule("wide", Algorithm::FixedWindow, 100);
    wide.key.clear();
    let (engine, _) = engine(vec![
        rule("user", Algorithm::TokenBucket, 5),
        wide,
        rule("strict", Algorithm::SlidingWindowLog, 3),
    ]);
    for _ in 0..3 {
        assert!(engine.decide(&request()).await.unwrap().is_allowed());
    }
    let denied = engine.decide(&request()).await.unwrap();
    assert_eq!(denied.answer(), Answer::Deny);
    assert_eq!(denied.binding().unwrap().rule.name(), "strict");
    assert_eq!(denied.retry_after(), Some(MINUTE));
    let remaining: Vec<u64> = denied.verdicts().map(|verdict| verdict.gauge.remaining).collect();
    assert_eq!(remaining, [2, 97, 0], "the rules that allowed were not charged");
}

#[tokio::test]
async fn a_shadow_rule_neither_denies_nor_hides_an_otherwise_rule() {
    let mut shadow = rule("shadow", Algorithm::TokenBucket, 1);
    shadow.mode = Mode::Shadow;
    let mut otherwise = rule("otherwise", Algorithm::TokenBucket, 2);
    otherwise.otherwise = true;
    let (engine, _) = engine(vec![shadow, otherwise]);
    engine.decide(&request()).await.unwrap();
    let second = engine.decide(&request()).await.unwrap();
    assert!(second.is_allowed());
    assert_eq!(second.binding().unwrap().rule.name(), "otherwise");
    assert!(!second.verdicts().next().unwrap().verdict.is_allow());
    assert!(!engine.decide(&request()).await.unwrap().is_allowed());
}

#[tokio::test]
async fn tiers_and_priorities_come_from_the_entries() {
    let quota = |limit| Quota::new(Algorithm::FixedWindow, limit, MINUTE, None).unwrap();
    let mut tiered = rule("tiered", Algorithm::FixedWindow, 10);
    tiered.tiers = vec![("pro".into(), quota(100))];
    tiered.reserve = vec![tidegate_core::rule::model::Reserve { priority: "critical".into(), percent: 20 }];
    let (engine, _) = engine(vec![tiered]);
    let limit = async |entries: &[(&str, &str)]| {
        let decision = engine.peek(&Request::new("d", entries)).await.unwrap();
        let binding = decision.binding().unwrap();
        (binding.quota.limit(), binding.gauge.remaining)
    };
    assert_eq!(limit(&[("user", "a")]).await, (10, 8));
    assert_eq!(limit(&[("user", "a"), ("priority", "critical")]).await, (10, 10));
    assert_eq!(limit(&[("user", "a"), ("tier", "pro")]).await, (100, 80));
    assert_eq!(limit(&[("user", "a"), ("tier", "unheard of")]).await, (10, 8));
}

fn valve() -> Rule {
    let quota = Quota::new(Algorithm::LeakyBucket, 10, Micros::from_secs(1), None).unwrap();
    let mut valve = Rule::new("valve", Algorithm::LeakyBucket, quota);
    valve.queue = Some(Queue { max_wait: Micros::from_secs(2), max_depth: 3 });
    valve
}

#[tokio::test(start_paused = true)]
async fn a_valve_lets_requests_wait_in_order_within_its_depth() {
    let (engine, _) = engine(vec![valve()]);
    let started = tokio::time::Instant::now();
    let waits: Vec<_> = (0..5)
        .map(|_| {
            let engine = engine.clone();
            tokio::spawn(async move {
                let decision = engine.check(&Request::new("d", &[])).await.unwrap();
                (decision.is_allowed(), started.elapsed())
            })
        })
        .collect();
    let mut results = Vec::new();
    for wait in waits {
        results.push(wait.await.unwrap());
    }
    let allowed: Vec<u128> =
        results.iter().filter(|(allowed, _)| *allowed).map(|(_, elapsed)| elapsed.as_millis()).collect();
    assert_eq!(allowed.len(), 4, "one passes, three wait, the fifth is refused: {results:?}");
    for (place, elapsed) in allowed.iter().enumerate() {
        let due = place as u128 * 100;
        assert!((due..=due + 2).contains(elapsed), "place {place} after {elapsed} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_waiting_gives_the_place_back() {
    let (engine, _) = engine(vec![valve()]);
    assert!(engine.check(&Request::new("d", &[])).await.unwrap().is_allowed());
    let given_up =
        tokio::time::timeout(Duration::from_millis(10), engine.check(&Request::new("d", &[]))).await;
    assert!(given_up.is_err(), "it had to wait and was dropped");
    let next = engine.peek(&Request::new("d", &[])).await.unwrap();
    assert_eq!(
        next.answer(),
        Answer::Wait(Micros::from_millis(100)),
        "the first place in the queue is free again"
    );
}

#[tokio::test(start_paused = true)]
async fn giving_up_takes_back_permits_and_other_charges_too() {
    let mut permits = rule("permits", Algorithm::Concurrency, 9);
    permits.key.clear();
    let mut counted = rule("counted", Algorithm::FixedWindow, 100);
    counted.key.clear();
    let (engine, clock) = engine(vec![valve(), permits, counted]);
    let used = async || {
        let peek = engine.peek(&Request::new("d", &[])).await.unwrap();
        peek.verdicts().map(|verdict| verdict.gauge.used).collect::<Vec<_>>()
    };
    assert!(engine.check(&Request::new("d", &[])).await.unwrap().is_allowed());
    assert_eq!(used().await, [1, 1, 1]);
    let waiting = Request { idempotency_key: Some("k"), ..Request::new("d", &[]) };
    let given_up = tokio::time::timeout(Duration::from_millis(10), engine.check(&waiting)).await;
    assert!(given_up.is_err());
    assert_eq!(used().await, [1, 1, 1], "the permit and the count are given back with the place");

    // The key is forgotten with the charge: coming back with it is charged again.
    let again = engine.decide(&waiting).await.unwrap();
    assert!(!again.is_repeated() && matches!(again.answer(), Answer::Wait(_)));
    assert_eq!(used().await, [2, 2, 2]);
    // A repeated call that goes away leaves the first one's place alone.
    let repeated = tokio::time::timeout(Duration::from_millis(10), engine.check(&waiting)).await;
    assert!(repeated.is_err());
    assert_eq!(used().await, [2, 2, 2]);
    // What is left of the wait is what a repeated call waits.
    clock.advance(Micros::from_millis(60));
    let before = tokio::time::Instant::now();
    assert!(engine.check(&waiting).await.unwrap().is_repeated());
    assert_eq!(before.elapsed().as_millis(), 40);
}

#[tokio::test]
async fn a_refund_gives_no_place_before_those_who_wait() {
    let (engine, _) = engine(vec![valve()]);
    let call = Request::new("d", &[]);
    for place in 0..3 {
        let expected =
            if place == 0 { Answer::Allow } else { Answer::Wait(Micros::from_millis(place * 100)) };
        assert_eq!(engine.decide(&call).await.unwrap().answer(), expected);
    }
    engine.refund(&call).await.unwrap();
    assert_eq!(engine.decide(&call).await.unwrap().answer(), Answer::Wait(Micros::from_millis(300)));
}

#[tokio::test]
async fn an_idempotency_key_repeats_the_same_call_only() {
    let (engine, _) = engine(vec![rule("r", Algorithm::TokenBucket, 10)]);
    let keyed = |entries| Request { idempotency_key: Some("k"), ..Request::new("d", entries) };
    assert!(!engine.decide(&keyed(&USER)).await.unwrap().is_repeated());
    assert!(engine.decide(&keyed(&USER)).await.unwrap().is_repeated());
    assert!(!engine.decide(&keyed(&[("user", "u2")])).await.unwrap().is_repeated(), "another user");
    assert!(!engine.decide(&keyed(&USER).with_cost(2)).await.unwrap().is_repeated(), "another cost");
    let used = async || engine.peek(&request()).await.unwrap().binding().unwrap().gauge.used;
    assert_eq!(used().await, 3);
    for _ in 0..2 {
        engine.refund(&keyed(&USER)).await.unwrap();
        assert_eq!(used().await, 2, "a refund is done once under its key");
    }
}

#[tokio::test]
async fn a_rule_that_sends_to_a_room_does_not_apply_to_those_inside() {
    let (sale, other) = (RoomName::new("sale").unwrap(), RoomName::new("other").unwrap());
    let valve = Rule { on_limit: OnLimit::Room(sale.clone()), ..rule("valve", Algorithm::TokenBucket, 1) };
    let (engine, _) = engine(vec![valve, rule("all", Algorithm::TokenBucket, 3)]);
    let (inside, elsewhere) = ([sale], [other]);
    let of = |inside| Request { inside, idempotency_key: Some("k"), ..request() };
    assert!(engine.decide(&request()).await.unwrap().is_allowed());
    let denied = engine.decide(&of(&elsewhere)).await.unwrap();
    assert!(!denied.is_allowed(), "another room says nothing");
    // The same call, inside: nothing was charged before, and it is once now, by the other rule alone.
    for is_repeated in [false, true] {
        let passes = engine.decide(&of(&inside)).await.unwrap();
        assert_eq!((passes.is_allowed(), passes.is_repeated(), passes.rules_asked()), (true, is_repeated, 1));
        assert_eq!(passes.binding().unwrap().gauge.used, 2);
    }
}

#[tokio::test]
async fn a_permit_that_is_asked_for_again_is_the_same() {
    let (engine, _) = engine(vec![rule("r", Algorithm::Concurrency, 2)]);
    let keyed = Request { idempotency_key: Some("k"), ..request() };
    let first = engine.decide(&keyed).await.unwrap().permit().cloned().unwrap();
    let again = engine.decide(&keyed).await.unwrap().permit().cloned().unwrap();
    assert_eq!(first, again);
    let other = engine.decide(&request()).await.unwrap().permit().cloned().unwrap();
    assert_ne!(first, other);
    assert!(engine.release(&first).await.unwrap());
    assert!(!engine.release(&again).await.unwrap());
}

#[tokio::test]
async fn a_sweep_after_a_rule_became_slower_gives_no_fresh_burst() {
    let quota = |window| Quota::new(Algorithm::TokenBucket, 10, window, None).unwrap();
    let of = |window| set(vec![Rule::new("r", Algorithm::TokenBucket, quota(window)).with_key(["user"])]);
    let clock = ManualClock::new(START);
    let store = MemoryStore::new(&MemoryOptions::new([1, 2]));
    let engine = Engine::with_parts(of(Micros::from_secs(3)), store, clock.clone(), None);
    assert!(engine.decide(&request().with_cost(10)).await.unwrap().is_allowed());
    engine.replace_rules(of(Micros::from_secs(3_600)));
    clock.advance(Micros::from_secs(10));
    engine.store().sweep(engine.now(), 1_000_000);
    assert!(!engine.decide(&request().with_cost(10)).await.unwrap().is_allowed());
}

#[tokio::test]
async fn a_restart_with_a_slower_rule_gives_no_fresh_burst() {
    let of = |algorithm, window| {
        let quota = Quota::new(algorithm, 10, window, None).unwrap();
        set(vec![Rule::new("r", algorithm, quota).with_key(["user"])])
    };
    for (before, after) in [
        (Algorithm::TokenBucket, Algorithm::TokenBucket),
        (Algorithm::FixedWindow, Algorithm::FixedWindow),
        (Algorithm::SlidingWindow, Algorithm::TokenBucket),
        (Algorithm::TokenBucket, Algorithm::SlidingWindowLog),
    ] {
        let clock = ManualClock::new(START);
        let store = MemoryStore::new(&MemoryOptions::new([1, 2]));
        let engine = Engine::with_parts(of(before, MINUTE), store, clock.clone(), None);
        assert!(engine.decide(&request().with_cost(10)).await.unwrap().is_allowed());
        let mut saved = Vec::new();
        engine.store().write_snapshot(&mut saved, engine.now()).unwrap();
        clock.advance(Micros::from_secs(1));
        let restored =
            MemoryStore::restore(saved.as_slice(), &MemoryOptions::new([3, 4]), clock.now()).unwrap();
        let engine = Engine::with_parts(of(after, Micros::from_secs(3_600)), restored, clock.clone(), None);
        assert!(!engine.decide(&request().with_cost(5)).await.unwrap().is_allowed(), "{before} then {after}");
        engine.store().sweep(engine.now(), 1_000_000);
        assert!(
            !engine.decide(&request().with_cost(5)).await.unwrap().is_allowed(),
            "{before} then {after}, swept"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_once_for_the_last_turn() {
    let (engine, _) = engine(vec![valve()]);
    let call = Request::new("d", &[]);
    let before = tokio::time::Instant::now();
    let mut decisions = Vec::new();
    for _ in 0..3 {
        decisions.push(engine.decide(&call).await.unwrap());
    }
    assert!(decisions.iter().all(Decision::is_allowed));
    let decided: Vec<_> = decisions.iter().map(|decision| (call, decision)).collect();
    engine.wait_for_all(&decided).await;
    assert_eq!(before.elapsed().as_millis(), 200);
}

#[tokio::test]
async fn forty_flips_of_a_rule_never_give_a_fresh_burst() {
    for algorithm in [
        Algorithm::TokenBucket,
        Algorithm::FixedWindow,
        Algorithm::SlidingWindow,
        Algorithm::SlidingWindowLog,
    ] {
        let (engine, clock) = engine(vec![rule("r", algorithm, 100)]);
        let mut admitted = 0;
        for flip in 0..40 {
            for _ in 0..200 {
                admitted += u32::from(engine.decide(&request()).await.unwrap().is_allowed());
            }
            engine.replace_rules(set(vec![rule("r", algorithm, if flip % 2 == 0 { 10 } else { 100 })]));
            engine.store().sweep(engine.now(), 1_000_000);
        }
        assert_eq!(admitted, 100, "{algorithm}: the larger burst, once");
        clock.advance(Micros::from_secs(600));
        assert!(engine.decide(&request()).await.unwrap().is_allowed(), "{algorithm}: and it refills");
    }
}

#[tokio::test]
async fn a_slower_rule_takes_effect_at_the_instant_it_is_put_in_force() {
    let (engine, clock) = engine(vec![rule("r", Algorithm::TokenBucket, 60)]);
    let all = request().with_cost(60);
    assert!(engine.decide(&all).await.unwrap().is_allowed());
    // 60 a minute becomes 6 a minute at once, but nobody asks for half a minute.
    engine.replace_rules(set(vec![rule("r", Algorithm::TokenBucket, 6)]));
    clock.advance(Micros::from_secs(30));
    let gauge = engine.peek(&request()).await.unwrap().binding().unwrap().gauge;
    assert_eq!((gauge.used, gauge.remaining), (57, 0), "30 s at 6 a minute are 3 units, not 30");
}

#[tokio::test]
async fn a_rule_that_is_removed_and_comes_back_remembers() {
    let (engine, _) = engine(vec![rule("r", Algorithm::TokenBucket, 5)]);
    assert!(engine.decide(&request().with_cost(5)).await.unwrap().is_allowed());
    engine.replace_rules(set(vec![]));
    assert!(engine.decide(&request()).await.unwrap().is_allowed(), "no rule, no limit");
    engine.replace_rules(set(vec![rule("r", Algorithm::TokenBucket, 5)]));
    assert!(!engine.decide(&request()).await.unwrap().is_allowed());
}

#[tokio::test]
async fn a_rule_that_is_renamed_remembers() {
    for algorithm in Algorithm::ALL {
        let renamed = |name: &str| Rule { formerly: Some("r".to_owned()), ..rule(name, algorithm, 5) };
        let (engine, clock) = engine(vec![rule("r", algorithm, 5)]);
        let mut taken = 0;
        for name in ["r", "s", "t", "s"] {
            if name != "r" {
                engine.replace_rules(set(vec![renamed(name)]));
            }
            for _ in 0..2 {
                taken += u64::from(engine.decide(&request()).await.unwrap().is_allowed());
            }
            clock.advance(Micros::from_millis(10));
        }
        let most = if algorithm == Algorithm::LeakyBucket { 1 } else { 5 };
        assert_eq!(taken, most, "{algorithm}");
        let decision = engine.decide(&request()).await.unwrap();
        assert_eq!(decision.verdicts().next().map(|verdict| verdict.rule.name()), Some("s"), "{algorithm}");
    }
}

#[tokio::test]
async fn a_set_at_a_version_of_its_own_is_in_force_as_that() {
    let (engine, _) = engine(vec![rule("r", Algorithm::TokenBucket, 5)]);
    assert_eq!(engine.replace_rules(set(vec![]).at_version(41)), 41);
    assert_eq!(engine.rules().version(), 41);
    assert_eq!(engine.replace_rules(set(vec![])), 42, "one more than before");
    assert_eq!(engine.replace_rules(set(vec![]).at_version(7)), 43, "never back");
}

#[tokio::test]
async fn stats_refund_and_reset_reach_the_same_buckets() {
    let (engine, _) = engine(vec![rule("r", Algorithm::SlidingWindow, 9)]);
    engine.decide(&request().with_cost(6)).await.unwrap();
    assert_eq!(engine.stats(&Selection::new("d", "u1")).await.unwrap().binding().unwrap().gauge.used, 6);
    let refunded = engine.refund(&request().with_cost(2)).await.unwrap();
    assert_eq!(refunded.binding().unwrap().gauge.used, 4);
    engine.reset(&request()).await.unwrap();
    assert_eq!(engine.stats(&Selection::new("d", "u1")).await.unwrap().binding().unwrap().gauge.used, 0);
    assert_eq!(engine.stats(&Selection::new("nowhere", "u1")).await.unwrap().verdicts().count(), 0);
}

#[tokio::test]
async fn what_a_value_selects_is_refunded_and_reset_and_nothing_else() {
    let (engine, _) = engine(vec![rule("r", Algorithm::SlidingWindow, 9)]);
    engine.decide(&request().with_cost(6)).await.unwrap();
    let other = [("user", "u2")];
    engine.decide(&Request::new("d", &other).with_cost(5)).await.unwrap();
    let used =
        async |value| engine.stats(&Selection::new("d", value)).await.unwrap().binding().unwrap().gauge.used;
    let refunded = engine.refund_selected(&Selection { cost: 2, ..Selection::new("d", "u1") }).await.unwrap();
    assert_eq!(refunded.binding().unwrap().gauge.used, 4);
    let by_other_entry = Selection { entry: Some("client_ip"), ..Selection::new("d", "u1") };
    assert_eq!(engine.reset_selected(&by_other_entry).await.unwrap(), 0);
    assert_eq!(engine.reset_selected(&Selection::new("d", "u1")).await.unwrap(), 1);
    assert_eq!((used("u1").await, used("u2").await), (0, 5));
}

#[tokio::test]
async fn a_subject_has_its_tier_and_single_rules_their_own() {
    let quota = |limit| Quota::new(Algorithm::SlidingWindow, limit, Micros::from_secs(60), None).unwrap();
    let tiered = |name| Rule {
        tiers: vec![("pro".into(), quota(50)), ("=70//".into(), quota(70))],
        ..rule(name, Algorithm::SlidingWindow, 10)
    };
    let (engine, _) = engine(vec![tiered("a"), tiered("b")]);
    let by_rule = [RuleTier { rule: "b".into(), tier: "=70//".into() }];
    let quotas = SubjectQuotas { tier: Some("pro"), by_rule: &by_rule };
    let limits = async |request: &Request<'_>| -> Vec<(u64, Option<String>)> {
        let decision = engine.decide(request).await.unwrap();
        decision.verdicts().map(|v| (v.quota.limit(), v.tier.map(str::to_owned))).collect()
    };
    assert_eq!(limits(&request()).await, [(10, None), (10, None)]);
    let known = request().with_quotas(quotas);
    assert_eq!(limits(&known).await, [(50, Some("pro".into())), (70, Some("=70//".into()))]);
    let says_itself = [("user", "u1"), ("tier", "free")];
    let said = Request::new("d", &says_itself).with_quotas(quotas);
    assert_eq!(limits(&said).await, [(10, None), (70, Some("=70//".into()))]);
    // One that the rule does not have takes nothing away from the subject.
    let by_rule = [RuleTier { rule: "b".into(), tier: "=9//".into() }];
    let left_out = request().with_quotas(SubjectQuotas { tier: Some("pro"), by_rule: &by_rule });
    assert_eq!(limits(&left_out).await, [(50, Some("pro".into())), (50, Some("pro".into()))]);
}

#[test]
fn sixty_four_threads_on_one_key_admit_exactly_the_burst() {
    let (engine, _) = engine(vec![
        rule("r", Algorithm::TokenBucket, 1_000),
        rule("log", Algorithm::SlidingWindowLog, 1_500),
    ]);
    let admitted = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                for _ in 0..100 {
                    let decision = runtime.block_on(engine.decide(&request())).unwrap();
                    admitted.fetch_add(u64::from(decision.is_allowed()), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(admitted.load(Ordering::Relaxed), 1_000);
}

#[test]
fn rules_that_change_under_load_never_admit_more_than_the_larger_burst() {
    let (engine, _) = engine(vec![rule("r", Algorithm::TokenBucket, 500)]);
    let admitted = Arc::new(AtomicU64::new(0));
    let versions = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let mut newest = 0;
                for _ in 0..5_000 {
                    let decision = runtime.block_on(engine.decide(&request())).unwrap();
                    admitted.fetch_add(u64::from(decision.is_allowed()), Ordering::Relaxed);
                    assert!(decision.rules_version() >= newest, "versions only grow");
                    newest = decision.rules_version();
                }
                versions.fetch_max(newest, Ordering::Relaxed);
            });
        }
        scope.spawn(|| {
            for change in 0..2_000 {
                engine.replace_rules(set(vec![rule(
                    "r",
                    Algorithm::TokenBucket,
                    if change % 2 == 0 { 50 } else { 500 },
                )]));
            }
        });
    });
    assert_eq!(admitted.load(Ordering::Relaxed), 500, "up to version {}", versions.load(Ordering::Relaxed));
}

#[tokio::test]
async fn an_observer_sees_decisions_and_changes_but_no_peeks() {
    #[derive(Default)]
    struct Counts(AtomicU64, AtomicU64);
    struct Counting(Arc<Counts>);
    impl Observer for Counting {
        fn decided(&self, decision: &Decision) {
            assert!(decision.domain().is_some());
            self.0.0.fetch_add(1, Ordering::Relaxed);
        }
        fn rules_replaced(&self, rules: &RuleSet) {
            self.0.1.store(rules.version(), Ordering::Relaxed);
        }
    }
    let counts = Arc::new(Counts::default());
    let rules = set(vec![rule("r", Algorithm::TokenBucket, 5)]);
    let store = MemoryStore::new(&MemoryOptions::new([1, 2]));
    let engine = Engine::with_parts(
        rules,
        store,
        ManualClock::new(START),
        Some(Box::new(Counting(Arc::clone(&counts)))),
    );
    engine.decide(&request()).await.unwrap();
    engine.peek(&request()).await.unwrap();
    engine.replace_rules(set(vec![]));
    assert_eq!((counts.0.load(Ordering::Relaxed), counts.1.load(Ordering::Relaxed)), (1, 2));
}
