//! Schemathesis: requests made up from the document, good and bad ones, and answers held against it by somebody else's tool.

use std::path::Path;
use std::process::{Command, Stdio};

use tidegate_testkit::TempDir;

use super::site::Site;

/// How many requests are made up for each operation and phase.
const EXAMPLES: &str = "30";

/// Its program: that of `TEST_SCHEMATHESIS_BIN`, or where scripts/test puts it.
fn program() -> String {
    #[expect(clippy::disallowed_methods, reason = "where the tool is, is a setting of the tests")]
    let named = std::env::var("TEST_SCHEMATHESIS_BIN").ok();
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/schemathesis/bin/schemathesis");
    named.unwrap_or_else(|| usual.display().to_string())
}

#[test]
fn made_up_requests_are_answered_as_documented() {
    let site = Site::start();
    let directory = TempDir::new("schemathesis");
    let program = program();
    let output = Command::new(&program)
        .args(["run", &format!("http://{}/openapi.json", site.server.address())])
        .args(["--checks", "all", "--max-examples", EXAMPLES, "--seed", "1", "--no-color", "--workers", "2"])
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; install schemathesis (scripts/test does)"));
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}\n{}", String::from_utf8_lossy(&output.stderr));
}
