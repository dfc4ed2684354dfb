//! Draws that the operator cannot rig: from a seed that was committed to beforehand, mixed with what nobody in the room
//! chooses, by a permutation that everybody can compute again.
//!
//! Before the opening [`commitment`] is published. At the opening the key is made of the seed, of the beacon (say, a
//! round of a public randomness service that was named in advance) and of how many had come; the seed is published, and every
//! ticket holder can check its own place. Without a beacon the draw is only as honest as who chose the seed.
//!
//! The permutation is a Feistel network over the smallest even number of bits that holds the count, walked until it
//! stays within (J. Black, P. Rogaway: Ciphers with Arbitrary Finite Domains, 2002): no memory, both directions. Its
//! rounds need to mix well, not to keep a secret: whatever is secret before the draw is in the key.

use core::fmt;

use sha2::{Digest, Sha256};

use super::number::{Place, QueueNumber};

/// What draws are made from: 32 random bytes that stay secret until the draw.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// A seed of these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, to be kept in a journal, or published after the draw.
    #[must_use]
    pub const fn reveal(&self) -> [u8; 32] {
        self.0
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(secret)")
    }
}

/// What is published before the draw: SHA-256 of the seed.
#[must_use]
pub fn commitment(seed: &Seed) -> [u8; 32] {
    Sha256::digest(seed.0).into()
}

/// The key of a draw among `count` numbers: SHA-256 of "tidegate draw", the seed, 1 and the beacon or 0 and 32 zeros, and the
/// count as 8 bytes, the lowest first.
#[must_use]
pub fn key(seed: &Seed, beacon: Option<&[u8; 32]>, count: u64) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"tidegate draw");
    hasher.update(seed.0);
    hasher.update([u8::from(beacon.is_some())]);
    hasher.update(beacon.unwrap_or(&[0; 32]));
    hasher.update(count.to_le_bytes());
    hasher.finalize().into()
}

/// Which of `among` tickets the draw number `draw` hits, 0 being the first; `among` is at least 1.
#[must_use]
pub fn pick(key: &[u8; 32], draw: u64, among: u64) -> u64 {
    let mut hasher = Sha256::new();
    hasher.update(key);
    hasher.update(draw.to_le_bytes());
    let drawn = first_word(&hasher.finalize().into());
    // Below `among`, so it fits.
    u64::try_from((u128::from(drawn) * u128::from(among)) >> 64).unwrap_or(0)
}

/// A draw that has been made: the numbers after `after`, up to `last`, have left their order for a drawn one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The last number that had left the line before.
    pub after: u64,
    /// The last number that took part.
    pub last: u64,
    /// The key.
    pub key: [u8; 32],
}

/// Rounds of the network. Four are enough for large counts; small ones need more to be even.
const ROUNDS: usize = 8;

/// A drawn order of the numbers 0 to count − 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permutation {
    count: u64,
    /// Bits of either half.
    half: u32,
    rounds: [u64; ROUNDS],
}

impl Permutation {
    /// The order of `count` numbers, at most 2^62, that `key` draws.
    #[must_use]
    pub fn new(key: &[u8; 32], count: u64) -> Self {
        let round_key = |round: usize| {
            let mut hasher = Sha256::new();
            hasher.update(key);
            hasher.update(b"round");
            hasher.update((round as u64).to_le_bytes());
            first_word(&hasher.finalize().into())
        };
        let bits = u64::BITS - count.saturating_sub(1).leading_zeros();
        Self { count, half: bits.div_ceil(2).max(1), rounds: core::array::from_fn(round_key) }
    }

    /// Where `index` is in the drawn order. One that did not take part stays where it is.
    #[must_use]
    pub fn forward(&self, index: u64) -> u64 {
        self.walk(index, |number| {
            self.rounds.iter().fold(number, |number, round| {
                let (left, right) = self.halves(number);
                self.joined(right, left ^ self.mixed(right, *round))
            })
        })
    }

    /// Which one is at `index` in the drawn order.
    #[must_use]
    pub fn backward(&self, index: u64) -> u64 {
        self.walk(index, |number| {
            self.rounds.iter().rev().fold(number, |number, round| {
                let (left, right) = self.halves(number);
                self.joined(right ^ self.mixed(left, *round), left)
            })
        })
    }

    /// Applies `step`, a permutation of the numbers of 2·half bits, until it comes back among the first `count` of them:
    /// at the latest where it began, and on average within four steps.
    fn walk(&self, index: u64, step: impl Fn(u64) -> u64) -> u64 {
        if index >= self.count {
            return index;
        }
        let mut number = step(index);
        while number >= self.count {
            number = step(number);
        }
        number
    }

    fn halves(&self, number: u64) -> (u64, u64) {
        (number >> self.half, number & self.mask())
    }

    fn joined(&self, left: u64, right: u64) -> u64 {
        left << self.half | right
    }

    fn mask(&self) -> u64 {
        (1 << self.half) - 1
    }

    /// The round function: the finalizer of SplitMix64 (Steele, Lea, Flood 2014), and of it the highest bits.
    fn mixed(&self, half: u64, round: u64) -> u64 {
        let mut z = half.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(round);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) >> (u64::BITS - self.half)
    }
}

/// A [`Drawn`] made ready to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    drawn: Drawn,
    permutation: Permutation,
}

impl Order {
    pub(crate) fn new(drawn: Drawn) -> Self {
        let permutation = Permutation::new(&drawn.key, drawn.last.saturating_sub(drawn.after));
        Self { drawn, permutation }
    }

    pub(crate) const fn drawn(&self) -> &Drawn {
        &self.drawn
    }

    pub(crate) fn place_of(&self, number: QueueNumber) -> Place {
        match self.index(number.get()) {
            Some(index) => Place(self.drawn.after + 1 + self.permutation.forward(index)),
            None => Place(number.get()),
        }
    }

    pub(crate) fn number_at(&self, place: Place) -> QueueNumber {
        match self.index(place.0) {
            Some(index) => QueueNumber::new(self.drawn.after + 1 + self.permutation.backward(index)),
            None => QueueNumber::new(place.0),
        }
    }

    fn index(&self, number: u64) -> Option<u64> {
        (number > self.drawn.after && number <= self.drawn.last).then(|| number - self.drawn.after - 1)
    }
}

fn first_word(digest: &[u8; 32]) -> u64 {
    digest.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_is_permuted_and_both_directions_agree() {
        for count in (0..70).chain([127, 128, 129, 255, 1_000, 4_095, 4_097]) {
            let permutation = Permutation::new(&key(&Seed::new([7; 32]), None, count), count);
            let mut places: Vec<_> = (0..count).map(|index| permutation.forward(index)).collect();
            for (index, place) in places.iter().enumerate() {
                assert_eq!(permutation.backward(*place), index as u64, "of {count}");
            }
            places.sort_unstable();
            assert_eq!(places, (0..count).collect::<Vec<_>>());
            assert_eq!(permutation.forward(count), count);
        }
    }

    /// Chi-squared over where each of n lands, and where the next one lands beside it, with n − 1 degrees of freedom:
    /// the mean is n − 1, and the bound is far beyond what chance does.
    #[test]
    fn every_place_is_as_likely_as_another() {
        for count in [2_u64, 3, 5, 6, 8, 13, 16, 33] {
            let runs = 20_000;
            let mut first = vec![0_u64; count as usize];
            let mut beside = vec![0_u64; count as usize];
            for run in 0..runs {
                let mut seed = [0; 32];
                seed[..8].copy_from_slice(&u64::to_le_bytes(run));
                let permutation = Permutation::new(&key(&Seed::new(seed), None, count), count);
                let place = permutation.forward(0);
                first[place as usize] += 1;
                beside[((permutation.forward(1) + count - place) % count) as usize] += 1;
            }
            let chi_squared = |seen: &[u64], among: u64| {
                let expected = runs as f64 / among as f64;
                seen.iter().map(|seen| (*seen as f64 - expected).powi(2) / expected).sum::<f64>()
            };
            let bound = (count - 1) as f64 + 6.0 * (2.0 * count as f64).sqrt();
            assert!(chi_squared(&first, count) < bound, "{count}: {first:?}");
            assert_eq!(beside[0], 0);
            assert!(chi_squared(&beside[1..], count - 1) < bound, "{count}: {beside:?}");
        }
    }

    #[test]
    fn seed_beacon_and_count_all_matter_and_the_seed_is_not_shown() {
        let seed = Seed::new([1; 32]);
        let keys = [
            key(&seed, None, 10),
            key(&seed, None, 11),
            key(&seed, Some(&[0; 32]), 10),
            key(&seed, Some(&[1; 32]), 10),
            key(&Seed::new([2; 32]), None, 10),
        ];
        for (index, one) in keys.iter().enumerate() {
            assert!(keys[index + 1..].iter().all(|other| other != one));
        }
        assert_eq!(format!("{seed:?}"), "Seed(secret)");
        // `printf '\1%.0s' {1..32} | sha256sum`
        assert_eq!(commitment(&seed)[..4], [0x72, 0xcd, 0x6e, 0x84]);
    }

    #[test]
    fn picks_are_in_range_and_reach_everybody() {
        let key = key(&Seed::new([3; 32]), None, 0);
        let mut seen = [0; 7];
        for draw in 0..700 {
            seen[pick(&key, draw, 7) as usize] += 1;
        }
        assert!(seen.iter().all(|times| (60..150).contains(times)), "{seen:?}");
        assert_eq!(pick(&key, 5, 1), 0);
    }
}
