//! Goal: looking rules up costs what matches, not what exists. Method: the candidates that the index names are counted,
//! which no clock can blur.

use super::*;
use crate::quota::{Algorithm, Quota};
use crate::rule::RuleSet;
use crate::rule::model::{Domain, EntryCondition, Rule, Rules};
use crate::time::Micros;

fn rule(name: String) -> Rule {
    let quota = Quota::new(Algorithm::TokenBucket, 1, Micros::from_secs(1), None).unwrap();
    Rule::new(name, Algorithm::TokenBucket, quota)
}

fn candidates(rules: Vec<Rule>, entries: &[(&str, &str)]) -> usize {
    let set = RuleSet::compile(Rules { domains: vec![Domain::new("d", rules)] }).unwrap();
    let mut matches = Matches::default();
    Index::new(set.domains()[0].rules()).candidates(entries, &mut matches);
    matches.as_slice().len()
}

fn one_of(entry: &str, pattern: Pattern) -> EntryCondition {
    EntryCondition { entry: entry.to_owned(), condition: Condition::OneOf(vec![pattern]) }
}

#[test]
fn ten_thousand_exact_rules_are_as_many_candidates_as_ten() {
    for count in [10, 10_000] {
        // Every rule also names a method, which is no use for telling them apart.
        let rules = (0..count)
            .map(|number| rule(format!("r{number}")).when("method", "GET").when("user", format!("u{number}")))
            .collect();
        assert_eq!(candidates(rules, &[("user", "u7"), ("method", "GET")]), 1);
    }
}

#[test]
fn ten_thousand_prefixes_and_templates_are_as_many_candidates_as_ten() {
    for count in [10, 10_000] {
        let prefixed = |number| {
            let mut rule = rule(format!("p{number}"));
            rule.conditions.push(one_of("path", Pattern::Prefix(format!("/p{number}/"))));
            rule
        };
        let templated = |number| {
            let mut rule = rule(format!("t{number}"));
            let template = Template::parse(&format!("/t{number}/{{id}}")).unwrap();
            rule.conditions.push(one_of("path", Pattern::Template(template)));
            rule
        };
        let rules: Vec<_> = (0..count).map(prefixed).chain((0..count).map(templated)).collect();
        assert_eq!(candidates(rules.clone(), &[("path", "/p7/x")]), 1);
        assert_eq!(candidates(rules.clone(), &[("path", "/t7/x")]), 1);
        assert_eq!(candidates(rules, &[("path", "/nothing")]), 0);
    }
}

#[test]
fn rules_that_differ_in_an_alternative_or_in_the_beginning_of_a_glob_are_few_candidates() {
    for count in [10, 10_000] {
        let either = |number| {
            let mut rule = rule(format!("r{number}"));
            rule.any = ["a", "b"].map(|entry| vec![one_of(entry, Pattern::Exact(number_of(number)))]).into();
            rule
        };
        assert_eq!(candidates((0..count).map(either).collect(), &[("a", "v7"), ("b", "v8")]), 2);
        let starred = |number| {
            let mut rule = rule(format!("r{number}"));
            let glob = Pattern::of_pieces([format!("/p{number}/"), ".png".to_owned()]).unwrap();
            rule.conditions.push(one_of("path", glob));
            rule
        };
        assert_eq!(candidates((0..count).map(starred).collect(), &[("path", "/p7/a.png")]), 1);
    }
}

fn number_of(number: usize) -> String {
    format!("v{number}")
}

#[test]
fn what_no_value_finds_is_found_by_its_entry_or_by_the_other_condition() {
    let mut expression = rule("expression".to_owned()).when("method", "GET");
    let regex = Pattern::Regex(crate::rule::pattern::Regex::parse("^x").unwrap());
    expression.conditions.push(one_of("path", regex));
    assert_eq!(candidates(vec![expression.clone()], &[("path", "x"), ("method", "PUT")]), 0);
    expression.conditions.remove(0);
    assert_eq!(candidates(vec![expression.clone()], &[("method", "GET")]), 0);
    assert_eq!(candidates(vec![expression], &[("path", "y")]), 1);
}
