//! A pass as a JSON Web Token (RFC 7519, RFC 8037), so that a site checks it with a library it has.
//!
//! Signed with the key of passes, under the same key id. Tidegate itself takes only its own form.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tidegate_core::time::Timestamp;

use super::{Pass, TokenKeys};
use crate::room::site::SiteHost;

/// Longest name of an issuer, in bytes.
pub const MAX_ISSUER_BYTES: usize = 256;
/// Longest JWT, in bytes: a pass with the most hosts and the longest names.
pub const MAX_JWT_BYTES: usize = 3072;

/// Who says so: the address under which the server is known, like `https://queue.example`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer(String);

/// A text is no issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an issuer has 1 to {MAX_ISSUER_BYTES} visible ASCII characters without quotes and backslashes, like `https://queue.example`"
)]
pub struct IssuerError;

impl Issuer {
    /// Checks a text: 1 to [`MAX_ISSUER_BYTES`] bytes of visible ASCII without `"` and `\`.
    ///
    /// # Errors
    /// [`IssuerError`].
    pub fn new(text: &str) -> Result<Self, IssuerError> {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        let fits = (1..=MAX_ISSUER_BYTES).contains(&text.len()) && text.bytes().all(is_plain);
        if fits { Ok(Self(text.to_owned())) } else { Err(IssuerError) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TokenKeys {
    /// Signs a pass as a JWT: `aud` its hosts, `sub` the visitor, `iat` the start and `exp` the end of the session in
    /// whole seconds, both rounded down, so that it never outlives the pass.
    #[must_use]
    pub fn sign_pass_jwt(&self, pass: &Pass, issuer: &Issuer) -> String {
        let key = self.pass_key();
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": key.id().as_str() });
        let hosts: Vec<&str> = pass.audience.hosts().iter().map(SiteHost::as_str).collect();
        let claims = json!({
            "iss": issuer.as_str(),
            "sub": pass.visitor.to_string(),
            "aud": hosts,
            "iat": whole_seconds(pass.started_at),
            "exp": whole_seconds(pass.expires_at),
            "room": pass.room.as_str(),
            "epoch": pass.epoch,
            "queue_number": pass.queue_number,
        });
        let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{header}.{claims}");
        let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

fn whole_seconds(at: Timestamp) -> u64 {
    at.as_micros() / 1_000_000
}
