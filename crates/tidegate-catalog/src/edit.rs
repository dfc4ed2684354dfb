//! Changes of rules: read, validated as a whole, and written in one step.
//!
//! A change is made on the domain as it is kept, and the result is validated like a rule file. It is written only if the
//! domain is still what it was validated against; else it is made again on what is there now.

use serde_json::Value;
use tidegate_config::{
    Defaults, RuleFileErrors, domain_settings_json, parse_domain_with, parse_rule_with, parse_rules_with,
    rule_json,
};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::{Domain, Rule, Rules};

use crate::compose::{ComposeError, read_stored};
use crate::model::{Actor, DEFAULT_TENANT, Expect, StoredDomain};
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
    #[error("{0}")]
    Invalid(String),
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
        /// The document, YAML or JSON.
        text: String,
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
        /// The document, YAML or JSON.
        text: String,
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
        text: String,
        /// How findings call it.
        file: String,
        /// What becomes of domains that it does not name.
        others: Others,
    },
}

impl Change {
    /// The one domain that is changed; `None` where there may be several.
    fn domain(&self) -> Option<&str> {
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
#[derive(Debug)]
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

/// A domain as it is kept, and as the model has it.
struct Present {
    stored: StoredDomain,
    model: Domain,
}

impl Editor {
    /// An editor of what a database keeps. `state` knows which domains are the rule file's.
    #[must_use]
    pub const fn new(repository: Repository, defaults: Defaults, state: StateCell) -> Self {
        Self { repository, defaults, state }
    }

    /// Makes a change. Returns the rules version that has it, and what it did.
    ///
    /// # Errors
    /// [`EditError`]; then nothing was changed.
    pub async fn make(
        &self,
        actor: &Actor,
        now_us: i64,
        tenant: &str,
        change: &Change,
    ) -> Result<(i64, Planned), EditError> {
        let mut tries = 0;
        loop {
            let planned = self.plan(tenant, change).await?;
            if planned.is_empty() {
                return Ok((self.repository.versions().await?.rules, planned));
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
    pub async fn plan(&self, tenant: &str, change: &Change) -> Result<Planned, EditError> {
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

    async fn plan_unchecked(&self, tenant: &str, change: &Change) -> Result<Planned, EditError> {
        match change {
            Change::PutDomain { domain, text, expect } => {
                self.put_domain(tenant, domain, text, *expect).await
            }
            Change::DeleteDomain { domain, expect } => self.delete_domain(tenant, domain, *expect).await,
            Change::PutRule { domain, rule, text, expect } => {
                self.put_rule(tenant, domain, rule, text, *expect).await
            }
            Change::DeleteRule { domain, rule, expect } => {
                self.delete_rule(tenant, domain, rule, *expect).await
            }
            Change::RenameRule { domain, rule, to, expect } => {
                self.rename_rule(tenant, (domain, rule), to, *expect).await
            }
            Change::Rollback { domain, version, expect } => {
                self.rollback(tenant, domain, *version, *expect).await
            }
            Change::Import { text, file, others } => self.import(tenant, text, file, *others).await,
        }
    }

    async fn present(&self, tenant: &str, domain: &str) -> Result<Option<Present>, EditError> {
        let Some(stored) = self.repository.domain(tenant, domain).await? else { return Ok(None) };
        let model = read_stored(&stored, &self.defaults)?;
        Ok(Some(Present { stored, model }))
    }

    async fn put_domain(
        &self,
        tenant: &str,
        name: &str,
        text: &str,
        expect: Expect,
    ) -> Result<Planned, EditError> {
        let parsed = parse_domain_with(text, "body", &self.defaults).map_err(findings)?;
        same_name("domain", name, &parsed.domain.name)?;
        let present = self.present(tenant, name).await?;
        check_expectation(expect, present.as_ref().map(|present| present.stored.content_version))?;
        let warnings = parsed.warnings.iter().map(ToString::to_string).collect();
        replacing(name, present, parsed.domain, warnings)
    }

    async fn delete_domain(&self, tenant: &str, name: &str, expect: Expect) -> Result<Planned, EditError> {
        let present = self.present(tenant, name).await?.ok_or(CatalogError::NotFound)?;
        check_expectation(expect, Some(present.stored.content_version))?;
        Ok(removing(present))
    }

    async fn put_rule(
        &self,
        tenant: &str,
        domain: &str,
        name: &str,
        text: &str,
        expect: Expect,
    ) -> Result<Planned, EditError> {
        let parsed = parse_rule_with(text, "body", &self.defaults).map_err(findings)?;
        same_name("rule", name, &parsed.rule.name)?;
        let present = self.present(tenant, domain).await?.ok_or(CatalogError::NotFound)?;
        let mut after = present.model.clone();
        let mut rule = parsed.rule;
        let document = match after.rules.iter_mut().find(|known| known.name == name) {
            Some(known) => {
                // Whoever changes a renamed rule need not know what it was called: its buckets stay its own.
                rule.formerly = rule.formerly.or_else(|| known.formerly.take());
                let document = rule_document(&rule);
                *known = rule;
                document
            }
            None => {
                let document = rule_document(&rule);
                after.rules.push(rule);
                document
            }
        };
        let edit = RuleEdit::PutRule { domain: domain.to_owned(), rule: name.to_owned(), document, expect };
        let warnings = parsed.warnings.iter().map(ToString::to_string).collect();
        editing(present, after, edit, warnings)
    }

    async fn delete_rule(
        &self,
        tenant: &str,
        domain: &str,
        name: &str,
        expect: Expect,
    ) -> Result<Planned, EditError> {
        let present = self.present(tenant, domain).await?.ok_or(CatalogError::NotFound)?;
        let mut after = present.model.clone();
        after.rules.retain(|rule| rule.name != name);
        let edit = RuleEdit::DeleteRule { domain: domain.to_owned(), rule: name.to_owned(), expect };
        editing(present, after, edit, Vec::new())
    }

    async fn rename_rule(
        &self,
        tenant: &str,
        (domain, name): (&str, &str),
        to: &str,
        expect: Expect,
    ) -> Result<Planned, EditError> {
        let present = self.present(tenant, domain).await?.ok_or(CatalogError::NotFound)?;
        let mut after = present.model.clone();
        if after.rules.iter().any(|rule| rule.name == to) {
            return Err(EditError::Invalid(format!(
                "there is a rule '{to}' already: remove it or choose another name"
            )));
        }
        let rule = after.rules.iter_mut().find(|rule| rule.name == name).ok_or(CatalogError::NotFound)?;
        let formerly = rule.formerly.take().unwrap_or_else(|| name.to_owned());
        rule.formerly = (formerly != to).then_some(formerly);
        to.clone_into(&mut rule.name);
        // Read again, so that the new name is checked like one in a file.
        let document = rule_document(rule);
        parse_rule_with(&document, "body", &self.defaults).map_err(findings)?;
        let (domain, rule, to) = (domain.to_owned(), name.to_owned(), to.to_owned());
        let edit = RuleEdit::RenameRule { domain, rule, to, document, expect };
        editing(present, after, edit, Vec::new())
    }

    async fn rollback(
        &self,
        tenant: &str,
        domain: &str,
        version: i64,
        expect: Expect,
    ) -> Result<Planned, EditError> {
        let target =
            self.repository.domain_at(tenant, domain, version).await?.ok_or(CatalogError::NotFound)?;
        let target = read_stored(&target, &self.defaults)?;
        let present = self.present(tenant, domain).await?;
        check_expectation(expect, present.as_ref().map(|present| present.stored.content_version))?;
        replacing(domain, present, target, Vec::new())
    }

    async fn import(
        &self,
        tenant: &str,
        text: &str,
        file: &str,
        others: Others,
    ) -> Result<Planned, EditError> {
        let parsed = parse_rules_with(text, file, &self.defaults).map_err(findings)?;
        let mut all = Planned {
            edits: Vec::new(),
            guards: Vec::new(),
            changed: Vec::new(),
            warnings: parsed.warnings.iter().map(ToString::to_string).collect(),
        };
        let mut named: Vec<String> = Vec::new();
        for domain in parsed.rules.domains {
            named.push(domain.name.clone());
            let present = self.present(tenant, &domain.name).await?;
            let name = domain.name.clone();
            all.take(replacing(&name, present, domain, Vec::new())?);
        }
        if others == Others::Remove {
            for name in self.domain_names(tenant).await? {
                if named.contains(&name) {
                    continue;
                }
                if let Some(present) = self.present(tenant, &name).await? {
                    all.take(removing(present));
                }
            }
        }
        Ok(all)
    }

    /// The names of all domains of a tenant.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub async fn domain_names(&self, tenant: &str) -> Result<Vec<String>, CatalogError> {
        let mut names: Vec<String> = Vec::new();
        loop {
            let page = self
                .repository
                .domains(tenant, names.last().map(String::as_str), crate::model::MAX_PAGE)
                .await?;
            if page.is_empty() {
                return Ok(names);
            }
            names.extend(page.into_iter().map(|domain| domain.name));
        }
    }

    /// All domains of a tenant, as a rule file has them.
    ///
    /// # Errors
    /// [`EditError`].
    pub async fn export(&self, tenant: &str) -> Result<Rules, EditError> {
        let mut domains = Vec::new();
        for name in self.domain_names(tenant).await? {
            domains.extend(self.present(tenant, &name).await?.map(|present| present.model));
        }
        Ok(Rules { domains })
    }
}

impl Planned {
    fn take(&mut self, other: Planned) {
        self.edits.extend(other.edits);
        self.guards.extend(other.guards);
        self.changed.extend(other.changed);
        self.warnings.extend(other.warnings);
    }
}

fn findings(errors: RuleFileErrors) -> EditError {
    EditError::Findings(Box::new(errors))
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

fn same_name(what: &str, in_path: &str, in_document: &str) -> Result<(), EditError> {
    if in_path == in_document {
        return Ok(());
    }
    Err(EditError::Invalid(format!(
        "the {what} is called '{in_document}' in the document and '{in_path}' in the path: write the same name twice"
    )))
}

/// Of a thing whose version was just read; the database checks again when it writes.
fn check_expectation(expect: Expect, current: Option<i64>) -> Result<(), CatalogError> {
    let holds = match expect {
        Expect::Any => true,
        Expect::Absent => current.is_none(),
        Expect::Present => current.is_some(),
        Expect::Version(version) => current == Some(version),
    };
    if holds { Ok(()) } else { Err(CatalogError::Conflict { current }) }
}

/// Compiles a domain alone, as it will be compiled with the others.
fn check_domain(domain: &Domain) -> Result<(), EditError> {
    let rules = Rules { domains: vec![domain.clone()] };
    RuleSet::compile(rules).map(|_| ()).map_err(|error| EditError::Invalid(error.to_string()))
}

fn guard_of(name: &str, present: Option<&Present>) -> DomainGuard {
    let content_version = present.map(|present| present.stored.content_version);
    DomainGuard { domain: name.to_owned(), content_version }
}

/// One edit of one domain.
fn editing(
    present: Present,
    after: Domain,
    edit: RuleEdit,
    warnings: Vec<String>,
) -> Result<Planned, EditError> {
    check_domain(&after)?;
    let guards = vec![guard_of(&present.stored.name, Some(&present))];
    let changed = Changed { domain: present.stored.name, before: Some(present.model), after: Some(after) };
    Ok(Planned { edits: vec![edit], guards, changed: vec![changed], warnings })
}

/// A domain and all its rules become what is wanted: only what differs is written.
fn replacing(
    name: &str,
    present: Option<Present>,
    mut after: Domain,
    warnings: Vec<String>,
) -> Result<Planned, EditError> {
    let before = present.as_ref().map(|present| &present.model);
    for rule in &mut after.rules {
        let known = before.and_then(|before| before.rules.iter().find(|known| known.name == rule.name));
        rule.formerly = rule.formerly.take().or_else(|| known.and_then(|known| known.formerly.clone()));
    }
    check_domain(&after)?;
    let guards = vec![guard_of(name, present.as_ref())];
    let mut edits = Vec::new();
    let settings = settings_document(&after);
    if before.is_none_or(|before| settings_document(before) != settings) {
        edits.push(RuleEdit::PutDomain { domain: name.to_owned(), document: settings, expect: Expect::Any });
    }
    for gone in before.map_or(&[][..], |before| &before.rules) {
        if !after.rules.iter().any(|rule| rule.name == gone.name) {
            let (domain, rule) = (name.to_owned(), gone.name.clone());
            edits.push(RuleEdit::DeleteRule { domain, rule, expect: Expect::Any });
        }
    }
    for rule in &after.rules {
        let is_known = before.is_some_and(|before| before.rules.contains(rule));
        if !is_known {
            let (domain, document) = (name.to_owned(), rule_document(rule));
            edits.push(RuleEdit::PutRule { domain, rule: rule.name.clone(), document, expect: Expect::Any });
        }
    }
    let before = present.map(|present| present.model);
    let changed = if edits.is_empty() {
        Vec::new()
    } else {
        vec![Changed { domain: name.to_owned(), before, after: Some(after) }]
    };
    Ok(Planned { edits, guards, changed, warnings })
}

fn removing(present: Present) -> Planned {
    let guards = vec![guard_of(&present.stored.name, Some(&present))];
    let domain = present.stored.name;
    let edits = vec![RuleEdit::DeleteDomain { domain: domain.clone(), expect: Expect::Any }];
    let changed = vec![Changed { domain, before: Some(present.model), after: None }];
    Planned { edits, guards, changed, warnings: Vec::new() }
}

/// A rule as it is kept, for answers.
///
/// # Errors
/// The document is not JSON.
pub fn rule_value(document: &str) -> Result<Value, CatalogError> {
    serde_json::from_str(document).map_err(|error| CatalogError::Corrupt(error.to_string()))
}
