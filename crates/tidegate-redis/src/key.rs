//! What a bucket is called in Redis.
//!
//! ```text
//! standalone, Sentinel   <prefix> <11 bytes of the fingerprint>
//! Cluster                <prefix> { <tag of the domain> } <11 bytes of the fingerprint>
//! ```
//!
//! In the packed layout buckets in the short form are members of hashes: the first bits of the fingerprint end the hash's
//! key, and the rest, from the byte that is cut on, is the member's name. All 88 bits are in the two together.
//!
//! A key of up to 12 bytes costs 16 less in Redis than a longer one. The fingerprint is a 128-bit SipHash-2-4 of rule
//! and partition key, of which 88 bits are kept: by chance two of ten million keys meet with a probability of 10⁻¹³.
//! Nothing that a user sends is in a key, so nobody can choose a slot or a pattern. In Cluster all buckets of a domain
//! share a slot, because the buckets of one request must.

use siphasher::sip128::SipHasher24;
use smallvec::SmallVec;

use crate::settings::{Groups, Layout};

/// A key as it is sent.
pub(crate) type RedisKey = SmallVec<[u8; 32]>;

/// What a bucket is called in its hash.
pub(crate) type Member = SmallVec<[u8; FINGERPRINT_BYTES]>;

/// Bytes of the fingerprint that are kept.
const FINGERPRINT_BYTES: usize = 11;
/// Digits of a domain's tag.
const TAG_DIGITS: usize = 8;

/// Makes keys.
#[derive(Clone, Debug)]
pub(crate) struct KeyMaker {
    prefix: Box<[u8]>,
    tags: Tags,
    packing: Option<Packing>,
}

/// Where a bucket is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The bucket's own key, or that of the hash it is a member of.
    pub(crate) key: RedisKey,
    /// Its name in the hash; empty where it has its own key.
    pub(crate) member: Member,
}

/// How buckets share hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packing {
    groups: Groups,
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
    pub(crate) fn new(prefix: &str, tags: Tags, layout: Layout) -> Self {
        Self { prefix: prefix.as_bytes().into(), tags, packing: Packing::of(layout) }
    }

    /// The least rung on which short forms expire.
    pub(crate) fn min_rung(&self) -> u32 {
        Packing::min_rung(self.packing)
    }

    /// Where a bucket is kept, and where it was kept if its form has changed.
    pub(crate) fn places(&self, key: RedisKey, is_short: bool) -> (Place, Option<Place>) {
        let shared = self.packing.map(|packing| packing.place_of(&key));
        let own = Place::own(key);
        match shared {
            Some(shared) if is_short => (shared, Some(own)),
            shared => (own, shared),
        }
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

impl Place {
    /// Under a key of its own.
    pub(crate) fn own(key: RedisKey) -> Self {
        Self { key, member: Member::new() }
    }

    /// Whether the key is the bucket's own.
    pub(crate) fn is_own(&self) -> bool {
        self.member.is_empty()
    }
}

impl Packing {
    pub(crate) const fn of(layout: Layout) -> Option<Self> {
        match layout {
            Layout::Plain => None,
            Layout::Packed(groups) => Some(Self { groups }),
        }
    }

    /// The least rung on which short forms expire. Members do not expire by themselves, so that a coarse grid costs nothing:
    /// 17 minutes.
    pub(crate) const fn min_rung(packing: Option<Self>) -> u32 {
        if packing.is_some() { 1 } else { 0 }
    }

    /// How many whole bytes of the fingerprint choose the hash, and how many bits of the byte after them.
    pub(crate) const fn bytes_and_bits(self) -> (usize, u8) {
        ((self.groups.bits() / 8) as usize, self.groups.bits() % 8)
    }

    /// The hash that holds the bucket with this key, and the bucket's name in it.
    pub(crate) fn place_of(self, key: &RedisKey) -> Place {
        let (bytes, bits) = self.bytes_and_bits();
        let cut = (key.len().saturating_sub(FINGERPRINT_BYTES) + bytes).min(key.len());
        let (head, member) = key.split_at(cut);
        let mut hash = RedisKey::from_slice(head);
        if let (1.., Some(first)) = (bits, member.first()) {
            hash.push(first & !(0xff >> bits));
        }
        Place { key: hash, member: Member::from_slice(member) }
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
        let maker = KeyMaker::new("t", Tags::None, Layout::Plain);
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
        let maker = KeyMaker::new("t", Tags::Domain, Layout::Plain);
        let (one, other) = (maker.bucket(7, b"{a}"), maker.remembered(7, b"}{"));
        assert_eq!(slot_of(&one), slot_of(&other));
        let slots: std::collections::HashSet<u16> = (0..64_u64)
            .map(|domain| slot_of(&maker.bucket(domain.wrapping_mul(0x9e37_79b9_7f4a_7c15), b"a")))
            .collect();
        assert!(slots.len() > 60, "domains spread over the slots: {}", slots.len());
    }

    #[test]
    fn a_member_and_its_hash_have_the_whole_fingerprint_between_them() {
        for tags in [Tags::None, Tags::Domain] {
            for bits in Groups::MIN_BITS..=Groups::MAX_BITS {
                let layout = Layout::Packed(Groups::of_bits(bits).unwrap());
                let maker = KeyMaker::new("t", tags, layout);
                let key = maker.bucket(7, b"rule and user");
                let (place, own) = maker.places(key.clone(), true);
                assert_eq!(own, Some(Place::own(key.clone())));
                assert_eq!(maker.places(key.clone(), false), (Place::own(key.clone()), Some(place.clone())));
                let start = key.len() - FINGERPRINT_BYTES;
                assert_eq!(place.key.len(), start + usize::from(bits.div_ceil(8)));
                assert_eq!(place.key[..start + usize::from(bits / 8)], key[..start + usize::from(bits / 8)]);
                assert_eq!(place.member[..], key[start + usize::from(bits / 8)..]);
                let hashes: std::collections::HashSet<RedisKey> = (0..20_000_u32)
                    .map(|n| maker.bucket(7, &n.to_le_bytes()))
                    .map(|key| maker.places(key, true).0.key)
                    .collect();
                assert!(hashes.len() <= 1 << bits);
                assert!(bits > 10 || hashes.len() == 1 << bits, "{bits} bits: {} hashes", hashes.len());
                assert!(tags == Tags::None || hashes.iter().all(|hash| slot_of(hash) == slot_of(&key)));
            }
        }
    }
}
