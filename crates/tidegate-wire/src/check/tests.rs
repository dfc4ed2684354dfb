//! Goal: a body is either exactly understood or refused with the right status and the field's name. Method: tables of
//! good and bad bodies, and properties over random ones.

use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::json;

use super::*;

const P64: fn() -> Ipv6Prefix = Ipv6Prefix::default;

fn check(body: &str) -> Result<CheckRequest<'_>, BodyError> {
    parse_check(body.as_bytes(), P64())
}

fn pairs(request: &CheckRequest<'_>) -> Vec<(String, String)> {
    request.entries.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn entries(body: &str) -> Vec<(String, String)> {
    pairs(&check(body).unwrap())
}

fn owned(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The field that a body is refused for, with the problem's status.
fn refusal<T: std::fmt::Debug>(result: Result<T, BodyError>) -> (u16, String) {
    let problem = Problem::from(result.expect_err("a refusal"));
    (problem.status().as_u16(), problem.field.unwrap_or_default())
}

#[test]
fn the_short_form_borrows_everything() {
    let request = check(r#"{"client_id":"api_client","cost":1}"#).unwrap();
    let want = CheckRequest {
        domain: "default".into(),
        entries: Entries::from_iter([("client_id".into(), "api_client".into())]),
        cost: 1,
        peek: false,
        idempotency_key: None,
        ticket: None,
        pass: None,
    };
    assert_eq!(request, want);
    assert!(matches!(request.domain, Cow::Borrowed(_)) && !request.entries.spilled());
    assert!(
        request
            .entries
            .iter()
            .all(|(name, value)| { matches!((name, value), (Cow::Borrowed(_), Cow::Borrowed(_))) })
    );
}

#[test]
fn the_full_form() {
    let request = check(
        r#" {"domain": "payments", "descriptors": {"user_id": "u1", "path": "/v1//charges?x=1"}, "cost": 3,
            "peek": true, "idempotency_key": "k-1"} "#,
    )
    .unwrap();
    assert_eq!(pairs(&request), owned(&[("user_id", "u1"), ("path", "/v1/charges")]));
    assert_eq!((&*request.domain, request.cost, request.peek), ("payments", 3, true));
    assert_eq!(request.idempotency_key.as_deref(), Some("k-1"));
}

#[test]
fn values_become_text() {
    let body = r#"{"descriptors":{"a":7,"b":-7,"c":true,"d":false,"e":"\u00e9\"","f":18446744073709551615}}"#;
    let want =
        [("a", "7"), ("b", "-7"), ("c", "true"), ("d", "false"), ("e", "é\""), ("f", "18446744073709551615")];
    assert_eq!(entries(body), owned(&want));
    assert_eq!(entries(r#"{"cl\u0069ent_id":"x"}"#), owned(&[("client_id", "x")]));
    assert_eq!(
        entries(r#"{"descriptors":{"client_ip":"2001:DB8::1","path":"/a/\u002e./b"}}"#),
        owned(&[("client_ip", "2001:db8::/64"), ("path", "/b")])
    );
    assert_eq!(
        entries(
            r#"{"descriptors":{"remote_address":"2001:DB8::1","remote_address.2":"::ffff:192.0.2.1","host":"Example.COM","path.2":"//a"}}"#
        ),
        owned(&[
            ("remote_address", "2001:db8::/64"),
            ("remote_address.2", "192.0.2.1"),
            ("host", "example.com"),
            ("path.2", "/a")
        ])
    );
    assert_eq!(
        entries(r#"{"descriptors":{"remote_address":"Somewhere"}}"#),
        owned(&[("remote_address", "Somewhere")])
    );
    let wide = Ipv6Prefix::new(48).unwrap();
    let request = parse_check(br#"{"descriptors":{"client_ip":"2001:db8:1:2::1"}}"#, wide).unwrap();
    assert_eq!(pairs(&request), owned(&[("client_ip", "2001:db8:1::/48")]));
}

#[test]
fn client_id_joins_the_descriptors() {
    let body = r#"{"client_id":"x","domain":"d","descriptors":{"tier":"pro"}}"#;
    assert_eq!(entries(body), owned(&[("tier", "pro"), ("client_id", "x")]));
    assert_eq!(entries(r#"{"client_id":"x","descriptors":{}}"#), owned(&[("client_id", "x")]));
    assert_eq!(entries(r#"{"descriptors":{"client_id":"x"}}"#), owned(&[("client_id", "x")]));
}

#[test]
fn invalid_bodies_name_their_field() {
    let cases = [
        ("[]", "body"),
        ("null", "body"),
        ("\"x\"", "body"),
        ("1", "body"),
        ("{}", "client_id"),
        (r#"{"cost":1}"#, "client_id"),
        (r#"{"descriptors":{}}"#, "descriptors"),
        (r#"{"descriptors":[]}"#, "descriptors"),
        (r#"{"descriptors":null}"#, "descriptors"),
        (r#"{"descriptors":"a"}"#, "descriptors"),
        (r#"{"client_id":"x","descriptors":7}"#, "descriptors"),
        (r#"{"client_id":"x","descriptors":{"client_id":"x"}}"#, "descriptors.client_id"),
        (r#"{"descriptors":{"a":"1","a":"1"}}"#, "descriptors.a"),
        (r#"{"descriptors":{"a":"1","\u0061":"2"}}"#, "descriptors.a"),
        (r#"{"descriptors":{"a":null}}"#, "descriptors.a"),
        (r#"{"descriptors":{"a":""}}"#, "descriptors.a"),
        (r#"{"descriptors":{"a":1.5}}"#, "descriptors.a"),
        (r#"{"descriptors":{"a":18446744073709551616}}"#, "descriptors.a"),
        (r#"{"descriptors":{"a":{"b":[1]}}}"#, "descriptors.a"),
        (r#"{"descriptors":{"a":["b"]}}"#, "descriptors.a"),
        (r#"{"descriptors":{"a":"b\n"}}"#, "descriptors.a"),
        (r#"{"descriptors":{"a":"\u0085"}}"#, "descriptors.a"),
        (r#"{"descriptors":{"":"b"}}"#, "descriptors.\"\""),
        (r#"{"descriptors":{"a b":"b"}}"#, "descriptors.a b"),
        (r#"{"descriptors":{"é":"b"}}"#, "descriptors.é"),
        (r#"{"descriptors":{"a\n":"b"}}"#, "descriptors.a\u{fffd}"),
        (r#"{"descriptors":{"path":"/a%2fb"}}"#, "descriptors.path"),
        (r#"{"descriptors":{"path":"a"}}"#, "descriptors.path"),
        (r#"{"descriptors":{"client_ip":"1.2.3.4:80"}}"#, "descriptors.client_ip"),
        (r#"{"client_id":7}"#, "client_id"),
        (r#"{"client_id":null}"#, "client_id"),
        (r#"{"client_id":""}"#, "client_id"),
        (r#"{"client_id":"a\u0000"}"#, "client_id"),
        (r#"{"client_id":"x","client_id":"x"}"#, "client_id"),
        (r#"{"client_id":"x","cost":0}"#, "cost"),
        (r#"{"client_id":"x","cost":-1}"#, "cost"),
        (r#"{"client_id":"x","cost":1.0}"#, "cost"),
        (r#"{"client_id":"x","cost":1e3}"#, "cost"),
        (r#"{"client_id":"x","cost":1000000000001}"#, "cost"),
        (r#"{"client_id":"x","cost":99999999999999999999}"#, "cost"),
        (r#"{"client_id":"x","cost":-99999999999999999999}"#, "cost"),
        (r#"{"client_id":"x","cost":"1"}"#, "cost"),
        (r#"{"client_id":"x","cost":null}"#, "cost"),
        (r#"{"client_id":"x","cost":true}"#, "cost"),
        (r#"{"client_id":"x","cost":1,"cost":1}"#, "cost"),
        (r#"{"client_id":"x","peek":1}"#, "peek"),
        (r#"{"client_id":"x","domain":""}"#, "domain"),
        (r#"{"client_id":"x","domain":5}"#, "domain"),
        (r#"{"client_id":"x","idempotency_key":""}"#, "idempotency_key"),
        (r#"{"client_id":"x","idempotency_key":[]}"#, "idempotency_key"),
        (r#"{"client_id":"x","Cost":1}"#, "Cost"),
        (r#"{"client_id":"x","extra":{"deep":[[[]]]}}"#, "extra"),
    ];
    for (body, field) in cases {
        assert_eq!(refusal(check(body)), (422, field.to_owned()), "{body}");
    }
}

#[test]
fn malformed_bodies() {
    let deep = format!("{{\"client_id\":{}", "[".repeat(60_000));
    let long_number = format!("{{\"cost\":{}", "9".repeat(60_000));
    let cases = [
        "",
        " ",
        "{",
        "nul",
        "{]",
        "{\"client_id\"",
        r#"{"client_id":"x"} x"#,
        r#"{"client_id":"x"}{}"#,
        r#"{"client_id":"x",}"#,
        r#"{'client_id':'x'}"#,
        r#"{client_id:"x"}"#,
        r#"{"client_id":"\ud800"}"#,
        r#"{"client_id":"\x"}"#,
        "{\"client_id\":\"a\nb\"}",
        r#"{"client_id":"x","cost":1e400}"#,
        r#"{"client_id":"x","cost":NaN}"#,
        r#"{"client_id":"x","cost":01}"#,
        "\u{feff}{\"client_id\":\"x\"}",
        &deep,
        &long_number,
    ];
    for body in cases {
        assert_eq!(refusal(check(body)), (400, String::new()), "{body:.80}");
    }
    assert_eq!(refusal(parse_check(b"{\"client_id\":\"\xff\"}", P64())), (400, String::new()));
    assert_eq!(
        parse_check(b"{\"client_id\":\"\xff\"}", P64()).unwrap_err().to_string(),
        "the body is not valid JSON: it is not UTF-8 at byte 14"
    );
}

#[test]
fn every_maximum_is_taken_and_one_more_is_not() {
    let text = |field: &str, length: usize| json!({"client_id": "x", field: "v".repeat(length)}).to_string();
    for (field, max) in [("domain", MAX_DOMAIN_BYTES), ("idempotency_key", MAX_IDEMPOTENCY_KEY_BYTES)] {
        assert!(check(&text(field, max)).is_ok());
        assert_eq!(refusal(check(&text(field, max + 1))), (422, field.to_owned()));
    }
    let value = |length: usize| json!({"client_id": "v".repeat(length)}).to_string();
    assert!(check(&value(MAX_VALUE_BYTES)).is_ok());
    assert_eq!(refusal(check(&value(MAX_VALUE_BYTES + 1))), (422, "client_id".to_owned()));

    let entry = |name: usize, value: usize| {
        format!("{{\"descriptors\":{{\"{}\":\"{}\"}}}}", "n".repeat(name), "v".repeat(value))
    };
    assert!(check(&entry(MAX_NAME_BYTES, MAX_VALUE_BYTES)).is_ok());
    let shown = "n".repeat(64);
    assert_eq!(refusal(check(&entry(MAX_NAME_BYTES + 1, 1))), (422, format!("descriptors.{shown}")));
    assert_eq!(refusal(check(&entry(1, MAX_VALUE_BYTES + 1))), (422, "descriptors.n".to_owned()));

    let many = |count: usize, client_id: &str| {
        let list: Vec<String> = (0..count).map(|index| format!("\"n{index}\":{index}")).collect();
        format!("{{{client_id}\"descriptors\":{{{}}}}}", list.join(","))
    };
    assert_eq!(entries(&many(MAX_ENTRIES, "")).len(), MAX_ENTRIES);
    assert_eq!(refusal(check(&many(MAX_ENTRIES + 1, ""))), (422, "descriptors".to_owned()));
    assert_eq!(refusal(check(&many(MAX_ENTRIES, r#""client_id":"x","#))), (422, "descriptors".to_owned()));

    assert_eq!(check(&format!(r#"{{"client_id":"x","cost":{MAX_COST}}}"#)).unwrap().cost, MAX_COST);

    let padded = |length: usize| {
        let mut body = r#"{"client_id":"x"}"#.to_owned();
        body.push_str(&" ".repeat(length - body.len()));
        body
    };
    assert!(check(&padded(MAX_CHECK_BODY_BYTES)).is_ok());
    assert_eq!(refusal(check(&padded(MAX_CHECK_BODY_BYTES + 1))), (413, String::new()));
}

#[test]
fn batches() {
    let checks = |body: &'static str| parse_checks(body.as_bytes(), P64());
    let list = checks(r#"{"checks":[{"client_id":"a"},{"descriptors":{"u":1},"cost":2}]}"#).unwrap();
    assert_eq!(list.iter().map(|check| check.cost).collect::<Vec<_>>(), [1, 2]);
    for (body, field) in [
        ("[]", "body"),
        ("{}", "checks"),
        (r#"{"checks":[]}"#, "checks"),
        (r#"{"checks":{}}"#, "checks"),
        (r#"{"checks":null}"#, "checks"),
        (r#"{"check":[]}"#, "check"),
        (r#"{"checks":[{"client_id":"a"}],"checks":[{"client_id":"a"}]}"#, "checks"),
        (r#"{"checks":[7]}"#, "checks[0]"),
        (r#"{"checks":[{"client_id":"a"},[]]}"#, "checks[1]"),
        (r#"{"checks":[{"client_id":"a"},{"client_id":"a","cost":-1}]}"#, "checks[1].cost"),
        (r#"{"checks":[{"client_id":"a"},{}]}"#, "checks[1].client_id"),
        (r#"{"checks":[{"client_id":"a","x":1}]}"#, "checks[0].x"),
        (r#"{"checks":[{"descriptors":{"u":null}}]}"#, "checks[0].descriptors.u"),
        (r#"{"checks":[{"descriptors":1}]}"#, "checks[0].descriptors"),
        (r#"{"checks":[{"client_id":"a"}],"x":1}"#, "x"),
    ] {
        assert_eq!(refusal(checks(body)), (422, field.to_owned()), "{body}");
    }
    assert_eq!(refusal(checks(r#"{"checks":[{"client_id":"a"}"#)).0, 400);

    let many = |count: usize| format!("{{\"checks\":[{}]}}", vec![r#"{"client_id":"a"}"#; count].join(","));
    assert_eq!(parse_checks(many(MAX_CHECKS).as_bytes(), P64()).unwrap().len(), MAX_CHECKS);
    let refused = many(MAX_CHECKS + 1);
    assert_eq!(refusal(parse_checks(refused.as_bytes(), P64())), (422, "checks".to_owned()));
    let megabyte = vec![b' '; 1 << 20];
    assert_eq!(refusal(parse_checks(&megabyte, P64())).0, 413);
}

#[test]
fn refunds_have_no_peek() {
    let refund = |body: &'static str| parse_refund(body.as_bytes(), P64());
    assert_eq!(refund(r#"{"client_id":"a","cost":5,"idempotency_key":"k"}"#).unwrap().cost, 5);
    assert_eq!(refusal(refund(r#"{"client_id":"a","peek":true}"#)), (422, "peek".to_owned()));
}

#[test]
fn reasons_say_what_to_do() {
    let reason = |body: &str| check(body).unwrap_err().to_string();
    assert_eq!(
        reason(r#"{"client_id":"x","cost":0}"#),
        "cost: must be at least 1; to look without charging send \"peek\": true"
    );
    assert_eq!(
        reason(r#"{"client_id":null}"#),
        "client_id: must be a string, not null; leave the field out instead"
    );
    assert_eq!(
        reason(r#"{"client_id":"x" "cost":1}"#),
        "the body is not valid JSON: expected `,` or `}` at line 1 column 18"
    );
    assert!(reason(r#"{"client_id":"x","cots":1}"#).contains("the fields are client_id, domain"));
}

#[test]
fn an_entry_from_elsewhere_is_held_to_the_same_rules() {
    let entry = |name, value: &'static str| parse_entry(name, Cow::Borrowed(value), P64());
    assert_eq!(entry("user_id", "u 1"), Ok(Cow::Borrowed("u 1")));
    assert_eq!(entry(PATH, "//a/./%62?c"), Ok(Cow::Borrowed("/a/b")));
    assert_eq!(entry(CLIENT_IP, "2001:db8::1"), Ok(Cow::Borrowed("2001:db8::/64")));
    for (name, value) in [("", "v"), ("a b", "v"), ("u", ""), ("u", "a\tb"), (PATH, "a"), (CLIENT_IP, "me")] {
        assert!(entry(name, value).is_err(), "{name:?} {value:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered(body in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(parse_check(&body, P64()).is_err());
        prop_assert!(parse_checks(&body, P64()).is_err());
    }

    #[test]
    fn damaged_bodies_never_lose_their_meaning(at in 0usize..80, byte in any::<u8>()) {
        let whole = br#"{"domain":"d","descriptors":{"user_id":"u1","path":"/v1"},"cost":1,"peek":false}"#;
        let mut body = whole.to_vec();
        body[at] = byte;
        if let Ok(request) = parse_check(&body, P64()) {
            prop_assert!((1..=2).contains(&request.entries.len()) && (1..=9).contains(&request.cost));
            prop_assert!(request.domain.len() == 1 && !request.peek);
        }
    }

    #[test]
    fn valid_bodies_come_back(
        values in prop::collection::btree_map("[a-zA-Z0-9_.:-]{1,64}", "[^\\pC]{1,40}", 1..8),
        cost in 1..=MAX_COST, peek in any::<bool>(), domain in "[^\\pC]{1,32}", key in "[^\\pC]{1,32}",
    ) {
        prop_assume!(!values.contains_key(PATH) && !values.contains_key(CLIENT_IP));
        let body = json!({
            "domain": domain, "descriptors": values, "cost": cost, "peek": peek, "idempotency_key": key,
        })
        .to_string();
        let request = check(&body).unwrap();
        prop_assert_eq!(pairs(&request), values.into_iter().collect::<Vec<_>>());
        prop_assert_eq!((&*request.domain, request.cost, request.peek), (&*domain, cost, peek));
        prop_assert_eq!(request.idempotency_key.as_deref(), Some(&*key));
    }
}
