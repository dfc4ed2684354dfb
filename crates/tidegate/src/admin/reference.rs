//! The reference page of the admin API, from the table of endpoints.

use super::routes;

/// The page, as Markdown.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "# Admin API\n\n\
         <!-- Written by a test from the table of endpoints (crates/tidegate/src/admin/route.rs): do not edit. -->\n\n\
         On `--admin-listen`, 127.0.0.1:8082 by default. Every request carries a key: `Authorization: Bearer tg_…`. A tenant's key\n\
         reaches that tenant's things only; an operator names the tenant with the field `Tidegate-Tenant` or `?tenant=`. Lists\n\
         come in pages of at most 200: `?limit=` and, from `next`, `?after=` (`?before=` where the newest come first).\n\
         Rule changes take `If-Match` with the ETag that was read, or `*`; `If-None-Match: *` makes what is not there yet.\n\
         With `?dry_run=15m`, a change of rules is not made: the answer says what it would have done to that much of the recent\n\
         requests of this node. Where there is no dry run it is refused, like a parameter that no endpoint takes. The guide has\n\
         examples: [changing limits safely](../guide/changing-limits.md).\n\n\
         | method | path | needs | what it is for |\n| --- | --- | --- | --- |\n",
    );
    for route in routes() {
        page.push_str(&format!(
            "| {} | `{}` | {} | {} |\n",
            route.method,
            route.path,
            route.needs.words(),
            route.summary
        ));
    }
    page
}
