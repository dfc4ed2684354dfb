//! One promise each.

use std::sync::Arc;

use tidegate_core::decision::Verdict;
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::{Mode, Rule};
use tidegate_core::time::Micros;
use tidegate_engine::{FastAnswers, FastOptions};
use tidegate_store::{Applied, BucketStore, Outcome, UnknownRevisions};

use super::world::{Link, Remote, Spec, World, WrongClock, millis, poll, rule_set};

const LONGEST_LEG: u64 = 500;
const SECOND: u64 = 1_000_000;

/// One store, and nodes in front of it.
struct Site {
    world: World,
    remote: Arc<Remote>,
    local: WrongClock,
    nodes: Vec<FastAnswers<Link>>,
    rules: RuleSet,
}

impl Site {
    fn new(rules: Vec<Rule>, options: &FastOptions) -> Self {
        Self::with_drift(rules, options, 0, LONGEST_LEG)
    }

    fn with_drift(rules: Vec<Rule>, options: &FastOptions, ppm: i64, longest_leg: u64) -> Self {
        let world = World::new();
        // Half an hour apart: nothing may hang on the clocks being alike.
        let remote = Remote::new(&world, WrongClock::new(&world, 1_800_000_000, ppm), 1, longest_leg);
        let link = |node| Link { remote: Arc::clone(&remote), node };
        let nodes = (0..2).map(|node| FastAnswers::new(link(node), options)).collect();
        Self { local: WrongClock::new(&world, 0, -ppm), world, remote, nodes, rules: rule_set(rules) }
    }

    fn node(&self) -> &FastAnswers<Link> {
        &self.nodes[0]
    }

    fn ask_at(&self, node: usize, spec: &Spec) -> Outcome {
        let plan = spec.plan(&self.rules);
        match self.world.run(self.nodes[node].apply(&plan, self.local.now())).unwrap() {
            Applied::Decided(outcome) => outcome,
            Applied::Stale => panic!("stale"),
        }
    }

    fn ask(&self, spec: &Spec) -> Outcome {
        self.ask_at(0, spec)
    }

    /// How many calls of the store a request takes, and whether it may pass.
    fn cost_of(&self, spec: &Spec) -> (u64, bool) {
        let before = self.remote.calls();
        let charged = self.ask(spec).charged;
        (self.remote.calls() - before, charged)
    }

    /// Asks until the store denies.
    fn exhaust(&self, spec: &Spec) {
        while self.ask(spec).charged {}
    }
}

const FAST_DENIAL: (u64, bool) = (0, false);
const ASKED_AND_DENIED: (u64, bool) = (1, false);
const ASKED_AND_GRANTED: (u64, bool) = (1, true);

fn rule(name: &str, algorithm: Algorithm, limit: u64, window: Micros) -> Rule {
    Rule::new(name, algorithm, Quota::new(algorithm, limit, window, None).unwrap()).with_key(["user"])
}

/// Five a minute.
fn bucket() -> Rule {
    rule("bucket", Algorithm::TokenBucket, 5, Micros::from_secs(60))
}

fn options(deny_cache: bool, shadow: bool) -> FastOptions {
    FastOptions { deny_cache, shadow, ..FastOptions::new([3, 4]) }
}

fn both() -> FastOptions {
    options(true, true)
}

fn user() -> Spec {
    Spec::new(&[0], "u")
}

#[test]
fn a_hot_key_costs_the_store_little_with_either_and_less_with_both() {
    let asks = 20_000;
    let mut calls = Vec::new();
    for (deny_cache, shadow) in [(false, false), (true, false), (false, true), (true, true)] {
        let rules = vec![rule("bucket", Algorithm::TokenBucket, 20, Micros::from_secs(1))];
        let site = Site::new(rules, &options(deny_cache, shadow));
        let mut granted = 0;
        for _ in 0..asks {
            granted += u64::from(site.ask(&user()).charged);
            site.world.advance(500);
        }
        println!("deny cache {deny_cache}, shadow {shadow}: {granted} granted, {:?}", site.node().stats());
        assert_eq!(site.node().stats().answered, asks - site.remote.calls());
        calls.push((site.remote.calls(), granted));
    }
    let [none, deny_cache, shadow, both] = calls[..] else { panic!("four ways") };
    assert_eq!(none.0, asks);
    assert!(deny_cache.0 * 2 < asks && shadow.0 < deny_cache.0 && both.0 <= shadow.0, "{calls:?}");
    // Nearly every call that is left grants.
    assert!(both.0 < both.1 + both.1 / 4, "{calls:?}");
}

#[test]
fn the_shadow_denies_before_any_denial_came_back() {
    let site = Site::new(vec![bucket()], &options(false, true));
    for _ in 0..5 {
        assert_eq!(site.cost_of(&user()), ASKED_AND_GRANTED);
    }
    assert_eq!(site.cost_of(&user()), FAST_DENIAL);
    let denied = site.ask(&user());
    let Verdict::Deny { retry_after: Some(retry_after) } = denied.results[0].verdict else { panic!() };
    assert_eq!(denied.results[0].gauge.remaining, 0);
    assert_eq!(denied.states, None);
    // Late by what the call took to get there at the most.
    assert!(retry_after < millis(12_000) && retry_after > millis(11_990), "{retry_after}");
    assert!(denied.decided_at.since(site.remote.clock.now()) < Micros::from_micros(LONGEST_LEG + 50));
}

#[test]
fn a_denial_is_remembered_by_the_deny_cache_alone() {
    let site = Site::new(vec![bucket()], &options(true, false));
    (0..5).for_each(|_| assert_eq!(site.cost_of(&user()), ASKED_AND_GRANTED));
    assert_eq!(site.cost_of(&user()), ASKED_AND_DENIED);
    assert_eq!(site.cost_of(&user()), FAST_DENIAL);
    let two = Spec { cost: 2, ..user() };
    assert_eq!(site.cost_of(&two), FAST_DENIAL, "a larger cost");
    site.world.advance(12 * SECOND);
    assert_eq!(site.cost_of(&user()), ASKED_AND_GRANTED);
    assert_eq!(site.cost_of(&user()), ASKED_AND_DENIED, "what a grant leaves is the shadow's");
}

#[test]
fn cold_keys_are_not_remembered_even_where_every_grant_exhausts() {
    let site = Site::new(vec![rule("one", Algorithm::LeakyBucket, 1, Micros::from_secs(60))], &both());
    for user in 0..500 {
        assert_eq!(site.cost_of(&Spec::new(&[0], &user.to_string())), ASKED_AND_GRANTED);
    }
    assert_eq!(site.node().stats().remembered, 0);
}

#[test]
fn nothing_is_used_longer_than_its_age() {
    let site = Site::new(vec![bucket()], &both());
    site.exhaust(&user());
    assert_eq!(site.cost_of(&user()), FAST_DENIAL);
    site.world.advance(SECOND);
    assert_eq!(site.cost_of(&user()), ASKED_AND_DENIED);
    assert_eq!(site.cost_of(&user()), FAST_DENIAL);

    let site = Site::new(vec![bucket()], &FastOptions { max_age: Micros::ZERO, ..both() });
    site.exhaust(&user());
    assert_eq!(site.cost_of(&user()), ASKED_AND_DENIED);
}

#[test]
fn a_clock_that_runs_faster_there_is_allowed_for() {
    // A call takes no time at all, so nothing but the margin is left.
    for ppm in [-200, 0, 200] {
        let rules = vec![rule("one", Algorithm::FixedWindow, 1, millis(500))];
        let site = Site::with_drift(rules, &both(), ppm, 0);
        let window = 500_000;
        site.world.advance(window - site.remote.clock.now().as_micros() % window + 1_000);
        site.exhaust(&user());
        site.world.advance(window - 3_000);
        let (mut fast, mut allowed) = (0, 0);
        for _ in 0..4_000 {
            site.world.advance(1);
            let plan = user().plan(&site.rules);
            let would_allow = site.remote.would_say(&plan)[0].is_allow();
            let before = site.remote.calls();
            let mut asking = Box::pin(site.node().apply(&plan, site.local.now()));
            assert!(poll(asking.as_mut()).is_ready());
            let is_fast = site.remote.calls() == before;
            assert!(!(is_fast && would_allow), "{ppm}");
            fast += u64::from(is_fast);
            allowed += u64::from(would_allow);
            if would_allow {
                break;
            }
        }
        assert!(fast > 500 && allowed == 1, "{ppm}: {fast}");
    }
}

#[test]
fn what_this_node_gives_back_is_seen_at_once() {
    let site = Site::new(vec![bucket()], &both());
    let plan = user().plan(&site.rules);
    let now = || site.local.now();
    let first = site.ask(&user());
    let calls: [&dyn Fn(); 3] = [
        &|| drop(site.world.run(site.node().refund(&plan, now())).unwrap()),
        &|| site.world.run(site.node().reset(&plan, now())).unwrap(),
        &|| site.world.run(site.node().withdraw(&plan, &first, now())).unwrap(),
    ];
    for give_back in calls {
        site.exhaust(&user());
        assert_eq!(site.cost_of(&user()), FAST_DENIAL);
        give_back();
        assert_eq!(site.cost_of(&user()), ASKED_AND_GRANTED);
    }
    site.exhaust(&user());
    site.world.run(site.node().debit(&plan, now())).unwrap();
    assert_eq!(site.cost_of(&user()), FAST_DENIAL, "a debit only adds");
}

#[test]
fn what_another_node_gives_back_is_seen_when_the_age_is_over() {
    let site = Site::new(vec![bucket()], &both());
    site.exhaust(&user());
    let plan = user().plan(&site.rules);
    site.world.run(site.nodes[1].reset(&plan, site.local.now())).unwrap();
    assert_eq!(site.cost_of(&user()), FAST_DENIAL);
    site.world.advance(SECOND);
    assert_eq!(site.cost_of(&user()), ASKED_AND_GRANTED);
}

#[test]
fn a_reply_that_was_overtaken_by_what_makes_it_forgotten_is_not_remembered() {
    let site = Site::new(vec![bucket()], &both());
    while site.ask_at(1, &user()).charged {}
    let plan = user().plan(&site.rules);
    let reset = || Box::pin(site.node().reset(&plan, site.local.now()));
    let overtake: [&dyn Fn(); 3] = [
        &|| site.world.run(reset()).unwrap(),
        // Given up, so nobody knows whether it arrives.
        &|| assert!(poll(reset().as_mut()).is_pending()),
        &|| site.node().forget_all(),
    ];
    for (way, overtake) in overtake.iter().enumerate() {
        site.exhaust(&user());
        site.node().forget_all();
        let mut asking = Box::pin(site.node().apply(&plan, site.local.now()));
        let before = site.remote.calls();
        while site.remote.calls() == before {
            assert!(poll(asking.as_mut()).is_pending());
            site.world.advance(50);
        }
        // The denial is on its way back.
        overtake();
        let Applied::Decided(denied) = site.world.run(asking).unwrap() else { panic!("stale") };
        assert!(!denied.charged);
        assert_eq!(site.cost_of(&user()).0, 1, "way {way}");
    }
}

#[test]
fn replies_that_overtake_one_another_leave_the_later_calls_state() {
    let site = Site::new(vec![bucket()], &both());
    site.exhaust(&user());
    site.world.advance(24 * SECOND);
    let plan = user().plan(&site.rules);
    let mut first = Box::pin(site.node().apply(&plan, site.local.now()));
    let before = site.remote.calls();
    while site.remote.calls() == before {
        assert!(poll(first.as_mut()).is_pending());
        site.world.advance(50);
    }
    assert_eq!(site.cost_of(&user()), ASKED_AND_GRANTED);
    assert_eq!(site.cost_of(&user()), FAST_DENIAL);
    site.world.run(first).unwrap();
    assert_eq!(site.cost_of(&user()), FAST_DENIAL);
}

#[test]
fn what_turns_out_to_be_of_older_rules_is_forgotten() {
    let mut site = Site::new(vec![bucket()], &both());
    site.exhaust(&user());
    let quota = Quota::new(Algorithm::TokenBucket, 50, Micros::from_secs(60), Some(30)).unwrap();
    let newer = rule_set(vec![Rule { quota, ..bucket() }]).succeeding(&site.rules, site.local.now());
    let older = std::mem::replace(&mut site.rules, newer);
    assert!(site.ask_at(1, &user()).charged, "another node has the rules first");

    let is_stale = |spec: &Spec| {
        let applied = site.world.run(site.node().apply(&spec.plan(&older), site.local.now())).unwrap();
        applied == Applied::Stale
    };
    assert!(!is_stale(&user()), "still answered here");
    assert!(is_stale(&Spec { idempotency_key: Some(1), ..user() }));
    assert!(is_stale(&user()));
}

#[test]
fn a_change_of_rules_is_seen_at_once() {
    // Told of it and not told, because a request that is on its way knows its rules itself.
    for told in [true, false] {
        let mut site = Site::new(vec![bucket()], &both());
        site.exhaust(&user());
        assert_eq!(site.cost_of(&user()), FAST_DENIAL);
        let burst = Quota::new(Algorithm::TokenBucket, 5, Micros::from_secs(60), Some(8)).unwrap();
        let faster = Quota::new(Algorithm::TokenBucket, 50, Micros::from_secs(60), Some(30)).unwrap();
        for quota in [burst, faster] {
            site.exhaust(&user());
            let rules = rule_set(vec![Rule { quota, ..bucket() }]);
            let before = site.rules.domain("d").unwrap().rules()[0].metered(None).revision;
            site.rules = rules.succeeding(&site.rules, site.local.now());
            let after = site.rules.domain("d").unwrap().rules()[0].metered(None).revision;
            assert_eq!(before == after, quota == burst);
            if told {
                site.node().rules_changed(&site.rules, site.local.now());
            }
            assert_eq!(site.cost_of(&user()), ASKED_AND_GRANTED);
        }
    }
}

#[test]
fn a_lost_state_is_the_stores_to_restore() {
    let site = Site::new(vec![bucket()], &both());
    site.exhaust(&user());
    assert_eq!(site.cost_of(&user()), FAST_DENIAL);
    site.node().store_lost_state();
    assert_eq!(site.cost_of(&user()), ASKED_AND_DENIED);
}

#[test]
fn what_is_not_sure_is_left_to_the_store() {
    let mut watched = bucket();
    (watched.name, watched.mode) = ("watched".into(), Mode::Shadow);
    let wide = rule("wide", Algorithm::FixedWindow, 1_000, Micros::from_secs(60));
    let permits = rule("permits", Algorithm::Concurrency, 1, Micros::from_secs(60));
    let strict = rule("strict", Algorithm::SlidingWindowLog, 5, Micros::from_secs(60));
    let site = Site::new(vec![bucket(), watched, wide, permits, strict], &both());
    let of = |rules: &[usize]| Spec::new(rules, "u");
    for alone in [0, 3, 4] {
        site.exhaust(&of(&[alone]));
        site.ask(&of(&[alone]));
    }
    (0..10).for_each(|_| drop(site.ask(&of(&[1]))));

    assert_eq!(site.cost_of(&of(&[0])), FAST_DENIAL);
    assert_eq!(site.cost_of(&of(&[0, 4])), FAST_DENIAL, "every bucket denies");
    assert_eq!(site.cost_of(&of(&[0, 2])), ASKED_AND_DENIED, "one would allow");
    assert_eq!(site.cost_of(&of(&[0, 1])), ASKED_AND_DENIED, "with a shadow rule");
    assert_eq!(site.cost_of(&of(&[1])), ASKED_AND_GRANTED, "a shadow rule");
    assert_eq!(site.cost_of(&of(&[3])), ASKED_AND_DENIED, "a permit may be given back");
    assert_eq!(site.cost_of(&Spec { cost: 6, ..user() }), ASKED_AND_DENIED, "it can never pass");
    assert_eq!(site.cost_of(&user()), FAST_DENIAL, "and what never passes takes nothing from what is known");
    let named = Spec { idempotency_key: Some(7), ..user() };
    assert_eq!(site.cost_of(&named), ASKED_AND_DENIED, "a named call");

    let mut plan = user().plan(&site.rules);
    let before = site.remote.calls();
    site.world.run(site.node().peek(&plan, site.local.now())).unwrap();
    plan.unknown_revisions = UnknownRevisions::Adopt;
    site.world.run(site.node().apply(&plan, site.local.now())).unwrap();
    assert_eq!(site.remote.calls() - before, 2);
}

#[test]
fn a_repeated_outcome_is_not_of_now() {
    let site = Site::new(vec![rule("bucket", Algorithm::TokenBucket, 5, Micros::from_secs(1))], &both());
    let named = Spec { idempotency_key: Some(7), cost: 5, ..user() };
    for _ in 0..4 {
        assert!(site.ask(&named).charged);
        site.world.advance(SECOND);
    }
    assert_eq!(site.node().stats().remembered, 0);
}

#[test]
fn memory_is_bounded() {
    let rules = || {
        vec![
            rule("one", Algorithm::LeakyBucket, 1, Micros::from_secs(60)),
            rule("log", Algorithm::SlidingWindowLog, 1_000, Micros::from_secs(60)),
        ]
    };
    let long = Micros::from_secs(60);
    let site = Site::new(rules(), &FastOptions { max_entries: 64, max_age: long, ..both() });
    for user in 0..1_000 {
        site.exhaust(&Spec::new(&[0], &user.to_string()));
    }
    let stats = site.node().stats();
    assert_eq!((stats.remembered, stats.entries as u64 + stats.evicted), (1_000, 1_000), "{stats:?}");
    assert!((32..=64).contains(&stats.entries), "{stats:?}");
    let oldest_and_newest = ["0", "999"].map(|user| site.cost_of(&Spec::new(&[0], user)));
    assert_eq!(oldest_and_newest, [ASKED_AND_DENIED, FAST_DENIAL]);

    // A log of a thousand admissions is worth hundreds of entries.
    let log = Spec { cost: 1, ..Spec::new(&[1], "u") };
    for (max_entries, expected) in [(64, ASKED_AND_DENIED), (65_536, FAST_DENIAL)] {
        let site = Site::new(rules(), &FastOptions { max_entries, ..both() });
        site.exhaust(&user());
        site.exhaust(&log);
        site.ask(&log);
        assert_eq!(site.cost_of(&log), expected, "{max_entries}");
        assert_eq!(site.node().stats().evicted, 0, "what does not fit drives nobody out");
    }
}

#[test]
fn what_is_too_old_goes_with_what_comes() {
    let site = Site::new(vec![rule("one", Algorithm::LeakyBucket, 1, Micros::from_secs(60))], &both());
    let deny = |users: std::ops::Range<u32>| {
        for user in users {
            site.exhaust(&Spec::new(&[0], &user.to_string()));
        }
    };
    deny(0..400);
    assert_eq!(site.node().stats().entries, 400);
    site.world.advance(SECOND);
    deny(400..1_000);
    let stats = site.node().stats();
    assert!((600..650).contains(&stats.entries) && stats.evicted == 0, "{stats:?}");
    site.node().forget_all();
    assert_eq!(site.node().stats().entries, 0);
}

#[test]
fn when_the_stores_clock_steps_a_denial_is_too_strict_for_the_age_at_the_most() {
    for step in [3_600, 30, 5, -5, -30, -3_600] {
        for algorithm in [
            Algorithm::TokenBucket,
            Algorithm::FixedWindow,
            Algorithm::SlidingWindow,
            Algorithm::SlidingWindowLog,
        ] {
            let site = Site::new(vec![rule("r", algorithm, 5, Micros::from_secs(20))], &both());
            site.exhaust(&user());
            site.ask(&user());
            site.remote.clock.step(step * 1_000_000);
            if step < 0 && algorithm != Algorithm::SlidingWindow {
                let would = site.remote.would_say(&user().plan(&site.rules));
                assert!(!would[0].is_allow(), "{algorithm} {step}");
            }
            assert_eq!(site.cost_of(&user()), FAST_DENIAL);
            site.world.advance(SECOND);
            assert_eq!(site.cost_of(&user()).0, 1);
        }
    }
}
