//! What the catalog keeps: plain records, as the database has them.
//!
//! Times are microseconds since the Unix epoch. Versions are counters of the catalog: every change of rules has a higher
//! one than the change before, in the order in which changes became visible.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

/// The tenant of an installation that has no others, and of requests that carry no API key.
pub const DEFAULT_TENANT: &str = "default";
/// The longest name of a tenant, in bytes.
pub const MAX_TENANT_NAME_BYTES: usize = 63;
/// The longest subject, in bytes: as long as the value of an entry.
pub const MAX_SUBJECT_BYTES: usize = 1_024;
/// The longest reason of a ban or an override, in bytes.
pub const MAX_REASON_BYTES: usize = 1_024;
/// The most rows of one page.
pub const MAX_PAGE: u32 = 200;

/// Stands between a tenant and a domain in the names that the engine knows; no name from outside has it.
const SEPARATOR: char = '\u{1f}';

/// The name under which the engine knows a tenant's domain. Those of the default tenant keep their names.
#[must_use]
pub fn qualified<'a>(tenant: &str, domain: &'a str) -> Cow<'a, str> {
    if tenant == DEFAULT_TENANT {
        Cow::Borrowed(domain)
    } else {
        Cow::Owned(format!("{tenant}{SEPARATOR}{domain}"))
    }
}

/// Tenant and domain of a name from [`qualified`].
#[must_use]
pub fn split_qualified(name: &str) -> (&str, &str) {
    name.split_once(SEPARATOR).unwrap_or((DEFAULT_TENANT, name))
}

/// Whether a text may be a tenant's name: 1 to 63 of `a-z`, `0-9` and `-`, with a letter or digit at both ends.
#[must_use]
pub fn is_tenant_name(text: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    text.len() <= MAX_TENANT_NAME_BYTES
        && edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Who changes something, for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The name and prefix of the key, or what stands for it (`server`).
    pub name: String,
    /// The request's correlation id.
    pub correlation: Option<String>,
}

impl Actor {
    /// What a server does by itself.
    #[must_use]
    pub fn server() -> Self {
        Self { name: "server".to_owned(), correlation: None }
    }
}

/// What a change expects of what it changes; `CatalogError::Conflict` where it is not so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing: made where absent, replaced where present.
    Any,
    /// It is not there yet.
    Absent,
    /// It is there, in whatever version.
    Present,
    /// It is there, in this version.
    Version(i64),
}

/// How far the catalog has come, by kind of thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// Domains, rules, quotas of overrides, tenants' ceilings.
    pub rules: i64,
    /// Tiers, overrides and bans of subjects.
    pub subjects: i64,
    /// API keys.
    pub keys: i64,
}

/// A customer who owns domains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Unique, see [`is_tenant_name`].
    pub name: String,
    /// What it may have.
    pub ceilings: Ceilings,
    /// When it was made.
    pub created_us: i64,
    /// The rules version of its last change.
    pub version: i64,
}

/// What a tenant may have at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceilings {
    /// Rules, over all domains.
    pub max_rules: u32,
    /// API keys that are not revoked.
    pub max_keys: u32,
    /// Requests a second, over all nodes; no ceiling where absent.
    pub max_requests_per_second: Option<u32>,
}

impl Default for Ceilings {
    fn default() -> Self {
        Self { max_rules: 1_000, max_keys: 100, max_requests_per_second: None }
    }
}

/// A domain as it is kept: its settings and its rules, each a JSON document in the form of the rule file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDomain {
    /// Who owns it.
    pub tenant: String,
    /// Unique within the tenant.
    pub name: String,
    /// Everything but the rules.
    pub document: String,
    /// The rules version of the last change of the settings.
    pub version: i64,
    /// The rules version of the last change of anything in the domain.
    pub content_version: i64,
    /// In their order.
    pub rules: Vec<StoredRule>,
}

/// A rule as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRule {
    /// Unique within the domain.
    pub name: String,
    /// The rule.
    pub document: String,
    /// The rules version of its last change.
    pub version: i64,
}

/// One subject of a domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectKey {
    /// The tenant.
    pub tenant: String,
    /// The domain.
    pub domain: String,
    /// The value of the domain's subject entry.
    pub subject: String,
}

/// What is known of a subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Its tier; the domain's default where absent.
    pub tier: Option<String>,
    /// Its ban.
    pub ban: Option<Ban>,
    /// Its own quotas, at most one a rule.
    pub overrides: Vec<Override>,
}

/// A subject that is refused whatever the rules say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Why, for people.
    pub reason: String,
    /// When it ends; never where absent.
    pub until_us: Option<i64>,
    /// Who set it.
    pub by: String,
    /// When it was set.
    pub since_us: i64,
}

/// A quota for one subject instead of its tier's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The rule.
    pub rule: String,
    /// The quota.
    pub quota: OverrideQuota,
    /// Why, for people; may be empty.
    pub reason: String,
    /// When it ends; never where absent.
    pub until_us: Option<i64>,
}

/// The quota of an override. What it does not say is the rule's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OverrideQuota {
    /// Units.
    pub limit: u64,
    /// The window, or the life of a permit, in microseconds; the rule's where absent.
    pub window_us: Option<u64>,
    /// The burst; the limit where absent.
    pub burst: Option<u64>,
}

impl fmt::Display for OverrideQuota {
    /// The name of the tier that stands for it in compiled rules, `=limit/window/burst`; no tier of a rule file begins so.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "={}/", self.limit)?;
        self.window_us.map_or(Ok(()), |window| write!(f, "{window}"))?;
        f.write_str("/")?;
        self.burst.map_or(Ok(()), |burst| write!(f, "{burst}"))
    }
}

/// A rule and its owners: tenant, domain, rule.
pub type RulePlace = (String, String, String);

/// The different quotas of overrides, each once for its rule.
pub type OverrideQuotas = BTreeSet<(RulePlace, OverrideQuota)>;

/// What an API key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Ask for decisions: `/v1/*`.
    Check,
    /// Read in the admin API.
    AdminRead,
    /// Read and change in the admin API.
    AdminWrite,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 3] = [Scope::Check, Scope::AdminRead, Scope::AdminWrite];

    /// The name in the admin API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Check => "check",
            Scope::AdminRead => "admin-read",
            Scope::AdminWrite => "admin-write",
        }
    }

    /// The scope of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// An API key without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The visible part of the key; unique.
    pub prefix: String,
    /// Whose key it is; `None` is an operator's, who may do everything for every tenant.
    pub tenant: Option<String>,
    /// What people call it.
    pub name: String,
    /// What it may do; never empty.
    pub scopes: Vec<Scope>,
    /// SHA-256 of the whole key, prefix and secret.
    pub hash: [u8; 32],
    /// The secret before the last rotation, and until when it is still good.
    pub previous: Option<PreviousSecret>,
    /// When it was made.
    pub created_us: i64,
    /// When it ends; never where absent.
    pub expires_us: Option<i64>,
    /// When it was last used, to about a minute.
    pub last_used_us: Option<i64>,
    /// When it was revoked.
    pub revoked_us: Option<i64>,
}

/// A secret that a rotation has replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviousSecret {
    /// SHA-256 of the whole key that had it.
    pub hash: [u8; 32],
    /// Until when it is still good.
    pub until_us: i64,
}

/// What was used in one span of time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UsageKey {
    /// The tenant.
    pub tenant: String,
    /// The domain.
    pub domain: String,
    /// The rule; empty for requests that no rule matched.
    pub rule: String,
    /// The tier; empty where there is none.
    pub tier: String,
    /// The beginning of the span, in seconds since the Unix epoch.
    pub at_s: i64,
}

/// How much was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageCounts {
    /// Requests that the rule let pass.
    pub allowed: u64,
    /// Requests that the rule refused.
    pub denied: u64,
    /// Units of the requests that it let pass.
    pub cost: u64,
}

impl UsageCounts {
    /// Adds another count.
    pub fn add(&mut self, other: Self) {
        self.allowed = self.allowed.saturating_add(other.allowed);
        self.denied = self.denied.saturating_add(other.denied);
        self.cost = self.cost.saturating_add(other.cost);
    }
}

/// How long a span of usage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// Sixty seconds: recent usage.
    Minute,
    /// An hour: what minutes are rolled up into.
    Hour,
}

impl Resolution {
    /// The name in the admin API and the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Resolution::Minute => "minute",
            Resolution::Hour => "hour",
        }
    }

    /// Its length in seconds.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        match self {
            Resolution::Minute => 60,
            Resolution::Hour => 3_600,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_two_tenants_never_meet() {
        assert_eq!(qualified(DEFAULT_TENANT, "pay"), "pay");
        assert_eq!(split_qualified(&qualified("acme", "pay")), ("acme", "pay"));
        assert_eq!(split_qualified("pay"), (DEFAULT_TENANT, "pay"));
        assert_ne!(qualified("a", "b/c"), qualified("a/b", "c"));
    }

    #[test]
    fn tenants_have_plain_names() {
        for good in ["a", "acme", "acme-2", "0x"] {
            assert!(is_tenant_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a\u{1f}b", "ä", &"x".repeat(64)] {
            assert!(!is_tenant_name(bad), "{bad}");
        }
    }
}
