//! Goal: rule files of other products mean here what they mean there, or are refused with the line and the reason.
//! Method: an independent matcher of Envoy's descriptors beside ours, on random trees and requests; tables of conditions of
//! Limitador with what they say of a request; whole examples with what becomes of them; wrong files with every error.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod envoy;
mod errors;
mod examples;
mod limitador;
mod reference;

use tidegate_config::{Parsed, parse_rules};
use tidegate_core::rule::RuleSet;

fn parse(text: &str) -> Parsed {
    parse_rules(text, "f.yaml").unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

/// The names of the rules that apply to a request.
fn matching<'r>(rules: &'r RuleSet, domain: &str, entries: &[(&str, &str)]) -> Vec<&'r str> {
    let domain = rules.domain(domain).expect("the domain");
    domain
        .matches(entries)
        .as_slice()
        .iter()
        .filter_map(|position| domain.rule(*position))
        .map(|rule| rule.name())
        .collect()
}
