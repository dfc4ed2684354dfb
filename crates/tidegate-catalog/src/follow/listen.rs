//! Listening to the database, where it tells of changes.

use tokio::time::Instant;

use crate::repository::{CatalogError, Listener, Repository};

/// What hears the database; nothing, until it listens.
#[derive(Debug, Default)]
pub(super) struct Ear {
    listener: Option<Listener>,
    /// Whether listening has failed, which is said once.
    is_deaf: bool,
}

/// What came of listening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Something has changed.
    Change,
    /// Nothing is heard any more: another server may have taken over.
    Lost,
}

/// Whether something may have changed that nobody heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listening {
    /// It began just now: what changed between the last look and it was told to nobody.
    Begun,
    /// It began before, or there is nothing to hear.
    AsBefore,
}

impl Ear {
    /// Listens, unless it does.
    pub(super) async fn listen(&mut self, repository: &Repository) -> Listening {
        if self.listener.is_some() {
            return Listening::AsBefore;
        }
        let listening = repository.listen().await;
        self.note(listening.as_ref().err());
        self.listener = listening.ok().flatten();
        if self.listener.is_some() { Listening::Begun } else { Listening::AsBefore }
    }

    /// Listens no more.
    pub(super) fn close(&mut self) {
        self.listener = None;
    }

    /// As [`heard`](Self::heard), but not before `earliest`; what is said meanwhile is heard then.
    pub(super) async fn heard_after(&mut self, earliest: Instant) -> Heard {
        tokio::time::sleep_until(earliest).await;
        self.heard().await
    }

    /// Resolves when the database says that something has changed; never where it says nothing.
    async fn heard(&mut self) -> Heard {
        match &mut self.listener {
            Some(listening) => match listening.changed().await {
                Ok(()) => Heard::Change,
                Err(_) => {
                    self.close();
                    Heard::Lost
                }
            },
            None => std::future::pending().await,
        }
    }

    fn note(&mut self, error: Option<&CatalogError>) {
        if let Some(error) = error
            && !self.is_deaf
        {
            tracing::warn!(%error, "the database cannot be asked to tell of changes: they are seen at every poll");
        }
        self.is_deaf = error.is_some();
    }
}
