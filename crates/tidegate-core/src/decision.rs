//! What one bucket answers: a verdict, and a gauge of what is left.

use crate::time::Micros;

/// One bucket's answer to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The request conforms.
    Allow {
        /// How long it has to wait its turn first; zero except for rules with a queue.
        wait: Micros,
    },
    /// The request does not conform, and nothing was charged.
    Deny {
        /// The time until the same cost can pass if nobody else calls; `None` where it can never pass.
        retry_after: Option<Micros>,
    },
}

impl Verdict {
    /// An allowance without a wait.
    pub const ALLOW: Verdict = Verdict::Allow { wait: Micros::ZERO };
    /// A denial that no waiting lifts.
    pub const NEVER: Verdict = Verdict::Deny { retry_after: None };

    /// Whether the request may pass, now or after its wait.
    #[must_use]
    pub const fn is_allow(&self) -> bool {
        matches!(self, Verdict::Allow { .. })
    }
}

/// What a bucket holds at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Gauge {
    /// Units taken, rounded up. Can exceed the limit after a rule was made smaller.
    pub used: u64,
    /// Units that this requester could still take at this instant.
    pub remaining: u64,
    /// Time until the bucket is at rest (full).
    pub reset_after: Micros,
    /// Time until one more unit is available than now; `None` when nothing is missing. The `t` of the
    /// RateLimit field.
    pub replenish_after: Option<Micros>,
}
