//! How many were inside at one time, of whom it is certain: from the start of their session to the last time that they were told
//! of it or went, by the room's clock.

use tidegate_core::time::Timestamp;

use super::Record;

/// The most sessions at one instant.
pub(in crate::crowd) fn most_at_one_time<'a>(records: impl Iterator<Item = &'a Record>) -> u64 {
    let mut changes: Vec<(Timestamp, i64)> = records
        .filter_map(|record| record.stay)
        // Times are in whole milliseconds: one that ends in the same as another begins need not have been there with it.
        .flat_map(|stay| [(stay.start, 1), (stay.seen, -1)])
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
    use tidegate_core::time::Micros;
    use tidegate_wire::room::seat::{Session, UnixTime};

    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_micros(ms * 1_000)
    }

    /// Told `told_ms` after its start of a session of 40 s, 15 s without a heartbeat; it heard so at 1,000 of its own clock.
    fn record(start_ms: u64, told_ms: u64) -> Record {
        let session = Session {
            started_at: UnixTime(at(start_ms)),
            ends_at: UnixTime(at(start_ms + 40_000)),
            left_ms: 40_000 - told_ms,
            idle_ms: 15_000,
            heartbeat_ms: 5_000,
            renewable: false,
        };
        let mut record = Record::default();
        record.inside(&session, at(1_000));
        record
    }

    fn most(records: &[Record]) -> u64 {
        most_at_one_time(records.iter())
    }

    #[test]
    fn sessions_that_meet_are_not_there_at_one_time() {
        assert_eq!(most(&[record(0, 10), record(10, 10), record(20, 10)]), 1);
        assert_eq!(most(&[record(0, 11), record(10, 10), record(5, 25), Record::default()]), 3);
        assert_eq!(most(&[]), 0);
    }

    #[test]
    fn who_goes_was_there_until_then_but_not_longer_than_without_a_heartbeat() {
        let mut first = record(0, 10);
        assert_eq!(most(&[first.clone(), record(500, 10)]), 1);
        first.stayed(at(1_500));
        assert_eq!(first.stay.unwrap().seen, at(510));
        assert_eq!(most(&[first.clone(), record(500, 10)]), 2);
        let mut second = record(0, 10);
        second.stayed(at(1_000).saturating_add(Micros::from_secs(60)));
        assert_eq!(second.stay.unwrap().seen, at(15_010));
    }
}
