//! What the scripts leave to the client: a bucket that was written under other rules, in another form, or under a clock
//! that was wrong. It is read, carried to the present rule by the same code as anywhere, and put back if nobody has
//! touched it in between. Then the plan is sent again.

use redis::{Cmd, Value};
use tidegate_core::algorithm::{Permit, Permits, State};
use tidegate_core::quota::Algorithm;
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::{Plan, PlannedBucket, StoreError, UnknownRevisions};

use crate::key::RedisKey;
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

/// One bucket to be put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Amendment {
    pub(crate) key: RedisKey,
    found: Stored,
    /// Nothing where the bucket is at rest.
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

/// What is stored under the keys of a plan's buckets, from the replies to [`reads`].
pub(crate) fn found(
    keys: Vec<RedisKey>,
    replies: Vec<Result<Value, Refusal>>,
) -> Result<Vec<(RedisKey, Stored)>, StoreError> {
    let mut replies = replies.into_iter();
    let mut next = || replies.next().unwrap_or_else(|| Err(Refusal::Other("a reply is missing".into())));
    keys.into_iter().map(|key| stored(next(), next()).map(|stored| (key, stored))).collect()
}

/// What becomes of the buckets of a plan that hold these.
pub(crate) fn amendments(
    plan: &Plan<'_>,
    found: Vec<(RedisKey, Stored)>,
    now: Timestamp,
    slack: Micros,
) -> Result<Amendments, StoreError> {
    let mut all = Vec::new();
    for (bucket, (key, stored)) in plan.buckets().iter().zip(found) {
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
                    value::write(bucket.rule, metered.revision, &metered.meter, &state, now, slack)
                }
                None => return Ok(Amendments::Stale),
            },
        };
        if !matches!((&kept, stored.text()), (Some(kept), text) if text == kept.text) {
            all.push(Amendment { key, found: stored, kept });
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

/// The command that puts buckets back, without the script's name.
pub(crate) fn arguments(amendments: &[Amendment]) -> Vec<Vec<u8>> {
    let mut arguments = Vec::with_capacity(3 * amendments.len());
    for amendment in amendments {
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

/// The commands that read buckets: two each.
pub(crate) fn reads(keys: &[RedisKey]) -> Vec<Cmd> {
    let both = |key: &RedisKey| {
        let (mut text, mut last) = (redis::cmd("GET"), redis::cmd("ZRANGE"));
        text.arg(key.as_slice());
        last.arg(key.as_slice()).arg(-1).arg(-1);
        [text, last]
    };
    keys.iter().flat_map(both).collect()
}
