//! Goal: a gRPC door that has as much in progress as it takes answers the rest at once, the least important first, and is
//! itself again as soon as there is room.
//! Method: the real program with a tiny maximum, on a Redis that falls silent.

use std::collections::HashMap;
use std::time::Duration;

use prost::Message;
use tidegate_proto::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_service_server::SERVICE_NAME;
use tidegate_proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use tidegate_proto::google::rpc::Status as Detailed;
use tidegate_testkit::{FaultProxy, Link, RedisServer};
use tokio::task::JoinHandle;
use tonic::{Code as GrpcCode, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::reflection::services;
use crate::site::{PATIENCE, Site, channel, descriptor, request};

/// Calls that the door takes at one time: 8 of them for calls that say nothing of their importance.
const CAPACITY: usize = 10;
/// How long an answer may take that does not wait for the store, on a machine that has much else to do.
const AT_ONCE: Duration = Duration::from_secs(2);
/// How long one takes that does.
const DEADLINE: &str = "10s";

struct Crowded {
    site: Site,
    proxy: FaultProxy,
    _redis: RedisServer,
}

impl Crowded {
    fn start() -> Self {
        let redis = RedisServer::start();
        let proxy = FaultProxy::start(redis.address(), 16);
        let (url, capacity) = (format!("redis://{}", proxy.address()), CAPACITY.to_string());
        let arguments = ["--store", &url, "--store-deadline", DEADLINE, "--fail-mode", "deny"];
        let site = Site::with(&[&arguments[..], &["--max-concurrent-requests", &capacity]].concat());
        Self { site, proxy, _redis: redis }
    }

    /// Asks, and is answered at once.
    async fn ask(&self, priority: &str) -> Result<RateLimitResponse, Status> {
        let (site, asked) = (&self.site, asked(priority));
        tokio::time::timeout(AT_ONCE, site.try_ask(asked))
            .await
            .expect("at once")
            .map(|answer| answer.into_inner())
    }

    /// Asks, and waits until that is in progress.
    async fn hold(
        &self,
        priority: &str,
        in_progress: usize,
    ) -> JoinHandle<Result<RateLimitResponse, Status>> {
        let (mut client, asked) = (self.site.rate_limit().await, asked(priority));
        let call =
            tokio::spawn(
                async move { client.should_rate_limit(asked).await.map(|answer| answer.into_inner()) },
            );
        self.until(in_progress).await;
        call
    }

    async fn until(&self, in_progress: usize) {
        let line = format!("tidegate_requests_in_progress{{door=\"grpc\"}} {in_progress}\n");
        let waiting = async {
            while !self.site.metrics().await.contains(&line) {
                tokio::task::yield_now().await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(reached.is_ok(), "{in_progress} are not in progress: {}", self.site.metrics().await);
    }
}

/// A call is as important as its most important descriptor.
fn asked(priority: &str) -> RateLimitRequest {
    let of = |priority| descriptor(&[("crowd", "1"), ("priority", priority)]);
    request("edge", vec![of("low"), of(priority)])
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_maximum_calls_are_unavailable_at_once_and_afterwards_all_is_well() {
    let door = Crowded::start();
    assert_eq!(door.ask("low").await.unwrap().overall_code(), Code::Ok);
    let mut health = HealthClient::new(channel(door.site.server.grpc_address()).await);
    door.proxy.change(|faults| faults.link = Link::BlackHole);

    let mut held = Vec::new();
    for (priority, most) in [("low", 5), ("normal", 8), ("high", 9), ("critical", 10)] {
        while held.len() < most {
            held.push(door.hold(priority, held.len() + 1).await);
        }
        let shed = door.ask(priority).await.unwrap_err();
        assert_eq!(shed.code(), GrpcCode::Unavailable, "{priority}: {shed}");
        assert_eq!(shed.metadata().get("grpc-retry-pushback-ms").unwrap(), "1000");
        let detailed = Detailed::decode(shed.details()).unwrap();
        assert_eq!((detailed.code, &*detailed.message), (14, shed.message()));
        let [retry] = &detailed.details[..] else { panic!("{detailed:?}") };
        assert_eq!(retry.type_url, "type.googleapis.com/google.rpc.RetryInfo");
        // Field 1 is a Duration, whose field 1 is 1 second (google/rpc/error_details.proto).
        assert_eq!(retry.value, [0x0a, 2, 0x08, 1]);
    }
    let extensions = HashMap::from([("client_ip".to_owned(), "192.0.2.1".to_owned())]);
    let attributes = AttributeContext { context_extensions: extensions, ..Default::default() };
    let check = CheckRequest { attributes: Some(attributes) };
    let mut authorization = door.site.authorization().await;
    let shed = tokio::time::timeout(AT_ONCE, authorization.check(check)).await.expect("at once");
    assert_eq!(shed.unwrap_err().code(), GrpcCode::Unavailable);
    // What asks for no decision is answered, and so is what is wrong.
    let answer = health.check(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
    let listed = tokio::time::timeout(AT_ONCE, services(&door.site)).await.expect("at once");
    assert!(listed.iter().any(|service| service.name == SERVICE_NAME), "{listed:?}");
    let wrong =
        tokio::time::timeout(AT_ONCE, door.site.try_ask(request("edge", vec![]))).await.expect("at once");
    assert_eq!(wrong.unwrap_err().code(), GrpcCode::InvalidArgument);

    door.proxy.heal();
    for call in held {
        assert_eq!(call.await.unwrap().unwrap().overall_code(), Code::Ok, "what was let in is answered");
    }
    door.until(0).await;
    assert_eq!(door.ask("low").await.unwrap().overall_code(), Code::Ok, "and there is room again");
    let page = door.site.metrics().await;
    for (door, priority, shed) in [
        ("grpc", "low", 1),
        ("grpc", "normal", 2),
        ("grpc", "high", 1),
        ("grpc", "critical", 1),
        ("http", "normal", 0),
    ] {
        let line =
            format!("tidegate_requests_shed_total{{door=\"{door}\",priority=\"{priority}\"}} {shed}\n");
        assert!(page.contains(&line), "{line} in {page}");
    }
}
