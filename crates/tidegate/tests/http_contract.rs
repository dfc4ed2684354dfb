//! Goal: what clients are promised over HTTP holds to the byte and to the millisecond.
//! Method: a real server on a loopback socket, on a clock that the test moves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod common;

use common::{example_node, node_with, options};
use serde_json::{Value, json};
use tidegate::http::{HttpOptions, LegacyFields};
use tidegate_core::time::Micros;
use tidegate_engine::ManualClock;

fn api_client() -> Value {
    json!({"client_id": "api_client", "cost": 1})
}

#[tokio::test]
async fn the_first_check_answers_the_contract() {
    let (node, _) = example_node().await;
    let answer = node.client().await.check(api_client()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert_eq!(answer.field("ratelimit-policy"), Some(r#""api-client";q=20;w=60"#));
    assert_eq!(answer.field("ratelimit"), Some(r#""api-client";r=19;t=3"#));
    assert_eq!(answer.field("retry-after"), None);
    assert_eq!(answer.field("x-ratelimit-limit"), None);
    assert_eq!(
        String::from_utf8(answer.body).unwrap(),
        r#"{"allowed":true,"remaining":19,"limit":20,"window":60,"reset_at":1767225603.000,"domain":"default","rule":"api-client","rules_version":1}"#
    );
}

#[tokio::test]
async fn the_21st_of_a_burst_is_told_when_to_come_back_to_the_millisecond() {
    let (node, clock) = example_node().await;
    let mut client = node.client().await;
    for remaining in (0..20).rev() {
        assert_eq!(client.check(api_client()).await.json()["remaining"], remaining);
    }
    let denied = client.check(api_client()).await;
    assert_eq!(denied.status, 429);
    assert_eq!(denied.field("content-type"), Some("application/problem+json"));
    assert_eq!(denied.field("ratelimit-policy"), Some(r#""api-client";q=20;w=60"#));
    assert_eq!(denied.field("ratelimit"), Some(r#""api-client";r=0;t=3"#));
    assert_eq!(denied.field("retry-after"), Some("3"));
    let body = denied.json();
    assert_eq!(body["allowed"], false);
    assert_eq!(body["remaining"], 0);
    assert_eq!(body["limit"], 20);
    assert_eq!(body["window"], 60);
    assert_eq!(body["retry_after_ms"], 3_000);
    assert_eq!(body["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!(body["violated-policies"], json!(["api-client"]));
    assert_eq!(body["message"], "Rate limit exceeded. Try again in 3 seconds.");

    clock.advance(Micros::from_millis(2_999));
    assert_eq!(client.check(api_client()).await.status, 429, "one millisecond early");
    clock.advance(Micros::from_millis(1));
    assert_eq!(client.check(api_client()).await.status, 200, "exactly then");
}

#[tokio::test]
async fn premium_and_any_other_client_have_their_own_quotas() {
    let (node, _) = example_node().await;
    let mut client = node.client().await;
    for (name, limit) in [("premium_client", 500), ("somebody", 100), ("somebody else", 100)] {
        let body = client.check(json!({"client_id": name})).await.json();
        assert_eq!(
            (&body["limit"], &body["remaining"], &body["window"]),
            (&json!(limit), &json!(limit - 1), &json!(60))
        );
    }
}

#[tokio::test]
async fn a_peek_changes_nothing_and_a_refund_gives_back() {
    let (node, _) = example_node().await;
    let mut client = node.client().await;
    let peek = json!({"client_id": "api_client", "cost": 5, "peek": true});
    assert_eq!(client.check(peek.clone()).await.json()["remaining"], 20);
    assert_eq!(client.check(peek).await.json()["remaining"], 20);
    assert_eq!(client.check(json!({"client_id": "api_client", "cost": 5})).await.json()["remaining"], 15);
    let refund = client.post("/v1/refund", json!({"client_id": "api_client", "cost": 3}).to_string()).await;
    assert_eq!((refund.status, &refund.json()["remaining"]), (200, &json!(18)));
    let too_much =
        client.post("/v1/refund", json!({"client_id": "api_client", "cost": 300}).to_string()).await;
    assert_eq!(too_much.json()["remaining"], 20);
}

#[tokio::test]
async fn a_cost_that_can_never_pass_is_told_so() {
    let (node, _) = example_node().await;
    let mut client = node.client().await;
    let answer = client.check(json!({"client_id": "api_client", "cost": 21})).await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.field("retry-after"), None);
    let body = answer.json();
    assert_eq!(body["allowed"], false);
    assert_eq!(body.get("retry_after_ms"), None);
    assert_eq!(
        body["detail"],
        "A cost of 21 can never pass: the most that fits is 20. Ask for less at a time."
    );
    assert_eq!(
        client.check(json!({"client_id": "api_client"})).await.json()["remaining"],
        19,
        "nothing was charged"
    );
}

#[tokio::test]
async fn the_same_idempotency_key_is_charged_once() {
    let (node, _) = example_node().await;
    let mut client = node.client().await;
    let request = json!({"client_id": "api_client", "cost": 4, "idempotency_key": "order-17"});
    assert_eq!(client.check(request.clone()).await.json()["remaining"], 16);
    let repeated = client.check(request).await.json();
    assert_eq!((&repeated["remaining"], &repeated["repeated"]), (&json!(16), &json!(true)));
    assert_eq!(client.check(api_client()).await.json()["remaining"], 15);
}

#[tokio::test]
async fn without_keys_an_authorization_is_none_of_the_servers_business() {
    let (node, _) = example_node().await;
    let mut client = node.client().await;
    for fields in ["authorization: Basic dTpw\r\n", "authorization: Bearer a\r\nx-api-key: b\r\n"] {
        let answer = client.request("POST", "/v1/check", fields, api_client().to_string().as_bytes()).await;
        assert_eq!(answer.status, 200, "{fields}");
    }
}

#[tokio::test]
async fn a_batch_is_answered_and_charged_item_by_item() {
    let (node, _) = example_node().await;
    let peek = json!({"client_id": "api_client", "peek": true});
    let items =
        [peek, json!({"client_id": "api_client", "cost": 20}), api_client(), json!({"client_id": "other"})];
    let answer = node.client().await.post("/v1/checks", json!({ "checks": items }).to_string()).await;
    assert_eq!(answer.status, 200);
    let results = answer.json()["results"].clone();
    assert_eq!(results[0]["remaining"], 20, "a look in front sees what was there then");
    assert_eq!(results[1]["remaining"], 0);
    assert_eq!((&results[2]["allowed"], &results[2]["retry_after_ms"]), (&json!(false), &json!(3_000)));
    assert_eq!(results[3]["remaining"], 99);
}

#[tokio::test]
async fn unknown_domains_pass_without_a_limit() {
    let (node, _) = example_node().await;
    let answer =
        node.client().await.check(json!({"domain": "nowhere", "descriptors": {"user_id": "u1"}})).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("ratelimit"), None);
    let body = answer.json();
    assert_eq!(body["allowed"], true);
    for field in ["remaining", "limit", "window", "reset_at", "rule"] {
        assert_eq!(body[field], Value::Null, "{field}");
    }
}

#[tokio::test]
async fn permits_are_taken_given_back_and_expire() {
    let rules = "version: 1\ndomains:\n  - name: uploads\n    rules:\n      - { name: in-flight, key: [user_id], algorithm: concurrency, limit: 2, permit_ttl: 30s }\n";
    let (node, clock) = node_with(rules).await;
    let mut client = node.client().await;
    let body = json!({"domain": "uploads", "descriptors": {"user_id": "u1"}}).to_string();
    let first = client.post("/v1/permits", &body).await;
    assert_eq!(first.status, 200);
    let permit = first.json()["permit_id"].as_str().unwrap().to_owned();
    assert_eq!(client.post("/v1/permits", &body).await.status, 200);
    let full = client.post("/v1/permits", &body).await;
    assert_eq!((full.status, &full.json()["retry_after_ms"]), (429, &json!(30_000)));
    let target = format!("/v1/permits/{permit}");
    assert_eq!(client.request("DELETE", &target, "", b"").await.status, 204);
    assert_eq!(client.request("DELETE", &target, "", b"").await.status, 404, "only once");
    assert_eq!(client.post("/v1/permits", &body).await.status, 200);
    clock.advance(Micros::from_secs(30));
    assert_eq!(client.post("/v1/permits", &body).await.status, 200, "the others have expired");
    assert_eq!(client.request("DELETE", "/v1/permits/nonsense", "", b"").await.status, 404);

    let peek = json!({"domain": "uploads", "descriptors": {"user_id": "u1"}, "peek": true}).to_string();
    assert_eq!(client.post("/v1/permits", peek).await.json()["field"], "peek");

    let (node, _) = example_node().await;
    let answer = node.client().await.post("/v1/permits", api_client().to_string()).await;
    assert_eq!((answer.status, &answer.json()["field"]), (422, &json!("descriptors")));
}

#[tokio::test]
async fn stats_show_what_is_used_and_left() {
    let (node, _) = example_node().await;
    let mut client = node.client().await;
    client.check(json!({"client_id": "api_client", "cost": 7})).await;
    let stats = client.get("/stats/api_client").await.json();
    assert_eq!(
        (&stats["user"], &stats["used"], &stats["remaining"], &stats["limit"]),
        (&json!("api_client"), &json!(7), &json!(13), &json!(20))
    );
    assert_eq!(stats["buckets"].as_array().unwrap().len(), 1);
    let stats = client.get("/v1/stats/default/api_client").await.json();
    assert_eq!((&stats["key"], &stats["buckets"][0]["rule"]), (&json!("api_client"), &json!("api-client")));
    assert_eq!(client.get("/v1/stats/nowhere/x").await.status, 404);
    assert_eq!(client.get("/v1/stats/default/%00").await.status, 422);
}

#[tokio::test]
async fn the_demo_endpoint_is_protected_by_user_and_address() {
    let (node, _) = example_node().await;
    let mut client = node.client().await;
    for _ in 0..10 {
        assert_eq!(client.get("/api/data?user_id=alice").await.status, 200);
    }
    let denied = client.get("/api/data?user_id=alice").await;
    assert_eq!(denied.status, 429);
    assert_eq!(denied.json()["violated-policies"], json!(["per-user"]));
    assert_eq!(client.get("/api/data").await.json()["field"], "user_id");
    for user in 0..10 {
        client.get(&format!("/api/data?user_id=bob{user}")).await;
    }
    let denied = client.get("/api/data?user_id=carol").await;
    assert_eq!(denied.json()["violated-policies"], json!(["per-address"]), "inventing users does not help");
}

#[tokio::test]
async fn correlation_ids_come_back_and_are_made_where_absent() {
    let (node, _) = example_node().await;
    let mut client = node.client().await;
    let answer = client.request("GET", "/health", "X-Correlation-ID: abc-123\r\n", b"").await;
    assert_eq!(answer.field("x-correlation-id"), Some("abc-123"));
    let made = client.request("GET", "/health", "X-Correlation-ID: <script>\r\n", b"").await;
    let made = made.field("x-correlation-id").unwrap();
    assert!(made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
    assert!(client.get("/nothing").await.field("x-correlation-id").is_some(), "errors have one too");
}

#[tokio::test]
async fn health_readiness_index_and_wrong_methods() {
    let (node, _) = example_node().await;
    let mut client = node.client().await;
    assert_eq!(client.get("/health").await.json()["status"], "ok");
    assert_eq!(client.get("/ready").await.status, 200);
    node.readiness.set(false);
    assert_eq!(client.get("/ready").await.status, 503);
    assert_eq!(client.get("/health").await.status, 200);
    assert!(String::from_utf8(client.get("/").await.body).unwrap().contains("/v1/check"));
    assert_eq!(client.request("HEAD", "/health", "", b"").await.status, 200);
    let wrong = client.get("/v1/check").await;
    assert_eq!((wrong.status, wrong.field("allow")), (405, Some("POST")));
    assert_eq!(client.get("/v1/nothing").await.status, 404);
}

#[tokio::test]
async fn legacy_fields_are_sent_where_wanted() {
    let options = HttpOptions { legacy_fields: LegacyFields::Send, ..options() };
    let clock = ManualClock::new(common::START);
    let node = common::Node::start(tidegate_config::EXAMPLE_RULES, clock, options, common::limits()).await;
    let answer = node.client().await.check(api_client()).await;
    assert_eq!(answer.field("x-ratelimit-limit"), Some("20"));
    assert_eq!(answer.field("x-ratelimit-remaining"), Some("19"));
    assert_eq!(answer.field("x-ratelimit-reset"), Some("3"));
}

#[tokio::test]
async fn a_shadow_rule_is_reported_and_not_obeyed() {
    let rules = "version: 1\ndomains:\n  - name: d\n    rules:\n      - { name: real, key: [u], limit: 5, window: 60s }\n      - { name: trial, key: [u], limit: 1, window: 60s, mode: shadow }\n";
    let (node, _) = node_with(rules).await;
    let mut client = node.client().await;
    let body = json!({"domain": "d", "descriptors": {"u": "1"}});
    client.check(body.clone()).await;
    let second = client.check(body).await;
    assert_eq!(second.status, 200);
    assert_eq!(second.field("ratelimit-policy"), Some(r#""real";q=5;w=60"#));
    let json = second.json();
    assert_eq!((&json["rule"], &json["remaining"]), (&json!("real"), &json!(3)));
    let trial = &json["verdicts"][1];
    assert_eq!(
        (&trial["rule"], &trial["mode"], &trial["allowed"]),
        (&json!("trial"), &json!("shadow"), &json!(false))
    );
}

#[tokio::test]
async fn retry_after_is_that_of_the_rules_that_refuse() {
    let rules = "version: 1\ndomains:\n  - name: d\n    rules:\n      - { name: day, key: [], algorithm: fixed_window, limit: 1000, window: 1d }\n      - { name: second, key: [], limit: 1, window: 1s }\n";
    let (node, _) = node_with(rules).await;
    let mut client = node.client().await;
    let body = json!({"domain": "d", "descriptors": {"u": "1"}});
    client.check(body.clone()).await;
    let denied = client.check(body).await;
    assert_eq!((denied.status, denied.field("retry-after")), (429, Some("1")));
    assert_eq!(denied.json()["violated-policies"], json!(["second"]));
}

#[tokio::test]
async fn a_share_kept_for_others_is_not_promised() {
    let rules = "version: 1\ndomains:\n  - name: d\n    rules:\n      - { name: r, key: [], limit: 10, window: 1m, reserve: { critical: 20% } }\n";
    let (node, _) = node_with(rules).await;
    let mut client = node.client().await;
    let refused = client.check(json!({"domain": "d", "descriptors": {"u": "1"}, "cost": 9})).await;
    assert_eq!(refused.status, 422);
    assert!(refused.json()["detail"].as_str().unwrap().contains("the most that fits is 8"));
    let critical = json!({"domain": "d", "descriptors": {"u": "1", "priority": "critical"}, "cost": 9});
    assert_eq!(client.check(critical).await.status, 200);
}

#[tokio::test]
async fn a_client_that_leaves_a_queue_gives_its_place_back() {
    let rules = "version: 1\ndomains:\n  - name: q\n    rules:\n      - { name: valve, key: [], algorithm: leaky_bucket, limit: 1, window: 1m, queue: { max_wait: 5m, max_depth: 5 } }\n";
    let (node, _) = node_with(rules).await;
    let body = json!({"domain": "q", "descriptors": {"u": "1"}});
    let mut client = node.client().await;
    assert_eq!(client.check(body.clone()).await.status, 200);
    let mut leaving = node.client().await;
    let text = body.to_string();
    leaving
        .send(
            format!("POST /v1/check HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n{text}", text.len())
                .as_bytes(),
        )
        .await;
    let wait_of = async |client: &mut common::Client| {
        let peek = json!({"domain": "q", "descriptors": {"u": "1"}, "peek": true});
        client.check(peek).await.json()["wait_ms"].clone()
    };
    while wait_of(&mut client).await != json!(120_000) {
        tokio::task::yield_now().await;
    }
    drop(leaving);
    while wait_of(&mut client).await != json!(60_000) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn head_has_no_body_over_http_2_either() {
    use http_body_util::{BodyExt, Empty};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let (node, _) = example_node().await;
    let socket = tokio::net::TcpStream::connect(node.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::head("http://test/health").body(Empty::<bytes::Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.headers()[http::header::CONTENT_LENGTH].to_str().unwrap().parse::<u64>().unwrap() > 0);
    assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_connections_on_one_key_get_exactly_the_burst() {
    let (node, _) = example_node().await;
    let allowed = common::hammer(node.address).await;
    assert_eq!(allowed, 500, "of 1,280 asked while the clock stands still");
}
