//! Questions to the source that are on their way: one a subject, so many at a time, none while the source is down.
//!
//! A flight lands in the cache only while it is registered. A change takes its subject's flight off the register under
//! the lock under which flights land, so an answer from before a change is never kept after it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::kept::{AsHash, Fingerprint, Kept};
use super::{MAX_FLIGHT, Shared, SourceError, SubjectOptions, SubjectSource, after, count, micros};
use crate::model::SubjectKey;

/// How far apart damage of subjects is told of.
const DAMAGE_TOLD_EVERY_US: u64 = 60_000_000;

/// How a flight ended.
#[derive(Clone, Debug)]
pub(super) enum Landed {
    Known(Kept),
    Failed,
}

/// How far a flight is.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// The source was asked.
    Asked,
    /// It has answered, what the rules in force do not know yet.
    Answered,
    /// It is over.
    Landed(Landed),
}

pub(super) type Landing = watch::Receiver<Stage>;

/// What a miss comes to.
pub(super) enum Boarded<S: SubjectSource> {
    /// It landed just now.
    Kept(Kept),
    /// The source is down, or too many ask.
    Refused,
    /// Another asks already. With the successes so far, see [`Flights::has_failed`].
    Joined(Landing, u64),
    /// The caller is to start this flight.
    TookOff(Ticket<S>, Landing),
}

/// All flights of a cache.
#[derive(Debug)]
pub(super) struct Flights {
    registered: HashMap<Fingerprint, (u64, Landing), AsHash>,
    /// Those in the air, registered or not.
    in_air: usize,
    next_id: u64,
    changes: u64,
    successes: u64,
    health: Health,
    /// When damage was last told of.
    damage_told_us: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Up,
    /// One may try when the clock is so far from `since_us`, on either side: clocks are set back, too.
    Down {
        since_us: i64,
        wait: Duration,
    },
}

/// The right and the duty to land. Dropped without landing, the flight has failed.
pub(super) struct Ticket<S: SubjectSource> {
    shared: Arc<Shared<S>>,
    fingerprint: Fingerprint,
    id: u64,
    successes: u64,
    now_us: i64,
    begun: Instant,
    arrival: Option<watch::Sender<Stage>>,
}

/// Finds the flight for a subject, or starts one.
pub(super) fn board<S: SubjectSource>(
    shared: &Arc<Shared<S>>,
    fingerprint: Fingerprint,
    now_us: i64,
) -> Boarded<S> {
    let mut flights = shared.flights.lock();
    if let Some(kept) = shared.fresh(fingerprint, now_us) {
        return Boarded::Kept(kept);
    }
    if !flights.may_ask(now_us) {
        return Boarded::Refused;
    }
    if flights.health != Health::Up {
        let wait = shared.options.deadline.saturating_add(shared.options.retry_after);
        flights.health = Health::Down { since_us: now_us, wait };
    }
    if let Some((_, landing)) = flights.registered.get(&fingerprint) {
        return Boarded::Joined(landing.clone(), flights.successes);
    }
    if flights.in_air >= shared.options.max_flights {
        return Boarded::Refused;
    }
    let (arrival, landing) = watch::channel(Stage::Asked);
    let id = flights.next_id;
    flights.next_id += 1;
    flights.in_air += 1;
    flights.registered.insert(fingerprint, (id, landing.clone()));
    count(&shared.counters.flights);
    let ticket = Ticket {
        shared: Arc::clone(shared),
        fingerprint,
        id,
        successes: flights.successes,
        now_us,
        begun: Instant::now(),
        arrival: Some(arrival),
    };
    Boarded::TookOff(ticket, landing)
}

/// Asks the source, and lands when the rules in force know what it answers.
pub(super) async fn fly<S: SubjectSource>(mut ticket: Ticket<S>, key: SubjectKey) {
    let shared = Arc::clone(&ticket.shared);
    let until = ticket.begun + MAX_FLIGHT;
    let answer = tokio::time::timeout_at(until, shared.source.subject(&key)).await;
    let answer = answer.unwrap_or_else(|late| Err(SourceError(late.into())));
    if let Ok(subject) = &answer
        && !shared.quotas.have_all_of(&key, subject, ticket.now_us)
    {
        ticket.wait_for_rules();
        let newer = shared.quotas.catch_up(&key, subject, ticket.now_us);
        if tokio::time::timeout_at(until, newer).await.is_err() {
            ticket.give_up();
            return;
        }
    }
    ticket.land(answer.map(|subject| Kept::new(subject, &shared.tiers, ticket.now_us)));
}

// === impl Stage ===

impl Stage {
    pub(super) const fn is_last(&self) -> bool {
        matches!(self, Stage::Landed(_))
    }
}

// === impl Ticket ===

impl<S: SubjectSource> Ticket<S> {
    pub(super) const fn successes(&self) -> u64 {
        self.successes
    }

    /// The source is not to blame for what takes longer.
    fn wait_for_rules(&self) {
        self.shared.flights.lock().has_answered();
        if let Some(arrival) = &self.arrival {
            arrival.send_replace(Stage::Answered);
        }
    }

    /// Lands without an answer; the source has given one.
    fn give_up(&mut self) {
        let Some(arrival) = self.arrival.take() else { return };
        self.leave(&mut self.shared.flights.lock());
        arrival.send_replace(Stage::Landed(Landed::Failed));
    }

    /// Returns whether it was registered.
    fn leave(&self, flights: &mut Flights) -> bool {
        flights.in_air = flights.in_air.saturating_sub(1);
        let registered = flights.registered.get(&self.fingerprint).is_some_and(|(id, _)| *id == self.id);
        if registered {
            flights.registered.remove(&self.fingerprint);
        }
        registered
    }

    fn land(&mut self, answer: Result<Kept, SourceError>) {
        let Some(arrival) = self.arrival.take() else { return };
        let shared = &*self.shared;
        let mut flights = shared.flights.lock();
        let registered = self.leave(&mut flights);
        let landed = match answer {
            Ok(kept) => {
                flights.has_answered();
                if registered {
                    shared.keep(self.fingerprint, kept.clone());
                }
                Landed::Known(kept)
            }
            Err(error) if error.is_damage() => {
                flights.has_answered();
                flights.tell_of_damage(&error, self.now_us);
                Landed::Failed
            }
            Err(error) => {
                let now_us = after(self.now_us, self.begun.elapsed());
                flights.has_failed(&error, self.successes, now_us, &shared.options);
                Landed::Failed
            }
        };
        drop(flights);
        arrival.send_replace(Stage::Landed(landed));
    }
}

impl<S: SubjectSource> Drop for Ticket<S> {
    fn drop(&mut self) {
        if self.arrival.is_some() {
            self.land(Err(SourceError("the lookup was given up".into())));
        }
    }
}

// === impl Flights ===

impl Default for Flights {
    fn default() -> Self {
        Self {
            registered: HashMap::with_hasher(AsHash),
            in_air: 0,
            next_id: 0,
            changes: 0,
            successes: 0,
            health: Health::Up,
            damage_told_us: None,
        }
    }
}

impl Flights {
    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }

    pub(super) const fn count_change(&mut self) {
        self.changes += 1;
    }

    /// What is on its way for a subject is not to be kept.
    pub(super) fn forget(&mut self, fingerprint: Fingerprint) {
        self.registered.remove(&fingerprint);
    }

    pub(super) fn forget_all(&mut self) {
        self.registered.clear();
    }

    fn may_ask(&self, now_us: i64) -> bool {
        match self.health {
            Health::Up => true,
            Health::Down { since_us, wait } => now_us.abs_diff(since_us) >= micros(wait),
        }
    }

    fn has_answered(&mut self) {
        self.successes += 1;
        if self.health != Health::Up {
            self.health = Health::Up;
            tracing::info!("subjects can be looked up again");
        }
    }

    /// One subject is damaged: the others can still be looked up.
    fn tell_of_damage(&mut self, error: &SourceError, now_us: i64) {
        if self.damage_told_us.is_some_and(|told_us| now_us.abs_diff(told_us) < DAMAGE_TOLD_EVERY_US) {
            return;
        }
        self.damage_told_us = Some(now_us);
        let cause = &*error.0 as &dyn std::error::Error;
        tracing::error!(
            cause,
            "what is kept of a subject cannot be read; its last known tier or the default one is used"
        );
    }

    /// The source has not answered to one who began when it had answered `successes` times. If it has answered another
    /// since, it is not down.
    pub(super) fn has_failed(
        &mut self,
        error: &SourceError,
        successes: u64,
        now_us: i64,
        options: &SubjectOptions,
    ) {
        if successes != self.successes {
            return;
        }
        if self.health == Health::Up {
            let cause = &*error.0 as &dyn std::error::Error;
            tracing::warn!(cause, "subjects cannot be looked up; last known tiers or default ones are used");
        }
        self.health = Health::Down { since_us: now_us, wait: options.retry_after };
    }
}
