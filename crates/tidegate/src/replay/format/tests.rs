//! Finding the format, and mappings that cannot be.

use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::time::Micros;

use super::*;

const COMMON: &[u8] = br#"192.0.2.1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1"#;
const COMBINED: &[u8] = br#"192.0.2.1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 1 "-" "curl""#;
const JSON: &[u8] = br#"{"time":"2015-05-17T10:05:03Z"}"#;
const GARBAGE: &[u8] = b"Server started";

fn found(lines: &[&[u8]]) -> Result<LogFormat, Option<Unreadable>> {
    detect(lines.iter().copied(), &FieldMap::default())
}

#[test]
fn the_format_of_the_first_lines() {
    assert_eq!(found(&[JSON, GARBAGE]), Ok(LogFormat::Json));
    assert_eq!(found(&[GARBAGE, COMBINED, COMBINED]), Ok(LogFormat::Combined));
    assert_eq!(found(&[COMMON]), Ok(LogFormat::Common));
    assert_eq!(found(&[COMMON, COMBINED, COMMON]), Ok(LogFormat::Combined));
    assert_eq!(found(&[JSON, COMBINED, COMBINED]), Ok(LogFormat::Combined));
    assert_eq!(found(&[GARBAGE, b"{}"]), Err(Some(Unreadable::NoTime)));
    assert_eq!(found(&[]), Err(None));
}

#[test]
fn the_time_mapping_counts_in_finding_json() {
    let mut fields = FieldMap::default();
    fields.add("time=when").unwrap();
    let line: &[u8] = br#"{"when":1431857103}"#;
    assert_eq!(detect([line].into_iter(), &fields), Ok(LogFormat::Json));
    assert!(found(&[line]).is_err());
}

#[test]
fn mappings_that_cannot_be() {
    let long = format!("a={}", "x".repeat(257));
    let deep = format!("a={}", vec!["x"; 17].join("."));
    for text in ["", "a", "=b", "a=", "a=b..c", "a=.b", "a=b.", &long, &deep] {
        let error = FieldMap::default().add(text).unwrap_err();
        assert!(matches!(error, ReplayError::BadField { .. }), "{text}");
    }
    let mut fields = FieldMap::default();
    fields.add("a=b").unwrap();
    assert!(fields.add("a=c").unwrap_err().to_string().contains("twice"));
    for index in 1..MAX_FIELD_MAPPINGS {
        fields.add(&format!("a{index}=b")).unwrap();
    }
    assert!(matches!(fields.add("z=b"), Err(ReplayError::TooManyFields)));
    fields.offer("z");
    assert_eq!(fields.len(), MAX_FIELD_MAPPINGS);
}

#[test]
fn a_field_that_the_format_lacks() {
    let mut fields = FieldMap::default();
    fields.add("user_id=auth.id").unwrap();
    let error = LogParser::new(LogFormat::Combined, &fields, "a.log").unwrap_err().to_string();
    assert!(error.contains("a.log") && error.contains("combined") && error.contains("referer"), "{error}");
    assert!(LogParser::new(LogFormat::Json, &fields, "a.log").is_ok());
    let mut time = FieldMap::default();
    time.add("time=status").unwrap();
    assert!(LogParser::new(LogFormat::Common, &time, "a.log").is_err());
    // Nobody asked for what was only offered.
    let mut offered = FieldMap::default();
    offered.offer("user_id");
    assert!(LogParser::new(LogFormat::Common, &offered, "a.log").is_ok());
}

#[test]
fn names_are_read_back() {
    for name in LogFormat::NAMES {
        assert_eq!(name.parse::<LogFormat>().unwrap().to_string(), name);
    }
    assert!("xml".parse::<LogFormat>().unwrap_err().contains("combined"));
}

#[test]
fn what_rules_look_at_is_offered_once() {
    let quota = Quota::new(Algorithm::FixedWindow, 1, Micros::from_secs(1), None).unwrap();
    let rule = |key: &str, condition: &str| {
        Rule::new(key, Algorithm::FixedWindow, quota).with_key([key]).when(condition, "x")
    };
    let mut fields = FieldMap::default();
    fields.add("user_id=auth.user").unwrap();
    fields.offer_used_by(&[rule("user_id", "colour"), rule("lane", "client_ip")]);
    let offered: Vec<(&str, &str)> = fields.iter().map(|(entry, source)| (&**entry, source)).collect();
    let expected = [
        ("user_id", "auth.user"),
        ("tier", "tier"),
        ("priority", "priority"),
        ("colour", "colour"),
        ("lane", "lane"),
    ];
    assert_eq!(offered, expected);
}
