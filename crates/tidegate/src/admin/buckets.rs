//! What the admin API asks the engine for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::{Value, json};
use tidegate_core::rule::RuleSet;
use tidegate_core::time::Timestamp;
use tidegate_engine::{Clock, Decision, Engine, EngineError, Request, Selection};
use tidegate_store::BucketStore;

/// A call of the engine.
pub(super) type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<T, EngineError>> + Send + 'a>>;

/// The engine without its types.
pub trait Buckets: Send + Sync + 'static {
    /// The rules in force.
    fn rules(&self) -> Arc<RuleSet>;
    /// The present.
    fn now(&self) -> Timestamp;
    /// The buckets that a value selects.
    fn stats<'a>(&'a self, selection: &'a Selection<'a>) -> Asking<'a, Decision>;
    /// Gives units back to the buckets that a value selects.
    fn refund_selected<'a>(&'a self, selection: &'a Selection<'a>) -> Asking<'a, Decision>;
    /// Puts the buckets that a value selects to rest.
    fn reset_selected<'a>(&'a self, selection: &'a Selection<'a>) -> Asking<'a, usize>;
    /// Gives a request's cost back to the buckets that it selects.
    fn refund<'a>(&'a self, request: &'a Request<'a>) -> Asking<'a, Decision>;
    /// Puts the buckets that a request selects to rest.
    fn reset<'a>(&'a self, request: &'a Request<'a>) -> Asking<'a, ()>;
}

impl<S: BucketStore, C: Clock> Buckets for Engine<S, C> {
    fn rules(&self) -> Arc<RuleSet> {
        Engine::rules(self)
    }

    fn now(&self) -> Timestamp {
        Engine::now(self)
    }

    fn stats<'a>(&'a self, selection: &'a Selection<'a>) -> Asking<'a, Decision> {
        Box::pin(Engine::stats(self, selection))
    }

    fn refund_selected<'a>(&'a self, selection: &'a Selection<'a>) -> Asking<'a, Decision> {
        Box::pin(Engine::refund_selected(self, selection))
    }

    fn reset_selected<'a>(&'a self, selection: &'a Selection<'a>) -> Asking<'a, usize> {
        Box::pin(Engine::reset_selected(self, selection))
    }

    fn refund<'a>(&'a self, request: &'a Request<'a>) -> Asking<'a, Decision> {
        Box::pin(Engine::refund(self, request))
    }

    fn reset<'a>(&'a self, request: &'a Request<'a>) -> Asking<'a, ()> {
        Box::pin(Engine::reset(self, request))
    }
}

/// The buckets of a decision, for answers.
pub(super) fn buckets_of(decision: &Decision) -> Vec<Value> {
    let bucket = |verdict: tidegate_engine::RuleVerdict<'_>| {
        json!({
            "rule": verdict.rule.name(),
            "tier": verdict.tier,
            "limit": verdict.quota.limit(),
            "window_ms": verdict.quota.window().as_millis_ceil(),
            "burst": verdict.quota.burst(),
            "used": verdict.gauge.used,
            "remaining": verdict.gauge.remaining,
            "mode": verdict.rule.model().mode.name(),
        })
    };
    decision.verdicts().map(bucket).collect()
}
