//! The bucket port over Redis.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use smallvec::SmallVec;
use tidegate_core::rule::RuleSet;
use tidegate_core::time::{Micros, Timestamp};
use tidegate_store::{Applied, BucketAddress, BucketStore, Outcome, Plan, PlannedBucket, StoreError};
use tokio::time::Instant;

use crate::amend::{self, Amendments, Looked};
use crate::ask::AskRow;
use crate::change::{Change, ChangeCall, Changed, Times, number_of};
use crate::driver::{Common, DriverOptions, Sending};
use crate::key::{KeyMaker, Packing, Place, RedisKey, Tags};
use crate::link::Refusal;
use crate::order::{Deed, Failure, Order, Report};
use crate::outcome::{self, Record};
use crate::router::Router;
use crate::settings::{RedisSettings, Servers};
use crate::stats::RedisStats;
use crate::value::Stored;
use crate::witness::Witnesses;

/// How often a plan is sent again because a bucket had to be put back first.
const MAX_AMENDS: usize = 16;
/// How much longer than needed keys are kept: a wrong expiry forgets, a late one does not.
const SLACK: Micros = Micros::from_secs(1);
/// The same where time is the caller's and the server's own goes on beside it.
const SLACK_BY_CALLER: Micros = Micros::from_secs(3_600);

/// How long a node counts as there after it last said so.
pub const PRESENCE: Duration = Duration::from_secs(10);

/// How the store behaves, beyond where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedisOptions {
    /// Whose clock decides.
    pub clock: StoreClock,
    /// Whether equal checks of one bucket ride as one, of which the script grants the first so many.
    pub coalesce: bool,
    /// Whether checks that wait while a call is under way go out together in one call of the script.
    pub batch: bool,
    /// Whether this node remembers how full it saw buckets, to tell a store that has forgotten.
    pub witness: bool,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self { clock: StoreClock::Server, coalesce: true, batch: true, witness: true }
    }
}

/// Whose clock decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreClock {
    /// The server's: the one clock that all nodes share.
    #[default]
    Server,
    /// The caller's `now`: for tests, which bring their own time.
    Caller,
}

/// Buckets in Redis or Valkey. Clones share connections.
#[derive(Clone, Debug)]
pub struct RedisStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    keys: KeyMaker,
    router: Router,
    clock: StoreClock,
    deadline: Duration,
}

impl RedisStore {
    /// A store at these servers. Connects in the background, and again whenever a connection is lost; until then calls
    /// end in [`StoreError::Unavailable`]. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] where the certificates to trust cannot be read.
    pub fn new(settings: &RedisSettings, options: RedisOptions) -> Result<Self, StoreError> {
        let tags =
            if matches!(settings.servers(), Servers::Cluster { .. }) { Tags::Domain } else { Tags::None };
        let keys = KeyMaker::new(settings.key_prefix(), tags, settings.layout());
        let common = Arc::new(Common::new(DriverOptions {
            coalesce: options.coalesce,
            batch: options.batch,
            packing: Packing::of(settings.layout()),
            witness: options.witness,
            deadlines: options.clock == StoreClock::Server,
            slack_ms: slack(options.clock).as_millis_ceil(),
        }));
        let router =
            Router::new(settings, common).map_err(|error| StoreError::Misconfigured(error.to_string()))?;
        let (clock, deadline) = (options.clock, settings.call_deadline());
        Ok(Self { shared: Arc::new(Shared { keys, router, clock, deadline }) })
    }

    /// What happened since the start.
    #[must_use]
    pub fn stats(&self) -> RedisStats {
        self.shared.router.common().counters.snapshot()
    }

    /// Says that this node is there, and returns how many are: those that said so within [`PRESENCE`].
    ///
    /// # Errors
    /// [`StoreError`] when the store gave no answer.
    pub async fn present(&self, node: u64) -> Result<u64, StoreError> {
        let key = self.shared.keys.nodes();
        let sent = key.clone();
        let reply = self.shared.router.command(
            &key,
            self.deadline(),
            move |&Sending { scripts, by_name, .. }| {
                let life = PRESENCE.as_millis().to_string();
                let arguments = [&node.to_le_bytes() as &[u8], life.as_bytes()];
                vec![scripts.presence.command(by_name, std::iter::once(sent.as_slice()), &arguments)]
            },
        );
        number_of(&one(reply.await.map_err(store_error)?)?).ok_or_else(|| garbled("presence"))
    }

    fn witnesses(&self) -> Option<&Witnesses> {
        self.shared.router.common().witnesses.as_ref()
    }

    /// Waits until the first connection stands or could not be made.
    pub async fn wait_until_tried(&self) {
        self.shared.router.wait_until_tried().await;
    }

    async fn decide(&self, plan: &Plan<'_>, now: Timestamp, deed: Deed) -> Result<Applied, StoreError> {
        if plan.buckets().is_empty() {
            return Ok(Applied::Decided(Outcome::new(now, SmallVec::new(), deed == Deed::Apply)));
        }
        let deadline = self.deadline();
        for _ in 0..MAX_AMENDS {
            let mut order = Order::new(plan, deed, &self.shared.keys, deadline);
            order.at = self.given(now);
            let keys: SmallVec<[RedisKey; 2]> = self.watched_keys(&order);
            match self.shared.router.order(order).await.map_err(store_error)? {
                Report::Decided { now, granted, place, states, epoch } => {
                    let states = outcome::states_of(plan, &states)?;
                    let outcome = outcome::decided(plan, deed, now, (granted, place), states)?;
                    self.note(plan, &keys, &outcome, epoch);
                    return Ok(Applied::Decided(outcome));
                }
                Report::Attention { now } => {
                    if self.amend(plan, now, deadline).await? == Amended::Stale {
                        return Ok(Applied::Stale);
                    }
                }
                Report::Remembered(record) => match Record::read(plan, &record) {
                    Some(record) => {
                        let states = outcome::states_of(plan, &record.states)?;
                        let outcome =
                            outcome::decided(plan, Deed::Apply, record.decided_at, (true, 0), states)?;
                        let outcome = Outcome { repeated: true, states: None, ..outcome };
                        return Ok(Applied::Decided(outcome));
                    }
                    // The rules have changed in between: nothing is charged again, but the results are of now.
                    None => return self.look_instead(plan, now).await,
                },
            }
        }
        Err(restless())
    }

    async fn look_instead(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        Ok(match Box::pin(self.decide(plan, now, Deed::Peek)).await? {
            Applied::Decided(outcome) => {
                Applied::Decided(Outcome { charged: true, repeated: true, states: None, ..outcome })
            }
            Applied::Stale => Applied::Stale,
        })
    }

    async fn change(
        &self,
        plan: &Plan<'_>,
        now: Timestamp,
        change: Change<'_>,
    ) -> Result<Applied, StoreError> {
        let charged = matches!(change, Change::Debit);
        if plan.buckets().is_empty() {
            return Ok(Applied::Decided(Outcome::new(now, SmallVec::new(), charged)));
        }
        let deadline = self.deadline();
        if let Some(witnesses) = self.witnesses() {
            witnesses.forget(plan, &self.shared.keys);
        }
        for _ in 0..MAX_AMENDS {
            let call = Arc::new(ChangeCall::new(plan, change, &self.shared.keys));
            let (sent, at, slack_ms) = (Arc::clone(&call), self.given(now), self.slack_ms());
            let reply = self.shared.router.command(
                call.first_key(),
                deadline,
                move |&Sending { scripts, by_name, deadline, .. }| {
                    let times = Times { deadline, at, slack_ms };
                    vec![sent.command(&scripts.change, by_name, times)]
                },
            );
            let reply = one(reply.await.map_err(store_error)?)?;
            let outcome = |now, numbers: &[u64]| {
                let states = outcome::states_of(plan, numbers)?;
                Ok::<_, StoreError>(outcome::held(plan, now, &states, charged))
            };
            match call.read(&reply).ok_or_else(|| garbled("change"))? {
                Changed::Done { now, states } => return Ok(Applied::Decided(outcome(now, &states)?)),
                Changed::Attention { now } => {
                    if self.amend(plan, now, deadline).await? == Amended::Stale {
                        return Ok(Applied::Stale);
                    }
                }
                Changed::Remembered(record) => match Record::read(plan, &record) {
                    Some(record) => {
                        let outcome = outcome(record.decided_at, &record.states)?;
                        return Ok(Applied::Decided(Outcome { repeated: true, ..outcome }));
                    }
                    None => {
                        let Applied::Decided(outcome) = self.look_instead(plan, now).await? else {
                            return Ok(Applied::Stale);
                        };
                        return Ok(Applied::Decided(Outcome { charged: false, ..outcome }));
                    }
                },
                Changed::Late => return Err(late()),
            }
        }
        Err(restless())
    }

    /// Carries buckets that a script would not read to the present rules.
    async fn amend(&self, plan: &Plan<'_>, now: Timestamp, deadline: Instant) -> Result<Amended, StoreError> {
        let looked = self.look_for(plan, deadline).await?;
        let Some(first) = looked.first().map(|looked| looked.home.key.clone()) else {
            return Ok(Amended::Done);
        };
        let slack = slack(self.shared.clock);
        let amendments = match amend::amendments(plan, looked, now, (slack, self.shared.keys.min_rung()))? {
            Amendments::Stale => return Ok(Amended::Stale),
            Amendments::Some(none) if none.is_empty() => return Ok(Amended::Done),
            Amendments::Some(amendments) => amendments,
        };
        let at = self.given(now);
        let reply = self.shared.router.command(
            &first,
            deadline,
            move |&Sending { scripts, by_name, deadline, .. }| {
                let at = at.map_or(0, Timestamp::as_micros);
                let times = [deadline, at, slack.as_millis_ceil()].map(|number| number.to_string());
                let texts = amend::arguments(&amendments);
                let arguments: Vec<&[u8]> =
                    times.iter().map(String::as_bytes).chain(texts.iter().map(Vec::as_slice)).collect();
                let keys = amendments.iter().map(|amendment| amendment.place.key.as_slice());
                vec![scripts.amend.command(by_name, keys, &arguments)]
            },
        );
        // Whether it was done or somebody was quicker: the plan is sent again and meets what there is now.
        one(reply.await.map_err(store_error)?).map(|_| Amended::Done)
    }

    /// Looks for the buckets of a plan: at home, and where there is nothing, where another form of them is kept.
    async fn look_for(&self, plan: &Plan<'_>, deadline: Instant) -> Result<Vec<Looked>, StoreError> {
        let places = plan.buckets().iter().map(|bucket| {
            let is_short = AskRow::new(plan, bucket).is_short();
            self.shared.keys.places(self.key_of(plan, bucket), is_short)
        });
        let (homes, others): (Vec<Place>, Vec<Option<Place>>) = places.unzip();
        let found = self.read(homes.clone(), deadline).await?;
        let looked = homes.into_iter().zip(found);
        let looked = looked.map(|(home, stored)| Looked { at: home.clone(), home, stored });
        let mut looked: Vec<Looked> = looked.collect();
        let missing = looked.iter_mut().zip(others).filter(|(looked, _)| looked.stored == Stored::Nothing);
        let (missing, others): (Vec<&mut Looked>, Vec<Place>) =
            missing.filter_map(|(looked, other)| Some((looked, other?))).unzip();
        let found = self.read(others.clone(), deadline).await?;
        for ((looked, other), stored) in missing.into_iter().zip(others).zip(found) {
            if stored != Stored::Nothing {
                (looked.at, looked.stored) = (other, stored);
            }
        }
        Ok(looked)
    }

    /// What is stored in places that share a slot.
    async fn read(&self, places: Vec<Place>, deadline: Instant) -> Result<Vec<Stored>, StoreError> {
        let Some(first) = places.first().map(|place| place.key.clone()) else { return Ok(Vec::new()) };
        let reads = amend::reads(&places);
        let replies = self.shared.router.command(&first, deadline, move |_| reads.clone());
        amend::found(&places, replies.await.map_err(store_error)?)
    }

    fn key_of(&self, plan: &Plan<'_>, bucket: &PlannedBucket<'_>) -> RedisKey {
        self.shared.keys.bucket(bucket.rule.domain_uid(), plan.key_of(bucket))
    }

    fn watched_keys(&self, order: &Order) -> SmallVec<[RedisKey; 2]> {
        if self.witnesses().is_none() {
            return SmallVec::new();
        }
        order.buckets.iter().map(|bucket| bucket.key.clone()).collect()
    }

    fn note(&self, plan: &Plan<'_>, keys: &[RedisKey], outcome: &Outcome, epoch: u64) {
        let (Some(witnesses), Some(states)) = (self.witnesses(), &outcome.states) else { return };
        for ((bucket, key), state) in plan.buckets().iter().zip(keys).zip(states) {
            witnesses.note(key, bucket.metered, state, outcome.decided_at, epoch);
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.shared.deadline
    }

    fn given(&self, now: Timestamp) -> Option<Timestamp> {
        (self.shared.clock == StoreClock::Caller).then_some(now)
    }

    fn slack_ms(&self) -> u64 {
        slack(self.shared.clock).as_millis_ceil()
    }
}

/// What came of putting buckets back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Amended {
    Done,
    Stale,
}

impl BucketStore for RedisStore {
    async fn apply(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        self.decide(plan, now, Deed::Apply).await
    }

    async fn peek(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        self.decide(plan, now, Deed::Peek).await
    }

    async fn refund(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        self.change(plan, now, Change::Refund).await
    }

    async fn withdraw(&self, plan: &Plan<'_>, outcome: &Outcome, now: Timestamp) -> Result<(), StoreError> {
        if !outcome.charged || outcome.repeated {
            return Ok(());
        }
        self.change(plan, now, Change::Withdraw(outcome)).await.map(|_| ())
    }

    async fn debit(&self, plan: &Plan<'_>, now: Timestamp) -> Result<Applied, StoreError> {
        self.change(plan, now, Change::Debit).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.shared.router.probe(self.deadline()).await.map_err(store_error)
    }

    async fn reset(&self, plan: &Plan<'_>, _now: Timestamp) -> Result<(), StoreError> {
        let mut places: Vec<Place> = Vec::new();
        for bucket in plan.buckets() {
            let (own, shared) = self.shared.keys.places(self.key_of(plan, bucket), false);
            places.push(own);
            places.extend(shared);
        }
        let Some(first) = places.first().map(|place| place.key.clone()) else { return Ok(()) };
        if let Some(witnesses) = self.witnesses() {
            witnesses.forget(plan, &self.shared.keys);
        }
        let reply = self.shared.router.command(
            &first,
            self.deadline(),
            move |&Sending { scripts, by_name, .. }| {
                let keys = places.iter().map(|place| place.key.as_slice());
                let members: Vec<&[u8]> = places.iter().map(|place| place.member.as_slice()).collect();
                vec![scripts.reset.command(by_name, keys, &members)]
            },
        );
        one(reply.await.map_err(store_error)?).map(|_| ())
    }

    fn rules_changed(&self, _rules: &RuleSet, _at: Timestamp) {}

    fn address(&self, plan: &Plan<'_>, bucket: &PlannedBucket<'_>) -> BucketAddress {
        BucketAddress::from_slice(&self.key_of(plan, bucket))
    }

    async fn release(
        &self,
        address: &BucketAddress,
        permit: u64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (key, at) = (RedisKey::from_slice(address), self.given(now));
        let sent = key.clone();
        let reply = self.shared.router.command(
            &key,
            self.deadline(),
            move |&Sending { scripts, by_name, deadline, .. }| {
                let times = [deadline.to_string(), at.map_or(0, Timestamp::as_micros).to_string()];
                let permit = permit.to_le_bytes();
                let arguments = [times[0].as_bytes(), times[1].as_bytes(), &permit];
                vec![scripts.release.command(by_name, std::iter::once(sent.as_slice()), &arguments)]
            },
        );
        match one(reply.await.map_err(store_error)?)? {
            Value::Array(values) => match values.as_slice() {
                [_, held @ Value::Int(_)] => Ok(number_of(held) == Some(1)),
                _ => Err(late()),
            },
            _ => Err(garbled("release")),
        }
    }
}

fn slack(clock: StoreClock) -> Micros {
    match clock {
        StoreClock::Server => SLACK,
        StoreClock::Caller => SLACK_BY_CALLER,
    }
}

/// The one reply to one command.
fn one(replies: Vec<Result<Value, Refusal>>) -> Result<Value, StoreError> {
    match replies.into_iter().next() {
        Some(Ok(value)) => Ok(value),
        Some(Err(refusal)) => Err(StoreError::Unavailable(refusal.to_string())),
        None => Err(garbled("no reply")),
    }
}

fn store_error(failure: Failure) -> StoreError {
    match failure {
        Failure::NotDone(why) => StoreError::Unavailable(why),
        Failure::Unknown => StoreError::Timeout,
        Failure::Misconfigured(why) => StoreError::Misconfigured(why),
        Failure::Garbled(why) => StoreError::Corrupt(why),
        // The router has followed it as far as it led.
        Failure::Elsewhere(back) => StoreError::Unavailable(back.1.to_string()),
    }
}

fn garbled(what: &str) -> StoreError {
    StoreError::Corrupt(format!("the reply to a script makes no sense: {what}"))
}

fn late() -> StoreError {
    StoreError::Unavailable("the server got to it too late".to_owned())
}

fn restless() -> StoreError {
    StoreError::Unavailable(
        "the bucket changed faster than it could be carried to the present rules".to_owned(),
    )
}
