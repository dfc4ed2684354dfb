//! Goal: what is written is read back as the same model, and equal models are written the same.
//! Method: random models with names and values that YAML takes for something else unless they are quoted.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use tidegate_config::{
    Defaults, domain_settings_json, parse_domain_with, parse_rule_with, parse_rules, rule_json, rules_yaml,
};
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::model::{
    Condition, Consistency, Denies, Domain, EntryCondition, Exceptions, FailurePolicy, Lease, Mode, Queue,
    Reserve, Rule, Rules,
};
use tidegate_core::rule::pattern::{Pattern, Regex, Template};
use tidegate_core::time::Micros;

/// Texts that mean something else without quotes, or break a line, a map or a list.
const UGLY: [&str; 60] = [
    "yes",
    "No",
    "on",
    "OFF",
    "y",
    "n",
    "true",
    "False",
    "null",
    "Null",
    "~",
    "1e3",
    "0x1F",
    "0o17",
    "017",
    "1_000",
    "1.50",
    ".5",
    "+1",
    "-1",
    "-",
    "- a",
    "--",
    "---",
    "...",
    "-.inf",
    ".inf",
    "inf",
    ".NaN",
    "nan",
    "infinity",
    "12:30:45",
    "2026-01-01",
    "<<",
    "=",
    "? a",
    "? ",
    ": ",
    "a: b",
    "a:",
    ":a",
    "a #b",
    "#a",
    "{a}",
    "}",
    "[a",
    "]",
    ", ",
    "&a",
    "!a",
    "!!str x",
    "%a",
    "@a",
    "`a`",
    "|",
    ">",
    "'a'",
    "\"",
    "\\",
    "\\n",
];
const MORE: [&str; 11] = [
    "60s",
    "1h30m",
    "日本",
    "e\u{301}",
    "\u{2028}",
    "\u{feff}x",
    "x\u{feff}",
    "😀",
    "a\u{a0}b",
    "x\u{2029}y",
    "\u{202e}abc",
];

fn ugly() -> impl Strategy<Value = String> {
    let word = || select([UGLY.as_slice(), MORE.as_slice()].concat());
    prop_oneof![
        3 => word().prop_map(str::to_owned),
        2 => (word(), word()).prop_map(|(a, b)| format!("{a}{b}")),
        2 => "[ -~]{1,12}",
        1 => "[^\\p{C}]{1,8}",
    ]
}

/// A name of a domain, tier or priority.
fn name() -> impl Strategy<Value = String> {
    ugly().prop_filter("a name", |text| {
        !text.is_empty()
            && text.trim() == text
            && !text.starts_with('=')
            && !text.chars().any(char::is_control)
    })
}

/// A name of a rule.
fn rule_name() -> impl Strategy<Value = String> {
    prop_oneof![
        select(UGLY.as_slice())
            .prop_map(str::to_owned)
            .prop_filter("a rule's name", |text| is_made_of(text, "._:/-")),
        "[a-zA-Z0-9._:/-]{1,10}",
    ]
}

/// A name of an entry.
fn entry() -> impl Strategy<Value = String> {
    prop_oneof![
        select(UGLY.as_slice())
            .prop_map(str::to_owned)
            .prop_filter("an entry", |text| is_made_of(text, "._:-")),
        select(vec!["path", "method", "client_ip", "user_id", "host"]).prop_map(str::to_owned),
        "[a-zA-Z0-9._:-]{1,8}",
    ]
}

fn is_made_of(text: &str, others: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

fn value() -> impl Strategy<Value = String> {
    let spaced = |text: String| !text.is_empty() && !text.chars().any(char::is_control);
    prop_oneof![
        4 => ugly().prop_filter("a value", move |text| spaced(text.clone())),
        1 => select(vec!["*", "a*", "*a", "**", "/a/*", "/a/{id}", "/{", "{id}", " a ", " "]).prop_map(str::to_owned),
    ]
}

fn pattern(entry: &str) -> BoxedStrategy<Pattern> {
    let template =
        select(vec!["/{id}", "/v1/users/{id}/orders", "/v1/{a}/", "/a b/{x_1}", "/'q'/{id}", "/é#/{id}"]);
    let template = template.prop_map(|text| Pattern::Template(Template::parse(text).unwrap()));
    if entry == "path" {
        let path = || {
            select(vec!["/v1", "/a*b", "/a*", "/{x", "/a{b}c", "/ ", "/ü", "/\"", "/a: b"])
                .prop_map(str::to_owned)
        };
        let template = template.prop_filter(
            "a path",
            |pattern| !matches!(pattern, Pattern::Template(t) if t.text().contains('#')),
        );
        let glob = glob(vec!["", "/a", "/{x", "/*"], vec!["", "b", "/c", "*", "{", "ü"]);
        return prop_oneof![
            path().prop_map(Pattern::Exact),
            path().prop_map(Pattern::Prefix),
            template,
            glob
        ]
        .boxed();
    }
    // Addresses and hosts are read in small letters.
    let is_small = matches!(entry, "client_ip" | "host");
    let value = || value().prop_map(move |text| if is_small { text.to_ascii_lowercase() } else { text });
    let pieces = || vec!["", "a", "*", "\\", "\\*", "/", "/{", "é", " ", "'", "\""];
    prop_oneof![
        3 => value().prop_map(Pattern::Exact),
        2 => value().prop_map(Pattern::Prefix),
        1 => template,
        2 => glob(pieces(), pieces()),
        1 => select(REGEXES.as_slice()).prop_map(|text| Pattern::Regex(Regex::parse(text).unwrap())),
    ]
    .boxed()
}

const REGEXES: [&str; 5] = ["^a.*b$", r#"\d+\.[^'"]"#, "", "x*", "(?i)é|[{]x"];

/// A text with stars, of these pieces.
fn glob(first: Vec<&'static str>, others: Vec<&'static str>) -> impl Strategy<Value = Pattern> {
    let texts = |pieces: Vec<&'static str>| select(pieces).prop_map(str::to_owned);
    (texts(first), vec(texts(others), 1..4)).prop_filter_map("more than a star", |(first, others)| {
        let pieces = std::iter::once(first).chain(others);
        Pattern::of_pieces(pieces).ok().filter(|pattern| *pattern != Pattern::Prefix(String::new()))
    })
}

fn condition() -> impl Strategy<Value = EntryCondition> {
    entry().prop_flat_map(|entry| {
        let one_of = vec(pattern(&entry), 1..4).prop_map(|patterns| {
            let mut different: Vec<Pattern> = Vec::new();
            for pattern in patterns {
                if !different.contains(&pattern) {
                    different.push(pattern);
                }
            }
            different
        });
        let none_of = (option::of(vec(pattern(&entry), 1..3)), vec(pattern(&entry), 1..4));
        let none_of = none_of.prop_map(|(within, but)| {
            let mut within = within.unwrap_or_default();
            within.dedup();
            Condition::NoneOf(Exceptions::new(within, but))
        });
        let one_of = one_of.prop_map(Condition::OneOf).boxed();
        let none_of = none_of.boxed();
        let all_of = vec(prop_oneof![one_of.clone(), none_of.clone()], 2..4).prop_map(Condition::AllOf);
        let condition = prop_oneof![4 => one_of, 2 => none_of, 1 => all_of, 1 => Just(Condition::Present), 1 => Just(Condition::Absent)];
        condition.prop_map(move |condition| EntryCondition { entry: entry.clone(), condition })
    })
}

fn window() -> impl Strategy<Value = Micros> {
    let micros = prop_oneof![
        select(vec![1_000, 1_001, 60_000_000, 3_600_000_000, 86_400_000_000]),
        1_000..100_000_000_u64
    ];
    micros.prop_map(Micros::from_micros)
}

fn quota(algorithm: Algorithm) -> impl Strategy<Value = Quota> {
    let limit = prop_oneof![1..200_u64, Just(10_u64)];
    let burst = option::of(prop_oneof![1..200_u64, Just(1_u64), Just(10_u64)]);
    (limit, window(), burst).prop_map(move |(limit, window, burst)| {
        Quota::new(algorithm, limit, window, burst.filter(|_| algorithm.has_burst())).unwrap()
    })
}

fn reserve() -> impl Strategy<Value = Vec<Reserve>> {
    vec((name(), 1..20_u8), 0..4).prop_map(|shares| {
        let mut reserve: Vec<Reserve> = Vec::new();
        for (priority, percent) in shares {
            if reserve.iter().all(|one| one.priority != priority) {
                reserve.push(Reserve { priority, percent });
            }
        }
        reserve
    })
}

fn consistency() -> impl Strategy<Value = Consistency> {
    let hold = option::of((100_000..60_000_000_u64).prop_map(Micros::from_micros));
    let leased = (option::of(Just(1_u64)), hold)
        .prop_map(|(units, hold)| Consistency::Leased(Lease::new(units, hold).unwrap()));
    prop_oneof![Just(Consistency::Exact), leased]
}

/// The conditions, of each entry the first.
fn conditions_of(conditions: impl IntoIterator<Item = EntryCondition>) -> Vec<EntryCondition> {
    let mut kept: Vec<EntryCondition> = Vec::new();
    for condition in conditions {
        if kept.iter().all(|other| other.entry != condition.entry) {
            kept.push(condition);
        }
    }
    kept
}

fn rule() -> impl Strategy<Value = Rule> {
    let policy = option::of(select(vec![FailurePolicy::Allow, FailurePolicy::Deny, FailurePolicy::Local]));
    let mode = select(vec![Mode::Enforce, Mode::Shadow, Mode::Off]);
    let queue = option::of((1..300_000_000_u64, 1..1_000_000_u64));
    let selects = (btree_map(entry(), condition(), 0..4), btree_set(entry(), 0..4), any::<(bool, bool)>());
    let counts = select(Algorithm::ALL.as_slice()).prop_flat_map(|algorithm| {
        (Just(algorithm), quota(algorithm), vec((name(), quota(algorithm)), 0..5))
    });
    let names = (rule_name(), option::of(rule_name()), btree_set(rule_name(), 0..3));
    let rest = (reserve(), mode, policy, queue, consistency());
    let any = vec(btree_map(entry(), condition(), 1..3), 0..3);
    let more = (any, btree_set(entry(), 0..3), select(vec![Denies::Alone, Denies::Together]));
    (names, selects, counts, rest, more).prop_map(
        |((name, formerly, replaces), (conditions, key, (only, otherwise)), counts, rest, more)| {
            let (algorithm, quota, mut tiers) = counts;
            let (reserve, mode, on_store_failure, queue, consistency) = rest;
            let mut rule = Rule::new(name, algorithm, quota).with_key(key.into_iter().rev());
            rule.formerly = formerly.filter(|formerly| *formerly != rule.name);
            rule.conditions = conditions_of(conditions.into_values());
            rule.conditions
                .retain(|wanted| wanted.condition != Condition::Absent || !rule.key.contains(&wanted.entry));
            let mut seen: Vec<String> = Vec::new();
            tiers.retain(|(name, _)| {
                !seen.contains(name) && {
                    seen.push(name.clone());
                    true
                }
            });
            rule.only = only;
            let (any, order, denies) = more;
            rule.any = any.into_iter().map(|one| conditions_of(one.into_values())).collect();
            (rule.order, rule.denies) = (order.into_iter().rev().collect(), denies);
            rule.replaces = replaces.into_iter().filter(|other| *other != rule.name).collect();
            (rule.otherwise, rule.tiers, rule.mode, rule.on_store_failure) =
                (otherwise, tiers, mode, on_store_failure);
            match consistency {
                // A burst of one leaves nothing to lease.
                Consistency::Leased(_)
                    if algorithm != Algorithm::Concurrency
                        && rule.tiers.iter().all(|(_, quota)| quota.burst() > 1)
                        && quota.burst() > 1 =>
                {
                    rule.consistency = consistency;
                }
                _ => {
                    rule.reserve = reserve;
                    rule.queue = queue
                        .filter(|_| algorithm.has_burst())
                        .map(|(wait, max_depth)| Queue { max_wait: Micros::from_micros(wait), max_depth });
                }
            }
            rule
        },
    )
}

/// Rules of one domain whose buckets are their own.
fn domain() -> impl Strategy<Value = Domain> {
    let policy = option::of(select(vec![FailurePolicy::Allow, FailurePolicy::Deny, FailurePolicy::Local]));
    (name(), option::of(entry()), option::of(name()), policy, vec(rule(), 0..4)).prop_map(
        |(name, subject, default_tier, on_store_failure, rules)| {
            let mut domain = Domain { name, subject, default_tier, on_store_failure, rules: Vec::new() };
            for rule in rules {
                let clashes = |other: &Rule| other.name == rule.name || other.identity() == rule.identity();
                let always = |rule: &Rule| {
                    let asks_nothing =
                        rule.conditions.is_empty() && rule.any.is_empty() && rule.order.is_empty();
                    !rule.only && rule.key.is_empty() && asks_nothing
                };
                let hides =
                    |other: &Rule| (rule.otherwise && always(other)) || (other.otherwise && always(&rule));
                if !domain.rules.iter().any(|other| clashes(other) || hides(other)) {
                    domain.rules.push(rule);
                }
            }
            domain
        },
    )
}

fn rules() -> impl Strategy<Value = Rules> {
    vec(domain(), 0..3).prop_map(|domains| {
        let mut rules = Rules::default();
        for domain in domains {
            if rules.domains.iter().all(|other| other.name != domain.name) {
                rules.domains.push(domain);
            }
        }
        rules
    })
}

/// A domain's document with its rules in it.
fn domain_json(domain: &Domain) -> Value {
    let mut document = domain_settings_json(domain);
    document["rules"] = json!(domain.rules.iter().map(rule_json).collect::<Vec<_>>());
    document
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(20_262), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_written_file_is_read_back_as_the_same_rules(rules in rules()) {
        let text = rules_yaml(&rules);
        let parsed = parse_rules(&text, "f").unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        prop_assert_eq!(&parsed.rules, &rules, "{}", text);
        prop_assert_eq!(rules_yaml(&parsed.rules), text);
    }

    #[test]
    fn a_written_rule_is_read_back_as_the_same_rule(rule in rule()) {
        // Whatever the default, the document says its algorithm.
        let defaults = Defaults { algorithm: Algorithm::SlidingWindowLog, ..Defaults::default() };
        for text in [rule_json(&rule).to_string(), format!("{:#}", rule_json(&rule))] {
            let parsed = parse_rule_with(&text, "f", &defaults).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
            prop_assert_eq!(&parsed.rule, &rule, "{}", text);
            prop_assert_eq!(rule_json(&parsed.rule), rule_json(&rule));
        }
    }

    #[test]
    fn a_written_domain_is_read_back_as_the_same_domain(domain in domain()) {
        let text = domain_json(&domain).to_string();
        let parsed = parse_domain_with(&text, "f", &Defaults::default());
        let parsed = parsed.unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        prop_assert_eq!(&parsed.domain, &domain, "{}", text);

        let settings = domain_settings_json(&domain).to_string();
        let parsed = parse_domain_with(&settings, "f", &Defaults::default()).unwrap().domain;
        prop_assert_eq!(parsed, Domain { rules: Vec::new(), ..domain });
    }
}
