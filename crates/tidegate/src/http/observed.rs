//! What is seen of a request from outside: its trace, and a line in the log.

use http::{HeaderValue, Request, StatusCode};
use tracing::Level;

use super::route::{self, Leads};
use crate::telemetry::trace::{HttpCall, RequestTrace, TraceId, TraceParent, Tracer};

/// A request that is traced, or that there will be a line of in the log.
pub(super) struct Observed {
    call: HttpCall,
    trace: Option<RequestTrace>,
    /// The trace it belongs to, traced here or not.
    trace_id: Option<TraceId>,
}

impl Observed {
    /// Begins, where anybody looks.
    pub(super) fn begin<B>(
        tracer: Option<&Tracer>,
        request: &Request<B>,
        correlation: &HeaderValue,
    ) -> Option<Self> {
        let is_logged = tracing::enabled!(Level::DEBUG);
        if tracer.is_none() && !is_logged {
            return None;
        }
        let parent = TraceParent::from_headers(request.headers());
        let Leads { to, is_of_probes } = route::leads(request.uri().path());
        let call = || HttpCall { method: request.method().clone(), route: to };
        let trace = tracer
            .filter(|_| !is_of_probes)
            .and_then(|tracer| tracer.begin(parent.as_ref(), request.headers(), call, correlation));
        let trace_id = trace.as_ref().map(RequestTrace::trace_id).or(parent.map(|parent| parent.trace_id));
        (is_logged || trace.is_some()).then(|| Self { call: call(), trace, trace_id })
    }

    /// The trace, if there is one.
    pub(super) const fn trace(&self) -> Option<&RequestTrace> {
        self.trace.as_ref()
    }

    /// The answer is ready.
    pub(super) fn answered(self, status: StatusCode, correlation: &HeaderValue) {
        if let Some(trace) = &self.trace {
            trace.answered(status);
        }
        tracing::debug!(
            method = %self.call.method,
            route = self.call.route,
            status = status.as_u16(),
            correlation_id = correlation.to_str().unwrap_or_default(),
            trace_id = self.trace_id.map(tracing::field::display),
            "answered"
        );
    }
}
