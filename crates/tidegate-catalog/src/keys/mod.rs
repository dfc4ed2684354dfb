//! API keys: made, hashed, verified.
//!
//! A key reads `tg_<prefix>_<secret>`. The prefix tells keys apart and may be shown; the secret has 238 bits, is shown
//! once and kept nowhere: SHA-256 of the whole key is. A slow hash would protect secrets that people choose; nobody
//! guesses this one, and every request pays for the hash.
//!
//! [`KeyRing`] verifies against a snapshot of all keys that is swapped whole, so a request never waits. Every text is
//! hashed and compared in constant time, whatever its prefix, and why a key is refused is said to its holder only.
//! That takes about 0.2 µs where the processor knows SHA-256 (`verifying_is_quick`).

mod ring;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::digest::sha256;
pub use ring::{KeyRing, MIN_OPERATOR_TOKEN_BYTES, OperatorToken, OperatorTokenError, Refusal, Verified};

/// What every key begins with.
pub const KEY_PREFIX: &str = "tg_";
/// Characters that tell keys apart.
pub const PREFIX_CHARS: usize = 10;
/// Characters of the secret, of 62: 238 bits.
pub const SECRET_CHARS: usize = 40;
/// The longest text that is looked at as a key, in bytes; operators choose their token's length.
pub const MAX_KEY_BYTES: usize = 256;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Bytes below it fall evenly on the alphabet.
const EVEN: u8 = 248;
/// Fillings of the buffer before randomness is called broken; one is nearly always enough.
const MAX_FILLINGS: usize = 16;

/// A key that was just made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The whole key: to be shown once.
    pub shown: Secret,
    /// The visible part.
    pub prefix: String,
    /// SHA-256 of the whole key: to be kept.
    pub hash: [u8; 32],
}

/// A text that no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// No key could be made.
#[derive(Debug, thiserror::Error)]
pub enum NewKeyError {
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bytes for a key; try again")]
    NoRandomness(#[from] getrandom::Error),
    /// What it gave cannot be random.
    #[error("the random bytes for a key are not random; check the machine's source of randomness")]
    NotRandom,
}

impl NewKey {
    /// A new key. `random` fills a buffer with random bytes: [`getrandom::fill`], in earnest.
    ///
    /// # Errors
    /// [`NewKeyError`] where there is no randomness.
    pub fn new(
        mut random: impl FnMut(&mut [u8]) -> Result<(), getrandom::Error>,
    ) -> Result<Self, NewKeyError> {
        let prefix = random_text(PREFIX_CHARS, &mut random)?;
        Self::with_prefix(&prefix, random)
    }

    /// Another secret for the key of this prefix.
    ///
    /// # Errors
    /// [`NewKeyError`] where there is no randomness.
    pub fn with_prefix(
        prefix: &str,
        mut random: impl FnMut(&mut [u8]) -> Result<(), getrandom::Error>,
    ) -> Result<Self, NewKeyError> {
        let secret = random_text(SECRET_CHARS, &mut random)?;
        let shown = format!("{KEY_PREFIX}{prefix}_{secret}");
        Ok(Self { prefix: prefix.to_owned(), hash: sha256(shown.as_bytes()), shown: Secret(shown) })
    }
}

impl Secret {
    /// The text.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The prefix of a text in the form of a key.
#[must_use]
pub fn prefix_of(text: &str) -> Option<&str> {
    let (prefix, secret) = text.strip_prefix(KEY_PREFIX)?.split_once('_')?;
    (is_plain(prefix, PREFIX_CHARS) && is_plain(secret, SECRET_CHARS)).then_some(prefix)
}

fn is_plain(text: &str, chars: usize) -> bool {
    text.len() == chars && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn random_text(
    chars: usize,
    random: &mut impl FnMut(&mut [u8]) -> Result<(), getrandom::Error>,
) -> Result<String, NewKeyError> {
    let mut text = String::with_capacity(chars);
    for _ in 0..MAX_FILLINGS {
        let mut bytes = [0; 64];
        random(&mut bytes)?;
        let even = bytes.into_iter().filter(|byte| *byte < EVEN);
        let letters = even.map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
        text.extend(letters.take(chars - text.len()));
        if text.len() == chars {
            return Ok(text);
        }
    }
    Err(NewKeyError::NotRandom)
}
