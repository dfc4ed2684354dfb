//! What a rule may say: the declared model, before it is compiled.
//!
//! Values here are plain data. [`RuleSet::compile`](crate::rule::RuleSet::compile) checks that they make sense
//! together; a file format in front of it checks them earlier and can name the line.

pub use super::exceptions::Exceptions;
pub use super::lease::{Consistency, Lease, LeaseError, MAX_HOLD, MIN_HOLD};

use crate::quota::{Algorithm, Quota};
use crate::room::RoomName;
use crate::rule::pattern::Pattern;
use crate::time::Micros;

/// The most domains of one set of rules.
pub const MAX_DOMAINS: usize = 10_000;
/// The most rules of one set of rules, over all domains.
pub const MAX_RULES: usize = 100_000;
/// The longest name of a domain, rule, tier or entry, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// The most entries of a partition key.
pub const MAX_KEY_ENTRIES: usize = 8;
/// The most conditions of one rule.
pub const MAX_CONDITIONS: usize = 16;
/// The most alternatives of one rule.
pub const MAX_ALTERNATIVES: usize = 64;
/// The most parts of a condition all of which have to hold.
pub const MAX_PARTS: usize = 8;
/// The most rules that one rule replaces.
pub const MAX_REPLACED: usize = 64;
/// The most regular expressions of one domain.
pub const MAX_REGEXES: usize = 64;
/// The most rules of a domain that one value of an entry, the presence of an entry, or nothing at all selects. It
/// bounds what one request can match, and so what it can cost.
pub const MAX_RULES_TOGETHER: usize = 64;
/// The most exceptions of one condition.
pub const MAX_EXCEPTIONS: usize = 100_000;
/// The most exceptions of one condition that are prefixes or templates.
pub const MAX_EXCEPTED_PATTERNS: usize = 1_024;
/// The most tiers of one rule.
pub const MAX_TIERS: usize = 64;
/// The most quotas of one compiled rule besides its own: its tiers, and what single subjects have instead.
pub const MAX_QUOTAS: usize = 128;

/// A whole set of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The domains, each name once.
    pub domains: Vec<Domain>,
}

/// A container of rules: requests name one domain, and only its rules apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Unique name.
    pub name: String,
    /// The entry whose value is looked up for its tier, for example `user_id`.
    pub subject: Option<String>,
    /// The tier of a subject of which nothing is known.
    pub default_tier: Option<String>,
    /// The answer when the store does not answer, for rules that say nothing else; the server's where absent.
    pub on_store_failure: Option<FailurePolicy>,
    /// The rules, each name once.
    pub rules: Vec<Rule>,
}

/// A configured statement: match + key + quota + algorithm + mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Unique in its domain; the policy name in headers.
    pub name: String,
    /// What it was called when its buckets were first written: a rule that is renamed continues them. `None` is its name.
    pub formerly: Option<String>,
    /// What a request must look like. No condition matches every request.
    pub conditions: Vec<EntryCondition>,
    /// Lists of conditions, of which all of at least one have to hold, too; none is no such demand.
    pub any: Vec<Vec<EntryCondition>>,
    /// Applies only to requests that have no entries but those that the conditions and the key name.
    pub only: bool,
    /// Entries that a request must have, in this order; others may stand between them. None: the order says nothing.
    pub order: Vec<String>,
    /// Applies only where no other enforced rule of the domain matched.
    pub otherwise: bool,
    /// The entries whose values select the bucket; none means one bucket for all.
    pub key: Vec<String>,
    /// How the quota is metered.
    pub algorithm: Algorithm,
    /// The quota of requests whose tier names no other.
    pub quota: Quota,
    /// Quotas by tier, each name once.
    pub tiers: Vec<(String, Quota)>,
    /// Shares of the quota kept for higher priorities, the highest first.
    pub reserve: Vec<Reserve>,
    /// Whether the verdict is obeyed.
    pub mode: Mode,
    /// Rules of the domain that do not apply where this one does, whatever its mode but off. They still replace others.
    pub replaces: Vec<String>,
    /// What a denial means for a call that asks for several requests at once.
    pub denies: Denies,
    /// The answer when the store does not answer; the domain's where absent.
    pub on_store_failure: Option<FailurePolicy>,
    /// Lets requests over the limit wait their turn.
    pub queue: Option<Queue>,
    /// What becomes of a request over the limit, at doors that lead to waiting rooms.
    pub on_limit: OnLimit,
    /// How exactly the quota is kept when several nodes share it.
    pub consistency: Consistency,
}

/// One entry and what its value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryCondition {
    /// The descriptor entry.
    pub entry: String,
    /// What is asked of it.
    pub condition: Condition,
}

/// What is asked of one descriptor entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The value matches one of these (at least one is named).
    OneOf(Vec<Pattern>),
    /// The entry is there, with a value that is not excepted (at least one is).
    NoneOf(Exceptions),
    /// The entry is there, whatever its value.
    Present,
    /// The entry is not there.
    Absent,
    /// All of these hold, each of them [`Condition::OneOf`] or [`Condition::NoneOf`] (at least two are named).
    AllOf(Vec<Condition>),
}

impl Condition {
    /// Whether the entry's value, or its absence, is what is asked for.
    #[must_use]
    pub fn matches(&self, value: Option<&str>) -> bool {
        match (self, value) {
            (Condition::OneOf(patterns), Some(value)) => {
                patterns.iter().any(|pattern| pattern.matches(value))
            }
            (Condition::NoneOf(exceptions), Some(value)) => exceptions.matches(value),
            (Condition::AllOf(parts), value) => parts.iter().all(|part| part.matches(value)),
            (Condition::Present, Some(_)) | (Condition::Absent, None) => true,
            (Condition::OneOf(_) | Condition::NoneOf(_) | Condition::Present, None)
            | (Condition::Absent, Some(_)) => false,
        }
    }

    /// The conditions of which this one consists: itself, unless it is several that all have to hold.
    #[must_use]
    pub fn parts(&self) -> &[Condition] {
        match self {
            Condition::AllOf(parts) => parts,
            one => core::slice::from_ref(one),
        }
    }

    /// How many regular expressions this names.
    #[must_use]
    pub fn regex_count(&self) -> usize {
        let of_patterns = |patterns: &[Pattern]| {
            patterns.iter().filter(|pattern| matches!(pattern, Pattern::Regex(_))).count()
        };
        let of_part = |part: &Condition| match part {
            Condition::NoneOf(exceptions) => {
                of_patterns(exceptions.within()) + of_patterns(exceptions.other_patterns())
            }
            part => of_patterns(part.patterns()),
        };
        self.parts().iter().map(of_part).sum()
    }

    /// The patterns of which the value must match one; none where it need not. Of several parts, those of the first that has
    /// any by which rules are found, else of the first that has any.
    #[must_use]
    pub fn patterns(&self) -> &[Pattern] {
        match self {
            Condition::OneOf(patterns) => patterns,
            Condition::NoneOf(exceptions) => exceptions.within(),
            Condition::AllOf(parts) => {
                let some = || parts.iter().map(Condition::patterns).filter(|patterns| !patterns.is_empty());
                let anchored = some().find(|patterns| patterns.iter().all(Pattern::is_anchor));
                anchored.or_else(|| some().next()).unwrap_or_default()
            }
            Condition::Present | Condition::Absent => &[],
        }
    }
}

/// A share of the quota that only requests of this priority, or a higher one, may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// The value of the request's `priority` entry.
    pub priority: String,
    /// Per cent of the quota, 1 to 100. All shares of a rule together are at most 100.
    pub percent: u8,
}

/// Whether a rule's verdict is obeyed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Evaluated and obeyed.
    #[default]
    Enforce,
    /// Evaluated and reported, never obeyed.
    Shadow,
    /// As if the rule were not there.
    Off,
}

/// What the denial of one request means for a call that asks for several, as Envoy's rate limit service does. Within one
/// request it changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Denies {
    /// The call is refused.
    #[default]
    Alone,
    /// The call is refused where every request of it that such a rule applies to is denied.
    Together,
}

/// What becomes of a request over the limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnLimit {
    /// It is refused.
    #[default]
    Refuse,
    /// Its visitor is given a place in this waiting room. The rule does not apply to those who have been let into it.
    Room(RoomName),
}

/// The answer when the store does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FailurePolicy {
    /// Let requests pass, marked as degraded.
    #[default]
    Allow,
    /// Refuse requests, marked as degraded.
    Deny,
    /// Decide with this node's share of the quota, marked as degraded.
    Local,
}

/// Bounded waiting: a request that conforms a little later is told to wait instead of refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Queue {
    /// The longest wait.
    pub max_wait: Micros,
    /// The most units that wait at one time.
    pub max_depth: u64,
}

impl Rule {
    /// A rule that matches every request with one bucket for all: the start of a longer description.
    #[must_use]
    pub fn new(name: impl Into<String>, algorithm: Algorithm, quota: Quota) -> Self {
        Self {
            name: name.into(),
            formerly: None,
            conditions: Vec::new(),
            any: Vec::new(),
            only: false,
            order: Vec::new(),
            otherwise: false,
            key: Vec::new(),
            algorithm,
            quota,
            tiers: Vec::new(),
            reserve: Vec::new(),
            mode: Mode::Enforce,
            replaces: Vec::new(),
            denies: Denies::Alone,
            on_store_failure: None,
            queue: None,
            on_limit: OnLimit::Refuse,
            consistency: Consistency::Exact,
        }
    }

    /// The waiting room to which it sends who is over the limit; `None` where it refuses.
    #[must_use]
    pub const fn room(&self) -> Option<&RoomName> {
        match &self.on_limit {
            OnLimit::Refuse => None,
            OnLimit::Room(room) => Some(room),
        }
    }

    /// Its conditions and those of all alternatives.
    pub fn all_conditions(&self) -> impl Iterator<Item = &EntryCondition> {
        self.conditions.iter().chain(self.any.iter().flatten())
    }

    /// The name that its buckets go by.
    #[must_use]
    pub fn identity(&self) -> &str {
        self.formerly.as_deref().unwrap_or(&self.name)
    }

    /// The same rule with one bucket per value of these entries.
    #[must_use]
    pub fn with_key<S: Into<String>>(mut self, key: impl IntoIterator<Item = S>) -> Self {
        self.key = key.into_iter().map(Into::into).collect();
        self
    }

    /// The same rule, for requests whose `entry` is exactly `value`.
    #[must_use]
    pub fn when(mut self, entry: impl Into<String>, value: impl Into<String>) -> Self {
        let condition = Condition::OneOf(vec![Pattern::Exact(value.into())]);
        self.conditions.push(EntryCondition { entry: entry.into(), condition });
        self
    }
}

impl Domain {
    /// A domain with these rules and the defaults for everything else.
    #[must_use]
    pub fn new(name: impl Into<String>, rules: Vec<Rule>) -> Self {
        Self { name: name.into(), subject: None, default_tier: None, on_store_failure: None, rules }
    }
}

impl Mode {
    /// The name in rule files and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::Shadow => "shadow",
            Mode::Off => "off",
        }
    }
}

impl Denies {
    /// The name in rule files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Denies::Alone => "alone",
            Denies::Together => "together",
        }
    }
}

impl FailurePolicy {
    /// The name in rule files and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            FailurePolicy::Allow => "allow",
            FailurePolicy::Deny => "deny",
            FailurePolicy::Local => "local",
        }
    }
}
