//! What a change would do to the domains as they are now, validated as a whole.
//!
//! What is there is read first; the rest takes no database, and is done beside the requests of now.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use tidegate_config::{Defaults, Parsed, ParsedDomain, ParsedRule, RuleFileWarning, parse_rule_with};
use tidegate_core::rule::RuleSet;
use tidegate_core::rule::model::{Domain, Rule, Rules};

use super::read::{DOCUMENT, findings};
use super::{Change, Changed, EditError, Editor, Others, Planned, beside, rule_document, settings_document};
use crate::compose::read_stored;
use crate::model::{Expect, StoredDomain};
use crate::repository::{CatalogError, DomainGuard, RuleEdit, expect_version};

/// A domain as it is kept, and as the model has it.
struct Present {
    stored: StoredDomain,
    model: Domain,
}

/// What a change is planned on.
struct Ground {
    /// The domain that is changed, or all of the tenant's where there may be several.
    stored: Vec<StoredDomain>,
    /// The domain as it was, where a change puts it back.
    target: Option<StoredDomain>,
    /// How many rules, and how many domains, the tenant may have.
    most: u32,
}

impl Editor {
    pub(super) async fn plan_unchecked(
        &self,
        tenant: &str,
        change: &Arc<Change>,
    ) -> Result<Planned, EditError> {
        let ground = self.ground(tenant, change).await?;
        let (change, defaults) = (Arc::clone(change), self.defaults);
        beside(move || planned(&change, ground, &defaults)).await
    }

    async fn ground(&self, tenant: &str, change: &Change) -> Result<Ground, EditError> {
        let repository = &self.repository;
        let mut target = None;
        if let Change::Rollback { domain, version, .. } = change {
            let newest = repository.versions().await?.rules;
            if *version > newest {
                let detail = format!("there is no version {version} yet: the newest is {newest}");
                return Err(EditError::Invalid { field: "version", detail });
            }
            target = repository.domain_at(tenant, domain, *version).await?;
        }
        let stored = match change.domain() {
            Some(domain) => repository.domain(tenant, domain).await?.into_iter().collect(),
            None => repository.domains_of(tenant).await?,
        };
        let tenant = repository.tenant(tenant).await?.ok_or(CatalogError::NotFound)?;
        Ok(Ground { stored, target, most: tenant.ceilings.max_rules })
    }
}

impl Ground {
    /// The domain that is changed, if it is there.
    fn present(&mut self, defaults: &Defaults) -> Result<Option<Present>, EditError> {
        self.stored.pop().map(|stored| Present::read(stored, defaults)).transpose()
    }

    /// The domain that is changed, which has to be there.
    fn there(&mut self, defaults: &Defaults) -> Result<Present, EditError> {
        Ok(self.present(defaults)?.ok_or(CatalogError::NotFound)?)
    }

    /// Refuses domains that alone are more than the tenant may have, before anything is made of them. Who has as many
    /// already may keep them.
    fn check_ceiling(&self, wanted: &[Domain]) -> Result<(), EditError> {
        let rules_before = self.stored.iter().map(|stored| stored.rules.len()).sum::<usize>();
        let rules = wanted.iter().map(|domain| domain.rules.len()).sum::<usize>();
        let most = u64::from(self.most);
        for (count, before, what) in [
            (rules, rules_before, "rules of a tenant"),
            (wanted.len(), self.stored.len(), "domains of a tenant"),
        ] {
            if count as u64 > most && count > before {
                return Err(CatalogError::Ceiling { what, most }.into());
            }
        }
        Ok(())
    }
}

impl Present {
    fn read(stored: StoredDomain, defaults: &Defaults) -> Result<Self, EditError> {
        let model = read_stored(&stored, defaults)?;
        Ok(Self { stored, model })
    }

    fn content_version(present: Option<&Self>) -> Option<i64> {
        present.map(|present| present.stored.content_version)
    }
}

fn planned(change: &Change, mut ground: Ground, defaults: &Defaults) -> Result<Planned, EditError> {
    match change {
        Change::PutDomain { domain, document, expect } => {
            ground.check_ceiling(std::slice::from_ref(&document.domain))?;
            put_domain(domain, document, *expect, ground.present(defaults)?)
        }
        Change::DeleteDomain { expect, .. } => {
            let present = ground.there(defaults)?;
            expect_version(*expect, Some(present.stored.content_version))?;
            Ok(removing(present))
        }
        Change::PutRule { rule, document, expect, .. } => {
            put_rule(rule, document, *expect, ground.there(defaults)?)
        }
        Change::DeleteRule { rule, expect, .. } => delete_rule(rule, *expect, ground.there(defaults)?),
        Change::RenameRule { rule, to, expect, .. } => {
            rename_rule(rule, to, *expect, ground.there(defaults)?, defaults)
        }
        Change::Rollback { domain, expect, .. } => {
            let target = read_stored(&ground.target.take().ok_or(CatalogError::NotFound)?, defaults)?;
            let present = ground.present(defaults)?;
            expect_version(*expect, Present::content_version(present.as_ref()))?;
            replacing(domain, present, target, Vec::new())
        }
        Change::Import { document, others } => {
            ground.check_ceiling(&document.rules.domains)?;
            import(document, *others, ground, defaults)
        }
    }
}

fn put_domain(
    name: &str,
    document: &ParsedDomain,
    expect: Expect,
    present: Option<Present>,
) -> Result<Planned, EditError> {
    same_name("domain", name, &document.domain.name)?;
    expect_version(expect, Present::content_version(present.as_ref()))?;
    replacing(name, present, document.domain.clone(), said(&document.warnings))
}

fn put_rule(
    name: &str,
    document: &ParsedRule,
    expect: Expect,
    present: Present,
) -> Result<Planned, EditError> {
    same_name("rule", name, &document.rule.name)?;
    let mut after = present.model.clone();
    let mut rule = document.rule.clone();
    let text = match after.rules.iter_mut().find(|known| known.name == name) {
        Some(known) => {
            // Whoever changes a renamed rule need not know what it was called: its buckets stay its own.
            rule.formerly = rule.formerly.or_else(|| known.formerly.take());
            let text = rule_document(&rule);
            *known = rule;
            text
        }
        None => {
            let text = rule_document(&rule);
            after.rules.push(rule);
            text
        }
    };
    let domain = present.stored.name.clone();
    let edit = RuleEdit::PutRule { domain, rule: name.to_owned(), document: text, expect };
    editing(present, after, edit, said(&document.warnings))
}

fn delete_rule(name: &str, expect: Expect, present: Present) -> Result<Planned, EditError> {
    let mut after = present.model.clone();
    after.rules.retain(|rule| rule.name != name);
    if after.rules.len() == present.model.rules.len() {
        return Err(CatalogError::NotFound.into());
    }
    let domain = present.stored.name.clone();
    let edit = RuleEdit::DeleteRule { domain, rule: name.to_owned(), expect };
    editing(present, after, edit, Vec::new())
}

fn rename_rule(
    name: &str,
    to: &str,
    expect: Expect,
    present: Present,
    defaults: &Defaults,
) -> Result<Planned, EditError> {
    let mut after = present.model.clone();
    if after.rules.iter().any(|rule| rule.name == to) {
        let detail = format!("there is a rule '{to}' already: remove it or choose another name");
        return Err(EditError::Invalid { field: "to", detail });
    }
    let rule = after.rules.iter_mut().find(|rule| rule.name == name).ok_or(CatalogError::NotFound)?;
    let formerly = rule.formerly.take().unwrap_or_else(|| name.to_owned());
    rule.formerly = (formerly != to).then_some(formerly);
    to.clone_into(&mut rule.name);
    // Read again, so that the new name is checked like one in a file.
    let document = rule_document(rule);
    parse_rule_with(&document, DOCUMENT, defaults).map_err(findings)?;
    let domain = present.stored.name.clone();
    let (rule, to) = (name.to_owned(), to.to_owned());
    let edit = RuleEdit::RenameRule { domain, rule, to, document, expect };
    editing(present, after, edit, Vec::new())
}

fn import(
    document: &Parsed,
    others: Others,
    ground: Ground,
    defaults: &Defaults,
) -> Result<Planned, EditError> {
    let by_name = |stored: StoredDomain| (stored.name.clone(), stored);
    let mut there: BTreeMap<String, StoredDomain> = ground.stored.into_iter().map(by_name).collect();
    let mut all = Planned { warnings: said(&document.warnings), ..Planned::default() };
    for domain in &document.rules.domains {
        let present = there.remove(&domain.name).map(|stored| Present::read(stored, defaults)).transpose()?;
        all.take(replacing(&domain.name, present, domain.clone(), Vec::new())?);
    }
    if others == Others::Remove {
        for stored in there.into_values() {
            all.take(removing(Present::read(stored, defaults)?));
        }
    }
    Ok(all)
}

impl Planned {
    fn take(&mut self, other: Planned) {
        self.edits.extend(other.edits);
        self.guards.extend(other.guards);
        self.changed.extend(other.changed);
        self.warnings.extend(other.warnings);
    }
}

fn said(warnings: &[RuleFileWarning]) -> Vec<String> {
    warnings.iter().map(ToString::to_string).collect()
}

fn same_name(what: &str, in_path: &str, in_document: &str) -> Result<(), EditError> {
    if in_path == in_document {
        return Ok(());
    }
    let detail = format!(
        "the {what} is called '{in_document}' in the document and '{in_path}' in the path: write the same name twice"
    );
    Err(EditError::Invalid { field: "name", detail })
}

/// Compiles a domain alone, as it will be compiled with the others.
fn check_domain(domain: &Domain) -> Result<(), EditError> {
    let rules = Rules { domains: vec![domain.clone()] };
    let invalid = |detail| EditError::Invalid { field: DOCUMENT, detail };
    RuleSet::compile(rules).map(|_| ()).map_err(|error| invalid(error.to_string()))
}

fn guard_of(name: &str, present: Option<&Present>) -> DomainGuard {
    DomainGuard { domain: name.to_owned(), content_version: Present::content_version(present) }
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
    let rules_before = present.as_ref().map_or(&[][..], |present| &present.model.rules);
    let before: HashMap<&str, &Rule> = rules_before.iter().map(|rule| (&*rule.name, rule)).collect();
    for rule in &mut after.rules {
        let known = before.get(&*rule.name);
        rule.formerly = rule.formerly.take().or_else(|| known.and_then(|known| known.formerly.clone()));
    }
    check_domain(&after)?;
    let guards = vec![guard_of(name, present.as_ref())];
    let mut edits = Vec::new();
    let settings = settings_document(&after);
    if present.as_ref().is_none_or(|present| settings_document(&present.model) != settings) {
        edits.push(RuleEdit::PutDomain { domain: name.to_owned(), document: settings, expect: Expect::Any });
    }
    edits.extend(rule_edits(name, rules_before, &before, &after.rules));
    let before = present.map(|present| present.model);
    let changed = if edits.is_empty() {
        Vec::new()
    } else {
        vec![Changed { domain: name.to_owned(), before, after: Some(after) }]
    };
    Ok(Planned { edits, guards, changed, warnings })
}

/// Removes and renames the rules that are gone, in their order, then writes those that are new or other than before. A new
/// rule is one that is gone, under another name, where it says so or has its buckets, as after a rollback.
fn rule_edits(
    domain: &str,
    rules_before: &[Rule],
    before: &HashMap<&str, &Rule>,
    after: &[Rule],
) -> Vec<RuleEdit> {
    let kept: HashSet<&str> = after.iter().map(|rule| &*rule.name).collect();
    // No two rules of a domain have the same buckets: that was checked.
    let mut new: HashMap<&str, (usize, &Rule)> = HashMap::new();
    for (position, rule) in after.iter().enumerate().filter(|(_, rule)| !before.contains_key(&*rule.name)) {
        new.insert(rule.identity(), (position, rule));
    }
    let domain = || domain.to_owned();
    let mut renamed: HashSet<&str> = HashSet::new();
    let mut edits = Vec::new();
    for gone in rules_before.iter().filter(|rule| !kept.contains(&*rule.name)) {
        let rule = gone.name.clone();
        let heirs = [gone.name.as_str(), gone.identity()];
        match heirs.into_iter().filter_map(|heir| new.get(heir).copied()).min_by_key(|(place, _)| *place) {
            Some((_, heir)) => {
                new.remove(heir.identity());
                renamed.insert(&heir.name);
                let (to, document) = (heir.name.clone(), rule_document(heir));
                edits.push(RuleEdit::RenameRule {
                    domain: domain(),
                    rule,
                    to,
                    document,
                    expect: Expect::Any,
                });
            }
            None => edits.push(RuleEdit::DeleteRule { domain: domain(), rule, expect: Expect::Any }),
        }
    }
    for rule in after.iter().filter(|rule| !renamed.contains(&*rule.name)) {
        if before.get(&*rule.name) != Some(&rule) {
            let (name, document) = (rule.name.clone(), rule_document(rule));
            edits.push(RuleEdit::PutRule { domain: domain(), rule: name, document, expect: Expect::Any });
        }
    }
    edits
}

fn removing(present: Present) -> Planned {
    let guards = vec![guard_of(&present.stored.name, Some(&present))];
    let domain = present.stored.name;
    let edits = vec![RuleEdit::DeleteDomain { domain: domain.clone(), expect: Expect::Any }];
    let changed = vec![Changed { domain, before: Some(present.model), after: None }];
    Planned { edits, guards, changed, warnings: Vec::new() }
}
