//! A rule made ready, and what becomes of its buckets when it changes.

use std::sync::Arc;

use super::index::value_of;
use super::lineage::{Lineage, Revision};
use super::model::{Condition, EntryCondition, FailurePolicy, Rule};
use super::pattern::Pattern;
use crate::algorithm::{Meter, State};
use crate::hash::identity;
use crate::time::{Micros, Timestamp};

/// A rule of a compiled set.
#[derive(Clone, Debug)]
pub struct CompiledRule {
    uid: u128,
    domain: String,
    domain_uid: u64,
    model: Rule,
    on_store_failure: Option<FailurePolicy>,
    base: Metered,
    tiers: Vec<Metered>,
    /// Places of the tiers in the order of their names, where there are too many to look at each; else empty.
    tiers_by_name: Vec<usize>,
    /// Shared with the sets before, as long as this rule does not change.
    lineage: Arc<Lineage>,
    /// Until when buckets may hold more than the present quotas allow, because earlier ones allowed it.
    ceiling_until: Timestamp,
    /// The longest life of a permit that may be held.
    longest_life: Micros,
    has_tags: bool,
    naming: Naming,
}

/// How revisions are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Naming {
    /// By the first quota, and then counted: nodes that see the same changes have the same names.
    Counted,
    /// By the version of the rule: nodes that have missed changes have the same names, too.
    Stamped,
}

/// A quota with its meter, and the name of its version.
#[derive(Clone, Debug)]
pub struct Metered {
    /// Names this version.
    pub revision: Revision,
    /// Decides.
    pub meter: Meter,
}

impl CompiledRule {
    pub(super) fn new(domain: &str, model: Rule, default_failure: Option<FailurePolicy>) -> Self {
        let uid = identity(&[domain, model.identity()]);
        let quotas = || core::iter::once(model.quota).chain(model.tiers.iter().map(|(_, quota)| *quota));
        let plain = |quota| Meter::new(model.algorithm, quota, model.queue);
        let ceiling = quotas().map(|quota| plain(quota).own_ceiling()).fold(0, u64::max);
        let longest_life = quotas().map(|quota| quota.window()).fold(Micros::ZERO, Micros::max);
        let meter = |quota| plain(quota).with_ceiling(ceiling).with_longest_life(longest_life);
        let mut taken: Vec<Revision> = Vec::new();
        let mut metered = |quota| {
            let meter = meter(quota);
            let revision = free_revision(Revision::first_of(&meter), &taken, |_| false);
            taken.push(revision);
            Metered { revision, meter }
        };
        let base = metered(model.quota);
        let tiers = model.tiers.iter().map(|(_, quota)| metered(*quota)).collect();
        let tiers_by_name = sorted_names(&model);
        let on_store_failure = model.on_store_failure.or(default_failure);
        let ceiling_until = Timestamp::EPOCH;
        let (domain, lineage) = (domain.to_owned(), Arc::default());
        let mut rule = Self {
            uid,
            domain_uid: identity(&[&domain]) as u64,
            domain,
            model,
            on_store_failure,
            base,
            tiers,
            tiers_by_name,
            lineage,
            ceiling_until,
            longest_life,
            has_tags: true,
            naming: Naming::Counted,
        };
        rule.has_tags = rule.tags_are_unique();
        rule
    }

    /// The rule as declared.
    #[must_use]
    pub fn model(&self) -> &Rule {
        &self.model
    }

    /// The domain it belongs to.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// A number from the domain's name, equal on every node and after every restart: what buckets of one request have
    /// in common. It says where they are, not which: two domains may have the same.
    #[must_use]
    pub const fn domain_uid(&self) -> u64 {
        self.domain_uid
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.model.name
    }

    /// The answer when the store does not answer; `None` where neither the rule nor its domain says.
    #[must_use]
    pub const fn on_store_failure(&self) -> Option<FailurePolicy> {
        self.on_store_failure
    }

    /// Whether a request has what the rule's key needs and fulfils its conditions.
    #[must_use]
    pub fn applies_to(&self, entries: &[(&str, &str)]) -> bool {
        let hold = |conditions: &[EntryCondition]| {
            conditions.iter().all(|wanted| wanted.condition.matches(value_of(entries, &wanted.entry)))
        };
        self.model.key.iter().all(|entry| value_of(entries, entry).is_some())
            && hold(&self.model.conditions)
            && (self.model.any.is_empty() || self.model.any.iter().any(|one| hold(one)))
            && (!self.model.only || self.others(entries).next().is_none())
            && self.is_in_order(entries)
    }

    /// Whether the entries that have to come in an order do.
    #[must_use]
    pub fn is_in_order(&self, entries: &[(&str, &str)]) -> bool {
        let order = self.model.order.as_slice();
        let mut given =
            entries.iter().map(|(entry, _)| *entry).filter(|entry| order.iter().any(|o| o == entry));
        order.is_empty() || order.iter().all(|wanted| given.next() == Some(wanted)) && given.next().is_none()
    }

    /// The entries of a request that neither the key nor a condition names.
    pub fn others<'a>(&'a self, entries: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = &'a str> {
        let is_named = |entry: &str| {
            self.model.key.iter().any(|named| named == entry)
                || self.model.all_conditions().any(|wanted| wanted.entry == entry)
        };
        entries.iter().map(|(entry, _)| *entry).filter(move |entry| !is_named(entry))
    }

    /// The quota for a tier: the tier's own, else the rule's.
    #[must_use]
    pub fn metered(&self, tier: Option<&str>) -> &Metered {
        self.metered_at(self.quota_index(tier))
    }

    /// Where the quota for a tier stands: 0 is the rule's own, the tiers follow as declared.
    #[must_use]
    pub fn quota_index(&self, tier: Option<&str>) -> usize {
        let Some(tier) = tier.filter(|_| !self.tiers.is_empty()) else { return 0 };
        let names = &self.model.tiers;
        let place = if self.tiers_by_name.is_empty() {
            names.iter().position(|(name, _)| name == tier)
        } else {
            let name_at = |place: &usize| names.get(*place).map_or("", |(name, _)| name.as_str());
            let found = self.tiers_by_name.binary_search_by(|place| name_at(place).cmp(tier)).ok();
            found.and_then(|found| self.tiers_by_name.get(found).copied())
        };
        place.map_or(0, |place| place + 1)
    }

    /// The quota at an index from [`CompiledRule::quota_index`]; the rule's own for any other.
    #[must_use]
    pub fn metered_at(&self, index: usize) -> &Metered {
        index.checked_sub(1).and_then(|index| self.tiers.get(index)).unwrap_or(&self.base)
    }

    /// Units of this quota that a request of this priority must leave to higher ones.
    #[must_use]
    pub fn reserved(&self, metered: &Metered, priority: Option<&str>) -> u64 {
        if self.model.reserve.is_empty() {
            return 0;
        }
        let higher =
            self.model.reserve.iter().take_while(|reserve| Some(reserve.priority.as_str()) != priority);
        let percent: u64 = higher.map(|reserve| u64::from(reserve.percent)).sum();
        metered.meter.quota().burst().saturating_mul(percent.min(100)).div_ceil(100)
    }

    /// Hands the bytes of the partition key to `sink`: the rule's uid, then each part with its length in front, so
    /// that no two keys can run into each other. A part that a path template matched is the template itself.
    pub fn encode_key(&self, entries: &[(&str, &str)], mut sink: impl FnMut(&[u8])) {
        sink(&self.uid.to_le_bytes());
        for entry in &self.model.key {
            let part = self.key_part(entry, value_of(entries, entry).unwrap_or_default());
            sink_length(part.len(), &mut sink);
            sink(part.as_bytes());
        }
    }

    /// What an entry contributes to the partition key: its value, or the path template that it matched.
    #[must_use]
    pub fn key_part<'a>(&'a self, entry: &str, value: &'a str) -> &'a str {
        for wanted in self.model.all_conditions().filter(|wanted| wanted.entry == entry) {
            for pattern in wanted.condition.parts().iter().flat_map(Condition::patterns) {
                match pattern {
                    Pattern::Template(template) if template.matches(value) => return template.text(),
                    _ => {}
                }
            }
        }
        value
    }
}

/// As many tiers are looked at one after another; more are sorted.
const MAX_TIERS_IN_TURN: usize = 8;

/// The places of a rule's tiers in the order of their names, of each name the first; none where they are few.
fn sorted_names(model: &Rule) -> Vec<usize> {
    if model.tiers.len() <= MAX_TIERS_IN_TURN {
        return Vec::new();
    }
    let name_at = |place: usize| model.tiers.get(place).map(|(name, _)| name);
    let mut places: Vec<usize> = (0..model.tiers.len()).collect();
    places.sort_by_key(|place| name_at(*place));
    places.dedup_by_key(|place| name_at(*place));
    places
}

/// A length as a variable-length integer, seven bits a byte, the lowest first.
fn sink_length(length: usize, sink: &mut impl FnMut(&[u8])) {
    let mut rest = length;
    while rest >= 0x80 {
        sink(&[(rest & 0x7f) as u8 | 0x80]);
        rest >>= 7;
    }
    sink(&[rest as u8]);
}

// === impl change of rule ===

impl CompiledRule {
    /// The meter of a revision, present or past.
    #[must_use]
    pub fn meter_of(&self, revision: Revision) -> Option<&Meter> {
        self.meter_from(revision, 0)
    }

    fn meter_from(&self, revision: Revision, place: usize) -> Option<&Meter> {
        let current = self.all_metered().find(|(_, metered)| metered.revision == revision);
        let current = current.map(|(_, metered)| &metered.meter);
        current.or_else(|| self.lineage.step(revision, place).map(|step| step.meter))
    }

    /// Carries a state from the revision it was written under to `to`, through every change in between. `None` when
    /// the revision is not known: written by a newer set of rules, or by a process that had others.
    #[must_use]
    pub fn carry(&self, state: State, from: Revision, to: &Metered, now: Timestamp) -> Option<State> {
        let (mut state, mut revision, mut place) = (state, from, 0);
        if from != to.revision
            && let Some(meter) = self.present_of_old_name(&state, from)
        {
            return Some(to.meter.carry(meter, &state, now));
        }
        for _ in 0..=self.lineage.len() {
            if revision == to.revision {
                return Some(state);
            }
            match self.lineage.step(revision, place) {
                Some(step) => {
                    let successor = self.meter_from(step.successor, step.place)?;
                    state = successor.carry(step.meter, &state, step.retired_at);
                    (revision, place) = (step.successor, step.place);
                }
                None if self.lineage.is_at_rest(revision) => return Some(to.meter.fresh()),
                // A present quota, but another tier's: the subject's tier has changed by now.
                None => return self.meter_of(revision).map(|meter| to.meter.carry(meter, &state, now)),
            }
        }
        (revision == to.revision).then_some(state)
    }

    /// The present quota that a state is of, although its number was an earlier one's here: a node that was started since,
    /// when the quota of that time had come back, gives the present one the same number. Such a state shows by lasting
    /// longer than any of the earlier one could.
    fn present_of_old_name(&self, state: &State, revision: Revision) -> Option<&Meter> {
        let last = self.lineage.last_of(revision)?;
        let mut present = self.all_metered().map(|(_, metered)| &metered.meter);
        present.find(|meter| Revision::first_of(meter) == revision && meter.rest_at(state) > last)
    }

    /// Whether [`Revision::tag`] tells apart all revisions that a bucket of this rule can have been written under.
    #[must_use]
    pub const fn has_tags(&self) -> bool {
        self.has_tags
    }

    /// The revision with a tag: of the present ones, else the newest of those before.
    #[must_use]
    pub fn revision_of_tag(&self, tag: u32) -> Option<Revision> {
        self.live_revisions().chain(self.lineage.at_rest()).find(|revision| revision.tag() == tag)
    }

    fn live_revisions(&self) -> impl Iterator<Item = Revision> {
        self.all_metered().map(|(_, metered)| metered.revision).chain(self.lineage.revisions())
    }

    fn tags_are_unique(&self) -> bool {
        let mut seen = [false; Revision::TAGS as usize];
        self.live_revisions().all(|revision| !core::mem::replace(&mut seen[revision.tag() as usize], true))
    }

    fn all_metered(&self) -> impl Iterator<Item = (Option<&str>, &Metered)> {
        let tiers = self.model.tiers.iter().map(|(name, _)| Some(name.as_str())).zip(&self.tiers);
        core::iter::once((None, &self.base)).chain(tiers)
    }

    /// When every bucket of an earlier revision is at rest.
    pub(super) fn lineage_rests_at(&self) -> Timestamp {
        self.lineage.rests_at()
    }

    /// The number that the keys of its buckets begin with: from the name of its domain and what it was first called, so
    /// equal on every node and after every restart. No other rule can be given a name that leads to the same number.
    #[must_use]
    pub const fn uid(&self) -> u128 {
        self.uid
    }

    /// Names the revisions by a version of the rule that all nodes know.
    pub(super) fn stamp(&mut self, version: u64) {
        let mut taken: Vec<Revision> = Vec::new();
        for (place, metered) in core::iter::once(&mut self.base).chain(&mut self.tiers).enumerate() {
            let wanted = Revision::stamped(&metered.meter, version, place);
            metered.revision = free_revision(wanted, &taken, |_| false);
            taken.push(metered.revision);
        }
        self.naming = Naming::Stamped;
        self.has_tags = self.tags_are_unique();
    }

    /// Takes over revisions and lineage from the rule this one replaces at `at`.
    pub(super) fn succeed(&mut self, old: &CompiledRule, at: Timestamp) {
        self.lineage = Arc::clone(&old.lineage);
        let (ceiling, longest_life) = old.most_at(at);
        let ceiling = ceiling.max(self.base.meter.ceiling());
        self.longest_life = self.longest_life.max(longest_life);
        let predecessor = |tier: Option<&str>| {
            old.all_metered().find(|(name, _)| *name == tier).map(|(_, metered)| metered)
        };
        let known: Vec<Revision> = old.all_metered().map(|(_, metered)| metered.revision).collect();
        let mut taken: Vec<Revision> = Vec::new();
        let names: Vec<Option<String>> = core::iter::once(None)
            .chain(self.model.tiers.iter().map(|(name, _)| Some(name.clone())))
            .collect();
        for (name, metered) in names.iter().zip(core::iter::once(&mut self.base).chain(&mut self.tiers)) {
            let before = predecessor(name.as_deref());
            metered.meter = metered.meter.clone().with_ceiling(ceiling).with_longest_life(self.longest_life);
            // A number that meant something else is not used again.
            let stays = |(of, was): (Option<&str>, &Metered)| {
                was.revision != metered.revision
                    || (of == name.as_deref() && metered.meter.shares_state_with(&was.meter))
            };
            let is_stamped = self.naming == Naming::Stamped
                && !self.lineage.knows(metered.revision)
                && old.all_metered().all(stays);
            metered.revision = match before {
                _ if is_stamped => metered.revision,
                Some(before) if metered.meter.shares_state_with(&before.meter) => before.revision,
                // A new tier has buckets of its own from now on: were it to take the base's revision, the buckets of
                // the base would seem to be its own.
                _ => {
                    let lively: Vec<Revision> =
                        known.iter().chain(&taken).copied().chain(self.lineage.revisions()).collect();
                    let wanted = before.unwrap_or(&old.base).revision.next();
                    free_revision(wanted, &lively, |revision| self.lineage.knows(revision))
                }
            };
            taken.push(metered.revision);
        }
        let retired: Vec<_> = old
            .all_metered()
            .filter(|(_, metered)| !taken.contains(&metered.revision))
            .map(|(name, metered)| (name.map(str::to_owned), metered.clone()))
            .collect();
        for (name, metered) in retired {
            let successor = self.metered(name.as_deref()).clone();
            let successor = (successor.revision, &successor.meter);
            Arc::make_mut(&mut self.lineage).retire(metered.revision, &metered.meter, successor, at);
        }
        if self.lineage.is_prunable(at) {
            Arc::make_mut(&mut self.lineage).prune(at);
        }
        self.ceiling_until = self.at_rest_after(at);
        self.has_tags = self.tags_are_unique();
    }

    /// When every bucket of this rule is at rest, were it full at `at`.
    pub(super) fn at_rest_after(&self, at: Timestamp) -> Timestamp {
        let fullest =
            self.all_metered().map(|(_, metered)| metered.meter.rest_at(&metered.meter.fullest(at)));
        fullest.max().unwrap_or(at)
    }

    /// The most units a bucket of this rule may hold at `at`, and the longest life a permit may have been given.
    fn most_at(&self, at: Timestamp) -> (u64, Micros) {
        if at < self.ceiling_until {
            return (self.base.meter.ceiling(), self.longest_life);
        }
        let meters = || self.all_metered().map(|(_, metered)| &metered.meter);
        let units = meters().map(Meter::own_ceiling).fold(0, u64::max);
        (units, meters().map(|meter| meter.quota().window()).fold(Micros::ZERO, Micros::max))
    }
}

/// The first revision from `wanted` on that is free: neither among the lively ones nor otherwise in use; as long as
/// there is one, with a tag that no lively one has.
fn free_revision(wanted: Revision, lively: &[Revision], in_use: impl Fn(Revision) -> bool) -> Revision {
    let mut tags = [false; Revision::TAGS as usize];
    for revision in lively {
        tags[revision.tag() as usize] = true;
    }
    let is_free = |revision: &Revision| !lively.contains(revision) && !in_use(*revision);
    let from = || core::iter::successors(Some(wanted), |revision| Some(revision.next()));
    let with_own_tag = |revision: &Revision| !tags[revision.tag() as usize] && is_free(revision);
    // Twice around: where the numbers start again, tags do not follow one another.
    let own_tag = from().take(2 * Revision::TAGS as usize).find(with_own_tag);
    own_tag.or_else(|| from().find(is_free)).unwrap_or(wanted)
}
