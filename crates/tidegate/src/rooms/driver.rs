//! Does what is due in rooms, at the instant at which it is.
//!
//! One task asks the store to do what is due, and sleeps until the store says that something will be, or until something has
//! happened that may be due sooner. Nothing ticks: where no room has anything to do, nothing runs.

use std::sync::Arc;
use std::time::Duration;

use tidegate_engine::Clock;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::Rooms;
use super::store::Store;
use super::watch::Watch;

/// Turns are at least so far apart: what happens in between is done by one of them. A spot that became free is offered that
/// much later at the most, and only where the command that made it free has not offered it itself.
const SPACING: Duration = Duration::from_millis(1);
/// A store that cannot be asked is asked again after this time.
const RETRY: Duration = Duration::from_secs(1);
/// Changes of rooms that come within this time are looked at together.
const FOLLOW_SPACING: Duration = Duration::from_millis(50);
/// The longest sleep: clocks of machines are set, and a store may have another one.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The task that drives rooms, and takes in what other nodes change of them. It ends when this is dropped.
#[derive(Debug)]
pub struct Driver {
    _stop: oneshot::Sender<()>,
    _task: JoinHandle<()>,
}

impl Driver {
    /// Starts to drive these rooms on the present runtime.
    #[must_use]
    pub fn start(rooms: &Rooms) -> Self {
        let shared = &rooms.0;
        let (store, clock, watch) =
            (Arc::clone(&shared.store), Arc::clone(&shared.clock), Arc::clone(&shared.watch));
        let followed = rooms.clone();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = drive(&*store, &*clock, &watch) => {}
                () = follow(&followed) => {}
                _ = stopped => {}
            }
        });
        Self { _stop: stop, _task: task }
    }
}

/// Takes in what changes in the store, and takes up the rule file that waits for it.
async fn follow(rooms: &Rooms) {
    loop {
        rooms.0.watch.rooms_differ().await;
        while let Err(error) = rooms.catch_up().await {
            tracing::debug!(%error, "which rooms there are cannot be found out; it is tried again every second");
            tokio::time::sleep(RETRY).await;
        }
        tokio::time::sleep(FOLLOW_SPACING).await;
    }
}

async fn drive(store: &dyn Store, clock: &dyn Clock, watch: &Watch) {
    let mut is_failing = false;
    loop {
        let sleep = match store.turn().await {
            Ok(due) => {
                is_failing = false;
                due.map_or(LONGEST_SLEEP, |due| Duration::from(due.since(clock.now())).min(LONGEST_SLEEP))
            }
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(%error, "what is due in waiting rooms could not be done; it is tried again every second");
                }
                RETRY
            }
        };
        tokio::time::sleep(SPACING).await;
        if !is_failing {
            tokio::select! {
                () = tokio::time::sleep(sleep.saturating_sub(SPACING)) => {}
                () = watch.happened_sooner() => {}
            }
        } else {
            tokio::time::sleep(sleep).await;
        }
    }
}
