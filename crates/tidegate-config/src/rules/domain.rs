//! One domain.

use std::collections::HashMap;

use tidegate_core::rule::model::{Domain, FailurePolicy};

use super::Defaults;
use super::check::{self, Placed};
use super::fields::{self, Fields, Shape};
use super::rule;
use super::scalar::{self, Name};
use crate::path::Path;
use crate::report::{Report, Spot};
use crate::yaml::Node;

pub(super) const DOMAIN: Shape = Shape {
    what: "a domain",
    fields: &["name", "subject", "default_tier", "on_store_failure", "rules"],
    others: &[
        ("domain", "name"),
        ("namespace", "name"),
        ("id", "name"),
        ("limits", "rules"),
        ("policies", "rules"),
        ("descriptors", "rules"),
        ("tier", "default_tier"),
        ("default_plan", "default_tier"),
        ("failure_policy", "on_store_failure"),
        ("on_failure", "on_store_failure"),
    ],
};

const POLICIES: [(&str, FailurePolicy); 3] = [
    (FailurePolicy::Allow.name(), FailurePolicy::Allow),
    (FailurePolicy::Deny.name(), FailurePolicy::Deny),
    (FailurePolicy::Local.name(), FailurePolicy::Local),
];

/// Whether a domain must list rules.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ListOfRules {
    /// As in a rule file.
    Needed,
    /// One without has none.
    Optional,
}

/// Reads a domain and its rules, and checks the rules against one another.
pub(super) fn read(
    node: &Node,
    path: Path<'_>,
    list: ListOfRules,
    defaults: &Defaults,
    report: &mut Report<'_>,
) -> Option<Domain> {
    let fields = Fields::read(node, path, &DOMAIN, report)?;
    let name = fields.required("name", "write name: and a name", report, |node, path, report| {
        scalar::name(node, path, Name::Domain, report)
    });
    let subject = fields
        .optional("subject", report, |node, path, report| scalar::name(node, path, Name::Entry, report));
    let default_tier = fields
        .optional("default_tier", report, |node, path, report| scalar::name(node, path, Name::Tier, report));
    let on_store_failure = fields.optional("on_store_failure", report, failure_policy);
    let rules = match (fields.get("rules"), list) {
        (None, ListOfRules::Optional) => Vec::new(),
        _ => fields.required("rules", "write rules: and a list of rules", report, |node, path, report| {
            read_rules(node, path, defaults, report)
        })?,
    };
    check::domain(&fields, &rules, report);
    let rules = rules.into_iter().map(|placed| placed.rule).collect();
    Some(Domain { name: name?, subject, default_tier, on_store_failure, rules })
}

/// `allow`, `deny` or `local`.
pub(super) fn failure_policy(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<FailurePolicy> {
    const OTHERS: [(&str, &str); 8] = [
        ("open", "allow"),
        ("fail_open", "allow"),
        ("pass", "allow"),
        ("closed", "deny"),
        ("fail_closed", "deny"),
        ("block", "deny"),
        ("memory", "local"),
        ("fallback", "local"),
    ];
    scalar::choice(node, path, &POLICIES, &OTHERS, report)
}

fn read_rules<'n>(
    node: &'n Node,
    path: &Path<'_>,
    defaults: &Defaults,
    report: &mut Report<'_>,
) -> Option<Vec<Placed<'n>>> {
    let items = fields::list(node, path, "write a list of rules, each with '- name:'", report)?;
    if items.is_empty() {
        report.warn(node.at, path, "the domain has no rule, so nothing is limited in it", "add a rule");
    }
    let mut names: HashMap<String, Spot> = HashMap::new();
    let mut rules = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let path = path.index(index);
        let rule = rule::read(item, path, defaults, report);
        fields::unique_name(item, &path, "rule", &mut names, report);
        rules.extend(rule.map(|rule| Placed { rule, node: item, index }));
    }
    Some(rules)
}
