//! Metrics of the door and the catalog, for Prometheus.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use tidegate_catalog::state::Database;
use tidegate_engine::Clock;
use tidegate_store::BucketStore;

use crate::door::overload::{Overload, Priority};
use crate::gate::{Catalog, Gate};

/// All metrics of a node, as text. Made when asked for, from counters that are there anyway.
pub(super) fn page<S: BucketStore, C: Clock>(gate: &Gate<S, C>, doors: Vec<Overload>) -> String {
    let mut registry = Registry::with_prefix("tidegate");
    registry.register_collector(Box::new(Requests(doors)));
    registry.register_collector(Box::new(Rules { version: gate.engine().rules().version() }));
    if let Some(catalog) = gate.catalog() {
        registry.register_collector(Box::new(Followed(std::sync::Arc::clone(catalog))));
    }
    let mut page = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut page, &registry);
    page
}

/// What each door has in progress, and what it shed.
#[derive(Debug)]
struct Requests(Vec<Overload>);

impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (name, help) = ("requests_in_progress", "Requests that a door decides now");
        let mut family = encoder.encode_descriptor(name, help, None::<&Unit>, MetricType::Gauge)?;
        for overload in &self.0 {
            let now = ConstGauge::new(i64::try_from(overload.in_progress()).unwrap_or(i64::MAX));
            now.encode(family.encode_family(&[("door", overload.door())])?)?;
        }
        let (name, help) =
            ("requests_shed", "Requests that a door refused because it had too many in progress");
        let mut family = encoder.encode_descriptor(name, help, None::<&Unit>, MetricType::Counter)?;
        for overload in &self.0 {
            for priority in Priority::ALL {
                let shed = ConstCounter::new(overload.shed(priority));
                let labels = [("door", overload.door()), ("priority", priority.name())];
                shed.encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Rules {
    version: u64,
}

impl Collector for Rules {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        gauge(&mut encoder, "rules_version", "Version of the rules in force", signed(self.version))
    }
}

#[derive(Debug)]
struct Followed(std::sync::Arc<Catalog>);

impl Collector for Followed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (state, subjects, usage) = (self.0.state().get(), self.0.subjects().stats(), self.0.written());
        let (stale, failed) = self.0.lookup_troubles();
        let encoder = &mut encoder;
        let is = |yes: bool| i64::from(yes);
        gauge(
            encoder,
            "catalog_up",
            "Whether the catalog's database answers",
            is(state.database == Database::Up),
        )?;
        gauge(
            encoder,
            "catalog_current",
            "Whether what is in force is what was written last",
            is(state.is_current()),
        )?;
        gauge(
            encoder,
            "catalog_rules_version",
            "Version of the catalog's rules in force",
            state.applied.rules,
        )?;
        gauge(
            encoder,
            "catalog_rules_version_seen",
            "Newest version of the catalog's rules that was seen",
            state.seen.rules,
        )?;
        counter(encoder, "catalog_reloads", "Changes of rules put in force", state.reloads)?;
        counter(
            encoder,
            "catalog_reload_failures",
            "Changes of rules that could not be put in force",
            state.failed_reloads,
        )?;
        counter(encoder, "catalog_outages", "Times the catalog's database stopped answering", state.outages)?;
        gauge(encoder, "subjects_cached", "Subjects in the cache", signed(subjects.entries))?;
        counter(encoder, "subject_cache_hits", "Subjects found in the cache", subjects.hits)?;
        counter(encoder, "subject_cache_misses", "Subjects not found in the cache", subjects.misses)?;
        counter(encoder, "subject_lookups", "Questions to the database about a subject", subjects.flights)?;
        counter(
            encoder,
            "subject_lookups_stale",
            "Requests decided by what was known of the subject before",
            stale,
        )?;
        counter(
            encoder,
            "subject_lookup_failures",
            "Requests decided by the default tier because nothing was known",
            failed,
        )?;
        counter(encoder, "banned_requests", "Requests of banned subjects", self.0.banned())?;
        gauge(encoder, "usage_rows_waiting", "Rows of usage that wait to be written", signed(usage.waiting))?;
        counter(
            encoder,
            "usage_dropped",
            "Rows of usage that were dropped because too many waited",
            usage.dropped,
        )?;
        counter(encoder, "usage_batches", "Batches of usage written", usage.batches)?;
        counter(encoder, "usage_failures", "Times usage could not be written", usage.failures)
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: i64,
) -> Result<(), std::fmt::Error> {
    let metric = ConstGauge::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None::<&Unit>, metric.metric_type())?)
}

fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> Result<(), std::fmt::Error> {
    let metric = ConstCounter::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None::<&Unit>, metric.metric_type())?)
}
