//! The reference page says what the catalogue says.

use std::path::Path;

use tidegate::telemetry::metrics::MAX_SERIES;
use tidegate::telemetry::metrics::reference::page;

#[test]
fn the_reference_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/metrics.md");
    #[expect(
        clippy::disallowed_methods,
        reason = "only this test writes the file, and only when it is asked to"
    )]
    let bless = std::env::var("TIDEGATE_BLESS").is_ok();
    if bless {
        std::fs::write(&path, page()).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == page(),
        "docs/reference/metrics.md is old; run: TIDEGATE_BLESS=1 cargo test -p tidegate --test metrics reference"
    );
    assert_eq!(MAX_SERIES, 2_000, "the page says so");
}
