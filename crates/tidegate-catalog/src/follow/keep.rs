//! What is in force, kept on disk for a start without the database.

use std::time::Duration;

use tokio::time::Instant;

use super::Follower;
use crate::last_good::Saved;
use crate::state::Origin;

/// How long after a change of rules the last good ones are written to disk: once for many changes.
const SAVE_DELAY: Duration = Duration::from_secs(2);

impl Follower {
    /// Writes the last good rules, a while after the first change that is not in them.
    pub(super) async fn save_if_due(&mut self, now_us: i64) {
        if self.unsaved_since.is_some_and(|since| since.elapsed() >= SAVE_DELAY) {
            self.save_if_needed(now_us).await;
        }
    }

    /// Writes the last good rules, if those on disk are others.
    pub(super) async fn save_if_needed(&mut self, now_us: i64) {
        if self.unsaved_since.is_some() && self.state.get().origin == Origin::Database {
            self.save(now_us).await;
        }
    }

    async fn save(&mut self, now_us: i64) {
        let Some(last_good) = self.database.as_ref().and_then(|database| database.last_good.clone()) else {
            return;
        };
        self.unsaved_since = None;
        let (domains, tenants, overrides) = self.composer.kept();
        let keys = self.kept_keys.clone();
        let rules_version = self.composer.version();
        let saved = Saved { rules_version, saved_us: now_us, domains, tenants, overrides, keys };
        let saving = tokio::task::spawn_blocking(move || last_good.save(&saved)).await;
        let failed = match saving {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = &failed {
            // A disk that was full may have room again: it is tried until it works, and said once.
            self.unsaved_since = Some(Instant::now());
            if !self.is_unsaved {
                tracing::warn!(%error, "the last good rules are not kept");
            }
        }
        self.is_unsaved = failed.is_some();
    }
}
