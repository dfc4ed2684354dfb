//! Random files of Envoy and random calls with several descriptors: `replaces`, `quota_mode`, `shadow_mode`, `unlimited`.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use tidegate_config::{parse_rules, rules_yaml};

use crate::reference::{self, Limit, Node};
use crate::site::{Descriptor, Site};

const KEYS: [&str; 2] = ["a", "b"];
const NAMES: [&str; 3] = ["n1", "n2", "n3"];
const VALUES: [&str; 3] = ["x", "y", "yz"];

fn level(depth: u32) -> BoxedStrategy<Vec<Node>> {
    let limit = prop_oneof![
        1 => Just(Limit::None),
        1 => Just(Limit::Unlimited),
        4 => (0..4_u64).prop_map(Limit::Of),
        1 => (0..2_u64).prop_map(Limit::Shadow),
    ];
    let value = select(vec![None, Some("x"), Some("y*"), Some("*z"), Some("yz")]);
    let below = if depth == 0 { Just(Vec::new()).boxed() } else { level(depth - 1) };
    let replaces = prop_oneof![2 => Just(Vec::new()), 1 => subsequence(NAMES.to_vec(), 1..3)];
    let about = (prop::option::of(select(NAMES.as_slice())), replaces, any::<(bool, bool)>());
    // One key for each depth: what the order of entries does is another test's.
    let node = (value, limit, about, below).prop_map(
        move |(value, limit, (name, replaces, (is_quota, shares)), below)| Node {
            key: KEYS[1 - depth as usize],
            value,
            limit,
            shares,
            name,
            replaces,
            is_quota,
            below,
        },
    );
    let alone = |nodes: Vec<Node>| {
        let mut kept: Vec<Node> = Vec::new();
        for node in nodes {
            if kept.iter().all(|other| other.value != node.value) {
                kept.push(node);
            }
        }
        kept
    };
    vec(node, 1..5).prop_map(alone).boxed()
}

fn calls() -> impl Strategy<Value = Vec<Vec<Descriptor<'static>>>> {
    let value = || select(VALUES.as_slice());
    let descriptor = prop_oneof![
        2 => value().prop_map(|a| vec![("a", a)]),
        2 => (value(), value()).prop_map(|(a, b)| vec![("a", a), ("b", b)]),
    ];
    vec(vec(descriptor, 1..4), 25)
}

#[test]
fn calls_with_several_descriptors_are_told_what_envoys_service_tells_them() {
    let config =
        Config { cases: 150, rng_seed: RngSeed::Fixed(5), failure_persistence: None, ..Config::default() };
    let counted = std::cell::Cell::new((0_u32, 0_u32));
    TestRunner::new(config)
        .run(&(level(1), calls()), |(nodes, calls)| {
            let text = reference::file(&nodes);
            let parsed = parse_rules(&text, "f").unwrap_or_else(|errors| panic!("{errors}\n{text}"));
            let converted = rules_yaml(&parsed.rules);
            let reread =
                parse_rules(&converted, "c").unwrap_or_else(|errors| panic!("{errors}\n{converted}"));
            let (mut site, mut again) = (Site::open(parsed.rules), Site::open(reread.rules));
            let mut counters = HashMap::new();
            for descriptors in &calls {
                let expected = reference::call(&nodes, descriptors, &mut counters);
                prop_assert_eq!(&site.call("d", descriptors), &expected, "{:?}\n{}", descriptors, text);
                prop_assert_eq!(&again.call("d", descriptors), &expected, "{:?}\n{}", descriptors, converted);
                let (lenient, refused) = counted.get();
                let is_lenient = expected.0.contains(&true) && !expected.1;
                counted.set((lenient + u32::from(is_lenient), refused + u32::from(expected.1)));
            }
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    let (lenient, refused) = counted.get();
    println!("{refused} calls refused, {lenient} passed although a descriptor was over");
    assert!(refused > 300 && lenient > 50, "{refused} refused, {lenient} lenient");
}
