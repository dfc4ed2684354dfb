//! How many requests a door decides at one time, and which it sheds beyond that.
//!
//! Decisions normally take microseconds, so requests in progress pile up only where something is slow: a store that takes
//! its whole deadline, a queue that holds many. A door that went on taking requests then would answer all of them late.
//! Beyond its bound it sheds at once, and there is no waiting: whoever waited would be answered late, too.
//!
//! One counter, and a bound for each [`Priority`]: the last parts of the capacity are for the higher ones. A request counts
//! from when it has been read, so that clients that send slowly hold nothing, until its answer is made, so that clients
//! that read slowly hold nothing either. One that waits in a rule's queue counts as long as it waits. What has come of bodies
//! that are not whole has a bound in bytes instead: [`Overload::bodies`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::net::BodyRoom;

/// The fewest requests in progress that can be asked for.
pub const MIN_CONCURRENT_REQUESTS: usize = 1;
/// The most requests in progress that can be asked for.
pub const MAX_CONCURRENT_REQUESTS: usize = 1_000_000;
/// Requests in progress where nothing else is said: at this bound, and with a store that takes the usual deadline of
/// 100 ms for every answer, a node still decides 40,000 requests a second.
pub const DEFAULT_CONCURRENT_REQUESTS: usize = 4_096;

/// What whoever is shed is told.
pub(crate) const SHED: &str = "this node decides as many requests as it can at one time; try again shortly";
/// When it may try again, in seconds: nobody knows when there will be room, and at once would be a storm.
pub(crate) const RETRY_AFTER_SECONDS: u32 = 1;

/// How important a request is, by its entry `priority`: the same word that unlocks a rule's reserve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// `low`: the first to be shed.
    Low,
    /// No entry, or any other word.
    #[default]
    Normal,
    /// `high`.
    High,
    /// `critical`: shed only when nothing is left.
    Critical,
}

/// The requests in progress of one door. Clones share everything.
#[derive(Clone, Debug)]
pub struct Overload(Arc<State>);

#[derive(Debug)]
struct State {
    door: &'static str,
    capacity: usize,
    in_progress: AtomicUsize,
    /// By priority.
    shed: [AtomicU64; Priority::ALL.len()],
    bodies: BodyRoom,
}

/// One request in progress; it is over when this is dropped.
#[derive(Debug)]
#[must_use = "the request counts only as long as this lives"]
pub struct Guard<'a>(&'a AtomicUsize);

// === impl Priority ===

impl Priority {
    /// All of them, the first to be shed first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Critical];

    /// The priority that a request names, if it names one.
    #[must_use]
    pub fn of(name: Option<&str>) -> Self {
        let named = Self::ALL.into_iter().find(|priority| Some(priority.name()) == name);
        named.unwrap_or_default()
    }

    /// The priority that a request's entries name.
    #[must_use]
    pub fn of_entries<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut entries = entries.into_iter();
        Self::of(entries.find(|(name, _)| *name == tidegate_engine::PRIORITY_ENTRY).map(|(_, value)| value))
    }

    /// Its name, as an entry and as a label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// Its part of the capacity, in percent. Lower priorities do not take from what is kept for higher ones.
    #[must_use]
    pub const fn percent(self) -> usize {
        match self {
            Self::Low => 50,
            Self::Normal => 80,
            Self::High => 90,
            Self::Critical => 100,
        }
    }
}

// === impl Overload ===

impl Overload {
    /// A door, by its name in metrics, that decides so many requests at one time:
    /// [`MIN_CONCURRENT_REQUESTS`] to [`MAX_CONCURRENT_REQUESTS`], or the nearest.
    #[must_use]
    pub fn new(door: &'static str, capacity: usize) -> Self {
        let capacity = capacity.clamp(MIN_CONCURRENT_REQUESTS, MAX_CONCURRENT_REQUESTS);
        Self(Arc::new(State {
            door,
            capacity,
            in_progress: AtomicUsize::new(0),
            shed: Priority::ALL.map(|_| AtomicU64::new(0)),
            bodies: BodyRoom::default(),
        }))
    }

    /// Lets a request in, or sheds it and counts that: with as many in progress as its priority may fill, there is no room
    /// for it. Never waits.
    pub fn enter(&self, priority: Priority) -> Option<Guard<'_>> {
        let (in_progress, bound) = (&self.0.in_progress, self.bound(priority));
        // The counter guards no other memory, so its order to other accesses does not matter.
        let entered = in_progress.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |requests| {
            (requests < bound).then_some(requests + 1)
        });
        match entered {
            Ok(_) => Some(Guard(in_progress)),
            Err(_) => {
                self.0.shed[priority as usize].fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// Counts a request that was shed before it could be read, and so before it could say how important it is.
    pub(crate) fn shed_unread(&self) {
        self.0.shed[Priority::Normal as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// With so many requests in progress, the next one of this priority is shed: at least 1.
    #[must_use]
    pub fn bound(&self, priority: Priority) -> usize {
        (self.0.capacity * priority.percent()).div_ceil(100)
    }

    /// The door's name in metrics.
    #[must_use]
    pub fn door(&self) -> &'static str {
        self.0.door
    }

    /// The most requests in progress.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.capacity
    }

    /// Requests in progress now.
    #[must_use]
    pub fn in_progress(&self) -> usize {
        self.0.in_progress.load(Ordering::Relaxed)
    }

    /// Room for what has come of bodies that are not whole.
    #[must_use]
    pub fn bodies(&self) -> &BodyRoom {
        &self.0.bodies
    }

    /// Requests of this priority that were shed so far.
    #[must_use]
    pub fn shed(&self, priority: Priority) -> u64 {
        self.0.shed[priority as usize].load(Ordering::Relaxed)
    }
}

// === impl Guard ===

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn each_priority_fills_its_part_and_no_more() {
        let overload = Overload::new("test", 10);
        let mut inside = Vec::new();
        for (priority, most) in Priority::ALL.into_iter().zip([5, 8, 9, 10]) {
            while let Some(guard) = overload.enter(priority) {
                inside.push(guard);
            }
            assert_eq!((inside.len(), overload.in_progress()), (most, most), "{}", priority.name());
            assert_eq!(overload.shed(priority), 1);
        }
        assert!(Priority::ALL.iter().all(|priority| overload.enter(*priority).is_none()));
        inside.truncate(4);
        assert_eq!(overload.in_progress(), 4);
        assert!(overload.enter(Priority::Low).is_some(), "what is over makes room");
        assert_eq!(overload.in_progress(), 4, "a guard that is dropped counts no more");
    }

    #[test]
    fn the_smallest_capacity_lets_everybody_in_alone() {
        for asked in [0, 1] {
            let overload = Overload::new("test", asked);
            for priority in Priority::ALL {
                let guard = overload.enter(priority);
                assert!(guard.is_some(), "{}", priority.name());
                assert!(overload.enter(Priority::Critical).is_none());
            }
        }
        assert_eq!(Overload::new("test", usize::MAX).capacity(), MAX_CONCURRENT_REQUESTS);
    }

    #[test]
    fn the_priority_is_that_of_the_entry() {
        for (name, priority) in [
            (Some("low"), Priority::Low),
            (Some("high"), Priority::High),
            (Some("critical"), Priority::Critical),
            (Some("Critical"), Priority::Normal),
            (Some(""), Priority::Normal),
            (None, Priority::Normal),
        ] {
            assert_eq!(Priority::of(name), priority, "{name:?}");
        }
        assert_eq!(Priority::of_entries([("a", "low"), ("priority", "high")]), Priority::High);
        assert_eq!(Priority::of_entries([("a", "low")]), Priority::Normal);
    }

    #[test]
    fn threads_together_never_exceed_the_capacity_and_leave_nothing_behind() {
        const THREADS: usize = 8;
        const ROUNDS: usize = 2_000;
        let overload = Overload::new("test", 3);
        let (start, entered) = (Barrier::new(THREADS), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..ROUNDS {
                        let Some(_guard) = overload.enter(Priority::Critical) else { continue };
                        assert!(overload.in_progress() <= 3);
                        entered.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let entered = entered.into_inner() as u64;
        assert!(entered > 0);
        assert_eq!(entered + overload.shed(Priority::Critical), (THREADS * ROUNDS) as u64);
        assert_eq!(overload.in_progress(), 0);
    }
}
