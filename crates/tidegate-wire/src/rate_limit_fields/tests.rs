//! Goal: what we write is a structured field and never makes a client come early. Method: examples, and properties
//! with a small reader of the grammar.

use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn policy(items: &[PolicyItem<'_>]) -> String {
    let mut out = Vec::new();
    FieldNames::DRAFT_11.write_policy(&mut out, items.iter().copied());
    String::from_utf8(out).unwrap()
}

fn rate_limit(items: &[LimitItem<'_>]) -> String {
    let mut out = Vec::new();
    FieldNames::DRAFT_11.write_rate_limit(&mut out, items.iter().copied());
    String::from_utf8(out).unwrap()
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

/// Reads one name with integer parameters, and undoes its escapes.
fn read_item(text: &str) -> (String, Vec<(String, u64)>, &str) {
    let mut rest = text.strip_prefix('"').expect("opening quote");
    let mut name = Vec::new();
    loop {
        let byte = rest.as_bytes()[0];
        assert!((0x20..0x7f).contains(&byte), "not printable ASCII: {byte:#x}");
        rest = &rest[1..];
        match byte {
            b'"' => break,
            b'\\' => {
                assert!(rest.starts_with(['"', '\\']));
                name.push(rest.as_bytes()[0]);
                rest = &rest[1..];
            }
            byte => name.push(byte),
        }
    }
    let name = percent_encoding::percent_decode(&name).decode_utf8().unwrap().into_owned();
    let end = rest.find(", ").unwrap_or(rest.len());
    let parameters = rest[..end].split(';').skip(1).map(|parameter| {
        let (key, value) = parameter.split_once('=').expect("a value");
        assert!((1..=15).contains(&value.len()), "not an sf-integer: {value}");
        (key.to_owned(), value.parse().unwrap())
    });
    (name, parameters.collect(), rest[end..].trim_start_matches(", "))
}

#[test]
fn examples_of_the_draft() {
    let burst = PolicyItem { name: "burst", limit: 100, window_us: 60_000_000 };
    let daily = PolicyItem { name: "daily", limit: 1000, window_us: 86_400_000_000 };
    assert_eq!(policy(&[burst]), r#""burst";q=100;w=60"#);
    assert_eq!(policy(&[burst, daily]), r#""burst";q=100;w=60, "daily";q=1000;w=86400"#);
    let left = LimitItem { name: "per-user", remaining: 19, replenish_after_us: Some(2_000_001) };
    let full = LimitItem { name: "all", remaining: 5, replenish_after_us: None };
    assert_eq!(rate_limit(&[left]), r#""per-user";r=19;t=3"#);
    assert_eq!(rate_limit(&[left, full]), r#""per-user";r=19;t=3, "all";r=5"#);
    assert_eq!((policy(&[]), rate_limit(&[])), (String::new(), String::new()));
    assert_eq!(FieldNames::DRAFT_11.policy, "RateLimit-Policy");
    assert_eq!(FieldNames::DRAFT_11.rate_limit, "RateLimit");
}

#[test]
fn windows_round_up_to_whole_seconds() {
    for (window_us, seconds) in
        [(0, 1), (1, 1), (999_999, 1), (1_000_000, 1), (1_000_001, 2), (u64::MAX, 18_446_744_073_710_u64)]
    {
        let item = PolicyItem { name: "a", limit: 1, window_us };
        assert_eq!(policy(&[item]), format!(r#""a";q=1;w={seconds}"#));
    }
}

#[test]
fn names_are_escaped() {
    let name = |name| policy(&[PolicyItem { name, limit: 1, window_us: 1 }]);
    assert_eq!(name(r#"a"b\c"#), r#""a\"b\\c";q=1;w=1"#);
    assert_eq!(name("50%"), r#""50%25";q=1;w=1"#);
    assert_eq!(name("é\r\n"), r#""%C3%A9%0D%0A";q=1;w=1"#);
    assert_eq!(name("a;q=9, \"b"), r#""a;q=9, \"b";q=1;w=1"#);
}

#[test]
fn numbers_and_lists_have_a_maximum() {
    let item = LimitItem { name: "a", remaining: u64::MAX, replenish_after_us: Some(0) };
    assert_eq!(rate_limit(&[item]), r#""a";r=999999999999999;t=0"#);
    let field = rate_limit(&[item; MAX_FIELD_ITEMS + 1]);
    assert_eq!(field.matches(";r=").count(), MAX_FIELD_ITEMS);
}

#[test]
fn retry_after_and_legacy_fields() {
    let retry = |after, replenish| written(|out| write_retry_after(out, after, replenish));
    assert_eq!(retry(0, None), "1");
    assert_eq!(retry(1_000_000, None), "1");
    assert_eq!(retry(1_000_001, None), "2");
    assert_eq!(retry(3_000_000, Some(7_500_000)), "8");
    assert_eq!(retry(9_000_000, Some(7_500_000)), "9");
    assert_eq!(written(|out| write_legacy_units(out, 100)), "100");
    assert_eq!(written(|out| write_legacy_reset(out, 0)), "0");
    assert_eq!(written(|out| write_legacy_reset(out, 59_000_001)), "60");
}

#[test]
fn writers_append() {
    let mut out = b"kept ".to_vec();
    write_legacy_units(&mut out, 1);
    assert_eq!(out, b"kept 1");
}

proptest! {
    #[test]
    fn fields_read_back(names in prop::collection::vec(any::<String>(), 1..4), left in any::<u64>(), t in any::<Option<u64>>()) {
        let items: Vec<LimitItem<'_>> =
            names.iter().map(|name| LimitItem { name, remaining: left, replenish_after_us: t }).collect();
        let field = rate_limit(&items);
        prop_assert!(HeaderValue::from_str(&field).is_ok());
        let mut rest = field.as_str();
        for name in &names {
            let (read, parameters, after) = read_item(rest);
            prop_assert_eq!(&read, name);
            let mut want = vec![("r".to_owned(), left.min(MAX_FIELD_INTEGER))];
            want.extend(t.map(|t| ("t".to_owned(), t.div_ceil(1_000_000))));
            prop_assert_eq!(parameters, want);
            rest = after;
        }
        prop_assert_eq!(rest, "");
    }

    #[test]
    fn retry_after_is_never_early(after in 0..u64::MAX / 2, replenish in any::<Option<u32>>()) {
        let seconds = retry_after_seconds(after, replenish.map(u64::from));
        prop_assert!(seconds >= 1 && u128::from(seconds) * 1_000_000 >= u128::from(after));
        prop_assert!(seconds >= ceil_seconds(replenish.map_or(0, u64::from)));
        prop_assert!(seconds <= ceil_seconds(after.max(replenish.map_or(0, u64::from))).max(1));
    }
}
