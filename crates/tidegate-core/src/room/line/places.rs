//! Which places of the line are taken: a bit for each, and sums of bits over blocks of 512 in a Fenwick tree
//! (P. Fenwick: A New Data Structure for Cumulative Frequency Tables, 1994).
//!
//! Blocks at the front in which nobody is left are given back; the tree is made anew when half of it is of such blocks.

use std::collections::VecDeque;

use crate::room::number::Place;

/// Places in one block.
pub(crate) const BLOCK: u64 = 512;

const WORDS: usize = (BLOCK / u64::BITS as u64) as usize;

/// Front blocks in the tree that are tolerated before it is made anew, however small it is.
const SLACK: usize = 64;

#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// The number of the first block that is kept.
    base: u64,
    blocks: VecDeque<[u64; WORDS]>,
    /// One more than how many blocks' sums are in the tree: those given back since it was made, and those kept. The node
    /// at 0 is not used.
    tree: Vec<u32>,
    /// How many blocks in the tree were given back.
    gone: usize,
    taken: u64,
}

impl Places {
    /// How many places are taken.
    pub(crate) const fn taken(&self) -> u64 {
        self.taken
    }

    pub(crate) fn contains(&self, place: Place) -> bool {
        let Some((block, word, bit)) = self.locate(place) else { return false };
        self.blocks.get(block).is_some_and(|words| words[word] & bit != 0)
    }

    /// Takes a place. One in a block that was given back cannot be taken any more.
    pub(crate) fn insert(&mut self, place: Place) {
        if self.blocks.is_empty() {
            self.restart(place.0 / BLOCK);
        }
        let Some((block, word, bit)) = self.locate(place) else { return };
        while self.blocks.len() <= block {
            self.append();
        }
        if self.blocks[block][word] & bit == 0 {
            self.blocks[block][word] |= bit;
            self.taken += 1;
            self.add(block, 1);
        }
    }

    /// Frees a place; false where it was not taken.
    pub(crate) fn remove(&mut self, place: Place) -> bool {
        if !self.contains(place) {
            return false;
        }
        let Some((block, word, bit)) = self.locate(place) else { return false };
        self.blocks[block][word] &= !bit;
        self.taken -= 1;
        self.add(block, u32::MAX);
        self.slide();
        true
    }

    /// How many places before this one are taken.
    pub(crate) fn rank(&self, place: Place) -> u64 {
        let Some((block, word, bit)) = self.locate(place) else { return 0 };
        let Some(words) = self.blocks.get(block) else { return self.taken };
        let before: u32 = words[..word].iter().map(|word| word.count_ones()).sum();
        let within = (words[word] & (bit - 1)).count_ones();
        self.sum_before(block) + u64::from(before + within)
    }

    /// The taken place that has `rank` others before it.
    pub(crate) fn nth(&self, rank: u64) -> Option<Place> {
        if rank >= self.taken {
            return None;
        }
        let (block, mut left) = self.descend(rank);
        for (word, bits) in self.blocks.get(block)?.iter().enumerate() {
            let here = u64::from(bits.count_ones());
            if left < here {
                let bit = select(*bits, left);
                let within = word as u64 * u64::from(u64::BITS) + u64::from(bit);
                return Some(Place((self.base + block as u64) * BLOCK + within));
            }
            left -= here;
        }
        None
    }

    /// The number of the first block that is kept, and how many places are taken in each from it on.
    pub(crate) fn blocks(&self) -> (u64, impl Iterator<Item = u32>) {
        let count = |words: &[u64; WORDS]| words.iter().map(|word| word.count_ones()).sum();
        (self.base, self.blocks.iter().map(count))
    }

    /// All places free; those from `first` on can be taken in any order.
    pub(crate) fn starting_at(first: Place) -> Self {
        let mut places = Self::default();
        places.restart(first.0 / BLOCK);
        places.append();
        places
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<[u64; WORDS]>() + self.tree.capacity() * size_of::<u32>()
    }

    /// Which block, word and bit a place has; `None` in front of the first block.
    fn locate(&self, place: Place) -> Option<(usize, usize, u64)> {
        let block = usize::try_from((place.0 / BLOCK).checked_sub(self.base)?).ok()?;
        let within = place.0 % BLOCK;
        let (word, bit) = (within / u64::from(u64::BITS), within % u64::from(u64::BITS));
        Some((block, word as usize, 1 << bit))
    }

    fn restart(&mut self, base: u64) {
        self.base = base;
        self.gone = 0;
        self.tree = vec![0];
    }

    /// Gives back the blocks at the front in which nobody is left.
    fn slide(&mut self) {
        while self.blocks.front().is_some_and(|words| *words == [0; WORDS]) {
            self.blocks.pop_front();
            self.base += 1;
            self.gone += 1;
        }
        if self.gone > SLACK.max(self.blocks.len()) {
            let blocks = std::mem::take(&mut self.blocks);
            self.restart(self.base);
            for block in blocks {
                self.append();
                let last = self.blocks.len() - 1;
                self.blocks[last] = block;
                self.add(last, block.iter().map(|word| word.count_ones()).sum());
            }
        }
    }
}

// === impl tree ===

impl Places {
    /// One more block, in which nobody is.
    fn append(&mut self) {
        let node = self.tree.len();
        // The node covers the blocks after node − lowest bit, of which the last is new and empty.
        let sum = self.prefix(node - 1) - self.prefix(node & (node - 1));
        self.tree.push(sum);
        self.blocks.push_back([0; WORDS]);
    }

    /// Adds to the sum of a block, modulo 2^32.
    fn add(&mut self, block: usize, count: u32) {
        let mut node = self.gone + block + 1;
        while let Some(sum) = self.tree.get_mut(node) {
            *sum = sum.wrapping_add(count);
            node += node & node.wrapping_neg();
        }
    }

    fn sum_before(&self, block: usize) -> u64 {
        u64::from(self.prefix(self.gone + block))
    }

    /// The sum of the first `node` blocks of the tree.
    fn prefix(&self, mut node: usize) -> u32 {
        let mut sum: u32 = 0;
        while node > 0 {
            sum = sum.wrapping_add(self.tree[node]);
            node &= node - 1;
        }
        sum
    }

    /// The block in which the place of this rank is, and its rank within.
    fn descend(&self, rank: u64) -> (usize, u64) {
        let mut node = 0;
        let mut left = rank;
        let mut step = self.tree.len().next_power_of_two();
        while step > 0 {
            if let Some(sum) = self.tree.get(node + step)
                && u64::from(*sum) <= left
            {
                node += step;
                left -= u64::from(*sum);
            }
            step /= 2;
        }
        (node.saturating_sub(self.gone), left)
    }
}

/// The index of the set bit that has `rank` others below it.
fn select(mut bits: u64, rank: u64) -> u32 {
    for _ in 0..rank {
        bits &= bits.wrapping_sub(1);
    }
    bits.trailing_zeros()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Against a set, through slides, gaps of whole blocks and restarts.
    #[test]
    fn it_counts_like_a_set() {
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for spread in [3, 700, 5_000] {
            let (mut places, mut set) = (Places::default(), BTreeSet::new());
            let mut next = 1 + random(10_000);
            for step in 0..8_000 {
                let growing = step / 1_000 % 2 == 0;
                if random(8) < if growing { 5 } else { 3 } {
                    next += random(spread);
                    places.insert(Place(next));
                    set.insert(next);
                    next += 1;
                } else if let Some(last) = set.last() {
                    let from = if random(3) > 0 { 0 } else { random(*last) };
                    let place = set.range(from..).next().copied().unwrap_or(from);
                    assert_eq!(places.remove(Place(place)), set.remove(&place));
                }
                assert_eq!(places.taken(), set.len() as u64);
                let probe = next.saturating_sub(random(spread * 200));
                assert_eq!(places.contains(Place(probe)), set.contains(&probe));
                assert_eq!(places.rank(Place(probe)), set.range(..probe).count() as u64);
                let rank = random(set.len() as u64 + 1);
                assert_eq!(places.nth(rank).map(|place| place.0), set.iter().nth(rank as usize).copied());
            }
            let (_, counts) = places.blocks();
            assert_eq!(counts.map(u64::from).sum::<u64>(), set.len() as u64);
        }
    }

    #[test]
    fn what_is_behind_is_given_back() {
        let mut places = Places::default();
        (1..=1_000_000).for_each(|place| places.insert(Place(place)));
        assert!(places.bytes() < 200_000, "{}", places.bytes());
        (1..=999_000).for_each(|place| assert!(places.remove(Place(place))));
        assert!(places.bytes() < 16_000, "{}", places.bytes());
        assert_eq!(places.nth(0), Some(Place(999_001)));
        assert!(!places.remove(Place(1)));
    }
}
