//! What is asked of the engine.

/// The entry that names the subject's tier.
pub const TIER_ENTRY: &str = "tier";
/// The entry that names the request's priority.
pub const PRIORITY_ENTRY: &str = "priority";

/// One request to decide. Entries are the descriptor: names and values, each name once.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The domain whose rules apply.
    pub domain: &'a str,
    /// What is known about the request.
    pub entries: &'a [(&'a str, &'a str)],
    /// Units to take.
    pub cost: u64,
    /// A call repeated under the same key within ten minutes is charged once.
    pub idempotency_key: Option<&'a str>,
}

impl<'a> Request<'a> {
    /// A request of one unit.
    #[must_use]
    pub const fn new(domain: &'a str, entries: &'a [(&'a str, &'a str)]) -> Self {
        Self { domain, entries, cost: 1, idempotency_key: None }
    }

    /// The same request at another cost.
    #[must_use]
    pub const fn with_cost(mut self, cost: u64) -> Self {
        self.cost = cost;
        self
    }

    pub(crate) fn entry(&self, name: &str) -> Option<&'a str> {
        self.entries.iter().find(|(entry, _)| *entry == name).map(|(_, value)| *value)
    }
}
