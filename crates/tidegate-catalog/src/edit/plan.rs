//! What a change would do to the domains as they are now, validated as a whole.

use tidegate_config::{RuleFileErrors, parse_domain_with, parse_rule_with, parse_rules_with};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::{Domain, Rule, Rules};

use super::{Change, Changed, EditError, Editor, Others, Planned, rule_document, settings_document};
use crate::compose::read_stored;
use crate::model::{Expect, StoredDomain};
use crate::repository::{CatalogError, DomainGuard, RuleEdit, expect_version};

/// A domain as it is kept, and as the model has it.
struct Present {
    stored: StoredDomain,
    model: Domain,
}

impl Editor {
    pub(super) async fn plan_unchecked(&self, tenant: &str, change: &Change) -> Result<Planned, EditError> {
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
        expect_version(expect, present.as_ref().map(|present| present.stored.content_version))?;
        let warnings = parsed.warnings.iter().map(ToString::to_string).collect();
        replacing(name, present, parsed.domain, warnings)
    }

    async fn delete_domain(&self, tenant: &str, name: &str, expect: Expect) -> Result<Planned, EditError> {
        let present = self.present(tenant, name).await?.ok_or(CatalogError::NotFound)?;
        expect_version(expect, Some(present.stored.content_version))?;
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
        let newest = self.repository.versions().await?.rules;
        if version > newest {
            let problem = format!("there is no version {version} yet: the newest is {newest}");
            return Err(EditError::Invalid(problem));
        }
        let target =
            self.repository.domain_at(tenant, domain, version).await?.ok_or(CatalogError::NotFound)?;
        let target = read_stored(&target, &self.defaults)?;
        let present = self.present(tenant, domain).await?;
        expect_version(expect, present.as_ref().map(|present| present.stored.content_version))?;
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
            for stored in self.repository.domains_of(tenant).await? {
                if !named.contains(&stored.name) {
                    let model = read_stored(&stored, &self.defaults)?;
                    all.take(removing(Present { stored, model }));
                }
            }
        }
        Ok(all)
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

fn same_name(what: &str, in_path: &str, in_document: &str) -> Result<(), EditError> {
    if in_path == in_document {
        return Ok(());
    }
    Err(EditError::Invalid(format!(
        "the {what} is called '{in_document}' in the document and '{in_path}' in the path: write the same name twice"
    )))
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
    let mut renamed: Vec<&str> = Vec::new();
    for gone in before.map_or(&[][..], |before| &before.rules) {
        if after.rules.iter().any(|rule| rule.name == gone.name) {
            continue;
        }
        let (domain, rule) = (name.to_owned(), gone.name.clone());
        let is_new =
            |name: &str| before.is_none_or(|before| before.rules.iter().all(|rule| rule.name != name));
        let free = |rule: &&Rule| is_new(&rule.name) && !renamed.contains(&rule.name.as_str());
        match after.rules.iter().filter(free).find(|rule| continues(rule, gone)) {
            Some(rule) => {
                renamed.push(&rule.name);
                let (to, document) = (rule.name.clone(), rule_document(rule));
                let rule = gone.name.clone();
                edits.push(RuleEdit::RenameRule { domain, rule, to, document, expect: Expect::Any });
            }
            None => edits.push(RuleEdit::DeleteRule { domain, rule, expect: Expect::Any }),
        }
    }
    for rule in &after.rules {
        let is_known = before.is_some_and(|before| before.rules.contains(rule));
        if !is_known && !renamed.contains(&rule.name.as_str()) {
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

/// Whether a new rule is one that is gone, under another name: it says so, or has its buckets, as after a rollback.
fn continues(rule: &Rule, gone: &Rule) -> bool {
    let buckets = |rule: &'_ Rule| rule.formerly.clone().unwrap_or_else(|| rule.name.clone());
    rule.formerly.as_deref() == Some(&gone.name) || buckets(rule) == buckets(gone)
}

fn removing(present: Present) -> Planned {
    let guards = vec![guard_of(&present.stored.name, Some(&present))];
    let domain = present.stored.name;
    let edits = vec![RuleEdit::DeleteDomain { domain: domain.clone(), expect: Expect::Any }];
    let changed = vec![Changed { domain, before: Some(present.model), after: None }];
    Planned { edits, guards, changed, warnings: Vec::new() }
}
