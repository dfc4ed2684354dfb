//! What a bucket is called in Redis.
//!
//! ```text
//! standalone, Sentinel   <prefix> <11 bytes of the fingerprint>
//! Cluster                <prefix> { <tag of the domain> } <11 bytes of the fingerprint>
//! ```
//!
//! A key of up to 12 bytes costs 16 less in Redis than a longer one. The fingerprint is a 128-bit SipHash-2-4 of rule
//! and partition key, of which 88 bits are kept: by chance two of ten million keys meet with a probability of 10⁻¹³.
//! Nothing that a user sends is in a key, so nobody can choose a slot or a pattern. In Cluster all buckets of a domain
//! share a slot, because the buckets of one request must.

use siphasher::sip128::SipHasher24;
use smallvec::SmallVec;

/// A key as it is sent.
pub(crate) type RedisKey = SmallVec<[u8; 32]>;

/// Bytes of the fingerprint that are kept.
const FINGERPRINT_BYTES: usize = 11;
/// Digits of a domain's tag.
const TAG_DIGITS: usize = 8;

/// Makes keys.
#[derive(Clone, Debug)]
pub(crate) struct KeyMaker {
    prefix: Box<[u8]>,
    tags: Tags,
}

/// Whether keys carry the tag of their domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tags {
    None,
    /// Cluster: what is in braces chooses the slot.
    Domain,
}

/// What a fingerprint stands for, so that no two kinds can meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bucket = 0,
    Remembered = 1,
    Nodes = 2,
}

impl KeyMaker {
    pub(crate) fn new(prefix: &str, tags: Tags) -> Self {
        Self { prefix: prefix.as_bytes().into(), tags }
    }

    /// The key of a bucket.
    pub(crate) fn bucket(&self, domain: u64, key: &[u8]) -> RedisKey {
        self.key(Kind::Bucket, domain, key)
    }

    /// The key under which a call is remembered, beside the buckets of its domain.
    pub(crate) fn remembered(&self, domain: u64, name: &[u8]) -> RedisKey {
        self.key(Kind::Remembered, domain, name)
    }

    /// The key under which nodes say that they are there.
    pub(crate) fn nodes(&self) -> RedisKey {
        self.key(Kind::Nodes, 0, b"nodes")
    }

    fn key(&self, kind: Kind, domain: u64, bytes: &[u8]) -> RedisKey {
        // The keys of the hash are no secret: all nodes must agree, and 88 bits are too many to search.
        let hash = SipHasher24::new_with_keys(0x7469_6465_6761_7465, kind as u64).hash(bytes).as_bytes();
        let mut key = RedisKey::from_slice(&self.prefix);
        if self.tags == Tags::Domain {
            key.push(b'{');
            for digit in 0..TAG_DIGITS {
                // Five bits a digit.
                let value = (domain >> (digit * 5)) & 31;
                key.push(b"0123456789abcdefghijklmnopqrstuv"[value as usize]);
            }
            key.push(b'}');
        }
        key.extend_from_slice(hash.get(..FINGERPRINT_BYTES).unwrap_or(&hash));
        key
    }
}

/// The slot of a key in a cluster: CRC-16 (XMODEM) of what is in the first braces, modulo 16384.
pub(crate) fn slot_of(key: &[u8]) -> u16 {
    let tagged = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = key.get(open + 1..)?;
        let close = rest.iter().position(|byte| *byte == b'}').filter(|close| *close > 0)?;
        rest.get(..close)
    });
    crc16(tagged.unwrap_or(key)) % SLOTS
}

/// Slots of a cluster.
pub(crate) const SLOTS: u16 = 16_384;

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // From the cluster specification, and CLUSTER KEYSLOT of Redis 7.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"foo"), 12_182);
        assert_eq!(slot_of(b"{foo}.bar"), 12_182);
        assert_eq!(slot_of(b"{}foo"), crc16(b"{}foo") % SLOTS);
        assert_eq!(slot_of(b"foo{bar"), crc16(b"foo{bar") % SLOTS);
    }

    #[test]
    fn a_plain_key_has_twelve_bytes_and_kinds_do_not_meet() {
        let maker = KeyMaker::new("t", Tags::None);
        assert_eq!(maker.bucket(7, b"rule and user").len(), 12);
        assert_ne!(maker.bucket(7, b"x"), maker.remembered(7, b"x"));
        assert_eq!(
            maker.bucket(7, b"x"),
            maker.bucket(8, b"x"),
            "without tags the domain is in the hashed bytes only"
        );
    }

    #[test]
    fn all_keys_of_a_domain_share_a_slot() {
        let maker = KeyMaker::new("t", Tags::Domain);
        let (one, other) = (maker.bucket(7, b"{a}"), maker.remembered(7, b"}{"));
        assert_eq!(slot_of(&one), slot_of(&other));
        let slots: std::collections::HashSet<u16> = (0..64_u64)
            .map(|domain| slot_of(&maker.bucket(domain.wrapping_mul(0x9e37_79b9_7f4a_7c15), b"a")))
            .collect();
        assert!(slots.len() > 60, "domains spread over the slots: {}", slots.len());
    }
}
