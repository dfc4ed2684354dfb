//! What is kept of a subject, and how a request sees it.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher as _};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use quick_cache::Weighter;
use siphasher::sip128::{Hasher128, SipHasher13};

use tidegate_core::rule::RuleTier;

use crate::model::{Ban, Override, Subject};

/// The most tiers whose names are kept once for all subjects; those beyond are kept with each.
pub const MAX_TIERS: usize = 1_024;

/// Bytes beside an entry that count as another entry.
const BYTES_PER_ENTRY: usize = 64;
/// So that what was never fetched, or has changed, is older than anything may be.
const NEVER_US: i64 = i64::MIN;

/// What is known of a subject at one instant.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    tier: Option<&'a str>,
    more: Option<Arc<More>>,
    now_us: i64,
}

/// An entry.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    fetched_us: i64,
    more: Option<Arc<More>>,
    epoch: u32,
    tier: Option<TierId>,
}

/// What few subjects have.
#[derive(Debug)]
struct More {
    /// A tier beyond [`MAX_TIERS`].
    tier: Option<Box<str>>,
    ban: Option<Ban>,
    /// Those that last longest come first, so the ones that still hold are a slice.
    rule_tiers: Box<[RuleTier]>,
    ends_us: Box<[i64]>,
    weight: u64,
}

// === impl Known ===

impl<'a> Known<'a> {
    pub(super) fn new(kept: Kept, tiers: &'a Tiers, now_us: i64) -> Self {
        Self { tier: kept.tier.and_then(|id| tiers.name(id)), more: kept.more, now_us }
    }

    /// The tier; the domain's default where absent.
    #[must_use]
    pub fn tier(&self) -> Option<&str> {
        self.tier.or_else(|| self.more.as_ref()?.tier.as_deref())
    }

    /// The ban, where there is one that has not ended.
    #[must_use]
    pub fn ban(&self) -> Option<&Ban> {
        let ban = self.more.as_ref()?.ban.as_ref()?;
        ban.until_us.is_none_or(|until| self.now_us < until).then_some(ban)
    }

    /// The overrides that have not ended, at most one a rule.
    #[must_use]
    pub fn overrides(&self) -> &[RuleTier] {
        let Some(more) = &self.more else { return &[] };
        let live = more.ends_us.partition_point(|end| self.now_us < *end);
        more.rule_tiers.get(..live).unwrap_or_default()
    }
}

// === impl Kept ===

impl Kept {
    pub(super) const fn nothing() -> Self {
        Self { fetched_us: NEVER_US, more: None, epoch: 0, tier: None }
    }

    pub(super) fn new(subject: Subject, tiers: &Tiers, fetched_us: i64) -> Self {
        let tier = subject.tier.as_deref().and_then(|name| tiers.id(name));
        let rest = Subject { tier: subject.tier.filter(|_| tier.is_none()), ..subject };
        let more = (rest != Subject::default()).then(|| Arc::new(More::new(rest)));
        Self { fetched_us, more, epoch: 0, tier }
    }

    pub(super) fn in_epoch(self, epoch: u32) -> Self {
        Self { epoch, ..self }
    }

    /// The same, for when nothing newer can be had.
    pub(super) fn outdated(self) -> Self {
        Self { fetched_us: NEVER_US, ..self }
    }

    pub(super) const fn is_nothing(&self) -> bool {
        self.tier.is_none() && self.more.is_none()
    }

    /// A clock that was set back makes nothing young: the distance counts.
    pub(super) const fn is_fresh(&self, epoch: u32, now_us: i64, max_age_us: u64) -> bool {
        self.epoch == epoch && now_us.abs_diff(self.fetched_us) < max_age_us
    }
}

impl More {
    fn new(subject: Subject) -> Self {
        let mut overrides = subject.overrides;
        overrides.sort_by_key(|one| std::cmp::Reverse(end_of(one)));
        let ends_us = overrides.iter().map(end_of).collect();
        let rule_tiers: Box<[RuleTier]> = overrides
            .into_iter()
            .map(|one| RuleTier { rule: one.rule.into(), tier: one.quota.to_string().into() })
            .collect();
        let texts = subject.ban.as_ref().map_or(0, |ban| ban.reason.len() + ban.by.len())
            + subject.tier.as_ref().map_or(0, String::len)
            + rule_tiers.iter().map(|one| one.rule.len() + one.tier.len()).sum::<usize>();
        let bytes = size_of::<Self>() + rule_tiers.len() * (size_of::<RuleTier>() + size_of::<i64>()) + texts;
        let weight = u64::try_from(bytes.div_ceil(BYTES_PER_ENTRY)).unwrap_or(u64::MAX);
        Self { tier: subject.tier.map(Into::into), ban: subject.ban, rule_tiers, ends_us, weight }
    }
}

pub(super) fn end_of(one: &Override) -> i64 {
    one.until_us.unwrap_or(i64::MAX)
}

/// How many entries an entry counts for.
#[derive(Clone, Debug)]
pub(super) struct Weight;

impl Weighter<Fingerprint, Kept> for Weight {
    fn weight(&self, _: &Fingerprint, kept: &Kept) -> u64 {
        1 + kept.more.as_ref().map_or(0, |more| more.weight)
    }
}

// === tiers ===

/// Stands for a tier's name: its place in the table and one.
#[derive(Clone, Copy, Debug)]
pub(super) struct TierId(std::num::NonZeroU16);

/// Names of tiers. They are never given up, so a request reads them without a lock.
#[derive(Debug)]
pub(super) struct Tiers {
    names: Box<[OnceLock<Box<str>>]>,
    ids: Mutex<HashMap<Box<str>, TierId>>,
}

impl Default for Tiers {
    fn default() -> Self {
        Self { names: (0..MAX_TIERS).map(|_| OnceLock::new()).collect(), ids: Mutex::default() }
    }
}

impl Tiers {
    fn name(&self, id: TierId) -> Option<&str> {
        self.names.get(usize::from(id.0.get()) - 1)?.get().map(AsRef::as_ref)
    }

    /// `None` where the table is full.
    fn id(&self, name: &str) -> Option<TierId> {
        let mut ids = self.ids.lock();
        if let Some(id) = ids.get(name) {
            return Some(*id);
        }
        let place = self.names.get(ids.len())?;
        let id = TierId(u16::try_from(ids.len() + 1).ok()?.try_into().ok()?);
        place.get_or_init(|| name.into());
        ids.insert(name.into(), id);
        Some(id)
    }
}

// === fingerprints ===

/// Stands for tenant, domain and subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    table: u64,
    rest: u64,
}

impl Hash for Fingerprint {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.table);
    }
}

/// Makes fingerprints under the cache's seed.
#[derive(Debug)]
pub(super) struct Hasher(SipHasher13);

impl Hasher {
    pub(super) fn new([a, b]: [u64; 2]) -> Self {
        Self(SipHasher13::new_with_keys(a, b))
    }

    /// Lengths come first, so no two triples read the same; none is of 2^32 bytes.
    pub(super) fn fingerprint(&self, tenant: &str, domain: &str, subject: &str) -> Fingerprint {
        let mut hasher = self.0;
        hasher.write_u64((tenant.len() as u64) << 32 | domain.len() as u64);
        hasher.write(tenant.as_bytes());
        hasher.write(domain.as_bytes());
        hasher.write(subject.as_bytes());
        let (table, rest) = hasher.finish128().as_u64();
        Fingerprint { table, rest }
    }
}

/// A fingerprint is its own hash.
#[derive(Clone, Debug)]
pub(super) struct AsHash;

/// See [`AsHash`].
pub(super) struct Word(u64);

impl BuildHasher for AsHash {
    type Hasher = Word;

    fn build_hasher(&self) -> Word {
        Word(0)
    }
}

impl std::hash::Hasher for Word {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}
