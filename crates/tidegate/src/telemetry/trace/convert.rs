//! Finished requests as OTLP's messages. The names of attributes are those of OpenTelemetry's semantic conventions for HTTP
//! and gRPC servers, and `tidegate.…` for what only this server knows.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use tidegate_catalog::model::split_qualified;
use tidegate_core::time::Timestamp;
use tidegate_engine::{Answer, Stage, StageEnd, StageKind};
use tonic::Code;

use super::request::{Call, Decided, GrpcCall, HttpCall, OTHER_METHOD, Record, Reply, Told};
use super::settings::TraceSettings;
use super::traceparent::SpanId;
use crate::door::answer::shown;

/// The name of what makes the spans.
const SCOPE: &str = "tidegate";
/// Flags of a span: it is sampled, and it is known whether its parent is elsewhere.
const SAMPLED: u32 = 0x101;
/// The parent is of another process.
const PARENT_IS_REMOTE: u32 = 0x200;

/// Where spans come from: this node.
pub(super) struct Origin {
    resource: Resource,
    store: &'static str,
}

impl Origin {
    pub(super) fn new(settings: &TraceSettings) -> Self {
        let mut attributes: Vec<KeyValue> =
            settings.resource.iter().map(|(key, value)| text(key, value.as_str())).collect();
        let mut unless_told = |key: &str, value: &str| {
            if !attributes.iter().any(|attribute| attribute.key == key) {
                attributes.push(text(key, value));
            }
        };
        unless_told("service.name", "tidegate");
        unless_told("service.version", env!("CARGO_PKG_VERSION"));
        // Anew at every start: two nodes never share one.
        unless_told("service.instance.id", &format!("{:032x}", fastrand::u128(..)));
        let resource = Resource { attributes, ..Resource::default() };
        Self { resource, store: settings.store }
    }

    /// A batch as a message, and how many spans are in it.
    pub(super) fn request(&self, batch: &[Record]) -> (ExportTraceServiceRequest, usize) {
        let mut spans = Vec::with_capacity(batch.iter().map(Record::span_count).sum());
        for record in batch {
            self.spans_of(record, &mut spans);
        }
        let count = spans.len();
        let scope = InstrumentationScope {
            name: SCOPE.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }];
        let resource_spans =
            ResourceSpans { resource: Some(self.resource.clone()), scope_spans, schema_url: String::new() };
        (ExportTraceServiceRequest { resource_spans: vec![resource_spans] }, count)
    }

    /// A request's own span, then one of every stage.
    fn spans_of(&self, record: &Record, spans: &mut Vec<Span>) {
        let span_id = SpanId::random();
        spans.push(request_span(record, span_id));
        spans.extend(record.stages.iter().map(|stage| self.stage_span(record, span_id, stage)));
    }

    fn stage_span(&self, record: &Record, parent: SpanId, stage: &Stage) -> Span {
        let (name, kind) = match stage.kind {
            StageKind::Store => ("tidegate.store", SpanKind::Client),
            StageKind::Queue => ("tidegate.queue", SpanKind::Internal),
        };
        let attributes = match stage.kind {
            StageKind::Store => vec![text("tidegate.store", self.store)],
            StageKind::Queue => Vec::new(),
        };
        let (ended, failure) = match stage.ended {
            Some((ended, StageEnd::Done)) => (ended, None),
            Some((ended, StageEnd::Failed)) => (ended, Some("the store gave no answer")),
            None => (record.ended, Some("the caller went away meanwhile")),
        };
        Span {
            name: name.to_owned(),
            kind: kind.into(),
            parent_span_id: parent.to_bytes().to_vec(),
            flags: SAMPLED,
            attributes,
            status: failure.map(error),
            ..bare(record, SpanId::random(), stage.began, ended)
        }
    }
}

fn request_span(record: &Record, span_id: SpanId) -> Span {
    let mut attributes = vec![
        text("server.address", record.serving.ip().to_string()),
        number("server.port", record.serving.port().into()),
        text("tidegate.correlation_id", record.correlation.to_str().unwrap_or_default()),
    ];
    let name = called(&record.call, &mut attributes);
    if let Some(tenant) = &record.tenant {
        attributes.push(text("tidegate.tenant", &**tenant));
    }
    if record.more_stages > 0 {
        attributes.push(number("tidegate.stages_left_out", record.more_stages as u64));
    }
    told(&record.told, &mut attributes);
    let failure = replied(record.reply, &mut attributes);
    let remote = if record.parent.is_some() { PARENT_IS_REMOTE } else { 0 };
    Span {
        name,
        kind: SpanKind::Server.into(),
        parent_span_id: record.parent.map(|parent| parent.to_bytes().to_vec()).unwrap_or_default(),
        flags: SAMPLED | remote,
        attributes,
        status: failure.map(error),
        ..bare(record, span_id, record.began, record.ended)
    }
}

/// What was called. Returns the span's name.
fn called(call: &Call, attributes: &mut Vec<KeyValue>) -> String {
    match call {
        Call::Http(HttpCall { method, route }) => {
            attributes.extend([text("http.request.method", *method), text("url.scheme", "http")]);
            let method = if *method == OTHER_METHOD { "HTTP" } else { *method };
            match route {
                Some(route) => {
                    attributes.push(text("http.route", *route));
                    format!("{method} {route}")
                }
                None => method.to_owned(),
            }
        }
        Call::Grpc(GrpcCall { service, method }) => {
            attributes.extend([text("rpc.system", "grpc"), text("rpc.service", *service)]);
            match method {
                Some(method) => {
                    attributes.push(text("rpc.method", *method));
                    format!("{service}/{method}")
                }
                None => (*service).to_owned(),
            }
        }
    }
}

/// How it was answered. Returns why the span is a failure, if it is one.
fn replied(reply: Option<Reply>, attributes: &mut Vec<KeyValue>) -> Option<&'static str> {
    match reply {
        None => Some("the caller went away before the answer"),
        Some(Reply::Http(status)) => {
            attributes.push(number("http.response.status_code", status.as_u16().into()));
            let failed = status.is_server_error();
            failed.then(|| status.canonical_reason().unwrap_or("server error"))
        }
        Some(Reply::Grpc(code)) => {
            attributes.push(number("rpc.grpc.status_code", code as u64));
            is_failure_of_servers(code).then(|| code.description())
        }
    }
}

/// Codes that are a server's failure by OpenTelemetry's conventions for gRPC; the others are the caller's.
const fn is_failure_of_servers(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// What is the same in every span of a request.
fn bare(record: &Record, span_id: SpanId, began: Timestamp, ended: Timestamp) -> Span {
    Span {
        trace_id: record.trace_id.to_bytes().to_vec(),
        span_id: span_id.to_bytes().to_vec(),
        trace_state: record.state.as_deref().unwrap_or_default().to_owned(),
        start_time_unix_nano: nanos(began),
        end_time_unix_nano: nanos(ended.max(began)),
        ..Span::default()
    }
}

fn told(told: &Told, attributes: &mut Vec<KeyValue>) {
    match told {
        Told::Nothing => {}
        Told::Banned => attributes.push(text("tidegate.decision", "banned")),
        Told::Decided(decided) => decision(decided, attributes),
        Told::Many { allowed, denied } => {
            attributes.extend([number("tidegate.allowed", *allowed), number("tidegate.denied", *denied)]);
        }
    }
}

fn decision(decided: &Decided, attributes: &mut Vec<KeyValue>) {
    let answer = match decided.answer {
        Answer::Allow => "allow",
        Answer::Deny => "deny",
        Answer::Wait(_) => "wait",
    };
    attributes.extend([text("tidegate.decision", answer), number("tidegate.cost", decided.cost)]);
    if let Some(domain) = &decided.domain {
        attributes.push(text("tidegate.domain", shown(split_qualified(domain).1)));
    }
    if let Some(rule) = &decided.rule {
        attributes.push(text("tidegate.rule", shown(rule)));
    }
    if let Some(degraded) = decided.degraded {
        attributes.push(text("tidegate.degraded", degraded.policy.name()));
        attributes.push(text("tidegate.degraded.cause", degraded.cause.name()));
    }
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

fn number(key: &str, value: u64) -> KeyValue {
    attribute(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn error(message: &str) -> Status {
    Status { code: SpanStatus::Error.into(), message: message.to_owned() }
}

/// OTLP counts nanoseconds.
fn nanos(time: Timestamp) -> u64 {
    time.as_micros().saturating_mul(1_000)
}
