//! Goal: the waiting page and the snippet work in a browser, for everybody.
//! Method: a stand-in for the API (`stand_in.rs`) shows the real pages and answers what the script beside this file tells it to;
//! the script drives Chromium with Playwright and looks at pages with axe. Without them the test fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

#[path = "../common/browser.rs"]
mod browser;
mod stand_in;

use stand_in::StandIn;

fn run(script: &str) {
    let stand_in = StandIn::start();
    browser::run(&format!("room_page/{script}"), &[format!("http://{}", stand_in.address())]);
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
