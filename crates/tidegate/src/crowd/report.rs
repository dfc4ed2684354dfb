//! The end of a run, for programs.
//!
//! One object: `format` ("tidegate-crowd"), `version` (1; grows only if a field changes its meaning or goes away, not when one is
//! added), and the fields of [`Report`].

use std::collections::BTreeMap;

use hdrhistogram::CreationError;
use serde::Serialize;
use tidegate_core::time::{Micros, Timestamp};

use super::books::{Finding, Overtaken, Record, Tally, Times, most_at_one_time, overtaken};
use super::plan::Plan;
use super::visitor::End;

const FORMAT: &str = "tidegate-crowd";
const VERSION: u32 = 1;

/// What a crowd met with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    format: &'static str,
    version: u32,
    /// Whether nothing was unfair.
    pub is_fair: bool,
    /// Whether so many heard of the room that this says something: at least half of those who came, and one.
    pub is_enough: bool,
    /// What was.
    pub violations: Violations,
    /// The room.
    pub room: String,
    /// How long the run took, in seconds.
    pub seconds: f64,
    /// What became of visitors, by name; together they are all.
    pub visitors: BTreeMap<&'static str, u64>,
    /// Visitors that were told of a place, or that there is none for them.
    pub heard: u64,
    /// Different numbers that were told.
    pub numbers: u64,
    /// Visitors that were told that they are called, or in.
    pub offered: u64,
    /// Visitors that were told that they are in.
    pub admitted: u64,
    /// Who was inside.
    pub sessions: Sessions,
    /// Requests that had an answer or failed.
    pub requests: u64,
    /// Errors by kind: the status and the kind of the problem, or why there was no answer.
    pub errors: BTreeMap<String, u64>,
    /// How long answers took, by what was asked, in milliseconds.
    pub latency_ms: BTreeMap<&'static str, Latency>,
    /// From the first number to the call, in milliseconds.
    pub wait_ms: Option<Latency>,
    /// How much later visitors asked than they wanted to, in milliseconds: what this program and its machine add.
    pub own_delay_ms: Option<Latency>,
}

/// What was unfair: all are 0 where a room keeps its promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Violations {
    /// Who still waited when a later number was called.
    pub overtaken: Overtaken,
    /// Positions that grew.
    pub grown_positions: u64,
    /// Places that were lost although their visitors asked as told.
    pub lost_places: u64,
    /// Sessions that ended early although their visitors asked as told.
    pub lost_sessions: u64,
    /// Visitors who were told a second number while the first was theirs.
    pub second_numbers: u64,
    /// Visitors who were told of a second session while the first was theirs.
    pub second_sessions: u64,
    /// Numbers that were told to a second visitor.
    pub shared_numbers: u64,
    /// Sessions beyond the capacity, at the worst instant.
    pub over_capacity: u64,
}

/// Who was inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sessions {
    /// The most at one instant, as far as visitors can know.
    pub most_seen: u64,
    /// The most that the room told of.
    pub most_told: u64,
    /// The seats that it told of; `None` where it never did.
    pub capacity: Option<u64>,
}

/// Times that were measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// Half of them were no longer.
    pub p50: f64,
    /// And so on.
    pub p90: f64,
    /// And so on.
    pub p95: f64,
    /// And so on.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) seconds: f64,
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) numbers: u64,
    pub(super) gone: u64,
}

// === impl Violations ===

impl Violations {
    /// Visitors who have, or had, more than one place or session can be: second and shared ones together.
    #[must_use]
    pub const fn double_admissions(&self) -> u64 {
        self.second_numbers + self.second_sessions + self.shared_numbers
    }
}

// === impl Report ===

impl Report {
    pub(super) fn new<'a>(
        plan: &Plan,
        seconds: f64,
        records: &(impl Iterator<Item = &'a Record> + Clone),
        tally: &Tally,
    ) -> Result<Self, CreationError> {
        let sessions = Sessions {
            most_seen: most_at_one_time(records.clone()),
            most_told: tally.most_active,
            capacity: tally.capacity,
        };
        let most = sessions.most_seen.max(sessions.most_told);
        let violations = Violations {
            overtaken: overtaken(records.clone(), plan.max_age),
            grown_positions: tally.found(Finding::GrownPosition),
            lost_places: tally.found(Finding::LostPlace),
            lost_sessions: tally.found(Finding::LostSession),
            second_numbers: tally.found(Finding::AnotherNumber),
            second_sessions: tally.found(Finding::AnotherSession),
            shared_numbers: tally.shared_numbers,
            over_capacity: sessions.capacity.map_or(0, |capacity| most.saturating_sub(capacity)),
        };
        let mut visitors = BTreeMap::new();
        for record in records.clone() {
            *visitors.entry(became(record)).or_default() += 1;
        }
        let waits = waits(records.clone())?;
        let all = records.clone().count() as u64;
        let heard = records.clone().filter(|record| has_heard(record)).count() as u64;
        let count = |is: fn(&Record) -> Option<Timestamp>| records.clone().filter_map(is).count() as u64;
        Ok(Self {
            format: FORMAT,
            version: VERSION,
            is_fair: violations == Violations::default(),
            is_enough: heard > 0 && heard >= all.div_ceil(2),
            heard,
            violations,
            room: plan.room.to_string(),
            seconds,
            visitors,
            numbers: tally.numbers(),
            offered: count(|record| record.offered_at),
            admitted: count(|record| record.admitted_at),
            sessions,
            requests: tally.requests,
            errors: tally.errors.clone(),
            latency_ms: tally
                .took()
                .filter_map(|(call, times)| Some((call.name(), Latency::of(times)?)))
                .collect(),
            wait_ms: Latency::of(&waits),
            own_delay_ms: Latency::of(&tally.late),
        })
    }
}

fn waits<'a>(records: impl Iterator<Item = &'a Record>) -> Result<Times, CreationError> {
    let mut waits = Times::new()?;
    for record in records {
        if let (Some(joined_at), Some(offered_at)) = (record.joined_at, record.offered_at) {
            waits.note(offered_at.since(joined_at).max(Micros::ZERO));
        }
    }
    Ok(waits)
}

fn has_heard(record: &Record) -> bool {
    record.number.is_some() || matches!(record.end, Some(End::Refused | End::SentAway))
}

/// What became of a visitor.
fn became(record: &Record) -> &'static str {
    match record.end {
        Some(End::LeftLine) => "left_line",
        Some(End::VanishedFromLine) => "vanished_from_line",
        Some(End::Unclaimed) => "unclaimed",
        Some(End::Left) => "left",
        Some(End::Closed) => "closed",
        Some(End::Vanished) => "vanished",
        Some(End::SessionOver) => "session_over",
        Some(End::SentAway) => "sent_away",
        Some(End::Refused) => "refused",
        Some(End::Late) => "late",
        Some(End::Lost) => "lost",
        None if record.admitted_at.is_some() => "inside",
        None if record.number.is_some() => "waiting",
        None => "not_joined",
    }
}

impl Latency {
    fn of(times: &Times) -> Option<Self> {
        let times = &times.0;
        let at = |share| times.value_at_quantile(share) as f64 / 1e3;
        (!times.is_empty()).then(|| Self {
            count: times.len(),
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            max: times.max() as f64 / 1e3,
        })
    }
}
