//! Each door counts what comes through it under its own name. Method: the real program with all doors open, the same rule
//! asked through each, and a quota that comes along through those that take one.

use serde_json::json;
use tidegate_proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use tidegate_proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::{
    Entry, RateLimitOverride,
};
use tidegate_proto::envoy::service::ratelimit::v3::RateLimitRequest;
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use tidegate_proto::envoy::r#type::v3::RateLimitUnit;
use tidegate_testkit::{PortLease, TempDir, Tidegate};
use tonic::transport::Endpoint;

use crate::common::Client;
use crate::scrape::Scrape;
use crate::server::options;

const RULES: &str =
    "version: 1\ndomains: [{ name: d, rules: [{ name: r, key: [u], limit: 2, window: 1h }] }]\n";

fn descriptor(user: &str, hits: u64) -> RateLimitDescriptor {
    let entries = vec![Entry { key: "u".to_owned(), value: user.to_owned() }];
    RateLimitDescriptor { entries, hits_addend: Some(hits), ..Default::default() }
}

async fn ask_by_grpc(server: &Tidegate, descriptors: Vec<RateLimitDescriptor>) {
    let address = format!("http://{}", server.grpc_address());
    let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
    let mut client = RateLimitServiceClient::new(channel);
    let asked = descriptors.len();
    let request = RateLimitRequest { domain: "d".to_owned(), descriptors, hits_addend: 0 };
    let answer = client.should_rate_limit(request).await.unwrap().into_inner();
    assert_eq!(answer.statuses.len(), asked);
}

#[tokio::test]
async fn what_comes_through_a_door_is_counted_by_its_name() {
    let directory = TempDir::new("metrics");
    let rules = directory.write("rules.yaml", RULES).display().to_string();
    let resp = PortLease::new();
    let listen = resp.address().to_string();
    let server = Tidegate::with(&options().grpc().arguments(["--rules", &rules, "--resp-listen", &listen]));

    // HTTP: three of a user of whom two pass, and a look.
    let mut http = Client::connect(server.address()).await;
    let of = |peek: bool| json!({"domain": "d", "descriptors": {"u": "http"}, "peek": peek});
    for peek in [true, false, false, false] {
        http.check(of(peek)).await;
    }

    // gRPC: one alone; then three at once of whom one passes, a look and a limit that comes along.
    ask_by_grpc(&server, vec![descriptor("grpc", 1)]).await;
    let limit = RateLimitOverride { requests_per_unit: 5, unit: RateLimitUnit::Hour.into() };
    let own = RateLimitDescriptor { limit: Some(limit), ..descriptor("own", 1) };
    let [take, look] = [1, 0].map(|hits| descriptor("grpc", hits));
    ask_by_grpc(&server, vec![take.clone(), look, take.clone(), own, take]).await;

    // RESP: a pipeline of three of whom two pass, and four by a quota that comes along, of which three pass, and a look.
    let mut connection = redis::Client::open(format!("redis://{listen}")).unwrap().get_connection().unwrap();
    let mut pipeline = redis::pipe();
    for _ in 0..3 {
        pipeline.cmd("TIDEGATE.CHECK").arg("d").arg("u").arg("resp");
    }
    for quantity in [0, 1, 1, 1, 1] {
        pipeline.cmd("CL.THROTTLE").arg("k").arg(2).arg(1).arg(3_600).arg(quantity);
    }
    let replies: Vec<redis::Value> = pipeline.query(&mut connection).unwrap();
    assert_eq!(replies.len(), 8);

    let page = Scrape::of(&String::from_utf8(http.get("/metrics").await.body).unwrap());
    let counted = |what: &str, labels: &str, door: &str| {
        page.get(&format!("ratelimiter_{what}_total{{{labels},door=\"{door}\"}}"))
    };
    let of_rule = r#"domain="d",rule="r""#;
    for (door, allowed, blocked) in [("http", 2.0, 1.0), ("grpc", 2.0, 2.0), ("resp", 2.0, 1.0)] {
        let seen = (counted("allowed", of_rule, door), counted("blocked", of_rule, door));
        assert_eq!(seen, (allowed, blocked), "{door}");
    }
    let ad_hoc = r#"domain="(ad hoc)",rule="(ad hoc)""#;
    assert_eq!(counted("allowed", ad_hoc, "grpc"), 1.0);
    assert_eq!((counted("allowed", ad_hoc, "resp"), counted("blocked", ad_hoc, "resp")), (3.0, 1.0));
    // A decision is timed once, alone or in a batch.
    for (door, decisions) in [("http", 3.0), ("grpc", 5.0), ("resp", 7.0)] {
        let took =
            |part: &str| page.get(&format!("ratelimiter_check_duration_seconds_{part}{{door=\"{door}\"}}"));
        assert_eq!(took("count"), decisions, "{door}");
        assert!(took("sum") > 0.0, "{door}");
        assert!(page.get(&format!("tidegate_connections_accepted_total{{listener=\"{door}\"}}")) >= 1.0);
        assert_eq!(page.get(&format!("tidegate_check_failures_total{{door=\"{door}\"}}")), 0.0);
    }
}
