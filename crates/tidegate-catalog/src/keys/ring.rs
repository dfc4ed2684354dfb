//! All keys at one instant, and who comes with which.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;
use subtle::{Choice, ConstantTimeEq};

use super::{MAX_KEY_BYTES, prefix_of};
use crate::digest::sha256;
use crate::model::{ApiKey, PreviousSecret, Scope};

/// The shortest operator token, in bytes.
pub const MIN_OPERATOR_TOKEN_BYTES: usize = 24;

/// How far apart two uses of a key are noted.
const NOTE_EVERY_US: u64 = 1_000_000;
/// How far apart two uses of a key are handed out.
const HAND_OUT_EVERY_US: u64 = 60_000_000;
const NEVER_US: i64 = i64::MIN;

/// Who a key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The visible part of the key; `operator` for the operator token.
    pub prefix: Arc<str>,
    /// Whose key it is; `None` is an operator's.
    pub tenant: Option<Arc<str>>,
    /// What people call it.
    pub name: Arc<str>,
    /// What it may do.
    pub scopes: Arc<[Scope]>,
}

/// Why a key is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No key, one that was revoked, or not this secret.
    #[error("this API key is not known; check that it was copied whole, and was not revoked")]
    Unknown,
    /// It has ended.
    #[error("this API key has expired; ask for a new one")]
    Expired,
}

/// A token from the settings that may do everything. Kept as its hash.
#[derive(Clone)]
pub struct OperatorToken([u8; 32]);

/// A text cannot be an operator token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the operator token has {found} bytes; it takes {MIN_OPERATOR_TOKEN_BYTES} to {MAX_KEY_BYTES}, for example what `openssl rand -hex 24` prints"
)]
pub struct OperatorTokenError {
    /// The bytes it has.
    pub found: usize,
}

/// All keys, replaced at once when any of them changes.
#[derive(Debug)]
pub struct KeyRing {
    keys: ArcSwap<HashMap<Box<str>, Entry>>,
    operator: Option<(OperatorToken, Verified)>,
}

#[derive(Debug)]
struct Entry {
    verified: Verified,
    hash: [u8; 32],
    previous: Option<PreviousSecret>,
    expires_us: Option<i64>,
    /// Outlives the snapshot.
    used: Arc<Used>,
}

#[derive(Debug)]
struct Used {
    noted_us: AtomicI64,
    handed_out_us: AtomicI64,
}

// === impl Verified ===

impl Verified {
    /// Whether it may do this. Who may change may read.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || scope == Scope::AdminRead && self.scopes.contains(&Scope::AdminWrite)
    }
}

// === impl OperatorToken ===

impl OperatorToken {
    /// A token of 24 to 256 bytes.
    ///
    /// # Errors
    /// [`OperatorTokenError`] where it is shorter or longer.
    pub fn new(text: &str) -> Result<Self, OperatorTokenError> {
        if (MIN_OPERATOR_TOKEN_BYTES..=MAX_KEY_BYTES).contains(&text.len()) {
            Ok(Self(sha256(text.as_bytes())))
        } else {
            Err(OperatorTokenError { found: text.len() })
        }
    }
}

impl fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperatorToken(…)")
    }
}

// === impl KeyRing ===

impl KeyRing {
    /// A ring without keys, but for the operator's token.
    #[must_use]
    pub fn new(operator: Option<OperatorToken>) -> Self {
        let stands_for = |token| {
            let verified = Verified {
                prefix: "operator".into(),
                tenant: None,
                name: "operator token".into(),
                scopes: Scope::ALL.into(),
            };
            (token, verified)
        };
        Self { keys: ArcSwap::default(), operator: operator.map(stands_for) }
    }

    /// Swaps all keys; those that were revoked are left out. When a key was used stays known.
    pub fn replace(&self, keys: impl IntoIterator<Item = ApiKey>) {
        let before = self.keys.load();
        let entry = |key: ApiKey| {
            let used = before.get(key.prefix.as_str()).map(|entry| Arc::clone(&entry.used));
            (key.prefix.clone().into_boxed_str(), Entry::new(key, used))
        };
        let is_live = |key: &ApiKey| key.revoked_us.is_none();
        self.keys.store(Arc::new(keys.into_iter().filter(is_live).map(entry).collect()));
    }

    /// How many keys there are, those that have ended included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.load().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Who comes with this key. Notes that it was used.
    ///
    /// # Errors
    /// [`Refusal`] says why the key is not good; [`Refusal::Expired`] only to one who has the secret.
    pub fn verify(&self, text: &str, now_us: i64) -> Result<Verified, Refusal> {
        if text.len() > MAX_KEY_BYTES {
            return Err(Refusal::Unknown);
        }
        let hash = sha256(text.as_bytes());
        if let Some((token, verified)) = &self.operator
            && bool::from(token.0.ct_eq(&hash))
        {
            return Ok(verified.clone());
        }
        let keys = self.keys.load();
        let entry = prefix_of(text).and_then(|prefix| keys.get(prefix)).ok_or(Refusal::Unknown)?;
        entry.judge(&hash, now_us)?;
        entry.used.note(now_us);
        Ok(entry.verified.clone())
    }

    /// Keys that were used, and when, since they were last handed out; each at most once a minute.
    #[must_use]
    pub fn take_used(&self) -> Vec<(Arc<str>, i64)> {
        let keys = self.keys.load();
        let used = |entry: &Entry| Some((Arc::clone(&entry.verified.prefix), entry.used.hand_out()?));
        keys.values().filter_map(used).collect()
    }
}

// === impl Entry ===

impl Entry {
    fn new(key: ApiKey, used: Option<Arc<Used>>) -> Self {
        let verified = Verified {
            prefix: key.prefix.into(),
            tenant: key.tenant.map(Into::into),
            name: key.name.into(),
            scopes: key.scopes.into(),
        };
        Self {
            verified,
            hash: key.hash,
            previous: key.previous,
            expires_us: key.expires_us,
            used: used.unwrap_or_else(|| Arc::new(Used::new(key.last_used_us.unwrap_or(NEVER_US)))),
        }
    }

    fn judge(&self, hash: &[u8; 32], now_us: i64) -> Result<(), Refusal> {
        let previous = self.previous.as_ref().map_or(Choice::from(0), |previous| {
            previous.hash.ct_eq(hash) & Choice::from(u8::from(now_us < previous.until_us))
        });
        if !bool::from(self.hash.ct_eq(hash) | previous) {
            return Err(Refusal::Unknown);
        }
        if self.expires_us.is_some_and(|end| now_us >= end) {
            return Err(Refusal::Expired);
        }
        Ok(())
    }
}

// === impl Used ===

impl Used {
    fn new(at_us: i64) -> Self {
        Self { noted_us: AtomicI64::new(at_us), handed_out_us: AtomicI64::new(at_us) }
    }

    /// A busy key's line is written once a second, or it would travel between the cores.
    fn note(&self, now_us: i64) {
        let noted_us = self.noted_us.load(Ordering::Relaxed);
        if now_us > noted_us && now_us.abs_diff(noted_us) >= NOTE_EVERY_US {
            self.noted_us.store(now_us, Ordering::Relaxed);
        }
    }

    fn hand_out(&self) -> Option<i64> {
        let noted_us = self.noted_us.load(Ordering::Relaxed);
        let before_us = self.handed_out_us.load(Ordering::Relaxed);
        if noted_us <= before_us || noted_us.abs_diff(before_us) < HAND_OUT_EVERY_US {
            return None;
        }
        self.handed_out_us.store(noted_us, Ordering::Relaxed);
        Some(noted_us)
    }
}
