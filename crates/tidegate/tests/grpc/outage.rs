//! Goal: without the store, Envoy is told so by a status that its failure mode understands.

use std::collections::HashMap;

use tidegate_proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Request};
use tidegate_proto::envoy::service::auth::v3::check_response::HttpResponse;
use tidegate_proto::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use tidegate_testkit::RedisServer;
use tonic::Code as GrpcCode;

use crate::site::{Site, descriptor, field, request};

fn check() -> CheckRequest {
    let http = HttpRequest { method: "GET".into(), path: "/".into(), ..Default::default() };
    CheckRequest {
        attributes: Some(AttributeContext {
            request: Some(Request { http: Some(http), ..Default::default() }),
            context_extensions: HashMap::from([("client_ip".into(), "192.0.2.1".into())]),
            ..Default::default()
        }),
    }
}

#[tokio::test]
async fn under_deny_it_is_unavailable_and_under_allow_it_passes() {
    let mut redis = RedisServer::start();
    let url = redis.url();
    let denying = Site::with(&["--store", &url, "--fail-mode", "deny"]);
    let allowing = Site::with(&["--store", &url, "--fail-mode", "allow"]);
    let asked = || request("edge", vec![descriptor(&[("user_id", "u")])]);
    assert_eq!(denying.try_ask(asked()).await.unwrap().into_inner().statuses[0].limit_remaining, 2);
    assert_eq!(allowing.try_ask(asked()).await.unwrap().into_inner().statuses[0].limit_remaining, 1);
    redis.kill();

    for _ in 0..10 {
        let refused = denying.try_ask(asked()).await.unwrap_err();
        assert_eq!(refused.code(), GrpcCode::Unavailable, "{refused}");
    }
    let answer = denying.authorization().await.check(check()).await.unwrap().into_inner();
    assert_eq!(answer.status.unwrap().code, i32::from(GrpcCode::Unavailable));
    let Some(HttpResponse::DeniedResponse(denied)) = answer.http_response else { panic!("it passes") };
    assert_eq!(denied.status.unwrap().code, 503);

    let answer = allowing.try_ask(asked()).await.unwrap().into_inner();
    assert_eq!(answer.overall_code(), Code::Ok);
    assert_eq!(answer.statuses[0].current_limit, None, "nothing is known");
    assert_eq!(field(&answer.response_headers_to_add, "x-tidegate-degraded"), Some("allow"));
}
