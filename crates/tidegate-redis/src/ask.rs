//! What the scripts are asked of one bucket: the row of numbers that `scripts/buckets.lua` describes.

use rmp::encode::{self, RmpWrite};
use tidegate_core::algorithm::{CLOCK_TOLERANCE, Span, Terms};
use tidegate_core::quota::Algorithm;
use tidegate_core::rule::Revision;
use tidegate_store::{Plan, PlannedBucket};

use crate::value::{RADIX, grid_of, is_short, rung_of};

/// The largest integer that a script's numbers hold exactly.
const MAX_EXACT: u64 = (1 << 53) - 1;

/// One ask. Two that are equal are sent once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AskRow {
    revision: Revision,
    cost: u64,
    terms: Terms,
    algorithm: Algorithm,
    enforced: bool,
    /// Whether the bucket is kept in the short form.
    short: bool,
}

impl AskRow {
    pub(crate) fn new(plan: &Plan<'_>, bucket: &PlannedBucket<'_>) -> Self {
        let meter = &bucket.metered.meter;
        Self {
            revision: bucket.metered.revision,
            cost: plan.cost,
            terms: meter.terms(&plan.ask(bucket)),
            algorithm: meter.state_algorithm(),
            enforced: bucket.is_enforced(),
            short: is_short(bucket.rule, meter),
        }
    }

    /// Whether the state is read with all others in one go, as up to three numbers.
    pub(crate) const fn is_plain(&self) -> bool {
        !matches!(self.algorithm, Algorithm::SlidingWindowLog | Algorithm::Concurrency)
    }

    /// Whether equal asks of one bucket may be asked as one.
    pub(crate) const fn can_ride_together(&self) -> bool {
        self.enforced && self.is_plain()
    }

    /// Whether the bucket is kept in the short form.
    pub(crate) const fn is_short(&self) -> bool {
        self.short
    }

    pub(crate) const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) const fn revision(&self) -> Revision {
        self.revision
    }

    /// How many numbers a state takes in a reply.
    pub(crate) const fn width(&self) -> usize {
        match self.algorithm {
            Algorithm::TokenBucket | Algorithm::LeakyBucket | Algorithm::FixedWindow => 2,
            Algorithm::SlidingWindow => 3,
            Algorithm::SlidingWindowLog | Algorithm::Concurrency => 7,
        }
    }

    /// Appends the row. Short forms expire on no finer grid than that of `min_rung`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, min_rung: u32) {
        let start = |out: &mut Vec<u8>, length| {
            array(out, length);
            let code = match self.algorithm {
                Algorithm::TokenBucket | Algorithm::LeakyBucket => 1,
                Algorithm::FixedWindow => 2,
                Algorithm::SlidingWindow => 3,
                Algorithm::SlidingWindowLog => 4,
                Algorithm::Concurrency => 5,
            };
            for number in [code, u64::from(self.enforced), u64::from(self.revision.number())] {
                uint(out, number);
            }
            uint(out, u64::from(self.short));
            uint(out, self.cost);
        };
        match &self.terms {
            Terms::Tat { parts, step, tolerance, waiting, fullest } => {
                start(out, 17);
                uint(out, *parts);
                span(out, *step);
                maybe_span(out, *tolerance);
                span(out, *fullest);
                maybe_span(out, *waiting);
                uint(out, u64::from(rung_of(*fullest, min_rung)));
                steps_as_text(*parts, *step).iter().for_each(|step| text(out, step));
            }
            Terms::Window { window, room, free, ceiling, .. } => {
                start(out, 9);
                uint(out, *window);
                maybe(out, *room);
                uint(out, *free);
                uint(out, *ceiling);
            }
            Terms::Permits { life, longest_life, room, free, .. } => {
                start(out, 9);
                uint(out, *life);
                maybe(out, *room);
                uint(out, *free);
                uint(out, *longest_life);
            }
        }
    }
}

impl AskRow {
    /// What the script for tokens is told: its numbers, and its steps as texts.
    pub(crate) fn encode_tokens(&self, deadline: u64, at: u64, slack_ms: u64) -> (Vec<u8>, [String; 2]) {
        let Terms::Tat { parts, step, tolerance, fullest, .. } = &self.terms else {
            return (Vec::new(), [String::new(), String::new()]);
        };
        let in_parts = |span: Span| {
            let all = u128::from(span.micros) * u128::from(*parts) + u128::from(span.fraction);
            u64::try_from(all).unwrap_or(u64::MAX).min(MAX_EXACT) as f64
        };
        let most = Span { micros: fullest.micros.saturating_add(CLOCK_TOLERANCE.as_micros()), ..*fullest };
        let rung = rung_of(*fullest, 0);
        let numbers = [
            deadline as f64,
            at as f64,
            slack_ms as f64,
            f64::from(self.revision.tag() * 4 + rung % 4),
            *parts as f64,
            in_parts(*step),
            tolerance.map_or(-1.0, in_parts),
            in_parts(most),
            grid_of(rung) as f64,
        ];
        (numbers.iter().flat_map(|number| number.to_le_bytes()).collect(), steps_as_text(*parts, *step))
    }
}

/// By how much the short form grows by a step; and where the fraction runs over.
fn steps_as_text(parts: u64, step: Span) -> [String; 2] {
    let combined = u128::from(step.micros) * u128::from(RADIX) + u128::from(step.fraction);
    let running_over = combined + u128::from(RADIX).saturating_sub(u128::from(parts));
    [combined, running_over].map(|step| format!("{step}000"))
}

// --- MessagePack, as `cmsgpack.unpack` reads it. Writing to a vector cannot fail. ---

pub(crate) fn array(out: &mut Vec<u8>, length: usize) {
    let _ = encode::write_array_len(out, u32::try_from(length).unwrap_or(u32::MAX));
}

/// A number that the script needs exactly, at most 2^53 − 1: a larger one is never reached there.
pub(crate) fn uint(out: &mut Vec<u8>, number: u64) {
    let _ = encode::write_uint(out, number.min(MAX_EXACT));
}

pub(crate) fn bytes(out: &mut Vec<u8>, text: &[u8]) {
    // A text and not binary data: Redis reads both as a string, but only the former in every version.
    let _ = encode::write_str_len(out, u32::try_from(text.len()).unwrap_or(u32::MAX));
    let _ = out.write_bytes(text);
}

fn text(out: &mut Vec<u8>, text: &str) {
    let _ = encode::write_str(out, text);
}

/// The number, or −1.
fn maybe(out: &mut Vec<u8>, number: Option<u64>) {
    match number {
        Some(number) => uint(out, number),
        None => minus_one(out),
    }
}

pub(crate) fn minus_one(out: &mut Vec<u8>) {
    let _ = encode::write_sint(out, -1);
}

fn span(out: &mut Vec<u8>, span: Span) {
    uint(out, span.micros);
    uint(out, span.fraction);
}

fn maybe_span(out: &mut Vec<u8>, wanted: Option<Span>) {
    match wanted {
        Some(wanted) => span(out, wanted),
        None => {
            minus_one(out);
            uint(out, 0);
        }
    }
}
