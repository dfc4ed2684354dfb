//! Numbers of the moment, by the catalogue, as a page in the OpenMetrics text format.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::registry::Registry;

use super::catalogue::{Kind, Metric};
use super::cells::HistogramReading;

/// What a node has to tell at one time. Only metrics of the catalogue can stand in it, with the labels that it says.
#[derive(Debug, Default)]
pub(crate) struct Page(Vec<Family>);

/// One metric, with every set of labels that it has.
#[derive(Debug)]
struct Family {
    metric: &'static Metric,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    /// Values, in the order of the catalogue.
    labels: Box<[String]>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Whole(u64),
    Real(f64),
    Histogram(HistogramReading),
}

impl Page {
    /// A number without labels.
    pub(crate) fn number(&mut self, metric: &'static Metric, value: u64) {
        self.labelled(metric, [], value);
    }

    /// A number with the values of the metric's labels.
    pub(crate) fn labelled<const N: usize>(
        &mut self,
        metric: &'static Metric,
        labels: [&str; N],
        value: u64,
    ) {
        self.add(metric, labels, Value::Whole(value));
    }

    pub(super) fn real(&mut self, metric: &'static Metric, value: f64) {
        self.add(metric, [], Value::Real(value));
    }

    pub(super) fn histogram<const N: usize>(
        &mut self,
        metric: &'static Metric,
        labels: [&str; N],
        reading: HistogramReading,
    ) {
        self.add(metric, labels, Value::Histogram(reading));
    }

    /// Whole families only: a family's samples have to stand together.
    fn add<const N: usize>(&mut self, metric: &'static Metric, labels: [&str; N], value: Value) {
        debug_assert_eq!(N, metric.labels.len(), "labels of {}", metric.name);
        let sample = Sample { labels: labels.map(str::to_owned).into(), value };
        match self.0.iter_mut().rev().find(|family| std::ptr::eq(family.metric, metric)) {
            Some(family) => family.samples.push(sample),
            None => self.0.push(Family { metric, samples: vec![sample] }),
        }
    }

    /// The page as text.
    pub(crate) fn into_text(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // Writing to a text does not fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        for Family { metric, samples } in &self.0 {
            let unit = metric.unit.openmetrics();
            let mut family = encoder.encode_descriptor(
                metric.stem(),
                metric.help,
                unit.as_ref(),
                metric.kind.openmetrics(),
            )?;
            for sample in samples {
                let names = metric.labels.iter().copied();
                let labels: Vec<(&str, &str)> = names.zip(sample.labels.iter().map(String::as_str)).collect();
                write(metric.kind, &labels, &sample.value, &mut family)?;
            }
        }
        Ok(())
    }
}

fn write(
    kind: Kind,
    labels: &Vec<(&str, &str)>,
    value: &Value,
    family: &mut MetricEncoder<'_>,
) -> Result<(), Error> {
    if kind == Kind::Info {
        return family.encode_info(labels);
    }
    let mut encoder = family.encode_family(labels)?;
    match (kind, value) {
        (Kind::Counter, Value::Whole(value)) => encoder.encode_counter::<NoLabelSet, u64, f64>(value, None),
        (Kind::Counter, Value::Real(value)) => encoder.encode_counter::<NoLabelSet, f64, f64>(value, None),
        (_, Value::Whole(value)) => encoder.encode_gauge(value),
        (_, Value::Real(value)) => encoder.encode_gauge(value),
        (_, Value::Histogram(HistogramReading { sum, count, buckets })) => {
            encoder.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)
        }
    }
}
