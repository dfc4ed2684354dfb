//! What is known of each live ticket, in arrays by queue number: four bytes of lease, and where visitors are named
//! eight of identity and four of prefix.
//!
//! The arrays come in chunks of 512 numbers, given back when nobody of them waits any more. A lease is the whole second
//! of the Unix epoch at which it ends, which fits until 2106; 0 is no ticket.

use std::collections::VecDeque;

use crate::room::number::{Identity, Prefix, QueueNumber, Visitor};

const CHUNK: usize = 512;

/// No lease in a chunk.
const NEVER: u32 = u32::MAX;

#[derive(Clone, Debug)]
struct Chunk {
    live: u16,
    leases: [u32; CHUNK],
    identities: Option<Box<[u64; CHUNK]>>,
    prefixes: Option<Box<[u32; CHUNK]>>,
}

impl Chunk {
    fn empty() -> Box<Self> {
        Box::new(Self { live: 0, leases: [0; CHUNK], identities: None, prefixes: None })
    }

    fn visitor(&self, slot: usize) -> Visitor {
        let identity = self.identities.as_ref().map_or(0, |identities| identities[slot]);
        let prefix = self.prefixes.as_ref().map_or(0, |prefixes| prefixes[slot]);
        Visitor {
            identity: (identity != 0).then(|| Identity::new(identity)),
            prefix: (prefix != 0).then(|| Prefix::new(prefix)),
        }
    }

    fn name(&mut self, slot: usize, visitor: Visitor) {
        if let Some(identity) = visitor.identity {
            self.identities.get_or_insert_with(|| Box::new([0; CHUNK]))[slot] = identity.get();
        }
        if let Some(prefix) = visitor.prefix {
            self.prefixes.get_or_insert_with(|| Box::new([0; CHUNK]))[slot] = prefix.get();
        }
    }

    fn forget(&mut self, slot: usize) {
        self.leases[slot] = 0;
        if let Some(identities) = &mut self.identities {
            identities[slot] = 0;
        }
        if let Some(prefixes) = &mut self.prefixes {
            prefixes[slot] = 0;
        }
    }

    fn earliest(&self) -> u32 {
        self.leases.iter().copied().filter(|lease| *lease != 0).min().unwrap_or(NEVER)
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.identities.as_ref().map_or(0, |_| size_of::<[u64; CHUNK]>())
            + self.prefixes.as_ref().map_or(0, |_| size_of::<[u32; CHUNK]>())
    }
}

/// Live tickets by number.
#[derive(Clone, Debug)]
pub(crate) struct Tickets {
    /// The number of the first chunk that is kept.
    base: u64,
    chunks: VecDeque<Option<Box<Chunk>>>,
    /// For each chunk, a lease that none of it ends before. Polls renew leases without looking for the earliest.
    earliest: VecDeque<u32>,
    /// None ends before this one.
    earliest_of_all: u32,
}

impl Default for Tickets {
    fn default() -> Self {
        Self { base: 0, chunks: VecDeque::new(), earliest: VecDeque::new(), earliest_of_all: NEVER }
    }
}

impl Tickets {
    /// The lease of a live ticket.
    pub(crate) fn lease(&self, number: QueueNumber) -> Option<u32> {
        let (chunk, slot) = self.locate(number)?;
        let lease = self.chunks.get(chunk)?.as_ref()?.leases[slot];
        (lease != 0).then_some(lease)
    }

    /// Who has a live ticket.
    pub(crate) fn visitor(&self, number: QueueNumber) -> Option<Visitor> {
        let (chunk, slot) = self.locate(number)?;
        let chunk = self.chunks.get(chunk)?.as_ref()?;
        (chunk.leases[slot] != 0).then(|| chunk.visitor(slot))
    }

    /// A new ticket, of a number above all before.
    pub(crate) fn insert(&mut self, number: QueueNumber, visitor: Visitor, lease: u32) {
        if self.chunks.is_empty() {
            self.base = number.get() / CHUNK as u64;
        }
        let Some((chunk, slot)) = self.locate(number) else { return };
        while self.chunks.len() <= chunk {
            self.chunks.push_back(None);
            self.earliest.push_back(NEVER);
        }
        let kept = self.chunks[chunk].get_or_insert_with(Chunk::empty);
        kept.live += u16::from(kept.leases[slot] == 0);
        kept.leases[slot] = lease.max(1);
        kept.name(slot, visitor);
        self.note_earliest(chunk, lease);
    }

    /// Sets the lease of a live ticket.
    pub(crate) fn renew(&mut self, number: QueueNumber, lease: u32) {
        let Some((chunk, slot)) = self.locate(number) else { return };
        let Some(Some(kept)) = self.chunks.get_mut(chunk) else { return };
        if kept.leases[slot] != 0 {
            kept.leases[slot] = lease.max(1);
            self.note_earliest(chunk, lease);
        }
    }

    /// No live ticket's lease ends before `lease`.
    pub(crate) fn renew_all(&mut self, lease: u32) {
        for (chunk, earliest) in self.chunks.iter_mut().zip(&mut self.earliest) {
            let Some(chunk) = chunk else { continue };
            for held in chunk.leases.iter_mut().filter(|held| **held != 0) {
                *held = lease.max(*held);
            }
            *earliest = lease.max(*earliest);
        }
        self.earliest_of_all = self.earliest.iter().copied().min().unwrap_or(NEVER);
    }

    /// Tells whose a live ticket is.
    pub(crate) fn name(&mut self, number: QueueNumber, visitor: Visitor) {
        let Some((chunk, slot)) = self.locate(number) else { return };
        if let Some(Some(kept)) = self.chunks.get_mut(chunk)
            && kept.leases[slot] != 0
        {
            kept.name(slot, visitor);
        }
    }

    /// Takes a ticket away; tells whose it was.
    pub(crate) fn remove(&mut self, number: QueueNumber) -> Option<Visitor> {
        let (index, slot) = self.locate(number)?;
        let chunk = self.chunks.get_mut(index)?.as_mut()?;
        if chunk.leases[slot] == 0 {
            return None;
        }
        let visitor = chunk.visitor(slot);
        chunk.forget(slot);
        chunk.live -= 1;
        if chunk.live == 0 {
            self.chunks[index] = None;
            self.earliest[index] = NEVER;
            while let Some(None) = self.chunks.front() {
                self.chunks.pop_front();
                self.earliest.pop_front();
                self.base += 1;
            }
            if self.chunks.capacity() > 64 + 4 * self.chunks.len() {
                self.chunks.shrink_to(2 * self.chunks.len());
                self.earliest.shrink_to(2 * self.chunks.len());
            }
        }
        Some(visitor)
    }

    /// An instant, in whole seconds, before which no lease ends; `None` without tickets.
    pub(crate) fn earliest(&self) -> Option<u32> {
        (!self.chunks.is_empty()).then_some(self.earliest_of_all)
    }

    /// The lowest `most` numbers whose leases end at `second` or before, into `ended`. Looks only into chunks in which one can,
    /// and learns when the next one of each does.
    pub(crate) fn ended(&mut self, second: u32, most: usize, ended: &mut Vec<QueueNumber>) {
        if self.earliest_of_all > second {
            return;
        }
        for (index, (chunk, earliest)) in self.chunks.iter().zip(&mut self.earliest).enumerate() {
            if *earliest > second {
                continue;
            }
            let Some(chunk) = chunk else { continue };
            *earliest = chunk.earliest();
            if *earliest > second {
                continue;
            }
            for (slot, lease) in chunk.leases.iter().enumerate() {
                if *lease != 0 && *lease <= second {
                    if ended.len() == most {
                        // What is left is found the next time.
                        self.earliest_of_all = second;
                        return;
                    }
                    ended.push(QueueNumber::new((self.base + index as u64) * CHUNK as u64 + slot as u64));
                }
            }
        }
        self.earliest_of_all = self.earliest.iter().copied().min().unwrap_or(NEVER);
    }

    /// Every live ticket, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (QueueNumber, Visitor, u32)> {
        self.chunks.iter().enumerate().filter_map(|(index, chunk)| Some((index, chunk.as_ref()?))).flat_map(
            move |(index, chunk)| {
                let first = (self.base + index as u64) * CHUNK as u64;
                chunk.leases.iter().enumerate().filter(|(_, lease)| **lease != 0).map(move |(slot, lease)| {
                    (QueueNumber::new(first + slot as u64), chunk.visitor(slot), *lease)
                })
            },
        )
    }

    /// The live tickets after a number, by number.
    pub(crate) fn after(&self, number: u64) -> impl Iterator<Item = (QueueNumber, u32)> {
        let base = self.base;
        let skipped = usize::try_from((number / CHUNK as u64).saturating_sub(base)).unwrap_or(usize::MAX);
        let chunks = self.chunks.iter().enumerate().skip(skipped);
        chunks.filter_map(|(index, chunk)| Some((index, chunk.as_ref()?))).flat_map(move |(index, chunk)| {
            let first = (base + index as u64) * CHUNK as u64;
            let live = chunk.leases.iter().enumerate().filter(|(_, lease)| **lease != 0);
            live.map(move |(slot, lease)| (QueueNumber::new(first + slot as u64), *lease))
                .filter(move |(live, _)| live.get() > number)
        })
    }

    /// Bytes on the heap.
    pub(crate) fn bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().flatten().map(|chunk| chunk.bytes()).sum();
        chunks
            + self.chunks.capacity() * size_of::<Option<Box<Chunk>>>()
            + self.earliest.capacity() * size_of::<u32>()
    }

    fn note_earliest(&mut self, chunk: usize, lease: u32) {
        self.earliest[chunk] = lease.min(self.earliest[chunk]);
        self.earliest_of_all = lease.min(self.earliest_of_all);
    }

    fn locate(&self, number: QueueNumber) -> Option<(usize, usize)> {
        let chunk = (number.get() / CHUNK as u64).checked_sub(self.base)?;
        Some((usize::try_from(chunk).ok()?, (number.get() % CHUNK as u64) as usize))
    }
}
