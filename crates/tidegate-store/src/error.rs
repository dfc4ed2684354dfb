//! What can go wrong between a decision and its store. A denial is not an error.

/// Why a store gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store could not be reached; nothing was charged.
    #[error("the store is not reachable: {0}")]
    Unavailable(String),
    /// No answer within the deadline; the charge may or may not have happened and must not be repeated.
    #[error("the store did not answer in time")]
    Timeout,
    /// What the store holds cannot be read.
    #[error("the store holds data that cannot be read: {0}")]
    Corrupt(String),
    /// The store is set up in a way that cannot work.
    #[error("the store is not set up rightly: {0}")]
    Misconfigured(String),
}

impl StoreError {
    /// Whether the same call may be sent again without charging twice.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            StoreError::Unavailable(_) => true,
            StoreError::Timeout | StoreError::Corrupt(_) | StoreError::Misconfigured(_) => false,
        }
    }
}
