//! Rule files, watched.
//!
//! The folder is watched, not the file: editors put a new file in the old one's place, and Kubernetes swaps a link
//! (`..data`) beside it. Where the operating system tells nothing, or not all (network file systems, links into other
//! folders, a folder that was made anew), the file is read every few seconds all the same; events only make it sooner.
//!
//! What counts is the content. It is given out when it differs from what was given out before, and only after it has
//! read the same twice, a moment apart: a file that is half written is not.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tidegate_config::RuleFileErrors;
use tokio::sync::Notify;

use crate::digest::sha256;

/// How a file is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchOptions {
    /// How often the file is read where no event comes.
    pub poll: Duration,
    /// How long the content must stay the same.
    pub settle: Duration,
    /// Whether the operating system is asked for events.
    pub events: Events,
}

/// Whether the operating system is asked for events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Events {
    /// Where it can be.
    Wanted,
    /// Never: the file is read every [`WatchOptions::poll`].
    Unwanted,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self { poll: Duration::from_secs(3), settle: Duration::from_millis(200), events: Events::Wanted }
    }
}

/// A new content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// All of it.
    pub text: String,
}

/// The file was there and is not any more, or cannot be read. What was read before stays good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rule file cannot be read; the rules read before stay in force until it can")]
pub struct Unreadable(#[source] pub RuleFileErrors);

/// A file that is watched.
#[derive(Debug)]
pub struct RuleFile {
    path: PathBuf,
    options: WatchOptions,
    given_out: Mark,
    hints: Arc<Notify>,
    /// Kept for its events.
    watcher: Option<RecommendedWatcher>,
}

/// What tells contents apart.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mark {
    Content([u8; 32]),
    Unreadable,
}

type Found = Result<String, RuleFileErrors>;

impl RuleFile {
    /// Watches a file whose content `in_force` is known already. Where the operating system cannot tell of changes, a
    /// warning says so, and the file is read every [`WatchOptions::poll`] instead.
    #[must_use]
    pub fn watch(path: &Path, in_force: &str, options: WatchOptions) -> Self {
        let mut file = Self {
            path: path.to_owned(),
            options,
            given_out: Mark::Content(sha256(in_force.as_bytes())),
            hints: Arc::default(),
            watcher: None,
        };
        file.listen();
        file
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the next content. May be dropped at any time; nothing is missed.
    ///
    /// # Errors
    /// [`Unreadable`], once, when the file cannot be read any more. When it can be again, its content is given out even
    /// if it is the same as before.
    pub async fn changed(&mut self) -> Result<Changed, Unreadable> {
        let mut found = self.read().await;
        loop {
            let mark = mark_of(&found);
            if mark == self.given_out {
                // Hints that come meanwhile are kept: a busy folder costs a reading every so often, no more.
                tokio::time::sleep(self.options.settle).await;
                // Running out of time is a hint, too.
                let _ = tokio::time::timeout(self.options.poll, self.hints.notified()).await;
                found = self.read().await;
                continue;
            }
            tokio::time::sleep(self.options.settle).await;
            found = self.read().await;
            if mark_of(&found) == mark {
                return self.give_out(found, mark);
            }
        }
    }

    fn give_out(&mut self, found: Found, mark: Mark) -> Result<Changed, Unreadable> {
        if self.given_out == Mark::Unreadable {
            // The folder may be another one of the same name.
            self.listen();
        }
        self.given_out = mark;
        found.map(|text| Changed { text }).map_err(Unreadable)
    }

    /// On a thread that may wait: file systems over a network do.
    async fn read(&self) -> Found {
        let path = self.path.clone();
        let reading = tokio::task::spawn_blocking(move || tidegate_config::read_text(&path));
        match reading.await {
            Ok(found) => found,
            // The runtime is ending.
            Err(_) => std::future::pending().await,
        }
    }

    fn listen(&mut self) {
        if self.options.events == Events::Unwanted {
            return;
        }
        match watcher(&self.path, &self.hints) {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => {
                self.watcher = None;
                tracing::warn!(
                    file = %self.path.display(),
                    error = &error as &dyn std::error::Error,
                    "no events for changes of the rule file; it is read every {} ms instead",
                    self.options.poll.as_millis(),
                );
            }
        }
    }
}

fn watcher(path: &Path, hints: &Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let hints = Arc::clone(hints);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // An error may have swallowed events.
        if event.map_or(true, |event| may_change_content(event.kind)) {
            hints.notify_one();
        }
    })?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    watcher.watch(folder.unwrap_or(Path::new(".")), RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Reading is an event, too, and must not lead to the next reading.
const fn may_change_content(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(AccessKind::Close(AccessMode::Write)))
        || !matches!(kind, EventKind::Access(_))
}

fn mark_of(found: &Found) -> Mark {
    found.as_ref().map_or(Mark::Unreadable, |text| Mark::Content(sha256(text.as_bytes())))
}
