//! Scripts that drive Chromium with Playwright and look at pages with axe. `scripts/test` installs both below `target`;
//! `TEST_BROWSER_NPM` names another folder, `TEST_CHROMIUM_BIN` another browser.

use std::path::{Path, PathBuf};
use std::process::Command;

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

/// Runs a script of `tests` with Node.js. Its last line says that all is well; whatever else it prints is shown where not.
///
/// # Panics
/// Something is missing, or something is not as the script says.
#[expect(clippy::print_stdout, reason = "what was measured, for whoever wants to see it")]
pub fn run(script: &str, arguments: &[String]) {
    let told = std::env::var_os("TEST_BROWSER_NPM");
    let modules = told.map_or_else(|| Path::new(CRATE).join("../../target/browser-npm"), PathBuf::from);
    assert!(
        modules.exists(),
        "{} is not there: scripts/test installs it, or TEST_BROWSER_NPM says where",
        modules.display()
    );
    let output = Command::new("node")
        .env("TEST_BROWSER_NPM", modules)
        .arg(format!("{CRATE}/tests/{script}"))
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("Node.js is needed: {error}"));
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script} ended with {}:\n{said}{errors}", output.status);
    assert!(said.ends_with("all is as promised\n"), "{script}: {said}{errors}");
    println!("{said}");
}
