//! Goal: the waiting page and the snippet work in a browser, for everybody.
//! Method: a stand-in for the API (`stand_in.rs`) shows the real pages and answers what the script beside this file tells it to;
//! the script drives Chromium with Playwright and looks at pages with axe. `scripts/test` installs both below `target`;
//! `TEST_BROWSER_NPM` names another folder, `TEST_CHROMIUM_BIN` another browser. Without them the test fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod stand_in;

use std::path::{Path, PathBuf};
use std::process::Command;

use stand_in::StandIn;

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

fn run(script: &str) {
    let told = std::env::var_os("TEST_BROWSER_NPM");
    let modules = told.map_or_else(|| Path::new(CRATE).join("../../target/browser-npm"), PathBuf::from);
    assert!(
        modules.exists(),
        "{} is not there: scripts/test installs it, or TEST_BROWSER_NPM says where",
        modules.display()
    );
    let stand_in = StandIn::start();
    let output = Command::new("node")
        .env("TEST_BROWSER_NPM", modules)
        .arg(format!("{CRATE}/tests/room_page/{script}"))
        .arg(format!("http://{}", stand_in.address()))
        .output()
        .unwrap_or_else(|error| panic!("Node.js is needed: {error}"));
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script} ended with {}:\n{said}{errors}", output.status);
    assert!(said.ends_with("all is as promised\n"), "{script}: {said}{errors}");
}

#[test]
fn every_state_is_accessible_and_fits() {
    run("looks.mjs");
}

#[test]
fn the_page_asks_as_told_and_says_what_changes() {
    run("page.mjs");
}

#[test]
fn the_snippet_holds_a_seat_for_a_page() {
    run("snippet.mjs");
}
