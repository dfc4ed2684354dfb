//! The files in `corpus/`, each with the calls in the file of its name that ends in `.calls`:
//!
//! ```text
//! # a comment
//! domain: key=value key=value ; key=value -> ok over = ok x 3
//! + 60
//! ```
//!
//! The descriptors of a call, then what each is told and what the call is told, as many times as it is made. `+` lets seconds
//! pass.

use std::path::{Path, PathBuf};

use tidegate_config::{Format, parse_rules, rules_yaml};
use tidegate_core::rule::model::Rules;

use crate::site::{Descriptor, Site};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/corpus")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Makes the calls of a script, and says how many there were.
fn play(rules: Rules, script: &str, whose: &str) -> usize {
    let mut site = Site::open(rules);
    let mut calls = 0;
    for (number, line) in (1..).zip(script.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(seconds) = line.strip_prefix('+') {
            site.pass(seconds.trim().parse().unwrap());
            continue;
        }
        let (asked, told) = line.split_once(" -> ").expect("what comes of it");
        let (domain, descriptors) = asked.split_once(": ").expect("a domain");
        let descriptors: Vec<Descriptor<'_>> = descriptors
            .split(" ; ")
            .map(|one| one.split_whitespace().map(|entry| entry.split_once('=').expect("an entry")).collect())
            .collect();
        let (told, times) = told.split_once(" x ").unwrap_or((told, "1"));
        let (each, call) = told.split_once(" = ").unwrap_or((told, told));
        let expected: Vec<bool> = each.split_whitespace().map(is_over).collect();
        for time in 1..=times.trim().parse::<usize>().unwrap() {
            let answer = site.call(domain, &descriptors);
            let place = format!("{whose}, line {number}, time {time}: {line}");
            assert_eq!(answer, (expected.clone(), is_over(call.trim())), "{place}");
            calls += 1;
        }
    }
    calls
}

fn is_over(word: &str) -> bool {
    match word {
        "ok" => false,
        "over" => true,
        other => panic!("'{other}' is neither ok nor over"),
    }
}

#[test]
fn files_as_people_have_them_decide_as_they_do_there_and_when_they_are_converted() {
    let mut names: Vec<PathBuf> = std::fs::read_dir(corpus())
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    names.sort();
    let (mut of_envoy, mut of_limitador) = (0, 0);
    for path in names {
        let (name, text) = (path.display().to_string(), read(&path));
        let script = read(&path.with_extension("calls"));
        let parsed = parse_rules(&text, &name).unwrap_or_else(|errors| panic!("{errors}"));
        match parsed.format {
            Format::Envoy => of_envoy += 1,
            Format::Limitador => of_limitador += 1,
            other => panic!("{name} is taken for one of {other}"),
        }
        let converted = rules_yaml(&parsed.rules);
        let reread =
            parse_rules(&converted, "converted").unwrap_or_else(|errors| panic!("{errors}\n{converted}"));
        assert_eq!(reread.format, Format::Tidegate);
        let calls = play(parsed.rules, &script, &name);
        assert!(calls > 10, "{name} has {calls} calls");
        assert_eq!(play(reread.rules, &script, &format!("{name}, converted")), calls);
    }
    assert!(of_envoy >= 5 && of_limitador >= 3, "{of_envoy} and {of_limitador} files");
}
