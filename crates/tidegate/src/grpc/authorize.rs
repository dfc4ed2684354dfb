//! `envoy.service.auth.v3`: may this request pass? It is described to the rules as the HTTP door would describe it.

use std::sync::Arc;

use http::StatusCode;
use tidegate_engine::Clock;
use tidegate_proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use tidegate_proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use tidegate_proto::envoy::service::auth::v3::authorization_server::Authorization;
use tidegate_proto::envoy::service::auth::v3::check_response::HttpResponse;
use tidegate_proto::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use tidegate_proto::envoy::r#type::v3::HttpStatus;
use tidegate_store::BucketStore;
use tidegate_wire::problem::{Problem, ProblemType};
use tonic::{Code, Request, Response, Status};

use super::rate_limit::Borrowed;
use super::{Shared, from_wire, to_wire};
use crate::door::overload::Priority;
use crate::door::{DoorResponse, answer, problem};
use crate::gate::{Answered, Ask, Caller};

pub(super) struct Authorize<S, C>(pub(super) Arc<Shared<S, C>>);

/// What came of it: the fields beside a request that passes, or the response in its place.
type Checked = Result<Vec<HeaderValue>, DoorResponse>;

#[tonic::async_trait]
impl<S: BucketStore, C: Clock> Authorization for Authorize<S, C> {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let caller = request.extensions().get::<Caller>().cloned().unwrap_or_default();
        let Some(attributes) = &request.get_ref().attributes else {
            return Err(Status::invalid_argument("attributes: they are missing"));
        };
        let response = match self.checked(&caller, attributes).await? {
            Ok(fields) => passes(fields),
            Err(denied) => denied_as(denied).await,
        };
        Ok(Response::new(response))
    }
}

impl<S: BucketStore, C: Clock> Authorize<S, C> {
    async fn checked(&self, caller: &Caller, attributes: &AttributeContext) -> Result<Checked, Status> {
        let shared = &*self.0;
        let Shared { gate, options } = shared;
        let domain = from_wire::domain(attributes)?;
        let entries = match from_wire::attributes(&options.identity, attributes)? {
            Ok(entries) => entries,
            Err(error) => {
                return Ok(Err(problem(&Problem::new(ProblemType::Malformed, error.to_string()))));
            }
        };
        let entries: Borrowed<'_> = entries.iter().map(|(name, value)| (*name, value.as_ref())).collect();
        let _inside = shared.let_in(Priority::of_entries(entries.iter().copied()))?;
        match gate.over_ceiling(caller, 1).await {
            Ok(None) => {}
            Ok(Some(decision)) => return Ok(Err(problem(&answer::over_ceiling(&decision)))),
            Err(error) => return Ok(Err(problem(&answer::problem_of(&error)))),
        }
        let look = gate.look(caller, domain, &entries).await;
        let ask = Ask { entries: &entries, cost: 1, peek: false, idempotency_key: None, inside: &[] };
        Ok(match gate.ask(&look, &ask).await {
            Ok(Answered::Decided(decision)) if decision.is_allowed() => {
                let mut fields = Vec::new();
                answer::write_fields(&mut fields, &decision, &look, options.legacy_fields);
                Ok(fields)
            }
            Ok(answered) => {
                Err(answer::answered(&answered, &look, gate.engine().now(), options.legacy_fields))
            }
            Err(error) => Err(problem(&answer::problem_of(&error))),
        })
    }
}

/// The request goes on. The application and the client see the same fields.
fn passes(fields: Vec<HeaderValue>) -> CheckResponse {
    let fields = overwriting(fields);
    let response =
        OkHttpResponse { headers: fields.clone(), response_headers_to_add: fields, ..Default::default() };
    CheckResponse {
        status: Some(Default::default()),
        http_response: Some(HttpResponse::OkResponse(response)),
        ..Default::default()
    }
}

/// A refusal, as Envoy is to answer its client.
pub(super) async fn denied_as(denied: DoorResponse) -> CheckResponse {
    let (parts, body) = denied.into_parts();
    let code = match parts.status {
        StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        _ => Code::PermissionDenied,
    };
    let body = to_wire::whole(body).await;
    let response = DeniedHttpResponse {
        status: Some(HttpStatus { code: parts.status.as_u16().into() }),
        headers: overwriting(to_wire::header_values(&parts.headers)),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    CheckResponse {
        status: Some(tidegate_proto::google::rpc::Status { code: code.into(), ..Default::default() }),
        http_response: Some(HttpResponse::DeniedResponse(response)),
        ..Default::default()
    }
}

/// Fields that take the place of those of the same name.
fn overwriting(fields: Vec<HeaderValue>) -> Vec<HeaderValueOption> {
    fields
        .into_iter()
        .map(|header| HeaderValueOption {
            header: Some(header),
            append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
            ..Default::default()
        })
        .collect()
}
