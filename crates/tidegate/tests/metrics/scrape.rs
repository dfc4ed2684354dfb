//! A page of `/metrics`, read strictly: a line that is not in the format, a sample that is not in the catalogue, or a series
//! that stands twice fails the test.

use std::collections::BTreeMap;

use tidegate::telemetry::metrics::catalogue::{GROUPS, Kind, Metric};

/// Numbers by series: the name with its labels, as written.
#[derive(Debug, PartialEq)]
pub(crate) struct Scrape(pub(crate) BTreeMap<String, f64>);

/// Every metric of the catalogue.
pub(crate) fn catalogue() -> impl Iterator<Item = &'static Metric> {
    GROUPS.iter().flat_map(|group| group.metrics.iter().copied())
}

/// The metric that a sample's name belongs to, and the labels such a sample has.
pub(crate) fn metric_of(sample: &str) -> Option<(&'static Metric, Vec<&'static str>)> {
    catalogue().find_map(|metric| {
        let (_, labels) = metric.samples().into_iter().find(|(name, _)| name == sample)?;
        Some((metric, labels))
    })
}

impl Scrape {
    #[track_caller]
    pub(crate) fn of(page: &str) -> Self {
        assert!(page.ends_with("# EOF\n"), "it is not whole: {page}");
        let mut numbers = BTreeMap::new();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let (series, number) = line.rsplit_once(' ').unwrap_or_else(|| panic!("not a sample: {line}"));
            check_series(series);
            let number: f64 = number.parse().unwrap_or_else(|_| panic!("not a number: {line}"));
            assert!(numbers.insert(series.to_owned(), number).is_none(), "{series} stands twice");
        }
        let scrape = Self(numbers);
        scrape.check_histograms();
        scrape
    }

    /// The number of a series, by its name and labels.
    #[track_caller]
    pub(crate) fn get(&self, series: &str) -> f64 {
        *self.0.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.0.keys()))
    }

    /// The sum of all series of a name.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.0.iter().filter(|(series, _)| name_of(series) == name).map(|(_, number)| number).sum()
    }

    /// Names and labels of all series.
    pub(crate) fn series(&self) -> Vec<&String> {
        self.0.keys().collect()
    }

    /// Buckets ascend, and the last is the count.
    fn check_histograms(&self) {
        for metric in catalogue().filter(|metric| metric.kind == Kind::Histogram) {
            let count = format!("{}_count", metric.name);
            let counts = self.0.iter().filter(|(series, _)| name_of(series) == count);
            for (series, count) in counts {
                let labels = series.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
                let mut buckets: Vec<(f64, f64)> = self
                    .0
                    .iter()
                    .filter(|(bucket, _)| {
                        name_of(bucket) == format!("{}_bucket", metric.name) && bucket.contains(labels)
                    })
                    .map(|(bucket, number)| {
                        let bound = bucket.split_once("le=\"").unwrap().1.split('"').next().unwrap();
                        (bound.replace("+Inf", "inf").parse().unwrap(), *number)
                    })
                    .collect();
                buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{series}: {buckets:?}");
                assert_eq!(buckets.last().unwrap(), &(f64::INFINITY, *count), "{series}");
            }
        }
    }
}

fn name_of(series: &str) -> &str {
    series.split('{').next().unwrap()
}

fn check_series(series: &str) {
    let name = name_of(series);
    let (metric, labels) = metric_of(name).unwrap_or_else(|| panic!("{name} is not in the catalogue"));
    let mut given = label_names(series);
    given.sort_unstable();
    let mut expected = labels;
    expected.sort_unstable();
    assert_eq!(given, expected, "labels of {}", metric.name);
}

/// The names of a series' labels. Quotes within values are escaped.
fn label_names(series: &str) -> Vec<&str> {
    let Some((_, mut rest)) = series.split_once('{') else { return Vec::new() };
    let mut names = Vec::new();
    while let Some((name, value)) = rest.split_once("=\"") {
        names.push(name.trim_start_matches(','));
        let mut is_escaped = false;
        let end = value.find(|c| {
            let ends = c == '"' && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            ends
        });
        rest = &value[end.unwrap_or_else(|| panic!("a value has no end: {series}")) + 1..];
    }
    assert_eq!(rest, "}", "{series}");
    names
}
