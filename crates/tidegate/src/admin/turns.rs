//! Turns: what takes much memory or a processor for a while is done a little at a time, however many ask for it.
//!
//! Each request has its own memory: a body, the tree that it is read into, the rules made of that. Without turns, one key
//! could ask for as much of it as it has connections and streams.

use std::sync::Arc;
use std::time::Duration;

use tidegate_wire::problem::{Problem, ProblemType};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::route::MAX_BODY_BYTES;

/// The longest body that is read without a turn, in bytes.
const SMALL_BODY_BYTES: u64 = 64 * 1024;
/// Turns in all. What is longer than most bodies may be takes them all: it is alone.
const TURNS: u32 = 2;
/// How long a request waits for its turn.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// The turns of one kind of work.
#[derive(Debug)]
pub(super) struct Turns {
    free: Arc<Semaphore>,
}

/// What is held while the work is done. What goes on after the caller has hung up holds it, too.
pub(super) type Turn = OwnedSemaphorePermit;

impl Turns {
    /// Turns of large bodies.
    pub(super) fn of_bodies() -> Self {
        Self { free: Arc::new(Semaphore::new(TURNS as usize)) }
    }

    /// One turn: one after the other.
    pub(super) fn one() -> Self {
        Self { free: Arc::new(Semaphore::new(1)) }
    }

    /// The turn of a request whose body may have so many bytes; `None` where it needs none.
    ///
    /// # Errors
    /// 503: others had it all the while.
    pub(super) async fn for_body(&self, bytes: u64) -> Result<Option<Turn>, Problem> {
        match bytes {
            0..=SMALL_BODY_BYTES => Ok(None),
            _ if bytes <= MAX_BODY_BYTES as u64 => self.take(1).await.map(Some),
            _ => self.take(TURNS).await.map(Some),
        }
    }

    /// The next turn.
    ///
    /// # Errors
    /// 503: others had it all the while.
    pub(super) async fn next(&self) -> Result<Turn, Problem> {
        self.take(1).await
    }

    async fn take(&self, turns: u32) -> Result<Turn, Problem> {
        let turn = Arc::clone(&self.free).acquire_many_owned(turns);
        match tokio::time::timeout(MAX_WAIT, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Problem::new(
                ProblemType::Overloaded,
                "others are making large changes or trials; nothing was done: try again shortly",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn large_bodies_are_read_a_few_at_a_time_and_small_ones_always() {
        let turns = Turns::of_bodies();
        let usual = MAX_BODY_BYTES as u64;
        let held =
            [turns.for_body(usual).await.unwrap(), turns.for_body(SMALL_BODY_BYTES + 1).await.unwrap()];
        assert!(held.iter().all(Option::is_some));
        for bytes in [SMALL_BODY_BYTES + 1, usual + 1] {
            assert_eq!(turns.for_body(bytes).await.unwrap_err().kind, ProblemType::Overloaded);
        }
        assert!(turns.for_body(SMALL_BODY_BYTES).await.unwrap().is_none());
        drop(held);
        let import = turns.for_body(usual + 1).await.unwrap();
        assert_eq!(turns.for_body(usual).await.unwrap_err().kind, ProblemType::Overloaded);
        drop(import);
        assert!(turns.for_body(usual).await.unwrap().is_some());
    }
}
