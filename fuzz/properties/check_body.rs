//! Any body is read or refused with a reason, and a request that was read keeps every documented maximum, reads the
//! same when it is written out again, and means the same alone, in a list and as a refund.

use std::borrow::Cow;

use serde_json::{Value, json};
use tidegate_wire::check::{
    BodyError, CLIENT_IP, CheckRequest, MAX_CHECK_BODY_BYTES, MAX_CHECKS, MAX_CHECKS_BODY_BYTES, MAX_COST,
    MAX_DOMAIN_BYTES, MAX_ENTRIES, MAX_IDEMPOTENCY_KEY_BYTES, MAX_NAME_BYTES, MAX_VALUE_BYTES, PATH,
    RefundRequest, parse_check, parse_checks, parse_refund,
};
use tidegate_wire::identity::{Ipv6Prefix, canonical_ip_key};
use tidegate_wire::path::normalize_path;
use tidegate_wire::problem::Problem;
use tidegate_wire::room::token::MAX_TOKEN_BYTES;

/// The longest text of an error, in bytes: a caller's own name of 64 characters, the longest list of fields, a place.
const MAX_ERROR_BYTES: usize = 512;

pub(crate) fn holds(body: &[u8]) {
    let prefix = Ipv6Prefix::default();
    let check = parse_check(body, prefix);
    match &check {
        Ok(check) => accepted(check, body, prefix),
        Err(error) => refused(error, body, MAX_CHECK_BODY_BYTES),
    }
    match parse_refund(body, prefix) {
        Ok(RefundRequest { domain, entries, cost, idempotency_key }) => {
            let refund = CheckRequest {
                domain,
                entries,
                cost,
                peek: false,
                idempotency_key,
                ticket: None,
                pass: None,
            };
            assert_eq!(check, Ok(refund), "a refund reads like the check without peek");
        }
        Err(error) => refused(&error, body, MAX_CHECK_BODY_BYTES),
    }
    match parse_checks(body, prefix) {
        Ok(checks) => {
            assert!((1..=MAX_CHECKS).contains(&checks.len()));
            assert!(check.is_err(), "a list is no check");
            checks.iter().for_each(|check| within_maxima(check, prefix));
        }
        Err(error) => refused(&error, body, MAX_CHECKS_BODY_BYTES),
    }
}

fn accepted(check: &CheckRequest<'_>, body: &[u8], prefix: Ipv6Prefix) {
    assert!(body.len() <= MAX_CHECK_BODY_BYTES);
    within_maxima(check, prefix);

    let written = written(check);
    let again = parse_check(written.as_bytes(), prefix);
    assert!(
        again.is_ok_and(|again| is_same(&again, check)),
        "it reads differently when written out: {written}"
    );

    let list = [b"{\"checks\":[", body, b"]}"].concat();
    let listed = parse_checks(&list, prefix);
    assert!(
        matches!(listed.as_deref(), Ok([only]) if is_same(only, check)),
        "it reads differently in a list: {written}"
    );
}

/// Equality of requests that were read from different bodies, whose lifetimes the entries hold fast.
fn is_same(one: &CheckRequest<'_>, other: &CheckRequest<'_>) -> bool {
    let CheckRequest { domain, entries, cost, peek, idempotency_key, ticket, pass } = one;
    let same_entries = entries.len() == other.entries.len()
        && entries.iter().zip(&other.entries).all(|(one, other)| one.0 == other.0 && one.1 == other.1);
    same_entries
        && *domain == other.domain
        && (*cost, *peek) == (other.cost, other.peek)
        && idempotency_key.as_deref() == other.idempotency_key.as_deref()
        && (ticket.as_deref(), pass.as_deref()) == (other.ticket.as_deref(), other.pass.as_deref())
}

fn within_maxima(check: &CheckRequest<'_>, prefix: Ipv6Prefix) {
    assert!((1..=MAX_DOMAIN_BYTES).contains(&check.domain.len()));
    assert!((1..=MAX_COST).contains(&check.cost));
    if let Some(key) = &check.idempotency_key {
        assert!((1..=MAX_IDEMPOTENCY_KEY_BYTES).contains(&key.len()));
    }
    for token in check.ticket.iter().chain(&check.pass) {
        assert!((1..=MAX_TOKEN_BYTES).contains(&token.len()));
    }
    assert!((1..=MAX_ENTRIES).contains(&check.entries.len()));
    for (index, (name, value)) in check.entries.iter().enumerate() {
        assert!((1..=MAX_NAME_BYTES).contains(&name.len()));
        assert!((1..=MAX_VALUE_BYTES).contains(&value.len()));
        assert!(!value.contains(char::is_control), "{value:?}");
        assert!(check.entries.iter().skip(index + 1).all(|(other, _)| other != name), "{name} stands twice");
        match &**name {
            PATH => assert!(matches!(normalize_path(value), Ok(Cow::Borrowed(same)) if same == value)),
            CLIENT_IP => assert_eq!(canonical_ip_key(value, prefix).as_deref(), Some(&**value)),
            _ => {}
        }
    }
}

/// The request as a body. The `client_id` field comes out as a descriptor, which means the same.
fn written(check: &CheckRequest<'_>) -> String {
    // Not through a JSON map, which would lose the order of the entries.
    let entry = |(name, value): &(Cow<'_, str>, Cow<'_, str>)| format!("{}:{}", json!(name), json!(value));
    let entries: Vec<String> = check.entries.iter().map(entry).collect();
    let key = check.idempotency_key.as_ref().map(|key| format!(",\"idempotency_key\":{}", json!(key)));
    let token = |name: &str, token: &Option<Cow<'_, str>>| {
        token.as_ref().map_or_else(String::new, |token| format!(",\"{name}\":{}", json!(token)))
    };
    format!(
        "{{\"domain\":{},\"descriptors\":{{{}}},\"cost\":{},\"peek\":{}{}{}{}}}",
        json!(check.domain),
        entries.join(","),
        check.cost,
        check.peek,
        key.unwrap_or_default(),
        token("ticket", &check.ticket),
        token("pass", &check.pass)
    )
}

fn refused(error: &BodyError, body: &[u8], max_bytes: usize) {
    let text = error.to_string();
    assert!(text.len() <= MAX_ERROR_BYTES && !text.contains(char::is_control), "{text:?}");
    assert_eq!(matches!(error, BodyError::TooLarge { .. }), body.len() > max_bytes, "{text}");
    if let BodyError::Malformed { .. } = error {
        assert!(serde_json::from_slice::<Value>(body).is_err(), "JSON is called malformed: {text}");
    }
    assert!(!Problem::from(error.clone()).to_json().is_empty());
}
