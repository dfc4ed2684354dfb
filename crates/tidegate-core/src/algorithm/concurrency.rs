//! Concurrency: permits that are held at one time. A permit is given back, or ends at its expiry, so a holder that
//! dies does not keep it for ever. The window of the quota is the life of a permit.

use super::{Ask, CLOCK_TOLERANCE, Charge, Quota, Timestamp, Verdict};
use crate::time::Micros;

/// The permits of one bucket, the next to expire first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permits {
    held: Vec<Permit>,
}

/// One permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Permit {
    /// Chosen by the caller who asked for it; not to be guessed by others.
    pub id: u64,
    /// When it ends by itself, microseconds since the Unix epoch.
    pub expires_at: u64,
    /// How many places it takes.
    pub units: u64,
}

impl Permits {
    /// Permits in any order.
    #[must_use]
    pub fn from_held(held: impl IntoIterator<Item = Permit>) -> Self {
        let mut held: Vec<Permit> = held.into_iter().collect();
        held.sort_by_key(|permit| permit.expires_at);
        Self { held }
    }

    /// The permits, the next to expire first; some may be over.
    #[must_use]
    pub fn held(&self) -> &[Permit] {
        &self.held
    }

    /// How many permits there is room for: what the bucket costs in memory, 24 bytes each.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.held.capacity()
    }

    /// Gives a permit back. False when it is not held, or over at `now`.
    pub fn release(&mut self, id: u64, now: Timestamp) -> bool {
        let Some(index) = self.held.iter().position(|permit| permit.id == id) else { return false };
        let permit = self.held.remove(index);
        permit.expires_at > now.as_micros()
    }

    fn live(&self, now: Timestamp) -> &[Permit] {
        let over = self.held.partition_point(|permit| permit.expires_at <= now.as_micros());
        self.held.get(over..).unwrap_or_default()
    }

    fn used(&self, now: Timestamp) -> u64 {
        self.live(now).iter().fold(0, |sum, permit| sum.saturating_add(permit.units))
    }

    fn drop_expired(&mut self, now: Timestamp) {
        let over = self.held.partition_point(|permit| permit.expires_at <= now.as_micros());
        self.held.drain(..over);
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Concurrency {
    limit: u64,
    life: Micros,
    /// The longest life a permit of this bucket can have been given, by this or an earlier version of the rule.
    longest_life: Micros,
}

impl Concurrency {
    pub(super) fn new(quota: &Quota) -> Self {
        Self { limit: quota.limit(), life: quota.window(), longest_life: quota.window() }
    }

    pub(super) fn inherit_life(&mut self, life: Micros) {
        self.longest_life = self.longest_life.max(life);
    }

    pub(super) fn longest_life(&self) -> Micros {
        self.longest_life
    }

    /// As many places as there can be, for as long as there can be.
    pub(super) fn fullest(&self, at: Timestamp, units: u64) -> Permits {
        Permits::from_held([Permit { id: 0, expires_at: after(at, self.longest_life), units }])
    }

    pub(super) fn judge(&self, permits: &Permits, now: Timestamp, ask: &Ask) -> Verdict {
        match self.retry_after(permits, now, ask) {
            Some(Micros::ZERO) => Verdict::ALLOW,
            retry_after => Verdict::Deny { retry_after },
        }
    }

    pub(super) fn charge(&self, permits: &mut Permits, now: Timestamp, ask: &Ask) {
        permits.drop_expired(now);
        if ask.cost == 0 {
            return;
        }
        let expires_at = after(now, self.life);
        let index = permits.held.partition_point(|permit| permit.expires_at <= expires_at);
        permits.held.insert(index, Permit { id: ask.permit, expires_at, units: ask.cost });
    }

    /// Units are not given back here: a permit is, by its id.
    pub(super) fn refund(&self, permits: &mut Permits, now: Timestamp, _cost: u64) {
        permits.drop_expired(now);
    }

    /// Nothing: there is nobody to hold the permit.
    pub(super) fn debit(&self, permits: &mut Permits, now: Timestamp, _cost: u64, _ceiling: u64) {
        permits.drop_expired(now);
    }

    /// Undoes a charge: its permit is given back.
    pub(super) fn withdraw(&self, permits: &mut Permits, now: Timestamp, charge: &Charge) {
        permits.release(charge.permit, now);
    }

    pub(super) fn level(&self, permits: &Permits, now: Timestamp, reserved: u64) -> (u64, u64) {
        let used = permits.used(now);
        (used, self.limit.saturating_sub(reserved).saturating_sub(used))
    }

    /// The expiry that frees enough places: a hint, because holders usually give back earlier.
    pub(super) fn retry_after(&self, permits: &Permits, now: Timestamp, ask: &Ask) -> Option<Micros> {
        let room = self.limit.checked_sub(ask.reserved)?.checked_sub(ask.cost)?;
        let mut too_many = permits.used(now).saturating_sub(room);
        if too_many == 0 {
            return Some(Micros::ZERO);
        }
        for permit in permits.live(now) {
            too_many = too_many.saturating_sub(permit.units);
            if too_many == 0 {
                return Some(Micros::from_micros(permit.expires_at.saturating_sub(now.as_micros())));
            }
        }
        None
    }

    pub(super) fn rest_at(&self, permits: &Permits) -> Timestamp {
        permits.held.last().map_or(Timestamp::EPOCH, |permit| Timestamp::from_micros(permit.expires_at))
    }

    pub(super) fn repair(&self, permits: &mut Permits, now: Timestamp) -> bool {
        let fullest = after(now, self.longest_life);
        let latest = fullest + CLOCK_TOLERANCE.as_micros();
        let wrong = permits.held.last().is_some_and(|permit| permit.expires_at > latest);
        if wrong {
            for permit in &mut permits.held {
                permit.expires_at = permit.expires_at.min(fullest);
            }
        }
        wrong
    }
}

/// An expiry, which may lie beyond the last timestamp: at the end of time permits must not be over at once.
const fn after(now: Timestamp, life: Micros) -> u64 {
    now.as_micros() + life.as_micros()
}
