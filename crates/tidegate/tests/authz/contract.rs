//! What is asked, and what is answered.

use serde_json::{Value, json};
use tidegate::http::HttpOptions;
use tidegate_engine::ManualClock;
use tidegate_wire::identity::{HeaderFamily, IdentityPolicy, TrustedProxies};

use crate::common::{Answer, Client, Node, START, limits, options};

const RULES: &str = "version: 1
domains:
  - name: default
    rules:
      - { name: own, match: { path: /v1/authz }, key: [], limit: 1_000, window: 60s }
      - { name: pay, match: { path: /pay, method: POST }, key: [client_ip], limit: 3, window: 60s }
      - { name: shop, match: { host: shop.example }, key: [client_ip], limit: 1_000, window: 60s }
      - { name: agent, match: { user_agent: robot }, key: [], limit: 1_000, window: 60s }
  - name: users
    rules:
      - { name: per-user, match: { plan: gold }, key: [user_id], limit: 10, window: 60s }
";

/// A node that takes the word of `proxies`; the test's own address is 127.0.0.1.
async fn node(proxies: &[&str]) -> (Node<ManualClock>, Client) {
    let identity = IdentityPolicy {
        proxies: TrustedProxies::new(proxies).unwrap(),
        family: HeaderFamily::XForwardedFor,
        ..IdentityPolicy::default()
    };
    let options = HttpOptions { identity, ..options() };
    let node = Node::start(RULES, ManualClock::new(START), options, limits()).await;
    let client = node.client().await;
    (node, client)
}

/// Asks with these header fields, each without its line end.
async fn ask(client: &mut Client, target: &str, fields: &[&str]) -> Answer {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    client.request("GET", target, &fields, b"").await
}

/// The rules that were asked, as the policy field names them.
fn rules(answer: &Answer) -> Vec<&str> {
    let policy = answer.field("ratelimit-policy").unwrap_or_default();
    policy.split(", ").filter_map(|item| item.split('"').nth(1)).collect()
}

const PAY: [&str; 3] =
    ["X-Forwarded-Method: POST", "X-Forwarded-Uri: /.//p%61y?x=1", "X-Forwarded-Host: Shop.Example:8443"];

#[tokio::test]
async fn the_request_that_a_trusted_proxy_describes_is_decided() {
    let (_node, mut client) = node(&["127.0.0.1"]).await;
    let nginx = ["X-Original-Method: POST", "X-Original-URI: /pay?x=1"];
    let allowed = ask(&mut client, "/v1/authz", &nginx).await;
    assert_eq!((allowed.status, rules(&allowed)), (200, vec!["pay"]));
    assert_eq!(allowed.field("x-tidegate-status"), Some("200"));
    let described = [&PAY[..], &["X-Forwarded-For: 203.0.113.9", "User-Agent: robot"]].concat();
    let answer = ask(&mut client, "/v1/authz", &described).await;
    assert_eq!((answer.status, rules(&answer)), (200, vec!["pay", "shop", "agent"]));
    assert_eq!(client.get("/v1/stats/default/203.0.113.9").await.json()["used"], 1, "its address is the key");
    let plain = ask(&mut client, "/v1/authz", &[]).await;
    assert_eq!(rules(&plain), ["own"], "a request that describes no other is itself the one");
    let hosted = ask(&mut client, "/v1/authz", &["X-Forwarded-Host: shop.example"]).await;
    assert_eq!(rules(&hosted), ["own"], "a host alone describes nothing");
}

#[tokio::test]
async fn a_stranger_is_not_believed() {
    let (_node, mut client) = node(&["10.0.0.0/8"]).await;
    for fields in [&PAY[..], &["X-Original-Method: POST", "X-Original-URI: /pay"], &["X-Original-URI: /pay"]]
    {
        let answer = ask(&mut client, "/v1/authz", fields).await;
        assert_eq!((answer.status, rules(&answer)), (200, vec!["own"]), "{fields:?}");
    }
}

#[tokio::test]
async fn a_description_without_one_clear_meaning_is_refused() {
    let (_node, mut client) = node(&["127.0.0.1"]).await;
    let both = [&PAY[..], &["X-Original-Method: GET", "X-Original-URI: /free"]].concat();
    let slipped_in = [&PAY[..], &["X-Original-URI: /free"]].concat();
    let twice = [&PAY[..], &["X-Forwarded-Uri: /free"]].concat();
    let wrong: [(&[&str], &str); 12] = [
        (&both, "both"),
        (&slipped_in, "both"),
        (&twice, "more than once"),
        (&PAY[..2], "incomplete"),
        (&PAY[1..], "incomplete"),
        (&["X-Original-URI: /pay"], "incomplete"),
        (&["X-Original-Method: GET"], "incomplete"),
        (&["X-Original-Method: G T", "X-Original-URI: /pay"], "method"),
        (&["X-Original-Method: GET", "X-Original-URI: pay"], "must begin with"),
        (&["X-Original-Method: GET", "X-Original-URI: /pay%2F"], "%2F"),
        (&["X-Original-Method: GET", "X-Original-URI: /p\u{e4}y"], "visible ASCII"),
        (
            &["X-Forwarded-Method: GET", "X-Forwarded-Uri: /", "X-Forwarded-Host: a.example, b.example"],
            "one host",
        ),
    ];
    for (fields, said) in wrong {
        let answer = ask(&mut client, "/v1/authz", fields).await;
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(answer.status == 400 && detail.contains(said), "{fields:?}: {} {detail}", answer.status);
        let for_nginx = ask(&mut client, "/v1/authz?status=403", fields).await;
        assert_eq!(
            (for_nginx.status, for_nginx.field("x-tidegate-status")),
            (403, Some("400")),
            "{fields:?}"
        );
    }
    assert_eq!(client.get("/v1/stats/default/127.0.0.1").await.json()["used"], 0, "nothing was charged");
}

#[tokio::test]
async fn a_denial_has_the_status_that_was_wanted_and_always_the_same_fields() {
    let (_node, mut client) = node(&["127.0.0.1"]).await;
    for _ in 0..3 {
        assert_eq!(ask(&mut client, "/v1/authz", &PAY).await.status, 200);
    }
    for (wanted, status, challenge) in [
        ("", 429, None),
        ("?status=429", 429, None),
        ("?status=403", 403, None),
        ("?status=401", 401, Some("Bearer realm=\"tidegate\"")),
    ] {
        let denied = ask(&mut client, &format!("/v1/authz{wanted}"), &PAY).await;
        assert_eq!((denied.status, denied.field("x-tidegate-status")), (status, Some("429")), "{wanted}");
        assert_eq!(denied.field("retry-after"), Some("20"));
        assert_eq!(denied.field("ratelimit"), Some(r#""pay";r=0;t=20, "shop";r=997;t=1"#));
        assert_eq!(denied.field("www-authenticate"), challenge);
        assert_eq!(denied.json()["violated-policies"], json!(["pay"]));
    }
    let costly = ask(&mut client, "/v1/authz?cost=4", &PAY).await;
    assert_eq!((costly.status, costly.field("x-tidegate-status")), (422, Some("422")));
}

#[tokio::test]
async fn every_method_asks_and_no_body_is_read() {
    let (_node, mut client) = node(&["127.0.0.1"]).await;
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"] {
        let answer = client.request(method, "/v1/authz", "", b"").await;
        assert_eq!((answer.status, rules(&answer)), (200, vec!["own"]), "{method}");
        assert_eq!(answer.body.is_empty(), method == "HEAD", "{method}");
    }
    let answer = client.request("POST", "/v1/authz", "", &[b'x'; 1_000]).await;
    assert_eq!(answer.status, 200);
    let mut impatient = Client::connect(_node.address).await;
    impatient.send(b"POST /v1/authz HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000000\r\n\r\n").await;
    assert_eq!(impatient.answer(false).await.unwrap().status, 200, "nobody waits for the rest");
}

#[tokio::test]
async fn the_proxy_chooses_domain_cost_and_entries() {
    let (_node, mut client) = node(&[]).await;
    let target = "/v1/authz?domain=users&cost=4&entry.plan=gold&header.user_id=X-User-Id";
    let answer = ask(&mut client, target, &["X-User-Id: u 1"]).await;
    let body = answer.json();
    assert_eq!((answer.status, &body["rule"], &body["remaining"]), (200, &json!("per-user"), &json!(6)));
    assert_eq!(client.get("/v1/stats/users/u%201").await.json()["used"], 4);
    for absent in [&[][..], &["X-User-Id:"]] {
        let answer = ask(&mut client, target, absent).await;
        assert_eq!((answer.status, &answer.json()["rule"]), (200, &Value::Null), "{absent:?}");
    }
    let long = format!("X-User-Id: {}", "u".repeat(1_025));
    for unclear in [&["X-User-Id: a", "X-User-Id: b"][..], &[&long], &["X-User-Id: \u{e4}"]] {
        assert_eq!(ask(&mut client, target, unclear).await.status, 400);
    }
    let encoded = "/v1/authz?domain=users&entry.plan=%67old&entry%2Euser_id=u+1";
    assert_eq!(ask(&mut client, encoded, &[]).await.json()["remaining"], 5);
}

#[tokio::test]
async fn a_parameter_that_is_wrong_is_named() {
    let (_node, mut client) = node(&[]).await;
    let many: String = (0..17).map(|number| format!("&entry.e{number}=1")).collect();
    let long = format!("domain={}", "d".repeat(129));
    for (query, field) in [
        ("domian=users", "domian"),
        ("domain", "domain"),
        ("domain=a&domain=a", "domain"),
        (&*long, "domain"),
        ("cost=0", "cost"),
        ("cost=1.5", "cost"),
        ("cost=1000000000001", "cost"),
        ("status=500", "status"),
        ("entry.=1", "entry."),
        ("entry.a%20b=1", "entry.a b"),
        ("entry.u=1&header.u=X-U", "header.u"),
        ("entry.path=/free", "entry.path"),
        ("header.client_ip=X-Ip", "header.client_ip"),
        ("header.u=X_U", "header.u"),
        ("header.u=no+field", "header.u"),
        ("entry.u=%ff", "entry.u"),
        ("%ff=1", "query"),
        (&many, "entry.e16"),
    ] {
        let answer = ask(&mut client, &format!("/v1/authz?{query}"), &["X-U: 1"]).await;
        assert_eq!((answer.status, &answer.json()["field"]), (422, &json!(field)), "{query}");
    }
}

#[tokio::test]
async fn whatever_is_asked_is_answered_and_never_with_our_fault() {
    const SEED: u64 = 7;
    const QUERY: &[&str] = &[
        "domain", "cost", "status", "entry.", "header.", "user_id", "X-U", "=", "&", "%", "%41", "+", ".",
        "1", "403",
    ];
    const VALUE: &[&str] =
        &["/", "//", "..", "%2e", "%2F", "pay", "?", "#", "POST", " ", ",", ":", "[", "]", "\t", "\u{e4}"];
    println!("seed {SEED}");
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut text = |parts: &[&str]| -> String {
        (0..random.usize(0..8)).map(|_| parts[random.usize(0..parts.len())]).collect()
    };
    let (_node, mut client) = node(&["127.0.0.1"]).await;
    for _ in 0..1_000 {
        let target = format!("/v1/authz?{}", text(QUERY));
        let mut fields = String::new();
        for name in ["X-Forwarded-Method", "X-Forwarded-Uri", "X-Forwarded-Host", "X-Original-URI", "X-U"] {
            let value = text(VALUE);
            if !value.is_empty() {
                fields.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        let answer = client.request("GET", &target, &fields, b"").await;
        assert!(matches!(answer.status, 200 | 400 | 403 | 422 | 429), "{target} {fields}: {answer:?}");
    }
}

#[tokio::test]
async fn a_proxy_may_add_its_fields_to_those_of_its_client() {
    let (_node, mut client) = node(&[]).await;
    // With Host and Content-Length.
    let fields = |count: usize| (2..count).map(|number| format!("X-{number}: 1\r\n")).collect::<String>();
    for (count, status) in [(96, 200), (97, 431)] {
        assert_eq!(client.request("GET", "/v1/authz", &fields(count), b"").await.status, status, "{count}");
    }
    let many = client.request("GET", "/v1/authz?status=403", &fields(97), b"").await;
    assert_eq!((many.status, many.field("x-tidegate-status")), (403, Some("431")));
}
