//! One rule.

use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::model::{
    Condition, Denies, EntryCondition, MAX_CONDITIONS, MAX_KEY_ENTRIES, MAX_REPLACED, MAX_TIERS, Mode,
    OnLimit, Queue, Reserve, Rule,
};

use super::Defaults;
use super::fields::{self, Fields, Shape};
use super::quota::Quotas;
use super::scalar::{self, Name};
use super::{MAX_QUEUE_DEPTH, MAX_QUEUE_WAIT, MAX_RESERVES, condition, domain, lease, room};
use crate::path::Path;
use crate::report::Report;
use crate::suggest::{grouped, listed, quote};
use crate::yaml::{Node, Value};

pub(super) const RULE: Shape = Shape {
    what: "a rule",
    fields: &[
        "name",
        "formerly",
        "match",
        "any",
        "only",
        "order",
        "otherwise",
        "key",
        "algorithm",
        "limit",
        "window",
        "burst",
        "permit_ttl",
        "tiers",
        "reserve",
        "mode",
        "replaces",
        "denies",
        "on_store_failure",
        "queue",
        "on_limit",
        "room",
        "consistency",
        "lease",
    ],
    others: &[
        ("id", "name"),
        ("was", "formerly"),
        ("renamed_from", "formerly"),
        ("previous_name", "formerly"),
        ("when", "match"),
        ("where", "match"),
        ("conditions", "match"),
        ("match_any", "any"),
        ("any_of", "any"),
        ("or", "any"),
        ("in_order", "order"),
        ("replace", "replaces"),
        ("overrides", "replaces"),
        ("quota_mode", "denies"),
        ("default", "otherwise"),
        ("else", "otherwise"),
        ("keys", "key"),
        ("by", "key"),
        ("partition_key", "key"),
        ("strategy", "algorithm"),
        ("type", "algorithm"),
        ("max", "limit"),
        ("rate", "limit"),
        ("requests", "limit"),
        ("max_requests", "limit"),
        ("requests_per_unit", "limit"),
        ("per", "window"),
        ("unit", "window"),
        ("period", "window"),
        ("interval", "window"),
        ("seconds", "window"),
        ("capacity", "burst"),
        ("max_burst", "burst"),
        ("bucket_size", "burst"),
        ("ttl", "permit_ttl"),
        ("timeout", "permit_ttl"),
        ("plans", "tiers"),
        ("priorities", "reserve"),
        ("shadow", "mode"),
        ("shadow_mode", "mode"),
        ("dry_run", "mode"),
        ("enabled", "mode"),
        ("failure_policy", "on_store_failure"),
        ("on_failure", "on_store_failure"),
        ("over_limit", "on_limit"),
        ("on_exceeded", "on_limit"),
        ("action", "on_limit"),
        ("waiting_room", "room"),
        ("prefetch", "lease"),
        ("quota_lease", "lease"),
    ],
};

pub(super) const TIER: Shape = Shape {
    what: "a tier",
    fields: &["limit", "window", "burst", "permit_ttl"],
    others: &[("rate", "limit"), ("max", "limit"), ("period", "window"), ("capacity", "burst")],
};

pub(super) const QUEUE: Shape = Shape {
    what: "a queue",
    fields: &["max_wait", "max_depth"],
    others: &[("wait", "max_wait"), ("timeout", "max_wait"), ("depth", "max_depth"), ("size", "max_depth")],
};

/// The algorithm of a rule that names none.
pub(super) const DEFAULT_ALGORITHM: Algorithm = Algorithm::TokenBucket;

const MODES: [(&str, Mode); 3] = [
    (Mode::Enforce.name(), Mode::Enforce),
    (Mode::Shadow.name(), Mode::Shadow),
    (Mode::Off.name(), Mode::Off),
];

const ON_LIMIT: [(&str, Becomes); 2] = [("refuse", Becomes::Refused), ("room", Becomes::Sent)];

/// What becomes of a request over the limit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Becomes {
    Refused,
    Sent,
}

/// Reads one rule.
pub(super) fn read(
    node: &Node,
    path: Path<'_>,
    defaults: &Defaults,
    report: &mut Report<'_>,
) -> Option<Rule> {
    let fields = Fields::read(node, path, &RULE, report)?;
    let name = fields.required("name", "write name: and a name", report, |node, path, report| {
        scalar::name(node, path, Name::Rule, report)
    });
    let formerly = fields
        .optional("formerly", report, |node, path, report| scalar::name(node, path, Name::Rule, report));
    let conditions = fields.optional("match", report, condition::read).unwrap_or_default();
    let any = fields.optional("any", report, condition::read_any).unwrap_or_default();
    let only = fields.optional("only", report, scalar::boolean).unwrap_or(false);
    let order = fields.optional("order", report, read_order).unwrap_or_default();
    let otherwise = fields.optional("otherwise", report, scalar::boolean).unwrap_or(false);
    let remedy = "write key: [client_ip] for one bucket per address, or key: [] for one bucket for all";
    let key = fields
        .required("key", remedy, report, |node, path, report| read_key(node, path, &conditions, report));
    let algorithm = match fields.get("algorithm") {
        None => Some(defaults.algorithm),
        Some(_) => fields.optional("algorithm", report, read_algorithm),
    };
    let quotas = Quotas::read(&fields, algorithm, report);
    let tiers = fields
        .optional("tiers", report, |node, path, report| read_tiers(node, path, &quotas, report))
        .unwrap_or_default();
    let reserve = fields.optional("reserve", report, read_reserve).unwrap_or_default();
    let mode = fields.optional("mode", report, read_mode).unwrap_or_default();
    let replaces = fields.optional("replaces", report, read_replaces).unwrap_or_default();
    let denies = fields.optional("denies", report, read_denies).unwrap_or_default();
    let on_store_failure = fields.optional("on_store_failure", report, domain::failure_policy);
    let queue =
        fields.optional("queue", report, |node, path, report| read_queue(node, path, algorithm, report));
    let on_limit = read_on_limit(&fields, report);
    let consistency = lease::read(&fields, algorithm, quotas.quota, &tiers, report);
    let name = name?;
    Some(Rule {
        formerly: formerly.filter(|formerly| *formerly != name),
        name,
        conditions,
        any,
        only,
        order,
        otherwise,
        key: key?,
        algorithm: algorithm?,
        quota: quotas.quota?,
        tiers,
        reserve,
        mode,
        replaces,
        denies,
        on_store_failure,
        queue,
        on_limit,
        consistency,
    })
}

/// `on_limit` and the `room` that goes with it.
fn read_on_limit(fields: &Fields<'_, '_>, report: &mut Report<'_>) -> OnLimit {
    let becomes = fields.optional("on_limit", report, |node, path, report| {
        let others = [("queue", "room"), ("wait", "room"), ("deny", "refuse"), ("reject", "refuse")];
        scalar::choice(node, path, &ON_LIMIT, &others, report)
    });
    let room = fields.optional("room", report, room::name);
    match (becomes, fields.get("on_limit"), fields.get("room")) {
        (Some(Becomes::Sent), Some(node), None) => {
            let remedy = "write room: and the name of one of the rooms of the file";
            report.error(node.at, &fields.path.field("room"), "room is missing", remedy);
        }
        (None | Some(Becomes::Refused), on_limit, Some(node)) if on_limit.is_none() || becomes.is_some() => {
            let message = "requests over the limit are refused, so nobody is sent to a room";
            report.error(
                node.at,
                &fields.path.field("room"),
                message,
                "write on_limit: room, or remove room",
            );
        }
        _ => {}
    }
    match (becomes, room) {
        (Some(Becomes::Sent), Some(room)) => OnLimit::Room(room),
        _ => OnLimit::Refuse,
    }
}

fn read_order(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    const MOST: usize = MAX_CONDITIONS + MAX_KEY_ENTRIES;
    let remedy = "write a list of entries, for example [country, city]";
    names(node, path, (MOST, "entries", Name::Entry), remedy, report)
}

fn read_replaces(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    let remedy = "write a list of the names of rules";
    names(node, path, (MAX_REPLACED, "rules", Name::Rule), remedy, report)
}

/// A list of names, each once.
fn names(
    node: &Node,
    path: &Path<'_>,
    (most, what, kind): (usize, &str, Name),
    remedy: &str,
    report: &mut Report<'_>,
) -> Option<Vec<String>> {
    let items = fields::list(node, path, remedy, report)?;
    fields::at_most(most, items.len(), what, node, path, report);
    let mut names: Vec<String> = Vec::new();
    for (index, item) in items.iter().take(most).enumerate() {
        let path = path.index(index);
        let Some(name) = scalar::name(item, &path, kind, report) else { continue };
        if names.contains(&name) {
            let message = format!("{} stands twice", quote(&name));
            report.error(item.at, &path, message, "remove one of the two");
        }
        names.push(name);
    }
    Some(names)
}

fn read_denies(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<Denies> {
    let choices = [Denies::Alone, Denies::Together].map(|denies| (denies.name(), denies));
    scalar::choice(node, path, &choices, &[], report)
}

fn read_algorithm(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<Algorithm> {
    const OTHERS: [(&str, &str); 8] = [
        ("gcra", "token_bucket"),
        ("bucket", "token_bucket"),
        ("leaky", "leaky_bucket"),
        ("fixed", "fixed_window"),
        ("sliding", "sliding_window"),
        ("sliding_log", "sliding_window_log"),
        ("sliding_window_counter", "sliding_window"),
        ("concurrent", "concurrency"),
    ];
    let choices = Algorithm::ALL.map(|algorithm| (algorithm.name(), algorithm));
    scalar::choice(node, path, &choices, &OTHERS, report)
}

fn read_mode(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<Mode> {
    const OTHERS: [(&str, &str); 7] = [
        ("dry_run", "shadow"),
        ("log", "shadow"),
        ("on", "enforce"),
        ("true", "enforce"),
        ("enabled", "enforce"),
        ("false", "off"),
        ("disabled", "off"),
    ];
    scalar::choice(node, path, &MODES, &OTHERS, report)
}

fn read_key(
    node: &Node,
    path: &Path<'_>,
    conditions: &[EntryCondition],
    report: &mut Report<'_>,
) -> Option<Vec<String>> {
    let remedy = match node.text() {
        Some(text) => format!("write [{text}]"),
        None => "write a list of entries, for example [client_ip], or [] for one bucket for all".to_owned(),
    };
    let items = fields::list(node, path, &remedy, report)?;
    fields::at_most(MAX_KEY_ENTRIES, items.len(), "entries in the key", node, path, report);
    let mut key: Vec<String> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().take(MAX_KEY_ENTRIES).enumerate() {
        let path = path.index(index);
        let Some(entry) = scalar::name(item, &path, Name::Entry, report) else { continue };
        if key.contains(&entry) {
            let message = format!("the entry {} stands twice in the key", quote(&entry));
            report.error(item.at, &path, message, "remove one of the two");
        }
        if conditions.iter().any(|c| c.entry == entry && c.condition == Condition::Absent) {
            let message = format!("the key needs the entry {}, which match wants absent", quote(&entry));
            let remedy = "take it out of the key, or remove the condition: as it stands, no request matches";
            report.error(item.at, &path, message, remedy);
        }
        key.push(entry);
    }
    Some(key)
}

fn read_tiers(
    node: &Node,
    path: &Path<'_>,
    quotas: &Quotas,
    report: &mut Report<'_>,
) -> Option<Vec<(String, Quota)>> {
    let entries = fields::map(node, path, "write for example { pro: { limit: 100 } }", report)?;
    fields::at_most(MAX_TIERS, entries.len(), "tiers", node, path, report);
    let mut tiers = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let Some(name) = fields::key_text(key, path, report) else { continue };
        let path = path.field(name);
        let good = scalar::check_name(name, key.at, &path, Name::Tier, report);
        let Some(fields) = Fields::read(value, path, &TIER, report) else { continue };
        if matches!(&value.value, Value::Map(entries) if entries.is_empty()) {
            let remedy =
                format!("write at least one of {}, or remove the tier", listed(TIER.fields.iter().copied()));
            report.error(value.at, &path, "the tier changes nothing", remedy);
        }
        let quota = quotas.tier(&fields, report);
        tiers.extend(quota.filter(|_| good).map(|quota| (name.to_owned(), quota)));
    }
    Some(tiers)
}

fn read_reserve(node: &Node, path: &Path<'_>, report: &mut Report<'_>) -> Option<Vec<Reserve>> {
    let entries =
        fields::map(node, path, "write for example { critical: 20% }, the highest priority first", report)?;
    fields::at_most(MAX_RESERVES, entries.len(), "priorities", node, path, report);
    let mut reserve = Vec::with_capacity(entries.len());
    let mut sum: u32 = 0;
    for (key, value) in entries {
        let Some(priority) = fields::key_text(key, path, report) else { continue };
        let path = path.field(priority);
        scalar::check_name(priority, key.at, &path, Name::Priority, report);
        let Some(percent) = scalar::percent(value, &path, report) else { continue };
        sum = sum.saturating_add(u32::from(percent));
        reserve.push(Reserve { priority: priority.to_owned(), percent });
    }
    if sum > 100 {
        let message = format!("the shares add up to {sum}%");
        report.error(node.at, path, message, "lower them to 100% or less in all");
    }
    Some(reserve)
}

fn read_queue(
    node: &Node,
    path: &Path<'_>,
    algorithm: Option<Algorithm>,
    report: &mut Report<'_>,
) -> Option<Queue> {
    if let Some(algorithm) = algorithm.filter(|algorithm| !algorithm.has_burst()) {
        let message = format!("{algorithm} cannot let requests wait their turn");
        report.error(node.at, path, message, "remove queue, or write algorithm: leaky_bucket");
    }
    let fields = Fields::read(node, *path, &QUEUE, report)?;
    let max_wait = fields.required("max_wait", "write max_wait: 2s", report, |node, path, report| {
        let span = scalar::duration(node, path, report)?;
        if span.as_micros() == 0 {
            let remedy = "write for example 2s, or remove queue to refuse at once";
            report.error(node.at, path, "the longest wait is 0s", remedy);
        } else if span > MAX_QUEUE_WAIT {
            let message = format!("the longest wait is {span}");
            report.error(node.at, path, message, format!("write at most {MAX_QUEUE_WAIT}"));
        }
        Some(span)
    });
    let max_depth = fields.required("max_depth", "write max_depth: 500", report, |node, path, report| {
        let depth = scalar::unsigned(node, path, report)?;
        if depth == 0 {
            let remedy = "write at least 1, or remove queue to refuse at once";
            report.error(node.at, path, "the queue has no place", remedy);
        } else if depth > MAX_QUEUE_DEPTH {
            let message = format!("the queue is {} deep", grouped(depth));
            report.error(node.at, path, message, format!("write at most {}", grouped(MAX_QUEUE_DEPTH)));
        }
        Some(depth)
    });
    Some(Queue { max_wait: max_wait?, max_depth: max_depth? })
}
