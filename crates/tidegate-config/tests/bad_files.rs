//! Wrong files, and exactly what is said about each: line, column, field, message and remedy.
//!
//! The cases are in tests/data. A line with `=>` is one expected error; what comes before it is the file
//! (bad_files.txt, headed by `###`) or one rule (bad_rules.txt, where `…` stands for `domains[0].rules[0]`).

#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

use tidegate_config::{MAX_FINDINGS, Severity, Style, parse_rules, read_text};

/// The errors of a file, without its name.
fn errors(text: &str) -> Vec<String> {
    match parse_rules(text, "rules.yaml") {
        Ok(parsed) => vec![format!("no error: {parsed:?}")],
        Err(errors) => errors
            .errors
            .iter()
            .map(|error| {
                assert_eq!(error.severity, Severity::Error);
                let line = error.to_string();
                line.strip_prefix("rules.yaml:").expect("every error names the file").to_owned()
            })
            .collect(),
    }
}

/// Cuts a file of cases into (what is wrong, expected errors).
fn cases(data: &str) -> Vec<(String, Vec<String>)> {
    let mut cases: Vec<(String, Vec<String>)> = Vec::new();
    for line in data.lines() {
        match (line.strip_prefix("=> "), cases.last_mut()) {
            (Some(error), Some((_, expected))) => expected.push(error.to_owned()),
            (None, Some((text, expected))) if expected.is_empty() => *text += &format!("{line}\n"),
            _ => cases.push((format!("{line}\n"), Vec::new())),
        }
    }
    cases
}

#[test]
fn every_wrong_file_says_where_and_what_to_do() {
    let cases = cases(include_str!("data/bad_files.txt"));
    assert!(cases.len() > 20);
    for (case, expected) in cases {
        let (title, text) = case.split_once('\n').expect("a title");
        assert_eq!(errors(text), expected, "{title}");
    }
}

#[test]
fn every_wrong_rule_says_where_and_what_to_do() {
    let cases = cases(include_str!("data/bad_rules.txt"));
    assert!(cases.len() > 80);
    for (rule, expected) in cases {
        let rule = rule.trim_end();
        let text = format!("version: 1\ndomains:\n  - name: d\n    rules:\n      - {{ {rule} }}\n");
        let expected: Vec<String> =
            expected.iter().map(|line| line.replacen('…', "domains[0].rules[0]", 1)).collect();
        assert_eq!(errors(&text), expected, "{rule}");
    }
}

#[test]
fn too_much_of_anything_is_refused() {
    let rule = |fields: &str| {
        format!(
            "version: 1\ndomains:\n  - name: d\n    rules:\n      - {{ name: r, key: [], limit: 5, window: 1s, {fields} }}\n"
        )
    };
    let many =
        |count: usize, item: &dyn Fn(usize) -> String| (0..count).map(item).collect::<Vec<_>>().join(", ");
    let tiers = rule(&format!("tiers: {{ {} }}", many(65, &|i| format!("t{i}: {{ limit: 1 }}"))));
    let conditions = rule(&format!("match: {{ {} }}", many(17, &|i| format!("e{i}: x"))));
    let values = rule(&format!("match: {{ a: [{}] }}", many(1025, &|i| format!("v{i}"))));
    let prefixes = rule(&format!("match: {{ a: {{ not: [{}] }} }}", many(1025, &|i| format!("v{i}*"))));
    let excepted = rule(&format!("match: {{ a: {{ not: [{}] }} }}", many(100_001, &|i| format!("v{i}"))));
    let reserve = rule(&format!("reserve: {{ {} }}", many(17, &|i| format!("p{i}: 1%"))));
    let segments = rule(&format!("match: {{ path: '{}/{{id}}' }}", "/a".repeat(32)));
    let value = rule(&format!("match: {{ a: {} }}", "x".repeat(1025)));
    let entry = rule(&format!("match: {{ {}: x }}", "e".repeat(129)));
    let domains =
        format!("version: 1\ndomains: [{}]\n", many(10_001, &|i| format!("{{ name: d{i}, rules: [] }}")));
    let rules =
        format!("version: 1\ndomains: [{{ name: d, rules: [{}] }}]\n", many(100_001, &|_| "1".to_owned()));
    for (text, message) in [
        (tiers, "there are 65 tiers; write at most 64"),
        (conditions, "there are 17 conditions; write at most 16"),
        (values, "there are 1025 values; write at most 1024"),
        (prefixes, "there are 1025 prefixes and templates; write at most 1024"),
        (excepted, "there are 100001 values; write at most 100000"),
        (reserve, "there are 17 priorities; write at most 16"),
        (segments, "a path template has at most 32 segments; write a prefix such as /users/*"),
        (value, "the value has 1025 bytes; use at most 1024"),
        (entry, "the name of the entry has 129 bytes; use at most 128"),
        (domains, "there are 10001 domains; use at most 10000"),
        (rules, "there are more than 100000 rules in the file; use tiers or fewer rules"),
        ("#".repeat((16 << 20) + 1), "the file is larger than 16 MiB"),
        (format!("version: 1\ndomains: {}{}\n", "[".repeat(40), "]".repeat(40)), "nested more than 32 deep"),
    ] {
        let found = parse_rules(&text, "rules.yaml").expect_err(message);
        assert_eq!(found.errors.len(), 1, "{found}");
        assert!(found.to_string().contains(message), "{found}\nshould say: {message}");
    }
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = String::from("version: 1\nx0: &x0 [a, a, a, a, a, a, a, a, a, a]\n");
    for level in 1..10 {
        let below = level - 1;
        let ten = vec![format!("*x{below}"); 10].join(", ");
        text += &format!("x{level}: &x{level} [{ten}]\n");
    }
    let found = parse_rules(&text, "rules.yaml").expect_err("a bomb");
    assert!(found.to_string().contains("aliases repeat more than 1000000 values"), "{found}");
}

#[test]
fn at_most_a_hundred_errors_are_worded_and_the_rest_is_counted() {
    let mut text = String::from("version: 1\ndomains:\n  - name: d\n    rules:\n");
    for _ in 0..MAX_FINDINGS + 20 {
        text += "      - 1\n";
    }
    let found = parse_rules(&text, "rules.yaml").expect_err("wrong rules");
    assert_eq!((found.errors.len(), found.omitted), (100, 20));
    assert_eq!(found.errors[99].line, 104);
    assert!(found.to_string().ends_with("\nand 20 more"));
    assert!(found.render(&text, Style::Plain).ends_with("\nand 20 more\n"));
}

#[test]
fn a_finding_is_drawn_with_its_line() {
    let text =
        "version: 1\ndomains:\n  - name: d\n    rules:\n      - { name: r, key: [], limit: 5, window: 60 }\n";
    let found = parse_rules(text, "rules.yaml").expect_err("no unit");
    assert_eq!(
        found.render(text, Style::Plain),
        "error: '60' has no unit\n \
         --> rules.yaml:5:47 (domains[0].rules[0].window)\n  \
         |\n\
         5 |       - { name: r, key: [], limit: 5, window: 60 }\n  \
         |                                               ^^\n  \
         = help: write 60s for seconds, or use ms, m, h, d or w\n"
    );
    let colour = found.render(text, Style::Colour);
    assert!(colour.starts_with("\x1b[1;31merror\x1b[0m: '60' has no unit\n"), "{colour:?}");
}

#[test]
fn drawing_cuts_long_lines_and_keeps_control_characters_from_the_terminal() {
    let padding = "x".repeat(300);
    let text = format!("version: 1\ndomains: [] # \u{1b}[2J {padding}\nmore: [{padding}, \"\\e\"]\n");
    let found = parse_rules(&text, "rules.yaml").expect_err("an unknown field");
    let drawn = found.render(&text, Style::Plain);
    assert!(!drawn.contains('\u{1b}'), "{drawn:?}");
    assert!(drawn.lines().all(|line| line.chars().count() < 130), "{drawn}");
    let bad_name = "version: 1\ndomains: [{ name: \"\\e[2J\", rules: [] }]\n";
    let found = parse_rules(bad_name, "rules.yaml").expect_err("a control character");
    assert!(!found.render(bad_name, Style::Plain).contains('\u{1b}'));
    assert!(!found.to_string().contains('\u{1b}'));
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let latin1 = folder.join("latin1.yaml");
    std::fs::write(&latin1, b"version: 1\n# caf\xe9\n").expect("a file can be written");
    let missing = folder.join("missing.yaml");
    for (path, expected) in [
        (latin1.as_path(), ":2:6: the file is not UTF-8 from here on; save it as UTF-8"),
        (missing.as_path(), ": there is no such file; check the path and its spelling"),
        (folder, ": this is a directory, not a file; name a file in it, for example rules.yaml"),
    ] {
        let error = read_text(path).expect_err(expected).to_string();
        assert_eq!(error, format!("{}{expected}", path.display()));
    }
}
