//! A small column chart of the timeline: one column a bucket, denied requests on top of the others.

use super::summary::TimelineBucket;
use super::text::Charset;

#[cfg(test)]
mod tests;

/// What stands at one place of the chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell {
    /// Nothing.
    Empty,
    /// Requests let through, at once or after waiting.
    Admitted,
    /// Requests refused.
    Denied,
}

impl Cell {
    /// How the cell is drawn. The two kinds differ without colour.
    pub(super) const fn glyph(self, charset: Charset) -> char {
        match (self, charset) {
            (Self::Empty, _) => ' ',
            (Self::Admitted, Charset::Unicode) => '█',
            (Self::Denied, Charset::Unicode) => '░',
            (Self::Admitted, Charset::Ascii) => '#',
            (Self::Denied, Charset::Ascii) => 'x',
        }
    }
}

/// The rows of the chart from the top, `height` of them, each with a cell a bucket. The highest bucket
/// reaches the top; whatever happened at all in a bucket gets one cell at least.
pub(super) fn rows(buckets: &[TimelineBucket], height: usize) -> Vec<Vec<Cell>> {
    let peak = peak(buckets);
    let columns: Vec<(usize, usize)> = buckets.iter().map(|bucket| column(bucket, peak, height)).collect();
    let cell = |(admitted, denied): &(usize, usize), level: usize| match level {
        level if level < *admitted => Cell::Admitted,
        level if level < admitted + denied => Cell::Denied,
        _ => Cell::Empty,
    };
    (0..height).rev().map(|level| columns.iter().map(|column| cell(column, level)).collect()).collect()
}

/// The most requests in one bucket.
pub(super) fn peak(buckets: &[TimelineBucket]) -> u64 {
    buckets.iter().map(total).max().unwrap_or(0)
}

const fn total(bucket: &TimelineBucket) -> u64 {
    bucket.allowed + bucket.waited + bucket.denied
}

/// The cells of one column: admitted below, denied above.
fn column(bucket: &TimelineBucket, peak: u64, height: usize) -> (usize, usize) {
    let admitted = bucket.allowed + bucket.waited;
    let scaled = |count: u64| {
        let height = height as u128;
        let cells = (u128::from(count) * height + u128::from(peak) / 2) / u128::from(peak.max(1));
        usize::try_from(cells.min(height)).unwrap_or(0)
    };
    let all =
        scaled(total(bucket)).max(usize::from(admitted > 0) + usize::from(bucket.denied > 0)).min(height);
    let least = usize::from(bucket.denied > 0);
    let most = all - usize::from(admitted > 0).min(all);
    let denied = scaled(bucket.denied).max(least).min(most.max(least).min(all));
    (all - denied, denied)
}
