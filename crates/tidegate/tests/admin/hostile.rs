//! What nobody should send: every answer has a reason, and none is the server's fault.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::admin::{MAX_BODY_BYTES, routes};
use tidegate_testkit::wait_until;

use super::site::{Answer, Site, TOKEN, filled, payments, writes};

fn with_payments() -> Site {
    let site = Site::start();
    site.domain("default", &payments(10));
    site
}

/// A route's path with the same text for every name.
fn with_name(route: &tidegate::admin::Route, name: &str) -> String {
    let names =
        ["tenant", "domain", "rule", "subject", "version", "prefix", "room"].map(|known| (known, name));
    filled(route, &names)
}

#[test]
fn pages_of_other_sites_are_refused_everywhere() {
    let site = with_payments();
    let own = format!("http://{}", site.server.admin_address());
    for route in routes() {
        let ask = || site.operator(route.method.as_str(), &with_name(&route, "none"));
        for (field, value) in [
            ("Origin", "https://evil.example"),
            ("Origin", "null"),
            ("Origin", "http://127.0.0.1"),
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Site", "same-site"),
        ] {
            assert_eq!(ask().field(field, value).send().status, 403, "{route:?} {field}: {value}");
        }
    }
    site.operator("GET", "/whoami").field("Origin", &own).send().expect(200);
    site.operator("GET", "/whoami").field("Sec-Fetch-Site", "same-origin").send().expect(200);
    site.operator("GET", "/whoami").field("Sec-Fetch-Site", "none").send().expect(200);
    let preflight = site.bare("OPTIONS", "/keys").field("Origin", "https://evil.example").send().expect(403);
    assert_eq!(preflight.field("access-control-allow-origin"), None);
}

#[test]
fn bodies_and_pages_have_an_end() {
    let site = with_payments();
    let long = " ".repeat(MAX_BODY_BYTES + 1);
    for route in routes() {
        let ask = site.operator(route.method.as_str(), &with_name(&route, "payments")).if_match("*");
        if route.max_body_bytes == MAX_BODY_BYTES {
            assert_eq!(ask.body(long.as_str()).send().status, 413, "{route:?}");
        } else if route.max_body_bytes == 0 {
            assert_eq!(ask.body("{}").send().status, 413, "{route:?}");
        }
    }
    let lists = [
        "/tenants",
        "/domains",
        "/domains/payments/rules",
        "/domains/payments/history",
        "/domains/payments/subjects",
        "/domains/payments/bans",
        "/domains/payments/overrides",
        "/keys",
        "/top?domain=payments",
        "/audit",
    ];
    for list in lists {
        let sign = if list.contains('?') { '&' } else { '?' };
        for limit in ["0", "201", "-1", "abc", "", "18446744073709551616", "1&limit=2"] {
            let answer = site.operator("GET", &format!("{list}{sign}limit={limit}")).send();
            assert_eq!(answer.status, 422, "{list} {limit}: {answer:?}");
            assert!(answer.body.contains("limit"));
        }
        for limit in ["1", "200"] {
            site.operator("GET", &format!("{list}{sign}limit={limit}")).send().expect(200);
        }
    }
}

#[test]
fn parameters_that_an_endpoint_does_not_take_are_refused() {
    let site = with_payments();
    for route in routes() {
        let target = with_name(&route, "payments");
        for name in
            ["after", "before", "by", "domain", "from", "last", "limit", "others", "rule", "subject", "tier"]
        {
            if !route.parameters.contains(&name) {
                let ask = site.operator(route.method.as_str(), &format!("{target}?{name}=1")).if_match("*");
                let detail = ask.send().expect(422).json()["detail"].to_string();
                assert!(detail.contains(&format!("no parameter '{name}'")), "{route:?} {detail}");
                assert!(route.parameters.iter().all(|taken| detail.contains(taken)), "{route:?} {detail}");
            }
        }
    }
}

#[test]
fn large_bodies_wait_for_their_turn_and_small_ones_do_not() {
    let site = with_payments();
    // Two who say that they send much, and do not.
    let stalled: Vec<TcpStream> = (0..2)
        .map(|_| {
            let mut stream = TcpStream::connect(site.server.admin_address()).unwrap();
            let head = format!(
                "PUT /admin/v1/domains/payments HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 70000\r\n\r\n{{"
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    let import = |body: Vec<u8>| site.operator("POST", "/import").body(body).send();
    let small = || import(b"version: 1\ndomains: []\n".to_vec());
    let long = || import([&b"version: 1\ndomains: []\n"[..], &b"#\n".repeat(40_000)].concat());
    wait_until("the turns are taken", Duration::from_secs(10), || {
        let refused = long();
        refused.status == 503 && refused.field("retry-after").is_some() && refused.body.contains("try again")
    });
    small().expect(200);
    drop(stalled);
    wait_until("the turns are free", Duration::from_secs(20), || long().status == 200);
}

#[test]
fn a_page_follows_another_until_the_end() {
    let site = with_payments();
    let subjects: serde_json::Map<String, Value> =
        (0..450).map(|number| (format!("user/{number:03}|é"), json!("gold"))).collect();
    site.operator("POST", "/domains/payments/subjects")
        .json(&json!({ "tiers": subjects }))
        .send()
        .expect(200);
    let (mut after, mut seen) = (String::new(), Vec::new());
    loop {
        let page =
            site.operator("GET", &format!("/domains/payments/subjects?{after}")).send().expect(200).json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 200);
        seen.extend(items.iter().map(|item| item["subject"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("after={}", next.replace('/', "%2f").replace('|', "%7c").replace('é', "%c3%a9"));
    }
    assert_eq!(seen.len(), 450);
    assert!(seen.is_sorted());
}

#[test]
fn fields_that_are_not_known_are_named() {
    let site = with_payments();
    let extra: Vec<(&str, &str, Value)> = vec![
        ("POST", "/tenants", json!({ "name": "acme", "colour": 1 })),
        ("PUT", "/domains/payments", json!({ "name": "payments", "rules": [], "colour": 1 })),
        (
            "PUT",
            "/domains/payments/rules/calls",
            json!({ "name": "calls", "key": ["a"], "limit": 1, "window": "1s", "colour": 1 }),
        ),
        ("POST", "/domains/payments/rules/calls/rename", json!({ "to": "asks", "colour": 1 })),
        ("POST", "/domains/payments/rollback", json!({ "version": 1, "colour": 1 })),
        ("POST", "/domains/payments/dry-run", json!({ "domain": {}, "colour": 1 })),
        ("PUT", "/domains/payments/subjects/sue", json!({ "tier": "gold", "colour": 1 })),
        ("POST", "/domains/payments/subjects", json!({ "tiers": {}, "colour": 1 })),
        ("POST", "/domains/payments/subjects/sue/reset", json!({ "colour": 1 })),
        ("POST", "/domains/payments/subjects/sue/refund", json!({ "cost": 1, "colour": 1 })),
        ("PUT", "/domains/payments/subjects/sue/ban", json!({ "reason": "x", "colour": 1 })),
        ("PUT", "/domains/payments/subjects/sue/overrides/calls", json!({ "limit": 1, "colour": 1 })),
        ("POST", "/keys", json!({ "name": "x", "scopes": ["check"], "colour": 1 })),
        ("POST", "/import", json!({ "version": 1, "domains": [], "colour": 1 })),
    ];
    for (method, target, body) in extra {
        let answer = site.operator(method, target).if_match("*").json(&body).send();
        assert_eq!(answer.status, 422, "{target}: {answer:?}");
        assert!(answer.body.contains("colour"), "{target}: {}", answer.body);
    }
}

#[test]
fn a_dry_run_that_is_misspelt_or_that_there_is_none_of_changes_nothing() {
    let site = with_payments();
    let seen = || site.operator("GET", "/audit").send().expect(200).body;
    let before = seen();
    for route in routes().iter().filter(|route| writes(route)) {
        let names = [
            ("tenant", "acme"),
            ("domain", "payments"),
            ("rule", "calls"),
            ("subject", "sue"),
            ("prefix", "none"),
            ("room", "demo"),
        ];
        let target = filled(route, &names);
        for (query, said) in [
            ("?dry-run=15m", "'dry-run'"),
            ("?DRY_RUN=15m", "'DRY_RUN'"),
            ("?dry_run=15m", "only changes of rules have a dry_run"),
        ] {
            let ask = site.operator(route.method.as_str(), &format!("{target}{query}")).if_match("*");
            let refused = ask.send();
            if query != "?dry_run=15m" || !route.takes_dry_run {
                let detail = refused.expect(422).json()["detail"].to_string();
                assert!(detail.contains(said), "{route:?} {query}: {detail}");
                assert!(!route.takes_dry_run || detail.contains("dry_run"), "{route:?} {query}: {detail}");
            }
        }
    }
    assert_eq!(seen(), before);
}

#[test]
fn other_methods_are_told_which_there_are() {
    let site = Site::start();
    for route in routes() {
        let target = with_name(&route, "none");
        let answer = site.operator("PATCH", &target).send().expect(405);
        let allowed = answer.field("allow").expect("a list of methods").to_owned();
        assert!(allowed.split(", ").any(|method| method == route.method.as_str()), "{route:?}: {allowed}");
    }
    for target in ["/none", "/domains/", "/domains/a/b/c/d/e/f", "/Domains", "//"] {
        site.operator("GET", target).send().expect(404);
    }
}

#[tokio::test]
async fn head_has_no_body_over_http_2_either() {
    use http_body_util::{BodyExt, Empty};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let site = Site::start();
    let socket = tokio::net::TcpStream::connect(site.server.admin_address()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::head("http://test/admin/v1/whoami")
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 405);
    assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
}

#[test]
fn two_hosts_are_refused() {
    let site = Site::start();
    site.operator("GET", "/whoami").field("Host", "other").send().expect(400);
}

#[test]
fn what_is_wrong_is_named() {
    let site = with_payments();
    let mut other = payments(1);
    other["name"] = json!("other");
    for (method, target, body, field) in [
        ("PUT", "/domains/payments", other, "name"),
        ("POST", "/domains/payments/rollback", json!({ "version": 1_000_000 }), "version"),
        ("POST", "/domains/payments/rules/calls/rename", json!({ "to": "calls" }), "to"),
    ] {
        let refused = site.operator(method, target).if_match("*").json(&body).send().expect(422).json();
        assert_eq!(refused["field"], field, "{refused}");
    }
}

#[test]
fn numbers_have_bounds() {
    let site = with_payments();
    let rule = |limit: Value, window: &str| {
        let rule = json!({ "name": "calls", "key": ["user_id"], "limit": limit, "window": window });
        site.operator("PUT", "/domains/payments/rules/calls").if_match("*").json(&rule).send().status
    };
    for limit in [json!(-1), json!(1.5), json!(u64::MAX), json!("x"), json!(1e300), Value::Null, json!([1])] {
        assert_eq!(rule(limit.clone(), "1h"), 422, "{limit}");
    }
    for window in ["0s", "-1s", "", "1", "99999999999d", "1e9s", "\u{661}s"] {
        assert_eq!(rule(json!(1), window), 422, "{window}");
    }
    let sue = "/domains/payments/subjects/sue";
    let status =
        |method: &str, target: &str, body: Value| site.operator(method, target).json(&body).send().status;
    for (until, lasting) in [
        (json!("yesterday"), Value::Null),
        (json!("2001-01-01T00:00:00Z"), Value::Null),
        (json!("99999-01-01T00:00:00Z"), Value::Null),
        (json!("2999-01-01T00:00:00Z"), json!("1h")),
        (json!(5), Value::Null),
        (Value::Null, json!("99999999999999999999d")),
        (Value::Null, json!("-1h")),
    ] {
        let body = json!({ "reason": "x", "until": until, "for": lasting });
        assert_eq!(status("PUT", &format!("{sue}/ban"), body.clone()), 422, "{body}");
        let body = json!({ "limit": 1, "until": until, "for": lasting });
        assert_eq!(status("PUT", &format!("{sue}/overrides/calls"), body.clone()), 422, "{body}");
        let body = json!({ "name": "x", "scopes": ["check"], "until": until, "for": lasting });
        assert_eq!(status("POST", "/keys", body.clone()), 422, "{body}");
    }
    for body in [
        json!({ "limit": u64::MAX }),
        json!({ "limit": 1, "window": "0s" }),
        json!({ "limit": 1, "burst": 1_u64 << 60 }),
    ] {
        assert_eq!(status("PUT", &format!("{sue}/overrides/calls"), body.clone()), 422, "{body}");
    }
    for cost in [json!(0), json!(-1), json!(u64::MAX), Value::Null] {
        assert_eq!(status("POST", &format!("{sue}/refund"), json!({ "cost": cost })), 422, "{cost}");
    }
    for most in [json!(u32::MAX), json!(-1), json!(1.5)] {
        let body = json!({ "name": "acme", "max_rules": most });
        assert_eq!(status("POST", "/tenants", body), 422, "{most}");
    }
}

#[test]
fn nothing_that_is_sent_is_the_servers_fault() {
    let site = with_payments();
    let long = "x".repeat(2_000);
    let names = [
        "payments",
        "calls",
        "%2f",
        "a%2fb",
        "%00",
        "%1f",
        "%0a",
        "%ff",
        "%zz",
        "%",
        "%c3%a9",
        "%25",
        "'",
        "%22",
        "..",
        ";--",
        "1",
        "-1",
        "99999999999999999999",
        &long,
    ];
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    let deeper = format!("{{\"name\":\"payments\",\"rules\":{}", "[{\"a\":".repeat(20_000));
    let anchors = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c]";
    let wide = format!("{{{}\"z\":1}}", (0..20_000).map(|n| format!("\"k{n}\":{n},")).collect::<String>());
    let bodies: Vec<&[u8]> = vec![
        b"",
        b"{}",
        b"[]",
        b"null",
        b"0",
        b"\"x\"",
        b"{",
        b"\xff\xfe",
        b"\0",
        b"{\"name\":null}",
        b"- - - -",
        b"*a",
        b"&a *a",
        b"{\"name\":\"\\u001f\",\"rules\":[]}",
        b"{\"name\":\"\\ud800\"}",
        b"1e999999",
        deep.as_bytes(),
        deeper.as_bytes(),
        anchors.as_bytes(),
        wide.as_bytes(),
        long.as_bytes(),
    ];
    let queries = [
        "",
        "?dry_run=x",
        "?dry_run=%ff",
        "?after=%00",
        "?before=-1",
        "?tenant=",
        "?tenant=A",
        "?limit=%",
        "?&&=&",
        "?from=x&to=y",
        "?last=9999999999999d",
        "?by=a,b",
        "?domain=%1f",
    ];
    let fine = |what: &str, answer: &Answer| {
        assert!(answer.status < 500, "{what}: {answer:?}");
        if answer.status >= 400 {
            assert_eq!(answer.field("content-type"), Some("application/problem+json"), "{what}: {answer:?}");
            assert!(!answer.json()["detail"].as_str().unwrap_or_default().is_empty(), "{what}: {answer:?}");
            assert!(!answer.body.contains("sqlx") && !answer.body.contains("SELECT"), "{what}: {answer:?}");
        }
    };
    // A key each for some of them: one key asks a thousand times at once at the most.
    for route in routes() {
        let key = site.key(None, "hostile", &["admin-read", "admin-write"]);
        let ask = |target: &str| site.bare(route.method.as_str(), target).key(&key).if_match("*");
        for name in names {
            fine(
                &format!("{route:?} {name}"),
                &ask(&with_name(&route, name)).body(if route.max_body_bytes > 0 { "{}" } else { "" }).send(),
            );
        }
        for query in queries {
            fine(
                &format!("{route:?} {query}"),
                &ask(&format!("{}{query}", with_name(&route, "payments"))).send(),
            );
        }
        for body in bodies.iter().filter(|_| route.max_body_bytes > 0) {
            let shown = String::from_utf8_lossy(&body[..body.len().min(20)]).into_owned();
            fine(&format!("{route:?} {shown}"), &ask(&with_name(&route, "payments")).body(*body).send());
        }
        for tag in ["", "\"", "\"x\"", "\"99999999999999999999\"", "\"-1\"", "*, *", "W/\"1\""] {
            let ask = site.bare(route.method.as_str(), &with_name(&route, "none")).key(&key);
            fine(&format!("{route:?} {tag}"), &ask.if_match(tag).send());
        }
    }
    site.operator("GET", "/whoami").send().expect(200);
    site.door("GET", "/ready").send().expect(200);
}
