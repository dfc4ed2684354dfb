//! Goal: a sampled request leaves one span, of its caller's trace, with a child for everything it waited for; and a collector
//! that is absent, slow or refusing costs requests nothing.
//! Method: the real program, and a collector of the test's own that takes OTLP over gRPC or HTTP, refuses, or hangs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod collector;
#[path = "../common/mod.rs"]
mod common;

use std::io::Write;
use std::time::Duration;

use collector::{Collector, Identity, Manner, Protocol, Received};
use common::Client;
use serde_json::{Value, json};
use tidegate_proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use tidegate_proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use tidegate_proto::envoy::service::ratelimit::v3::RateLimitRequest;
use tidegate_proto::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use tidegate_testkit::{PortLease, Stopwatch, TempDir, Tidegate, TidegateOptions, wait_for};
use tonic::transport::Endpoint;

/// A caller's trace, and its span.
const PARENT: &str = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";

/// A valve: ten a second, one after the other, and the others wait.
const VALVE: &str = "version: 1
domains:
  - name: default
    rules:
      - name: valve
        key: [client_id]
        algorithm: leaky_bucket
        limit: 10
        window: 1s
        queue: { max_wait: 30s, max_depth: 300 }
";

fn options(collector: &Collector, protocol: Protocol) -> TidegateOptions {
    at(&format!("http://{}", collector.address), protocol)
}

fn at(endpoint: &str, protocol: Protocol) -> TidegateOptions {
    let protocol = match protocol {
        Protocol::Grpc => "grpc",
        Protocol::Http => "http/protobuf",
    };
    let arguments = ["--otlp-endpoint", endpoint, "--otlp-protocol", protocol];
    TidegateOptions::new(env!("CARGO_BIN_EXE_tidegate")).arguments(arguments).arguments([
        "--drain-delay",
        "0s",
        "--log-format",
        "json",
    ])
}

fn check(client_id: &str) -> Vec<u8> {
    json!({"client_id": client_id, "cost": 2}).to_string().into_bytes()
}

/// Asks once, as a caller with this `traceparent` (without its version) and correlation id.
async fn ask(client: &mut Client, body: &[u8], parent: &str, correlation: &str) -> common::Answer {
    let fields = format!(
        "traceparent: 00-{parent}\r\ntracestate: rojo=1,congo=2\r\nX-Correlation-ID: {correlation}\r\n"
    );
    client.request("POST", "/v1/check", &fields, body).await
}

#[track_caller]
fn has(span: &Received, attributes: &[(&str, &str)]) {
    for (key, value) in attributes {
        assert_eq!(span.attribute(key).as_deref(), Some(*value), "{key}");
    }
}

fn roots(spans: &[Received]) -> Vec<&Received> {
    spans.iter().filter(|span| span.0.kind == 2).collect()
}

fn children<'a>(spans: &'a [Received], parent: &Received) -> Vec<&'a Received> {
    spans.iter().filter(|span| span.is_child_of(parent)).collect()
}

#[tokio::test]
async fn a_request_is_a_span_of_its_callers_trace_over_both_protocols() {
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let collector = Collector::start(protocol, Manner::Takes);
        let options = options(&collector, protocol)
            .environment("OTEL_SERVICE_NAME", "limits")
            .environment("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=t%20est")
            .environment("OTEL_EXPORTER_OTLP_HEADERS", "x-collector-key=hunter2");
        let server = Tidegate::with(&options);
        let mut client = Client::connect(server.address()).await;
        let answer = ask(&mut client, &check("nobodys-business"), &format!("{PARENT}-01"), "mine-1").await;
        assert_eq!((answer.status, answer.field("x-correlation-id")), (200, Some("mine-1")));

        let spans = collector.spans(2);
        let [root] = roots(&spans)[..] else { panic!("{spans:?}") };
        assert_eq!(hex(&root.0.trace_id) + "-" + &hex(&root.0.parent_span_id), PARENT);
        assert_eq!(root.0.trace_state, "rojo=1,congo=2");
        assert_eq!(root.0.name, "POST /v1/check");
        let port = server.address().port().to_string();
        has(
            root,
            &[
                ("http.request.method", "POST"),
                ("http.route", "/v1/check"),
                ("http.response.status_code", "200"),
                ("server.address", "127.0.0.1"),
                ("server.port", &port),
                ("tidegate.correlation_id", "mine-1"),
                ("tidegate.domain", "default"),
                ("tidegate.rule", "any-client"),
                ("tidegate.decision", "allow"),
                ("tidegate.cost", "2"),
            ],
        );
        assert_eq!(root.attribute("tidegate.degraded"), None);
        assert!(!format!("{spans:?}").contains("nobodys-business"), "keys and entries stay here: {spans:?}");

        let [store] = children(&spans, root)[..] else { panic!("{spans:?}") };
        assert_eq!(store.0.name, "tidegate.store");
        assert_eq!(store.attribute("tidegate.store").as_deref(), Some("memory"));
        assert!(store.0.start_time_unix_nano >= root.0.start_time_unix_nano);
        assert!(store.0.end_time_unix_nano <= root.0.end_time_unix_nano);
        assert_eq!(spans.len(), 2);

        assert_eq!(collector.resource("service.name").as_deref(), Some("limits"));
        assert_eq!(collector.resource("deployment.environment.name").as_deref(), Some("t est"));
        assert!(collector.resource("service.instance.id").is_some());
        assert_eq!(collector.header("x-collector-key").as_deref(), Some("hunter2"));
        assert!(!server.logs().contains("hunter2"), "{}", server.logs());
    }
}

#[tokio::test]
async fn spans_go_encrypted_to_a_collector_whose_certificate_is_trusted_and_to_no_other() {
    let (trusted, stranger) = (Identity::new(), Identity::new());
    for protocol in [Protocol::Grpc, Protocol::Http] {
        for (identity, spans) in [(&trusted, 2), (&stranger, 0)] {
            let collector = Collector::encrypted(protocol, identity);
            let options = at(&format!("https://{}", collector.address), protocol)
                .environment("SSL_CERT_FILE", trusted.certificate().display().to_string());
            let mut server = Tidegate::with(&options);
            let mut client = Client::connect(server.address()).await;
            assert_eq!(client.post("/v1/check", check("a")).await.status, 200);
            drop(client);
            assert!(server.terminate().success());
            assert_eq!(collector.now().len(), spans, "{protocol:?}: {}", server.logs());
            let refused = server.logs().contains("the collector takes no traces");
            assert_eq!(refused, spans == 0, "{protocol:?}: {}", server.logs());
        }
    }
}

#[tokio::test]
async fn a_callers_no_is_obeyed_and_probes_and_the_unsampled_leave_nothing() {
    let collector = Collector::start(Protocol::Grpc, Manner::Takes);
    let server =
        Tidegate::with(&options(&collector, Protocol::Grpc).environment("OTEL_TRACES_SAMPLER_ARG", "0"));
    let mut client = Client::connect(server.address()).await;
    for _ in 0..20 {
        ask(&mut client, &check("a"), &format!("{PARENT}-00"), "not-sampled").await;
        client.post("/v1/check", check("a")).await;
        // Such a header counts as none.
        ask(&mut client, &check("a"), &format!("{}-01", PARENT.to_uppercase()), "no-parent").await;
    }
    let probe = format!("traceparent: 00-{PARENT}-01\r\n");
    assert_eq!(client.request("GET", "/health", &probe, b"").await.status, 200);
    ask(&mut client, &check("a"), &format!("{PARENT}-01"), "sampled").await;
    assert_eq!(client.request("GET", "/no/such/path", &probe, b"").await.status, 404);

    let spans = collector.spans(3);
    let names: Vec<_> = roots(&spans).iter().map(|root| root.0.name.clone()).collect();
    assert_eq!(names, ["POST /v1/check", "GET"], "in the order in which they came, and no other");
}

#[tokio::test]
async fn what_a_proxy_asks_is_a_span_of_the_request_that_it_asks_about() {
    let collector = Collector::start(Protocol::Grpc, Manner::Takes);
    let server = Tidegate::with(&options(&collector, Protocol::Grpc));
    let mut client = Client::connect(server.address()).await;
    let fields = format!("traceparent: 00-{PARENT}-01\r\n");
    let asked = client.request("GET", "/v1/authz?entry.client_id=nobodys-business", &fields, b"").await;
    assert_eq!(asked.status, 200);
    let spans = collector.spans(2);
    let [root] = roots(&spans)[..] else { panic!("{spans:?}") };
    assert_eq!(hex(&root.0.trace_id) + "-" + &hex(&root.0.parent_span_id), PARENT);
    assert_eq!(root.0.name, "GET /v1/authz");
    assert_eq!(root.attribute("tidegate.decision").as_deref(), Some("allow"));
    let [store] = children(&spans, root)[..] else { panic!("{spans:?}") };
    assert_eq!(store.0.name, "tidegate.store");
    assert!(!format!("{spans:?}").contains("nobodys-business"), "{spans:?}");

    // A proxy asks with whatever method its client has made up.
    let made_up = "A-METHOD-THAT-SOMEBODY-MADE-UP".repeat(100);
    assert_eq!(client.request(&made_up, "/v1/authz?entry.client_id=a", &fields, b"").await.status, 200);
    assert_eq!(client.request(&made_up, "/no/such/path", &fields, b"").await.status, 404);
    let spans = collector.spans(2 + 2 + 1);
    let [_, asked, lost] = roots(&spans)[..] else { panic!("{spans:?}") };
    assert_eq!((asked.0.name.as_str(), lost.0.name.as_str()), ("HTTP /v1/authz", "HTTP"));
    has(asked, &[("http.request.method", "_OTHER"), ("http.route", "/v1/authz")]);
    assert!(!format!("{spans:?}").contains("MADE-UP"), "{spans:?}");
}

#[tokio::test]
async fn a_grpc_call_is_a_span_of_its_callers_trace() {
    let collector = Collector::start(Protocol::Grpc, Manner::Takes);
    let server = Tidegate::with(&options(&collector, Protocol::Grpc).grpc());
    let address = format!("http://{}", server.grpc_address());
    let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
    let ask = async |domain: &str, hits: &[u64]| {
        let entry = Entry { key: "client_id".to_owned(), value: "nobodys-business".to_owned() };
        let of = |hits: &u64| RateLimitDescriptor {
            entries: vec![entry.clone()],
            hits_addend: Some(*hits),
            ..Default::default()
        };
        let descriptors = hits.iter().map(of).collect();
        let message = RateLimitRequest { domain: domain.to_owned(), descriptors, hits_addend: 0 };
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("traceparent", format!("00-{PARENT}-01").parse().unwrap());
        request.metadata_mut().insert("x-correlation-id", "mine-1".parse().unwrap());
        RateLimitServiceClient::new(channel.clone()).should_rate_limit(request).await
    };
    ask("default", &[2]).await.unwrap();
    let spans = collector.spans(2);
    let [root] = roots(&spans)[..] else { panic!("{spans:?}") };
    assert_eq!(hex(&root.0.trace_id) + "-" + &hex(&root.0.parent_span_id), PARENT);
    assert_eq!(root.0.name, "envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit");
    let port = server.grpc_address().port().to_string();
    has(
        root,
        &[
            ("rpc.system", "grpc"),
            ("rpc.service", "envoy.service.ratelimit.v3.RateLimitService"),
            ("rpc.method", "ShouldRateLimit"),
            ("rpc.grpc.status_code", "0"),
            ("server.port", &port),
            ("tidegate.correlation_id", "mine-1"),
            ("tidegate.domain", "default"),
            ("tidegate.rule", "any-client"),
            ("tidegate.decision", "allow"),
            ("tidegate.cost", "2"),
        ],
    );
    assert_eq!(root.attribute("http.route"), None);
    assert!(root.0.status.is_none());
    let [store] = children(&spans, root)[..] else { panic!("{spans:?}") };
    assert_eq!(store.0.name, "tidegate.store");

    // A caller's mistake is none of the server's, and several descriptors are one call.
    assert_eq!(ask("default", &[]).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    ask("default", &[1, 1_000]).await.unwrap();
    let spans = collector.spans(2 + 1 + 3);
    let [_, refused, several] = roots(&spans)[..] else { panic!("{spans:?}") };
    assert_eq!(refused.attribute("rpc.grpc.status_code").as_deref(), Some("3"));
    assert!(refused.0.status.is_none());
    assert_eq!(several.attribute("tidegate.allowed").as_deref(), Some("1"));
    assert_eq!(several.attribute("tidegate.denied").as_deref(), Some("1"));
    assert!(!format!("{spans:?}").contains("nobodys-business"), "{spans:?}");
}

#[tokio::test]
async fn a_request_without_a_caller_begins_a_trace() {
    let collector = Collector::start(Protocol::Http, Manner::Takes);
    let server = Tidegate::with(&options(&collector, Protocol::Http));
    let mut client = Client::connect(server.address()).await;
    let made = client.post("/v1/check", check("a")).await;
    client.post("/v1/check", check("a")).await;
    let spans = collector.spans(4);
    let [first, second] = roots(&spans)[..] else { panic!("{spans:?}") };
    assert_ne!(first.0.trace_id, second.0.trace_id);
    assert_ne!(first.0.span_id, second.0.span_id);
    assert_eq!((first.0.parent_span_id.len(), first.0.trace_state.as_str()), (0, ""));
    assert_eq!(first.attribute("tidegate.correlation_id").as_deref(), made.field("x-correlation-id"));
}

#[tokio::test]
async fn waiting_in_a_queue_is_a_span_and_so_is_going_away() {
    let directory = TempDir::new("traces");
    let rules = directory.write("rules.yaml", VALVE);
    let collector = Collector::start(Protocol::Grpc, Manner::Takes);
    let server = Tidegate::with(
        &options(&collector, Protocol::Grpc).arguments(["--rules".to_owned(), rules.display().to_string()]),
    );
    let mut client = Client::connect(server.address()).await;
    let body = |cost: u64| format!(r#"{{"client_id": "a", "cost": {cost}}}"#).into_bytes();
    client.post("/v1/check", body(1)).await;
    let spans = collector.spans(2);
    assert!(spans.iter().all(|span| span.0.name != "tidegate.queue"), "{spans:?}");

    for _ in 0..2 {
        assert_eq!(client.post("/v1/check", body(1)).await.status, 200);
    }
    let spans = collector.spans(2 + 5);
    let waited = *roots(&spans).last().unwrap();
    assert_eq!(waited.attribute("tidegate.decision").as_deref(), Some("wait"));
    let parts = children(&spans, waited);
    let names: Vec<_> = parts.iter().map(|part| part.0.name.as_str()).collect();
    assert_eq!(names, ["tidegate.store", "tidegate.queue"]);
    assert!(parts[1].took() >= Duration::from_millis(50), "{:?}", parts[1].took());
    assert!(parts[1].0.start_time_unix_nano >= parts[0].0.end_time_unix_nano);

    // Those who leave before the server has read their request leave nothing; one of them gets further.
    let is_gone = || {
        let mut leaves = std::net::TcpStream::connect(server.address()).unwrap();
        let head =
            "POST /v1/check HTTP/1.1\r\nHost: t\r\nX-Correlation-ID: gone\r\nContent-Length: 29\r\n\r\n";
        leaves.write_all(&[head.as_bytes(), &body(1)].concat()).unwrap();
        drop(leaves);
        let spans = collector.now();
        let is_gone = |root: &&Received| root.attribute("http.response.status_code").is_none();
        roots(&spans).into_iter().find(is_gone).map(|gone| (gone.clone(), spans.clone()))
    };
    let (gone, spans) = wait_for("one who left is told of", Duration::from_secs(20), is_gone);
    assert_eq!(gone.attribute("tidegate.correlation_id").as_deref(), Some("gone"));
    let queued = *children(&spans, &gone).last().unwrap();
    assert_eq!(queued.0.name, "tidegate.queue");
    for span in [&gone, queued] {
        assert_eq!(span.0.status.as_ref().unwrap().code, 2);
    }
}

#[tokio::test]
async fn a_call_of_many_says_how_many_passed() {
    let collector = Collector::start(Protocol::Http, Manner::Takes);
    let server = Tidegate::with(&options(&collector, Protocol::Http));
    let mut client = Client::connect(server.address()).await;
    let cheap = json!({"client_id": "api_client", "cost": 1});
    let dear = json!({"client_id": "api_client", "cost": 1_000});
    let many = json!({"checks": [cheap, dear, cheap]});
    assert_eq!(client.post("/v1/checks", many.to_string()).await.status, 200);
    let spans = collector.spans(4);
    let [root] = roots(&spans)[..] else { panic!("{spans:?}") };
    assert_eq!(root.attribute("tidegate.allowed").as_deref(), Some("2"));
    assert_eq!(root.attribute("tidegate.denied").as_deref(), Some("1"));
    assert_eq!(children(&spans, root).len(), 3);
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_seen() {
    let collector = Collector::start(Protocol::Grpc, Manner::Takes);
    let nobody = PortLease::new();
    let store = format!("redis://{}", nobody.address());
    let server = Tidegate::with(
        &options(&collector, Protocol::Grpc).arguments(["--store", &store]).await_path("/health"),
    );
    let mut client = Client::connect(server.address()).await;
    assert_eq!(client.post("/v1/check", check("a")).await.status, 200);
    let spans = collector.spans(2);
    let [root] = roots(&spans)[..] else { panic!("{spans:?}") };
    assert_eq!(root.attribute("tidegate.degraded").as_deref(), Some("allow"));
    assert_eq!(root.attribute("tidegate.degraded.cause").as_deref(), Some("unavailable"));
    let [store] = children(&spans, root)[..] else { panic!("{spans:?}") };
    assert_eq!(store.attribute("tidegate.store").as_deref(), Some("redis"));
    assert_eq!(store.0.status.as_ref().unwrap().code, 2);
}

#[tokio::test]
async fn log_lines_name_the_trace_and_the_correlation_id() {
    let collector = Collector::start(Protocol::Grpc, Manner::Takes);
    let server = Tidegate::with(&options(&collector, Protocol::Grpc).arguments(["--log-level", "debug"]));
    let mut client = Client::connect(server.address()).await;
    ask(&mut client, &check("nobodys-business"), &format!("{PARENT}-00"), "c-1").await;
    let line = wait_for("the line of the request", Duration::from_secs(20), || {
        let logs = server.logs();
        let lines = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.into_iter().find(|line| line["correlation_id"] == "c-1")
    });
    let (trace_id, _) = PARENT.split_once('-').unwrap();
    assert_eq!((&line["message"], &line["trace_id"]), (&json!("answered"), &json!(trace_id)));
    assert_eq!((&line["route"], &line["status"]), (&json!("/v1/check"), &json!(200)));
    assert!(!server.logs().contains("nobodys-business"));
}

/// Requests while a collector does what it should not.
const REQUESTS: usize = 300;
/// The longest a request may take on a machine that is busy with other things.
const LONGEST: Duration = Duration::from_secs(2);
/// The longest the server may take to end: two seconds for what is left, and some for a busy machine.
const LONGEST_END: Duration = Duration::from_secs(10);

/// What the server says in the end became of its spans.
fn fates(logs: &str) -> [u64; 3] {
    let lines = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.into_iter().find(|line| line["message"] == "not all spans reached the collector");
    let line = line.unwrap_or_else(|| panic!("no such line:\n{logs}"));
    ["exported", "failed", "dropped"].map(|fate| line[fate].as_u64().unwrap())
}

/// Asks [`REQUESTS`] times, each answered soon, with something in the middle; then ends the server, soon.
async fn serves_all_the_same(options: &TidegateOptions, in_the_middle: impl FnOnce()) -> [u64; 3] {
    let mut server = Tidegate::with(&options.clone().arguments(["--trace-queue-spans", "64"]));
    let mut client = Client::connect(server.address()).await;
    let mut in_the_middle = Some(in_the_middle);
    for number in 0..REQUESTS {
        if number == REQUESTS / 2 {
            in_the_middle.take().unwrap()();
        }
        let watch = Stopwatch::start();
        let answer = client.post("/v1/check", json!({"client_id": "premium_client"}).to_string()).await;
        assert_eq!(answer.status, 200);
        assert!(watch.elapsed() < LONGEST, "request {number} took {:?}", watch.elapsed());
    }
    drop(client);
    let watch = Stopwatch::start();
    assert!(server.terminate().success());
    assert!(watch.elapsed() < LONGEST_END, "the end took {:?}", watch.elapsed());
    fates(&server.logs())
}

#[tokio::test]
async fn a_collector_that_hangs_costs_nothing_and_every_span_is_accounted_for() {
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let collector = Collector::start(protocol, Manner::Hangs);
        let [exported, failed, dropped] = serves_all_the_same(&options(&collector, protocol), || ()).await;
        println!("{protocol:?}: exported {exported}, failed {failed}, dropped {dropped}");
        assert_eq!((exported, failed + dropped), (0, 2 * REQUESTS as u64), "two spans each");
        assert!(dropped >= 2 * REQUESTS as u64 - 64 - 64 - 1, "the queue holds 64, a batch 64: {dropped}");
    }
}

#[tokio::test]
async fn a_collector_that_is_not_there_or_refuses_costs_nothing() {
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let nobody = PortLease::new();
        let [exported, failed, dropped] =
            serves_all_the_same(&at(&format!("http://{}", nobody.address()), protocol), || ()).await;
        assert_eq!((exported, failed + dropped), (0, 2 * REQUESTS as u64), "{protocol:?}");

        let collector = Collector::start(protocol, Manner::Refuses);
        let [exported, failed, dropped] = serves_all_the_same(&options(&collector, protocol), || ()).await;
        assert_eq!((exported, failed + dropped), (0, 2 * REQUESTS as u64), "{protocol:?}");
        assert!(collector.batches() > 0);
    }
}

#[tokio::test]
async fn a_collector_that_is_killed_costs_nothing() {
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let collector = Collector::start(protocol, Manner::Takes);
        let options = options(&collector, protocol);
        let kill = || {
            collector.spans(1);
            drop(collector);
        };
        let [exported, failed, dropped] = serves_all_the_same(&options, kill).await;
        println!("{protocol:?}: exported {exported}, failed {failed}, dropped {dropped}");
        assert!(exported > 0 && failed + dropped > 0);
        assert_eq!(exported + failed + dropped, 2 * REQUESTS as u64, "{protocol:?}");
    }
}

#[tokio::test]
async fn what_a_collector_cannot_take_just_then_is_sent_again() {
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let collector = Collector::start(protocol, Manner::RefusesOnce);
        let mut server = Tidegate::with(&options(&collector, protocol));
        let mut client = Client::connect(server.address()).await;
        assert_eq!(client.post("/v1/check", check("a")).await.status, 200);
        assert_eq!(collector.spans(2).len(), 2, "{protocol:?}");
        assert_eq!(collector.batches(), 2, "{protocol:?}");
        drop(client);
        assert!(server.terminate().success());
        assert!(!server.logs().contains("not all spans"), "{}", server.logs());
    }
}

#[tokio::test]
async fn spans_that_a_collector_rejects_are_counted() {
    for protocol in [Protocol::Grpc, Protocol::Http] {
        let collector = Collector::start(protocol, Manner::RejectsOne);
        let mut server = Tidegate::with(&options(&collector, protocol));
        let mut client = Client::connect(server.address()).await;
        assert_eq!(client.post("/v1/check", check("a")).await.status, 200);
        collector.spans(2);
        drop(client);
        assert!(server.terminate().success());
        assert_eq!(fates(&server.logs()), [1, 1, 0], "{protocol:?}");
    }
}

#[tokio::test]
async fn what_is_left_is_sent_in_the_end() {
    let collector = Collector::start(Protocol::Http, Manner::Takes);
    let mut server = Tidegate::with(&options(&collector, Protocol::Http).arguments(["--trace-delay", "1m"]));
    let mut client = Client::connect(server.address()).await;
    assert_eq!(client.post("/v1/check", check("a")).await.status, 200);
    assert_eq!(collector.now().len(), 0);
    drop(client);
    assert!(server.terminate().success());
    assert_eq!(collector.now().len(), 2);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
