//! What operators ask of rooms, and change while visitors wait.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use serde_json::{Value, json};
use tidegate_config::{RoomDefinition, RoomFault};
use tidegate_core::room::draw::commitment;
use tidegate_core::room::{Answer, Command, Method, OpeningOrder, RoomName};
use tidegate_store::rooms::{RoomError, RoomStatus};

use super::answer::room_state;
use super::definition::{Definition, Room};
use super::kept::Kept;
use super::{Rooms, RoomsError};
use crate::telemetry::metrics::RoomReport;

impl Rooms {
    /// The rooms of this node, by name.
    pub(crate) fn names(&self) -> Vec<RoomName> {
        self.0.rooms.load().keys().cloned().collect()
    }

    /// A room with what is counted of it; `None` where there is none of this name.
    ///
    /// # Errors
    /// It cannot be asked.
    pub(crate) async fn overview(&self, name: &str) -> Result<Option<Value>, RoomError> {
        let Some(room) = self.0.room(name) else { return Ok(None) };
        let status = self.0.store.status(&room.name).await?;
        Ok(Some(overview(&room, &status)))
    }

    /// Makes a room, or changes one that is there, as a rule file would.
    ///
    /// # Errors
    /// It cannot be so.
    pub(crate) async fn put(&self, room: &RoomDefinition) -> Result<(), RoomsError> {
        let shared = &*self.0;
        let of_file = shared.changing.lock().await;
        shared.check_secret()?;
        let kept = match shared.store.status(&room.name).await {
            Ok(status) => Kept::read(&status.settings),
            Err(RoomError::UnknownRoom) => None,
            Err(error) => return Err(RoomsError::Store(room.name.clone(), error)),
        };
        // The file has said nothing new by that.
        let of_file = kept.and_then(|kept| kept.of_file).or_else(|| of_file.entry(&room.name).cloned());
        let definition = Definition::of(&Kept { room: room.clone(), of_file }, &shared.keys)?;
        shared.define(&definition).await.map(drop)
    }

    /// What would be refused of a room.
    pub(crate) fn check(&self, room: &RoomDefinition) -> Vec<RoomFault> {
        self.0.pages.check(room)
    }

    /// Forgets a room and everybody in it; false where there is none of this name.
    ///
    /// # Errors
    /// It cannot be removed now.
    pub(crate) async fn remove(&self, name: &RoomName) -> Result<bool, RoomError> {
        let _changing = self.0.changing.lock().await;
        self.0.remove(name).await
    }

    /// Does an operator's command; `None` where there is no room of this name.
    ///
    /// # Errors
    /// It cannot be asked.
    pub(crate) async fn command(&self, name: &str, command: &Command) -> Result<Option<Answer>, RoomError> {
        let Some(room) = self.0.room(name) else { return Ok(None) };
        self.0.store.ask(&room.name, command).await.map(|told| Some(told.answer))
    }

    /// What there is to measure. Rooms whose store does not answer at once are left out.
    pub(crate) fn reports(&self) -> Vec<(RoomName, RoomReport)> {
        let rooms = self.0.rooms.load();
        let report = |room: &Arc<Room>| {
            let status = at_once(self.0.store.status(&room.name))?.ok()?;
            let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            let report = RoomReport {
                waiting: status.status.waiting,
                ready: status.status.ready,
                active: status.status.active,
                capacity: u64::from(status.settings.spec().capacity),
                joined: count(&room.counts.joined),
                admitted: count(&room.counts.admitted),
                abandoned: count(&room.counts.abandoned),
                expired: count(&room.counts.expired),
                ended: count(&room.counts.ended),
                waits: Arc::clone(&room.counts.waits),
            };
            Some((room.name.clone(), report))
        };
        rooms.values().filter_map(report).collect()
    }
}

/// What is there already; whoever writes a page of metrics waits for nothing.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn overview(room: &Room, status: &RoomStatus) -> Value {
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let now = &status.status;
    json!({
        "name": room.name.as_str(),
        "state": serde_json::to_value(room_state(status)).unwrap_or_default(),
        "waiting": now.waiting,
        "ready": now.ready,
        "active": now.active,
        "held": now.held,
        "serving_number": now.serving_number,
        "next_number": now.next_number,
        "epoch": now.epoch,
        "counted": {
            "joined": count(&room.counts.joined),
            "admitted": count(&room.counts.admitted),
            "abandoned": count(&room.counts.abandoned),
            "expired": count(&room.counts.expired),
            "ended": count(&room.counts.ended),
        },
        "draw": draw_of(status),
        "definition": room.document,
    })
}

/// What a draw is made from, as far as it may be told: the commitment before, everything after.
fn draw_of(status: &RoomStatus) -> Value {
    let spec = status.settings.spec();
    let draws = spec.method == Method::Random
        || status.drawn.is_some()
        || spec.opening.is_some_and(|opening| opening.order == OpeningOrder::Shuffled);
    let seed = spec.seed.as_ref().filter(|_| draws);
    let made = status.drawn.as_ref().map(|drawn| {
        json!({
            "after": drawn.after,
            "last": drawn.last,
            "key": hex(&drawn.key),
            // One that is drawn from again and again stays secret.
            "seed": seed.filter(|_| spec.method != Method::Random).map(|seed| hex(&seed.reveal())),
        })
    });
    json!({ "commitment": seed.map(|seed| hex(&commitment(seed))), "made": made })
}

fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
