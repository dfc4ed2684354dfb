//! How many were inside at one time, of whom it is certain: from the start of their session to the last time that they were told
//! of it, by the room's clock.

use tidegate_core::time::Timestamp;

use super::Record;

/// The most sessions at one instant.
pub(in crate::crowd) fn most_at_one_time<'a>(records: impl Iterator<Item = &'a Record>) -> u64 {
    let mut changes: Vec<(Timestamp, i64)> = records
        .filter_map(|record| record.session)
        // Times are in whole milliseconds: one that ends in the same as another begins need not have been there with it.
        .flat_map(|(start, seen)| [(start, 1), (seen, -1)])
        .collect();
    changes.sort_unstable();
    let (mut inside, mut most) = (0_i64, 0_i64);
    for (_, change) in changes {
        inside += change;
        most = most.max(inside);
    }
    u64::try_from(most).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_that_meet_are_not_there_at_one_time() {
        let record = |start, seen| {
            let at = Timestamp::from_micros;
            Record { session: Some((at(start), at(seen))), ..Record::default() }
        };
        let of = |records: &[Record]| most_at_one_time(records.iter());
        assert_eq!(of(&[record(0, 10), record(10, 20), record(20, 30)]), 1);
        assert_eq!(of(&[record(0, 11), record(10, 20), record(5, 30), Record::default()]), 3);
        assert_eq!(of(&[]), 0);
    }
}
