//! Columns of the chart.

use super::*;

fn bucket(allowed: u64, waited: u64, denied: u64) -> TimelineBucket {
    TimelineBucket { start_us: 0, allowed, waited, denied }
}

fn drawn(buckets: &[TimelineBucket], height: usize) -> Vec<String> {
    let draw = |row: Vec<Cell>| row.into_iter().map(|cell| cell.glyph(Charset::Ascii)).collect();
    rows(buckets, height).into_iter().map(draw).collect()
}

#[test]
fn heights_are_shares_of_the_peak() {
    let buckets = [bucket(8, 0, 0), bucket(2, 2, 0), bucket(4, 0, 4), bucket(0, 0, 0), bucket(0, 0, 2)];
    assert_eq!(drawn(&buckets, 4), ["# x  ", "# x  ", "###  ", "### x"]);
}

#[test]
fn little_is_not_nothing() {
    let buckets =
        [bucket(1_000, 0, 1), bucket(1, 0, 1_000), bucket(1, 0, 0), bucket(0, 0, 1), bucket(1, 0, 1)];
    assert_eq!(drawn(&buckets, 4), ["xx   ", "#x   ", "#x  x", "###x#"]);
}

#[test]
fn extremes_do_not_overflow() {
    let buckets = [bucket(u64::MAX / 2, 0, u64::MAX / 2), bucket(1, 1, 1)];
    assert_eq!(drawn(&buckets, 2), ["xx", "##"]);
    assert_eq!(drawn(&[bucket(5, 0, 5)], 1), ["x"], "a denial is seen even where there is room for one cell");
    assert_eq!(drawn(&[bucket(0, 0, 0)], 2), [" ", " "]);
    assert_eq!(drawn(&[], 1), [""]);
}
