//! Goal: replay's totals are those of the definition.
//! Method: a log of 20,000 requests from a seed, out of order by a few seconds; a few lines of Python compute a fixed
//! window and a sliding window log from the definitions alone; the program's JSON must agree.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

const SEED: u64 = 20_260_101;

const RULES: &str = "version: 1
domains:
  - name: site
    rules:
      - { name: fixed, key: [client_ip], algorithm: fixed_window, limit: 20, window: 60s }
";

const LOG_RULES: &str = "version: 1
domains:
  - name: site
    rules:
      - { name: log, key: [client_ip], algorithm: sliding_window_log, limit: 15, window: 45s }
";

/// Reads a common log, sorts it by time, and prints "fixed allowed denied" and "log allowed denied".
const ORACLE: &str = r#"
import datetime, re, sys
requests = []
for order, line in enumerate(open(sys.argv[1])):
    ip, stamp = re.match(r'(\S+) \S+ \S+ \[([^\]]+)\]', line).groups()
    requests.append((datetime.datetime.strptime(stamp, "%d/%b/%Y:%H:%M:%S %z").timestamp(), order, ip))
requests.sort()
counts, fixed = {}, [0, 0]
for at, _, ip in requests:
    window = (ip, int(at // 60))
    if counts.get(window, 0) < 20:
        counts[window] = counts.get(window, 0) + 1
        fixed[0] += 1
    else:
        fixed[1] += 1
seen, log = {}, [0, 0]
for at, _, ip in requests:
    live = [t for t in seen.get(ip, []) if t > at - 45]
    if len(live) < 15:
        live.append(at)
        log[0] += 1
    else:
        log[1] += 1
    seen[ip] = live
print("fixed", *fixed)
print("log", *log)
"#;

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Bursty traffic of 40 addresses over an hour, each line up to five seconds away from its place.
fn log() -> String {
    println!("seed {SEED}");
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut lines: Vec<(u64, String)> = Vec::new();
    let mut second = 0.0;
    for _ in 0..20_000 {
        second += random.f64() * 0.36;
        let at = second as u64;
        let (minute, second_of_minute) = (at / 60 % 60, at % 60);
        let address = (0..4).map(|_| random.u8(..40)).min().unwrap();
        let line = format!(
            "10.0.0.{address} - - [17/May/2015:{:02}:{minute:02}:{second_of_minute:02} +0200] \"GET /p/{} HTTP/1.1\" 200 17\n",
            10 + at / 3_600,
            random.u16(..500),
        );
        lines.push((at + random.u64(..5), line));
    }
    lines.sort_by_key(|(written_at, _)| *written_at);
    lines.into_iter().fold(String::new(), |mut text, (_, line)| {
        let _ = text.write_str(&line);
        text
    })
}

fn replay(arguments: &[&str], input: Option<&[u8]>) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("replay")
        .args(arguments)
        .env_remove("TIDEGATE_RULES")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.unwrap_or_default()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn totals(summary: &Value) -> (u64, u64) {
    let requests = &summary["requests"];
    (requests["allowed"].as_u64().unwrap(), requests["denied"].as_u64().unwrap())
}

#[test]
fn totals_agree_with_an_independent_computation() {
    let folder = folder("totals");
    let (log_file, script) = (folder.join("access.log"), folder.join("oracle.py"));
    fs::write(&log_file, log()).unwrap();
    fs::write(&script, ORACLE).unwrap();
    let oracle = Command::new("python3").arg(&script).arg(&log_file).output().expect("python3 is needed");
    assert!(oracle.status.success(), "{}", String::from_utf8_lossy(&oracle.stderr));
    let oracle = String::from_utf8(oracle.stdout).unwrap();
    for (name, rules) in [("fixed", RULES), ("log", LOG_RULES)] {
        let file = folder.join(format!("{name}.yaml"));
        fs::write(&file, rules).unwrap();
        let (code, out, err) = replay(
            &["--rules", file.to_str().unwrap(), "--format", "json", log_file.to_str().unwrap()],
            None,
        );
        assert_eq!(code, 0, "{err}");
        let (allowed, denied) = totals(&serde_json::from_str(&out).unwrap());
        let expected = oracle.lines().find(|line| line.starts_with(name)).unwrap();
        assert_eq!(format!("{name} {allowed} {denied}"), expected);
        assert!(denied > 100 && allowed > 10_000, "the log makes the rule work: {allowed} {denied}");
    }
}

#[test]
fn gzip_stdin_and_every_format_say_the_same() {
    let folder = folder("formats");
    let rules = folder.join("rules.yaml");
    fs::write(&rules, RULES).unwrap();
    let rules = rules.to_str().unwrap();
    let text = log();
    let zipped = folder.join("access.log.gz");
    let mut encoder =
        flate2::write::GzEncoder::new(fs::File::create(&zipped).unwrap(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap();
    let (_, from_gzip, _) = replay(&["--rules", rules, "--format", "json", zipped.to_str().unwrap()], None);
    let (_, from_stdin, _) = replay(&["--rules", rules, "--format", "json", "-"], Some(text.as_bytes()));
    let (gzip, stdin): (Value, Value) =
        (serde_json::from_str(&from_gzip).unwrap(), serde_json::from_str(&from_stdin).unwrap());
    assert_eq!(totals(&gzip), totals(&stdin));

    let (code, page, err) = replay(&["--rules", rules, zipped.to_str().unwrap()], None);
    assert_eq!(code, 0, "{err}");
    assert!(page.contains("fixed") && page.contains("20,000") && page.contains("10.0.0.0"), "{page}");
    assert!(!page.contains('\u{1b}'), "no colours into a pipe");
    let (_, csv, _) = replay(&["--rules", rules, "--format", "csv", zipped.to_str().unwrap()], None);
    assert!(csv.lines().nth(1).is_some_and(|line| line.contains("fixed")), "{csv}");
}

#[test]
fn mistakes_are_named_and_lose_nothing() {
    let (code, _, err) = replay(&["--rules", "/nowhere/rules.yaml", "-"], None);
    assert_eq!(code, 2);
    assert!(err.contains("/nowhere/rules.yaml"), "{err}");
    let (code, _, err) = replay(&["/nowhere/access.log", "--domain", "default"], None);
    assert_eq!(code, 2);
    assert!(err.contains("/nowhere/access.log"), "{err}");
    let (code, _, err) = replay(&["-"], Some(b"x"));
    assert_eq!(code, 2);
    assert!(err.contains("--domain"), "the example rules have several domains: {err}");
}
