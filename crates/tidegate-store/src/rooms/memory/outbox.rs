//! What watchers are still to be told, in order, without any lock while they are told.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tidegate_core::room::{Event, RoomName};
use tidegate_core::time::Timestamp;

use crate::rooms::port::RoomWatcher;

/// Everybody who watches.
pub(super) type Watchers = RwLock<Vec<Arc<dyn RoomWatcher>>>;

/// What has happened in one room and was not told yet.
#[derive(Debug, Default)]
pub(super) struct Outbox(Mutex<Letters>);

#[derive(Debug, Default)]
struct Letters {
    waiting: VecDeque<Letter>,
    /// Somebody is telling; it will tell what comes meanwhile, too.
    is_telling: bool,
}

#[derive(Debug)]
struct Letter {
    at: Timestamp,
    events: Vec<Event>,
}

impl Outbox {
    /// Puts down what has happened. Called under the lock of the room, so in order.
    pub(super) fn put(&self, at: Timestamp, events: Vec<Event>) {
        self.0.lock().waiting.push_back(Letter { at, events });
    }

    /// Tells what is there. Called without any lock.
    pub(super) fn tell(&self, room: &RoomName, watchers: &Watchers) {
        if mem::replace(&mut self.0.lock().is_telling, true) {
            return;
        }
        loop {
            let letter = {
                let mut letters = self.0.lock();
                let next = letters.waiting.pop_front();
                letters.is_telling = next.is_some();
                next
            };
            let Some(letter) = letter else { return };
            // A copy, so that a watcher may bring in another one.
            let watchers = watchers.read().clone();
            watchers.iter().for_each(|watcher| watcher.happened(room, letter.at, &letter.events));
        }
    }
}
