//! Envoy's descriptors as its documentation tells of them: entries are walked down in the order in which they are sent, in which a
//! key may stand more than once; at each level an exact value comes first, then wildcards in the order of the file, then the
//! bare key; there is no way back up; the limit of a node holds only for a request that ends there. Of several descriptors
//! of a call, each has its limit, but for those that another one replaces; the call is refused where one is over its limit, or
//! where all are that are in quota mode.

use std::collections::HashMap;

use serde_json::{Value, json};

/// A node of a configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub(crate) key: &'static str,
    /// Nothing, a value, or a text with stars.
    pub(crate) value: Option<&'static str>,
    pub(crate) limit: Limit,
    pub(crate) shares: bool,
    /// Its limit's name, the names of limits that it replaces, and whether it is in quota mode.
    pub(crate) name: Option<&'static str>,
    pub(crate) replaces: Vec<&'static str>,
    pub(crate) is_quota: bool,
    pub(crate) below: Vec<Node>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Limit {
    #[default]
    None,
    Unlimited,
    /// So many; what tells the limits of a test apart.
    Of(u64),
    Shadow(u64),
}

impl Node {
    pub(crate) fn is_wildcard(&self) -> bool {
        self.value.is_some_and(|value| value.contains('*'))
    }

    fn as_json(&self) -> Value {
        let mut node = json!({ "key": self.key });
        if let Some(value) = self.value {
            node["value"] = json!(value);
        }
        match self.limit {
            Limit::None => {}
            Limit::Unlimited => node["rate_limit"] = json!({ "unlimited": true }),
            Limit::Of(count) | Limit::Shadow(count) => {
                node["rate_limit"] = json!({ "unit": "minute", "requests_per_unit": count });
                node["shadow_mode"] = json!(matches!(self.limit, Limit::Shadow(_)));
            }
        }
        if self.is_quota {
            node["quota_mode"] = json!(true);
        }
        if self.limit != Limit::None {
            if let Some(name) = self.name {
                node["rate_limit"]["name"] = json!(name);
            }
            let replaces = self.replaces.iter().filter(|name| Some(**name) != self.name);
            let replaces: Vec<Value> = replaces.map(|name| json!({ "name": name })).collect();
            if !replaces.is_empty() {
                node["rate_limit"]["replaces"] = json!(replaces);
            }
        }
        if self.shares && self.is_wildcard() {
            node["share_threshold"] = json!(true);
        }
        if !self.below.is_empty() {
            node["descriptors"] = self.below.iter().map(Node::as_json).collect();
        }
        node
    }
}

/// The file, in JSON, which is YAML.
pub(crate) fn file(nodes: &[Node]) -> String {
    let descriptors: Vec<Value> = nodes.iter().map(Node::as_json).collect();
    json!({ "domain": "d", "descriptors": descriptors }).to_string()
}

/// The limit of a request whose entries come in this order, and the name of its counter.
pub(crate) fn limit_of(nodes: &[Node], entries: &[(&str, &str)]) -> Option<(Limit, String)> {
    node_of(nodes, entries).map(|(node, counter)| (node.limit, counter))
}

/// The node whose limit that is.
fn node_of<'n>(nodes: &'n [Node], entries: &[(&str, &str)]) -> Option<(&'n Node, String)> {
    let mut level = nodes;
    let mut counter = String::new();
    for (position, (name, value)) in entries.iter().enumerate() {
        let of_key = || level.iter().filter(|node| node.key == key_of(name));
        let exact = of_key().find(|node| node.value == Some(value));
        let fits = |node: &&Node| {
            node.is_wildcard() && spreads(node.value.unwrap_or_default().as_bytes(), value.as_bytes())
        };
        let node =
            exact.or_else(|| of_key().find(fits)).or_else(|| of_key().find(|node| node.value.is_none()))?;
        let counted = if node.shares && node.is_wildcard() { node.value.unwrap_or_default() } else { value };
        counter.push_str(&format!("{name}={counted};"));
        if position + 1 == entries.len() {
            return (node.limit != Limit::None).then_some((node, counter));
        }
        level = &node.below;
    }
    None
}

/// The key of an entry, whose name says which time the key stands in the list.
fn key_of(name: &str) -> &str {
    name.split('.').next().unwrap_or_default()
}

/// Whether a value fits a text with stars, by every way to spread it over them.
fn spreads(glob: &[u8], value: &[u8]) -> bool {
    match (glob.split_first(), value.split_first()) {
        (None, rest) => rest.is_none(),
        (Some((b'*', more)), _) => (0..=value.len()).any(|taken| spreads(more, &value[taken..])),
        (Some((g, more)), Some((v, rest))) => g == v && spreads(more, rest),
        (Some(_), None) => false,
    }
}

/// What a call is told whose descriptors these are: whether each is over its limit, and whether the call is. Counts what passes.
#[allow(dead_code, reason = "one of the crates that share this file asks whole calls")]
pub(crate) fn call(
    nodes: &[Node],
    descriptors: &[Vec<(&str, &str)>],
    counters: &mut HashMap<String, u64>,
) -> (Vec<bool>, bool) {
    let found: Vec<_> = descriptors.iter().map(|entries| node_of(nodes, entries)).collect();
    let replaced: Vec<&str> = found
        .iter()
        .flatten()
        .flat_map(|(node, _)| node.replaces.iter().filter(|name| Some(**name) != node.name))
        .copied()
        .collect();
    let (mut over, mut alone, mut together) = (Vec::new(), false, None);
    for found in found {
        let found = found.filter(|(node, _)| !node.name.is_some_and(|name| replaced.contains(&name)));
        let Some((node, counter)) = found.filter(|(node, _)| node.limit != Limit::Unlimited) else {
            over.push(false);
            continue;
        };
        let count = counters.entry(counter).or_default();
        let is_over = matches!(node.limit, Limit::Of(most) if *count >= most);
        *count += u64::from(!is_over);
        over.push(is_over);
        if node.is_quota {
            together = Some(together.unwrap_or(true) && is_over);
        } else {
            alone |= is_over;
        }
    }
    (over, alone || together == Some(true))
}

/// Whether limits stand on ways with these keys in more than one order.
pub(crate) fn has_several_orders(nodes: &[Node], entries: &[(&str, &str)]) -> bool {
    fn walk<'n>(nodes: &'n [Node], way: &mut Vec<&'n str>, keys: &[&str], orders: &mut Vec<Vec<&'n str>>) {
        for node in nodes {
            way.push(node.key);
            let mut sorted = way.clone();
            sorted.sort_unstable();
            if node.limit != Limit::None && sorted == keys && !orders.contains(way) {
                orders.push(way.clone());
            }
            walk(&node.below, way, keys, orders);
            way.pop();
        }
    }
    let mut keys: Vec<&str> = entries.iter().map(|(name, _)| key_of(name)).collect();
    keys.sort_unstable();
    let mut orders = Vec::new();
    walk(nodes, &mut Vec::new(), &keys, &mut orders);
    orders.len() > 1
}

/// What any order of the entries gives, each once.
pub(crate) fn limits_of(nodes: &[Node], entries: &[(&str, &str)]) -> Vec<(Limit, String)> {
    let mut found: Vec<(Limit, String)> = Vec::new();
    let keeps_numbers = |order: &Vec<(&str, &str)>| {
        let place = |name: &str| order.iter().position(|(other, _)| *other == name);
        order
            .iter()
            .all(|(name, _)| name.contains('.') || place(name) < place(&format!("{name}.2")).or(Some(9)))
    };
    for order in orders(entries).into_iter().filter(keeps_numbers) {
        if let Some((limit, counter)) = limit_of(nodes, &order)
            && found.iter().all(|(other, _)| *other != limit)
        {
            found.push((limit, counter));
        }
    }
    found
}

fn orders<'a>(entries: &[(&'a str, &'a str)]) -> Vec<Vec<(&'a str, &'a str)>> {
    let Some((first, rest)) = entries.split_first() else { return vec![Vec::new()] };
    let mut all = Vec::new();
    for order in orders(rest) {
        for place in 0..=order.len() {
            let mut order = order.clone();
            order.insert(place, *first);
            all.push(order);
        }
    }
    all
}
