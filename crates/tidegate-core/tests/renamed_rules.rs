//! Goal: a rule that was renamed, removed and put back, or given other quotas never hands out a fresh burst.
//! Method: what is used before and after each change, for every algorithm; then random sequences of all changes on one key
//! against the published bound.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail, and prints its seed"
)]

mod common;

use common::admissions::Admissions;
use common::*;
use tidegate_core::model::Take;
use tidegate_core::quota::Algorithm;
use tidegate_core::rule::model::{Domain, MAX_QUOTAS, Rule, Rules};
use tidegate_core::rule::{RuleSet, RuleSetError};

/// Ten an hour: no unit comes back within what these tests take.
fn ten(name: &str, formerly: Option<&str>, algorithm: Algorithm) -> Rule {
    let burst = algorithm.has_burst().then_some(10);
    let mut rule = Rule::new(name, algorithm, quota(algorithm, 10, 3_600 * SECOND, burst)).with_key(["k"]);
    rule.formerly = formerly.map(str::to_owned);
    rule
}

fn used(real: &RealStore, rule: &str) -> u64 {
    let gauge = real.peek(&[bucket(rule, "k", None, 0)], 1, at(START))[0].1;
    assert_eq!(gauge.used + gauge.remaining, 10);
    gauge.used
}

fn take(real: &mut RealStore, rule: &str, cost: u64, permit: u64) -> bool {
    real.apply(&[bucket(rule, "k", None, 0)], Take { cost, permit }, at(START)).charged
}

#[test]
fn a_rule_that_is_renamed_keeps_what_was_used() {
    for algorithm in Algorithm::ALL {
        let mut real = RealStore::new(&[ten("a", None, algorithm)], Eviction::AtRest);
        assert!(take(&mut real, "a", 6, 1));
        real.replace_rules(&[ten("b", Some("a"), algorithm)], at(START));
        assert_eq!(used(&real, "b"), 6, "{algorithm}");
        assert!(take(&mut real, "b", 4, 2) && !take(&mut real, "b", 1, 3), "{algorithm}");
        // Another rename names the first name still.
        real.replace_rules(&[ten("c", Some("a"), algorithm)], at(START));
        assert_eq!(used(&real, "c"), 10, "{algorithm}");
        real.replace_rules(&[ten("a", None, algorithm)], at(START));
        assert_eq!(used(&real, "a"), 10, "{algorithm}: and back");
    }
}

#[test]
fn without_formerly_another_name_is_another_rule() {
    for algorithm in Algorithm::ALL {
        let mut real = RealStore::new(&[ten("a", None, algorithm)], Eviction::AtRest);
        assert!(take(&mut real, "a", 6, 1));
        real.replace_rules(&[ten("b", None, algorithm)], at(START));
        assert_eq!(used(&real, "b"), 0, "{algorithm}");
    }
}

#[test]
fn a_renamed_rule_that_is_removed_and_put_back_remembers() {
    for algorithm in Algorithm::ALL {
        let mut real = RealStore::new(&[ten("a", None, algorithm)], Eviction::AtRest);
        assert!(take(&mut real, "a", 6, 1));
        real.replace_rules(&[ten("b", Some("a"), algorithm)], at(START));
        real.replace_rules(&[], at(START));
        real.replace_rules(&[ten("b", Some("a"), algorithm)], at(START));
        assert_eq!(used(&real, "b"), 6, "{algorithm}");
    }
}

#[test]
fn rules_that_would_share_buckets_make_no_set() {
    let compile = |rules: [Rule; 2]| {
        RuleSet::compile(Rules { domains: vec![Domain::new("d", rules.to_vec())] }).map(|set| set.version())
    };
    let rule = |name, formerly| ten(name, formerly, Algorithm::TokenBucket);
    let shared =
        |rule: &str, other: &str| Err(RuleSetError::SharedBuckets("d".into(), rule.into(), other.into()));
    assert_eq!(compile([rule("a", None), rule("b", Some("a"))]), shared("b", "a"));
    assert_eq!(compile([rule("b", Some("a")), rule("a", None)]), shared("a", "b"));
    assert_eq!(compile([rule("b", Some("a")), rule("c", Some("a"))]), shared("c", "b"));
    // Names that changed places, and a name that became free, are no clash.
    assert_eq!(compile([rule("a", Some("b")), rule("b", Some("a"))]), Ok(1));
    assert_eq!(compile([rule("b", Some("a")), rule("c", Some("b"))]), Ok(1));
}

#[test]
fn versions_count_up_from_the_higher_of_both() {
    let set = || rule_set(&[ten("a", None, Algorithm::TokenBucket)]);
    let after =
        |own: u64, old: u64| set().at_version(own).succeeding(&set().at_version(old), at(START)).version();
    assert_eq!(set().version(), 1);
    assert_eq!(set().at_version(7).version(), 7);
    assert_eq!((after(1, 1), after(1, 41), after(42, 41), after(100, 41)), (2, 42, 42, 100));
    assert_eq!(after(u64::MAX, 1), u64::MAX);
    assert_eq!(after(1, u64::MAX), u64::MAX);
}

/// With few tiers and with the most there can be, in an order that is not that of their names.
#[test]
fn every_tier_finds_its_own_quota() {
    for count in [0, 1, 8, 9, MAX_QUOTAS] {
        let mut rule = ten("a", None, Algorithm::TokenBucket);
        for number in 0..count {
            let name = format!("t{}", number * 37 % MAX_QUOTAS);
            rule.tiers.push((name, quota(Algorithm::TokenBucket, number as u64 + 11, 60 * SECOND, None)));
        }
        let set = rule_set(std::slice::from_ref(&rule));
        let compiled = &set.domain("d").unwrap().rules()[0];
        for (place, (name, quota)) in rule.tiers.iter().enumerate() {
            assert_eq!(compiled.quota_index(Some(name)), place + 1, "{name} of {count}");
            assert_eq!(compiled.metered(Some(name)).meter.quota(), quota, "{name} of {count}");
        }
        for unknown in [None, Some(""), Some("t"), Some("t128"), Some("zzz")] {
            assert_eq!(compiled.quota_index(unknown), 0, "{unknown:?} of {count}");
        }
    }
}

/// One key's rule as it goes through all changes that an operator can make.
struct Life {
    algorithm: Algorithm,
    limit: u64,
    renames: u64,
    /// What this one subject has instead.
    own: Option<u64>,
    is_there: bool,
}

const WINDOW: u64 = 60 * SECOND;
const OWN: &str = "=own";

impl Life {
    fn name(&self) -> String {
        format!("r{}", self.renames)
    }

    fn rules(&self) -> Vec<Rule> {
        let some = |limit| quota(self.algorithm, limit, WINDOW, self.algorithm.has_burst().then_some(limit));
        let mut rule = Rule::new(self.name(), self.algorithm, some(self.limit)).with_key(["k"]);
        rule.formerly = (self.renames > 0).then(|| "r0".to_owned());
        rule.tiers.extend(self.own.map(|own| (OWN.to_owned(), some(own))));
        if self.is_there { vec![rule] } else { Vec::new() }
    }

    fn change(&mut self, random: &mut Random) {
        match random.below(6) {
            0 => self.limit = (self.limit * 10).min(10_000),
            1 => self.limit = (self.limit / 10).max(1),
            2 => self.renames += 1,
            3 => self.is_there = !self.is_there,
            4 => self.own = Some(random.range(1, 1_000)),
            _ => self.own = None,
        }
    }
}

/// Tenfold and a tenth, renamed, removed and put back, own quotas given and taken: never more than the largest burst plus
/// the integral of the rate. Where a subject's own quota is new, its bucket is converted when it is next met; until then the
/// higher of both rates counts.
#[test]
fn no_sequence_of_changes_gives_a_fresh_burst() {
    let seed = seed();
    let mut admitted = 0;
    for number in 0..operations(40_000).div_ceil(400) {
        let mut random = Random::new(seed.wrapping_add(number));
        let algorithm = random.pick(&[Algorithm::TokenBucket, Algorithm::LeakyBucket]);
        let mut life =
            Life { algorithm, limit: random.pick(&[10, 30, 100]), renames: 0, own: None, is_there: true };
        let mut now = START;
        let mut real = RealStore::new(&life.rules(), Eviction::AtRest);
        let mut seen = Admissions { taken: Vec::new(), changes: vec![(now, life.limit, WINDOW, life.limit)] };
        // The quota that the bucket was last written under is the subject's own.
        let mut holds_own = false;
        for _ in 0..400 {
            if random.once_in(15) {
                life.change(&mut random);
                real.replace_rules(&life.rules(), at(now));
                holds_own &= life.own.is_some();
            }
            if life.is_there {
                let chosen = life.own.unwrap_or(life.limit);
                let held = life.own.filter(|_| holds_own).unwrap_or(life.limit);
                seen.changes.push((now, chosen.max(held), WINDOW, chosen));
                let asked = [bucket(&life.name(), "a", Some(OWN), 0)];
                let cost = random.range(1, chosen.div_ceil(3));
                if random.once_in(2) {
                    if real.apply(&asked, Take { cost, permit: 0 }, at(now)).charged {
                        seen.taken.push((now, cost));
                    }
                    holds_own = life.own.is_some();
                    seen.changes.push((now, chosen, WINDOW, chosen));
                }
            }
            now += random.any_size(4 * SECOND);
        }
        admitted += seen.taken.len();
        seen.check();
    }
    println!("{admitted} admitted");
    assert!(admitted > 1_000);
}
