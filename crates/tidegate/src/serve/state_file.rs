//! The store's state on disk, so that a planned restart forgets nothing.

use std::path::{Path, PathBuf};

use anyhow::Context;
use tidegate_core::time::{Micros, Timestamp};
use tidegate_engine::{Clock, SystemClock, random_seed};
use tidegate_store::{MemoryOptions, MemoryStore};

/// How much a crash may forget.
const SAVE_INTERVAL: Micros = Micros::from_secs(60);

/// A file that the store is saved to and restored from.
#[derive(Clone, Debug)]
pub(super) struct StateFile(PathBuf);

impl StateFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    /// Whether it is time to save again.
    pub(super) fn is_due(&self, saved_at: Timestamp, now: Timestamp) -> bool {
        now.since(saved_at) >= SAVE_INTERVAL
    }

    pub(super) fn save(&self, store: &MemoryStore, now: Timestamp) -> anyhow::Result<()> {
        store
            .save_to(self.path(), now)
            .with_context(|| format!("{}: the state cannot be saved", self.path().display()))
    }
}

/// The store as it was saved, or an empty one where nothing was saved yet.
pub(super) fn open_store(file: Option<&StateFile>, max_bytes: usize) -> anyhow::Result<MemoryStore> {
    let options = MemoryOptions { max_bytes, ..MemoryOptions::new(random_seed()) };
    match file {
        Some(file) if file.path().exists() => {
            MemoryStore::load_from(file.path(), &options, SystemClock::new().now()).with_context(|| {
                format!(
                    "{}: the state cannot be restored; move the file away to start afresh",
                    file.path().display()
                )
            })
        }
        _ => Ok(MemoryStore::new(&options)),
    }
}
