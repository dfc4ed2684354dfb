//! Changes of rules: read, validated as a whole, and written in one step.
//!
//! A change is made on the domain as it is kept, and the result is validated like a rule file. It is written only if the
//! domain is still what it was validated against; else it is made again on what is there now.

mod plan;
mod read;

use std::sync::Arc;

use serde_json::Value;
use tidegate_config::{
    Defaults, Parsed, ParsedDomain, ParsedRule, RuleFileErrors, domain_settings_json, rule_json,
};
use tidegate_core::rule::model::{Domain, Rule, Rules};

use crate::compose::{ComposeError, read_stored};
use crate::model::{Actor, DEFAULT_TENANT, Expect};
use crate::repository::{CatalogError, DomainGuard, Repository, RuleEdit};
use crate::state::StateCell;

/// How often a change is made again because the domain moved under it.
const MAX_TRIES: usize = 16;

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The document has errors.
    #[error("the document has errors")]
    Findings(Box<RuleFileErrors>),
    /// The domain is the rule file's, and only the file changes it.
    #[error("the domain '{0}' is in the rule file")]
    InFile(String),
    /// The change does not go together with the rest.
    #[error("{detail}")]
    Invalid {
        /// What of the request: `body`, or one of its fields.
        field: &'static str,
        /// Why, and what to do.
        detail: String,
    },
    /// The database could not do it, or the caller expected something else.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// What is kept cannot be read.
    #[error(transparent)]
    Kept(#[from] ComposeError),
}

/// What is to be changed.
#[derive(Clone, Debug)]
pub enum Change {
    /// A domain is as its document says, with all its rules.
    PutDomain {
        /// The name.
        domain: String,
        /// The document.
        document: ParsedDomain,
        /// Of the domain, by its content version.
        expect: Expect,
    },
    /// A domain is removed.
    DeleteDomain {
        /// The name.
        domain: String,
        /// Of the domain, by its content version.
        expect: Expect,
    },
    /// A rule is as its document says.
    PutRule {
        /// The domain.
        domain: String,
        /// The name.
        rule: String,
        /// The document.
        document: Box<ParsedRule>,
        /// Of the rule.
        expect: Expect,
    },
    /// A rule is removed.
    DeleteRule {
        /// The domain.
        domain: String,
        /// The name.
        rule: String,
        /// Of the rule.
        expect: Expect,
    },
    /// A rule has another name and keeps its buckets.
    RenameRule {
        /// The domain.
        domain: String,
        /// The name so far.
        rule: String,
        /// The name from now on.
        to: String,
        /// Of the rule.
        expect: Expect,
    },
    /// A domain is as it was.
    Rollback {
        /// The domain.
        domain: String,
        /// In force at this version of the rules.
        version: i64,
        /// Of the domain, by its content version.
        expect: Expect,
    },
    /// The domains of a rule file are as the file says.
    Import {
        /// The file.
        document: Parsed,
        /// What becomes of domains that it does not name.
        others: Others,
    },
}

impl Change {
    /// The one domain that is changed; `None` where there may be several.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        match self {
            Change::PutDomain { domain, .. }
            | Change::DeleteDomain { domain, .. }
            | Change::PutRule { domain, .. }
            | Change::DeleteRule { domain, .. }
            | Change::RenameRule { domain, .. }
            | Change::Rollback { domain, .. } => Some(domain),
            Change::Import { .. } => None,
        }
    }
}

/// What an import does with domains that the file does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// They stay.
    Keep,
    /// They are removed.
    Remove,
}

/// A domain before and after a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The name.
    pub domain: String,
    /// As it was; `None` where it was not there.
    pub before: Option<Domain>,
    /// As it is; `None` where it is removed.
    pub after: Option<Domain>,
}

/// A change that is valid, on what is there now.
#[derive(Debug, Default)]
pub struct Planned {
    edits: Vec<RuleEdit>,
    guards: Vec<DomainGuard>,
    /// What it does.
    pub changed: Vec<Changed>,
    /// What looks unintended.
    pub warnings: Vec<String>,
}

impl Planned {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }
}

/// Makes changes. Clones share the database.
#[derive(Clone, Debug)]
pub struct Editor {
    repository: Repository,
    defaults: Defaults,
    state: StateCell,
}

impl Editor {
    /// An editor of what a database keeps. `state` knows which domains are the rule file's.
    #[must_use]
    pub const fn new(repository: Repository, defaults: Defaults, state: StateCell) -> Self {
        Self { repository, defaults, state }
    }

    /// What holds where a rule says nothing.
    #[must_use]
    pub const fn defaults(&self) -> Defaults {
        self.defaults
    }

    /// Makes a change. Returns the rules version that has it, and what it did. A change of one domain that changes nothing
    /// gives the version that the domain has.
    ///
    /// # Errors
    /// [`EditError`]; then nothing was changed.
    pub async fn make(
        &self,
        actor: &Actor,
        now_us: i64,
        tenant: &str,
        change: Change,
    ) -> Result<(i64, Planned), EditError> {
        let change = Arc::new(change);
        let mut tries = 0;
        loop {
            let planned = self.plan_again(tenant, &change).await?;
            if planned.is_empty() {
                // Others' changes have newer versions, and none of them is this domain's.
                let own = change.domain().and_then(|_| planned.guards.first()?.content_version);
                let version = match own {
                    Some(version) => version,
                    None => self.repository.versions().await?.rules,
                };
                return Ok((version, planned));
            }
            let written =
                self.repository.edit_rules(actor, now_us, tenant, &planned.edits, &planned.guards).await;
            match written {
                Ok(version) => return Ok((version, planned)),
                Err(CatalogError::Stale) if tries < MAX_TRIES => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What a change would do, without making it.
    ///
    /// # Errors
    /// [`EditError`].
    pub async fn plan(&self, tenant: &str, change: Change) -> Result<Planned, EditError> {
        self.plan_again(tenant, &Arc::new(change)).await
    }

    async fn plan_again(&self, tenant: &str, change: &Arc<Change>) -> Result<Planned, EditError> {
        let in_file =
            if tenant == DEFAULT_TENANT { self.state.get().file_domains } else { Default::default() };
        if let Some(domain) = change.domain().filter(|domain| in_file.iter().any(|known| known == domain)) {
            return Err(EditError::InFile(domain.to_owned()));
        }
        let planned = self.plan_unchecked(tenant, change).await?;
        match planned.changed.iter().find(|changed| in_file.contains(&changed.domain)) {
            Some(changed) => Err(EditError::InFile(changed.domain.clone())),
            None => Ok(planned),
        }
    }

    /// All domains of a tenant as they are at one instant, as a rule file has them.
    ///
    /// # Errors
    /// [`EditError`].
    pub async fn export(&self, tenant: &str) -> Result<Rules, EditError> {
        let (stored, defaults) = (self.repository.domains_of(tenant).await?, self.defaults);
        beside(move || {
            let domains = stored.iter().map(|stored| read_stored(stored, &defaults));
            Ok(Rules { domains: domains.collect::<Result<_, _>>()? })
        })
        .await
    }
}

/// Does what takes a processor for a while on a thread of its own: those that answer requests answer requests.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EditError> + Send + 'static,
) -> Result<T, EditError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ComposeError::Interrupted)?
}

/// The document of a rule, as it is kept.
#[must_use]
pub fn rule_document(rule: &Rule) -> String {
    rule_json(rule).to_string()
}

/// The document of a domain's settings, as it is kept.
#[must_use]
pub fn settings_document(domain: &Domain) -> String {
    domain_settings_json(domain).to_string()
}

/// A rule as it is kept, for answers.
///
/// # Errors
/// The document is not JSON.
pub fn rule_value(document: &str) -> Result<Value, CatalogError> {
    serde_json::from_str(document).map_err(|error| CatalogError::Corrupt(error.to_string()))
}
