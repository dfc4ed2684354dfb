//! Decisions as Envoy's messages: statuses, quotas, header fields, bodies.

use std::cmp::Reverse;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName};
use http_body_util::{BodyExt, Full};
use prost::Message;
use prost_types::{Any, Duration};
use tidegate_core::decision::Verdict;
use tidegate_core::quota::Quota;
use tidegate_core::rule::model::Denies;
use tidegate_core::time::{Micros, Timestamp};
use tidegate_engine::{Decision, EngineError, RuleVerdict};
use tidegate_proto::envoy::config::core::v3::HeaderValue;
use tidegate_proto::envoy::service::ratelimit::v3::RateLimitResponse;
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_response::rate_limit::Unit;
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus, RateLimit};
use tidegate_wire::problem::{Problem, ProblemType};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code as GrpcCode, Status};

use super::from_wire::{Asked, DAY, HOUR, Hits, MINUTE, MONTH, SECOND, WEEK, YEAR};
use super::{DeniedBody, GrpcOptions};
use crate::door::answer::fields::Fields;
use crate::door::overload::{RETRY_AFTER_SECONDS, SHED};
use crate::door::{DoorResponse, answer, problem};
use crate::gate::{Answered, Look};

/// A problem as the status of a call.
pub(super) fn status_of(problem: &Problem) -> Status {
    let detail = problem.detail.as_ref();
    match problem.kind {
        ProblemType::Unauthorized => Status::unauthenticated(detail),
        ProblemType::Forbidden => Status::permission_denied(detail),
        ProblemType::Malformed => Status::invalid_argument(detail),
        _ => Status::unavailable(detail),
    }
}

/// There is no decision. Never UNKNOWN, which Envoy takes for a fault of the call and not of the service.
pub(super) fn no_decision(error: &EngineError) -> Status {
    status_of(&answer::problem_of(error))
}

/// `google.rpc.RetryInfo` (google/rpc/error_details.proto), of which file nothing else is spoken here.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Duration>,
}

/// The answer to a call for which there is no room. When to try again is said twice: to gRPC itself, which repeats calls by its
/// service config (`grpc-retry-pushback-ms`, gRFC A6), and to callers that read details (`RetryInfo`).
pub(super) fn shed() -> Status {
    let retry_delay = Some(Duration { seconds: RETRY_AFTER_SECONDS.into(), nanos: 0 });
    let details = tidegate_proto::google::rpc::Status {
        code: GrpcCode::Unavailable.into(),
        message: SHED.to_owned(),
        details: vec![Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
            value: RetryInfo { retry_delay }.encode_to_vec(),
        }],
    };
    let mut metadata = MetadataMap::new();
    metadata.insert("grpc-retry-pushback-ms", MetadataValue::from(RETRY_AFTER_SECONDS * 1_000));
    let details = details.encode_to_vec().into();
    Status::with_details_and_metadata(GrpcCode::Unavailable, SHED, details, metadata)
}

/// The answer to a request, whose descriptors were all answered.
///
/// # Errors
/// UNAVAILABLE: one was refused because the store does not answer.
pub(super) async fn response(
    answers: &[Answered<'_>],
    asked: &[Asked<'_>],
    looks: &[Look<'_>],
    now: Timestamp,
    options: &GrpcOptions,
) -> Result<RateLimitResponse, Status> {
    let mut statuses = Vec::with_capacity(answers.len());
    for (answered, asked) in answers.iter().zip(asked) {
        statuses.push(status(answered, asked.hits, now)?);
    }
    let overall = if is_refused(answers, &statuses) { Code::OverLimit } else { Code::Ok };
    let strictest = answers.iter().zip(looks).zip(&statuses);
    let strictest = strictest.max_by_key(|((answered, _), status)| restriction(answered, status));
    let mut response =
        RateLimitResponse { overall_code: overall.into(), statuses: Vec::new(), ..Default::default() };
    if let Some(((answered, look), status)) = strictest {
        let sends_body =
            overall == Code::OverLimit && is_over(status) && options.denied_body == DeniedBody::Send;
        match answered {
            Answered::Decided(decision) if !sends_body => {
                let fields = &mut response.response_headers_to_add;
                answer::write_fields(fields, decision, look, options.legacy_fields);
                if overall == Code::Ok {
                    // What was given back is not refused, whatever the buckets still say.
                    fields.retain(|field| field.key != RETRY_AFTER.as_str());
                }
            }
            Answered::Decided(_) | Answered::Banned(_) => {
                let refusal = answer::answered(answered, look, now, options.legacy_fields);
                refuse(&mut response, refusal, options.denied_body).await;
            }
        }
    }
    response.statuses = statuses;
    Ok(response)
}

/// More than the caller's tenant may ask: all of it is refused, and nothing was charged.
pub(super) async fn over_ceiling(
    descriptors: usize,
    decision: &Decision,
    options: &GrpcOptions,
) -> RateLimitResponse {
    let status = DescriptorStatus {
        code: Code::OverLimit.into(),
        duration_until_reset: decision.retry_after().map(duration),
        ..Default::default()
    };
    let mut response = RateLimitResponse {
        overall_code: Code::OverLimit.into(),
        statuses: vec![status; descriptors],
        ..Default::default()
    };
    refuse(&mut response, problem(&answer::over_ceiling(decision)), options.denied_body).await;
    response
}

/// The refusal of a call whose descriptors are not known.
pub(super) async fn refused(refusal: DoorResponse, denied_body: DeniedBody) -> RateLimitResponse {
    let mut response = RateLimitResponse { overall_code: Code::OverLimit.into(), ..Default::default() };
    refuse(&mut response, refusal, denied_body).await;
    response
}

/// Carries the header fields of a refusal, and its body where it is wanted.
async fn refuse(response: &mut RateLimitResponse, refusal: DoorResponse, denied_body: DeniedBody) {
    let (mut parts, body) = refusal.into_parts();
    if denied_body == DeniedBody::Send {
        response.raw_body = whole(body).await.into();
    } else {
        parts.headers.remove(CONTENT_TYPE);
    }
    response.response_headers_to_add = header_values(&parts.headers);
}

/// A body that is there already.
pub(super) async fn whole(body: Full<Bytes>) -> Bytes {
    match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(never) => match never {},
    }
}

/// What one descriptor is told.
fn status(answered: &Answered<'_>, hits: Hits, now: Timestamp) -> Result<DescriptorStatus, Status> {
    match answered {
        Answered::Banned(ban) => Ok(DescriptorStatus {
            code: Code::OverLimit.into(),
            duration_until_reset: answer::left_of(ban, now).map(Micros::from_millis).map(duration),
            ..Default::default()
        }),
        Answered::Decided(decision) if decision.is_refused_for_want_of_store() => {
            Err(Status::unavailable("the store does not answer; try again shortly"))
        }
        Answered::Decided(decision) => Ok(decided(decision, hits)),
    }
}

fn decided(decision: &Decision, hits: Hits) -> DescriptorStatus {
    let passes = decision.is_allowed() || matches!(hits, Hits::GiveBack(_));
    let code = if passes { Code::Ok } else { Code::OverLimit };
    // Where no enforced rule applies nothing is limited, and nothing is known of a limit.
    let Some(binding) = decision.binding() else {
        let limit_remaining = if passes { u32::MAX } else { 0 };
        return DescriptorStatus { code: code.into(), limit_remaining, ..Default::default() };
    };
    DescriptorStatus {
        code: code.into(),
        current_limit: Some(current_limit(binding.rule.name(), &binding.quota)),
        limit_remaining: saturated(binding.gauge.remaining),
        duration_until_reset: Some(duration(binding.gauge.reset_after)),
        quota: None,
    }
}

/// A quota in Envoy's words. A window that is none of its units has the unit UNKNOWN: the number of requests is right, and
/// nobody is told a wrong time. `RateLimit-Policy` has the window in seconds.
fn current_limit(rule: &str, quota: &Quota) -> RateLimit {
    let window = quota.window().as_micros();
    let seconds = if window.is_multiple_of(1_000_000) { window / 1_000_000 } else { 0 };
    let unit = match seconds {
        SECOND => Unit::Second,
        MINUTE => Unit::Minute,
        HOUR => Unit::Hour,
        DAY => Unit::Day,
        WEEK => Unit::Week,
        MONTH => Unit::Month,
        YEAR => Unit::Year,
        _ => Unit::Unknown,
    };
    RateLimit {
        name: answer::shown(rule).to_owned(),
        requests_per_unit: saturated(quota.limit()),
        unit: unit.into(),
    }
}

/// Whether a call is refused: one descriptor is over its limit, or, of those whose rules deny together, all are.
fn is_refused(answers: &[Answered<'_>], statuses: &[DescriptorStatus]) -> bool {
    let mut all_together = None;
    for (answered, status) in answers.iter().zip(statuses) {
        match denies(answered) {
            Denies::Alone if is_over(status) => return true,
            Denies::Alone => {}
            Denies::Together => all_together = Some(all_together.unwrap_or(true) && is_over(status)),
        }
    }
    all_together == Some(true)
}

/// What the denial of one descriptor means for its call. Where a rule denies that does so alone, it does not matter which others
/// apply.
fn denies(answered: &Answered<'_>) -> Denies {
    let Answered::Decided(decision) = answered else { return Denies::Alone };
    let is_together = |verdict: &RuleVerdict<'_>| verdict.rule.model().denies == Denies::Together;
    let denies_alone = |verdict: RuleVerdict<'_>| {
        verdict.is_enforced() && !is_together(&verdict) && matches!(verdict.verdict, Verdict::Deny { .. })
    };
    if decision.verdicts().any(|verdict| is_together(&verdict)) && !decision.verdicts().any(denies_alone) {
        Denies::Together
    } else {
        Denies::Alone
    }
}

/// How much a status restricts: the one that restricts most speaks in the header fields.
fn restriction(answered: &Answered<'_>, status: &DescriptorStatus) -> (u8, u64, Reverse<u32>) {
    let until = match answered {
        Answered::Decided(decision) => decision.retry_after().map_or(u64::MAX, Micros::as_micros),
        Answered::Banned(_) => u64::MAX,
    };
    match (is_over(status), status.current_limit.is_some()) {
        (true, _) => (2, until, Reverse(0)),
        (false, true) => (1, 0, Reverse(status.limit_remaining)),
        (false, false) => (0, 0, Reverse(0)),
    }
}

fn is_over(status: &DescriptorStatus) -> bool {
    status.code() == Code::OverLimit
}

/// Numbers beyond what the message can hold: u32::MAX stands for "more than anybody counts".
fn saturated(units: u64) -> u32 {
    u32::try_from(units).unwrap_or(u32::MAX)
}

fn duration(span: Micros) -> Duration {
    let micros = span.as_micros();
    Duration {
        seconds: i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(micros % 1_000_000 * 1_000).unwrap_or(0),
    }
}

impl Fields for Vec<HeaderValue> {
    fn put(&mut self, name: HeaderName, value: &[u8]) {
        let value = String::from_utf8_lossy(value).into_owned();
        self.push(HeaderValue { key: name.as_str().to_owned(), value, raw_value: Vec::new() });
    }
}

/// Header fields as Envoy takes them.
pub(super) fn header_values(fields: &HeaderMap) -> Vec<HeaderValue> {
    let mut values = Vec::with_capacity(fields.len());
    fields.iter().for_each(|(name, value)| values.put(name.clone(), value.as_bytes()));
    values
}

#[cfg(test)]
mod tests {
    use tidegate_core::quota::Algorithm;

    use super::*;

    fn unit_of(window: Micros) -> Unit {
        let quota = Quota::new(Algorithm::FixedWindow, 7, window, None).unwrap();
        let limit = current_limit("tenant\u{1f}rule", &quota);
        assert_eq!((limit.name.as_str(), limit.requests_per_unit), ("rule", 7));
        limit.unit()
    }

    #[test]
    fn a_window_is_one_of_envoys_units_or_unknown() {
        for (seconds, unit) in [
            (1, Unit::Second),
            (60, Unit::Minute),
            (3_600, Unit::Hour),
            (86_400, Unit::Day),
            (604_800, Unit::Week),
            (2_592_000, Unit::Month),
            (31_536_000, Unit::Year),
            (90, Unit::Unknown),
        ] {
            assert_eq!(unit_of(Micros::from_secs(seconds)), unit, "{seconds}");
        }
        assert_eq!(unit_of(Micros::from_millis(1_001)), Unit::Unknown, "not quite a second");
    }

    #[test]
    fn spans_keep_their_microseconds() {
        let span = duration(Micros::from_micros(61_000_001));
        assert_eq!((span.seconds, span.nanos), (61, 1_000));
        assert_eq!(saturated(u64::from(u32::MAX) + 1), u32::MAX);
    }

    #[test]
    fn no_problem_is_unknown() {
        for kind in ProblemType::ALL {
            let code = status_of(&Problem::new(kind, "x")).code();
            assert!(
                ![tonic::Code::Unknown, tonic::Code::Internal, tonic::Code::Ok].contains(&code),
                "{kind:?}"
            );
        }
    }
}
