use super::*;
use crate::rooms::web::{LanguageOptions, Languages};

fn english() -> std::sync::Arc<Language> {
    Languages::load(&LanguageOptions::default()).unwrap().choose(None).unwrap().clone()
}

#[test]
fn waits_are_said_in_the_unit_that_fits() {
    let said = |from_s, to_s| wait(&english(), Some(EstimatedWait { from_s, to_s, reason: None }));
    let cases = [
        (0, 0, "less than a minute"),
        (10, 59, "less than a minute"),
        (10, 60, "about 1 minute"),
        (30, 90, "1 to 2 minutes"),
        (300, 600, "5 to 10 minutes"),
        (600, 601, "10 to 11 minutes"),
        (3_000, 5_399, "50 to 90 minutes"),
        (5_400, 5_400, "1 to 2 hours"),
        (7_200, 10_000, "2 to 3 hours"),
        (9_000, 7_000, "about 2 hours"),
        (0, 86_400, "more than a day"),
        (u64::MAX, u64::MAX, "more than a day"),
    ];
    for (from_s, to_s, wanted) in cases {
        assert_eq!(said(from_s, to_s), wanted, "{from_s} to {to_s}");
    }
    assert_eq!(wait(&english(), None), "not known yet");
}

#[test]
fn clocks_round_up_and_never_fail() {
    let cases = [
        (0, "0:00"),
        (1, "0:01"),
        (20_000, "0:20"),
        (61_000, "1:01"),
        (3_723_000, "1:02:03"),
        (90_000_000, "1 day 1:00:00"),
    ];
    for (left_ms, wanted) in cases {
        assert_eq!(clock(&english(), left_ms), wanted);
    }
    assert!(clock(&english(), u64::MAX).contains("days"));
}

#[test]
fn sessions_warn_in_their_last_quarter() {
    let session = |length: f64, left_ms| Session {
        started_at: 100.0,
        ends_at: 100.0 + length,
        left_ms,
        heartbeat_ms: 1,
    };
    for (length, left_ms, warns) in [
        (40.0, 10_000, true),
        (40.0, 10_001, false),
        (900.0, 120_000, true),
        (900.0, 120_001, false),
        (200.0, 50_000, true),
        (-5.0, 10_000, true),
        (f64::NAN, 10_001, false),
    ] {
        assert_eq!(is_nearly_over(session(length, left_ms)), warns, "{length} s, {left_ms} ms left");
    }
}

#[test]
fn only_plain_addresses_become_links() {
    for link in
        ["/", "/shop?a=1#b", "https://shop.example", "http://127.0.0.1:8080/x", "https://shop.example?x"]
    {
        assert!(is_link(link), "{link}");
    }
    let long = format!("/{}", "x".repeat(MAX_LINK_BYTES));
    for wrong in [
        "",
        "shop",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        " javascript:alert(1)",
        "data:text/html,x",
        "JaVaScRiPt:alert(1)",
        "java\tscript:alert(1)",
        "https:evil.example",
        "https:///evil.example",
        "https://user@evil.example",
        "https://user:pass@evil.example/",
        "/x\ny",
        "/x y",
        "/\u{2028}",
        "ftp://x",
        "https://",
        &long,
    ] {
        assert!(!is_link(wrong), "{wrong}");
    }
}

#[test]
fn pages_without_scripts_reload_within_bounds() {
    for (poll_after_ms, wanted) in [(0, 5), (2_000, 5), (5_001, 6), (60_000, 60), (u64::MAX, 300)] {
        assert_eq!(reload_s(poll_after_ms), wanted);
    }
}
