//! The text report, line by line.

use super::super::report::{Outcome, Report, RuleSample, Sample};
use super::super::stream::{DamagedFile, ReadStats, UnreadableLine};
use super::*;

const PLAIN: TextOptions = TextOptions { colour: Colour::Off, charset: Charset::Ascii };
const START: u64 = 1_431_857_100_000_000; // 2015-05-17T10:05:00Z

fn written(summary: &Summary, options: TextOptions) -> String {
    let mut out = Vec::new();
    write_text(summary, options, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Ten seconds, 200 requests each; the later half of the last 100 of each second is denied.
fn example() -> Summary {
    let mut report = Report::new();
    report.declare_rule("shop", "per-user");
    report.declare_rule("shop", "unused");
    for number in 0..2_000_u64 {
        let allowed = number % 200 < 150;
        let key = if allowed { "jane" } else { "j\u{1b}[2Jöe" };
        let verdict = RuleSample {
            domain: "shop",
            rule: "per-user",
            key,
            allowed,
            shadow: false,
            binding: !allowed,
            remaining: 149_u64.saturating_sub(number % 200),
        };
        let outcome = if allowed { Outcome::Allowed } else { Outcome::Denied };
        report.record(&Sample { at_us: START + number * 5_000, outcome, verdicts: &[verdict] });
    }
    let unreadable = UnreadableLine { file: "a.log".into(), line: 7, reason: "torn".into() };
    let damaged = DamagedFile { file: "b.gz".into(), lines: 1_000, reason: "cut".into() };
    let stats = ReadStats {
        files: 2,
        lines: 2_004,
        blank: 1,
        unreadable: 3,
        late: 0,
        first_unreadable: vec![unreadable],
        damaged: vec![damaged],
    };
    report.summary(&stats, 10)
}

#[test]
fn the_whole_report() {
    let expected = r"Replay of 2,000 requests, 2015-05-17 10:05:00 to 2015-05-17 10:05:09 UTC (9s)

Requests
  allowed  1,500  75.00 %
  denied     500  25.00 %

Rules
  DOMAIN  RULE      MATCHED  ALLOWED  DENIED           BINDING  SHADOW  KEYS  LOWEST  FIRST DENIAL
  shop    per-user    2,000    1,500     500  25.00 %      500       0     2       0  2015-05-17 10:05:00
  shop    unused          0        0       0                 0       0     0          never
  Matched by no request: shop/unused. Check what they match and which entries the log has.

Keys denied most
  DENIED   OF            RULE           KEY
     500  500  100.00 %  shop/per-user  j\u{1b}[2J\u{f6}e

Over time, 1s a column
  200 |xxxxxxxxxx
      |xxxxxxxxxx
      |##########
      |##########
      |##########
      |##########
      |##########
      |##########
      2015-05-17 10:05:00  2015-05-17 10:05:09
      # let through  x denied

Lines
  2,004 lines in 2 logs; 3 unreadable; 1 blank
  a.log:7: torn
  and 2 more
  b.gz is damaged after 1,000 lines and was read no further: cut
";
    assert_eq!(written(&example(), PLAIN), expected);
}

#[test]
fn colours_only_where_wanted_and_nothing_else_changes() {
    let summary = example();
    let coloured = written(&summary, TextOptions { colour: Colour::On, charset: Charset::Ascii });
    assert!(coloured.contains("\x1b[32m##########\x1b[0m"));
    let mut plain = coloured;
    for code in ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m"] {
        plain = plain.replace(code, "");
    }
    assert_eq!(plain, written(&summary, PLAIN));
    assert!(!plain.contains('\x1b'), "a key's control characters never reach the terminal");
}

#[test]
fn block_characters_where_wanted() {
    let text = written(&example(), TextOptions { colour: Colour::Off, charset: Charset::Unicode });
    assert!(text.contains("200 │░░░░░░░░░░\n") && text.contains("│██████████\n"), "{text}");
    assert!(text.contains("j\\u{1b}[2Jöe"));
    assert!(written(&example(), PLAIN).is_ascii());
}

#[test]
fn no_requests() {
    let text = written(&Report::new().summary(&ReadStats { files: 1, ..ReadStats::default() }, 10), PLAIN);
    assert_eq!(text, "No request in the logs\n\nLines\n  0 lines in 1 log\n");
}

#[test]
fn numbers_for_people() {
    for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
        assert_eq!(grouped(number), text);
    }
    assert_eq!(grouped(u64::MAX), "18,446,744,073,709,551,615");
    for (part, whole, text) in [
        (1, 3, "33.33 %"),
        (1, 1, "100.00 %"),
        (2, 3, "66.67 %"),
        (999_999, 1_000_000, ">99.99 %"),
        (1, 1_000_000, "<0.01 %"),
        (0, 5, "0.00 %"),
        (0, 0, ""),
        (u64::MAX, u64::MAX, "100.00 %"),
    ] {
        assert_eq!(percent(part, whole), text);
    }
}

#[test]
fn names_are_safe_to_show() {
    let long = "ä".repeat(100);
    assert_eq!(shown(&long, Charset::Unicode), "ä".repeat(60) + "…");
    assert_eq!(shown("a\u{202e}b\nc", Charset::Unicode), "a\\u{202e}b\\u{a}c");
    assert!(shown(&long, Charset::Ascii).ends_with("..."));
    assert_eq!(shown(&"x".repeat(60), Charset::Ascii), "x".repeat(60));
}
