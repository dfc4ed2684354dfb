//! API keys and tenants.

use tidegate_testkit::Reply;

use super::site::{Site, prefix_of};
use super::*;

fn site(more: &[&str]) -> (Site, PortLease) {
    let port = PortLease::new();
    let address = port.address().to_string();
    (Site::with(&[["--resp-listen", &address].as_slice(), more].concat()), port)
}

fn error(reply: &Reply) -> &str {
    reply.error().unwrap_or_else(|| panic!("not an error: {reply:?}"))
}

#[test]
fn without_a_key_nothing_is_decided_where_one_is_needed() {
    let (site, port) = site(&["--require-api-key"]);
    site.tenant("acme");
    let (good, other) =
        (site.key(Some("acme"), "good", &["check"]), site.key(None, "admin", &["admin-read"]));
    let mut client = RespClient::connect(port.address(), DEADLINE).unwrap();
    for refused in [["CL.THROTTLE", "k", "1", "1", "60"].as_slice(), &["PING"], &["HELLO", "3"]] {
        assert!(error(&client.command(refused)).starts_with("NOAUTH "), "{refused:?}");
    }
    assert!(error(&client.command(&["AUTH", "tg_nobody"])).starts_with("WRONGPASS "));
    assert!(error(&client.command(&["AUTH", &other])).starts_with("NOPERM "));
    assert_eq!(client.command(&["AUTH", "default", &good]).text(), "OK");
    assert_eq!(client.command(&["CL.THROTTLE", "k", "1", "1", "60"]).items()[2].integer(), 1);
    // A key that is not good takes nothing away.
    assert!(error(&client.command(&["AUTH", "tg_nobody"])).starts_with("WRONGPASS "));
    assert_eq!(client.command(&["PING"]).text(), "PONG");
    let mut other = RespClient::connect(port.address(), DEADLINE).unwrap();
    assert!(!other.command(&["HELLO", "2", "AUTH", "default", &good, "SETNAME", "me"]).items().is_empty());
    assert_eq!(other.command(&["CLIENT", "GETNAME"]).text(), "me");
}

#[test]
fn tenants_share_no_buckets() {
    let (site, port) = site(&[]);
    let ask = |key: Option<&str>| {
        let mut client = RespClient::connect(port.address(), DEADLINE).unwrap();
        if let Some(key) = key {
            client.command(&["AUTH", key]).ok();
        }
        client.command(&["CL.THROTTLE", "k", "9", "1", "3600"]).items()[2].integer()
    };
    site.tenant("a");
    site.tenant("b");
    let (a, b) = (site.key(Some("a"), "k", &["check"]), site.key(Some("b"), "k", &["check"]));
    assert_eq!([ask(None), ask(Some(&a)), ask(Some(&b))], [9, 9, 9]);
    assert_eq!([ask(None), ask(Some(&a)), ask(Some(&a))], [8, 8, 7]);
}

#[test]
fn a_ban_and_a_ceiling_are_named() {
    let (site, port) = site(&[]);
    site.tenant("acme");
    site.domain(
        "acme",
        &serde_json::json!({ "name": "pay", "subject": "user", "rules": [{ "name": "each", "key": ["user"], "limit": 9, "window": "1h" }] }),
    );
    site.about("acme", "PUT", "/domains/pay/subjects/bob/ban")
        .json(&serde_json::json!({ "reason": "abuse" }))
        .send()
        .expect(200);
    let key = site.key(Some("acme"), "k", &["check"]);
    let mut client = RespClient::connect(port.address(), DEADLINE).unwrap();
    client.command(&["AUTH", &key]).ok();
    assert!(error(&client.command(&["TIDEGATE.CHECK", "pay", "user", "bob"])).starts_with("DENIED "));
    assert_eq!(client.command(&["TIDEGATE.CHECK", "pay", "user", "ann"]).items()[2].integer(), 8);
    let ceilings = serde_json::json!({ "max_rules": 10, "max_keys": 10, "max_requests_per_second": 1 });
    site.operator("PUT", "/tenants/acme").if_match("*").json(&ceilings).send().expect(200);
    let replies: Vec<Reply> =
        (0..20).map(|_| client.command(&["CL.THROTTLE", "k", "99", "1", "3600"])).collect();
    let (refused, passed): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.error().is_some());
    assert!(
        refused.len() >= 10 && refused.iter().all(|reply| error(reply).starts_with("BUSY ")),
        "{replies:?}"
    );
    // What was refused has taken nothing.
    let left: Vec<i64> = passed.iter().map(|reply| reply.items()[2].integer()).collect();
    assert_eq!(left, (0..passed.len() as i64).map(|call| 99 - call).collect::<Vec<_>>());
}

#[test]
fn a_key_that_is_revoked_is_good_no_more_on_connections_that_have_it() {
    for more in [&[][..], &["--require-api-key"]] {
        let (site, port) = site(more);
        site.tenant("acme");
        let key = site.key(Some("acme"), "k", &["check"]);
        let mut client = RespClient::connect(port.address(), DEADLINE).unwrap();
        client.command(&["AUTH", &key]).ok();
        assert_eq!(client.command(&["CL.THROTTLE", "k", "9", "1", "3600"]).items()[2].integer(), 9);
        site.operator("DELETE", &format!("/keys/{}", prefix_of(&key))).send().expect(200);
        for refused in [["CL.THROTTLE", "k", "9", "1", "3600"].as_slice(), &["PING"]] {
            assert!(error(&client.command(refused)).starts_with("NOAUTH the API key is not good any more"));
        }
    }
}
