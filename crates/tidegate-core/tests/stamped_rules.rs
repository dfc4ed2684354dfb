//! Goal: nodes that have missed changes of a rule name its quotas like those that have not, and a bucket is carried through
//! what it went through all the same.
//! Method: two nodes that follow the same versions, one of them with gaps.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail, and prints its seed"
)]

mod common;

use common::*;
use tidegate_core::quota::Algorithm;
use tidegate_core::rule::model::{Domain, Rule, Rules};
use tidegate_core::rule::{Revision, RuleSet};

fn rule(limit: u64, pro: u64) -> Rule {
    let of = |limit| quota(Algorithm::TokenBucket, limit, 60 * SECOND, None);
    let mut rule = Rule::new("r", Algorithm::TokenBucket, of(limit)).with_key(["k"]);
    rule.tiers.push(("pro".to_owned(), of(pro)));
    rule
}

/// The rule as one of its versions.
fn stamped(rule: Rule, version: u64) -> RuleSet {
    let set = RuleSet::compile(Rules { domains: vec![Domain::new("d", vec![rule])] }).unwrap();
    set.stamped(|domain, rule| (domain == "d" && rule == "r").then_some(version))
}

fn revisions(set: &RuleSet) -> [Revision; 2] {
    let rule = &set.domain("d").unwrap().rules()[0];
    [None, Some("pro")].map(|tier| rule.metered(tier).revision)
}

#[test]
fn a_node_that_missed_changes_agrees_with_one_that_has_seen_them_all() {
    // A, B, A again, the same A as another version, and another tier.
    let versions = [rule(10, 50), rule(100, 50), rule(10, 50), rule(10, 50), rule(10, 70)];
    let set = |index: usize| stamped(versions[index].clone(), index as u64 + 1);
    let mut all = set(0);
    for index in 1..versions.len() {
        all = set(index).succeeding(&all, at(START + index as u64 * SECOND));
        let fresh = set(index);
        assert_eq!(revisions(&all), revisions(&fresh), "started at version {}", index + 1);
        for missed_since in 0..index {
            let gap = set(index).succeeding(&set(missed_since), at(START + 9 * SECOND));
            assert_eq!(
                revisions(&all),
                revisions(&gap),
                "from version {} to {}",
                missed_since + 1,
                index + 1
            );
        }
    }
}

#[test]
fn every_version_has_names_of_its_own() {
    let mut seen = Vec::new();
    for version in 1..200 {
        let names = revisions(&stamped(rule(10, 50), version));
        assert!(names[0] != names[1] && !names.iter().any(|name| seen.contains(name)), "version {version}");
        seen.extend(names);
    }
}

#[test]
fn versions_that_are_alive_at_one_time_have_tags_of_their_own() {
    let tags = |version| revisions(&stamped(rule(10, 50), version)).map(Revision::tag);
    for first in 1..1_000 {
        let mut seen: Vec<u32> = (first..first + 30).flat_map(tags).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 60, "from version {first}");
    }
}

#[test]
fn a_quota_that_came_back_is_understood_of_a_node_that_was_started_since() {
    let of =
        |limit| RuleSet::compile(Rules { domains: vec![Domain::new("d", vec![rule(limit, 50)])] }).unwrap();
    // Seen here: 10, 100 and 10 again, the first at rest by now or not yet. Started elsewhere: with 10.
    for between in [SECOND, DAY] {
        let second = of(100).succeeding(&of(10), at(START));
        let third = of(10).succeeding(&second, at(START + between));
        let (here, elsewhere) = (&third.domain("d").unwrap().rules()[0], of(10));
        let elsewhere = elsewhere.domain("d").unwrap().rules()[0].metered(None).clone();
        assert_ne!(here.metered(None).revision, elsewhere.revision);
        let now = START + 2 * between;
        let full = elsewhere.meter.fullest(at(now));
        let carried = here.carry(full.clone(), elsewhere.revision, here.metered(None), at(now)).unwrap();
        assert_eq!(here.metered(None).meter.gauge(&carried, at(now), 0).used, 50, "and not fresh");
        // What was written before the first change is carried through the second quota all the same.
        let old = elsewhere.meter.fullest(at(START));
        let carried = here.carry(old, elsewhere.revision, here.metered(None), at(now)).unwrap();
        let used = here.metered(None).meter.gauge(&carried, at(now), 0).used;
        assert!(used < 50 && (between == SECOND) == (used > 0), "{used} after {between}");
    }
}

#[test]
fn what_was_used_is_carried_from_version_to_version() {
    let mut set = stamped(rule(10, 50), 1);
    let used = |set: &RuleSet, state, from, now| {
        let rule = &set.domain("d").unwrap().rules()[0];
        let to = rule.metered(None);
        let carried = rule.carry(state, from, to, at(now)).unwrap();
        to.meter.gauge(&carried, at(now), 0).used
    };
    let first = set.domain("d").unwrap().rules()[0].metered(None).clone();
    let full = first.meter.fullest(at(START));
    for (version, limit) in [(2, 100), (3, 10), (4, 10), (5, 1_000)] {
        set = stamped(rule(limit, 50), version).succeeding(&set, at(START));
        // As full as a bucket can be: what the largest tier allows.
        assert_eq!(used(&set, full.clone(), first.revision, START), 50, "version {version}");
    }
}
