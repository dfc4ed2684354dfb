//! The reference page says what the catalogue says.

use tidegate::telemetry::metrics::MAX_SERIES;
use tidegate::telemetry::metrics::reference::page;

use crate::common::kept::is_up_to_date;

#[test]
fn the_reference_page_is_up_to_date() {
    is_up_to_date("metrics.md", &page(), "--test metrics reference");
    assert_eq!(MAX_SERIES, 2_000, "the page says so");
}
