//! Who was overtaken: still waited when somebody with a later number had been called already.
//!
//! Only what is certain counts. A visitor waited for sure when it *sent* a question that was answered with its position; another was
//! called for sure when it *heard* so.

use serde::Serialize;
use tidegate_core::time::{Micros, Timestamp};

use super::Record;

/// Who was overtaken, and by how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Overtaken {
    /// Visitors.
    pub visitors: u64,
    /// The longest that one of them waited on after a later one was called, in milliseconds.
    pub longest_ms: f64,
    /// The most numbers that lay between the two.
    pub most_numbers: u64,
}

/// Those who waited for more than `max_age` after a later number was called.
pub(in crate::crowd) fn overtaken<'a>(
    records: impl Iterator<Item = &'a Record>,
    max_age: Micros,
) -> Overtaken {
    let mut told: Vec<(u64, Option<Timestamp>, Option<Timestamp>)> =
        records.filter_map(|record| Some((record.number?, record.waited_at, record.offered_at))).collect();
    told.sort_unstable_by_key(|(number, ..)| std::cmp::Reverse(*number));
    let mut found = Overtaken::default();
    // Of all later numbers, the one that was called first.
    let mut first: Option<(Timestamp, u64)> = None;
    for (number, waited_at, offered_at) in told {
        if let (Some((called_at, later)), Some(waited_at)) = (first, waited_at)
            && later > number
            && waited_at > called_at.saturating_add(max_age)
        {
            found.visitors += 1;
            found.longest_ms = found.longest_ms.max(waited_at.since(called_at).as_micros() as f64 / 1e3);
            found.most_numbers = found.most_numbers.max(later - number);
        }
        if let Some(offered_at) = offered_at
            && first.is_none_or(|(called_at, _)| offered_at < called_at)
        {
            first = Some((offered_at, number));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(number: u64, waited_at: Option<u64>, offered_at: Option<u64>) -> Record {
        let at = |secs: Option<u64>| secs.map(|secs| Timestamp::from_micros(secs * 1_000_000));
        Record {
            number: Some(number),
            waited_at: at(waited_at),
            offered_at: at(offered_at),
            ..Record::default()
        }
    }

    fn overtaken_in(records: &[Record], max_age_s: u64) -> Overtaken {
        overtaken(records.iter(), Micros::from_secs(max_age_s))
    }

    #[test]
    fn who_is_called_in_order_is_not_overtaken() {
        let line = [told(3, Some(12), Some(13)), told(1, Some(5), Some(11)), told(2, None, Some(12))];
        assert_eq!(overtaken_in(&line, 0), Overtaken::default());
        // Nobody can say who of these was called first.
        let line = [told(1, Some(10), Some(14)), told(2, Some(9), Some(10))];
        assert_eq!(overtaken_in(&line, 0), Overtaken::default());
    }

    #[test]
    fn who_waits_on_while_a_later_one_is_in_was_overtaken_even_if_it_never_comes_in() {
        let line =
            [told(4, Some(20), None), told(5, None, Some(19)), told(9, None, Some(17)), told(8, None, None)];
        let found = Overtaken { visitors: 1, longest_ms: 3_000.0, most_numbers: 5 };
        assert_eq!(overtaken_in(&line, 0), found);
        assert_eq!(overtaken_in(&line, 2), found);
        assert_eq!(overtaken_in(&line, 3), Overtaken::default());
    }
}
