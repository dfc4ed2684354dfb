//! Descriptors of Envoy.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use tidegate_config::{Format, parse_rules, rules_yaml};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::Mode;

use super::reference::{Limit, Node, file, has_several_orders, limit_of, limits_of};
use super::{matching, parse};

const KEYS: [&str; 4] = ["a", "b", "c", "d"];
const AGAIN: [&str; 4] = ["a.2", "b.2", "c.2", "d.2"];
const VALUES: [&str; 7] = ["x", "xy", "xyz", "xz", "y", "yx", "z"];
const WILDCARDS: [&str; 8] = ["x*", "xy*", "y*", "*", "xyz*", "*z", "x*z", "*y*"];

/// Lists of nodes that nest as deep as there are keys.
fn level(depth: u32) -> BoxedStrategy<Vec<Node>> {
    let value = prop_oneof![
        3 => Just(None),
        4 => select(VALUES.as_slice()).prop_map(Some),
        3 => select(WILDCARDS.as_slice()).prop_map(Some),
    ];
    let limit = prop_oneof![2 => Just(Limit::None), 1 => Just(Limit::Unlimited), 6 => Just(Limit::Of(0)), 1 => Just(Limit::Shadow(0))];
    let below = if depth == 0 { Just(Vec::new()).boxed() } else { level(depth - 1) };
    // Mostly one key for each depth, so that most trees do not depend on the order of entries.
    let keys =
        vec![KEYS[3 - depth as usize], KEYS[3 - depth as usize], KEYS[3 - depth as usize], "a", "b", "c"];
    let node =
        (select(keys), value, limit, any::<bool>(), below).prop_map(|(key, value, limit, shares, below)| {
            Node { key, value, limit, shares, below, ..Node::default() }
        });
    vec(node, 0..6).boxed()
}

/// Numbers the limits, so that each is known by its number; of what stands twice in a list the first stays, and no key is
/// named three times on one way.
fn tidy(nodes: &mut Vec<Node>, way: &mut Vec<&'static str>, next: &mut u64) {
    let mut seen = Vec::new();
    nodes.retain(|node| {
        let is_known = way.iter().filter(|key| **key == node.key).count() > 1;
        let is_new = !seen.contains(&(node.key, node.value)) && !is_known;
        seen.push((node.key, node.value));
        is_new
    });
    for node in nodes {
        *next += 1;
        match &mut node.limit {
            Limit::Of(count) | Limit::Shadow(count) => *count = *next,
            Limit::None | Limit::Unlimited => {}
        }
        way.push(node.key);
        tidy(&mut node.below, way, next);
        way.pop();
    }
}

type Sent = Vec<(&'static str, &'static str)>;

fn requests() -> impl Strategy<Value = Vec<Sent>> {
    let key = prop_oneof![12 => select(KEYS.as_slice()), 1 => Just("other")];
    let entries = vec((key, select(VALUES.as_slice())), 1..5);
    vec(entries.prop_map(named_apart), 40)
}

/// The second time that a key stands in a list, the door calls its entry otherwise.
fn named_apart(entries: Sent) -> Sent {
    let mut named: Sent = Vec::new();
    for (key, value) in entries {
        let again = KEYS.iter().position(|known| *known == key).map(|place| AGAIN[place]);
        match (named.iter().any(|(name, _)| *name == key), again) {
            (false, _) => named.push((key, value)),
            (true, Some(again)) if !named.iter().any(|(name, _)| *name == again) => {
                named.push((again, value));
            }
            (true, _) => {}
        }
    }
    named
}

#[test]
fn a_configuration_of_envoy_decides_as_it_does_there() {
    let config =
        Config { cases: 800, rng_seed: RngSeed::Fixed(8), failure_persistence: None, ..Config::default() };
    let (mut read, mut found, mut unlimited, mut ordered) = (0_u32, 0_u32, 0_u32, 0_u32);
    let cases = std::cell::RefCell::new((&mut read, &mut found, &mut unlimited, &mut ordered));
    let trees = (level(3), requests());
    TestRunner::new(config)
        .run(&trees, |(mut nodes, requests)| {
            tidy(&mut nodes, &mut Vec::new(), &mut 0);
            let text = file(&nodes);
            let parsed = parse(&text);
            prop_assert_eq!(parsed.format, Format::Envoy);
            let written = rules_yaml(&parsed.rules);
            let reread = parse(&written);
            prop_assert_eq!(reread.format, Format::Tidegate);
            prop_assert_eq!(&reread.rules, &parsed.rules, "{}", written);
            let rules = RuleSet::compile(parsed.rules).unwrap();
            let domain = rules.domain("d").unwrap();
            let mut counters: HashMap<Vec<u8>, String> = HashMap::new();
            let mut buckets: HashMap<String, Vec<u8>> = HashMap::new();
            *cases.borrow_mut().0 += 1;
            for entries in &requests {
                let is_ordered = has_several_orders(&nodes, entries);
                let mut expected = if is_ordered {
                    *cases.borrow_mut().3 += 1;
                    limit_of(&nodes, entries).into_iter().collect()
                } else {
                    limits_of(&nodes, entries)
                };
                if expected.iter().any(|(limit, _)| *limit == Limit::Unlimited) {
                    *cases.borrow_mut().2 += 1;
                }
                expected.retain(|(limit, _)| *limit != Limit::Unlimited);
                let matches = domain.matches(entries);
                let ours: Vec<_> =
                    matches.as_slice().iter().filter_map(|place| domain.rule(*place)).collect();
                let told: Vec<Limit> = ours
                    .iter()
                    .map(|rule| match (rule.model().mode, rule.model().quota.limit()) {
                        (Mode::Shadow, count) => Limit::Shadow(count),
                        (_, count) => Limit::Of(count),
                    })
                    .collect();
                let wanted: Vec<Limit> = expected.iter().map(|(limit, _)| *limit).collect();
                prop_assert_eq!(&told, &wanted, "{:?}\n{}\n{}", entries, text, written);
                for (rule, (_, counter)) in ours.iter().zip(expected) {
                    *cases.borrow_mut().1 += 1;
                    // The order of entries says nothing here.
                    let mut parts: Vec<&str> = counter.split(';').collect();
                    parts.sort_unstable();
                    let counter = parts.join(";");
                    let mut bucket = Vec::new();
                    rule.encode_key(entries, |bytes| bucket.extend_from_slice(bytes));
                    let known = counters.entry(bucket.clone()).or_insert_with(|| counter.clone());
                    prop_assert_eq!(&*known, &counter, "two counters in one bucket: {}", text);
                    let known = buckets.entry(counter).or_insert_with(|| bucket.clone());
                    prop_assert_eq!(&*known, &bucket, "one counter in two buckets: {}", text);
                }
            }
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    println!(
        "{read} trees, {found} limits found, {unlimited} requests without limit, {ordered} in one order only"
    );
    assert!(
        read == 800 && found > 1_000 && unlimited > 120 && ordered > 100,
        "{read} trees, {found} limits, {unlimited} unlimited, {ordered} ordered"
    );
}

#[test]
fn the_reference_matches_as_the_words_say() {
    let node =
        |key, value, count, below| Node { key, value, limit: Limit::Of(count), below, ..Node::default() };
    let nodes = vec![
        node("user", None, 1, vec![node("path", None, 2, Vec::new())]),
        node("user", Some("a*"), 3, Vec::new()),
        node("user", Some("ab*"), 4, Vec::new()),
        node("user", Some("abc"), 5, Vec::new()),
    ];
    let limit = |entries: &[(&str, &str)]| limit_of(&nodes, entries).map(|(limit, _)| limit);
    assert_eq!(limit(&[("user", "z")]), Some(Limit::Of(1)));
    assert_eq!(limit(&[("user", "z"), ("path", "/")]), Some(Limit::Of(2)));
    assert_eq!(limit(&[("user", "ab")]), Some(Limit::Of(3)));
    assert_eq!(limit(&[("user", "abc")]), Some(Limit::Of(5)));
    // Nothing is below the exact value, and there is no way back up.
    assert_eq!(limit(&[("user", "abc"), ("path", "/")]), None);
    assert_eq!(limit(&[("path", "/")]), None);
    assert_eq!(limit(&[("user", "z"), ("path", "/"), ("more", "x")]), None);
}

#[test]
fn every_unit_is_a_window() {
    for (unit, window) in [
        ("second", "1s"),
        ("MINUTE", "1m"),
        ("Hour", "1h"),
        ("day", "1d"),
        ("week", "7d"),
        ("MONTH", "30d"),
        ("year", "365d"),
    ] {
        let text = format!(
            "domain: d\ndescriptors: [{{ key: k, rate_limit: {{ unit: {unit}, requests_per_unit: 3 }} }}]\n"
        );
        let parsed = parse(&text);
        let quota = parsed.rules.domains[0].rules[0].quota;
        assert_eq!((quota.window().to_string().as_str(), quota.limit()), (window, 3), "{unit}");
    }
}

#[test]
fn a_bare_key_beside_thousands_of_values_is_read_and_found() {
    let values: String = (0..20_000).fold(String::new(), |text, number| {
        text + &format!(
            "- {{ key: user, value: u{number}, rate_limit: {{ unit: minute, requests_per_unit: 2 }} }}\n"
        )
    });
    let text = format!(
        "domain: d\ndescriptors:\n{values}- {{ key: user, rate_limit: {{ unit: minute, requests_per_unit: 1 }} }}\n"
    );
    let rules = RuleSet::compile(parse(&text).rules).unwrap();
    assert_eq!(matching(&rules, "d", &[("user", "u19999")]), ["user_u19999"]);
    assert_eq!(matching(&rules, "d", &[("user", "somebody")]), ["user"]);
}

#[test]
fn too_many_values_beside_bare_keys_are_refused_once() {
    let values: String = (0..60_000)
        .fold(String::new(), |text, number| text + &format!("- {{ key: user, value: u{number} }}\n"));
    let bare = "- key: user\n  descriptors:\n".to_owned()
        + &(0..10).fold(String::new(), |text, number| {
            text + &format!(
                "  - {{ key: k{number}, rate_limit: {{ unit: minute, requests_per_unit: 1 }} }}\n"
            )
        });
    let errors = parse_rules(&format!("domain: d\ndescriptors:\n{values}{bare}"), "f").expect_err("too many");
    let [error] = errors.errors.as_slice() else { panic!("{errors}") };
    assert!(error.message.contains("400000 values that bare keys"), "{error}");
    assert_eq!(error.line, 60_010);
}

#[test]
fn too_many_wildcards_are_refused() {
    let wildcards: Vec<String> =
        (0..1_025).map(|number| format!("{{ key: a, value: \"v{number}*\" }}")).collect();
    let text = format!("domain: d\ndescriptors: [{}]\n", wildcards.join(", "));
    let errors = parse_rules(&text, "f").expect_err("too many");
    let [error] = errors.errors.as_slice() else { panic!("{errors}") };
    assert!(
        error.to_string().contains("there are 1025 wildcards in one list; write at most 1024"),
        "{error}"
    );
}

#[test]
fn many_keys_below_one_value_are_no_crowd() {
    let below: String = (0..200).fold(String::new(), |text, number| {
        text + &format!("  - {{ key: k{number}, rate_limit: {{ unit: minute, requests_per_unit: 2 }} }}\n")
    });
    let text = format!("domain: d\ndescriptors:\n- key: generic_key\n  value: api\n  descriptors:\n{below}");
    let rules = RuleSet::compile(parse(&text).rules).unwrap();
    assert_eq!(matching(&rules, "d", &[("generic_key", "api"), ("k7", "v")]), ["generic_key_api.k7"]);
    assert!(matching(&rules, "d", &[("generic_key", "api"), ("k7", "v"), ("k8", "v")]).is_empty());
}
