//! What is seen of a request from outside: its trace, and a line in the log.

use http::{HeaderValue, Request, StatusCode};
use tracing::Level;

use super::route::{self, Leads};
use crate::telemetry::trace::{
    Call, HttpCall, Reply, RequestTrace, TraceId, TraceParent, Tracer, method_name,
};

/// A request that is traced, or that there will be a line of in the log.
pub(super) struct Observed {
    trace: Option<RequestTrace>,
    line: Option<Line>,
}

/// What the log says of a request.
struct Line {
    call: HttpCall,
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
        let leads = || route::leads(request.uri().path());
        let call = |Leads { to, .. }| HttpCall { method: method_name(request.method()), route: to };
        let unless_probe =
            || Some(leads()).filter(|leads| !leads.is_of_probes).map(|leads| Call::Http(call(leads)));
        let trace = tracer
            .and_then(|tracer| tracer.begin(parent.as_ref(), request.headers(), unless_probe, correlation));
        let trace_id = trace.as_ref().map(RequestTrace::trace_id).or(parent.map(|parent| parent.trace_id));
        let line = is_logged.then(|| Line { call: call(leads()), trace_id });
        (trace.is_some() || line.is_some()).then_some(Self { trace, line })
    }

    /// The trace, if there is one.
    pub(super) const fn trace(&self) -> Option<&RequestTrace> {
        self.trace.as_ref()
    }

    /// The answer is ready.
    pub(super) fn answered(self, status: StatusCode, correlation: &HeaderValue) {
        if let Some(trace) = &self.trace {
            trace.answered(Reply::Http(status));
        }
        let Some(Line { call, trace_id }) = self.line else { return };
        tracing::debug!(
            method = call.method,
            route = call.route,
            status = status.as_u16(),
            correlation_id = correlation.to_str().unwrap_or_default(),
            trace_id = trace_id.map(tracing::field::display),
            "answered"
        );
    }
}
