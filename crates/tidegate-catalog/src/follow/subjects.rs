//! What changed of subjects, and when it is taken up.

use std::sync::Arc;

use super::Follower;
use crate::model::OverrideQuotas;
use crate::repository::{CatalogError, Changed, Repository, SubjectChanges};
use crate::subjects::SubjectCache;

/// The most subjects that are forgotten one by one after a change; beyond, all are.
const MAX_SUBJECT_CHANGES: u32 = 10_000;

/// What changed of subjects: read before the rules that go with it are in force, taken up in the instant after.
#[derive(Debug)]
pub(super) struct SubjectNews {
    cache: SubjectCache<Repository>,
    changes: SubjectChanges,
}

impl SubjectNews {
    /// The subjects version with this.
    pub(super) const fn version(&self) -> i64 {
        self.changes.version
    }

    /// Forgets who has changed.
    pub(super) fn take_up(&self) {
        match &self.changes.what {
            Changed::These(keys) => self.cache.changed(keys),
            Changed::Everything => self.cache.changed_all(),
        }
    }

    /// Forgets who has changed, and lets those go on who waited for rules with these quotas.
    pub(super) fn take_up_with(&self, quotas: [Arc<OverrideQuotas>; 2]) {
        self.take_up();
        self.cache.know_quotas(quotas);
    }
}

impl Follower {
    /// What changed of subjects since the last look. Where what is known may be of another history, all may have.
    pub(super) async fn read_subjects(&self) -> Result<Option<SubjectNews>, CatalogError> {
        let Some(database) = &self.database else { return Ok(None) };
        let since = self.state.get().applied.subjects;
        let mut changes = database.repository.subject_changes(since, MAX_SUBJECT_CHANGES).await?;
        if self.is_doubtful {
            changes.what = Changed::Everything;
        }
        Ok(Some(SubjectNews { cache: database.subjects.clone(), changes }))
    }

    pub(super) fn note_subjects(&self, news: &SubjectNews) {
        self.state.change(|state| state.applied.subjects = news.version());
    }
}
