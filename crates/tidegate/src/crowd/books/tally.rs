//! What is counted while it happens: findings, errors, times.

use std::collections::{BTreeMap, HashMap};

use hdrhistogram::{CreationError, Histogram};
use tidegate_core::time::Micros;

use crate::crowd::asking::{Call, Heard};

/// The most kinds of errors that are told apart: servers name them.
const MAX_KINDS: usize = 64;
/// What the others are.
const OTHER: &str = "other";
/// The longest time that is measured, in microseconds.
const LONGEST_US: u64 = 24 * 3_600_000_000;
/// Digits of measured times that are exact.
const DIGITS: u8 = 3;

/// Something that is wrong, or that may excuse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::crowd) enum Finding {
    /// A visitor who had a number was told another.
    AnotherNumber,
    /// A visitor who had a session was told of another.
    AnotherSession,
    /// Somebody came to stand before a visitor.
    GrownPosition,
    /// A place was lost although its visitor asked as told.
    LostPlace,
    /// A session ended early although its visitor asked as told.
    LostSession,
    /// A visitor was out who had not asked in time: this program, or its machine, was too slow.
    Late,
}

/// All of it.
#[derive(Debug)]
pub(in crate::crowd) struct Tally {
    findings: BTreeMap<Finding, u64>,
    /// Numbers, and who was told them.
    numbers: HashMap<u64, u32>,
    /// Times that a number was told to a second visitor.
    pub(in crate::crowd) shared_numbers: u64,
    pub(in crate::crowd) requests: u64,
    pub(in crate::crowd) errors: BTreeMap<String, u64>,
    /// How long answers took, by what was asked.
    took: BTreeMap<Call, Times>,
    /// How much later visitors asked than they wanted to.
    pub(in crate::crowd) late: Times,
    /// The most sessions that the room itself told of.
    pub(in crate::crowd) most_active: u64,
    /// The most seats that it told of.
    pub(in crate::crowd) capacity: Option<u64>,
}

/// Times that were measured.
#[derive(Clone, Debug)]
pub(in crate::crowd) struct Times(pub(in crate::crowd) Histogram<u32>);

// === impl Times ===

impl Times {
    pub(in crate::crowd) fn new() -> Result<Self, CreationError> {
        Histogram::new_with_bounds(1, LONGEST_US, DIGITS).map(Self)
    }

    pub(in crate::crowd) fn note(&mut self, time: Micros) {
        self.0.saturating_record(time.as_micros());
    }
}

// === impl Tally ===

impl Tally {
    pub(in crate::crowd) fn new() -> Result<Self, CreationError> {
        let took = Call::ALL.into_iter().map(|call| Ok((call, Times::new()?))).collect::<Result<_, _>>()?;
        Ok(Self {
            findings: BTreeMap::new(),
            numbers: HashMap::new(),
            shared_numbers: 0,
            requests: 0,
            errors: BTreeMap::new(),
            took,
            late: Times::new()?,
            most_active: 0,
            capacity: None,
        })
    }

    pub(in crate::crowd) fn find(&mut self, finding: Finding) {
        *self.findings.entry(finding).or_default() += 1;
    }

    pub(in crate::crowd) fn found(&self, finding: Finding) -> u64 {
        self.findings.get(&finding).copied().unwrap_or(0)
    }

    /// A visitor was told a number.
    pub(in crate::crowd) fn numbered(&mut self, number: u64, visitor: u32) {
        self.shared_numbers += u64::from(*self.numbers.entry(number).or_insert(visitor) != visitor);
    }

    /// How many different numbers were told.
    pub(in crate::crowd) fn numbers(&self) -> u64 {
        self.numbers.len() as u64
    }

    /// Something was asked, and this is what came of it.
    pub(in crate::crowd) fn heard(&mut self, call: Call, heard: &Heard, took: Micros) {
        self.requests += 1;
        if let Some(kind) = heard.error() {
            let known = self.errors.len() < MAX_KINDS || self.errors.contains_key(&kind);
            *self.errors.entry(if known { kind } else { OTHER.to_owned() }).or_default() += 1;
        }
        if !matches!(heard, Heard::Failed(_))
            && let Some(times) = self.took.get_mut(&call)
        {
            times.note(took);
        }
    }

    /// The room told of itself.
    pub(in crate::crowd) fn looked(&mut self, active: u64, capacity: u64) {
        self.most_active = self.most_active.max(active);
        self.capacity = self.capacity.max(Some(capacity));
    }

    /// How long answers took, by what was asked.
    pub(in crate::crowd) fn took(&self) -> impl Iterator<Item = (Call, &Times)> {
        self.took.iter().map(|(call, times)| (*call, times)).filter(|(_, times)| !times.0.is_empty())
    }
}
