//! The fingerprint of a bucket's key, and which shard it belongs to.
//!
//! No key is stored: 104 bits of a keyed 128-bit hash stand for it. The seed is secret, so nobody outside can choose
//! keys that meet; by chance two of ten million keys meet with a probability of 10⁻¹⁸.
//!
//! Shards are staggered. Tables double in size, so if all shards held the same share of the keys they would all
//! double at about the same count, and memory would jump. Shard `i` of `n` gets a share proportional to `2^(i/n)`
//! instead: at any count the shards are at evenly spread stages between two doublings.

use siphasher::sip128::SipHasher13;

/// Low bits of the second hash word that are kept.
const REST_BITS: u32 = 40;
const REST_MASK: u64 = (1 << REST_BITS) - 1;
/// High bits of the kept ones that choose the shard. The table uses the first word, so the two are independent.
const SHARD_BITS: u32 = 24;
/// Below them.
const SHARD_SHIFT: u32 = REST_BITS - SHARD_BITS;
/// Pieces of the curve from hash to shard, a power of two.
const PIECE_BITS: u32 = 8;
const PIECES: usize = 1 << PIECE_BITS;
const WITHIN_BITS: u32 = SHARD_BITS - PIECE_BITS;
/// Fraction bits of a shard number on the curve.
const FRACTION_BITS: u32 = 16;

/// The most shards.
pub(super) const MAX_SHARDS: usize = 4_096;

/// What stands for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// The hash that the table uses.
    pub(super) table: u64,
    /// 40 more bits.
    pub(super) rest: u64,
}

impl Key {
    pub(super) const fn from_words(table: u64, rest: u64) -> Self {
        Self { table, rest: rest & REST_MASK }
    }
}

/// Hashes keys under the store's seed.
#[derive(Clone)]
pub(super) struct KeyHasher {
    seed: [u64; 2],
    buckets: SipHasher13,
    coarse: SipHasher13,
    idempotency: SipHasher13,
}

impl KeyHasher {
    pub(super) fn new(seed: [u64; 2]) -> Self {
        let [a, b] = seed;
        Self {
            seed,
            buckets: SipHasher13::new_with_keys(a, b),
            coarse: SipHasher13::new_with_keys(!a, b),
            idempotency: SipHasher13::new_with_keys(a, !b),
        }
    }

    pub(super) const fn seed(&self) -> [u64; 2] {
        self.seed
    }

    /// The fingerprint of a bucket's key.
    pub(super) fn bucket(&self, key: &[u8]) -> Key {
        let (table, rest) = self.buckets.hash(key).as_u64();
        Key::from_words(table, rest)
    }

    /// The fingerprint of an idempotency key.
    pub(super) fn idempotency(&self, key: &[u8]) -> [u64; 2] {
        let (a, b) = self.idempotency.hash(key).as_u64();
        [a, b]
    }

    /// The bucket that the keys of one rule share in a shard where no room is left for each.
    pub(super) fn coarse(&self, rule_uid: u128, curve: &ShardCurve, shard: usize) -> Key {
        let (table, rest) = self.coarse.hash(&rule_uid.to_le_bytes()).as_u64();
        let low = rest & ((1 << SHARD_SHIFT) - 1);
        Key::from_words(table, curve.start_of(shard) << SHARD_SHIFT | low)
    }
}

/// The curve `n · log2(1 + u)` from a fraction `u` of the hash space to a shard, in straight pieces.
#[derive(Clone)]
pub(super) struct ShardCurve {
    shards: usize,
    knots: Box<[u32; PIECES + 1]>,
}

impl ShardCurve {
    /// A curve over `shards` shards, 1 to [`MAX_SHARDS`].
    pub(super) fn new(shards: usize) -> Self {
        let shards = shards.clamp(1, MAX_SHARDS);
        let scale = (shards << FRACTION_BITS) as f64;
        let mut knots = Box::new([0; PIECES + 1]);
        for (index, knot) in knots.iter_mut().enumerate() {
            *knot = (scale * (1.0 + index as f64 / PIECES as f64).log2()).round() as u32;
        }
        Self { shards, knots }
    }

    /// The shard of a key.
    pub(super) fn shard_of(&self, key: Key) -> usize {
        self.at(key.rest >> SHARD_SHIFT)
    }

    fn at(&self, position: u64) -> usize {
        let piece = (position >> WITHIN_BITS) as usize & (PIECES - 1);
        let within = position & ((1 << WITHIN_BITS) - 1);
        let (from, to) = (u64::from(self.knots[piece]), u64::from(self.knots[piece + 1]));
        let point = (from << WITHIN_BITS) + (to - from) * within;
        ((point >> (WITHIN_BITS + FRACTION_BITS)) as usize).min(self.shards - 1)
    }

    /// The first position that belongs to a shard.
    fn start_of(&self, shard: usize) -> u64 {
        let (mut low, mut high) = (0, 1 << SHARD_BITS);
        while low < high {
            let middle = (low + high) / 2;
            if self.at(middle) < shard { low = middle + 1 } else { high = middle }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_the_shards_double_evenly_from_first_to_last() {
        for shards in [1, 2, 64, 500, MAX_SHARDS] {
            let curve = ShardCurve::new(shards);
            let starts: Vec<u64> = (0..shards).map(|shard| curve.start_of(shard)).collect();
            let share =
                |shard: usize| starts.get(shard + 1).copied().unwrap_or(1 << SHARD_BITS) - starts[shard];
            let first = (1 << SHARD_BITS) as f64 * ((1.0 / shards as f64).exp2() - 1.0);
            for shard in 0..shards {
                let ideal = first * (shard as f64 / shards as f64).exp2();
                let ratio = share(shard) as f64 / ideal;
                assert!((0.99..1.01).contains(&ratio), "shard {shard} of {shards}: {ratio}");
            }
        }
    }

    #[test]
    fn a_coarse_key_lies_in_the_shard_it_stands_for() {
        let hasher = KeyHasher::new([1, 2]);
        let curve = ShardCurve::new(700);
        for shard in 0..700 {
            assert_eq!(curve.shard_of(hasher.coarse(99, &curve, shard)), shard);
        }
    }

    #[test]
    fn seeds_and_purposes_give_different_hashes() {
        let (one, two) = (KeyHasher::new([1, 2]), KeyHasher::new([2, 1]));
        assert_ne!(one.bucket(b"k"), two.bucket(b"k"));
        assert_ne!(one.bucket(b"k").table, one.idempotency(b"k")[0]);
    }
}
