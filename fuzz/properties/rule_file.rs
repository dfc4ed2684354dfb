//! Any text is read or refused with findings that point into it, and rules that were read compile and match the
//! requests that they describe, and what is written of them is read back the same: the index finds exactly the rules that a look at every rule finds.

use tidegate_config::{
    Finding, MAX_FILE_BYTES, MAX_FINDINGS, RuleFileErrors, Severity, Style, parse_rules, rules_yaml,
};
use tidegate_core::rule::model::{Condition, Mode, Rule};
use tidegate_core::rule::pattern::{Pattern, Segment};
use tidegate_core::rule::{CompiledDomain, RuleSet};
use tidegate_core::time::Timestamp;

/// The most rules of a file for which a request is made up.
const MAX_REQUESTS: usize = 32;

pub(crate) fn holds(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    match parse_rules(text, "rules.yaml") {
        Ok(parsed) => {
            findings(&parsed.warnings, Severity::Warning, text);
            let written = rules_yaml(&parsed.rules);
            match parse_rules(&written, "written.yaml") {
                Ok(again) => assert_eq!(again.rules, parsed.rules, "{written}"),
                Err(errors) => assert!(written.len() > MAX_FILE_BYTES, "{errors}\n{written}"),
            }
            match RuleSet::compile(parsed.rules) {
                Ok(rules) => compiled(&rules),
                Err(error) => unreachable!("what was read does not compile: {error}"),
            }
        }
        Err(RuleFileErrors { errors, omitted }) => {
            assert!(!errors.is_empty() && (omitted == 0 || errors.len() == MAX_FINDINGS));
            findings(&errors, Severity::Error, text);
        }
    }
}

fn findings(findings: &[Finding], severity: Severity, text: &str) {
    assert!(findings.len() <= MAX_FINDINGS);
    assert!(findings.is_sorted_by_key(|finding| (finding.line, finding.column)));
    for finding in findings {
        assert_eq!(finding.severity, severity);
        assert!(!finding.message.is_empty() && !finding.remedy.is_empty(), "{finding}");
        assert!(points_into(finding, text), "{}:{} is outside: {finding}", finding.line, finding.column);
        let shown = finding.render(text, Style::Plain);
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
    }
}

/// Whether the place is a character of the text, or just behind the last one of its line.
fn points_into(finding: &Finding, text: &str) -> bool {
    let place = usize::try_from(finding.line).ok().zip(usize::try_from(finding.column).ok());
    match place {
        Some((0, 0)) => text.len() > MAX_FILE_BYTES,
        Some((line @ 1.., column @ 1..)) => {
            let unix = text.replace("\r\n", "\n");
            unix.split(['\n', '\r']).nth(line - 1).is_some_and(|line| column <= line.chars().count() + 1)
        }
        _ => false,
    }
}

fn compiled(rules: &RuleSet) {
    let successor = rules.clone().succeeding(rules, Timestamp::from_micros(1));
    for rules in [rules, &successor] {
        for domain in rules.domains() {
            assert!(rules.domain(domain.name()).is_some());
            matches(domain, &[]);
            matches(
                domain,
                &[("path", "/v1/charges/7"), ("method", "POST"), ("user_id", "u"), ("client_ip", "::1")],
            );
            for rule in domain.rules().iter().take(MAX_REQUESTS) {
                let request = request_for(rule.model());
                let entries: Vec<(&str, &str)> =
                    request.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                matches(domain, &entries);
            }
        }
    }
}

/// The index finds the rules that a look at every rule finds, in their order.
fn matches(domain: &CompiledDomain, entries: &[(&str, &str)]) {
    let applying = || {
        let rules = (0_u32..).zip(domain.rules());
        rules.filter(|(_, rule)| rule.model().mode != Mode::Off && rule.applies_to(entries))
    };
    let is_spoken_for =
        applying().any(|(_, rule)| !rule.model().otherwise && rule.model().mode == Mode::Enforce);
    let unless_otherwise = || applying().filter(|(_, rule)| !(rule.model().otherwise && is_spoken_for));
    let is_replaced = |name: &str| {
        unless_otherwise().any(|(_, rule)| rule.model().replaces.iter().any(|other| other == name))
    };
    let expected: Vec<u32> = unless_otherwise()
        .filter(|(_, rule)| !is_replaced(rule.name()))
        .map(|(position, _)| position)
        .collect();
    assert_eq!(domain.matches(entries).as_slice(), expected, "{entries:?}");
    for (_, rule) in applying() {
        let mut key = Vec::new();
        rule.encode_key(entries, |bytes| key.extend_from_slice(bytes));
        assert!(key.len() >= size_of::<u128>());
    }
}

/// A request that fulfils the conditions of a rule, one alternative of several, and has what its key needs.
fn request_for(rule: &Rule) -> Vec<(String, String)> {
    let mut entries: Vec<(String, String)> = Vec::new();
    for wanted in rule.conditions.iter().chain(rule.any.last().into_iter().flatten()) {
        let value = match wanted.condition.parts().last() {
            Some(Condition::OneOf(patterns)) => patterns.last().map(example_of).unwrap_or_default(),
            Some(Condition::NoneOf(exceptions)) => {
                exceptions.within().last().map_or("any".to_owned(), example_of)
            }
            Some(Condition::Present) => "any".to_owned(),
            _ => continue,
        };
        entries.push((wanted.entry.clone(), value));
    }
    for entry in rule.key.iter().chain(&rule.order) {
        if entries.iter().all(|(name, _)| name != entry) {
            entries.push((entry.clone(), "key".to_owned()));
        }
    }
    let place = |name: &String| rule.order.iter().position(|entry| entry == name);
    entries.sort_by_key(|(name, _)| place(name));
    entries
}

fn example_of(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Exact(text) => text.clone(),
        Pattern::Prefix(text) => format!("{text}/more"),
        Pattern::Glob(glob) => glob.pieces().join("/more/"),
        Pattern::Regex(regex) => regex.text().trim_matches(['^', '$']).to_owned(),
        Pattern::Template(template) => template
            .segments()
            .iter()
            .map(|segment| match segment {
                Segment::Literal(text) => format!("/{text}"),
                Segment::Parameter(name) => format!("/{name}"),
            })
            .collect(),
    }
}
