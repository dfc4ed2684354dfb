//! The keys of tokens: derived from a secret, each for one purpose, and two of a kind while they are rotated.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{SIGNATURE_LENGTH, Signature, Signer, SigningKey, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use super::Kind;
use crate::room::name::RoomName;

/// Bytes of a secret.
pub const ROOM_SECRET_BYTES: usize = 32;
/// Characters of a key id: the letter of its kind and 64 bits.
pub const KEY_ID_CHARS: usize = 12;

/// What every derivation and every signed message of this module begins with.
const PURPOSE: &str = "tidegate room v1";

/// 32 random bytes from which the keys of rooms are derived. Shows itself to nobody.
#[derive(Clone)]
pub struct RoomSecret(LabelledKey);

/// Why bytes are no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RoomSecretError {
    /// Not [`ROOM_SECRET_BYTES`] bytes, or not as many hexadecimal digits.
    #[error(
        "a room secret has {ROOM_SECRET_BYTES} bytes, written as 64 hexadecimal digits: make one with `openssl rand -hex 32`"
    )]
    Shape,
    /// All bytes are the same.
    #[error(
        "a room secret must be random, and all bytes of this one are the same: make one with `openssl rand -hex 32`"
    )]
    NotRandom,
}

/// The keys that are live: tokens are signed with the newest and verified with both.
#[derive(Debug)]
pub struct TokenKeys {
    newest: KeySet,
    previous: Option<KeySet>,
}

/// The previous secret is the newest one, so nothing would be rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the previous room secret is the same as the newest: give another one, or none")]
pub struct SameSecretError;

/// The name of a key: tells the kind, and the keys of a kind apart; says nothing about the key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyId([u8; KEY_ID_CHARS]);

/// A key for HMAC-SHA-256 with one purpose.
#[derive(Clone)]
pub(in crate::room) struct LabelledKey(Hmac<Sha256>);

struct KeySet {
    device: MacKey,
    ticket: MacKey,
    pass: PassKey,
}

struct MacKey {
    id: KeyId,
    key: LabelledKey,
}

/// The key of passes, whose public half verifies them anywhere.
pub(super) struct PassKey {
    id: KeyId,
    signing: SigningKey,
}

// === impl RoomSecret ===

impl RoomSecret {
    /// Takes exactly [`ROOM_SECRET_BYTES`] bytes.
    ///
    /// # Errors
    /// [`RoomSecretError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RoomSecretError> {
        let bytes: &[u8; ROOM_SECRET_BYTES] = bytes.try_into().map_err(|_| RoomSecretError::Shape)?;
        if bytes.iter().all(|byte| *byte == bytes[0]) {
            return Err(RoomSecretError::NotRandom);
        }
        Ok(Self(LabelledKey::new(bytes)))
    }

    /// Takes 64 hexadecimal digits, as they stand in a file or a variable; blanks and line ends around them do not count.
    ///
    /// # Errors
    /// [`RoomSecretError`].
    pub fn from_hex(text: &str) -> Result<Self, RoomSecretError> {
        let digits = text.trim().as_bytes();
        let mut bytes = [0; ROOM_SECRET_BYTES];
        if digits.len() != 2 * bytes.len() {
            return Err(RoomSecretError::Shape);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|c| c.is_ascii_hexdigit()));
            *byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or(RoomSecretError::Shape)?;
        }
        Self::from_bytes(&bytes)
    }

    /// What the draws of a room are made from: secret, and the same wherever the secret is.
    #[must_use]
    pub fn draw_seed(&self, room: &RoomName) -> [u8; 32] {
        self.derive_bytes(&["draw seed", room.as_str()])
    }

    /// The key for a purpose that no other labels name.
    pub(in crate::room) fn derive(&self, labels: &[&str]) -> LabelledKey {
        LabelledKey::new(&self.derive_bytes(labels))
    }

    fn derive_bytes(&self, labels: &[&str]) -> [u8; 32] {
        let mut parts = vec![PURPOSE.as_bytes()];
        parts.extend(labels.iter().map(|label| label.as_bytes()));
        self.0.mac(&parts)
    }
}

impl fmt::Debug for RoomSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoomSecret(…)")
    }
}

// === impl LabelledKey ===

impl LabelledKey {
    fn new(bytes: &[u8; 32]) -> Self {
        // HMAC fills a short key with zeros to a block; doing it here leaves no length to be wrong.
        let mut block = [0; 64];
        for (to, from) in block.iter_mut().zip(bytes) {
            *to = *from;
        }
        Self(KeyInit::new(&block.into()))
    }

    /// The code of these parts: the length of each goes in front of it, so that no two lists read the same.
    pub(in crate::room) fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.fed(parts).finalize().into_bytes().into()
    }

    /// Whether `code` is the code of these parts, in a time that does not depend on where they differ.
    fn verify(&self, parts: &[&[u8]], code: &[u8]) -> bool {
        self.fed(parts).verify_slice(code).is_ok()
    }

    fn fed(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac
    }
}

impl fmt::Debug for LabelledKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LabelledKey(…)")
    }
}

// === impl KeyId ===

impl KeyId {
    fn derive(secret: &RoomSecret, kind: Kind) -> Self {
        let mut id = [b'A'; KEY_ID_CHARS];
        let digest = secret.derive_bytes(&[kind.label(), "key id"]);
        let text = URL_SAFE_NO_PAD.encode(digest.first_chunk::<8>().map_or(&[][..], |bytes| bytes));
        for (to, from) in id.iter_mut().zip([kind.letter()].into_iter().chain(text.bytes())) {
            *to = from;
        }
        Self(id)
    }

    pub(super) fn as_str(&self) -> &str {
        // Made of letters, digits, `-` and `_`.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl PassKey ===

impl PassKey {
    fn derive(secret: &RoomSecret) -> Self {
        let seed = secret.derive_bytes(&[Kind::Pass.label(), "key"]);
        Self { id: KeyId::derive(secret, Kind::Pass), signing: SigningKey::from_bytes(&seed) }
    }

    pub(super) fn id(&self) -> &KeyId {
        &self.id
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LENGTH] {
        self.signing.sign(message).to_bytes()
    }

    /// Strictly: one signature for each message and key, and no weak keys.
    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let public: VerifyingKey = self.signing.verifying_key();
        Signature::from_slice(signature)
            .is_ok_and(|signature| public.verify_strict(message, &signature).is_ok())
    }
}

// === impl KeySet ===

impl KeySet {
    fn derive(secret: &RoomSecret) -> Self {
        let mac = |kind: Kind| MacKey {
            id: KeyId::derive(secret, kind),
            key: secret.derive(&[kind.label(), "key"]),
        };
        Self { device: mac(Kind::Device), ticket: mac(Kind::Ticket), pass: PassKey::derive(secret) }
    }

    fn id(&self, kind: Kind) -> &KeyId {
        match kind {
            Kind::Device => &self.device.id,
            Kind::Ticket => &self.ticket.id,
            Kind::Pass => &self.pass.id,
        }
    }

    fn sign(&self, kind: Kind, payload: &[u8]) -> Vec<u8> {
        let parts = signed_parts(kind, self.id(kind), payload);
        match kind {
            Kind::Device => self.device.key.mac(&parts).to_vec(),
            Kind::Ticket => self.ticket.key.mac(&parts).to_vec(),
            Kind::Pass => self.pass.sign(&joined(&parts)).to_vec(),
        }
    }

    fn verify(&self, kind: Kind, payload: &[u8], signature: &[u8]) -> bool {
        let parts = signed_parts(kind, self.id(kind), payload);
        match kind {
            Kind::Device => self.device.key.verify(&parts, signature),
            Kind::Ticket => self.ticket.key.verify(&parts, signature),
            Kind::Pass => self.pass.verify(&joined(&parts), signature),
        }
    }
}

/// What is signed: never the same for two kinds, two keys or two payloads.
fn signed_parts<'p>(kind: Kind, id: &'p KeyId, payload: &'p [u8]) -> [&'p [u8]; 4] {
    [PURPOSE.as_bytes(), kind.label().as_bytes(), &id.0, payload]
}

/// The parts as one message. It begins with a zero byte and so is never what a JWT's signature is over.
fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.iter().flat_map(|part| [&(part.len() as u64).to_be_bytes()[..], part].concat()).collect()
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(Kind::ALL.map(|kind| self.id(kind))).finish()
    }
}

// === impl TokenKeys ===

impl TokenKeys {
    /// Keys of the newest secret, which sign, and of another one whose tokens are taken as well: the one before while its tokens are
    /// about, or the one to come, which other nodes may have already.
    ///
    /// # Errors
    /// [`SameSecretError`] if both are the same.
    pub fn new(newest: &RoomSecret, previous: Option<&RoomSecret>) -> Result<Self, SameSecretError> {
        let keys = Self { newest: KeySet::derive(newest), previous: previous.map(KeySet::derive) };
        match &keys.previous {
            Some(previous) if previous.pass.id == keys.newest.pass.id => Err(SameSecretError),
            _ => Ok(keys),
        }
    }

    /// The public keys of passes as a JSON Web Key Set (RFC 7517, RFC 8037), newest first.
    #[must_use]
    pub fn jwks(&self) -> String {
        let keys: Vec<_> = self
            .live()
            .map(|set| {
                let x = URL_SAFE_NO_PAD.encode(set.pass.signing.verifying_key().as_bytes());
                json!({
                    "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
                    "kid": set.pass.id.as_str(), "x": x,
                })
            })
            .collect();
        json!({ "keys": keys }).to_string()
    }

    pub(super) fn pass_key(&self) -> &PassKey {
        &self.newest.pass
    }

    /// The id of the newest key of a kind, and the signature with it.
    pub(super) fn sign(&self, kind: Kind, payload: &[u8]) -> (&KeyId, Vec<u8>) {
        (self.newest.id(kind), self.newest.sign(kind, payload))
    }

    /// Whether the key of this kind and id has signed the payload; `None` if there is no such key.
    pub(super) fn verify(&self, kind: Kind, id: &str, payload: &[u8], signature: &[u8]) -> Option<bool> {
        let set = self.live().find(|set| set.id(kind).as_str() == id)?;
        Some(set.verify(kind, payload, signature))
    }

    fn live(&self) -> impl Iterator<Item = &KeySet> {
        std::iter::once(&self.newest).chain(&self.previous)
    }
}
