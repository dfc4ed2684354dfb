//! Who does something next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tidegate_core::time::Timestamp;

/// Visitors by the instant at which they do something. Each is on it once at the most.
#[derive(Debug, Default)]
pub(super) struct Agenda(BinaryHeap<Reverse<(Timestamp, u32)>>);

impl Agenda {
    pub(super) fn put(&mut self, at: Timestamp, visitor: u32) {
        self.0.push(Reverse((at, visitor)));
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes out the next one, if it is due, with the instant at which it was.
    pub(super) fn due(&mut self, now: Timestamp) -> Option<(Timestamp, u32)> {
        self.next().filter(|at| *at <= now)?;
        self.0.pop().map(|Reverse(next)| next)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_is_first_and_nobody_before_their_time() {
        let at = Timestamp::from_micros;
        let mut agenda = Agenda::default();
        [(30, 1), (10, 2), (20, 3)].iter().for_each(|(when, visitor)| agenda.put(at(*when), *visitor));
        assert_eq!((agenda.next(), agenda.due(at(9))), (Some(at(10)), None));
        assert_eq!(
            [agenda.due(at(25)), agenda.due(at(25)), agenda.due(at(25))],
            [Some((at(10), 2)), Some((at(20), 3)), None]
        );
        assert!(!agenda.is_empty());
    }
}
