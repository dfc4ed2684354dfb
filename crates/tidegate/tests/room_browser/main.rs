//! Goal: a real server and a real browser keep what the waiting room promises: who is in, who waits, when a session ends.
//! Method: the program as `cargo run` starts it, on ports and a database of its own, with its demo; the scripts beside this file make
//! more rooms as an operator would, and drive Chromium. Time is real here: what the promises say in seconds is measured in seconds.
//!
//! `TEST_SCREENSHOTS=FOLDER` keeps a picture of each state in each look.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

#[path = "../common/browser.rs"]
mod browser;

use std::sync::RwLock;

use tidegate_testkit::{TempDir, Tidegate, TidegateOptions};

const TOKEN: &str = "a-token-of-an-operator-for-this-test";

/// Where seconds are measured, no other browser takes the processor.
static PROCESSOR: RwLock<()> = RwLock::new(());

fn run(script: &str) {
    let folder = TempDir::new("room-browser");
    let database = folder.join("tidegate.db").display().to_string();
    let options = TidegateOptions::new(env!("CARGO_BIN_EXE_tidegate")).catalog(
        database,
        TOKEN,
        folder.join("last-good.json"),
    );
    let node = Tidegate::with(&options);
    let places = [node.address(), node.admin_address()].map(|address| format!("http://{address}"));
    browser::run(&format!("room_browser/{script}"), &[&places[..], &[TOKEN.to_owned()]].concat());
}

#[test]
fn six_visitors_share_five_seats() {
    let _alone = PROCESSOR.write();
    run("line.mjs");
}

#[test]
fn tabs_of_a_visitor_are_one() {
    let _beside_others = PROCESSOR.read();
    run("tabs.mjs");
}

#[test]
fn it_works_without_scripts() {
    let _beside_others = PROCESSOR.read();
    run("plain.mjs");
}

#[test]
fn every_state_is_accessible() {
    let _beside_others = PROCESSOR.read();
    run("states.mjs");
}

#[test]
fn nobody_runs_a_script_by_what_they_write() {
    let _beside_others = PROCESSOR.read();
    run("hostile.mjs");
}
