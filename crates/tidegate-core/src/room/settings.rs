//! What an operator chooses for a room, checked once when it is made.

use core::fmt;

use super::draw::Seed;
use super::notes::Notes;
use crate::algorithm::Meter;
use crate::quota::{Algorithm, Quota};
use crate::time::{Micros, Timestamp};

/// The most seats of one room.
pub const MAX_CAPACITY: u32 = 1_000_000;
/// The most visitors that wait in one room.
pub const MAX_WAITING: u32 = 10_000_000;
/// The most numbers between the first that still waits and the last that was given.
pub const MAX_SPAN: u64 = 1 << 26;
/// The most seats that a cap per address prefix may allow.
pub const MAX_SEATS_PER_PREFIX: u32 = MAX_CAPACITY;
/// The shortest claim window: who polls as told is never away for longer than half of it.
pub const MIN_CLAIM_WINDOW: Micros = Micros::from_secs(5);
/// The longest claim window.
pub const MAX_CLAIM_WINDOW: Micros = Micros::from_secs(600);
/// The most times one claim window can be extended.
pub const MAX_CLAIM_EXTENSIONS: u16 = 100;
/// The shortest session, and the shortest time to be idle in one.
pub const MIN_SESSION: Micros = Micros::from_secs(1);
/// The longest session, and the longest time to be idle in one.
pub const MAX_SESSION: Micros = Micros::from_secs(86_400);
/// The most times one session can be renewed.
pub const MAX_RENEWALS: u16 = 1_000;
/// The shortest lease that can be asked for as the least.
pub const MIN_LEASE: Micros = Micros::from_secs(5);
/// The longest lease of a ticket: three of the longest poll intervals.
pub const MAX_LEASE: Micros = Micros::from_secs(900);

/// In which order visitors leave the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Method {
    /// First come, first served.
    #[default]
    Fifo,
    /// Each time, one of those who wait, drawn from the room's seed.
    Random,
    /// Nobody waits: neither the capacity nor the release rate is applied.
    Passthrough,
    /// Nobody new waits: who cannot be admitted at once is turned away.
    Reject,
}

impl Method {
    /// The name in configuration and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Method::Fifo => "fifo",
            Method::Random => "random",
            Method::Passthrough => "passthrough",
            Method::Reject => "reject",
        }
    }
}

/// What happens to the seat of a session that ends before its pass does: by the visitor or by the origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EarlyEnd {
    /// The seat stays taken until the pass has expired, so that who verifies passes offline never sees more sessions
    /// than there are seats.
    #[default]
    HoldsSeat,
    /// The seat is free at once: for rooms in which every request is checked against the room.
    FreesSeat,
}

/// How long a called visitor has to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClaimTerms {
    /// The time to claim, from the call or from the last extension: [`MIN_CLAIM_WINDOW`] to [`MAX_CLAIM_WINDOW`].
    pub window: Micros,
    /// How many times it can be extended, at most [`MAX_CLAIM_EXTENSIONS`].
    pub extensions: u16,
}

impl Default for ClaimTerms {
    fn default() -> Self {
        Self { window: Micros::from_secs(20), extensions: 10 }
    }
}

/// The two clocks of a session. At least one of them is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionTerms {
    /// The longest time from its start, whatever the visitor does: [`MIN_SESSION`] to [`MAX_SESSION`].
    pub limit: Option<Micros>,
    /// The longest time without a heartbeat: [`MIN_SESSION`] to [`MAX_SESSION`].
    pub idle: Option<Micros>,
    /// How many times a visitor may ask for the limit anew, at most [`MAX_RENEWALS`]; 0 where sessions are not renewable.
    pub renewals: u16,
    /// What happens to the seat when the session ends early.
    pub early_end: EarlyEnd,
}

impl Default for SessionTerms {
    fn default() -> Self {
        Self {
            limit: Some(Micros::from_secs(600)),
            idle: Some(Micros::from_secs(15)),
            renewals: 0,
            early_end: EarlyEnd::default(),
        }
    }
}

/// Until when nobody is called, and in which order those are who came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Opening {
    /// When the room opens.
    pub at: Timestamp,
    /// In which order those who were there before leave the line.
    pub order: OpeningOrder,
}

/// The order of those who came before the opening. Whoever comes later follows in the order of coming.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OpeningOrder {
    /// As they came.
    #[default]
    AsTheyCame,
    /// Drawn once, from the room's seed and its beacon.
    Shuffled,
}

/// Everything that can be chosen for a room. [`Settings::new`] checks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The most visitors that are inside or called at one time, at most [`MAX_CAPACITY`]. 0 lets nobody in.
    pub capacity: u32,
    /// How fast visitors are let in: never more than its burst and its rate, as of a token bucket.
    pub release: Quota,
    /// The order of leaving the line.
    pub method: Method,
    /// The time to claim.
    pub claim: ClaimTerms,
    /// The clocks of a session.
    pub session: SessionTerms,
    /// The most visitors that wait, at most [`MAX_WAITING`]. Who comes then is turned away.
    pub max_waiting: u32,
    /// The most seats, waiting or inside, of one address prefix: 1 to [`MAX_SEATS_PER_PREFIX`].
    pub seats_per_prefix: Option<u32>,
    /// The shortest lease a ticket is given: [`MIN_LEASE`] to [`MAX_LEASE`]. Browsers let a hidden page poll once a minute, so
    /// less than that costs people their place who only looked at something else.
    pub min_lease: Micros,
    /// The opening; `None` for a room that is open from the beginning.
    pub opening: Option<Opening>,
    /// What draws are made from. Needed by [`Method::Random`] and [`OpeningOrder::Shuffled`]. A room keeps the one that it has once
    /// somebody has come.
    pub seed: Option<Seed>,
}

impl Spec {
    /// A room of this capacity and release rate, and everything else as usual.
    #[must_use]
    pub fn new(capacity: u32, release: Quota) -> Self {
        Self {
            capacity,
            release,
            method: Method::Fifo,
            claim: ClaimTerms::default(),
            session: SessionTerms::default(),
            max_waiting: MAX_WAITING,
            seats_per_prefix: None,
            min_lease: Micros::from_secs(75),
            opening: None,
            seed: None,
        }
    }
}

/// Why settings cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingsError {
    /// The capacity is above [`MAX_CAPACITY`].
    CapacityTooLarge,
    /// A release rate of 0 never lets anybody in.
    ReleaseZero,
    /// The claim window is outside [`MIN_CLAIM_WINDOW`] to [`MAX_CLAIM_WINDOW`].
    ClaimWindowOutOfRange,
    /// More than [`MAX_CLAIM_EXTENSIONS`].
    TooManyClaimExtensions,
    /// A session without a limit and without an idle time would never end.
    SessionEndless,
    /// The limit of a session is outside [`MIN_SESSION`] to [`MAX_SESSION`].
    SessionLimitOutOfRange,
    /// The idle time of a session is outside [`MIN_SESSION`] to [`MAX_SESSION`].
    IdleOutOfRange,
    /// More than [`MAX_RENEWALS`].
    TooManyRenewals,
    /// There is no limit to renew.
    NothingToRenew,
    /// More than [`MAX_WAITING`] waiting.
    MaxWaitingTooLarge,
    /// The seats per prefix are outside 1 to [`MAX_SEATS_PER_PREFIX`].
    SeatsPerPrefixOutOfRange,
    /// The shortest lease is outside [`MIN_LEASE`] to [`MAX_LEASE`].
    MinLeaseOutOfRange,
    /// Something is to be drawn, and there is no seed.
    SeedMissing,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingsError::CapacityTooLarge => write!(f, "the capacity is above {MAX_CAPACITY} seats"),
            SettingsError::ReleaseZero => {
                f.write_str("a release rate of 0 lets nobody in; pause the room to hold it, or close it")
            }
            SettingsError::ClaimWindowOutOfRange => {
                write!(f, "the claim window is not from {MIN_CLAIM_WINDOW} to {MAX_CLAIM_WINDOW}")
            }
            SettingsError::TooManyClaimExtensions => {
                write!(f, "a claim window can be extended {MAX_CLAIM_EXTENSIONS} times at the most")
            }
            SettingsError::SessionEndless => {
                f.write_str("a session needs a limit, an idle time or both: without them it never ends")
            }
            SettingsError::SessionLimitOutOfRange => {
                write!(f, "the session limit is not from {MIN_SESSION} to {MAX_SESSION}")
            }
            SettingsError::IdleOutOfRange => {
                write!(f, "the idle time is not from {MIN_SESSION} to {MAX_SESSION}")
            }
            SettingsError::TooManyRenewals => {
                write!(f, "a session can be renewed {MAX_RENEWALS} times at the most")
            }
            SettingsError::NothingToRenew => {
                f.write_str("renewals are of the session limit: set one, or no renewals")
            }
            SettingsError::MaxWaitingTooLarge => {
                write!(f, "more than {MAX_WAITING} visitors cannot wait in one room")
            }
            SettingsError::SeatsPerPrefixOutOfRange => {
                write!(f, "the seats per address prefix are not from 1 to {MAX_SEATS_PER_PREFIX}")
            }
            SettingsError::MinLeaseOutOfRange => {
                write!(f, "the shortest lease is not from {MIN_LEASE} to {MAX_LEASE}")
            }
            SettingsError::SeedMissing => {
                f.write_str("a random order and a shuffled opening are drawn from a seed: give the room one")
            }
        }
    }
}

impl core::error::Error for SettingsError {}

/// A [`Spec`] that was found good, made ready for deciding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    spec: Spec,
    meter: Meter,
    /// One release at the full rate takes so long, rounded down: nobody is called sooner than that.
    quickest: Micros,
    notes: Option<Notes>,
}

impl Settings {
    /// Checks `spec`.
    ///
    /// # Errors
    /// [`SettingsError`] says what is out of range.
    pub fn new(spec: Spec) -> Result<Self, SettingsError> {
        let outside = |span: Micros, low: Micros, high: Micros| span < low || span > high;
        if spec.capacity > MAX_CAPACITY {
            return Err(SettingsError::CapacityTooLarge);
        }
        if spec.release.limit() == 0 {
            return Err(SettingsError::ReleaseZero);
        }
        if outside(spec.claim.window, MIN_CLAIM_WINDOW, MAX_CLAIM_WINDOW) {
            return Err(SettingsError::ClaimWindowOutOfRange);
        }
        if spec.claim.extensions > MAX_CLAIM_EXTENSIONS {
            return Err(SettingsError::TooManyClaimExtensions);
        }
        check_session(&spec.session)?;
        if spec.max_waiting > MAX_WAITING {
            return Err(SettingsError::MaxWaitingTooLarge);
        }
        if spec.seats_per_prefix.is_some_and(|seats| seats == 0 || seats > MAX_SEATS_PER_PREFIX) {
            return Err(SettingsError::SeatsPerPrefixOutOfRange);
        }
        if outside(spec.min_lease, MIN_LEASE, MAX_LEASE) {
            return Err(SettingsError::MinLeaseOutOfRange);
        }
        let shuffles = spec.opening.is_some_and(|opening| opening.order == OpeningOrder::Shuffled);
        if spec.seed.is_none() && (shuffles || spec.method == Method::Random) {
            return Err(SettingsError::SeedMissing);
        }
        let (units, micros) = spec.release.rate();
        let meter = Meter::new(Algorithm::TokenBucket, spec.release, None);
        Ok(Self { meter, quickest: Micros::from_micros(micros / units), notes: None, spec })
    }

    /// The same settings, with which these notes are kept.
    #[must_use]
    pub fn with_notes(mut self, notes: Option<Notes>) -> Self {
        self.notes = notes;
        self
    }

    /// What was chosen.
    #[must_use]
    pub const fn spec(&self) -> &Spec {
        &self.spec
    }

    /// What is kept with them.
    #[must_use]
    pub const fn notes(&self) -> Option<&Notes> {
        self.notes.as_ref()
    }

    /// The longest time for which a pass can be valid from the moment it is given.
    #[must_use]
    pub fn longest_pass(&self) -> Micros {
        let session = &self.spec.session;
        session.limit.unwrap_or(Micros::MAX).min(session.idle.unwrap_or(Micros::MAX))
    }

    /// Meters the release rate.
    pub(crate) const fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The time of one release at the full rate, rounded down.
    pub(crate) const fn quickest_release(&self) -> Micros {
        self.quickest
    }

    /// These, with the seed of others.
    pub(crate) fn with_seed_of(&self, other: &Self) -> Self {
        Self { spec: Spec { seed: other.spec.seed, ..self.spec.clone() }, ..self.clone() }
    }

    /// Whether `other` lets in fewer, or more slowly.
    pub(crate) fn is_cut_by(&self, other: &Settings) -> bool {
        let (before, after) = (&self.spec, &other.spec);
        let (units, micros) = before.release.rate();
        let (new_units, new_micros) = after.release.rate();
        after.capacity < before.capacity
            || u128::from(new_units) * u128::from(micros) < u128::from(units) * u128::from(new_micros)
    }
}

fn check_session(session: &SessionTerms) -> Result<(), SettingsError> {
    let outside = |span: Micros| !(MIN_SESSION..=MAX_SESSION).contains(&span);
    match (session.limit, session.idle) {
        (None, None) => Err(SettingsError::SessionEndless),
        (Some(limit), _) if outside(limit) => Err(SettingsError::SessionLimitOutOfRange),
        (_, Some(idle)) if outside(idle) => Err(SettingsError::IdleOutOfRange),
        _ if session.renewals > MAX_RENEWALS => Err(SettingsError::TooManyRenewals),
        (None, _) if session.renewals > 0 => Err(SettingsError::NothingToRenew),
        _ => Ok(()),
    }
}
