//! Goal: rule files of envoyproxy/ratelimit and Limitador are served, followed and converted as if they were ours.
//! Method: the program itself: `convert` and `check-config` as a shell calls them, and a server with a file that changes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use common::Client;
use serde_json::{Value, json};
use tidegate_testkit::{TempDir, Tidegate, TidegateOptions, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_tidegate");
/// How long a change of the file may take until it is in force.
const PATIENCE: Duration = Duration::from_secs(20);

const ENVOY: &str = "domain: shop\ndescriptors:\n  - key: user\n    rate_limit: { unit: day, requests_per_unit: 2 }\n  - key: user\n    value: vip\n    rate_limit: { unlimited: true }\n";
const LIMITADOR: &str = "- { namespace: shop, max_value: 3, seconds: 86400, variables: [user] }\n";
const OURS: &str = "version: 1\ndomains:\n  - name: shop\n    rules:\n      - { name: r, key: [user], limit: 4, window: 1d }\n";

fn tidegate(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = Command::new(BINARY)
        .args(arguments)
        .env_remove("TIDEGATE_RULES")
        .env_remove("TIDEGATE_RULES_FORMAT")
        .output()
        .unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/migrating").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The answer for a user, which charges one unit where it may pass.
fn check(server: &Tidegate, user: &str) -> (u16, Value) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let body = json!({ "domain": "shop", "descriptors": { "user": user } }).to_string();
        let answer = Client::connect(server.address()).await.post("/v1/check", &body).await;
        (answer.status, answer.json())
    })
}

#[test]
fn a_server_decides_by_a_file_of_envoy_and_follows_it_through_every_format() {
    let dir = TempDir::new("migrating");
    let path = dir.write("rules.yaml", ENVOY);
    let server = Tidegate::with(&TidegateOptions::new(BINARY).arguments(["--rules", text(&path)]));
    for expected in [(200, 1), (200, 0), (429, 0)] {
        let (status, answer) = check(&server, "ann");
        assert_eq!(
            (status, &answer["remaining"], &answer["rule"]),
            (expected.0, &json!(expected.1), &json!("user"))
        );
    }
    for _ in 0..5 {
        let (status, answer) = check(&server, "vip");
        assert_eq!((status, &answer["limit"]), (200, &Value::Null));
    }
    let limit = |user| check(&server, user).1["limit"].clone();
    for (file, expected) in [(LIMITADOR, 3), (OURS, 4), (ENVOY, 2)] {
        dir.write("rules.yaml", file);
        wait_until("the new file is in force", PATIENCE, || limit("bob") == expected);
    }
    dir.write("rules.yaml", &ENVOY.replace("day", "fortnight"));
    wait_until("the server says what is wrong", PATIENCE, || {
        server.logs().contains("'fortnight' is not a unit")
    });
    assert_eq!(limit("bob"), 2, "the last good rules stay");
}

#[test]
fn a_format_that_is_told_is_taken_at_its_word() {
    let dir = TempDir::new("migrating");
    let path = dir.write("rules.yaml", ENVOY);
    let options = TidegateOptions::new(BINARY).arguments(["--rules", text(&path)]);
    let server = Tidegate::with(&options.environment("TIDEGATE_RULES_FORMAT", "envoy"));
    assert_eq!(check(&server, "ann").1["limit"], 2);
    let (code, out, _) = tidegate(&["check-config", "--rules-format", "limitador", text(&path)]);
    assert_eq!(code, Some(1));
    assert!(out.contains("expected a list, found a map"), "{out}");
    let (code, _, error) = tidegate(&["check-config", "--rules-format", "xml", text(&path)]);
    assert_eq!(code, Some(2));
    assert!(error.contains("auto, tidegate, envoy, limitador"), "{error}");
}

#[test]
fn check_config_says_whose_file_it_is() {
    let envoy = example("envoy-ratelimit.yaml");
    let (code, out, _) = tidegate(&["check-config", "--strict", text(&envoy)]);
    assert_eq!(
        (code, out.trim_end()),
        (Some(0), &*format!("{} (envoyproxy/ratelimit): 9 rules in 1 domain, 0 warnings", text(&envoy)))
    );
    let limitador = example("limitador.yaml");
    let (code, out, _) = tidegate(&["check-config", text(&limitador)]);
    assert_eq!(code, Some(0));
    assert!(
        out.ends_with(&format!("{} (Limitador): 3 rules in 2 domains, 1 warning\n", text(&limitador))),
        "{out}"
    );
}

#[test]
fn explain_and_check_read_the_files_too() {
    let path = example("envoy-ratelimit.yaml");
    let common = ["--rules", text(&path), "--domain", "shop", "path=/api/search"];
    let (code, out, _) = tidegate(&[["explain"].as_slice(), &common].concat());
    assert_eq!(code, Some(0));
    assert!(
        out.contains(
            "    NO   path begins with '/api/', except where it is '/api/search': it is '/api/search'"
        ),
        "{out}"
    );
    let (code, out, _) = tidegate(&[["explain"].as_slice(), &common, &["more=1"]].concat());
    assert_eq!(code, Some(0));
    assert!(out.contains("    NO   without other entries: more"), "{out}");
    assert!(out.contains("No enforced rule applies"), "{out}");
    let (code, out, _) =
        tidegate(&["check", "--rules", text(&path), "--domain", "shop", "remote_address=198.51.100.9"]);
    assert_eq!(code, Some(1), "{out}");
}

#[test]
fn a_log_is_replayed_against_the_entries_that_the_file_speaks_of() {
    let dir = TempDir::new("migrating");
    let rules =
        "domain: shop\ndescriptors:\n  - { key: path, rate_limit: { unit: day, requests_per_unit: 1 } }\n";
    let rules = dir.write("rules.yaml", rules);
    let line = |second: u8| {
        format!("192.0.2.1 - - [01/Jan/2026:00:00:0{second} +0000] \"GET /about HTTP/1.1\" 200 1\n")
    };
    let log = dir.write("access.log", &[line(0), line(1), line(2)].concat());
    let (code, out, error) =
        tidegate(&["replay", "--quiet", "--format", "json", "--rules", text(&rules), text(&log)]);
    assert_eq!(code, Some(0), "{error}");
    let report: Value = serde_json::from_str(&out).unwrap();
    let rule = &report["rules"][0];
    assert_eq!((&rule["evaluated"], &rule["denied"]), (&json!(3), &json!(2)), "{out}");
}

#[test]
fn what_is_converted_is_a_rule_file_that_says_the_same() {
    let dir = TempDir::new("migrating");
    let (envoy, limitador) = (example("envoy-ratelimit.yaml"), example("limitador.yaml"));
    let (code, out, error) = tidegate(&["convert", text(&envoy)]);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    assert!(out.starts_with("# From "), "{out}");
    assert!(out.contains("envoy-ratelimit.yaml (envoyproxy/ratelimit), by tidegate"), "{out}");
    let converted = dir.write("converted.yaml", &out);
    let (code, said, _) = tidegate(&["check-config", "--rules-format", "tidegate", text(&converted)]);
    assert_eq!(code, Some(0), "{said}");

    let other = dir.write("other.yaml", "domain: other\ndescriptors: []\n");
    let rules = dir.join("rules.yaml");
    let (code, out, error) = tidegate(&["convert", "--out", text(&rules), text(&limitador), text(&other)]);
    assert_eq!((code, out.as_str()), (Some(0), ""));
    assert!(error.contains("windows begin at multiples of their length"), "{error}");
    assert!(error.contains("there is no descriptor, so nothing is limited"), "{error}");
    let written = std::fs::read_to_string(&rules).unwrap();
    for domain in ["shop", "tools/internal", "other"] {
        assert!(written.contains(&format!("  - name: {domain}\n")), "{written}");
    }
}

#[test]
fn what_cannot_be_converted_is_said_and_nothing_is_written() {
    let dir = TempDir::new("migrating");
    let envoy = dir.write("envoy.yaml", ENVOY);
    let wrong = dir.write("wrong.yaml", "domain: d\ndescriptors:\n  - key: a\n    rate_limit:\n      unit: decade\n      requests_per_unit: 1\n");
    let ours = dir.write("ours.yaml", OURS);
    let rules = dir.join("rules.yaml");
    for (arguments, code, message) in [
        (vec![text(&wrong)], 1, "'decade' is not a unit"),
        (vec![text(&envoy), text(&wrong)], 1, "wrong.yaml:5:13"),
        (vec![text(&ours)], 1, "is a rule file of Tidegate already"),
        (vec![text(&envoy), text(&envoy)], 1, "the domain 'shop' is in"),
        (vec!["--from", "limitador", text(&envoy)], 1, "expected a list, found a map"),
        (vec!["/nowhere.yaml"], 2, "there is no such file"),
        (vec![text(dir.path())], 2, "this is a directory"),
        (vec!["--from", "tidegate", text(&ours)], 2, "auto, envoy, limitador"),
    ] {
        let all = [vec!["convert", "--out", text(&rules)], arguments].concat();
        let (found, out, error) = tidegate(&all);
        assert_eq!((found, out.as_str()), (Some(code), ""), "{all:?}: {error}");
        assert!(error.contains(message), "{all:?}: {error}");
        assert!(!rules.exists(), "{all:?}");
    }
    let (code, _, error) = tidegate(&["convert", "--out", text(&envoy), text(&envoy)]);
    assert_eq!(code, Some(2));
    assert!(error.contains("is one of the files that are read"), "{error}");
    assert_eq!(std::fs::read_to_string(&envoy).unwrap(), ENVOY);
}
