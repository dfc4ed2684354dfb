//! The two hashes of names: a fast one for looking things up, and one that nobody can make meet, for identities.
//!
//! Tenants choose the names of their rules and domains. [`Fnv`] is easily made to collide by who chooses the names, so
//! it serves only maps that compare the whole key: names that meet make the look-ups of those same names longer, and
//! give nobody another's entry. What stands for a name in its place is an [`identity`].

use core::hash::{BuildHasherDefault, Hasher};

use sha2::{Digest, Sha256};

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

/// FNV-1a, 64 bits (Fowler, Noll, Vo).
#[derive(Clone, Debug)]
pub(crate) struct Fnv(u64);

/// A map whose keys come from rules.
pub(crate) type FnvMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<Fnv>>;

impl Default for Fnv {
    fn default() -> Self {
        Self(OFFSET)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// FNV-1a of these bytes, where it matters to nobody that two may have the same.
pub(crate) fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

/// A number that stands for these texts, in their order: the first 128 bits of SHA-256 over each with its length in
/// front. Equal everywhere and for ever; nobody can find texts with the number of others.
pub(crate) fn identity(texts: &[&str]) -> u128 {
    let mut hasher = Sha256::new();
    for text in texts {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.finalize().first_chunk().map_or(0, |bytes| u128::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with `printf '\x01\0\0\0\0\0\0\0a\0\0\0\0\0\0\0\0' | sha256sum`: nodes of other versions must agree.
    #[test]
    fn an_identity_is_of_sha_256_and_of_the_lengths() {
        assert_eq!(identity(&["a", ""]).to_le_bytes(), KNOWN);
        assert_ne!(identity(&["ab", "c"]), identity(&["a", "bc"]));
        assert_ne!(identity(&["a", ""]), identity(&["a"]));
    }

    const KNOWN: [u8; 16] =
        [0x49, 0xa1, 0xaf, 0x1b, 0x98, 0x2d, 0x48, 0xd4, 0x44, 0x43, 0x4b, 0x4f, 0xdd, 0x5a, 0x93, 0x5b];
}
