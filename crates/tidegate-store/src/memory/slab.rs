//! Logs and permits of one shard: states too large for an entry, side by side without gaps.

use tidegate_core::algorithm::{Admission, AdmissionLog, Permit, Permits, State, Tat};

use super::key::Key;

/// What remains while a state is taken out.
const TAKEN: State = State::Tat(Tat { micros: 0, fraction: 0 });

#[derive(Default)]
pub(super) struct Slab {
    slots: Vec<Slot>,
    /// Bytes behind the states that are in their places.
    heap: usize,
}

struct Slot {
    owner: Key,
    state: State,
}

impl Slab {
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>() + self.heap
    }

    pub(super) fn get(&self, index: usize) -> Option<&State> {
        self.slots.get(index).map(|slot| &slot.state)
    }

    /// Whose states are kept.
    pub(super) fn owners(&self) -> impl Iterator<Item = Key> {
        self.slots.iter().map(|slot| slot.owner)
    }

    /// Takes a state out to be worked on; [`Slab::put`] brings it back.
    pub(super) fn take(&mut self, index: usize) -> Option<State> {
        let slot = self.slots.get_mut(index)?;
        let state = core::mem::replace(&mut slot.state, TAKEN);
        self.heap -= heap_of(&state);
        Some(state)
    }

    pub(super) fn put(&mut self, index: usize, state: State) {
        if let Some(slot) = self.slots.get_mut(index) {
            self.heap = self.heap + heap_of(&state) - heap_of(&slot.state);
            slot.state = state;
        }
    }

    /// Adds a state and gives its index.
    pub(super) fn insert(&mut self, owner: Key, state: State) -> usize {
        self.heap += heap_of(&state);
        self.slots.push(Slot { owner, state });
        self.slots.len() - 1
    }

    /// Removes a state. The last one moves into its place: its owner is returned, whose entry must be told.
    pub(super) fn remove(&mut self, index: usize) -> Option<Key> {
        if index >= self.slots.len() {
            return None;
        }
        let slot = self.slots.swap_remove(index);
        self.heap -= heap_of(&slot.state);
        if self.slots.len() * 4 < self.slots.capacity() {
            self.slots.shrink_to(self.slots.len() * 2);
        }
        self.slots.get(index).map(|moved| moved.owner)
    }
}

/// Bytes on the heap behind a state.
fn heap_of(state: &State) -> usize {
    match state {
        State::Log(log) => log.capacity() * size_of::<Admission>(),
        State::Permits(permits) => permits.capacity() * size_of::<Permit>(),
        State::Tat(_) | State::Count(_) | State::CountPair(_) => 0,
    }
}

/// Halves a state for which there is no memory. A log forgets precision, never units: neighbours are merged at the
/// later time, so they count longer. Permits end before their time, the next to expire first. False when the state
/// cannot be made smaller.
pub(super) fn compact(state: &mut State) -> bool {
    match state {
        State::Log(log) => {
            let admissions: Vec<(u64, u64)> = log.admissions().collect();
            if admissions.len() < 2 {
                return false;
            }
            *log = AdmissionLog::from_admissions(admissions.rchunks(2).rev().map(|pair| {
                let units = pair.iter().fold(0, |sum: u64, (_, units)| sum.saturating_add(*units));
                (pair.last().map_or(0, |(at, _)| *at), units)
            }));
            true
        }
        State::Permits(permits) => {
            let held = permits.held();
            if held.len() < 2 {
                return false;
            }
            *permits = Permits::from_held(held.iter().skip(held.len() / 2).copied());
            true
        }
        State::Tat(_) | State::Count(_) | State::CountPair(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Key {
        Key::from_words(number, number)
    }

    #[test]
    fn bytes_follow_what_is_kept() {
        let mut slab = Slab::default();
        let log = |units| State::Log(AdmissionLog::from_admissions((1..=units).map(|at| (at, 1))));
        for owner in 0..10 {
            assert_eq!(slab.insert(key(owner), log(100)), owner as usize);
        }
        let full = slab.bytes();
        assert!(full >= 10 * 100 * 16, "{full}");
        let taken = slab.take(3).unwrap();
        assert!(slab.bytes() < full);
        slab.put(3, taken);
        assert_eq!(slab.bytes(), full);
        assert_eq!(slab.remove(3), Some(key(9)));
        assert_eq!(slab.remove(8), None, "the last one has no successor");
        for _ in 0..8 {
            slab.remove(0);
        }
        assert_eq!(slab.bytes(), 0);
    }

    #[test]
    fn compacting_a_log_keeps_the_units_and_the_newest_time() {
        let mut state = State::Log(AdmissionLog::from_admissions((1..=5).map(|at| (at, at))));
        assert!(compact(&mut state));
        let State::Log(log) = &state else { panic!("still a log") };
        assert_eq!(log.admissions().collect::<Vec<_>>(), [(1, 1), (3, 5), (5, 9)]);
        while compact(&mut state) {}
        let State::Log(log) = &state else { panic!("still a log") };
        assert_eq!(log.admissions().collect::<Vec<_>>(), [(5, 15)]);
    }
}
