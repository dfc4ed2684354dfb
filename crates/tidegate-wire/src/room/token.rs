//! Signed devices, tickets and passes: `v1.<key id>.<payload>.<signature>`, the last two in base64url without padding.
//!
//! Who verifies says which kind it expects; a kind has one algorithm, and nothing in the token chooses another:
//!
//! | kind | key id | signature | who verifies |
//! | --- | --- | --- | --- |
//! | device | `d…` | HMAC-SHA-256 | nodes of Tidegate |
//! | ticket | `t…` | HMAC-SHA-256 | nodes of Tidegate |
//! | pass | `p…` | Ed25519 | anybody with the [public keys](TokenKeys::jwks) |
//!
//! What is signed is a label, the kind, the key id and the payload, each with its length in front. A payload is a row
//! of binary fields with one encoding, and base64 with loose bits is refused, so a token has one spelling.
//! [ADR 22](../../../../../docs/adr/0022-room-tokens.md) has the reasons and the fields.
//!
//! A payload is not secret: whoever holds a token can read it.

mod claims;
mod jwt;
pub mod keys;
mod payload;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tidegate_core::time::{Micros, Timestamp};

pub use claims::{Device, Pass, Ticket};
pub use jwt::{Issuer, IssuerError, MAX_ISSUER_BYTES, MAX_JWT_BYTES};
pub use keys::TokenKeys;

use super::name::RoomName;
use super::site::SiteHost;
use super::visitor::VisitorId;
use claims::Claims;
use keys::KEY_ID_CHARS;
use payload::Reader;

/// Longest token of any kind, in bytes: a pass with the most hosts.
pub const MAX_TOKEN_BYTES: usize = 2048;
/// How long a device is known after its token was signed. Sign it anew while it is in use.
pub const DEVICE_LIFE: Micros = Micros::from_secs(365 * 24 * 3600);
/// How long a ticket counts after joining, whatever the line says.
pub const TICKET_LIFE: Micros = Micros::from_secs(30 * 24 * 3600);

const VERSION: &str = "v1";

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Device,
    Ticket,
    Pass,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than tokens of its kind can be.
    #[error("the token is too long")]
    TooLong,
    /// Not of the form of a token.
    #[error("the token is malformed")]
    Malformed,
    /// A good form, and of another kind.
    #[error("the token is of another kind: send the one that belongs here")]
    WrongKind,
    /// Signed with a key that is no longer live, or never was.
    #[error("the token's key is not known: join again")]
    UnknownKey,
    /// The signature is not that of the key.
    #[error("the token's signature is wrong")]
    Forged,
    /// For another room.
    #[error("the token is for another room")]
    WrongRoom,
    /// From before the room was flushed or its passes were revoked.
    #[error("the token is from another epoch of the room: join again")]
    WrongEpoch,
    /// The pass holds for other hosts.
    #[error("the pass is for another host")]
    WrongAudience,
    /// Somebody else's.
    #[error("the token belongs to another visitor")]
    WrongVisitor,
    /// Its time is over.
    #[error("the token has expired: join again")]
    Expired,
}

/// What a ticket or a pass must say, besides being genuine.
#[derive(Debug, Clone)]
pub struct TokenCheck<'c> {
    /// The room.
    pub room: &'c RoomName,
    /// The epochs that count: a line that is being rebuilt takes older ones, too.
    pub epochs: RangeInclusive<u64>,
    /// The visitor who shows it, where that is known and the token must be theirs.
    pub visitor: Option<VisitorId>,
    /// The present.
    pub now: Timestamp,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Device, Self::Ticket, Self::Pass];

    const fn label(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Ticket => "ticket",
            Self::Pass => "pass",
        }
    }

    /// What the ids of its keys begin with.
    const fn letter(self) -> u8 {
        match self {
            Self::Device => b'd',
            Self::Ticket => b't',
            Self::Pass => b'p',
        }
    }

    const fn max_bytes(self) -> usize {
        match self {
            Self::Device => 128,
            Self::Ticket => 256,
            Self::Pass => MAX_TOKEN_BYTES,
        }
    }
}

impl TokenKeys {
    /// Signs a device.
    #[must_use]
    pub fn sign_device(&self, device: &Device) -> String {
        self.seal(device)
    }

    /// Signs a ticket.
    #[must_use]
    pub fn sign_ticket(&self, ticket: &Ticket) -> String {
        self.seal(ticket)
    }

    /// Signs a pass.
    #[must_use]
    pub fn sign_pass(&self, pass: &Pass) -> String {
        self.seal(pass)
    }

    /// The device of a token.
    ///
    /// # Errors
    /// [`TokenError`]; [`Expired`](TokenError::Expired) from [`DEVICE_LIFE`] on.
    pub fn verify_device(&self, token: &str, now: Timestamp) -> Result<Device, TokenError> {
        let device: Device = self.open(token)?;
        if now.since(device.issued_at) >= DEVICE_LIFE { Err(TokenError::Expired) } else { Ok(device) }
    }

    /// The ticket of a token.
    ///
    /// # Errors
    /// [`TokenError`]; [`Expired`](TokenError::Expired) from [`TICKET_LIFE`] on.
    pub fn verify_ticket(&self, token: &str, check: &TokenCheck<'_>) -> Result<Ticket, TokenError> {
        let ticket: Ticket = self.open(token)?;
        check.place(&ticket.room, ticket.epoch, ticket.visitor)?;
        if check.now.since(ticket.joined_at) >= TICKET_LIFE { Err(TokenError::Expired) } else { Ok(ticket) }
    }

    /// The pass of a token that is shown at `host`.
    ///
    /// # Errors
    /// [`TokenError`]; [`Expired`](TokenError::Expired) from `expires_at` on.
    pub fn verify_pass(
        &self,
        token: &str,
        host: &SiteHost,
        check: &TokenCheck<'_>,
    ) -> Result<Pass, TokenError> {
        let pass = self.genuine_pass(token, check)?;
        if pass.audience.contains(host) { still_good(pass, check) } else { Err(TokenError::WrongAudience) }
    }

    /// The pass of a token that is shown to the room itself, and so at no host of the site.
    ///
    /// # Errors
    /// [`TokenError`]; [`Expired`](TokenError::Expired) from `expires_at` on.
    pub fn verify_pass_at_room(&self, token: &str, check: &TokenCheck<'_>) -> Result<Pass, TokenError> {
        still_good(self.genuine_pass(token, check)?, check)
    }

    fn genuine_pass(&self, token: &str, check: &TokenCheck<'_>) -> Result<Pass, TokenError> {
        let pass: Pass = self.open(token)?;
        check.place(&pass.room, pass.epoch, pass.visitor)?;
        Ok(pass)
    }

    fn seal<C: Claims>(&self, claims: &C) -> String {
        let mut payload = Vec::new();
        claims.write(&mut payload);
        let (id, signature) = self.sign(C::KIND, &payload);
        let [payload, signature] = [payload, signature].map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        format!("{VERSION}.{}.{payload}.{signature}", id.as_str())
    }

    /// Genuine claims; whether they are still good is not looked at.
    fn open<C: Claims>(&self, token: &str) -> Result<C, TokenError> {
        if token.len() > C::KIND.max_bytes() {
            return Err(TokenError::TooLong);
        }
        let mut parts = token.split('.');
        let (Some(VERSION), Some(id), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Malformed);
        };
        if id.len() != KEY_ID_CHARS {
            return Err(TokenError::Malformed);
        }
        let letter = id.as_bytes().first().copied();
        if letter != Some(C::KIND.letter()) {
            let is_known = Kind::ALL.iter().any(|kind| Some(kind.letter()) == letter);
            return Err(if is_known { TokenError::WrongKind } else { TokenError::UnknownKey });
        }
        let decode = |text| URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Malformed);
        let (payload, signature) = (decode(payload)?, decode(signature)?);
        match self.verify(C::KIND, id, &payload, &signature) {
            None => Err(TokenError::UnknownKey),
            Some(false) => Err(TokenError::Forged),
            Some(true) => Reader::whole(&payload, C::read).ok_or(TokenError::Malformed),
        }
    }
}

fn still_good(pass: Pass, check: &TokenCheck<'_>) -> Result<Pass, TokenError> {
    if check.now >= pass.expires_at { Err(TokenError::Expired) } else { Ok(pass) }
}

impl TokenCheck<'_> {
    fn place(&self, room: &RoomName, epoch: u64, visitor: VisitorId) -> Result<(), TokenError> {
        if room != self.room {
            return Err(TokenError::WrongRoom);
        }
        if !self.epochs.contains(&epoch) {
            return Err(TokenError::WrongEpoch);
        }
        if self.visitor.is_some_and(|expected| expected != visitor) {
            return Err(TokenError::WrongVisitor);
        }
        Ok(())
    }
}
