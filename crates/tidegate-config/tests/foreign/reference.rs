//! Envoy's descriptors as its documentation tells of them: entries are walked down in the order in which they are sent; at
//! each level an exact value comes first, then wildcards in the order of the file, then the bare key; there is no way
//! back up; the limit of a node holds only for a request that ends there.

use serde_json::{Value, json};

/// A node of a configuration.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) key: &'static str,
    /// Nothing, a value, or a beginning with a star.
    pub(crate) value: Option<&'static str>,
    pub(crate) limit: Limit,
    pub(crate) shares: bool,
    pub(crate) below: Vec<Node>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    None,
    Unlimited,
    /// So many; what tells the limits of a test apart.
    Of(u64),
    Shadow(u64),
}

impl Node {
    pub(crate) fn is_wildcard(&self) -> bool {
        self.value.is_some_and(|value| value.ends_with('*'))
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
    let mut level = nodes;
    let mut counter = String::new();
    for (position, (key, value)) in entries.iter().enumerate() {
        let of_key = || level.iter().filter(|node| node.key == *key);
        let exact = of_key().find(|node| node.value == Some(value));
        let begins = |node: &&Node| {
            node.is_wildcard() && value.starts_with(node.value.unwrap_or_default().trim_end_matches('*'))
        };
        let node =
            exact.or_else(|| of_key().find(begins)).or_else(|| of_key().find(|node| node.value.is_none()))?;
        let counted = if node.shares && node.is_wildcard() { node.value.unwrap_or_default() } else { value };
        counter.push_str(&format!("{key}={counted};"));
        if position + 1 == entries.len() {
            return (node.limit != Limit::None).then_some((node.limit, counter));
        }
        level = &node.below;
    }
    None
}

/// What any order of the entries gives, each once.
pub(crate) fn limits_of(nodes: &[Node], entries: &[(&str, &str)]) -> Vec<(Limit, String)> {
    let mut found: Vec<(Limit, String)> = Vec::new();
    for order in orders(entries) {
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
