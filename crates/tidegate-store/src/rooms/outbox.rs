//! What watchers are still to be told: in order, without any lock while they are told, and not before it is kept.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::thread;

use parking_lot::{Mutex, RwLock};
use tidegate_core::room::{Event, RoomName};
use tidegate_core::time::Timestamp;

use crate::rooms::port::RoomWatcher;

/// Everybody who watches.
pub(in crate::rooms) type Watchers = RwLock<Vec<Arc<dyn RoomWatcher>>>;

/// Tells everybody that there may be other rooms. Called without any lock.
pub(in crate::rooms) fn tell_of_rooms(watchers: &Watchers) {
    let watchers = watchers.read().clone();
    watchers.iter().for_each(|watcher| watcher.rooms_changed());
}

/// What has happened in one room and was not told yet.
#[derive(Debug, Default)]
pub(in crate::rooms) struct Outbox(Mutex<Letters>);

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
    /// Told once this record is kept.
    record: u64,
}

impl Outbox {
    /// Puts down what has happened. Called under the lock of the room, so in order.
    pub(in crate::rooms) fn put(&self, at: Timestamp, events: Vec<Event>, record: u64) {
        self.0.lock().waiting.push_back(Letter { at, events, record });
    }

    /// Forgets what has happened after `record`: it was not kept, and never will be.
    pub(in crate::rooms) fn forget_after(&self, record: u64) {
        self.0.lock().waiting.retain(|letter| letter.record <= record);
    }

    /// Tells what is kept. Called without any lock; `kept` says up to which record everything is.
    pub(in crate::rooms) fn tell(&self, room: &RoomName, watchers: &Watchers, kept: impl Fn() -> u64) {
        {
            let mut letters = self.0.lock();
            if letters.waiting.is_empty() || mem::replace(&mut letters.is_telling, true) {
                return;
            }
        }
        let _telling = Telling(self);
        loop {
            let letter = {
                let mut letters = self.0.lock();
                // Asked under the lock: whoever raises it afterwards finds that nobody tells.
                let kept = kept();
                let is_kept = letters.waiting.front().is_some_and(|letter| letter.record <= kept);
                letters.is_telling = is_kept;
                if !is_kept {
                    return;
                }
                letters.waiting.pop_front()
            };
            let Some(letter) = letter else { return };
            // A copy, so that a watcher may bring in another one.
            let watchers = watchers.read().clone();
            watchers.iter().for_each(|watcher| watcher.happened(room, letter.at, &letter.events));
        }
    }
}

/// Somebody tells. A watcher that panics must not keep others from being told.
struct Telling<'a>(&'a Outbox);

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.0.lock().is_telling = false;
        }
    }
}
