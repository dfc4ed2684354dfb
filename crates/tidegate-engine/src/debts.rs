//! What this node let through while the store did not answer, and still owes it.
//!
//! Bounded in buckets and in bytes: what does not fit is counted as lost, and the store will then let that many units
//! pass once more.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;
use tidegate_core::quota::MAX_LIMIT;
use tidegate_core::rule::{CompiledDomain, CompiledRule, RuleSet};

use crate::ad_hoc::AdHoc;
use crate::request::Request;

/// The most buckets of which a debt is remembered.
pub const MAX_DEBTS: usize = 100_000;
/// The most bytes of all debts, as far as they depend on what callers send: 64 MiB.
const MAX_DEBT_BYTES: usize = 64 << 20;

/// The debts of this node. Each is known by the bytes that name its bucket.
#[derive(Debug, Default)]
pub(crate) struct Debts(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    debts: HashMap<Box<[u8]>, Debt>,
    bytes: usize,
    tally: Tally,
}

/// Units owed so far, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) paid: u64,
    pub(crate) lost: u64,
}

/// What is owed for one bucket, and what it takes to find the bucket again under the rules of then.
#[derive(Clone, Debug)]
pub(crate) struct Debt {
    /// The rules that the request brought itself; `None` where those in force are meant.
    pub(crate) ad_hoc: Option<Arc<RuleSet>>,
    pub(crate) domain: Box<str>,
    pub(crate) rule: Box<str>,
    /// The entries of the rule's partition key.
    pub(crate) entries: Box<[(Box<str>, Box<str>)]>,
    pub(crate) tier: Option<Box<str>>,
    pub(crate) units: u64,
}

impl Debt {
    /// What a request owes for the bucket that it selects in a rule.
    pub(crate) fn of(
        request: &Request<'_>,
        ad_hoc: Option<&AdHoc>,
        domain: &CompiledDomain,
        rule: &CompiledRule,
    ) -> Self {
        let entry = |name: &String| {
            let value = request.entry(name).unwrap_or_default();
            (name.as_str().into(), value.into())
        };
        Self {
            ad_hoc: ad_hoc.map(|ad_hoc| Arc::clone(&ad_hoc.rules)),
            domain: domain.name().into(),
            rule: rule.name().into(),
            entries: rule.model().key.iter().map(entry).collect(),
            tier: request.quotas.of_rule(request.tier(domain), rule).map(Into::into),
            units: request.cost,
        }
    }

    fn bytes(&self) -> usize {
        let entries: usize = self.entries.iter().map(|(name, value)| name.len() + value.len()).sum();
        entries + self.domain.len() + self.rule.len() + self.tier.as_ref().map_or(0, |tier| tier.len())
    }
}

impl Debts {
    /// Remembers `units` more for a bucket, described by `describe` if it is a new one.
    pub(crate) fn add(&self, key: &[u8], units: u64, describe: impl FnOnce() -> Debt) {
        let mut book = self.0.lock();
        match book.debts.get_mut(key) {
            // The fullest bucket there is holds no more.
            Some(debt) => debt.units = debt.units.saturating_add(units).min(MAX_LIMIT),
            None => book.insert(key.into(), describe()),
        }
    }

    /// Forgets `units` of a bucket's debt: they were not used.
    pub(crate) fn forgive(&self, key: &[u8], units: u64) {
        let mut book = self.0.lock();
        let Some(debt) = book.debts.get_mut(key) else { return };
        debt.units = debt.units.saturating_sub(units);
        if debt.units == 0 {
            book.remove(key);
        }
    }

    /// Takes up to `most` debts out, to be paid. Each ends with one of the next three.
    pub(crate) fn take(&self, most: usize) -> Vec<(Box<[u8]>, Debt)> {
        let mut book = self.0.lock();
        let keys: Vec<Box<[u8]>> = book.debts.keys().take(most).cloned().collect();
        keys.into_iter().filter_map(|key| book.remove(&key).map(|debt| (key, debt))).collect()
    }

    /// The store was told.
    pub(crate) fn paid(&self, debt: &Debt) {
        self.0.lock().tally.paid += debt.units;
    }

    /// Nobody can be told any more.
    pub(crate) fn lost(&self, debt: &Debt) {
        self.0.lock().tally.lost += debt.units;
    }

    /// The store did not answer: it is owed still.
    pub(crate) fn put_back(&self, key: Box<[u8]>, debt: Debt) {
        let mut book = self.0.lock();
        match book.debts.get_mut(&key) {
            Some(more) => more.units = more.units.saturating_add(debt.units).min(MAX_LIMIT),
            None => book.insert(key, debt),
        }
    }

    /// Buckets of which something is owed.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().debts.len()
    }

    pub(crate) fn tally(&self) -> Tally {
        self.0.lock().tally
    }
}

impl Book {
    fn insert(&mut self, key: Box<[u8]>, debt: Debt) {
        let bytes = key.len() + debt.bytes();
        if self.debts.len() >= MAX_DEBTS || self.bytes + bytes > MAX_DEBT_BYTES {
            self.tally.lost += debt.units;
            return;
        }
        if let Entry::Vacant(vacant) = self.debts.entry(key) {
            vacant.insert(debt);
            self.bytes += bytes;
        }
    }

    fn remove(&mut self, key: &[u8]) -> Option<Debt> {
        let debt = self.debts.remove(key)?;
        self.bytes -= key.len() + debt.bytes();
        Some(debt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debt(units: u64, value: &str) -> Debt {
        Debt {
            ad_hoc: None,
            domain: "d".into(),
            rule: "r".into(),
            entries: Box::new([("user".into(), value.into())]),
            tier: None,
            units,
        }
    }

    #[test]
    fn debts_of_a_bucket_add_up_and_are_forgiven() {
        let debts = Debts::default();
        debts.add(b"a", 3, || debt(3, "a"));
        debts.add(b"a", 4, || unreachable!("it is known"));
        debts.forgive(b"a", 5);
        debts.forgive(b"b", 5);
        let [(key, owed)] = debts.take(10).try_into().unwrap();
        assert_eq!((&*key, owed.units, debts.len()), (b"a".as_slice(), 2, 0));
        debts.add(b"a", 1, || debt(1, "a"));
        debts.put_back(key, owed);
        let [(_, owed)] = debts.take(10).try_into().unwrap();
        assert_eq!(owed.units, 3);
        debts.paid(&owed);
        debts.add(b"a", 9, || debt(9, "a"));
        debts.forgive(b"a", 9);
        assert_eq!((debts.len(), debts.tally()), (0, Tally { paid: 3, lost: 0 }));
        assert_eq!(debts.0.lock().bytes, 0);
    }

    #[test]
    fn what_does_not_fit_is_counted_as_lost() {
        let debts = Debts::default();
        for number in 0..MAX_DEBTS + 5 {
            debts.add(&number.to_le_bytes(), 2, || debt(2, "somebody"));
        }
        assert_eq!((debts.len(), debts.tally().lost), (MAX_DEBTS, 10));
        debts.add(&0_usize.to_le_bytes(), 2, || unreachable!("it is known"));
        assert_eq!(debts.tally().lost, 10, "those that are known go on");

        let debts = Debts::default();
        let long = "x".repeat(1 << 20);
        for number in 0_u8..70 {
            debts.add(&[number], 1, || debt(1, &long));
        }
        assert_eq!((debts.len(), debts.tally().lost), (63, 7));
        assert_eq!(debts.take(100).len(), 63);
        assert_eq!(debts.0.lock().bytes, 0);
    }
}
