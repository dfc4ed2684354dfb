//! A gRPC door in memory, with a clock that stands still.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tidegate::door::overload::Overload;
use tidegate::door::{LegacyFields, Readiness};
use tidegate::grpc::{DeniedBody, GrpcDoor, GrpcOptions};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::Rules;
use tidegate_core::time::{Micros, Timestamp};
use tidegate_engine::{Engine, ManualClock};
use tidegate_proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use tidegate_proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use tidegate_proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use tidegate_store::{MemoryOptions, MemoryStore};
use tidegate_wire::identity::IdentityPolicy;
use tokio::runtime::{Builder, Runtime};

const RATE_LIMIT: &str = "http://x/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
/// The beginning of a day, so of all shorter windows.
const NOW: Timestamp = Timestamp::from_micros(1_780_012_800_000_000);
/// Nothing is waited for, so it is never used up.
const PATIENCE: Duration = Duration::from_secs(600);

/// A descriptor: keys, which may repeat, and values.
pub(crate) type Descriptor<'a> = Vec<(&'a str, &'a str)>;

pub(crate) struct Site {
    runtime: Runtime,
    client: SendRequest<Full<Bytes>>,
    clock: ManualClock,
    passed: Micros,
}

impl Site {
    pub(crate) fn open(rules: Rules) -> Self {
        let clock = ManualClock::new(NOW);
        let store = MemoryStore::new(&MemoryOptions::new([1, 2]));
        let engine = Engine::with_parts(RuleSet::compile(rules).unwrap(), store, clock.clone(), None);
        let options = GrpcOptions {
            identity: IdentityPolicy::default(),
            legacy_fields: LegacyFields::Omit,
            denied_body: DeniedBody::Send,
            body_timeout: PATIENCE,
            overload: Overload::new("grpc", 1),
        };
        let door = GrpcDoor::new(engine, options, &Readiness::default()).unwrap();
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let client = runtime.block_on(async {
            let (near, far) = tokio::io::duplex(1 << 17);
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(far), door.service()));
            let client = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(near));
            let (client, connection) = client.await.unwrap();
            tokio::spawn(connection);
            client
        });
        Self { runtime, client, clock, passed: Micros::ZERO }
    }

    pub(crate) fn pass(&mut self, seconds: u64) {
        self.passed = Micros::from_micros(self.passed.as_micros() + seconds * 1_000_000);
        self.clock.set(NOW.saturating_add(self.passed));
    }

    /// Whether each descriptor of a call is over its limit, and whether the call is.
    pub(crate) fn call(&mut self, domain: &str, descriptors: &[Descriptor<'_>]) -> (Vec<bool>, bool) {
        let descriptors = descriptors.iter().map(|entries| {
            let entry = |(key, value): &(&str, &str)| Entry { key: (*key).into(), value: (*value).into() };
            RateLimitDescriptor { entries: entries.iter().map(entry).collect(), ..Default::default() }
        });
        let request =
            RateLimitRequest { domain: domain.into(), descriptors: descriptors.collect(), hits_addend: 0 };
        let message = request.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let body: Bytes = [&[0], &length[..], &message].concat().into();
        let request = Request::post(RATE_LIMIT)
            .header("content-type", "application/grpc")
            .body(Full::new(body))
            .unwrap();
        let body = self.runtime.block_on(async {
            let response = self.client.send_request(request).await.unwrap();
            response.into_body().collect().await.unwrap().to_bytes()
        });
        let answer = RateLimitResponse::decode(body.get(5..).expect("a message")).unwrap();
        let is_over = |code: Code| code == Code::OverLimit;
        let refused = is_over(answer.overall_code());
        assert_eq!(
            refused,
            !answer.raw_body.is_empty(),
            "who is refused is told why, and nobody else: {answer:?}"
        );
        (answer.statuses.iter().map(|status| is_over(status.code())).collect(), refused)
    }
}
