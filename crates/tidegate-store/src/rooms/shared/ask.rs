//! How this node asks a room: itself, another node, or by taking it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_core::room::{Command, RoomName, Settings};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use super::keeper::{Answers, Asker};
use super::log::{Appended, NodeId, RoomLog};
use super::message::{Outcome, What, removed};
use super::node::Node;
use super::slot::Slot;
use crate::rooms::port::{RoomError, Told};

/// How long an ask that came to the wrong node waits before it goes to another one.
const MOVE_PAUSE: Duration = Duration::from_millis(10);
/// For how long a room that could not be taken is left alone.
const TAKE_AGAIN: Duration = Duration::from_millis(100);

/// Who has to be asked.
enum Route {
    Here,
    To(NodeId, u64),
    Nobody,
}

impl<L: RoomLog> Node<L> {
    /// Asks the keeper, whoever that is.
    pub(super) async fn ask(self: &Arc<Self>, slot: &Arc<Slot>, what: &What) -> Result<Told, RoomError> {
        match self.ask_until(slot, what, Instant::now() + self.options.ask_timeout).await? {
            Outcome::Answered { told, mark, count } => {
                slot.state.lock().need(mark, count);
                Ok(told)
            }
            Outcome::Gone | Outcome::UnknownRoom => Err(RoomError::UnknownRoom),
            Outcome::Overloaded => Err(RoomError::Overloaded),
            Outcome::Unavailable(why) => Err(RoomError::Unavailable(why)),
            Outcome::Moved { .. } => Err(RoomError::Timeout),
        }
    }

    pub(super) async fn ask_until(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        what: &What,
        deadline: Instant,
    ) -> Result<Outcome, RoomError> {
        loop {
            if Instant::now() >= deadline {
                return Err(RoomError::Timeout);
            }
            if self.is_closing.load(Ordering::Acquire) {
                return Err(RoomError::Unavailable("this node is being shut down".to_owned()));
            }
            let route = self.route(slot)?;
            let outcome = match route {
                Route::Here => {
                    let (answer, answered) = oneshot::channel();
                    self.serve_at(slot, Asker::Here(answer), what.clone());
                    let lost = Outcome::Moved { may_be_done: true };
                    timeout_at(deadline, answered).await.map(|answered| answered.unwrap_or(lost))
                }
                Route::To(node, term) => self.ask_node(slot, node, term, what, deadline).await,
                Route::Nobody => {
                    self.take_until(slot, deadline).await?;
                    continue;
                }
            };
            match outcome.map_err(|_| RoomError::Timeout)? {
                Outcome::Moved { may_be_done } => {
                    if may_be_done && !what.is_repeatable() {
                        return Err(RoomError::Timeout);
                    }
                    if let (Route::To(node, _), false) = (route, may_be_done) {
                        // It does not keep the room, whatever was heard of it.
                        let mut state = slot.state.lock();
                        state.other = state.other.filter(|other| other.node != node);
                    }
                    sleep(MOVE_PAUSE).await;
                }
                outcome => return Ok(outcome),
            }
        }
    }

    fn route(&self, slot: &Slot) -> Result<Route, RoomError> {
        let state = slot.state.lock();
        if state.is_gone {
            return Err(RoomError::UnknownRoom);
        }
        Ok(match (&state.keeper, state.other) {
            (Some(_), _) => Route::Here,
            (None, Some(other)) if Instant::now() < other.until => Route::To(other.node, state.term),
            _ => Route::Nobody,
        })
    }

    /// Asks another node; once more where no answer comes and it does no harm.
    async fn ask_node(
        &self,
        slot: &Slot,
        node: NodeId,
        term: u64,
        what: &What,
        deadline: Instant,
    ) -> Result<Outcome, tokio::time::error::Elapsed> {
        let Some(mut asked) = self.post.open(&slot.name, term) else { return Ok(Outcome::Overloaded) };
        if !self.post.ask(node, asked.id, &slot.name, what) {
            return Ok(Outcome::Overloaded);
        }
        let lost = Outcome::Moved { may_be_done: true };
        if what.is_repeatable() {
            let now = Instant::now();
            let half = now + deadline.saturating_duration_since(now) / 2;
            if let Ok(answer) = timeout_at(half, &mut asked.answer).await {
                return Ok(answer.unwrap_or(lost));
            }
            self.post.ask(node, asked.id, &slot.name, what);
        }
        timeout_at(deadline, &mut asked.answer).await.map(|answer| answer.unwrap_or(lost))
    }

    /// Takes a room that nobody keeps, or waits until somebody does.
    pub(super) async fn take_until(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        deadline: Instant,
    ) -> Result<(), RoomError> {
        let began = Instant::now();
        loop {
            let changed = slot.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.route(slot)? {
                Route::Here | Route::To(..) => return Ok(()),
                Route::Nobody => {}
            }
            let failed = slot.state.lock().failed.clone();
            if let Some((at, error)) = failed
                && at + TAKE_AGAIN > began
            {
                return Err(error);
            }
            self.take_soon(slot, None);
            timeout_at(deadline, changed).await.map_err(|_| RoomError::Timeout)?;
        }
    }

    /// Takes a room in a task of its own, as a lease that was taken must not be left alone when somebody gives up.
    pub(super) fn take_soon(self: &Arc<Self>, slot: &Arc<Slot>, make: Option<Settings>) {
        if std::mem::replace(&mut slot.state.lock().is_taking, true) {
            return;
        }
        let (node, slot) = (Arc::clone(self), Arc::clone(slot));
        self.spawn(async move {
            let taken = node.take(&slot, make.as_ref()).await;
            let mut state = slot.state.lock();
            state.is_taking = false;
            state.failed = taken.err().map(|error| (Instant::now(), error));
            drop(state);
            slot.changed.notify_waiters();
        });
    }

    /// Does what was asked here or at another node, if this one keeps the room.
    pub(super) fn serve(self: &Arc<Self>, room: &RoomName, asker: Asker, what: What) {
        match self.slot(room) {
            Ok(slot) => self.serve_at(&slot, asker, what),
            Err(_) => self.deliver(vec![(asker, Outcome::Moved { may_be_done: false })]),
        }
    }

    fn serve_at(self: &Arc<Self>, slot: &Arc<Slot>, asker: Asker, what: What) {
        if what == What::Remove {
            let (node, slot) = (Arc::clone(self), Arc::clone(slot));
            self.spawn(async move {
                let outcome = node.remove_here(&slot).await;
                node.deliver(vec![(asker, outcome)]);
            });
            return;
        }
        let mut answers = Answers::new();
        slot.state.lock().serve(asker, what, (self.now(), Instant::now()), &slot.outbox, &mut answers);
        slot.work.notify_one();
        self.deliver(answers);
        self.tell_watchers(slot);
    }

    /// Removes a room that this node keeps.
    async fn remove_here(&self, slot: &Arc<Slot>) -> Outcome {
        let known = {
            let state = slot.state.lock();
            let epoch = state.room.as_ref().map_or(0, |room| room.epoch().saturating_add(1));
            state.keeper.as_ref().map(|keeper| (keeper.term, epoch))
        };
        let Some((term, least_epoch)) = known else { return Outcome::Moved { may_be_done: false } };
        match self.log.remove(&slot.name, term).await {
            Ok(Appended::Kept) => {
                self.forget(slot);
                self.log.send(None, removed(&slot.name, term, least_epoch));
                Outcome::Gone
            }
            Ok(Appended::Deposed | Appended::Behind { .. }) => Outcome::Moved { may_be_done: false },
            Err(error) => Outcome::Unavailable(error.to_string()),
        }
    }

    /// A turn of a room that this node keeps.
    pub(super) fn turn_here(self: &Arc<Self>, slot: &Arc<Slot>) -> oneshot::Receiver<Outcome> {
        let (answer, answered) = oneshot::channel();
        self.serve_at(slot, Asker::Here(answer), What::Command(Command::Turn));
        answered
    }
}
