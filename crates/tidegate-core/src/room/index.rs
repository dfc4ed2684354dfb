//! Who has which seat: a table from identities to queue numbers, in five bytes an entry.
//!
//! A slot holds the low 32 bits of a number and eight bits of the identity; the whole identity is where the seat is, and is
//! compared there. Open addressing with linear probing, closed up again when an entry goes (D. Knuth, TAOCP 6.4,
//! algorithm R). 64 tables grow one at a time by a quarter, so no join waits for a million entries to be moved.

use super::number::{Identity, QueueNumber};

/// Tables, by the lowest bits of the identity.
const TABLES: usize = 64;
/// Slots of a table that is not empty.
const LEAST_SLOTS: usize = 8;
const EMPTY: u8 = 0;

#[derive(Clone, Debug)]
pub(crate) struct Index {
    tables: Vec<Table>,
}

#[derive(Clone, Debug, Default)]
struct Table {
    tags: Vec<u8>,
    numbers: Vec<u32>,
    len: usize,
}

/// Finds the identity of a seat from the low 32 bits of its number.
pub(crate) trait Seated {
    /// Who has the seat whose number ends like this.
    fn identity_at(&self, low: u32) -> Option<Identity>;
}

impl Default for Index {
    fn default() -> Self {
        Self { tables: vec![Table::default(); TABLES] }
    }
}

impl Index {
    /// The low 32 bits of the number of this identity's seat.
    pub(crate) fn find(&self, identity: Identity, seated: &impl Seated) -> Option<u32> {
        let table = &self.tables[table_of(identity)];
        table.slot_of(identity, seated).map(|slot| table.numbers[slot])
    }

    /// An identity that is not in the index has this seat.
    pub(crate) fn insert(&mut self, identity: Identity, number: QueueNumber, seated: &impl Seated) {
        let table = &mut self.tables[table_of(identity)];
        table.make_room(seated);
        table.put(identity, low_bits(number));
    }

    /// The seat of this identity is given up. It must still be known where it is.
    pub(crate) fn remove(&mut self, identity: Identity, seated: &impl Seated) {
        let table = &mut self.tables[table_of(identity)];
        if let Some(slot) = table.slot_of(identity, seated) {
            table.close(slot, seated);
        }
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        let slots: usize =
            self.tables.iter().map(|table| table.tags.capacity() + 4 * table.numbers.capacity()).sum();
        slots + self.tables.capacity() * size_of::<Table>()
    }
}

impl Table {
    fn slot_of(&self, identity: Identity, seated: &impl Seated) -> Option<usize> {
        let slots = self.tags.len();
        let tag = tag_of(identity);
        let mut slot = home(identity, slots)?;
        // A quarter of the slots is empty, so this ends.
        while self.tags[slot] != EMPTY {
            if self.tags[slot] == tag && seated.identity_at(self.numbers[slot]) == Some(identity) {
                return Some(slot);
            }
            slot = after(slot, slots);
        }
        None
    }

    fn make_room(&mut self, seated: &impl Seated) {
        let slots = self.tags.len();
        if 4 * (self.len + 1) > 3 * slots {
            self.resize(LEAST_SLOTS.max(slots + slots / 4), seated);
        }
    }

    fn resize(&mut self, slots: usize, seated: &impl Seated) {
        let tags = std::mem::replace(&mut self.tags, vec![EMPTY; slots]);
        let numbers = std::mem::replace(&mut self.numbers, vec![0; slots]);
        self.len = 0;
        for (tag, low) in tags.into_iter().zip(numbers) {
            if tag != EMPTY
                && let Some(identity) = seated.identity_at(low)
            {
                self.put(identity, low);
            }
        }
    }

    fn put(&mut self, identity: Identity, low: u32) {
        let slots = self.tags.len();
        let Some(mut slot) = home(identity, slots) else { return };
        while self.tags[slot] != EMPTY {
            slot = after(slot, slots);
        }
        self.tags[slot] = tag_of(identity);
        self.numbers[slot] = low;
        self.len += 1;
    }

    /// Empties a slot, and moves up those behind it that would not be found any more.
    fn close(&mut self, slot: usize, seated: &impl Seated) {
        let slots = self.tags.len();
        let mut hole = slot;
        let mut next = after(hole, slots);
        while self.tags[next] != EMPTY {
            let home = seated.identity_at(self.numbers[next]).and_then(|identity| home(identity, slots));
            // It may move up if its home is not behind the hole, going round.
            if home.is_some_and(|home| distance(home, next, slots) >= distance(hole, next, slots)) {
                self.tags[hole] = self.tags[next];
                self.numbers[hole] = self.numbers[next];
                hole = next;
            }
            next = after(next, slots);
        }
        self.tags[hole] = EMPTY;
        self.len -= 1;
        if slots > LEAST_SLOTS && 4 * self.len < slots {
            self.resize(LEAST_SLOTS.max(slots / 2), seated);
        }
    }
}

/// The low 32 bits of a number.
pub(crate) fn low_bits(number: QueueNumber) -> u32 {
    (number.get() & u64::from(u32::MAX)) as u32
}

/// The number with these low bits that is the nearest below `next`.
pub(crate) fn number_below(next: u64, low: u32) -> QueueNumber {
    let behind = (next.wrapping_sub(1) as u32).wrapping_sub(low);
    QueueNumber::new((next - 1).saturating_sub(u64::from(behind)))
}

fn table_of(identity: Identity) -> usize {
    (identity.get() % TABLES as u64) as usize
}

/// Eight bits that are in neither the table's number nor, mostly, the slot's; never that of an empty slot.
fn tag_of(identity: Identity) -> u8 {
    ((identity.get() >> 8) as u8).max(EMPTY + 1)
}

/// Where an identity belongs, from its highest bits; `None` in a table without slots.
fn home(identity: Identity, slots: usize) -> Option<usize> {
    let home = (u128::from(identity.get()) * slots as u128) >> 64;
    (slots > 0).then_some(home as usize)
}

fn after(slot: usize, slots: usize) -> usize {
    if slot + 1 == slots { 0 } else { slot + 1 }
}

fn distance(from: usize, to: usize, slots: usize) -> usize {
    if to >= from { to - from } else { to + slots - from }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct Seats(BTreeMap<u32, Identity>);

    impl Seated for Seats {
        fn identity_at(&self, low: u32) -> Option<Identity> {
            self.0.get(&low).copied()
        }
    }

    /// Against a map, with identities that share homes and tags, growing and shrinking.
    #[test]
    fn it_finds_like_a_map() {
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 20) % below
        };
        let (mut index, mut seats) = (Index::default(), Seats(BTreeMap::new()));
        let mut by_identity = BTreeMap::new();
        for number in 1..40_000_u64 {
            // Few different highest bits, all in four tables.
            let identity = Identity::new(random(40) << 58 | random(64) << 8 | random(4));
            let growing = number / 5_000 % 2 == 0;
            match index.find(identity, &seats) {
                Some(low) => {
                    assert_eq!(by_identity.get(&identity), Some(&low));
                    if !growing || random(4) == 0 {
                        index.remove(identity, &seats);
                        seats.0.remove(&low);
                        by_identity.remove(&identity);
                    }
                }
                None => {
                    assert_eq!(by_identity.get(&identity), None);
                    if growing || random(4) == 0 {
                        seats.0.insert(number as u32, identity);
                        index.insert(identity, QueueNumber::new(number), &seats);
                        by_identity.insert(identity, number as u32);
                    }
                }
            }
            assert_eq!(index.tables.iter().map(|table| table.len).sum::<usize>(), by_identity.len());
        }
        assert!(by_identity.len() > 100);
    }

    #[test]
    fn a_number_is_told_from_its_low_bits() {
        for next in [1_u64, 2, 5, 1 << 32, (1 << 32) + 1, (7 << 32) + 9] {
            for behind in [1, 2, 4, 1 << 20, (1 << 32) - 1] {
                let Some(number) = next.checked_sub(behind) else { continue };
                assert_eq!(number_below(next, low_bits(QueueNumber::new(number))).get(), number, "{next}");
            }
        }
    }
}
