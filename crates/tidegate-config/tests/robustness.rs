//! Whatever the text, reading it gives rules or errors, never a panic, and every error points into the text.

#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tidegate_config::{Style, parse_rules};

const VALID: &str = include_str!("../../../examples/rules/payments.yaml");

/// Pieces that mean something in a rule file.
const PIECES: &[&str] = &[
    "\n",
    "  ",
    "\t",
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "#",
    "&a ",
    "*a",
    "<<: *a",
    "'",
    "\"",
    "\\",
    "|",
    ">",
    "---",
    "%",
    "!",
    "!!str ",
    "~",
    "null",
    "true",
    "yes",
    "0",
    "-1",
    "1_000",
    "1e999",
    ".nan",
    "99999999999999999999",
    "60",
    "60s",
    "0s",
    "20%",
    "101%",
    "*",
    "/a/{b}",
    "//",
    "name",
    "rules",
    "key",
    "match",
    "limit",
    "\u{feff}",
    "\u{0}",
    "é",
    "\u{2028}",
    "? ",
];

/// One change of a text: at a place (in thousandths of it), remove some bytes and put a piece there.
fn change() -> impl Strategy<Value = (usize, usize, &'static str)> {
    (0..1_000_usize, 0..40_usize, prop::sample::select(PIECES))
}

fn changed(text: &str, changes: &[(usize, usize, &str)]) -> String {
    let mut text = text.to_owned();
    for (place, removed, piece) in changes {
        let start = text.floor_char_boundary(text.len() * place / 1_000);
        let end = text.floor_char_boundary((start + removed).min(text.len())).max(start);
        text.replace_range(start..end, piece);
    }
    text
}

fn check(text: &str) {
    match parse_rules(text, "rules.yaml") {
        Ok(parsed) => {
            for warning in &parsed.warnings {
                assert!(!warning.render(text, Style::Colour).is_empty());
            }
            tidegate_core::rule::RuleSet::compile(parsed.rules).expect("what was read also compiles");
        }
        Err(errors) => {
            assert!(!errors.errors.is_empty());
            assert!(!errors.render(text, Style::Plain).is_empty());
            let lines = u32::try_from(text.split(['\n', '\r']).count()).expect("a short text");
            for error in &errors.errors {
                assert!(error.line >= 1 && error.line <= lines + 1, "{error}");
                assert!(!error.message.is_empty() && !error.remedy.is_empty(), "{error}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, rng_seed: RngSeed::Fixed(20_261), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_file_never_panics(changes in vec(change(), 1..6)) {
        check(&changed(VALID, &changes));
    }

    #[test]
    fn any_text_never_panics(text in "\\PC{0,200}") {
        check(&text);
    }

    #[test]
    fn any_pieces_never_panic(pieces in vec(prop::sample::select(PIECES), 0..60)) {
        check(&format!("version: 1\ndomains:\n{}", pieces.concat()));
        check(&pieces.concat());
    }

    #[test]
    fn any_value_of_any_field_never_panics(
        field in prop::sample::select(&[
            "name", "match", "only", "otherwise", "key", "algorithm", "limit", "window", "burst", "permit_ttl", "tiers",
            "reserve", "mode", "on_store_failure", "queue",
        ][..]),
        pieces in vec(prop::sample::select(PIECES), 1..8),
    ) {
        let mut rule = String::from("version: 1\ndomains:\n  - name: d\n    rules:\n      - name: r\n");
        for (name, value) in [("key", "[]"), ("limit", "5"), ("window", "1s")] {
            if name != field {
                rule += &format!("        {name}: {value}\n");
            }
        }
        check(&format!("{rule}        {field}: {}\n", pieces.concat()));
    }
}
