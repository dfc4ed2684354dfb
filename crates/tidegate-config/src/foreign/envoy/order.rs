//! Here a request's entries have no order. Two limits whose ways name the same keys in different orders, for values that
//! meet, would be one question there and two here.

use std::collections::HashMap;

use tidegate_core::rule::model::{Condition, EntryCondition, Rule};
use tidegate_core::rule::pattern::Pattern;

use super::Placed;
use crate::path::Path;
use crate::report::Report;

/// The most pairs of limits that are compared.
const MAX_PAIRS: usize = 2_000_000;

/// Refuses limits that only the order of entries tells apart.
pub(super) fn check(placed: &[Placed], report: &mut Report<'_>) {
    let mut by_keys: HashMap<Vec<&str>, HashMap<Vec<&str>, Vec<&Placed>>> = HashMap::new();
    for one in placed {
        let order: Vec<&str> = one.rule.conditions.iter().map(|condition| condition.entry.as_str()).collect();
        let mut keys = order.clone();
        keys.sort_unstable();
        by_keys.entry(keys).or_default().entry(order).or_default().push(one);
    }
    let mut pairs = 0_usize;
    for orders in by_keys.into_values().filter(|orders| orders.len() > 1) {
        let mut orders: Vec<Vec<&Placed>> = orders.into_values().collect();
        orders.sort_unstable_by_key(|order| order.first().map(|one| one.at));
        for (index, later) in orders.iter().enumerate().skip(1) {
            let earlier = || orders.iter().take(index).flatten();
            pairs = pairs.saturating_add(earlier().count().saturating_mul(later.len()));
            if pairs > MAX_PAIRS {
                too_many(later, report);
                return;
            }
            for one in later {
                if let Some(other) = earlier().find(|other| meet(&one.rule, &other.rule)) {
                    let message = format!(
                        "the descriptor has the same entries as the one in line {}, in another order",
                        other.at.line
                    );
                    let remedy = "keep one of the two: here the order of entries is not looked at";
                    report.error(one.at, &Path::written(&one.field), message, remedy);
                }
            }
        }
    }
}

fn too_many(placed: &[&Placed], report: &mut Report<'_>) {
    let Some(first) = placed.first() else { return };
    let message = "too many descriptors have the same keys in different orders to be compared";
    report.error(first.at, &Path::written(&first.field), message, "write the keys in one order everywhere");
}

/// Whether a request can match both rules, which name the same entries. May say yes where exceptions rule it out.
fn meet(a: &Rule, b: &Rule) -> bool {
    a.conditions.iter().all(|condition| {
        let same = |other: &&EntryCondition| other.entry == condition.entry;
        b.conditions.iter().find(same).is_none_or(|other| overlap(&condition.condition, &other.condition))
    })
}

fn overlap(a: &Condition, b: &Condition) -> bool {
    match (a.patterns(), b.patterns()) {
        ([Pattern::Exact(value)], _) => b.matches(Some(value)),
        (_, [Pattern::Exact(value)]) => a.matches(Some(value)),
        ([Pattern::Prefix(one)], [Pattern::Prefix(other)]) => {
            one.starts_with(other) || other.starts_with(one)
        }
        _ => true,
    }
}
