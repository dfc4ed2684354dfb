//! What is written down of a request that is traced.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode};
use parking_lot::Mutex;
use tidegate_core::time::Timestamp;
use tidegate_engine::{Answer, Decision, Degraded, KeptStages, Stages};
use tonic::Code;

use super::Tracer;
use super::traceparent::{SpanId, TraceId, TraceParent};

/// A request to an HTTP door.
#[derive(Clone, Copy, Debug)]
pub struct HttpCall {
    /// The method, as in [`method_name`].
    pub method: &'static str,
    /// The endpoint as the index writes it, such as `/v1/stats/{domain}/{key}`; `None` where there is none.
    pub route: Option<&'static str>,
}

/// A request to the gRPC door.
#[derive(Clone, Copy, Debug)]
pub struct GrpcCall {
    /// The service with its package, such as `envoy.service.auth.v3.Authorization`.
    pub service: &'static str,
    /// The method; `None` where the service has no such.
    pub method: Option<&'static str>,
}

/// What a method is called that is none of those that are known.
pub(super) const OTHER_METHOD: &str = "_OTHER";

/// A method's name, for traces and logs: one of few, since a client may send any word, of any length. As OpenTelemetry's
/// conventions have it, those of RFC 9110 and `PATCH` are known, and all others are `_OTHER`.
#[must_use]
pub fn method_name(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or(OTHER_METHOD)
}

/// What was called.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    /// An endpoint.
    Http(HttpCall),
    /// A method of a service.
    Grpc(GrpcCall),
}

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Over HTTP.
    Http(StatusCode),
    /// Over gRPC.
    Grpc(Code),
}

/// The trace of one request. Clones share it; the request's span is finished when the last one is dropped.
#[derive(Clone)]
pub struct RequestTrace(Arc<Inner>);

struct Inner {
    tracer: Tracer,
    trace_id: TraceId,
    record: Mutex<Option<Record>>,
    stages: Stages,
}

/// What a request's spans are made of, on the thread that sends them.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) trace_id: TraceId,
    pub(super) parent: Option<SpanId>,
    pub(super) state: Option<Box<str>>,
    pub(super) call: Call,
    /// Where the door listens.
    pub(super) serving: SocketAddr,
    pub(super) correlation: HeaderValue,
    pub(super) began: Timestamp,
    pub(super) ended: Timestamp,
    /// `None` where the caller went away before there was an answer.
    pub(super) reply: Option<Reply>,
    pub(super) tenant: Option<Arc<str>>,
    pub(super) told: Told,
    pub(super) stages: KeptStages,
    /// Stages beyond the most that are kept.
    pub(super) more_stages: usize,
}

/// What a request was told.
#[derive(Debug, Default)]
pub(super) enum Told {
    /// No rule was asked.
    #[default]
    Nothing,
    /// Its subject is banned.
    Banned,
    /// One decision.
    Decided(Box<Decided>),
    /// Several, of one call.
    Many { allowed: u64, denied: u64 },
}

/// What of a decision is in a span. No keys, no values of entries.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) domain: Option<String>,
    pub(super) rule: Option<String>,
    pub(super) answer: Answer,
    pub(super) cost: u64,
    pub(super) degraded: Option<Degraded>,
}

impl Record {
    pub(super) fn new(
        trace_id: TraceId,
        parent: Option<&TraceParent>,
        state: Option<Box<str>>,
        (call, serving): (Call, SocketAddr),
        correlation: HeaderValue,
        began: Timestamp,
    ) -> Self {
        Self {
            trace_id,
            parent: parent.map(|parent| parent.span_id),
            state,
            call,
            serving,
            correlation,
            began,
            ended: began,
            reply: None,
            tenant: None,
            told: Told::Nothing,
            stages: KeptStages::new(),
            more_stages: 0,
        }
    }

    /// How many spans it makes: its own, and one of every stage.
    pub(super) fn span_count(&self) -> usize {
        1 + self.stages.len()
    }
}

impl Told {
    /// How many decisions were allowed and denied, where this counts as any.
    const fn counts(&self) -> Option<(u64, u64)> {
        match self {
            Told::Nothing => None,
            Told::Banned => Some((0, 1)),
            Told::Decided(decided) => match decided.answer {
                Answer::Allow | Answer::Wait(_) => Some((1, 0)),
                Answer::Deny => Some((0, 1)),
            },
            Told::Many { allowed, denied } => Some((*allowed, *denied)),
        }
    }

    /// Adds what a further part of the same call was told.
    fn add(&mut self, told: Told) {
        *self = match (self.counts(), told.counts()) {
            (Some(before), Some(more)) => {
                Told::Many { allowed: before.0 + more.0, denied: before.1 + more.1 }
            }
            (_, None) => return,
            (None, Some(_)) => told,
        };
    }
}

impl RequestTrace {
    pub(super) fn new(tracer: Tracer, record: Record) -> Self {
        let (trace_id, stages) = (record.trace_id, Stages::default());
        Self(Arc::new(Inner { tracer, trace_id, record: Mutex::new(Some(record)), stages }))
    }

    /// The trace, for log lines.
    #[must_use]
    pub fn trace_id(&self) -> TraceId {
        self.0.trace_id
    }

    /// Where the engine writes down what the request waits for.
    #[must_use]
    pub fn stages(&self) -> &Stages {
        &self.0.stages
    }

    /// Whose request it is.
    pub fn of_tenant(&self, tenant: &Arc<str>) {
        self.with(|record| record.tenant = Some(Arc::clone(tenant)));
    }

    /// A decision was made. Of several in one call, it is only counted how many passed.
    pub fn decided(&self, decision: &Decision) {
        let (domain, rule) = (decision.domain(), decision.binding());
        let decided = Decided {
            domain: domain.map(str::to_owned),
            rule: rule.map(|binding| binding.rule.name().to_owned()),
            answer: decision.answer(),
            cost: decision.cost(),
            degraded: decision.degraded(),
        };
        self.with(|record| record.told.add(Told::Decided(Box::new(decided))));
    }

    /// The request's subject is banned.
    pub fn banned(&self) {
        self.with(|record| record.told.add(Told::Banned));
    }

    /// The answer is ready: here the request's span ends.
    pub fn answered(&self, reply: Reply) {
        let now = self.0.tracer.shared.clock.now();
        self.with(|record| (record.reply, record.ended) = (Some(reply), now));
    }

    fn with(&self, write: impl FnOnce(&mut Record)) {
        if let Some(record) = self.0.record.lock().as_mut() {
            write(record);
        }
    }
}

impl fmt::Debug for RequestTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestTrace({})", self.0.trace_id)
    }
}

/// Two handles are equal where they are of the same request.
impl PartialEq for RequestTrace {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for RequestTrace {}

impl Drop for Inner {
    fn drop(&mut self) {
        let Some(mut record) = self.record.get_mut().take() else { return };
        if record.reply.is_none() {
            record.ended = self.tracer.shared.clock.now();
        }
        (record.stages, record.more_stages) = self.stages.take();
        self.tracer.shared.queue.push(record);
    }
}
