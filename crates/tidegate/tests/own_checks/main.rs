//! Goal: the check that the guide tells sites to make takes passes that are good, and no others.
//! Method: the code of docs/guide/check-passes-yourself.md as it stands there, run with Node.js by the script beside this file, on passes
//! that real servers gave: before, while and after the secret is changed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use tidegate_testkit::{TempDir, Tidegate};

const CRATE: &str = env!("CARGO_MANIFEST_DIR");
const OLD: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const NEW: &str = "10112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// The session of `short` is over soon.
const RULES: &str = "version: 1
domains: []
rooms:
  - { name: tickets, capacity: 50, release_rate: 100/s, session: { limit: 1h, idle: 1h }, hosts: [shop.example, 'shop.example:8443'] }
  - { name: other, capacity: 50, release_rate: 100/s, session: { limit: 1h, idle: 1h }, hosts: [shop.example] }
  - { name: elsewhere, capacity: 50, release_rate: 100/s, session: { limit: 1h, idle: 1h } }
  - { name: short, capacity: 50, release_rate: 100/s, session: { limit: 3s, idle: none }, hosts: [shop.example] }
";

/// The file `pass.mjs`, as the page has a reader write it.
fn code_of_the_page() -> String {
    let page = Path::new(CRATE).join("../../docs/guide/check-passes-yourself.md");
    let text = std::fs::read_to_string(page).unwrap();
    let (_, rest) = text.split_once("cat > pass.mjs <<'END'\n").expect("the page has the file");
    rest.split_once("\nEND\n").expect("the file ends").0.to_owned()
}

#[test]
fn a_site_that_checks_passes_itself_takes_good_ones_and_no_others() {
    let folder = TempDir::new("own-checks");
    let module = folder.write("pass.mjs", &code_of_the_page());
    let rules = folder.write("rules.yaml", RULES).display().to_string();
    let secrets = [OLD.to_owned(), format!("{NEW}\n{OLD}"), NEW.to_owned()];
    let servers = secrets.map(|secret| {
        let more = ["--room-secret", &secret, "--room-pass-issuer", "https://queue.example"];
        Tidegate::start(env!("CARGO_BIN_EXE_tidegate"), &[&["--rules", rules.as_str()], &more[..]].concat())
    });
    let output = Command::new("node")
        .arg(format!("{CRATE}/tests/own_checks/refused.mjs"))
        .arg(module)
        .args(servers.iter().map(|server| format!("http://{}", server.address())))
        .output()
        .unwrap_or_else(|error| panic!("Node.js is needed: {error}"));
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "it ended with {}:\n{said}{errors}", output.status);
    assert!(said.ends_with("all is as promised\n"), "{said}{errors}");
}
