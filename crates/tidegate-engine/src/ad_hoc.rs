//! Quotas that requests bring themselves: `CL.THROTTLE` names its numbers with every call, and Envoy may override a limit.
//!
//! Such a quota is a rule of one: it has a domain of its own that no rule file can name, in a set of its own, kept with
//! others like it. What a bucket is known by is the family, the key and the algorithm, but not the quota: the same key with
//! other numbers continues the same bucket, and its state is taken as it is. For an algorithm that counts in windows the
//! window is part of the name, since a count means nothing in another one.
//!
//! - Where the numbers of a key become so much smaller that the state lies more than
//!   [`CLOCK_TOLERANCE`](tidegate_core::algorithm::CLOCK_TOLERANCE) beyond what they could ever lead to, the bucket is taken
//!   for full.
//! - A snapshot of the embedded store keeps these buckets like all others: revisions are named by the numbers, so the same
//!   call finds its bucket after a restart.
//! - While the store does not answer, the engine's default failure policy decides.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use quick_cache::Equivalent;
use quick_cache::sync::Cache;
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::{Domain, Rule, Rules};
use tidegate_store::BucketStore;

use crate::clock::Clock;
use crate::decision::Decision;
use crate::engine::{Call, Engine};
use crate::error::EngineError;
use crate::planned::Operation;

/// Before the family in the name of its domain; no name from outside begins like it.
const DOMAIN_PREFIX: &str = "\u{1f}ad hoc\u{1f}";
/// The entry that names the bucket within its family.
pub(crate) const KEY_ENTRY: &str = "key";
/// The most ad hoc quotas that are kept ready, about 2 KiB each; others are made anew when they are used.
pub const MAX_AD_HOC_QUOTAS: usize = 4_096;

/// A quota that requests bring themselves, made ready. Clones share everything.
#[derive(Clone, Debug)]
pub struct AdHoc {
    pub(crate) rules: Arc<RuleSet>,
    pub(crate) domain: Arc<str>,
}

/// The ad hoc quotas that were used lately.
pub(crate) struct AdHocs(Cache<Name, AdHoc>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    family: Box<str>,
    algorithm: Algorithm,
    quota: Quota,
}

/// A [`Name`] that is looked up.
struct Wanted<'a> {
    family: &'a str,
    algorithm: Algorithm,
    quota: &'a Quota,
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Wanted { family: &self.family, algorithm: self.algorithm, quota: &self.quota }.hash(state);
    }
}

impl Hash for Wanted<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.family.hash(state);
        self.algorithm.hash(state);
        self.quota.hash(state);
    }
}

impl Equivalent<Name> for Wanted<'_> {
    fn equivalent(&self, name: &Name) -> bool {
        *self.family == *name.family && self.algorithm == name.algorithm && *self.quota == name.quota
    }
}

impl Default for AdHocs {
    fn default() -> Self {
        Self(Cache::new(MAX_AD_HOC_QUOTAS))
    }
}

impl AdHoc {
    fn new(family: &str, algorithm: Algorithm, quota: Quota) -> Result<Self, EngineError> {
        let domain = format!("{DOMAIN_PREFIX}{family}");
        let identity = match algorithm {
            Algorithm::TokenBucket | Algorithm::LeakyBucket | Algorithm::Concurrency => {
                algorithm.name().to_owned()
            }
            Algorithm::FixedWindow | Algorithm::SlidingWindow | Algorithm::SlidingWindowLog => {
                format!("{algorithm}/{}", quota.window().as_micros())
            }
        };
        let rule = Rule::new(family, algorithm, quota).with_key([KEY_ENTRY]);
        let rule = Rule { formerly: Some(identity), ..rule };
        let domains = vec![Domain::new(domain.as_str(), vec![rule])];
        let rules = RuleSet::compile(Rules { domains }).map_err(EngineError::AdHoc)?;
        Ok(Self { rules: Arc::new(rules), domain: domain.into() })
    }
}

impl<S: BucketStore, C: Clock> Engine<S, C> {
    /// Makes a quota ready that requests bring themselves. Families keep apart what has nothing to do with one another: two
    /// doors, two tenants.
    ///
    /// # Errors
    /// [`EngineError::AdHoc`], which no quota leads to.
    pub fn ad_hoc(&self, family: &str, algorithm: Algorithm, quota: Quota) -> Result<AdHoc, EngineError> {
        let known = &self.shared.ad_hocs.0;
        if let Some(found) = known.get(&Wanted { family, algorithm, quota: &quota }) {
            return Ok(found);
        }
        let made = AdHoc::new(family, algorithm, quota)?;
        known.insert(Name { family: family.into(), algorithm, quota }, made.clone());
        Ok(made)
    }

    /// Decides a request by the quota that it brings, and charges it if it may pass.
    ///
    /// # Errors
    /// As [`Engine::decide`].
    pub fn throttle<'a>(
        &'a self,
        ad_hoc: &'a AdHoc,
        key: &'a str,
        cost: u64,
    ) -> impl Future<Output = Result<Decision, EngineError>> + Send + 'a {
        self.throttle_or_peek(ad_hoc, key, cost, false)
    }

    /// What [`Engine::throttle`] would say, without changing anything.
    ///
    /// # Errors
    /// As [`Engine::peek`].
    pub fn peek_throttle<'a>(
        &'a self,
        ad_hoc: &'a AdHoc,
        key: &'a str,
        cost: u64,
    ) -> impl Future<Output = Result<Decision, EngineError>> + Send + 'a {
        self.throttle_or_peek(ad_hoc, key, cost, true)
    }

    /// [`Engine::throttle`], or [`Engine::peek_throttle`], as one future.
    ///
    /// # Errors
    /// As theirs.
    pub fn throttle_or_peek<'a>(
        &'a self,
        ad_hoc: &'a AdHoc,
        key: &'a str,
        cost: u64,
        peek: bool,
    ) -> impl Future<Output = Result<Decision, EngineError>> + Send + 'a {
        let operation = if peek { Operation::Peek } else { Operation::Apply };
        self.run(Call::AdHoc(ad_hoc, key, cost), operation)
    }
}
