//! Every metric that a node has: the one table from which `/metrics`, its reference page and the checks of alert rules and
//! dashboards come.

use prometheus_client::metrics::MetricType;
use prometheus_client::registry;

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name of the family. Samples of a counter have `_total` behind it, those of a histogram `_bucket`, `_sum`, `_count`,
    /// those of an info `_info`.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: Kind,
    /// Names of its labels, in the order in which they are written.
    pub labels: &'static [&'static str],
    /// What it is counted in.
    pub unit: Unit,
    /// What it says.
    pub help: &'static str,
}

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from zero at the start.
    Counter,
    /// What is now.
    Gauge,
    /// How many of what took how long.
    Histogram,
    /// Always 1; its labels are what it says.
    Info,
}

/// What a metric is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things, or nothing at all.
    None,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

/// Metrics that belong together.
#[derive(Debug)]
pub struct Group {
    /// A heading.
    pub title: &'static str,
    /// In the order of the reference page.
    pub metrics: &'static [&'static Metric],
}

impl Kind {
    /// The name, as Prometheus has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info => "info",
        }
    }

    pub(super) const fn openmetrics(self) -> MetricType {
        match self {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
            Kind::Info => MetricType::Info,
        }
    }
}

impl Unit {
    /// The name, with which a metric's name ends.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Unit::None => None,
            Unit::Seconds => Some("seconds"),
            Unit::Bytes => Some("bytes"),
        }
    }

    pub(super) const fn openmetrics(self) -> Option<registry::Unit> {
        match self {
            Unit::None => None,
            Unit::Seconds => Some(registry::Unit::Seconds),
            Unit::Bytes => Some(registry::Unit::Bytes),
        }
    }
}

impl Metric {
    /// The names under which its samples stand in Prometheus, with the labels of each.
    #[must_use]
    pub fn samples(&self) -> Vec<(String, Vec<&'static str>)> {
        let labels = || self.labels.to_vec();
        let named = |suffix: &str| format!("{}{suffix}", self.name);
        match self.kind {
            Kind::Counter => vec![(named("_total"), labels())],
            Kind::Gauge => vec![(named(""), labels())],
            Kind::Info => vec![(named("_info"), labels())],
            Kind::Histogram => {
                let with_bound = labels().into_iter().chain(["le"]).collect();
                vec![(named("_bucket"), with_bound), (named("_sum"), labels()), (named("_count"), labels())]
            }
        }
    }

    /// The name without the unit, which the encoder adds.
    pub(super) fn stem(&self) -> &'static str {
        let unit = self.unit.name().unwrap_or_default();
        self.name.strip_suffix(unit).map_or(self.name, |stem| stem.trim_end_matches('_'))
    }
}

const fn metric(
    kind: Kind,
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind, labels, unit: Unit::None, help }
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    metric(Kind::Counter, name, labels, help)
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    metric(Kind::Gauge, name, labels, help)
}

/// In seconds.
const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { unit: Unit::Seconds, ..metric(Kind::Histogram, name, labels, help) }
}

const fn of(unit: Unit, metric: Metric) -> Metric {
    Metric { unit, ..metric }
}

macro_rules! catalogue {
    ($($title:literal { $($id:ident = $metric:expr;)* })*) => {
        $($(pub(crate) static $id: Metric = $metric;)*)*

        /// All metrics.
        pub static GROUPS: &[Group] = &[$(Group { title: $title, metrics: &[$(&$id),*] }),*];
    };
}

catalogue! {
    "Decisions" {
        ALLOWED = counter("ratelimiter_allowed", &["domain", "rule", "door"], "Requests that may pass, at once or after a wait, by the rule that binds");
        BLOCKED = counter("ratelimiter_blocked", &["domain", "rule", "door"], "Requests that may not pass, by the rule that binds");
        CHECK_DURATION = histogram("ratelimiter_check_duration_seconds", &["door"], "Time from a request that is known to its decision, without reading, writing and waiting in a queue; each request of a batch has an equal share of the batch's time");
        SHADOW_BLOCKED = counter("tidegate_shadow_blocked", &["domain", "rule"], "Requests that a rule in shadow would not have let pass");
        CHECK_FAILURES = counter("tidegate_check_failures", &["door"], "Requests that got no decision at all");
        DEGRADED = counter("tidegate_degraded_decisions", &["policy", "cause"], "Requests decided without the store, by the failure policy that decided and why the store did not");
        CEILING_REFUSALS = counter("tidegate_ceiling_refusals", &["door"], "Requests refused because their tenant asks more often than its ceiling allows");
        RULES_WITHOUT_SERIES = gauge("tidegate_rules_without_series", &[], "Rules in force that are counted together, because there are too many for a series each");
    }
    "Queues" {
        QUEUE_WAITING = gauge("tidegate_queue_waiting", &[], "Requests that wait for their turn");
        QUEUE_WAIT = histogram("tidegate_queue_wait_seconds", &[], "Waits that requests were given by rules with a queue");
        QUEUE_ABANDONED = counter("tidegate_queue_abandoned", &[], "Requests whose client went away before it was their turn");
    }
    "Overload" {
        REQUESTS_IN_PROGRESS = gauge("tidegate_requests_in_progress", &["door"], "Requests that a door decides now, those that wait in queues included");
        REQUESTS_SHED = counter("tidegate_requests_shed", &["door", "priority"], "Requests that a door refused because it had too many in progress");
    }
    "Waiting rooms" {
        ROOM_WAITING = gauge("tidegate_room_waiting", &["room"], "Visitors that wait in the line");
        ROOM_READY = gauge("tidegate_room_ready", &["room"], "Visitors that were called and have not come in yet");
        ROOM_ACTIVE = gauge("tidegate_room_active", &["room"], "Sessions");
        ROOM_CAPACITY = gauge("tidegate_room_capacity", &["room"], "The most visitors that are inside or called at one time");
        ROOM_JOINED = counter("tidegate_room_joined", &["room"], "Visitors that were given a place in the line on this node");
        ROOM_ADMITTED = counter("tidegate_room_admitted", &["room"], "Sessions that began on this node");
        ROOM_ABANDONED = counter("tidegate_room_abandoned", &["room"], "Calls that nobody claimed in time");
        ROOM_EXPIRED = counter("tidegate_room_expired", &["room"], "Places in the line whose visitor did not ask any more");
        ROOM_ENDED = counter("tidegate_room_ended", &["room"], "Sessions that ended");
        ROOM_WAIT = histogram("tidegate_room_wait_seconds", &["room"], "Time from joining to coming in, of visitors who came in on this node");
    }
    "Store" {
        BREAKER_STATE = gauge("ratelimiter_circuit_breaker_state", &["store"], "The circuit breaker before the store: 0 closed, 1 half-open, 2 open");
        BREAKER_TRANSITIONS = counter("tidegate_circuit_breaker_transitions", &["store"], "Changes of the circuit breaker's state");
        BREAKER_REJECTED = counter("tidegate_circuit_breaker_rejected", &["store"], "Calls that the circuit breaker kept from the store");
        STORE_CALL_DURATION = histogram("tidegate_store_call_duration_seconds", &[], "Time of calls to a shared store, failed ones included; none for the embedded store");
        STORE_ERRORS = counter("tidegate_store_errors", &["kind"], "Calls to a shared store that failed");
        DEBTS = gauge("tidegate_debts", &[], "Buckets whose charges during an outage the store has yet to be told of");
        DEBT_UNITS_PAID = counter("tidegate_debt_units_paid", &[], "Units let through during outages that the store was told of");
        DEBT_UNITS_LOST = counter("tidegate_debt_units_lost", &[], "Units let through during outages that the store may never hear of");
    }
    "Embedded store" {
        STORE_BUCKETS = gauge("tidegate_store_buckets", &[], "Buckets in the embedded store");
        STORE_BYTES = of(Unit::Bytes, gauge("tidegate_store_bytes", &[], "Memory of the embedded store"));
        STORE_MAX_BYTES = of(Unit::Bytes, gauge("tidegate_store_max_bytes", &[], "The most memory of the embedded store"));
        STORE_EVICTIONS = counter("tidegate_store_evictions", &["state"], "Buckets that gave their place to others: at_rest, which loses nothing, or live, which does");
        STORE_SPILLED = counter("tidegate_store_spilled", &[], "Charges made to a bucket that keys share, because the store was full");
        STORE_SWEPT = counter("tidegate_store_swept", &[], "Buckets at rest that were swept away");
        STORE_REPAIRS = counter("tidegate_store_repairs", &[], "Buckets pulled back from a time that only a wrong clock can have written");
    }
    "Shared store" {
        STORE_PLANS = counter("tidegate_store_plans", &[], "Checks and looks that a shared store was asked for");
        STORE_PLANS_SENT = counter("tidegate_store_plans_sent", &[], "What was sent for them: equal checks of a bucket ride as one");
        STORE_SCRIPT_CALLS = counter("tidegate_store_script_calls", &[], "Calls of the script that decides");
        STORE_ROUND_TRIPS = counter("tidegate_store_round_trips", &[], "Round trips to a shared store");
        STORE_CONNECTS = counter("tidegate_store_connects", &[], "Connections to a shared store that were made");
        STORE_CONNECTION_LOSSES = counter("tidegate_store_connection_losses", &[], "Connections to a shared store that were lost");
        DENY_CACHE_ENTRIES = gauge("tidegate_deny_cache_entries", &[], "Buckets whose state is remembered, to give sure denials here");
        DENY_CACHE_ASKED = counter("tidegate_deny_cache_asked", &[], "Requests that were looked for among remembered denials");
        DENY_CACHE_HITS = counter("tidegate_deny_cache_hits", &[], "Requests of these that were denied without asking the store");
        DENY_CACHE_REMEMBERED = counter("tidegate_deny_cache_remembered", &[], "Times that a bucket's state was remembered");
        DENY_CACHE_EVICTIONS = counter("tidegate_deny_cache_evictions", &[], "Buckets forgotten early, to make room for others");
        LEASE_BUCKETS = gauge("tidegate_lease_buckets", &[], "Buckets of which this node holds units on lease");
        LEASE_UNITS = gauge("tidegate_lease_units", &[], "Units that this node holds on lease");
        LEASES = counter("tidegate_leases", &[], "Leases taken");
        LEASE_ANSWERED = counter("tidegate_lease_answered", &[], "Requests answered from a lease, without asking the store");
        LEASE_UNITS_RETURNED = counter("tidegate_lease_units_returned", &[], "Leased units that were given back");
        LEASE_UNITS_LOST = counter("tidegate_lease_units_lost", &[], "Leased units that were neither spent nor given back");
    }
    "Connections" {
        CONNECTIONS_OPEN = gauge("tidegate_connections_open", &["listener"], "Connections that are open");
        CONNECTIONS_ACCEPTED = counter("tidegate_connections_accepted", &["listener"], "Connections taken from the listener, refused ones included");
        CONNECTIONS_REFUSED = counter("tidegate_connections_refused", &["listener", "reason"], "Connections closed at once: full, the door is full and nobody idles; address, the client's address holds its share");
        CONNECTIONS_CLOSED = counter("tidegate_connections_closed", &["listener", "reason"], "Connections the server ended: evicted (idle, to make room), idle, head (sent too slowly), stalled (does not read), drain (not done in time at the end)");
        ACCEPT_ERRORS = counter("tidegate_accept_errors", &["listener"], "Failures to take a connection: no file descriptors or no memory left");
    }
    "Rules" {
        RULES_VERSION = gauge("tidegate_rules_version", &[], "Version of the rules in force");
        RULES = gauge("tidegate_rules", &[], "Rules in force");
        RULES_CURRENT = gauge("tidegate_rules_current", &[], "1 where the rules in force are those written last, 0 where newer ones have an error and the last good ones are kept");
        RULES_RELOADS = counter("tidegate_rules_reloads", &["result"], "Changes of rules: ok, put in force; failed, not");
    }
    "Catalog" {
        CATALOG_UP = gauge("tidegate_catalog_up", &[], "1 where the catalog's database answers");
        CATALOG_CURRENT = gauge("tidegate_catalog_current", &[], "1 where what is in force is what was written last");
        CATALOG_RULES_VERSION = gauge("tidegate_catalog_rules_version", &[], "Version of the catalog's rules in force");
        CATALOG_RULES_VERSION_SEEN = gauge("tidegate_catalog_rules_version_seen", &[], "Newest version of the catalog's rules that was seen");
        CATALOG_RELOADS = counter("tidegate_catalog_reloads", &[], "Changes of rules put in force");
        CATALOG_RELOAD_FAILURES = counter("tidegate_catalog_reload_failures", &[], "Changes of rules that could not be put in force");
        CATALOG_OUTAGES = counter("tidegate_catalog_outages", &[], "Times the catalog's database stopped answering");
        SUBJECTS_CACHED = gauge("tidegate_subjects_cached", &[], "Subjects in the cache");
        SUBJECT_CACHE_HITS = counter("tidegate_subject_cache_hits", &[], "Subjects found in the cache");
        SUBJECT_CACHE_MISSES = counter("tidegate_subject_cache_misses", &[], "Subjects not found in the cache");
        SUBJECT_LOOKUPS = counter("tidegate_subject_lookups", &[], "Questions to the database about a subject");
        SUBJECT_LOOKUPS_STALE = counter("tidegate_subject_lookups_stale", &[], "Requests decided by what was known of the subject before");
        SUBJECT_LOOKUP_FAILURES = counter("tidegate_subject_lookup_failures", &[], "Requests decided by the default tier because nothing was known");
        BANNED_REQUESTS = counter("tidegate_banned_requests", &[], "Requests of banned subjects");
        USAGE_ROWS_WAITING = gauge("tidegate_usage_rows_waiting", &[], "Rows of usage that wait to be written");
        USAGE_DROPPED = counter("tidegate_usage_dropped", &[], "Rows of usage that were dropped because too many waited");
        USAGE_BATCHES = counter("tidegate_usage_batches", &[], "Batches of usage written");
        USAGE_FAILURES = counter("tidegate_usage_failures", &[], "Times usage could not be written");
    }
    "Traces" {
        TRACE_SPANS = counter("tidegate_trace_spans", &["fate"], "Spans whose fate is known: exported, failed (the collector refused them or was not reached in time) or dropped (the queue was full); none without a collector");
    }
    "Process" {
        BUILD = metric(Kind::Info, "tidegate_build", &["version"], "The program's version");
        START_TIME = of(Unit::Seconds, gauge("process_start_time_seconds", &[], "When the server started, in seconds since the Unix epoch"));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_end_with_their_unit() {
        let mut seen = HashSet::new();
        for metric in GROUPS.iter().flat_map(|group| group.metrics) {
            for (name, _) in metric.samples() {
                assert!(seen.insert(name.clone()), "{name} stands twice");
            }
            assert!(!metric.name.ends_with("_total"), "{} has it added", metric.name);
            if let Some(unit) = metric.unit.name() {
                assert_eq!(format!("{}_{unit}", metric.stem()), metric.name);
            }
            assert!(!metric.help.ends_with('.') && !metric.help.contains('\n'), "{}", metric.help);
        }
        assert!(seen.len() > 70);
    }
}
