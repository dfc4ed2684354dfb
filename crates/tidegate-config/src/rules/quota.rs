//! The quota of a rule and of its tiers.

use tidegate_core::quota::{Algorithm, MAX_LIMIT, MAX_WINDOW, MIN_WINDOW, Quota, QuotaError};
use tidegate_core::time::Micros;

use super::fields::Fields;
use super::scalar;
use crate::path::Path;
use crate::report::{Report, Spot};
use crate::suggest::grouped;
use crate::yaml::Node;

/// The numbers of a quota, each where it is given and can be read.
#[derive(Clone, Copy, Default)]
pub(super) struct Given {
    limit: Option<u64>,
    window: Option<Micros>,
    burst: Option<u64>,
}

/// A rule's quota, and what its tiers inherit.
pub(super) struct Quotas {
    /// The quota of the rule itself; absent where something is wrong with it.
    pub(super) quota: Option<Quota>,
    algorithm: Option<Algorithm>,
    given: Given,
}

/// The field that holds the quota's time.
const fn time_field(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Concurrency => "permit_ttl",
        _ => "window",
    }
}

impl Quotas {
    /// Reads the quota of a rule.
    pub(super) fn read(
        fields: &Fields<'_, '_>,
        algorithm: Option<Algorithm>,
        report: &mut Report<'_>,
    ) -> Self {
        let given = Given::read(fields, algorithm, report);
        if fields.get("limit").is_none() {
            fields.missing("limit", "write limit: 100", report);
        }
        let neither = fields.get("window").is_none() && fields.get("permit_ttl").is_none();
        match algorithm {
            Some(Algorithm::Concurrency) if neither => {
                let remedy =
                    "write permit_ttl: 30s, the time after which a permit that nobody gave back expires";
                fields.missing("permit_ttl", remedy, report);
            }
            Some(_) if neither => fields.missing("window", "write window: 60s", report),
            _ => {}
        }
        let quota = algorithm.and_then(|algorithm| given.quota(algorithm, fields, report));
        Self { quota, algorithm, given }
    }

    /// Reads the quota of one tier: what it does not say is the rule's.
    pub(super) fn tier(&self, fields: &Fields<'_, '_>, report: &mut Report<'_>) -> Option<Quota> {
        let own = Given::read(fields, self.algorithm, report);
        let given = Given {
            limit: own.limit.or(self.given.limit),
            window: own.window.or(self.given.window),
            burst: own.burst.or(self.given.burst),
        };
        given.quota(self.algorithm?, fields, report)
    }
}

impl Given {
    /// Reads the numbers that `fields` gives and reports each that cannot be; those are left out.
    fn read(fields: &Fields<'_, '_>, algorithm: Option<Algorithm>, report: &mut Report<'_>) -> Self {
        let Some(algorithm) = algorithm else {
            fields.optional("limit", report, scalar::unsigned);
            fields.optional("burst", report, scalar::unsigned);
            fields.optional("window", report, scalar::duration);
            fields.optional("permit_ttl", report, scalar::duration);
            return Self::default();
        };
        let time = time_field(algorithm);
        misplaced_time(fields, algorithm, report);
        // Each number is tried alone with harmless others, so that every wrong one is reported.
        let minute = Micros::from_secs(60);
        let limit = fields.optional("limit", report, |node, path, report| {
            let limit = scalar::unsigned(node, path, report)?;
            if limit == 0 {
                let message = "a limit of 0 refuses every request";
                report.warn(
                    node.at,
                    path,
                    message,
                    "write mode: off to switch the rule off, if that was meant",
                );
            }
            check(Quota::new(algorithm, limit, minute, None), algorithm, node, path, report).then_some(limit)
        });
        let window = fields.optional(time, report, |node, path, report| {
            let window = scalar::duration(node, path, report)?;
            check(Quota::new(algorithm, 1, window, None), algorithm, node, path, report).then_some(window)
        });
        let burst = fields.optional("burst", report, |node, path, report| {
            let burst = scalar::unsigned(node, path, report)?;
            let as_large = burst.max(limit.unwrap_or(1).min(1)).min(algorithm.max_limit());
            check(Quota::new(algorithm, as_large, minute, Some(burst)), algorithm, node, path, report)
                .then_some(burst)
        });
        Self { limit, window, burst }
    }

    /// The quota, where all its numbers are there; reports numbers that do not go together.
    fn quota(self, algorithm: Algorithm, fields: &Fields<'_, '_>, report: &mut Report<'_>) -> Option<Quota> {
        match Quota::new(algorithm, self.limit?, self.window?, self.burst) {
            Ok(quota) => Some(quota),
            Err(error) => {
                let order = match error {
                    QuotaError::FillTooLong => ["burst", "limit", time_field(algorithm)],
                    _ => ["limit", "burst", time_field(algorithm)],
                };
                let (field, at) = order
                    .into_iter()
                    .find_map(|field| Some((field, fields.get(field)?.at)))
                    .unwrap_or(("limit", fields.node.at));
                explain(error, algorithm, None, at, &fields.path.field(field), report);
                None
            }
        }
    }
}

/// Reports `window` with concurrency, and `permit_ttl` without.
fn misplaced_time(fields: &Fields<'_, '_>, algorithm: Algorithm, report: &mut Report<'_>) {
    let (field, message, remedy) = match algorithm {
        Algorithm::Concurrency => (
            "window",
            "concurrency has no window: it counts what is in progress".to_owned(),
            "write permit_ttl instead, the time after which a permit that nobody gave back expires",
        ),
        _ => (
            "permit_ttl",
            format!("{algorithm} hands out no permits"),
            "write window instead, or algorithm: concurrency",
        ),
    };
    if let Some(node) = fields.get(field) {
        report.error(node.at, &fields.path.field(field), message, remedy);
    }
}

fn check(
    result: Result<Quota, QuotaError>,
    algorithm: Algorithm,
    node: &Node,
    path: &Path<'_>,
    report: &mut Report<'_>,
) -> bool {
    match result {
        Ok(_) => true,
        Err(error) => {
            explain(error, algorithm, node.text(), node.at, path, report);
            false
        }
    }
}

/// Reports a quota that cannot be; `found` is the text of the number that is wrong, where it is one.
fn explain(
    error: QuotaError,
    algorithm: Algorithm,
    found: Option<&str>,
    at: Spot,
    path: &Path<'_>,
    report: &mut Report<'_>,
) {
    let found = found.unwrap_or("out of range");
    let time = match algorithm {
        Algorithm::Concurrency => "permit's life",
        _ => "window",
    };
    let (message, remedy) = match error {
        QuotaError::LimitTooLarge { max } if max == MAX_LIMIT => {
            (format!("the limit is {found}"), format!("write at most {}", grouped(max)))
        }
        QuotaError::LimitTooLarge { max } => {
            let remedy = match algorithm {
                Algorithm::Concurrency => format!("write at most {}", grouped(max)),
                _ => format!("write at most {}, or algorithm: token_bucket", grouped(max)),
            };
            (format!("the limit is {found}, more than {algorithm} can keep"), remedy)
        }
        QuotaError::WindowTooShort => {
            (format!("the {time} is {found}"), format!("write at least {MIN_WINDOW}, for example 60s"))
        }
        QuotaError::WindowTooLong => {
            (format!("the {time} is {found}"), format!("write at most {MAX_WINDOW}"))
        }
        QuotaError::BurstNotSupported => {
            (format!("{algorithm} has no burst"), "remove burst, or write algorithm: token_bucket".to_owned())
        }
        QuotaError::BurstZero => {
            ("a burst of 0 lets nothing pass".to_owned(), "write at least 1, or remove burst".to_owned())
        }
        QuotaError::BurstTooLarge => {
            (format!("the burst is {found}"), format!("write at most {}", grouped(MAX_LIMIT)))
        }
        QuotaError::ProductTooLarge => (
            format!("limit × {time} is too large to be kept exactly"),
            "write a rounder limit, for example 1_000_000, or a shorter time".to_owned(),
        ),
        QuotaError::FillTooLong => (
            "the burst would take more than 100 years to refill".to_owned(),
            "write a smaller burst or a larger limit".to_owned(),
        ),
    };
    report.error(at, path, message, remedy);
}
