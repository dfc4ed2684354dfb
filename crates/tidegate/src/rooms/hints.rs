//! Pages that say they go. A page that is left, reloaded or put away by its browser says the same, so its session ends only if
//! nobody is heard of it for a moment.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_core::room::{Answer, Command, EarlyEnd, QueueNumber, Ticket};
use tidegate_core::time::Timestamp;
use tidegate_wire::room::name::RoomName;
use tokio::time::Instant;

use super::Shared;
use super::store::Store;

/// How long a page has to be heard of again: that is longer than a page takes to load on a slow phone.
const GRACE: Duration = Duration::from_secs(8);
/// The most sessions that are waited for at one time. Those beyond that are not: they end when they are idle.
const MAX_WAITED_FOR: usize = 4_096;

/// Sessions whose pages have said they go, each of them once: saying it often takes nobody else's place here.
#[derive(Debug, Default)]
pub(super) struct Hints(Arc<Mutex<HashMap<(RoomName, QueueNumber), Hint>>>);

/// The last that a page said of a session.
#[derive(Clone, Copy, Debug)]
struct Hint {
    /// Until when somebody may be heard of.
    until: Instant,
    /// When the session ended at that time.
    ends_at: Timestamp,
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
        let Some(before) = session_until(&*shared.store, room, &ticket).await else { return };
        // Where nothing puts the end off, nobody could see that somebody is there: such a session runs to its end.
        if before.is_last || !self.note((room.clone(), ticket.number), before.at) {
            return;
        }
        let (hints, store, room) = (Arc::clone(&self.0), Arc::clone(&shared.store), room.clone());
        tokio::spawn(async move {
            let ends_at = last_said(&hints, &(room.clone(), ticket.number)).await;
            // A heartbeat would have put the end off, on whichever node: a look that may have missed one asks the room's keeper.
            let now = session_until(&*store, &room, &ticket).await.map(|now| now.at);
            if ends_at.is_some() && now == ends_at {
                // Where it cannot be asked, the session ends when it is idle.
                let _ = store.ask(&room, &Command::Leave(ticket)).await;
            }
        });
    }

    /// Whether this is the first that is said of a session, so that somebody has to wait for it.
    fn note(&self, session: (RoomName, QueueNumber), ends_at: Timestamp) -> bool {
        let mut all = self.0.lock();
        let is_first = !all.contains_key(&session);
        if is_first && all.len() >= MAX_WAITED_FOR {
            return false;
        }
        all.insert(session, Hint { until: Instant::now() + GRACE, ends_at });
        is_first
    }
}

/// Waits until nothing more was said of a session for a while; when it ended by what was said last.
async fn last_said(
    hints: &Mutex<HashMap<(RoomName, QueueNumber), Hint>>,
    session: &(RoomName, QueueNumber),
) -> Option<Timestamp> {
    loop {
        let hint = hints.lock().get(session).copied()?;
        tokio::time::sleep_until(hint.until).await;
        let mut all = hints.lock();
        if all.get(session).is_some_and(|last| last.until == hint.until) {
            all.remove(session);
            return Some(hint.ends_at);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn session(number: u64) -> (RoomName, QueueNumber) {
        (RoomName::new("demo").unwrap(), QueueNumber::new(number))
    }

    #[tokio::test(start_paused = true)]
    async fn one_visitor_who_says_it_often_is_waited_for_once_and_from_the_last_time() {
        let (hints, ends_at) = (Hints::default(), Timestamp::from_micros);
        assert!(hints.note(session(1), ends_at(1)));
        for _ in 0..2 * MAX_WAITED_FOR {
            assert!(!hints.note(session(1), ends_at(1)));
        }
        assert!(hints.note(session(2), ends_at(2)), "there is a place for others");
        let began = Instant::now();
        let all = Arc::clone(&hints.0);
        let waits = tokio::spawn(async move { last_said(&all, &session(1)).await });
        tokio::time::sleep(GRACE / 2).await;
        assert!(!hints.note(session(1), ends_at(7)));
        assert_eq!(waits.await.unwrap(), Some(ends_at(7)));
        assert_eq!(began.elapsed(), GRACE + GRACE / 2);
        assert!(hints.note(session(1), ends_at(8)), "it is over, and begins anew");
        (3..=MAX_WAITED_FOR as u64).for_each(|number| assert!(hints.note(session(number), ends_at(0))));
        assert!(!hints.note(session(0), ends_at(0)), "they are not without number");
    }
}
