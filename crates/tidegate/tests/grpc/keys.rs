//! Goal: where keys are required the door asks for them, and a tenant's key means the tenant's rules and ceiling.

use serde_json::json;
use tidegate_proto::envoy::service::ratelimit::v3::RateLimitResponse;
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use tonic::transport::Channel;
use tonic::{Code as GrpcCode, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::admin::{Site, payments};
use crate::site::{channel, codes, descriptor, field, request};

/// A site with two tenants whose domains have the same name, and the client of one.
struct Keyed {
    site: Site,
    client: RateLimitServiceClient<Channel>,
}

impl Keyed {
    async fn start() -> Self {
        let site = Site::of(|options| options.grpc().arguments(["--require-api-key"]));
        for (tenant, limit) in [("a", 2), ("b", 50)] {
            site.tenant(tenant);
            site.domain(tenant, &payments(limit));
        }
        let client = RateLimitServiceClient::new(channel(site.server.grpc_address()).await);
        Self { site, client }
    }

    async fn ask(&self, field: &'static str, key: &str) -> Result<RateLimitResponse, Status> {
        let asked = request("payments", vec![descriptor(&[("user_id", "sue")])]);
        let mut asked = Request::new(asked);
        if !key.is_empty() {
            asked.metadata_mut().insert(field, key.parse().unwrap());
        }
        Ok(self.client.clone().should_rate_limit(asked).await?.into_inner())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_asked_for_and_means_its_tenant() {
    let keyed = Keyed::start().await;
    let key =
        |tenant, scopes: &[&str]| keyed.site.key(Some(tenant), &format!("{tenant}-{}", scopes[0]), scopes);
    let (of_a, of_b, reader) = (key("a", &["check"]), key("b", &["check"]), key("a", &["admin-read"]));

    let code = async |field, key: &str| keyed.ask(field, key).await.unwrap_err().code();
    assert_eq!(code("authorization", "").await, GrpcCode::Unauthenticated);
    assert_eq!(code("authorization", "Bearer tg_nonsense").await, GrpcCode::Unauthenticated);
    assert_eq!(code("authorization", &of_a).await, GrpcCode::Unauthenticated, "no scheme");
    assert_eq!(code("x-api-key", &reader).await, GrpcCode::PermissionDenied);

    for left in [1, 0] {
        let answer = keyed.ask("x-api-key", &of_a).await.unwrap();
        assert_eq!(answer.statuses[0].limit_remaining, left);
    }
    assert_eq!(keyed.ask("x-api-key", &of_a).await.unwrap().overall_code(), Code::OverLimit);
    let answer = keyed.ask("authorization", &format!("Bearer {of_b}")).await.unwrap();
    assert_eq!(answer.statuses[0].limit_remaining, 49);

    let mut health = HealthClient::new(channel(keyed.site.server.grpc_address()).await);
    health.check(HealthCheckRequest::default()).await.expect("health is nobody's secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banned_subject_is_over_its_limit() {
    let keyed = Keyed::start().await;
    let key = keyed.site.key(Some("b"), "b", &["check"]);
    assert_eq!(keyed.ask("x-api-key", &key).await.unwrap().overall_code(), Code::Ok);
    let ban = json!({ "reason": "fraud", "for": "1h" });
    keyed.site.about("b", "PUT", "/domains/payments/subjects/sue/ban").json(&ban).send().expect(200);
    let answer = keyed.ask("x-api-key", &key).await.unwrap();
    assert_eq!(answer.overall_code(), Code::OverLimit);
    assert_eq!(answer.statuses[0].current_limit, None, "no rule was asked");
    assert!((3_500..=3_600).contains(&answer.statuses[0].duration_until_reset.unwrap().seconds));
    assert!(field(&answer.response_headers_to_add, "retry-after").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptors_count_against_the_tenants_ceiling() {
    let keyed = Keyed::start().await;
    let key = keyed.site.key(Some("b"), "b", &["check"]);
    let ceilings = json!({ "max_rules": 10, "max_keys": 10, "max_requests_per_second": 5 });
    keyed.site.operator("PUT", "/tenants/b").if_match("*").json(&ceilings).send().expect(200);
    let mut asked = Request::new(request("payments", vec![descriptor(&[("user_id", "sue")]); 6]));
    asked.metadata_mut().insert("x-api-key", key.parse().unwrap());
    let answer = keyed.client.clone().should_rate_limit(asked).await.unwrap().into_inner();
    assert_eq!(answer.overall_code(), Code::OverLimit);
    assert_eq!(codes(&answer), [Code::OverLimit; 6]);
    assert_eq!(
        keyed.ask("x-api-key", &key).await.unwrap().statuses[0].limit_remaining,
        49,
        "nothing was charged"
    );
}
