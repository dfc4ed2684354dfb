//! Which quotas of overrides the rules in force can have. A subject may be newer than the rules of its node: its override
//! then names a quota that they do not know, and deciding with its tier's instead would be neither what was nor what is.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

use super::kept::end_of;
use crate::model::{OverrideQuotas, RulePlace, Subject, SubjectKey};

/// The quotas that are known: those of the last rules that were looked at, and those from before them.
#[derive(Debug)]
pub(super) struct Quotas {
    /// `None` until somebody says.
    known: watch::Sender<Option<[Arc<OverrideQuotas>; 2]>>,
    wanted: Arc<Notify>,
}

impl Default for Quotas {
    fn default() -> Self {
        Self { known: watch::Sender::new(None), wanted: Arc::default() }
    }
}

impl Quotas {
    pub(super) fn know(&self, quotas: [Arc<OverrideQuotas>; 2]) {
        self.known.send_replace(Some(quotas));
    }

    /// Told when a subject is newer than the rules.
    pub(super) fn wanted(&self) -> Arc<Notify> {
        Arc::clone(&self.wanted)
    }

    /// Whether they know all that the subject names.
    pub(super) fn have_all_of(&self, key: &SubjectKey, subject: &Subject, now_us: i64) -> bool {
        let known = self.known.borrow();
        known.as_ref().is_none_or(|known| has_all_of(known, key, subject, now_us))
    }

    /// Asks for newer rules, and waits until they know all that the subject names.
    pub(super) async fn catch_up(&self, key: &SubjectKey, subject: &Subject, now_us: i64) {
        let mut known = self.known.subscribe();
        self.wanted.notify_one();
        let is_there = |known: &Option<[Arc<OverrideQuotas>; 2]>| {
            known.as_ref().is_none_or(|known| has_all_of(known, key, subject, now_us))
        };
        // The sender lives as long as this.
        let _ = known.wait_for(is_there).await;
    }
}

/// An override that is over names nothing: nobody compiles its quota.
fn has_all_of(known: &[Arc<OverrideQuotas>; 2], key: &SubjectKey, subject: &Subject, now_us: i64) -> bool {
    subject.overrides.iter().filter(|one| now_us < end_of(one)).all(|one| {
        let place: RulePlace = (key.tenant.clone(), key.domain.clone(), one.rule.clone());
        let named = (place, one.quota);
        known.iter().any(|known| known.contains(&named))
    })
}
