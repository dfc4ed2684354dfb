//! Those who wait for a call, and the reply taken apart again for them.

use redis::Value;
use smallvec::SmallVec;
use tidegate_core::time::Timestamp;

use crate::link::Refusal;
use crate::order::{Failure, Report, Waiting};

/// Orders that wait for one call.
#[derive(Debug)]
pub(crate) struct Riders {
    /// How many losses of connection there were when the call was put together.
    epoch: u64,
    riders: Vec<Rider>,
}

/// An order that waits, and where its answer is in the reply.
#[derive(Debug)]
struct Rider {
    waiting: Box<Waiting>,
    /// The plan of the call that it is, or rides with.
    entry: usize,
    /// Its place among the equal orders of the entry.
    place: u64,
}

impl Riders {
    pub(crate) const fn new(epoch: u64) -> Self {
        Self { epoch, riders: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.riders.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.riders.is_empty()
    }

    /// Whether nobody may join them.
    pub(crate) fn is_alone(&self) -> bool {
        self.riders.first().is_some_and(|rider| rider.waiting.order.alone)
    }

    pub(crate) fn push(&mut self, waiting: Box<Waiting>, entry: usize, place: u64) {
        self.riders.push(Rider { waiting, entry, place });
    }

    /// Hands every order its part of the reply. The time that the script read, where it did.
    pub(crate) fn answer(self, reply: &Value, widths: &[usize]) -> Option<Timestamp> {
        match take_apart(reply, widths) {
            Ok((now, reports)) => {
                for rider in self.riders {
                    let report =
                        reports.get(rider.entry).map_or(Err(garbled("a plan without an answer")), |entry| {
                            entry.report(now, rider.place, self.epoch)
                        });
                    // Whoever does not wait any longer has given up.
                    let _ = rider.waiting.reply.send(report);
                }
                Some(now)
            }
            Err((now, failure)) => {
                self.fail(&failure);
                now
            }
        }
    }

    /// Tells every order the same failure.
    pub(crate) fn fail(self, failure: &Failure) {
        for rider in self.riders {
            let _ = rider.waiting.reply.send(Err(failure.clone()));
        }
    }

    /// Gives every order back to who waits for it: the server has not executed it and said why.
    pub(crate) fn give_back(self, refusal: &Refusal) {
        for Rider { waiting, .. } in self.riders {
            let Waiting { order, reply } = *waiting;
            let _ = reply.send(Err(Failure::Elsewhere(Box::new((order, refusal.clone())))));
        }
    }
}

/// The time that the script read, and its answer to each plan.
fn take_apart(
    reply: &Value,
    widths: &[usize],
) -> Result<(Timestamp, Vec<EntryReply>), (Option<Timestamp>, Failure)> {
    let Value::Array(values) = reply else { return Err((None, garbled("not an array"))) };
    let mut values = values.iter();
    let now = match values.next() {
        Some(Value::Int(now)) => u64::try_from(*now).map(Timestamp::from_micros),
        _ => return Err((None, garbled("no time"))),
    };
    let Ok(now) = now else { return Err((None, garbled("a negative time"))) };
    if let (1, Some(Value::BulkString(_))) = (values.len(), values.as_slice().first()) {
        return Err((Some(now), Failure::NotDone("the server got to it too late".to_owned())));
    }
    let mut replies = Vec::with_capacity(widths.len());
    for width in widths {
        let reply = EntryReply::read(*width, &mut values).ok_or((Some(now), garbled("a plan cut short")))?;
        replies.push(reply);
    }
    if values.next().is_some() {
        return Err((Some(now), garbled("more than was asked for")));
    }
    Ok((now, replies))
}

/// The script's answer to one entry.
#[derive(Debug)]
enum EntryReply {
    Granted { calls: u64, states: SmallVec<[u64; 8]> },
    Attention,
    Remembered(Vec<u8>),
}

impl EntryReply {
    fn read<'v>(width: usize, values: &mut impl Iterator<Item = &'v Value>) -> Option<Self> {
        match values.next()? {
            Value::Int(-1) => Some(Self::Attention),
            Value::Int(-2) => match values.next()? {
                Value::BulkString(record) => Some(Self::Remembered(record.clone())),
                _ => None,
            },
            Value::Int(calls) => {
                let calls = u64::try_from(*calls).ok()?;
                let mut states = SmallVec::with_capacity(width);
                for _ in 0..width {
                    match values.next()? {
                        Value::Int(number) => states.push(u64::try_from(*number).ok()?),
                        _ => return None,
                    }
                }
                Some(Self::Granted { calls, states })
            }
            _ => None,
        }
    }

    fn report(&self, now: Timestamp, place: u64, epoch: u64) -> Result<Report, Failure> {
        Ok(match self {
            Self::Granted { calls, states } => Report::Decided {
                now,
                granted: place < *calls,
                place: place.min(*calls),
                states: states.clone(),
                epoch,
            },
            Self::Attention => Report::Attention { now },
            Self::Remembered(record) => Report::Remembered(record.clone()),
        })
    }
}

fn garbled(what: &str) -> Failure {
    Failure::Garbled(format!("the script's reply: {what}"))
}
