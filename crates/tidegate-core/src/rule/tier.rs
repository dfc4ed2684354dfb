//! Which of a rule's quotas holds for one subject.

/// A tier of one rule that holds for a subject whatever its tier elsewhere: how a subject has a quota of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleTier {
    /// The rule's name.
    pub rule: Box<str>,
    /// The name of one of the rule's tiers.
    pub tier: Box<str>,
}
