//! Waiting until a record is kept.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::Journal;
use crate::rooms::port::RoomError;

/// Who waits, and what they are told when the disk fails.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    wakers: Vec<(u64, Waker)>,
    /// How often all of them were taken out.
    round: u64,
    /// What failed, while the journal is stalled.
    pub(super) failed: Option<String>,
}

impl Waiters {
    /// What whoever asks is told while nothing can be kept.
    pub(super) fn failure(&self) -> RoomError {
        let why = self.failed.as_deref().unwrap_or("the disk has just come back; try again");
        RoomError::Unavailable(why.to_owned())
    }

    /// Takes out those who wait for `record` or an earlier one.
    pub(super) fn up_to(&mut self, record: u64) -> Vec<Waker> {
        let is_kept = |(wanted, _): &mut (u64, Waker)| *wanted <= record;
        self.wakers.extract_if(.., is_kept).map(|(_, waker)| waker).collect()
    }

    /// Tells everybody that nothing can be kept now.
    pub(super) fn fail(&mut self, why: String) -> Vec<Waker> {
        self.failed = Some(why);
        self.round += 1;
        self.wakers.drain(..).map(|(_, waker)| waker).collect()
    }
}

/// Ends when a record is kept, or when it is known that it cannot be now.
#[must_use = "nothing is kept for sure before"]
pub(in crate::rooms) struct Kept<'a> {
    journal: &'a Journal,
    record: u64,
    /// What is among the waiters for this, if they were not taken out since that round.
    waker: Option<(u64, Waker)>,
}

impl<'a> Kept<'a> {
    pub(super) const fn new(journal: &'a Journal, record: u64) -> Self {
        Self { journal, record, waker: None }
    }
}

impl Future for Kept<'_> {
    type Output = Result<(), RoomError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.journal.kept() >= self.record {
            return Poll::Ready(Ok(()));
        }
        let mut waiters = self.journal.waiters.lock();
        // Under the lock, under which those who wait are taken out.
        if self.journal.kept() >= self.record {
            return Poll::Ready(Ok(()));
        }
        if waiters.failed.is_some() {
            return Poll::Ready(Err(waiters.failure()));
        }
        let round = waiters.round;
        let is_there = |(of, waker): &(u64, Waker)| *of == round && waker.will_wake(context.waker());
        if !self.waker.as_ref().is_some_and(is_there) {
            waiters.wakers.push((self.record, context.waker().clone()));
            drop(waiters);
            self.waker = Some((round, context.waker().clone()));
        }
        Poll::Pending
    }
}
