//! Goal: no input makes the door answer 5xx or fall over, and what is refused is named.
//! Method: raw requests on a socket, one per kind of mistake; afterwards the door still answers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Client, example_node};
use serde_json::{Value, json};

/// Sends a body and expects a problem.
async fn refused(client: &mut Client, target: &str, body: &[u8], status: u16, field: Option<&str>) {
    let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
    let answer = client.post(target, body).await;
    assert_eq!(answer.status, status, "{shown}: {}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.field("content-type"), Some("application/problem+json"), "{shown}");
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{shown}");
    assert!(problem["type"].is_string() && problem["detail"].is_string(), "{shown}");
    if let Some(field) = field {
        assert_eq!(problem["field"], field, "{shown}");
    }
}

#[tokio::test]
async fn every_mistake_in_a_check_is_named() {
    let (node, _) = example_node().await;
    let mut client = node.client().await;
    let long = "x".repeat(10_000);
    let malformed: [&[u8]; 8] = [
        b"",
        b"{",
        b"{\"client_id\"",
        b"\xff\xfe",
        b"{\"client_id\":\"\xc3\x28\"}",
        b"nonsense",
        b"{\"client_id\":\"a\"}}",
        b"\x00",
    ];
    for body in malformed {
        refused(&mut client, "/v1/check", body, 400, None).await;
    }
    let invalid: [(Value, &str); 18] = [
        (json!({}), "client_id"),
        (json!({"client_id": 7}), "client_id"),
        (json!({"client_id": null}), "client_id"),
        (json!({"client_id": ""}), "client_id"),
        (json!({"client_id": long}), "client_id"),
        (json!({"client_id": "a\u{0}b"}), "client_id"),
        (json!({"client_id": "a", "cost": -1}), "cost"),
        (json!({"client_id": "a", "cost": 0}), "cost"),
        (json!({"client_id": "a", "cost": 1.5}), "cost"),
        (json!({"client_id": "a", "cost": "1"}), "cost"),
        (json!({"client_id": "a", "cost": 1_000_000_000_001_u64}), "cost"),
        (json!({"client_id": "a", "cost": u64::MAX}), "cost"),
        (json!({"client_id": "a", "peek": "yes"}), "peek"),
        (json!({"client_id": "a", "colour": "red"}), "colour"),
        (json!({"descriptors": {"user_id": []}}), "descriptors.user_id"),
        (json!({"descriptors": {"client_ip": "999.1.1.1"}}), "descriptors.client_ip"),
        (json!({"descriptors": {"path": "/a%2fb"}}), "descriptors.path"),
        (json!({"client_id": "a", "idempotency_key": "k".repeat(129)}), "idempotency_key"),
    ];
    for (body, field) in invalid {
        refused(&mut client, "/v1/check", body.to_string().as_bytes(), 422, Some(field)).await;
    }
    refused(&mut client, "/v1/check", b"{\"client_id\":\"a\",\"cost\":1e400}", 400, None).await;
    refused(&mut client, "/v1/check", b"{\"client_id\":\"a\",\"client_id\":\"b\"}", 422, Some("client_id"))
        .await;
    refused(&mut client, "/v1/check", b"[1]", 422, None).await;
    let nested = format!("{{\"descriptors\":{}1{}}}", "[".repeat(5_000), "]".repeat(5_000));
    let answer = client.post("/v1/check", nested).await;
    assert!((400..500).contains(&answer.status));
    assert_eq!(client.check(json!({"client_id": "api_client"})).await.status, 200, "the door is well");
}

#[tokio::test]
async fn bodies_of_a_megabyte_are_too_large() {
    let (node, _) = example_node().await;
    let megabyte = vec![b' '; 1 << 20];
    for target in ["/v1/check", "/v1/checks", "/v1/refund", "/v1/permits"] {
        refused(&mut node.client().await, target, &megabyte, 413, None).await;
    }
    let mut client = node.client().await;
    client.send(b"POST /v1/check HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n").await;
    client.send(&vec![b' '; 0x20000]).await;
    assert_eq!(client.answer(false).await.unwrap().status, 413, "a chunked body too");
}

#[tokio::test]
async fn batches_are_bounded_and_their_items_named() {
    let (node, _) = example_node().await;
    let mut client = node.client().await;
    let item = json!({"client_id": "a"});
    refused(
        &mut client,
        "/v1/checks",
        json!({"checks": vec![item.clone(); 101]}).to_string().as_bytes(),
        422,
        Some("checks"),
    )
    .await;
    refused(&mut client, "/v1/checks", json!({"checks": []}).to_string().as_bytes(), 422, Some("checks"))
        .await;
    let bad = json!({"checks": [item, {"client_id": "a", "cost": -5}]});
    refused(&mut client, "/v1/checks", bad.to_string().as_bytes(), 422, Some("checks[1].cost")).await;
}

#[tokio::test]
async fn malformed_http_never_gets_a_5xx() {
    let (node, _) = example_node().await;
    let raw: [&[u8]; 11] = [
        b"GET /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /health\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /health HTTP/9.9\r\n\r\n",
        b"GET  /health HTTP/1.1\r\n\r\n",
        b"POST /v1/check HTTP/1.1\r\nHost: t\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/check HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /v1/check HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /v1/stats/%zz/%ff HTTP/1.1\r\nHost: t\r\n\r\n",
        b"GET /api/data?user_id=%ff HTTP/1.1\r\nHost: t\r\n\r\n",
    ];
    for bytes in raw {
        let mut client = node.client().await;
        client.send(bytes).await;
        let shown = String::from_utf8_lossy(bytes);
        // Some are closed without a word, which is all they deserve.
        if let Some(answer) = client.answer(false).await {
            assert!((400..500).contains(&answer.status), "{shown}: {}", answer.head);
        }
    }
    let mut client = node.client().await;
    let fields: String = (0..70).map(|index| format!("X-F{index}: 1\r\n")).collect();
    let refused = client.request("GET", "/health", &fields, b"").await;
    assert_eq!((refused.status, &refused.json()["status"]), (431, &json!(431)));
    assert_eq!(node.client().await.get("/health").await.status, 200);
}
