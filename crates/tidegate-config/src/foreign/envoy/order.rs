//! The order of entries: a request's entries come in the order of the file's, there. Here they may come in any, except where only
//! that tells two limits apart.

use std::collections::HashMap;

use super::Placed;

/// Gives the limits whose ways name the same keys in several orders the order of their own.
pub(super) fn tell_apart(placed: &mut [Placed]) {
    let mut orders: HashMap<Vec<String>, Vec<String>> = HashMap::new();
    let mut several: Vec<Vec<String>> = Vec::new();
    let order_of = |one: &Placed| -> Vec<String> {
        one.rule.conditions.iter().map(|condition| condition.entry.clone()).collect()
    };
    let keys_of = |order: &[String]| {
        let mut keys = order.to_vec();
        keys.sort_unstable();
        keys
    };
    for one in placed.iter() {
        let order = order_of(one);
        let first = orders.entry(keys_of(&order)).or_insert_with(|| order.clone());
        if *first != order {
            several.push(keys_of(&order));
        }
    }
    several.sort_unstable();
    several.dedup();
    if several.is_empty() {
        return;
    }
    for one in placed {
        let order = order_of(one);
        if several.binary_search(&keys_of(&order)).is_ok() {
            one.rule.order = order;
        }
    }
}
