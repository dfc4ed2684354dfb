//! When which room has something to do.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tidegate_core::time::Timestamp;

/// Rooms by the instant at which something is due in them.
#[derive(Debug, Default)]
pub(super) struct DueQueue(Mutex<BTreeSet<(Timestamp, u32)>>);

impl DueQueue {
    /// Room `id` was due at `before`, and is at `after`.
    pub(super) fn change(&self, id: u32, before: Option<Timestamp>, after: Option<Timestamp>) {
        if before == after {
            return;
        }
        let mut queue = self.0.lock();
        if let Some(before) = before {
            queue.remove(&(before, id));
        }
        if let Some(after) = after {
            queue.insert((after, id));
        }
    }

    /// The rooms that are due at `now`, the longest overdue first.
    pub(super) fn due(&self, now: Timestamp) -> Vec<u32> {
        self.0.lock().range(..=(now, u32::MAX)).map(|(_, id)| *id).collect()
    }

    /// When the next one is.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.0.lock().first().map(|(at, _)| *at)
    }
}
