//! A fixed number of bytes for records, the oldest overwritten first.

use super::length;

/// Bytes of a length.
pub(super) const LENGTH_BYTES: usize = 2;

/// Records one after the other, from `first` on, around the end. Each begins with its length, which counts itself.
#[derive(Debug)]
pub(super) struct Ring {
    bytes: Box<[u8]>,
    first: usize,
    used: usize,
}

impl Ring {
    pub(super) fn new(bytes: usize) -> Self {
        Self { bytes: vec![0; bytes].into_boxed_slice(), first: 0, used: 0 }
    }

    /// Forgets the oldest records until there is room for a new one, which is not larger than the ring.
    pub(super) fn make_room(&mut self, bytes: usize) {
        while self.used > 0 && self.bytes.len() - self.used < bytes {
            let at = |offset: usize| self.bytes[(self.first + offset) % self.bytes.len()];
            let oldest = usize::from(u16::from_le_bytes([at(0), at(1)])).clamp(1, self.used);
            self.first = (self.first + oldest) % self.bytes.len();
            self.used -= oldest;
        }
    }

    /// Appends a part of a record that there is room for.
    pub(super) fn write(&mut self, part: &[u8]) {
        let at = (self.first + self.used) % self.bytes.len();
        let (before_end, after) = part.split_at(part.len().min(self.bytes.len() - at));
        self.bytes[at..at + before_end.len()].copy_from_slice(before_end);
        self.bytes[..after.len()].copy_from_slice(after);
        self.used += part.len();
    }

    pub(super) fn write_text(&mut self, text: &str) {
        self.write(&length(text.len()));
        self.write(text.as_bytes());
    }

    /// All records, oldest first.
    pub(super) fn to_vec(&self) -> Vec<u8> {
        let to_end = self.used.min(self.bytes.len() - self.first);
        let (end, beginning) =
            (&self.bytes[self.first..self.first + to_end], &self.bytes[..self.used - to_end]);
        [end, beginning].concat()
    }
}

/// Splits the first record off, without its length.
pub(super) fn next_record<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let bytes = usize::from(u16::from_le_bytes(*rest.first_chunk()?));
    rest.split_off(..bytes)?.get(LENGTH_BYTES..)
}
