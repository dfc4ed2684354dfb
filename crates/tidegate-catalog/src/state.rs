//! How far a node has followed the catalog, for everybody who asks: `/ready`, metrics, the admin API.

use std::sync::Arc;

use tokio::sync::watch;

use crate::model::Versions;

/// Whether the database answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Database {
    /// It has not been asked yet.
    #[default]
    Unknown,
    /// It answers.
    Up,
    /// It does not.
    Down {
        /// Since when, in microseconds since the Unix epoch.
        since_us: i64,
        /// What it said last; not for callers from outside.
        error: String,
    },
}

/// Where the rules in force come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Not in force yet.
    #[default]
    Nowhere,
    /// The database as it is.
    Database,
    /// The last good rules on this node's disk: the database has not answered since the start.
    LastGood,
    /// The rule file alone: the database has not answered since the start, and there were no last good rules.
    File,
}

impl Origin {
    /// The name in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Origin::Nowhere => "nowhere",
            Origin::Database => "database",
            Origin::LastGood => "last-good",
            Origin::File => "file",
        }
    }
}

/// How far a node has followed the catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Whether the database answers.
    pub database: Database,
    /// Where the rules in force come from.
    pub origin: Origin,
    /// What this node has in force.
    pub applied: Versions,
    /// What the database had when it last answered.
    pub seen: Versions,
    /// The domains of the rule file, which only the file changes.
    pub file_domains: Arc<[String]>,
    /// Why newer rules are not in force: the last good ones are.
    pub rules_error: Option<String>,
    /// Why the rule file is not what it was read as last.
    pub file_error: Option<String>,
    /// Changes of rules put in force since the start.
    pub reloads: u64,
    /// Changes of rules that could not be put in force.
    pub failed_reloads: u64,
    /// How often the database stopped answering.
    pub outages: u64,
}

impl State {
    /// Whether what is in force is what was written last, as far as this node can know.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.database == Database::Up
            && self.origin == Origin::Database
            && self.applied == self.seen
            && self.rules_error.is_none()
            && self.file_error.is_none()
    }
}

/// The state of a node, written by the one who follows and read by everybody.
#[derive(Clone, Debug)]
pub struct StateCell(watch::Sender<State>);

impl Default for StateCell {
    fn default() -> Self {
        Self(watch::Sender::new(State::default()))
    }
}

impl StateCell {
    /// The state now.
    #[must_use]
    pub fn get(&self) -> State {
        self.0.borrow().clone()
    }

    /// Waits until the state is as wanted.
    pub async fn wait_until(&self, wanted: impl FnMut(&State) -> bool) {
        // The sender lives as long as this.
        let _ = self.0.subscribe().wait_for(wanted).await;
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        self.0.send_modify(change);
    }
}
