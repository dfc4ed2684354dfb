//! New rules, of the database or of the rule file: validated whole, compiled, swapped in one step.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use tidegate_config::{RuleFileErrors, parse_rules_checked};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::subjects::SubjectNews;
use super::{Follower, InForce};
use crate::compose::{ComposeError, Composer};
use crate::repository::{CatalogError, RulesDelta};
use crate::source::RuleFile;
use crate::state::{Origin, StateCell};

impl Follower {
    /// Loads what has changed and puts it in force. What cannot be put in force is said once, and tried again when it
    /// changes. What changed of subjects is read after the rules and before they are in force, so that all that the rules
    /// before them were for is forgotten in the instant of the swap.
    pub(super) async fn reload<E: InForce>(&mut self, engine: &Arc<E>) -> Result<(), CatalogError> {
        let Some(database) = &self.database else { return Ok(()) };
        let known = if self.is_doubtful { HashMap::new() } else { self.composer.known() };
        let delta = database.repository.rules(engine.now_us(), &known).await?;
        let Some(news) = self.read_subjects().await?.map(Arc::new) else { return Ok(()) };
        let (version, tried) = (delta.version, Arc::clone(&delta.overrides));
        match self.take_over(delta, &news, engine).await {
            Ok(()) => {
                self.failed = None;
                self.state.change(|state| {
                    state.origin = Origin::Database;
                    state.rules_error = None;
                });
            }
            Err(error) => {
                let [in_force, _] = self.composer.quotas();
                news.take_up_with([tried, in_force]);
                self.note_bad_rules(version, &error);
            }
        }
        self.note_subjects(&news);
        Ok(())
    }

    async fn take_over<E: InForce>(
        &mut self,
        delta: RulesDelta,
        news: &Arc<SubjectNews>,
        engine: &Arc<E>,
    ) -> Result<(), ComposeError> {
        let version = delta.version;
        let before = Arc::make_mut(&mut self.composer).apply(delta)?;
        // The last good rules were these: they keep their version.
        if version == self.state.get().applied.rules && self.composer.is_as(&before) {
            news.take_up_with(self.composer.quotas());
            return Ok(());
        }
        let result = self.put_in_force(engine, Some(Arc::clone(news))).await;
        if result.is_err() {
            Arc::make_mut(&mut self.composer).take_back(before);
        }
        result
    }

    /// Compiles and swaps beside the requests: a large set takes a while, which no request should have to share.
    async fn put_in_force<E: InForce>(
        &mut self,
        engine: &Arc<E>,
        news: Option<Arc<SubjectNews>>,
    ) -> Result<(), ComposeError> {
        let (composer, engine) = (Arc::clone(&self.composer), Arc::clone(engine));
        let version = composer.version();
        let composing = tokio::task::spawn_blocking(move || {
            let composed = composer.compose()?;
            engine.replace(composed.rules, u64::try_from(version).unwrap_or(0));
            if let Some(news) = news {
                news.take_up_with(composer.quotas());
            }
            Ok(composed.warnings)
        });
        let composed: Result<Vec<String>, ComposeError> =
            composing.await.map_err(|_| ComposeError::Interrupted)?;
        self.tell(composed?);
        self.unsaved_since.get_or_insert_with(Instant::now);
        self.state.change(|state| {
            state.applied.rules = version;
            state.rules_error = None;
            state.reloads += 1;
        });
        Ok(())
    }

    fn note_bad_rules(&mut self, version: i64, error: &ComposeError) {
        tracing::error!(%error, version, "new rules cannot be put in force: the last good ones stay");
        self.failed = Some(version);
        self.state.change(|state| {
            state.failed_reloads += 1;
            state.rules_error = Some(error.to_string());
        });
    }

    pub(super) async fn file_changed<E: InForce>(
        &mut self,
        changed: Result<String, String>,
        engine: &Arc<E>,
    ) {
        let result = match changed {
            Ok(text) => self.take_file(text, engine).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &result {
            error.lines().for_each(|line| tracing::error!("{line}"));
            tracing::error!("the rules were not changed: the file has errors");
        }
        self.state.change(|state| {
            state.failed_reloads += u64::from(result.is_err());
            state.file_error = result.err();
        });
    }

    pub(super) async fn reread<E: InForce>(&mut self, file: Option<&FileChanges>, engine: &Arc<E>) {
        let Some(file) = file else { return };
        let text = tidegate_config::read_text(&file.path).map_err(|errors| errors.to_string());
        self.file_changed(text, engine).await;
    }

    async fn take_file<E: InForce>(&mut self, text: String, engine: &Arc<E>) -> Result<(), String> {
        let (defaults, checking) = (self.defaults, Arc::clone(engine));
        let parsing = tokio::task::spawn_blocking(move || {
            parse_rules_checked(&text, "the rule file", &defaults, &|room| checking.check_room(room))
        });
        let parsed = parsing.await.map_err(|_| "reading it was interrupted".to_owned())?;
        let parsed = parsed.map_err(|errors: RuleFileErrors| errors.to_string())?;
        parsed.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        engine.take_up_rooms(&parsed.rooms).await?;
        let before = self.composer.file().clone();
        Arc::make_mut(&mut self.composer).set_file(parsed.rules);
        match self.put_in_force(engine, None).await {
            Ok(()) => {
                // What did not go together with the old file may go together with this one.
                self.failed = None;
                note_file(&self.state, &self.composer);
                tracing::info!("new rules of the rule file are in force");
                Ok(())
            }
            Err(error) => {
                Arc::make_mut(&mut self.composer).set_file(before);
                engine.put_rooms_back().await;
                Err(error.to_string())
            }
        }
    }
}

pub(super) fn note_file(state: &StateCell, composer: &Composer) {
    let names = composer.file().domains.iter().map(|domain| domain.name.clone()).collect();
    state.change(|state| state.file_domains = names);
}

/// The contents of the rule file as they come. They are waited for beside everything else: a file has to stay the same for
/// a moment, and a database that changes all the time must not keep it from that.
pub(super) struct FileChanges {
    path: PathBuf,
    contents: mpsc::Receiver<Result<String, String>>,
    _watching: JoinSet<()>,
}

impl FileChanges {
    pub(super) fn of(mut file: RuleFile) -> Self {
        let (sender, contents) = mpsc::channel(1);
        let (path, mut watching) = (file.path().to_owned(), JoinSet::new());
        watching.spawn(async move {
            loop {
                let changed = file.changed().await;
                let content = changed.map(|changed| changed.text).map_err(|error| error.0.to_string());
                if sender.send(content).await.is_err() {
                    return;
                }
            }
        });
        Self { path, contents, _watching: watching }
    }
}

/// The next content of the rule file, or why it cannot be read; never where there is none.
pub(super) async fn file_changed(file: &mut Option<FileChanges>) -> Result<String, String> {
    let next = match file {
        Some(file) => file.contents.recv().await,
        None => None,
    };
    match next {
        Some(content) => content,
        None => std::future::pending().await,
    }
}
