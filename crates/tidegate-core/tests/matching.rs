//! Goal: the index finds exactly the rules that apply, and no two partition keys run into each other.
//! Method: random rule sets and requests against a matcher that asks every rule; random keys against the set of those
//! seen.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail, and prints its seed"
)]

mod common;

use std::collections::{HashMap, HashSet};

use common::*;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::CompiledRule;
use tidegate_core::rule::model::{
    Condition, Domain, EntryCondition, Exceptions, MAX_EXCEPTED_PATTERNS, MAX_EXCEPTIONS, Mode, Rule, Rules,
};
use tidegate_core::rule::pattern::{Pattern, Regex, Template};
use tidegate_core::rule::{RuleSet, RuleSetError};
use tidegate_core::time::Micros;

const ENTRIES: [&str; 4] = ["path", "method", "user", "tenant"];
const VALUES: [&str; 12] = [
    "/",
    "/users",
    "/users/",
    "/users/7",
    "/users/7/orders",
    "/users/é",
    "/useré",
    "GET",
    "POST",
    "u1",
    "u12",
    "",
];
const TEMPLATES: [&str; 6] = ["/", "/users", "/users/{id}", "/users/{id}/orders", "/{any}", "/{any}/7"];
const PREFIXES: [&str; 7] = ["/", "/users", "/users/", "/user\u{e9}", "u", "u1", "G"];

fn plain(name: impl Into<String>) -> Rule {
    Rule::new(name, Algorithm::TokenBucket, quota(Algorithm::TokenBucket, 10, SECOND, None))
}

const GLOBS: [&str; 8] = ["*1", "u*", "*s*", "/*7", "/users*s", "u*1*", "*/", "/*/*"];
type IsMeant = fn(&str) -> bool;
/// With what each is, said without an expression.
const REGEXES: [(&str, IsMeant); 3] = [
    ("^/users/[0-9]", |value| value.strip_prefix("/users/").is_some_and(|rest| rest.starts_with('7'))),
    ("ers$", |value| value.ends_with("ers")),
    ("1", |value| value.contains('1')),
];

fn random_pattern(random: &mut Random) -> Pattern {
    if random.once_in(30) {
        return Pattern::Regex(Regex::parse(random.pick(&REGEXES).0).unwrap());
    }
    match random.below(4) {
        0 => Pattern::Exact(random.pick(&VALUES).to_owned()),
        1 => Pattern::Prefix(random.pick(&PREFIXES).to_owned()),
        2 => Pattern::of_pieces(random.pick(&GLOBS).split('*').map(str::to_owned)).unwrap(),
        _ => Pattern::Template(Template::parse(random.pick(&TEMPLATES)).unwrap()),
    }
}

fn random_condition(random: &mut Random) -> EntryCondition {
    let mut patterns = |most| (0..random.range(1, most)).map(|_| random_pattern(random)).collect::<Vec<_>>();
    let (few, others) = (patterns(3), patterns(4));
    let condition = match random.below(9) {
        0 => Condition::Present,
        6 => Condition::NoneOf(Exceptions::new(few, others)),
        7 => Condition::NoneOf(Exceptions::new(Vec::new(), others)),
        8 => Condition::AllOf(vec![Condition::OneOf(few), Condition::OneOf(others)]),
        1 => Condition::Absent,
        _ => Condition::OneOf(few),
    };
    EntryCondition { entry: random.pick(&ENTRIES).to_owned(), condition }
}

fn random_rule(random: &mut Random, number: u64) -> Rule {
    let mut rule = plain(format!("r{number}"));
    for _ in 0..random.below(4) {
        rule.conditions.push(random_condition(random));
    }
    if random.once_in(8) {
        let mut one = || (0..random.range(1, 3)).map(|_| random_condition(random)).collect::<Vec<_>>();
        rule.any = vec![one(), one()];
    }
    if random.once_in(20) {
        rule.order =
            ENTRIES.iter().take(random.range(1, 3) as usize).rev().map(|&entry| entry.to_owned()).collect();
    }
    if random.once_in(20) {
        rule.replaces = (0..random.range(1, 3)).map(|_| format!("r{}", random.below(30))).collect();
    }
    rule.key = (0..random.below(3)).map(|_| random.pick(&ENTRIES).to_owned()).collect();
    rule.only = random.once_in(5);
    rule.otherwise = random.once_in(5);
    rule.mode = random.pick(&[Mode::Enforce, Mode::Enforce, Mode::Shadow, Mode::Off]);
    rule
}

/// The naive matcher, by the words of the documentation and by its own idea of a pattern.
fn expected(rules: &[Rule], entries: &[(&str, &str)]) -> Vec<u32> {
    let value = |entry: &str| entries.iter().find(|(name, _)| *name == entry).map(|(_, value)| *value);
    let fits = |pattern: &Pattern, value: &str| match pattern {
        Pattern::Exact(text) => text.as_bytes() == value.as_bytes(),
        Pattern::Prefix(text) => value.as_bytes().starts_with(text.as_bytes()),
        Pattern::Template(template) => {
            let (wanted, given): (Vec<_>, Vec<_>) =
                (template.text().split('/').collect(), value.split('/').collect());
            let segment = |(wanted, given): (&&str, &&str)| {
                if wanted.starts_with('{') { !given.is_empty() } else { wanted == given }
            };
            wanted.len() == given.len() && wanted.iter().zip(&given).all(segment)
        }
        Pattern::Glob(glob) => spreads(&glob.to_string(), value),
        Pattern::Regex(regex) => REGEXES
            .iter()
            .find(|(text, _)| *text == regex.text())
            .is_some_and(|(_, is_meant)| is_meant(value)),
    };
    let meets = |condition: &Condition, value: Option<&str>| match (condition, value) {
        (Condition::OneOf(patterns), Some(value)) => patterns.iter().any(|pattern| fits(pattern, value)),
        (Condition::NoneOf(exceptions), Some(value)) => {
            let within = exceptions.within();
            (within.is_empty() || within.iter().any(|pattern| fits(pattern, value)))
                && !exceptions.but().any(|pattern| fits(&pattern, value))
        }
        (Condition::OneOf(_) | Condition::NoneOf(_) | Condition::AllOf(_), _) => false,
        (Condition::Present, value) => value.is_some(),
        (Condition::Absent, value) => value.is_none(),
    };
    let holds = |wanted: &EntryCondition| match &wanted.condition {
        Condition::AllOf(parts) => parts.iter().all(|part| meets(part, value(&wanted.entry))),
        one => meets(one, value(&wanted.entry)),
    };
    let names = |rule: &Rule, entry: &str| {
        let conditions = rule.conditions.iter().chain(rule.any.iter().flatten());
        rule.key.iter().any(|name| name == entry) || conditions.into_iter().any(|one| one.entry == entry)
    };
    let comes_in_order = |rule: &Rule| {
        let given: Vec<&str> = entries.iter().map(|(name, _)| *name).collect();
        let ordered: Vec<&str> =
            given.into_iter().filter(|name| rule.order.iter().any(|o| o == name)).collect();
        rule.order.is_empty() || ordered == rule.order
    };
    let applies = |rule: &&(u32, &Rule)| {
        rule.1.mode != Mode::Off
            && rule.1.key.iter().all(|entry| value(entry).is_some())
            && rule.1.conditions.iter().all(holds)
            && (rule.1.any.is_empty() || rule.1.any.iter().any(|one| one.iter().all(holds)))
            && comes_in_order(rule.1)
            && (!rule.1.only || entries.iter().all(|(name, _)| names(rule.1, name)))
    };
    let numbered: Vec<(u32, &Rule)> = (0_u32..).zip(rules).collect();
    let matching: Vec<_> = numbered.iter().filter(applies).collect();
    let settled = matching.iter().any(|(_, rule)| !rule.otherwise && rule.mode == Mode::Enforce);
    let applying: Vec<_> = matching.into_iter().filter(|(_, rule)| !(rule.otherwise && settled)).collect();
    let replaced: HashSet<&str> =
        applying.iter().flat_map(|(_, rule)| &rule.replaces).map(String::as_str).collect();
    let stay = applying.iter().filter(|(_, rule)| !replaced.contains(rule.name.as_str()));
    stay.map(|(position, _)| *position).collect()
}

/// Whether a value fits a text with stars, by every way to spread it over them.
fn spreads(glob: &str, value: &str) -> bool {
    match glob.split_once('*') {
        None => glob == value,
        Some((before, behind)) => value.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| spreads(behind, &rest[at..]))
        }),
    }
}

#[test]
fn the_index_finds_what_asking_every_rule_finds() {
    let seed = seed();
    let (mut found, mut spilled, mut otherwise) = (0, 0, 0);
    for number in 0..operations(40_000).div_ceil(20) {
        let mut random = Random::new(seed.wrapping_add(number));
        let most = random.pick(&[3, 10, 80]);
        let rules: Vec<Rule> =
            (0..random.range(1, most)).map(|number| random_rule(&mut random, number)).collect();
        let set = rule_set(&rules);
        let domain = set.domain("d").unwrap();
        for _ in 0..20 {
            // An entry may stand twice; the first counts.
            let entries: Vec<(&str, &str)> =
                (0..random.below(6)).map(|_| (random.pick(&ENTRIES), random.pick(&VALUES))).collect();
            let matches = domain.matches(&entries);
            assert_eq!(
                matches.as_slice(),
                expected(&rules, &entries),
                "seed={seed}+{number} {entries:?} {rules:#?}"
            );
            found += matches.as_slice().len();
            spilled += usize::from(matches.as_slice().len() > 16);
            otherwise +=
                matches.as_slice().iter().filter(|position| rules[**position as usize].otherwise).count();
        }
    }
    println!("{found} matches, {spilled} requests with more than 16, {otherwise} otherwise rules");
    assert!(found > 10_000 && spilled > 10 && otherwise > 100);
}

fn encoded(rule: &CompiledRule, entries: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    rule.encode_key(entries, |part| bytes.extend_from_slice(part));
    bytes
}

#[test]
fn keys_that_look_alike_when_joined_are_apart() {
    let set = rule_set(&[plain("r").with_key(["a", "b"]), plain("s").with_key(["a", "b"])]);
    let rules = set.domain("d").unwrap().rules();
    let keys: Vec<Vec<u8>> =
        [("a|b", "c"), ("a", "b|c"), ("", "a|bc"), ("a|bc", ""), ("a\u{1}", "b"), ("a", "\u{1}b")]
            .iter()
            .flat_map(|(a, b)| rules.iter().map(move |rule| encoded(rule, &[("a", a), ("b", b)])))
            .collect();
    let mut apart = keys.clone();
    apart.sort();
    apart.dedup();
    assert_eq!(apart.len(), keys.len());
}

#[test]
fn no_two_random_keys_have_one_encoding() {
    let set = rule_set(&[plain("r").with_key(["a", "b", "c"])]);
    let rule = &set.domain("d").unwrap().rules()[0];
    let mut random = Random::new(seed());
    let mut seen: HashMap<Vec<u8>, [String; 3]> = HashMap::new();
    for _ in 0..operations(40_000) {
        // Few characters, so that many keys differ only in where a part ends; some around the length of 128 bytes.
        let mut part = || -> String {
            let long = if random.once_in(50) { 126 } else { 0 };
            (0..long + random.below(4)).map(|_| random.pick(&['a', '\u{1}', '\0', '\u{7f}'])).collect()
        };
        let parts = [part(), part(), part()];
        let key = encoded(rule, &[("a", &parts[0]), ("b", &parts[1]), ("c", &parts[2])]);
        let before = seen.entry(key).or_insert_with(|| parts.clone());
        assert_eq!(*before, parts);
    }
}

#[test]
fn a_template_is_one_key_for_all_its_paths() {
    let mut rule = plain("r").with_key(["path"]);
    let template = |text| Pattern::Template(Template::parse(text).unwrap());
    rule.conditions.push(EntryCondition {
        entry: "path".to_owned(),
        condition: Condition::OneOf(vec![template("/users/{id}"), Pattern::Prefix("/static/".to_owned())]),
    });
    let set = rule_set(&[rule]);
    let rule = &set.domain("d").unwrap().rules()[0];
    let key = |path| encoded(rule, &[("path", path)]);
    assert_eq!(key("/users/1"), key("/users/2"));
    assert_eq!(rule.key_part("path", "/users/1"), "/users/{id}");
    assert_ne!(key("/static/a"), key("/static/b"), "a prefix keeps the path");
    assert_eq!(rule.key_part("path", "/static/a"), "/static/a");
    assert_eq!(rule.key_part("other", "/users/1"), "/users/1", "a condition speaks of its own entry only");
}

#[test]
fn a_shadow_rule_does_not_keep_an_otherwise_rule_away() {
    let specific = |mode| {
        let mut rule = plain("specific").when("user", "u1");
        rule.mode = mode;
        rule
    };
    let mut fallback = plain("fallback");
    fallback.otherwise = true;
    for (mode, positions) in [(Mode::Enforce, &[0][..]), (Mode::Shadow, &[0, 1]), (Mode::Off, &[1])] {
        let set = rule_set(&[specific(mode), fallback.clone()]);
        assert_eq!(set.domain("d").unwrap().matches(&[("user", "u1")]).as_slice(), positions, "{mode:?}");
        assert_eq!(set.domain("d").unwrap().matches(&[("user", "u2")]).as_slice(), [1]);
    }
}

#[test]
fn a_rule_that_is_replaced_still_replaces_others() {
    let named = |name: &str, replaces: &[&str]| {
        let mut rule = plain(name);
        rule.replaces = replaces.iter().map(|&name| name.to_owned()).collect();
        rule
    };
    let rules = [named("a", &["b"]), named("b", &["c"]), plain("c"), plain("d")];
    let set = rule_set(&rules);
    let domain = set.domain("d").unwrap();
    assert_eq!(domain.matches(&[]).as_slice(), [0, 3]);
    assert_eq!(domain.replaced(&[]), ["b", "c"]);
    assert!(
        domain.has_replacing_rules() && !rule_set(&rules[2..]).domain("d").unwrap().has_replacing_rules()
    );
    // Two that replace one another are both gone.
    let set = rule_set(&[named("a", &["b"]), named("b", &["a"])]);
    assert!(set.domain("d").unwrap().matches(&[]).as_slice().is_empty());
}

#[test]
fn regular_expressions_have_a_maximum() {
    use tidegate_core::rule::model::MAX_REGEXES;
    let with = |count: usize| {
        let regexes = (0..count).map(|n| Pattern::Regex(Regex::parse(&format!("a{n}")).unwrap())).collect();
        let mut rule = plain("r");
        rule.any.push(vec![EntryCondition { entry: "e".into(), condition: Condition::OneOf(regexes) }]);
        RuleSet::compile(Rules { domains: vec![Domain::new("d", vec![rule])] })
            .map(|rules| rules.rule_count())
    };
    assert_eq!(with(MAX_REGEXES), Ok(1));
    assert_eq!(with(MAX_REGEXES + 1), Err(RuleSetError::TooManyRegexes("d".into())));
}

#[test]
fn exceptions_have_a_maximum() {
    let with = |count: usize, pattern: fn(String) -> Pattern| {
        let exceptions = Exceptions::new(Vec::new(), (0..count).map(|number| pattern(format!("v{number}"))));
        let mut rule = plain("r");
        rule.conditions.push(EntryCondition { entry: "e".into(), condition: Condition::NoneOf(exceptions) });
        RuleSet::compile(Rules { domains: vec![Domain::new("d", vec![rule])] })
            .map(|rules| rules.rule_count())
    };
    let malformed = Err(RuleSetError::Malformed("d".into(), "r".into()));
    assert_eq!(with(MAX_EXCEPTIONS, Pattern::Exact), Ok(1));
    assert_eq!(with(MAX_EXCEPTIONS + 1, Pattern::Exact), malformed);
    assert_eq!(with(MAX_EXCEPTED_PATTERNS, Pattern::Prefix), Ok(1));
    assert_eq!(with(MAX_EXCEPTED_PATTERNS + 1, Pattern::Prefix), malformed);
    assert_eq!(with(0, Pattern::Exact), malformed);
}

#[test]
fn sets_that_contradict_themselves_are_refused() {
    let compile = |domains| RuleSet::compile(Rules { domains }).err();
    let twice = vec![Domain::new("d", vec![plain("r"), plain("r")])];
    assert_eq!(compile(twice), Some(RuleSetError::DuplicateRule("d".into(), "r".into())));
    let domains = vec![Domain::new("d", vec![]), Domain::new("d", vec![])];
    assert_eq!(compile(domains), Some(RuleSetError::DuplicateDomain("d".into())));
    let mut empty = plain("r");
    let condition = Condition::OneOf(Vec::new());
    empty.conditions.push(EntryCondition { entry: "a".into(), condition });
    let malformed = Some(RuleSetError::Malformed("d".into(), "r".into()));
    assert_eq!(compile(vec![Domain::new("d", vec![empty])]), malformed);
    let present = || EntryCondition { entry: "a".into(), condition: Condition::Present };
    let with = |change: &dyn Fn(&mut Rule)| {
        let mut rule = plain("r");
        change(&mut rule);
        compile(vec![Domain::new("d", vec![rule])])
    };
    let all_of = |parts| EntryCondition { entry: "a".into(), condition: Condition::AllOf(parts) };
    let one = || Condition::OneOf(vec![Pattern::Exact("x".into())]);
    assert_eq!(with(&|rule| rule.any.push(vec![present()])), None);
    assert_eq!(with(&|rule| rule.any.push(Vec::new())), malformed, "an alternative that is always there");
    assert_eq!(with(&|rule| rule.any = vec![vec![present()]; 65]), malformed);
    assert_eq!(with(&|rule| rule.conditions.push(all_of(vec![one(), one()]))), None);
    assert_eq!(with(&|rule| rule.conditions.push(all_of(vec![one()]))), malformed);
    assert_eq!(with(&|rule| rule.conditions.push(all_of(vec![one(), Condition::Absent]))), malformed);
    assert_eq!(with(&|rule| rule.replaces = vec!["x".into(); 65]), malformed);
    let long_key = plain("r").with_key((0..9).map(|number| number.to_string()));
    assert_eq!(compile(vec![Domain::new("d", vec![long_key])]), malformed);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 5_000,
        rng_seed: RngSeed::Fixed(seed()),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Any text at all is either a template, which matches itself with its parameters filled in, or an error.
    #[test]
    fn templates_read_any_text(text in "(/|\\{|\\}|a|_|é){0,12}", filling in "[^/]{1,5}") {
        if let Ok(template) = Template::parse(&text) {
            let segments = text.split('/').map(|part| if part.starts_with('{') { filling.as_str() } else { part });
            prop_assert!(template.matches(&segments.collect::<Vec<_>>().join("/")));
            let longer = format!("{text}/more");
            prop_assert!(!template.matches(&longer));
            prop_assert_eq!(template.text(), text);
        }
    }
}

#[test]
fn what_one_request_can_match_is_bounded() {
    use tidegate_core::quota::Quota;
    use tidegate_core::rule::model::MAX_RULES_TOGETHER;
    use tidegate_core::rule::{RuleSet, RuleSetError};
    use tidegate_core::time::Micros;
    let quota = Quota::new(Algorithm::TokenBucket, 1, Micros::from_secs(1), None).unwrap();
    let compiled = |count: usize, rule: &dyn Fn(Rule, usize) -> Rule| {
        let rules =
            (0..count).map(|n| rule(Rule::new(format!("r{n}"), Algorithm::TokenBucket, quota), n)).collect();
        RuleSet::compile(Rules { domains: vec![Domain::new("d", rules)] })
    };
    assert!(compiled(MAX_RULES_TOGETHER, &|rule, _| rule).is_ok());
    let together = compiled(MAX_RULES_TOGETHER + 1, &|rule, _| rule.when("a", "same"));
    assert_eq!(together.err(), Some(RuleSetError::TooManyTogether("d".into())));
    assert!(compiled(10_000, &|rule, n| rule.when("a", n.to_string())).is_ok());
}

/// Tenants choose names: neither moving text from the domain to the rule nor a zero byte in between makes one uid of two.
#[test]
fn a_uid_is_of_one_domain_and_one_name() {
    let uid = |domain: &str, name: &str| {
        let quota = Quota::new(Algorithm::TokenBucket, 1, Micros::from_secs(1), None).unwrap();
        let rule = Rule::new(name, Algorithm::TokenBucket, quota);
        let set = RuleSet::compile(Rules { domains: vec![Domain::new(domain, vec![rule])] }).unwrap();
        set.domains()[0].rules()[0].uid()
    };
    let names = [("ab", "c"), ("a", "bc"), ("a\0b", "c"), ("a", "b\0c"), ("", "abc"), ("abc", "")];
    let uids: HashSet<u128> = names.iter().map(|(domain, name)| uid(domain, name)).collect();
    assert_eq!(uids.len(), names.len());
    assert_eq!(uid("ab", "c"), uid("ab", "c"));
    assert!(uids.iter().all(|uid| *uid > u128::from(u64::MAX)), "all 128 bits are used");
}
