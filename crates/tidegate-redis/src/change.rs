//! Everything that changes buckets besides a charge: one plan at a time, in one call of its own.

use redis::{Cmd, Value};
use smallvec::SmallVec;
use tidegate_core::algorithm::Tat;
use tidegate_core::decision::Verdict;
use tidegate_core::time::Timestamp;
use tidegate_store::{Outcome, Plan};

use crate::ask::{self, AskRow};
use crate::key::{KeyMaker, Place, RedisKey};
use crate::script::Script;

/// What is done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<'o> {
    /// Units are given back.
    Refund,
    /// The charge of this outcome is undone.
    Withdraw(&'o Outcome),
    /// Units are taken without asking.
    Debit,
}

/// A change on its way.
#[derive(Debug)]
pub(crate) struct ChangeCall {
    keys: Vec<RedisKey>,
    pub(crate) asks: Vec<AskRow>,
    packed_tail: Vec<u8>,
    min_rung: u32,
    code: u64,
}

/// What the script said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// Done: the states afterwards.
    Done { now: Timestamp, states: SmallVec<[u64; 8]> },
    /// A bucket has to be looked at first; nothing was done.
    Attention { now: Timestamp },
    /// The same refund was made before; what was remembered of it.
    Remembered(Vec<u8>),
    /// The deadline was over; nothing was done.
    Late,
}

impl ChangeCall {
    pub(crate) fn new(plan: &Plan<'_>, change: Change<'_>, maker: &KeyMaker) -> Self {
        let domain = plan.buckets().first().map_or(0, |bucket| bucket.rule.domain_uid());
        let asks: Vec<AskRow> = plan.buckets().iter().map(|bucket| AskRow::new(plan, bucket)).collect();
        let places = plan.buckets().iter().zip(&asks).map(|(bucket, ask)| {
            maker.places(maker.bucket(bucket.rule.domain_uid(), plan.key_of(bucket)), ask.is_short()).0
        });
        let places: Vec<Place> = places.collect();
        let mut keys: Vec<RedisKey> = places.iter().map(|place| place.key.clone()).collect();
        let remembered = plan.idempotency_key.as_ref().filter(|_| !matches!(change, Change::Debit));
        keys.extend(remembered.map(|name| maker.remembered(domain, name)));
        let code = match change {
            Change::Refund => 1,
            Change::Withdraw(_) => 2,
            Change::Debit => 3,
        };
        let mut packed_tail = Vec::new();
        ask::uint(&mut packed_tail, u64::from(remembered.is_some()));
        encode_undone(&mut packed_tail, plan, change);
        ask::array(&mut packed_tail, places.len());
        places.iter().for_each(|place| ask::bytes(&mut packed_tail, &place.member));
        Self { keys, asks, packed_tail, min_rung: maker.min_rung(), code }
    }

    pub(crate) fn first_key(&self) -> &[u8] {
        self.keys.first().map_or(&[], |key| key.as_slice())
    }

    pub(crate) fn command(&self, script: &Script, by_name: bool, times: Times) -> Cmd {
        let mut packed = Vec::with_capacity(256);
        ask::array(&mut packed, 11);
        ask::uint(&mut packed, times.deadline);
        ask::uint(&mut packed, times.at.map_or(0, Timestamp::as_micros));
        ask::uint(&mut packed, times.slack_ms);
        ask::uint(&mut packed, self.code);
        ask::array(&mut packed, self.asks.len());
        self.asks.iter().for_each(|row| row.encode(&mut packed, self.min_rung));
        packed.extend_from_slice(&self.packed_tail);
        script.command(by_name, self.keys.iter().map(|key| key.as_slice()), &[&packed])
    }

    pub(crate) fn read(&self, reply: &Value) -> Option<Changed> {
        let Value::Array(values) = reply else { return None };
        let (now, rest) = values.split_first()?;
        let now = time_of(now)?;
        match rest {
            [Value::Int(-1)] => Some(Changed::Attention { now }),
            [Value::Int(-2), Value::BulkString(record)] => Some(Changed::Remembered(record.clone())),
            [Value::BulkString(_)] => Some(Changed::Late),
            states => {
                let states: Option<SmallVec<[u64; 8]>> = states.iter().map(number_of).collect();
                let width: usize = self.asks.iter().map(AskRow::width).sum();
                states.filter(|states| states.len() == width).map(|states| Changed::Done { now, states })
            }
        }
    }
}

/// What a call says about time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// In the server's µs; 0 for none.
    pub(crate) deadline: u64,
    /// The instant to decide at, where it is not the server's.
    pub(crate) at: Option<Timestamp>,
    /// How much longer than needed keys are kept.
    pub(crate) slack_ms: u64,
}

/// Which buckets to undo, when they were charged, the places they gave out, and the permit.
fn encode_undone(out: &mut Vec<u8>, plan: &Plan<'_>, change: Change<'_>) {
    let Change::Withdraw(outcome) = change else {
        ask::array(out, 0);
        ask::uint(out, 0);
        ask::array(out, 0);
        ask::bytes(out, b"");
        return;
    };
    let results = || outcome.results.iter().take(plan.buckets().len());
    ask::array(out, results().len());
    results().for_each(|result| ask::uint(out, u64::from(matches!(result.verdict, Verdict::Allow { .. }))));
    ask::uint(out, outcome.decided_at.as_micros());
    ask::array(out, 2 * results().len());
    for result in results() {
        match result.place {
            Some(Tat { micros, fraction }) => {
                ask::uint(out, micros);
                ask::uint(out, fraction);
            }
            None => {
                ask::minus_one(out);
                ask::uint(out, 0);
            }
        }
    }
    ask::bytes(out, &plan.permit.to_le_bytes());
}

pub(crate) fn number_of(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

pub(crate) fn time_of(value: &Value) -> Option<Timestamp> {
    number_of(value).map(Timestamp::from_micros)
}
