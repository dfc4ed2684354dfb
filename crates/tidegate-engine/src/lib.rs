//! The engine: the rules of the moment, a plan, one call to the store, a decision.
//!
//! ```
//! use tidegate_core::quota::{Algorithm, Quota};
//! use tidegate_core::rule::{RuleSet, model::{Domain, Rule, Rules}};
//! use tidegate_core::time::Micros;
//! use tidegate_engine::{Engine, Request, random_seed};
//! use tidegate_store::{MemoryOptions, MemoryStore};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let quota = Quota::new(Algorithm::TokenBucket, 2, Micros::from_secs(60), None)?;
//! let rule = Rule::new("per-client", Algorithm::TokenBucket, quota).with_key(["client_id"]);
//! let rules = RuleSet::compile(Rules { domains: vec![Domain::new("default", vec![rule])] })?;
//! let engine = Engine::new(rules, MemoryStore::new(&MemoryOptions::new(random_seed())));
//!
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
//! runtime.block_on(async {
//!     let entries = [("client_id", "c1")];
//!     let request = Request::new("default", &entries);
//!     assert!(engine.check(&request).await?.is_allowed());
//!     assert!(engine.check(&request).await?.is_allowed());
//!     let decision = engine.check(&request).await?;
//!     assert!(!decision.is_allowed());
//!     assert!(decision.retry_after().is_some());
//!     Ok(())
//! })
//! # }
//! ```

mod ad_hoc;
mod breaker;
mod clock;
mod debts;
mod decision;
mod engine;
mod error;
mod failure;
mod fast;
mod guarded;
mod lease;
mod local;
mod observe;
mod options;
mod permit;
mod planned;
mod random;
mod request;
mod settle;
mod stages;
mod wait;

pub use ad_hoc::{AdHoc, MAX_AD_HOC_QUOTAS};
pub use breaker::{Admission, Breaker, BreakerOptions, BreakerState, BreakerStatus};
pub use clock::{Clock, ManualClock, SystemClock};
pub use debts::MAX_DEBTS;
pub use decision::{Answer, Decision, RuleVerdict};
pub use engine::Engine;
pub use error::EngineError;
pub use failure::{Degraded, DegradedCounts, FailureCause};
pub use fast::{DEFAULT_MAX_AGE, DEFAULT_MAX_ENTRIES, FastAnswers, FastOptions, FastStats};
pub use guarded::{GuardOptions, Guarded};
pub use lease::{DEFAULT_MAX_LEASES, LeaseOptions, LeaseStats, Leases};
pub use observe::Observer;
pub use options::{DEFAULT_LOCAL_BYTES, EngineOptions};
pub use permit::{PermitToken, PermitTokenError};
pub use random::random_seed;
pub use request::{PRIORITY_ENTRY, Request, Selection, SubjectQuotas, TIER_ENTRY};
pub use stages::{KeptStages, MAX_STAGES, Stage, StageEnd, StageKind, Stages};
