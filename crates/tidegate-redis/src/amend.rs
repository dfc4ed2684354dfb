//! What the scripts leave to the client: a bucket that was written under other rules, in another form, or under a clock
//! that was wrong. It is read, carried to the present rule by the same code as anywhere, and put back if nobody has
//! touched it in between. Then the plan is sent again.

use redis::{Cmd, Value};
use tidegate_core::algorithm::{Permit, Permits, State};
use tidegate_core::quota::Algorithm;
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::{Plan, PlannedBucket, StoreError, UnknownRevisions};

use crate::key::Place;
use crate::link::Refusal;
use crate::value::{self, Kept, Stored};

/// What comes before the mark of permits where a text is expected.
const PERMITS: &[u8] = b"z";

/// What is said of a text that nothing here can have written.
const FOREIGN: &str =
    "a bucket's key holds what Tidegate did not write: does something else use this prefix?";

impl Stored {
    /// How the amending script calls it.
    fn text(&self) -> Vec<u8> {
        match self {
            Stored::Nothing => Vec::new(),
            Stored::Text(text) => text.clone(),
            Stored::Permits(mark) => [PERMITS, mark].concat(),
        }
    }
}

/// A bucket that was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Looked {
    /// Where it is to be.
    pub(crate) home: Place,
    /// Where it was found; its home if it was not.
    pub(crate) at: Place,
    pub(crate) stored: Stored,
}

/// One place that is to hold something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Amendment {
    pub(crate) place: Place,
    found: Stored,
    /// Nothing where the bucket is at rest, or has moved away.
    kept: Option<Kept>,
}

/// What is to be done before a plan can be decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Amendments {
    /// These buckets are put back; none where somebody else was quicker.
    Some(Vec<Amendment>),
    /// A bucket was written under rules that the plan does not know.
    Stale,
}

/// What is stored under a bucket's key, from the replies to `GET` and to `ZRANGE` of the last member.
fn stored(text: Result<Value, Refusal>, last: Result<Value, Refusal>) -> Result<Stored, StoreError> {
    match (text, last) {
        (Ok(Value::Nil), _) => Ok(Stored::Nothing),
        (Ok(Value::BulkString(text)), _) => Ok(Stored::Text(text)),
        (Err(Refusal::WrongType), Ok(Value::Array(members))) => match members.as_slice() {
            [Value::BulkString(mark)] => Ok(Stored::Permits(mark.clone())),
            _ => Ok(Stored::Nothing),
        },
        (Err(Refusal::WrongType), _) => Err(StoreError::Corrupt(FOREIGN.to_owned())),
        (Ok(_), _) => Err(StoreError::Corrupt("GET answered neither text nor nothing".to_owned())),
        (Err(refusal), _) => Err(StoreError::Unavailable(refusal.to_string())),
    }
}

/// What is stored in places, from the replies to [`reads`].
pub(crate) fn found(
    places: &[Place],
    replies: Vec<Result<Value, Refusal>>,
) -> Result<Vec<Stored>, StoreError> {
    let mut replies = replies.into_iter();
    let mut next = || replies.next().unwrap_or_else(|| Err(Refusal::Other("a reply is missing".into())));
    let found = |place: &Place| {
        let text = next();
        let last = if place.is_own() { next() } else { Ok(Value::Nil) };
        stored(text, last)
    };
    places.iter().map(found).collect()
}

/// What becomes of the buckets of a plan that hold these. `expiry` is how much longer than needed they are kept, and on
/// which rung at least.
pub(crate) fn amendments(
    plan: &Plan<'_>,
    looked: Vec<Looked>,
    now: Timestamp,
    expiry: (Micros, u32),
) -> Result<Amendments, StoreError> {
    let mut all = Vec::new();
    for (bucket, Looked { home, at, stored }) in plan.buckets().iter().zip(looked) {
        let holds_permits = bucket.metered.meter.algorithm() == Algorithm::Concurrency;
        let kept = match &stored {
            Stored::Nothing => continue,
            Stored::Permits(mark) => match permits_carried(plan, bucket, mark, now) {
                Some(true) if holds_permits => {
                    let text = [PERMITS, &value::mark(bucket.metered.revision)].concat();
                    Some(Kept { text, life_ms: 0 })
                }
                // Permits are not carried to another algorithm.
                Some(_) => None,
                None => return Ok(Amendments::Stale),
            },
            Stored::Text(text) => match carried(plan, bucket, text, now)? {
                Some(state) => {
                    let metered = bucket.metered;
                    value::write(bucket.rule, metered.revision, &metered.meter, &state, now, expiry)
                }
                None => return Ok(Amendments::Stale),
            },
        };
        if at != home {
            all.push(Amendment { place: at, found: stored, kept: None });
            if kept.is_some() {
                all.push(Amendment { place: home, found: Stored::Nothing, kept });
            }
        } else if !matches!((&kept, stored.text()), (Some(kept), text) if text == kept.text) {
            all.push(Amendment { place: home, found: stored, kept });
        }
    }
    Ok(Amendments::Some(all))
}

/// Whether permits that were handed out under the revision of their mark are held under the present rule. `None` where the
/// plan's rules do not know that revision.
fn permits_carried(plan: &Plan<'_>, bucket: &PlannedBucket<'_>, mark: &[u8], now: Timestamp) -> Option<bool> {
    let held = State::Permits(Permits::from_held([Permit { id: 0, expires_at: u64::MAX, units: 1 }]));
    let revision = value::read_mark(mark);
    let carried =
        revision.and_then(|revision| bucket.rule.carry(held.clone(), revision, bucket.metered, now));
    match (carried, plan.unknown_revisions) {
        (Some(carried), _) => Some(carried == held),
        (None, UnknownRevisions::Refuse) => None,
        (None, UnknownRevisions::Adopt) => Some(true),
    }
}

/// The state that a text stands for, in terms of the present rule; `None` where the plan's rules do not know it.
fn carried(
    plan: &Plan<'_>,
    bucket: &PlannedBucket<'_>,
    text: &[u8],
    now: Timestamp,
) -> Result<Option<State>, StoreError> {
    let present = bucket.metered;
    let (revision, state) = value::read(text, bucket.rule)
        .map_err(|value::Unreadable| StoreError::Corrupt(FOREIGN.to_owned()))?;
    let carried = match revision {
        Some(revision) if revision == present.revision => Some(state.clone()),
        Some(revision) => bucket.rule.carry(state.clone(), revision, present, now),
        None => None,
    };
    let mut state = match (carried, plan.unknown_revisions) {
        (Some(state), _) => state,
        (None, UnknownRevisions::Refuse) => return Ok(None),
        (None, UnknownRevisions::Adopt) => state,
    };
    // Also replaces a state of another kind.
    present.meter.repair(&mut state, now);
    Ok(Some(state))
}

/// The arguments of the command that puts buckets back, behind its times.
pub(crate) fn arguments(amendments: &[Amendment]) -> Vec<Vec<u8>> {
    let mut arguments = Vec::with_capacity(4 * amendments.len());
    for amendment in amendments {
        arguments.push(amendment.place.member.to_vec());
        arguments.push(amendment.found.text());
        let (text, life) = match &amendment.kept {
            Some(Kept { text, life_ms }) => (text.clone(), *life_ms),
            None => (Vec::new(), 0),
        };
        arguments.push(text);
        arguments.push(life.to_string().into_bytes());
    }
    arguments
}

/// The commands that read what is in places: two each where a bucket has its own key, else one.
pub(crate) fn reads(places: &[Place]) -> Vec<Cmd> {
    let mut commands = Vec::with_capacity(2 * places.len());
    for Place { key, member } in places {
        let mut text = redis::cmd(if member.is_empty() { "GET" } else { "HGET" });
        text.arg(key.as_slice());
        if member.is_empty() {
            let mut last = redis::cmd("ZRANGE");
            last.arg(key.as_slice()).arg(-1).arg(-1);
            commands.extend([text, last]);
        } else {
            text.arg(member.as_slice());
            commands.push(text);
        }
    }
    commands
}
