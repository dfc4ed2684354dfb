//! Wrong files, with every error that they give: tests/data/bad_foreign.txt, where a line with `=>` is one expected error of
//! the file before it.

use tidegate_config::{Defaults, Format, parse_rules, parse_rules_with};

fn findings(text: &str) -> Vec<String> {
    let shown = |findings: &[tidegate_config::Finding]| {
        findings.iter().map(|finding| finding.to_string().trim_start_matches("f:").to_owned()).collect()
    };
    match parse_rules(text, "f") {
        Ok(parsed) => shown(&parsed.warnings),
        Err(errors) => shown(&errors.errors),
    }
}

#[test]
fn every_wrong_file_says_where_and_what_to_do() {
    let mut cases: Vec<(String, String, Vec<String>)> = Vec::new();
    for line in include_str!("../data/bad_foreign.txt").lines() {
        match (line.strip_prefix("### "), line.strip_prefix("=> ")) {
            (Some(title), _) => cases.push((title.to_owned(), String::new(), Vec::new())),
            (_, Some(error)) => cases.last_mut().unwrap().2.push(error.to_owned()),
            _ => cases.last_mut().unwrap().1.push_str(&format!("{line}\n")),
        }
    }
    assert!(cases.len() > 20);
    let wrong: Vec<String> = cases
        .iter()
        .filter(|(_, text, expected)| findings(text) != *expected)
        .map(|(title, text, _)| format!("### {title}\n{text}=> {}\n", findings(text).join("\n=> ")))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

#[test]
fn a_format_that_is_told_is_not_found_out() {
    let envoy = "domain: d\ndescriptors: []\n";
    for (format, message) in [
        (Format::Tidegate, "a rule file has no field 'domain'"),
        (Format::Limitador, "expected a list, found a map"),
    ] {
        let defaults = Defaults { format, ..Defaults::default() };
        let errors = parse_rules_with(envoy, "f", &defaults).expect_err("another format");
        assert!(errors.errors[0].message.contains(message), "{errors}");
    }
    assert_eq!(parse_rules(envoy, "f").unwrap().format, Format::Envoy);
    assert_eq!(parse_rules("version: 1\ndomains: []\n", "f").unwrap().format, Format::Tidegate);
    for format in Format::ALL {
        assert_eq!(format.name().parse(), Ok(format));
    }
    assert!("yaml".parse::<Format>().is_err());
}
