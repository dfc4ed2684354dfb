//! Pages and documents that are written from the program and kept in docs/reference.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::Path;

/// Holds a file of docs/reference against what it should say, or writes it where `TIDEGATE_BLESS` asks for that. `test` are the
/// arguments of `cargo test -p tidegate` that run this.
#[track_caller]
pub fn is_up_to_date(file: &str, text: &str, test: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(file);
    #[expect(
        clippy::disallowed_methods,
        reason = "only these tests write the files, and only when they are asked to"
    )]
    let bless = std::env::var("TIDEGATE_BLESS").is_ok();
    if bless {
        std::fs::write(&path, text).expect("the file can be written");
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == text,
        "docs/reference/{file} is old; run: TIDEGATE_BLESS=1 cargo test -p tidegate {test}"
    );
}
