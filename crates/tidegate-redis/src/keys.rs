//! The distinct keys of a call.

use hashbrown::HashTable;

use crate::key::RedisKey;

/// Distinct keys.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    keys: Vec<RedisKey>,
    places: HashTable<usize>,
}

impl Keys {
    /// The place of a key, which is given one if it is new.
    pub(crate) fn place_of(&mut self, key: &RedisKey) -> usize {
        let Self { keys, places } = self;
        let hash = hash_of(key.as_slice());
        let entry = places.entry(
            hash,
            |place| keys.get(*place).is_some_and(|known| known == key),
            |place| keys.get(*place).map_or(0, |known| hash_of(known.as_slice())),
        );
        match entry {
            hashbrown::hash_table::Entry::Occupied(known) => *known.get(),
            hashbrown::hash_table::Entry::Vacant(free) => {
                free.insert(keys.len());
                keys.push(key.clone());
                keys.len() - 1
            }
        }
    }

    pub(crate) fn has(&self, key: &RedisKey) -> bool {
        let is_it = |place: &usize| self.keys.get(*place).is_some_and(|known| known == key);
        !self.keys.is_empty() && self.places.find(hash_of(key.as_slice()), is_it).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys, by their places.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, RedisKey> {
        self.keys.iter()
    }
}

/// Keys are fingerprints already, which nobody can choose.
fn hash_of(key: &[u8]) -> u64 {
    key.last_chunk::<8>().map_or(0, |last| u64::from_le_bytes(*last))
}
