//! Pages that say they go. A page that is left, reloaded or put away by its browser says the same, so its session ends only if
//! nobody is heard of it for a moment.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::room::{Answer, Command, EarlyEnd, Ticket};
use tidegate_core::time::Timestamp;
use tidegate_wire::room::name::RoomName;
use tokio::sync::Semaphore;

use super::Shared;
use super::store::Store;

/// How long a page has to be heard of again: that is longer than a page takes to load on a slow phone.
const GRACE: Duration = Duration::from_secs(8);
/// The most pages that are waited for at one time. Those beyond that are not: their sessions end when they are idle.
const MAX_WAITED_FOR: usize = 4_096;

/// Pages that have said they go.
#[derive(Debug)]
pub(super) struct Hints(Arc<Semaphore>);

impl Default for Hints {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_WAITED_FOR)))
    }
}

impl Hints {
    /// The page of this ticket says that it goes.
    pub(super) async fn gone(&self, shared: &Shared, room: &RoomName, ticket: Ticket) {
        let frees = shared
            .rooms
            .load()
            .get(room)
            .is_some_and(|room| room.settings.spec().session.early_end == EarlyEnd::FreesSeat);
        // Where the seat stays taken as long as the pass, nobody has anything of it.
        if !frees {
            return;
        }
        let Ok(waited_for) = Arc::clone(&self.0).try_acquire_owned() else { return };
        let Some(before) = session_until(&*shared.store, room, &ticket).await else { return };
        // Where nothing puts the end off, nobody could see that somebody is there: such a session runs to its end.
        if before.is_last {
            return;
        }
        let (store, room) = (Arc::clone(&shared.store), room.clone());
        tokio::spawn(async move {
            tokio::time::sleep(GRACE).await;
            // A heartbeat would have put the end off, on whichever node: a look that may have missed one asks the room's keeper.
            if session_until(&*store, &room, &ticket).await.map(|now| now.at) == Some(before.at) {
                // Where it cannot be asked, the session ends when it is idle.
                let _ = store.ask(&room, &Command::Leave(ticket)).await;
            }
            drop(waited_for);
        });
    }
}

/// When a session ends if nobody is heard of it.
struct Until {
    at: Timestamp,
    /// Whether it ends then in any case.
    is_last: bool,
}

async fn session_until(store: &dyn Store, room: &RoomName, ticket: &Ticket) -> Option<Until> {
    match store.look(room, ticket).await.ok()?.answer {
        Answer::Admitted(admitted) => {
            let is_last = admitted.limit_at.is_some_and(|limit_at| admitted.deadline >= limit_at);
            Some(Until { at: admitted.deadline, is_last })
        }
        _ => None,
    }
}
