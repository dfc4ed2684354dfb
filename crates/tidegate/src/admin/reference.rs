//! The reference page of the admin API, from the table of endpoints.

use super::call::DRY_RUN;
use super::routes;

/// The page, as Markdown.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "# Admin API\n\n\
         <!-- Written by a test from the table of endpoints (crates/tidegate/src/admin/route.rs): do not edit. -->\n\n\
         On `--admin-listen`, 127.0.0.1:8082 by default. Every request carries a key: `Authorization: Bearer tg_…`. A tenant's key\n\
         reaches that tenant's things only; an operator names the tenant with the field `Tidegate-Tenant` or `?tenant=`. Lists\n\
         come in pages of at most 200: `?limit=` and, from `next`, `?after=` (`?before=` where the newest come first). Pages go by\n\
         names, so that what is removed between two pages leaves no gap. Bodies have at most 1 MiB, an import 16 MiB.\n\
         Rule changes take `If-Match` with the ETag that was read, or `*` for what is there whatever it is;\n\
         `If-None-Match: *` makes what is not there yet. A rollback with `*` also brings back a domain that is gone.\n\
         With `?dry_run=15m`, a change of rules is not made: the answer says what it would have done to that much of the recent\n\
         requests of this node. Where there is no dry run it is refused, like every parameter that the endpoint does not take. The\n\
         guide has examples: [changing limits safely](../guide/changing-limits.md).\n\n\
         | method | path | needs | parameters | what it is for |\n| --- | --- | --- | --- | --- |\n",
    );
    for route in routes() {
        let dry_run = route.takes_dry_run.then_some(DRY_RUN);
        let parameters: Vec<String> =
            route.parameters.iter().copied().chain(dry_run).map(|name| format!("`{name}`")).collect();
        page.push_str(&format!(
            "| {} | `{}` | {} | {} | {} |\n",
            route.method,
            route.path,
            route.needs.words(),
            parameters.join(", "),
            route.summary
        ));
    }
    page
}
