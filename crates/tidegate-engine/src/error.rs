//! Why there is no decision. A denial is a decision, not an error.

use tidegate_core::rule::RuleSetError;
use tidegate_store::StoreError;

/// Why the engine could not decide.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The store gave no answer.
    #[error("no decision could be made")]
    Store(#[from] StoreError),
    /// The rules changed again and again while this request was decided.
    #[error("the rules changed faster than a request could be decided")]
    RulesUnsettled,
    /// A quota that a request brought does not make a rule.
    #[error("the quota does not make a rule")]
    AdHoc(#[source] RuleSetError),
}
