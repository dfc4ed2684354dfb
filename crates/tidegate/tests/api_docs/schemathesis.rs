//! Schemathesis: requests made up from the document, good and bad ones, and answers held against it by somebody else's tool.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tidegate_testkit::{TempDir, installed};

use super::conformance::http_door;
use super::site::Site;

/// How many requests are made up for each operation and phase.
const EXAMPLES: &str = "30";

/// Limits above every cost that can be asked for: one that can never pass is refused with 422, like a wrong field.
const RULES: &str = "version: 1
domains:
  - name: default
    rules: [{ name: clients, key: [client_id], algorithm: token_bucket, limit: 1_000_000_000_000, window: 1h }]
  - name: demo
    rules: [{ name: per-user, key: [user_id], algorithm: token_bucket, limit: 1_000_000_000_000, window: 1h }]
  - name: payments
    rules: [{ name: uploads, match: { path: /v1/uploads }, key: [user_id], algorithm: concurrency, limit: 1000, permit_ttl: 30s }]
";

#[test]
fn made_up_requests_are_answered_as_documented() {
    let directory = TempDir::new("schemathesis");
    let rules = directory.write("rules.yaml", RULES).display().to_string();
    let site = Site::with(&["--rules", &rules]);
    let program = installed("TEST_SCHEMATHESIS_BIN", "schemathesis/bin/schemathesis");
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api_docs");
    let output = Command::new(&program)
        .arg("--config-file")
        .arg(beside.join("schemathesis.toml"))
        .args(["run", &format!("http://{}/openapi.json", site.server.address())])
        .args(["--max-examples", EXAMPLES, "--seed", "1", "--no-color"])
        .env("PYTHONPATH", &beside)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}\n{}", String::from_utf8_lossy(&output.stderr));
    // It says success as well where it has tried nothing. It leaves out the document itself.
    let operations =
        http_door().paths().values().filter_map(Value::as_object).map(serde_json::Map::len).sum::<usize>();
    assert!(report.contains(&format!("Tested: {}\n", operations - 1)), "{report}");
}
