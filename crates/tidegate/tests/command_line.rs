//! Goal: each command answers what its help says, with the exit status it promises.
//! Method: the program itself, as a shell would call it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn tidegate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(arguments)
        .env_remove("TIDEGATE_RULES")
        .env_remove("TIDEGATE_SERVER")
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

#[test]
fn check_answers_by_its_exit_status() {
    let allowed = tidegate(&["check", "client_id=api_client"]);
    assert_eq!(allowed.status.code(), Some(0));
    let answer: Value = serde_json::from_str(&stdout(&allowed)).unwrap();
    assert_eq!((&answer["remaining"], &answer["limit"]), (&19.into(), &20.into()));
    let denied = tidegate(&["check", "--times", "21", "client_id=api_client"]);
    assert_eq!(denied.status.code(), Some(1));
    assert!(stdout(&denied).contains("retry_after_ms"));
    assert_eq!(tidegate(&["check", "--domain", "nowhere", "a=b"]).status.code(), Some(2));
    assert_eq!(tidegate(&["check", "nonsense"]).status.code(), Some(2));
}

#[test]
fn check_config_names_the_place_and_the_remedy() {
    for file in ["default.yaml", "payments.yaml", "website.yaml", "fleet.yaml"] {
        let path = root().join("examples/rules").join(file);
        let good = tidegate(&["check-config", "--strict", path.to_str().unwrap()]);
        assert_eq!(good.status.code(), Some(0), "{file}: {}", stdout(&good));
    }
    let bad = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bad-rules.yaml");
    fs::write(&bad, "version: 1\ndomains:\n  - name: d\n    rules:\n      - { name: r, key: [], limitt: 5, window: 60s }\n")
        .unwrap();
    let output = tidegate(&["check-config", bad.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.contains(":5:") && text.contains("limit"), "{text}");
    assert_eq!(tidegate(&["check-config", "/nowhere.yaml"]).status.code(), Some(2));
}

#[test]
fn explain_says_which_rules_match_and_why() {
    let text = stdout(&tidegate(&["explain", "client_id=api_client"]));
    assert!(text.contains("matches        api-client"), "{text}");
    assert!(text.contains("does not match premium-client"), "{text}");
    assert!(text.contains("it is an 'otherwise' rule, and another enforced rule matched"), "{text}");
    assert!(text.contains("the binding rule is api-client"), "{text}");
}

#[test]
fn explain_says_what_a_lease_adds_to_the_bound() {
    let path = root().join("examples/rules/fleet.yaml");
    let text =
        stdout(&tidegate(&["explain", "--rules", path.to_str().unwrap(), "user_id=u1", "path=/v1/charges"]));
    for line in [
        "    leased: a node takes 500 units in advance and gives back what is left after 1s",
        "    passes at most 50000 + 50000/1s × τ + N × 500 in any time τ, with leases on N nodes",
        "    leased: a node takes 50 units in advance and gives back what is left after 1s",
        "    passes at most 100000 in each window, as if it were exact: a lease ends with its window",
    ] {
        assert!(text.lines().any(|found| found == line), "{text}");
    }
    assert_eq!(text.matches("leased").count(), 2, "the exact rule says nothing of it: {text}");
}

#[test]
fn schema_and_completions_are_printed() {
    let schema: Value = serde_json::from_str(&stdout(&tidegate(&["schema"]))).unwrap();
    assert!(schema["$schema"].is_string());
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&tidegate(&["completions", shell])).contains("tidegate"), "{shell}");
    }
}

#[test]
fn help_has_examples_and_settings_that_contradict_are_refused() {
    for command in
        [vec!["--help"], vec!["check", "--help"], vec!["explain", "--help"], vec!["replay", "--help"]]
    {
        let output = tidegate(&command);
        assert!(output.status.success() && stdout(&output).contains("Example"), "{command:?}");
    }
    let output = tidegate(&["serve", "--trusted-proxy", "10.0.0.0/8"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--proxy-header"));
    let output = tidegate(&["serve", "--proxy-header", "forwarded", "--trusted-proxy", "0.0.0.0/0"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn every_crate_is_on_the_map() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(map.contains(&format!("(crates/{name})")), "ARCHITECTURE.md does not name {name}");
    }
    for line in map.lines().filter_map(|line| line.split_once("(crates/")) {
        let name = line.1.split(')').next().unwrap();
        assert!(
            root().join("crates").join(name).is_dir(),
            "ARCHITECTURE.md names {name}, which is not there"
        );
    }
}
