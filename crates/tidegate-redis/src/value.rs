//! How the state of a bucket is kept in Redis, on this side: read and written where a script leaves it to the client.
//!
//! | kept | as |
//! | --- | --- |
//! | token and leaky bucket, short | decimal number: (µs since 2026 · 8 + fraction), then three digits: tag · 4 + rung of expiry |
//! | token and leaky bucket, long | `A`, revision (4 bytes), TAT µs, fraction (8-byte floats, little endian) |
//! | fixed window | `B`, revision, start µs, used |
//! | sliding window | `C`, revision, start µs, used, previous |
//! | sliding window log | `D`, revision, first live entry (4 bytes), units before it; then entries: time µs, units so far |
//! | concurrency | a sorted set: places, by expiry, and behind them `r` and the revision |

use tidegate_core::algorithm::{AdmissionLog, Count, CountPair, Meter, Permit, Permits, Span, State, Tat};
use tidegate_core::quota::Algorithm;
use tidegate_core::rule::{CompiledRule, Revision};
use tidegate_core::time::{Micros, Timestamp};

/// Times in the short form count from 2026-01-01.
const BASE: u64 = 1_767_225_600_000_000;
/// Fractions in the short form.
pub(crate) const RADIX: u64 = 8;
/// Where every bucket is sooner at rest than this, the short form has room until 2050.
const MAX_SHORT_LIFE: Micros = Micros::from_secs(10 * 365 * 24 * 3_600);
/// The coarsest grid of expiry.
const MAX_RUNG: u32 = 3;
/// Entries of a log: 16 bytes.
const LOG_ENTRY: usize = 16;
const LOG_HEAD: usize = 17;

/// A stored text that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// What is stored under the key of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    Nothing,
    Text(Vec<u8>),
    /// Permits, with the mark that says under which revision they were handed out.
    Permits(Vec<u8>),
}

/// A bucket's text, and how long it is to live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) text: Vec<u8>,
    pub(crate) life_ms: u64,
}

/// Whether buckets of this meter are kept in the short form.
pub(crate) fn is_short(rule: &CompiledRule, meter: &Meter) -> bool {
    meter.state_algorithm() == Algorithm::TokenBucket
        && rule.has_tags()
        && meter.quota().rate().0 <= RADIX
        && fullest_life(meter) <= MAX_SHORT_LIFE
}

/// Short forms expire on a grid of 16 s, 17 min, 18 h or 48 days: so few writes have to set an expiry. This is the rung of
/// the coarsest that keeps no bucket longer than four times the time from full to rest, and at least `min`.
pub(crate) fn rung_of(fullest: Span, min: u32) -> u32 {
    (min..=MAX_RUNG).rev().find(|rung| grid_of(*rung) / 4 <= fullest.micros).unwrap_or(min)
}

pub(crate) const fn grid_of(rung: u32) -> u64 {
    16_000_000 << (6 * rung)
}

fn fullest_life(meter: &Meter) -> Micros {
    meter.rest_at(&meter.fullest(Timestamp::EPOCH)).since(Timestamp::EPOCH)
}

/// The revision a text was written under, if the rule knows it, and the state in its terms.
pub(crate) fn read(text: &[u8], rule: &CompiledRule) -> Result<(Option<Revision>, State), Unreadable> {
    match text.first() {
        Some(b'0'..=b'9') => {
            let (tag, tat) = read_short(text).ok_or(Unreadable)?;
            Ok((rule.revision_of_tag(tag), State::Tat(tat)))
        }
        Some(_) => {
            let (revision, state) = read_long(text).ok_or(Unreadable)?;
            Ok((Some(revision), state))
        }
        None => Err(Unreadable),
    }
}

fn read_short(text: &[u8]) -> Option<(u32, Tat)> {
    let number: u64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let (rest, tail) = (number / 1_000, number % 1_000);
    let tat = Tat { micros: rest / RADIX + BASE, fraction: rest % RADIX };
    Some((u32::try_from(tail / 4).ok()?, tat))
}

fn read_long(text: &[u8]) -> Option<(Revision, State)> {
    let (kind, rest) = text.split_first()?;
    let (revision, rest) = rest.split_first_chunk::<4>()?;
    let revision = Revision::from_number(u32::from_le_bytes(*revision));
    let state = match kind {
        b'A' => {
            let [micros, fraction] = numbers(rest)?;
            State::Tat(Tat { micros, fraction })
        }
        b'B' => {
            let [start, used] = numbers(rest)?;
            State::Count(Count { start, used })
        }
        b'C' => {
            let [start, used, previous] = numbers(rest)?;
            State::CountPair(CountPair { start, used, previous })
        }
        b'D' => State::Log(read_log(rest)?),
        _ => return None,
    };
    Some((revision, state))
}

/// The revision that the mark of permits names.
pub(crate) fn read_mark(mark: &[u8]) -> Option<Revision> {
    match mark.split_first()? {
        (b'r', revision) => Some(Revision::from_number(u32::from_le_bytes(revision.try_into().ok()?))),
        _ => None,
    }
}

/// The mark of permits under this revision.
pub(crate) fn mark(revision: Revision) -> Vec<u8> {
    [b"r".as_slice(), &revision.number().to_le_bytes()].concat()
}

fn read_log(text: &[u8]) -> Option<AdmissionLog> {
    let (first, rest) = text.split_first_chunk::<4>()?;
    let (before, rest) = rest.split_first_chunk::<8>()?;
    let (first, mut before) = (u32::from_le_bytes(*first) as usize, number(*before)?);
    let (entries, odd) = rest.as_chunks::<LOG_ENTRY>();
    if !odd.is_empty() {
        return None;
    }
    let mut admissions = Vec::with_capacity(entries.len().saturating_sub(first));
    for entry in entries.get(first..)? {
        let [at, total] = numbers(entry)?;
        admissions.push((at, total.checked_sub(before)?));
        before = total;
    }
    Some(AdmissionLog::from_admissions(admissions))
}

/// Exactly so many numbers, each in 8 bytes.
fn numbers<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let (chunks, rest) = bytes.as_chunks::<8>();
    let chunks: &[[u8; 8]; N] = chunks.try_into().ok().filter(|_| rest.is_empty())?;
    let mut all = [0; N];
    for (into, chunk) in all.iter_mut().zip(chunks) {
        *into = number(*chunk)?;
    }
    Some(all)
}

/// A whole number that a script's float holds.
fn number(bytes: [u8; 8]) -> Option<u64> {
    let float = f64::from_le_bytes(bytes);
    ((0.0..9_007_199_254_740_992.0).contains(&float) && float.fract() == 0.0).then_some(float as u64)
}

/// The text of a state, or nothing where the bucket is at rest or kept otherwise.
pub(crate) fn write(
    rule: &CompiledRule,
    revision: Revision,
    meter: &Meter,
    state: &State,
    now: Timestamp,
    (slack, min_rung): (Micros, u32),
) -> Option<Kept> {
    let rest = meter.rest_at(state);
    if rest <= now {
        return None;
    }
    let life = |until: Timestamp| until.since(now).saturating_add(slack).as_millis_ceil();
    match state {
        State::Tat(tat) if is_short(rule, meter) && tat.fraction < RADIX => {
            let fullest = Span { micros: fullest_life(meter).as_micros(), fraction: 0 };
            let rung = rung_of(fullest, min_rung);
            let combined = tat.micros.checked_sub(BASE)?.checked_mul(RADIX)?.checked_add(tat.fraction)?;
            let tail = revision.tag() * 4 + rung;
            let until = Timestamp::from_micros(rest.as_micros().next_multiple_of(grid_of(rung)));
            Some(Kept { text: format!("{combined}{tail:03}").into_bytes(), life_ms: life(until) })
        }
        State::Tat(Tat { micros, fraction }) => Some(long(b'A', revision, &[*micros, *fraction], life(rest))),
        State::Count(Count { start, used }) => Some(long(b'B', revision, &[*start, *used], life(rest))),
        State::CountPair(CountPair { start, used, previous }) => {
            Some(long(b'C', revision, &[*start, *used, *previous], life(rest)))
        }
        State::Log(log) => {
            let mut kept = long(b'D', revision, &[], life(rest));
            kept.text.extend_from_slice(&0_u32.to_le_bytes());
            kept.text.extend_from_slice(&0_f64.to_le_bytes());
            let mut total = 0_u64;
            for (at, units) in log.admissions() {
                total = total.saturating_add(units);
                kept.text.extend_from_slice(&(at as f64).to_le_bytes());
                kept.text.extend_from_slice(&(total as f64).to_le_bytes());
            }
            Some(kept)
        }
        State::Permits(_) => None,
    }
}

fn long(kind: u8, revision: Revision, numbers: &[u64], life_ms: u64) -> Kept {
    let mut text = Vec::with_capacity(LOG_HEAD + LOG_ENTRY);
    text.push(kind);
    text.extend_from_slice(&revision.number().to_le_bytes());
    for number in numbers {
        text.extend_from_slice(&(*number as f64).to_le_bytes());
    }
    Kept { text, life_ms }
}

/// A state from the numbers of a reply: the state itself, or as much of a log or of permits as the answer needs.
pub(crate) fn from_reply(algorithm: Algorithm, numbers: &[u64]) -> Option<State> {
    Some(match (algorithm, numbers) {
        (Algorithm::TokenBucket | Algorithm::LeakyBucket, &[micros, fraction]) => {
            State::Tat(Tat { micros, fraction })
        }
        (Algorithm::FixedWindow, &[start, used]) => State::Count(Count { start, used }),
        (Algorithm::SlidingWindow, &[start, used, previous]) => {
            State::CountPair(CountPair { start, used, previous })
        }
        (Algorithm::SlidingWindowLog, numbers) => State::Log(AdmissionLog::from_admissions(digest(numbers)?)),
        (Algorithm::Concurrency, numbers) => {
            let held = digest(numbers)?;
            let permit = |(expires_at, units)| Permit { id: 0, expires_at, units };
            State::Permits(Permits::from_held(held.into_iter().map(permit)))
        }
        _ => return None,
    })
}

/// The digest of a log or of permits: units that go together as far as the answer can tell, each with its time.
fn digest(numbers: &[u64]) -> Option<Vec<(u64, u64)>> {
    let &[used, newest, first, more, more_at, wanted, wanted_at] = numbers else { return None };
    let mut points = [(1, first), (more, more_at), (wanted, wanted_at), (used, newest)];
    points.sort_unstable();
    let mut groups = Vec::with_capacity(points.len());
    let mut counted = 0;
    for (units, at) in points {
        if units > counted && units <= used {
            groups.push((at, units - counted));
            counted = units;
        }
    }
    Some(groups)
}
