//! The reference page says what the table says.

use tidegate::admin::reference::page;

use crate::kept::is_up_to_date;

#[test]
fn the_reference_page_is_up_to_date() {
    is_up_to_date("admin-api.md", &page(), "--test admin reference");
}
