//! What is kept, to rules that can be put in force: the rule file's domains and the database's, quotas of overrides, and
//! tenants' ceilings, all in one set. All or nothing: what cannot be compiled changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;
use tidegate_config::{
    Defaults, QuotaSetting, RuleFileErrors, apply_quota_settings, parse_domain_with, quota_of_tier,
};
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::rule::model::{Domain, MAX_QUOTAS, Rule, Rules};
use tidegate_core::rule::{RuleSet, RuleSetError};
use tidegate_core::time::Micros;

use crate::model::{
    DEFAULT_TENANT, OverrideQuota, OverrideQuotas, RulePlace, StoredDomain, StoredRule, Tenant, qualified,
    split_qualified,
};
use crate::repository::{MAX_DISTINCT_QUOTAS, RulesDelta};

/// The domain that meters tenants' requests; no name from outside is like it.
pub const TENANTS_DOMAIN: &str = "\u{1f}tenants";
/// The entry that names the tenant in it.
pub const TENANT_ENTRY: &str = "tenant";

/// Why what is kept cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// A stored domain cannot be read.
    #[error("the domain '{domain}' of the tenant '{tenant}' cannot be read: {errors}")]
    Domain {
        /// Whose domain it is.
        tenant: String,
        /// Its name.
        domain: String,
        /// What is wrong; lines are of the stored document.
        errors: String,
    },
    /// The process is about to end, or compiling them has failed badly.
    #[error("compiling the rules was interrupted")]
    Interrupted,
    /// The domains do not go together.
    #[error(transparent)]
    Set(#[from] RuleSetError),
}

/// Rules that can be put in force.
#[derive(Debug)]
pub struct Composed {
    /// The rules.
    pub rules: RuleSet,
    /// What was left out, or looks unintended.
    pub warnings: Vec<String>,
}

/// Keeps what was loaded, so that a change costs what has changed.
#[derive(Clone, Debug, Default)]
pub struct Composer {
    defaults: Defaults,
    quota_settings: Vec<QuotaSetting>,
    file: Rules,
    domains: BTreeMap<(String, String), Loaded>,
    tenants: Vec<Tenant>,
    overrides: Arc<OverrideQuotas>,
    /// Those of the version before. They are compiled once more: between the swap of the rules and the news of its subject a
    /// request may still name one.
    outgoing: Arc<OverrideQuotas>,
    version: i64,
}

/// What was known before something was taken over.
#[derive(Debug)]
pub struct Before {
    domains: Vec<((String, String), Option<Loaded>)>,
    tenants: Vec<Tenant>,
    overrides: Arc<OverrideQuotas>,
    outgoing: Arc<OverrideQuotas>,
    version: i64,
}

#[derive(Clone, Debug)]
struct Loaded {
    stored: StoredDomain,
    domain: Domain,
}

impl Loaded {
    /// The version of each rule.
    fn versions(&self) -> HashMap<&str, u64> {
        let version = |rule: &StoredRule| u64::try_from(rule.version).unwrap_or(0);
        self.stored.rules.iter().map(|rule| (&*rule.name, version(rule))).collect()
    }
}

impl Composer {
    /// A composer that knows nothing yet. `quota_settings` change limits of rules whatever the file and the database say.
    #[must_use]
    pub fn new(defaults: Defaults, quota_settings: Vec<QuotaSetting>) -> Self {
        Self { defaults, quota_settings, ..Self::default() }
    }

    /// The domains of the rule file from now on. Where the database has a domain of the default tenant of the same name, the
    /// file's holds.
    pub fn set_file(&mut self, rules: Rules) {
        self.file = rules;
    }

    /// The rule file's domains.
    #[must_use]
    pub fn file(&self) -> &Rules {
        &self.file
    }

    /// The version of what the database had when last looked at.
    #[must_use]
    pub const fn version(&self) -> i64 {
        self.version
    }

    /// The domains that are known, and in which version: what has changed since is asked for.
    #[must_use]
    pub fn known(&self) -> HashMap<(String, String), i64> {
        self.domains.iter().map(|(place, loaded)| (place.clone(), loaded.stored.content_version)).collect()
    }

    /// Takes over what has changed in the database. Gives what it was before, for [`take_back`](Self::take_back).
    ///
    /// # Errors
    /// [`ComposeError::Domain`]; then nothing is taken over.
    pub fn apply(&mut self, delta: RulesDelta) -> Result<Before, ComposeError> {
        let mut changed = Vec::with_capacity(delta.changed.len());
        let is_other = |stored: &StoredDomain| {
            let known = self.domains.get(&(stored.tenant.clone(), stored.name.clone()));
            known.is_none_or(|known| known.stored != *stored)
        };
        for stored in delta.changed.into_iter().filter(is_other) {
            let domain = read_stored(&stored, &self.defaults)?;
            changed.push(((stored.tenant.clone(), stored.name.clone()), Loaded { stored, domain }));
        }
        let present: std::collections::HashSet<(String, String)> =
            delta.domains.into_iter().map(|(tenant, name, _)| (tenant, name)).collect();
        let mut domains = Vec::new();
        for (place, loaded) in self.domains.extract_if(.., |place, _| !present.contains(place)) {
            domains.push((place, Some(loaded)));
        }
        for (place, loaded) in changed {
            let before = self.domains.insert(place.clone(), loaded);
            domains.push((place, before));
        }
        let overrides = std::mem::replace(&mut self.overrides, delta.overrides);
        Ok(Before {
            domains,
            tenants: std::mem::replace(&mut self.tenants, delta.tenants),
            outgoing: std::mem::replace(&mut self.outgoing, Arc::clone(&overrides)),
            overrides,
            version: std::mem::replace(&mut self.version, delta.version),
        })
    }

    /// Whether nothing is other than it was before.
    #[must_use]
    pub fn is_as(&self, before: &Before) -> bool {
        before.domains.is_empty()
            && before.version == self.version
            && before.tenants == self.tenants
            && before.overrides == self.overrides
    }

    /// Takes back what [`apply`](Self::apply) has just taken over: it cannot be put in force.
    pub fn take_back(&mut self, before: Before) {
        for (place, loaded) in before.domains {
            match loaded {
                Some(loaded) => drop(self.domains.insert(place, loaded)),
                None => drop(self.domains.remove(&place)),
            }
        }
        (self.tenants, self.version) = (before.tenants, before.version);
        (self.overrides, self.outgoing) = (before.overrides, before.outgoing);
    }

    /// What is known, to be kept for a start without the database.
    #[must_use]
    pub fn kept(&self) -> (Vec<StoredDomain>, Vec<Tenant>, Vec<(RulePlace, OverrideQuota)>) {
        let domains = self.domains.values().map(|loaded| loaded.stored.clone()).collect();
        (domains, self.tenants.clone(), self.overrides.iter().cloned().collect())
    }

    /// The quotas of overrides, and those of the version before.
    #[must_use]
    pub fn quotas(&self) -> [Arc<OverrideQuotas>; 2] {
        [Arc::clone(&self.overrides), Arc::clone(&self.outgoing)]
    }

    /// All rules, compiled.
    ///
    /// # Errors
    /// [`ComposeError::Set`].
    pub fn compose(&self) -> Result<Composed, ComposeError> {
        let mut warnings = Vec::new();
        let mut domains: Vec<Domain> = self.file.domains.clone();
        let mut versions: HashMap<String, HashMap<&str, u64>> = HashMap::new();
        let in_file: std::collections::HashSet<String> =
            self.file.domains.iter().map(|domain| domain.name.clone()).collect();
        for ((tenant, name), loaded) in &self.domains {
            if tenant == DEFAULT_TENANT && in_file.contains(name) {
                warnings.push(format!(
                    "the domain '{name}' is in the rule file and in the database: the file's holds"
                ));
                continue;
            }
            let name = qualified(tenant, name).into_owned();
            versions.insert(name.clone(), loaded.versions());
            domains.push(Domain { name, ..loaded.domain.clone() });
        }
        domains = self.with_quota_settings(domains, &mut warnings);
        self.add_overrides(&mut domains, &mut warnings);
        domains.extend(ceilings(&self.tenants));
        // Nodes that were cut off for a while must agree with the others on what a bucket was written under.
        let version_of = |domain: &str, rule: &str| versions.get(domain)?.get(rule).copied();
        let rules = RuleSet::compile(Rules { domains })?.stamped(version_of);
        Ok(Composed { rules, warnings })
    }

    /// The settings of this installation change the default tenant's rules; other tenants' rules are their own.
    fn with_quota_settings(&self, domains: Vec<Domain>, warnings: &mut Vec<String>) -> Vec<Domain> {
        if self.quota_settings.is_empty() {
            return domains;
        }
        let is_ours = |domain: &Domain| split_qualified(&domain.name).0 == DEFAULT_TENANT;
        let (ours, others): (Vec<Domain>, Vec<Domain>) = domains.into_iter().partition(is_ours);
        let mut rules = Rules { domains: ours };
        let problems = apply_quota_settings(&mut rules, &self.quota_settings);
        warnings.extend(problems.iter().map(ToString::to_string));
        rules.domains.extend(others);
        rules.domains
    }

    /// Every quota of an override is one more tier of its rule. A rule takes so many: plain SQL may write more, and those beyond
    /// must not keep everybody's rules from being compiled.
    fn add_overrides(&self, domains: &mut [Domain], warnings: &mut Vec<String>) {
        let mut places: HashMap<String, usize> = HashMap::new();
        for (index, domain) in domains.iter().enumerate() {
            places.insert(domain.name.clone(), index);
        }
        let mut wanted: BTreeMap<&RulePlace, Vec<OverrideQuota>> = BTreeMap::new();
        for (place, quota) in &*self.overrides {
            wanted.entry(place).or_default().push(*quota);
        }
        for (place, quotas) in wanted {
            if let Some(found) = rule_at(domains, &places, place) {
                add_quotas(found, place, &quotas, warnings);
            }
        }
        for (place, quota) in self.outgoing.difference(&self.overrides) {
            let found = rule_at(domains, &places, place).filter(|found| found.tiers.len() < MAX_QUOTAS);
            let Some(found) = found else { continue };
            if let Ok(value) = override_quota(found, *quota) {
                found.tiers.push((quota.to_string(), value));
            }
        }
    }
}

fn rule_at<'d>(
    domains: &'d mut [Domain],
    places: &HashMap<String, usize>,
    (tenant, domain, rule): &RulePlace,
) -> Option<&'d mut Rule> {
    let domain = domains.get_mut(*places.get(&*qualified(tenant, domain))?)?;
    domain.rules.iter_mut().find(|known| known.name == *rule)
}

fn add_quotas(found: &mut Rule, place: &RulePlace, quotas: &[OverrideQuota], warnings: &mut Vec<String>) {
    let (tenant, domain, rule) = place;
    let of_rule = format!("of the rule '{rule}' of the domain '{domain}' (tenant '{tenant}')");
    let room = MAX_QUOTAS.saturating_sub(found.tiers.len()).min(MAX_DISTINCT_QUOTAS as usize);
    let full = found.tiers.len() + room;
    let mut left_out = 0;
    for quota in quotas {
        match override_quota(found, *quota) {
            Ok(value) if found.tiers.len() < full => found.tiers.push((quota.to_string(), value)),
            Ok(_) => left_out += 1,
            Err(problem) => warnings.push(format!("an override {of_rule} is left out: {problem}")),
        }
    }
    if left_out > 0 {
        warnings.push(format!(
            "{left_out} different quotas of overrides {of_rule} are left out: it takes {room}; their subjects have their tiers"
        ));
    }
}

/// The quota of an override of a rule.
///
/// # Errors
/// Why the rule cannot have it, for people.
pub fn override_quota(rule: &Rule, quota: OverrideQuota) -> Result<Quota, String> {
    let window = quota.window_us.map(Micros::from_micros);
    quota_of_tier(rule, quota.limit, window, quota.burst).map_err(|error| error.to_string())
}

/// A stored domain as the model has it, under its own name.
///
/// # Errors
/// [`ComposeError::Domain`].
pub fn read_stored(stored: &StoredDomain, defaults: &Defaults) -> Result<Domain, ComposeError> {
    let unreadable = |errors: String| ComposeError::Domain {
        tenant: stored.tenant.clone(),
        domain: stored.name.clone(),
        errors,
    };
    let document = document_of(stored).map_err(|error| unreadable(error.to_string()))?;
    let parsed = parse_domain_with(&document, "the database", defaults);
    parsed.map(|parsed| parsed.domain).map_err(|errors: RuleFileErrors| unreadable(errors.to_string()))
}

/// A stored domain as one document in the form of the rule file.
fn document_of(stored: &StoredDomain) -> Result<String, serde_json::Error> {
    let mut document: Value = serde_json::from_str(&stored.document)?;
    let read = |rule: &StoredRule| serde_json::from_str::<Value>(&rule.document);
    let rules = stored.rules.iter().map(read).collect::<Result<Vec<Value>, _>>()?;
    if let Some(fields) = document.as_object_mut() {
        fields.insert("rules".to_owned(), Value::Array(rules));
    }
    Ok(document.to_string())
}

/// The domain that meters tenants' requests: a rule for each tenant that has a ceiling.
fn ceilings(tenants: &[Tenant]) -> Option<Domain> {
    let ceiling = |tenant: &Tenant| {
        let most = u64::from(tenant.ceilings.max_requests_per_second?);
        let quota = Quota::new(Algorithm::TokenBucket, most, Micros::from_secs(1), None).ok()?;
        let rule = Rule::new(tenant.name.as_str(), Algorithm::TokenBucket, quota);
        Some(rule.when(TENANT_ENTRY, tenant.name.as_str()).with_key([TENANT_ENTRY]))
    };
    let rules: Vec<Rule> = tenants.iter().filter_map(ceiling).collect();
    (!rules.is_empty()).then(|| Domain::new(TENANTS_DOMAIN, rules))
}

#[cfg(test)]
mod tests;
