//! `Authorization/Check`, with the entries as context extensions. What Envoy would send its client is what the HTTP door says.

use tidegate_engine::Decision;
use tidegate_proto::envoy::config::core::v3::HeaderValueOption;
use tidegate_proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use tidegate_proto::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use tidegate_proto::envoy::service::auth::v3::check_response::HttpResponse;
use tidegate_proto::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use tidegate_store::BucketStore;
use tonic::Code;
use tonic::transport::Channel;

use crate::door::{Asked, Door};
use crate::http::{body, expected_body, status};
use crate::rate_limit::channel;
use crate::said::{Said, expected_fields, fields};
use crate::site::Site;

pub(crate) struct Authorization(AuthorizationClient<Channel>);

impl Authorization {
    pub(crate) async fn connect<S: BucketStore>(site: &Site<S>) -> Self {
        Self(AuthorizationClient::new(channel(site).await))
    }
}

impl Door for Authorization {
    fn name(&self) -> String {
        "authorization".to_owned()
    }

    async fn ask(&mut self, asked: &Asked<'_>) -> Said {
        let http = HttpRequest { method: "GET".to_owned(), path: "/".to_owned(), ..Default::default() };
        let mut extensions = asked.entries();
        extensions.push(("domain", asked.case.domain));
        let extensions = extensions.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let attributes = AttributeContext {
            request: Some(Request { http: Some(http), ..Default::default() }),
            context_extensions: extensions.collect(),
            ..Default::default()
        };
        let answer = self.0.check(CheckRequest { attributes: Some(attributes) }).await.unwrap().into_inner();
        let code = Code::from(answer.status.unwrap().code);
        let mut said = vec![("code", format!("{code:?}"))];
        match answer.http_response.unwrap() {
            HttpResponse::OkResponse(ok) => said.extend(fields(value_in(&ok.response_headers_to_add))),
            HttpResponse::DeniedResponse(denied) => {
                said.push(("status", denied.status.as_ref().unwrap().code.to_string()));
                said.extend(body(&serde_json::from_str(&denied.body).unwrap()));
                said.extend(fields(value_in(&denied.headers)));
            }
            other => panic!("{other:?}"),
        }
        said
    }

    fn expected(&self, _asked: &Asked<'_>, decision: &Decision) -> Said {
        let code = match status(decision) {
            200 => Code::Ok,
            429 => Code::ResourceExhausted,
            _ => Code::PermissionDenied,
        };
        let mut said = vec![("code", format!("{code:?}"))];
        if !decision.is_allowed() {
            said.push(("status", status(decision).to_string()));
            said.extend(expected_body(decision));
        }
        said.extend(expected_fields(decision));
        said
    }
}

fn value_in<'a>(fields: &'a [HeaderValueOption]) -> impl Fn(&'static str) -> Option<&'a str> {
    move |name| {
        let mut headers = fields.iter().filter_map(|field| field.header.as_ref());
        headers.find(|header| header.key == name).map(|header| header.value.as_str())
    }
}
