//! Decisions counted by rule, with a bound on how many series that makes.
//!
//! A rule has a series as long as it is in force, under the names of its domain and itself, and for [`GONE_KEPT`] afterwards,
//! so that the last numbers are still read. Of more than [`MAX_SERIES`], the rest are counted together under [`OTHER`].
//! Nothing of a request itself becomes a label: what a label says stands in the rules.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tidegate_catalog::compose::TENANTS_DOMAIN;
use tidegate_catalog::model::{DEFAULT_TENANT, split_qualified};
use tidegate_core::rule::model::Mode;
use tidegate_core::rule::{CompiledRule, RuleSet};
use tidegate_core::time::{Micros, Timestamp};
use tidegate_engine::{Clock, Decision, Observer};

use super::DoorName;
use super::catalogue::{ALLOWED, BLOCKED, RULES_WITHOUT_SERIES, SHADOW_BLOCKED};
use super::cells::{Counter, SHARDS, shard};
use super::page::Page;

/// The most pairs of domain and rule that are counted apart. Each makes two series per open door, and one more where the rule
/// is in shadow.
pub const MAX_SERIES: usize = 2_000;
/// The label of what is counted together. It cannot be a rule's name.
const OTHER: &str = "(other)";
/// The label of requests that no rule decided.
const NO_RULE: &str = "(none)";
/// The label of tenants' rules together, for those who may not see whose they are.
const TENANTS: &str = "(tenants)";
/// The label of requests that bring their own quota: what they are about comes from outside.
const AD_HOC: &str = "(ad hoc)";
/// The label of requests whose domain is not there.
const NO_DOMAIN: &str = "(unknown)";
/// How long the series of a rule that is gone is shown: several scrapes.
const GONE_KEPT: Micros = Micros::from_secs(600);

/// Whose rules a page may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sees {
    /// All.
    AllTenants,
    /// Those of the default tenant: what a tenant has, and how busy it is, is none of another's business.
    DefaultTenant,
}

/// Counts decisions by rule. Told of new rules before they decide anything, as an [`Observer`].
pub(super) struct RuleSeries {
    table: ArcSwap<Table>,
    /// Held while the table is made anew.
    making: Mutex<()>,
    clock: Box<dyn Clock>,
}

/// One pair of domain and rule.
#[derive(Debug)]
struct Series {
    domain: String,
    rule: String,
    shards: [Cells; SHARDS],
    shadow_blocked: Counter,
}

/// Blocked and allowed, by door: one cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Cells([[AtomicU64; 2]; DoorName::COUNT]);

impl Series {
    fn new(domain: impl Into<String>, rule: impl Into<String>) -> Arc<Self> {
        let (domain, rule) = (domain.into(), rule.into());
        Arc::new(Self { domain, rule, shards: Default::default(), shadow_blocked: Counter::default() })
    }

    fn labels(&self) -> [&str; 2] {
        [&self.domain, &self.rule]
    }

    fn count(&self, door: DoorName, allowed: bool) {
        self.shards[shard()].0[door as usize][usize::from(allowed)].fetch_add(1, Ordering::Relaxed);
    }

    fn take_over(&self, other: &Self) {
        for door in DoorName::ALL {
            for allowed in [false, true] {
                let cell = &self.shards[0].0[door as usize][usize::from(allowed)];
                cell.fetch_add(other.read(door, allowed), Ordering::Relaxed);
            }
        }
        self.shadow_blocked.add(other.shadow_blocked.get());
    }

    fn read(&self, door: DoorName, allowed: bool) -> u64 {
        let cells = self.shards.iter().map(|cells| &cells.0[door as usize][usize::from(allowed)]);
        cells.map(|cell| cell.load(Ordering::Relaxed)).sum()
    }
}

type Uids = BuildHasherDefault<UidHasher>;

/// Uids are digests already.
#[derive(Default)]
struct UidHasher(u64);

impl Hasher for UidHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, uid: u128) {
        self.0 = uid as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Which series a decision belongs to. Immutable: new rules make a new one, which takes the series over.
struct Table {
    /// Of the rules that it was made for.
    version: u64,
    /// Also of rules that are gone, as long as they are shown: requests that were decided by them are still on their way.
    by_rule: HashMap<u128, Arc<Series>, Uids>,
    /// Of requests that no rule decided, by the domain's name in the engine; also of domains that are gone, as above.
    no_rule: HashMap<String, Arc<Series>>,
    no_domain: Arc<Series>,
    other: Arc<Series>,
    /// Of requests that bring their own quota.
    ad_hoc: Arc<Series>,
    /// What tenants' series had counted that are not shown any more: the sum of all must not fall.
    retired: Arc<Series>,
    /// Those with labels of their own, in the order of the rules.
    shown: Vec<Shown>,
    without_series: usize,
}

#[derive(Clone)]
struct Shown {
    series: Arc<Series>,
    gone_since: Option<Timestamp>,
    is_in_shadow: bool,
    is_of_tenant: bool,
}

impl std::fmt::Debug for RuleSeries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuleSeries").field("shown", &self.table.load().shown.len()).finish_non_exhaustive()
    }
}

impl RuleSeries {
    pub(super) fn new(clock: impl Clock) -> Self {
        Self { table: ArcSwap::from_pointee(Table::new()), making: Mutex::new(()), clock: Box::new(clock) }
    }

    /// Makes room for the rules of a set. Nothing is done where it knows them already, or newer ones.
    pub(super) fn adopt(&self, rules: &RuleSet) {
        let _making = self.making.lock();
        let before = self.table.load();
        if rules.version() > before.version {
            self.table.store(Arc::new(before.followed_by(rules, self.clock.now())));
        }
    }

    /// Counts a decision. `rules` are asked for where the decision's are newer than any that were adopted.
    pub(super) fn count(&self, door: DoorName, decision: &Decision, rules: impl FnOnce() -> Arc<RuleSet>) {
        let mut table = self.table.load();
        if decision.rules_version() > table.version {
            self.adopt(&rules());
            table = self.table.load();
        }
        let binding = decision.binding();
        let series = match &binding {
            Some(binding) => table.of_rule(binding.rule),
            None => match decision.domain() {
                Some(domain) => table.no_rule.get(domain).unwrap_or(&table.other),
                None => &table.no_domain,
            },
        };
        series.count(door, decision.is_allowed());
        // With one rule that binds there is no other.
        if binding.is_none() || decision.rules_asked() > 1 {
            let in_shadow = decision.verdicts().filter(|verdict| !verdict.is_enforced());
            for blocked in in_shadow.filter(|verdict| !verdict.verdict.is_allow()) {
                table.of_rule(blocked.rule).shadow_blocked.add(1);
            }
        }
    }

    /// Counts a decision by a quota that the request brought.
    pub(super) fn count_ad_hoc(&self, door: DoorName, decision: &Decision) {
        self.table.load().ad_hoc.count(door, decision.is_allowed());
    }

    /// Writes what was counted, for the doors that are open, and forgets what is gone for long.
    pub(super) fn write(&self, page: &mut Page, sees: Sees, is_open: impl Fn(DoorName) -> bool) {
        self.forget_gone();
        let table = self.table.load();
        let doors: Vec<DoorName> = DoorName::ALL.into_iter().filter(|door| is_open(*door)).collect();
        let (together, apart): (Vec<&Shown>, Vec<&Shown>) =
            table.shown.iter().partition(|shown| sees == Sees::DefaultTenant && shown.is_of_tenant);
        let together = || together.iter().map(|shown| &shown.series).chain([&table.retired]);
        for (metric, allowed) in [(&ALLOWED, true), (&BLOCKED, false)] {
            let mut write = |[domain, rule]: [&str; 2], door: DoorName, count: u64, always: bool| {
                if count > 0 || always {
                    page.labelled(metric, [domain, rule, door.name()], count);
                }
            };
            for (series, door) in
                apart.iter().flat_map(|shown| doors.iter().map(|door| (&shown.series, *door)))
            {
                // A rule is shown from the start, so that its first request is seen as an increase.
                write(series.labels(), door, series.read(door, allowed), series.rule != NO_RULE);
            }
            for door in &doors {
                for series in [&table.no_domain, &table.ad_hoc, &table.other] {
                    write(series.labels(), *door, series.read(*door, allowed), false);
                }
                if sees == Sees::DefaultTenant {
                    let count = together().map(|series| series.read(*door, allowed)).sum();
                    write([TENANTS, TENANTS], *door, count, false);
                }
            }
        }
        for Shown { series, is_in_shadow, .. } in apart {
            let count = series.shadow_blocked.get();
            if count > 0 || *is_in_shadow {
                page.labelled(&SHADOW_BLOCKED, series.labels(), count);
            }
        }
        let tenants = together().map(|series| series.shadow_blocked.get()).sum();
        let tenants = if sees == Sees::DefaultTenant { tenants } else { 0 };
        for (label, count) in [(OTHER, table.other.shadow_blocked.get()), (TENANTS, tenants)] {
            if count > 0 {
                page.labelled(&SHADOW_BLOCKED, [label, label], count);
            }
        }
        page.number(&RULES_WITHOUT_SERIES, table.without_series as u64);
    }

    fn forget_gone(&self) {
        let now = self.clock.now();
        let is_over = |shown: &Shown| is_over(shown, now);
        if !self.table.load().shown.iter().any(is_over) {
            return;
        }
        let _making = self.making.lock();
        let before = self.table.load();
        let (over, shown): (Vec<Shown>, Vec<Shown>) = before.shown.iter().cloned().partition(is_over);
        before.retire(&over);
        self.table.store(Arc::new(before.with_shown(shown)));
    }
}

impl Observer for RuleSeries {
    fn decided(&self, _: &Decision) {}

    fn rules_replaced(&self, rules: &RuleSet) {
        self.adopt(rules);
    }
}

fn is_over(shown: &Shown, now: Timestamp) -> bool {
    shown.gone_since.is_some_and(|gone| now.since(gone) >= GONE_KEPT)
}

/// The tenant's name comes first, but for the default tenant.
fn readable(domain: &str) -> String {
    let (tenant, name) = split_qualified(domain);
    if tenant == DEFAULT_TENANT { name.to_owned() } else { format!("{tenant}/{name}") }
}

impl Table {
    fn new() -> Self {
        Self {
            version: 0,
            by_rule: HashMap::default(),
            no_rule: HashMap::new(),
            no_domain: Series::new(NO_DOMAIN, NO_RULE),
            other: Series::new(OTHER, OTHER),
            ad_hoc: Series::new(AD_HOC, AD_HOC),
            retired: Series::new(TENANTS, TENANTS),
            shown: Vec::new(),
            without_series: 0,
        }
    }

    fn of_rule(&self, rule: &CompiledRule) -> &Series {
        self.by_rule.get(&rule.uid()).unwrap_or(&self.other)
    }

    /// Keeps what tenants' series have counted that are dropped.
    fn retire(&self, dropped: &[Shown]) {
        for shown in dropped.iter().filter(|shown| shown.is_of_tenant) {
            self.retired.take_over(&shown.series);
        }
    }

    /// An empty table beside this one.
    fn beside(&self, version: u64) -> Self {
        let [no_domain, other, ad_hoc, retired] =
            [&self.no_domain, &self.other, &self.ad_hoc, &self.retired].map(Arc::clone);
        Self { version, no_domain, other, ad_hoc, retired, ..Self::new() }
    }

    fn with_shown(&self, shown: Vec<Shown>) -> Self {
        let without_series = self.without_series;
        let mut table = Self { shown, without_series, ..self.beside(self.version) };
        table.take_over_names(self);
        table
    }

    /// Adds what leads to series that are shown here, as it was in the table before.
    fn take_over_names(&mut self, before: &Self) {
        let shown: HashSet<*const Series> =
            self.shown.iter().map(|shown| Arc::as_ptr(&shown.series)).collect();
        let is_shown = |series: &&Arc<Series>| shown.contains(&Arc::as_ptr(series));
        for (uid, series) in before.by_rule.iter().filter(|(_, series)| is_shown(series)) {
            self.by_rule.entry(*uid).or_insert_with(|| Arc::clone(series));
        }
        for (domain, series) in before.no_rule.iter().filter(|(_, series)| is_shown(series)) {
            self.no_rule.entry(domain.clone()).or_insert_with(|| Arc::clone(series));
        }
    }

    /// The table of new rules. What had a series keeps it, by its names: a rule that was renamed begins another.
    fn followed_by(&self, rules: &RuleSet, now: Timestamp) -> Self {
        let mut making = Making::of(self, rules, now);
        for domain in rules.domains().iter().filter(|domain| domain.name() != TENANTS_DOMAIN) {
            let name = readable(domain.name());
            let is_of_tenant = split_qualified(domain.name()).0 != DEFAULT_TENANT;
            for rule in domain.rules() {
                let is_in_shadow = rule.model().mode == Mode::Shadow;
                match making.place(&name, rule.name(), is_in_shadow, is_of_tenant) {
                    Some(series) => drop(making.table.by_rule.insert(rule.uid(), series)),
                    None => making.table.without_series += 1,
                }
            }
            if let Some(series) = making.place(&name, NO_RULE, false, is_of_tenant) {
                making.table.no_rule.insert(domain.name().to_owned(), series);
            }
        }
        let mut table = making.end(now);
        table.take_over_names(self);
        table
    }
}

/// A table in the making.
struct Making {
    table: Table,
    /// Series of the table before that are not taken over yet, by their labels.
    before: HashMap<(String, String), Shown>,
    /// Those that were taken over or made, by their labels: two domains may read alike.
    placed: HashMap<(String, String), Arc<Series>>,
    /// How many more there may be, beside those in `before` that are still in force.
    room: usize,
}

impl Making {
    fn of(table: &Table, rules: &RuleSet, now: Timestamp) -> Self {
        let labels = |shown: &Shown| (shown.series.domain.clone(), shown.series.rule.clone());
        let (over, shown): (Vec<Shown>, Vec<Shown>) =
            table.shown.iter().cloned().partition(|shown| is_over(shown, now));
        table.retire(&over);
        let before: HashMap<_, _> = shown.into_iter().map(|shown| (labels(&shown), shown)).collect();
        let stay: usize = rules
            .domains()
            .iter()
            .map(|domain| {
                let name = readable(domain.name());
                let had = |rule: &str| usize::from(before.contains_key(&(name.clone(), rule.to_owned())));
                domain.rules().iter().map(|rule| had(rule.name())).sum::<usize>() + had(NO_RULE)
            })
            .sum();
        let table = table.beside(rules.version());
        Self { table, before, placed: HashMap::new(), room: MAX_SERIES.saturating_sub(stay) }
    }

    /// The series of a pair: that of before, or a new one as long as there is room.
    ///
    /// Where a tenant's domain reads like one of the default tenant's, both are shown as the tenant's.
    fn place(
        &mut self,
        domain: &str,
        rule: &str,
        is_in_shadow: bool,
        is_of_tenant: bool,
    ) -> Option<Arc<Series>> {
        let place = match self.placed.entry((domain.to_owned(), rule.to_owned())) {
            Entry::Occupied(placed) => {
                let same = |shown: &&mut Shown| Arc::ptr_eq(&shown.series, placed.get());
                if let Some(shown) = self.table.shown.iter_mut().find(same) {
                    shown.is_of_tenant |= is_of_tenant;
                }
                return Some(Arc::clone(placed.get()));
            }
            Entry::Vacant(place) => place,
        };
        let series = match self.before.remove(place.key()) {
            Some(shown) => shown.series,
            None => {
                self.room = self.room.checked_sub(1)?;
                Series::new(domain, rule)
            }
        };
        place.insert(Arc::clone(&series));
        let shown = Shown { series: Arc::clone(&series), gone_since: None, is_in_shadow, is_of_tenant };
        self.table.shown.push(shown);
        Some(series)
    }

    /// What is gone stays for a while, the latest first, where there is room.
    fn end(self, now: Timestamp) -> Table {
        let Self { mut table, before, .. } = self;
        let mut gone: Vec<Shown> = before
            .into_values()
            .map(|shown| Shown { gone_since: shown.gone_since.or(Some(now)), ..shown })
            .collect();
        gone.sort_unstable_by_key(|shown| std::cmp::Reverse(shown.gone_since));
        let room = MAX_SERIES.saturating_sub(table.shown.len()).min(gone.len());
        table.retire(&gone.split_off(room));
        table.shown.extend(gone);
        table
    }
}

#[cfg(test)]
#[path = "series_tests.rs"]
mod tests;
