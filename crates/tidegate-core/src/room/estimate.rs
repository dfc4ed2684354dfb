//! How fast the line moves, and what that makes of a wait.
//!
//! Only time in which somebody waits is counted, in steps of ten seconds: a room without a line says nothing about how fast
//! one would move. The pace is the time from one call to the next, over the last 30 seconds and over the last
//! five minutes, whichever is slower. What is shown follows the pace at once where waits become shorter, and only by
//! more than 15 % where they become longer; so an estimate, of which the tickets ahead never become more, does not jump about.

use super::answer::{EstimatedWait, Slower};
use crate::time::{Micros, Timestamp};

const STEP: u64 = 10_000_000;
const STEPS: usize = 30;
const SHORT_STEPS: u64 = 3;

/// How often the pace that is shown is looked at.
pub const LOOK_EVERY: Micros = Micros::from_secs(1);
/// How long a cut or a pause counts as the reason for longer waits, and how long a reason is told: as long as the longest interval of
/// polls.
pub const REASON_HOLDS: Micros = super::poll::MAX_INTERVAL;

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Releases {
    /// For how long somebody has waited so far, µs.
    pub busy: u64,
    /// Calls in each step of ten seconds of that time; the step number modulo 30 is the index.
    pub counts: [u32; STEPS],
    /// The number of the step that was written last.
    pub newest: u64,
    /// When the last call was, µs of that time; `None` before the first.
    pub last: Option<u64>,
}

impl Default for Releases {
    fn default() -> Self {
        Self { busy: 0, counts: [0; STEPS], newest: 0, last: None }
    }
}

impl Releases {
    /// Whether no call is later than the time that was counted.
    pub(crate) fn is_sound(&self) -> bool {
        self.newest <= self.busy / STEP && self.last.is_none_or(|last| last <= self.busy)
    }

    /// Somebody has waited for another `span`.
    pub fn pass(&mut self, span: Micros) {
        self.busy = self.busy.saturating_add(span.as_micros());
    }

    /// One was called.
    pub fn note(&mut self) {
        let step = self.busy / STEP;
        for empty in (self.newest + 1..=step).rev().take(STEPS) {
            self.counts[index(empty)] = 0;
        }
        self.newest = step;
        let count = &mut self.counts[index(step)];
        *count = count.saturating_add(1);
        self.last = Some(self.busy);
    }

    /// The time from one call to the next, as of `since` after what was counted; `None` before the first call.
    #[must_use]
    pub fn pace(&self, since: Micros) -> Option<Micros> {
        let last = self.last?;
        let busy = self.busy.saturating_add(since.as_micros());
        let over = |steps: u64| {
            let first = (busy / STEP + 1).saturating_sub(steps);
            let calls: u64 = (first..=self.newest).map(|step| u64::from(self.counts[index(step)])).sum();
            let span = (busy - first * STEP).max(STEP);
            // Without a call in that time, the next one has been waited for since the last.
            if calls > 0 { span.div_ceil(calls) } else { span.max(busy - last) }
        };
        Some(Micros::from_micros(over(SHORT_STEPS).max(over(STEPS as u64))))
    }
}

/// The step's place in the ring.
fn index(step: u64) -> usize {
    (step % STEPS as u64) as usize
}

/// The pace that estimates are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The time from one call to the next.
    pub each: Micros,
    /// When it changed.
    pub at: Timestamp,
    /// Why and when it last grew.
    pub grew: Option<(Slower, Timestamp)>,
}

impl Pace {
    /// Whether a pace of `new` is to be shown in the place of this one.
    #[must_use]
    pub fn gives_way_to(&self, new: Micros) -> bool {
        let (new, old) = (new.as_micros(), self.each.as_micros());
        new < old || u128::from(new) * 100 > u128::from(old) * 115
    }

    /// The pace after it changed to `each` at `at`, for that reason where it grew.
    #[must_use]
    pub fn after(before: Option<Pace>, each: Micros, slower: Option<Slower>, at: Timestamp) -> Self {
        let grew = slower.map(|why| (why, at)).or_else(|| before.and_then(|before| before.grew));
        Self { each, at, grew }
    }

    /// Why waits are longer than they were told at the last poll, perhaps: everybody polls while the reason is told.
    #[must_use]
    pub fn slower(&self, now: Timestamp) -> Option<Slower> {
        self.grew.filter(|(_, at)| now.since(*at) <= REASON_HOLDS).map(|(why, _)| why)
    }
}

/// The wait of a ticket with `ahead` others ahead. Calls that come at random (Poisson) are as far from the mean as its square root,
/// and four in five within 1.28 of that.
#[must_use]
pub fn in_order(now: Timestamp, ahead: u64, pace: &Pace) -> EstimatedWait {
    let mean = wait(ahead, pace.each).as_micros();
    // The root in 1/1024, so that a position less is never a longer wait.
    let root = ((u128::from(ahead) + 1) << 20).isqrt();
    let spread = ((u128::from(mean) * 128) << 10) / (100 * root);
    let spread = u64::try_from(spread).unwrap_or(u64::MAX);
    EstimatedWait {
        low: Micros::from_micros(mean.saturating_sub(spread)),
        high: Micros::from_micros(mean.saturating_add(spread)),
        slower: pace.slower(now),
    }
}

/// The wait of a ticket that is drawn from `among`: each time one in `among` is, so one in ten is after a tenth of so many calls,
/// and nine in ten are after 2.3 times.
#[must_use]
pub fn drawn(now: Timestamp, among: u64, pace: &Pace) -> EstimatedWait {
    let all = wait(among, pace.each).as_micros();
    EstimatedWait {
        low: Micros::from_micros(all / 10),
        high: Micros::from_micros(all.saturating_mul(23) / 10),
        slower: pace.slower(now),
    }
}

/// The time of `calls` at this pace.
#[must_use]
pub fn wait(calls: u64, pace: Micros) -> Micros {
    Micros::from_micros(calls.saturating_mul(pace.as_micros()))
}
