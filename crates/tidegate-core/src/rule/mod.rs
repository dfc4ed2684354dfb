//! Rules: the declared model, patterns, and the compiled set that a request is matched against.

mod compiled;
mod exceptions;
mod glob;
mod index;
mod lease;
mod lineage;
pub mod model;
pub mod pattern;
mod regex;
mod set;
mod tier;

pub use compiled::{CompiledRule, Metered};
pub use index::Matches;
pub use lineage::{MAX_LINEAGE, Revision};
pub use set::{CompiledDomain, RuleSet, RuleSetError};
pub use tier::RuleTier;
