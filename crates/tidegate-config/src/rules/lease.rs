//! How exactly a rule's quota is kept: `consistency`, and the `lease` that goes with it.

use tidegate_core::quota::{Algorithm, MAX_LIMIT, Quota};
use tidegate_core::rule::model::{Consistency, Lease, MAX_HOLD, MIN_HOLD};
use tidegate_core::time::Micros;

use super::fields::{Fields, Shape};
use super::scalar;
use crate::path::Path;
use crate::report::{Report, Spot};
use crate::suggest::grouped;
use crate::yaml::Node;

pub(super) const LEASE: Shape = Shape {
    what: "a lease",
    fields: &["units", "hold"],
    others: &[("size", "units"), ("tokens", "units"), ("ttl", "hold"), ("for", "hold"), ("duration", "hold")],
};

/// The word that is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Exact,
    Leased,
}

const CHOICES: [(&str, Wanted); 2] = [("exact", Wanted::Exact), ("leased", Wanted::Leased)];
const OTHERS: [(&str, &str); 7] = [
    ("strict", "exact"),
    ("strong", "exact"),
    ("linearizable", "exact"),
    ("lease", "leased"),
    ("local", "leased"),
    ("eventual", "leased"),
    ("approximate", "leased"),
];

/// Reads how exactly a rule's quota is kept.
pub(super) fn read(
    fields: &Fields<'_, '_>,
    algorithm: Option<Algorithm>,
    quota: Option<Quota>,
    tiers: &[(String, Quota)],
    report: &mut Report<'_>,
) -> Consistency {
    let wanted = fields.optional("consistency", report, |node, path, report| {
        scalar::choice(node, path, &CHOICES, &OTHERS, report)
    });
    let lease = fields.optional("lease", report, read_lease);
    if wanted != Some(Wanted::Leased) {
        // A word that was not understood is reported already.
        if let Some(node) = fields.get("lease")
            && (wanted.is_some() || fields.get("consistency").is_none())
        {
            let path = fields.path.field("lease");
            report.error(
                node.at,
                &path,
                "an exact rule leases nothing",
                "add consistency: leased, or remove lease",
            );
        }
        return Consistency::Exact;
    }
    unfit(fields, algorithm, report);
    let is_wrong = lease.is_none() && fields.get("lease").is_some();
    let lease = lease.unwrap_or_default();
    if let Some(quota) = quota.filter(|quota| quota.limit() > 0 && !is_wrong) {
        compare(fields, lease, &quota, tiers, report);
    }
    Consistency::Leased(lease)
}

/// Reports what does not go with a lease.
fn unfit(fields: &Fields<'_, '_>, algorithm: Option<Algorithm>, report: &mut Report<'_>) {
    let consistency = fields.get("consistency").unwrap_or(fields.node).at;
    if algorithm == Some(Algorithm::Concurrency) {
        let message = "concurrency cannot be leased: a permit is held, not spent";
        report.error(consistency, &fields.path.field("consistency"), message, "remove consistency");
    }
    for (field, message) in [
        ("queue", "who waits was told an instant that a lease does not keep"),
        ("reserve", "what is leased to a node is not kept for a higher priority"),
    ] {
        if let Some(node) = fields.get(field) {
            let remedy = format!("remove {field}, or consistency: leased");
            report.error(node.at, &fields.path.field(field), message, remedy);
        }
    }
}

fn read_lease(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<Lease> {
    let fields = Fields::read(node, *path, &LEASE, report)?;
    let units = fields.optional("units", report, |node, path, report| {
        let units = scalar::unsigned(node, path, report)?;
        if units == 0 {
            let remedy = "write at least 1, or consistency: exact";
            report.error(node.at, path, "a lease of 0 units leases nothing", remedy);
        } else if units > MAX_LIMIT {
            let message = format!("the lease is {} units", grouped(units));
            report.error(node.at, path, message, format!("write at most {}", grouped(MAX_LIMIT)));
        }
        Some(units)
    });
    let hold = fields.optional("hold", report, read_hold);
    Lease::new(units, hold).ok()
}

fn read_hold(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<Micros> {
    let hold = scalar::duration(node, path, report)?;
    let message = format!("unspent units are held for {hold}");
    if hold < MIN_HOLD {
        report.error(node.at, path, message, format!("write at least {MIN_HOLD}"));
    } else if hold > MAX_HOLD {
        report.error(node.at, path, message, format!("write at most {MAX_HOLD}"));
    }
    Some(hold)
}

/// Compares the lease with the quotas it is of: those of the tiers, too.
fn compare(
    fields: &Fields<'_, '_>,
    lease: Lease,
    quota: &Quota,
    tiers: &[(String, Quota)],
    report: &mut Report<'_>,
) {
    let least = tiers.iter().map(|(_, quota)| quota).filter(|quota| quota.limit() > 0).chain([quota]);
    let burst = least.map(Quota::burst).min().unwrap_or_default();
    let (at, path): (Spot, Path<'_>) = match fields.get("lease") {
        Some(node) => (node.at, fields.path.field("lease")),
        None => (fields.get("consistency").unwrap_or(fields.node).at, fields.path.field("consistency")),
    };
    if burst <= 1 {
        let message = "a burst of 1 leaves nothing to lease";
        report.error(at, &path, message, "write a larger burst, or consistency: exact");
    } else if lease.named_units().is_some_and(|units| units > burst) {
        let message = format!("the lease is more than the burst of {} at one instant", grouped(burst));
        report.error(
            at,
            &path,
            message,
            format!("write at most {} units: each node adds them to the bound", grouped(burst)),
        );
    } else if lease.named_units().is_none() && lease.units(quota) == 1 {
        let message =
            format!("a hundredth of the burst of {} is one unit, which saves little", grouped(quota.burst()));
        report.warn(at, &path, message, "name them, for example lease: { units: 10 }");
    }
}
