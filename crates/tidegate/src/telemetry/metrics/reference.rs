//! The reference page of all metrics, from the catalogue: docs/reference/metrics.md.

use super::catalogue::{GROUPS, Metric};

const HEAD: &str = "\
# Metrics

<!-- Written by a test from the table of metrics (crates/tidegate/src/telemetry/metrics/catalogue.rs): do not edit. -->

`GET /metrics`, in the OpenMetrics text format. What to watch, and what to do then, is in
[Monitoring](../operations/monitoring.md). All count since the start of the process. What a server does not have is not shown:
without a database nothing of the catalog, without Redis nothing of a shared store.

| label | values |
| --- | --- |
| `domain` | a domain of the rules, `tenant/domain` where it is not the default tenant's; `(ad hoc)`, `(other)`, `(unknown)`, `(tenants)` |
| `rule` | a rule in force; `(none)` where no rule applied or a failure policy decided alone; `(ad hoc)`, `(other)`, `(tenants)` |
| `door` | `http`, `grpc`, `resp`, `in_process` |
| `listener` | `http`, `grpc`, `resp`, `admin` |
| `priority` | how important a request says it is: `low`, `normal`, `high`, `critical` |
| `policy` | a failure policy: `allow`, `deny`, `local` |
| `cause`, `kind` | why the store gave no answer: `unavailable`, `timeout`, `corrupt`, `misconfigured` |
| `store` | `memory`, `redis` |
| `fate`, `reason`, `result`, `state` | as the metric says |

Nothing that a request says becomes a label. At most 2,000 pairs of domain and rule have series of their own, the rest are
`(other)`; the series of a rule that was removed or renamed are shown for ten minutes more, then dropped.
Tenants' domains and rules are named to an operator's key only; to everybody else they are one, `(tenants)`.
";

/// The page, as Markdown.
#[must_use]
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    for group in GROUPS {
        page.push_str(&format!("\n## {}\n\n| metric | kind | labels | unit | what it says |\n", group.title));
        page.push_str("| --- | --- | --- | --- | --- |\n");
        group.metrics.iter().for_each(|metric| page.push_str(&row(metric)));
    }
    page
}

fn row(metric: &Metric) -> String {
    let name = match metric.samples().as_slice() {
        [(only, _)] => only.clone(),
        _ => metric.name.to_owned(),
    };
    let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
    let unit = metric.unit.name().unwrap_or_default();
    format!("| `{name}` | {} | {} | {unit} | {} |\n", metric.kind.name(), labels.join(", "), metric.help)
}
