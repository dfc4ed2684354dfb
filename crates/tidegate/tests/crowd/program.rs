//! The program, against a real server.

use std::process::{Command, Output};

use serde_json::Value;
use tidegate_testkit::{TempDir, Tidegate};

fn crowd(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.arg("crowd").args(arguments).output().unwrap()
}

const ROOM: &str = "version: 1\ndomains: []\nrooms:\n  - name: sale\n    capacity: 20\n    release_rate: 1000/s\n    \
    session: { limit: 2s, idle: 1500ms, early_end: frees_seat }\n    claim: { window: 5s }\n";

#[test]
fn a_crowd_of_all_kinds_meets_a_fair_room_and_all_are_accounted_for() {
    let folder = TempDir::new("crowd");
    let rules = folder.write("rules.yaml", ROOM).display().to_string();
    let state = folder.path().join("state").display().to_string();
    let node = Tidegate::start(env!("CARGO_BIN_EXE_tidegate"), &["--rules", &rules, "--state-file", &state]);
    let url = format!("http://{}", node.address());
    let output = crowd(&[
        &url,
        "--room",
        "sale",
        "--visitors",
        "120",
        "--arrivals",
        "400",
        "--for",
        "60s",
        "--seed",
        "7",
        "--json",
        "--leave-line",
        "10",
        "--patience",
        "2s",
        "--reload",
        "20",
        "--leave-inside",
        "50",
        "--close-inside",
        "10",
        "--vanish-inside",
        "20",
        "--stay",
        "500ms",
    ]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        output.stderr.is_empty(),
        "no bar where nobody looks: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: Value = serde_json::from_str(&text).unwrap();
    let number = |value: &Value| value.as_u64().unwrap();
    let became = report["visitors"].as_object().unwrap();
    assert_eq!(became.values().map(number).sum::<u64>(), 120, "{text}");
    for kind in ["left_line", "left", "closed", "vanished", "session_over"] {
        assert!(became.get(kind).is_some_and(|count| number(count) > 0), "{kind}: {text}");
    }
    assert_eq!(became.len(), 5, "nobody waits, is inside, or is lost: {text}");
    assert_eq!((number(&report["numbers"]), &report["is_fair"]), (120, &Value::Bool(true)), "{text}");
    assert_eq!((number(&report["heard"]), &report["is_enough"]), (120, &Value::Bool(true)), "{text}");
    let let_in = number(&report["admitted"]);
    assert_eq!(let_in, 120 - number(&became["left_line"]), "{text}");
    assert_eq!((number(&report["offered"]), number(&report["wait_ms"]["count"])), (let_in, let_in), "{text}");
    let sessions = &report["sessions"];
    assert_eq!(number(&sessions["capacity"]), 20, "{text}");
    // The room was full for most of the time, and the crowd saw it.
    assert!((10..=20).contains(&number(&sessions["most_seen"])), "{text}");
    assert!((10..=20).contains(&number(&sessions["most_told"])), "{text}");
    assert_eq!(report["errors"], serde_json::json!({}), "{text}");
    assert_eq!(number(&report["latency_ms"]["page"]["count"]), 120, "{text}");
    assert!(number(&report["latency_ms"]["poll"]["count"]) > 0, "{text}");
}

#[test]
fn what_it_cannot_do_it_says_with_another_status() {
    let output = crowd(&["http://127.0.0.1:1", "--visitors", "2", "--for", "1s", "--timeout", "100ms"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "nobody was treated unfairly, for nobody was treated: {text}");
    assert!(text.contains("NO VERDICT: 0 of 2 visitors"), "{text}");
    assert!(text.contains("not joined") && text.contains("no connection"), "{text}");
    for (arguments, says) in [
        (&["ftp://a"][..], "http:// or https://"),
        (&["--visitors", "1000001"], "1..=1000000"),
        (&["--connections", "0"], "1..=10000"),
        (&["--arrivals", "100001"], "1..=100000"),
        (&["--for", "25h"], "--for: write 1s to 1d"),
        (&["--leave-line", "60", "--vanish-line", "60"], "more than 100 percent"),
        (&["--room", "No Room"], "--room"),
    ] {
        let output = crowd(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(says), "{arguments:?}: {text}");
    }
}
