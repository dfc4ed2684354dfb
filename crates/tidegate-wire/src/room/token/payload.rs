//! The binary fields of payloads: integers of a fixed size, big-endian, and texts with one byte of length in front.

use tidegate_core::time::Timestamp;

/// Reads fields in their order; every field is taken or everything is refused.
pub(super) struct Reader<'p>(&'p [u8]);

impl<'p> Reader<'p> {
    /// What `read` makes of all of the payload, not of a part of it.
    pub(super) fn whole<T>(payload: &'p [u8], read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let mut reader = Self(payload);
        let value = read(&mut reader)?;
        reader.is_empty().then_some(value)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn u8(&mut self) -> Option<u8> {
        self.bytes().map(|[byte]| byte)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_be_bytes)
    }

    pub(super) fn u128(&mut self) -> Option<u128> {
        self.bytes().map(u128::from_be_bytes)
    }

    /// A time that can be written; a later one would be cut and so have two encodings.
    pub(super) fn timestamp(&mut self) -> Option<Timestamp> {
        self.u64().filter(|micros| *micros <= Timestamp::MAX.as_micros()).map(Timestamp::from_micros)
    }

    pub(super) fn text(&mut self) -> Option<&'p str> {
        let length = usize::from(self.u8()?);
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        str::from_utf8(text).ok()
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }
}

/// Writes a text of at most 255 bytes, which names of rooms and hosts are.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() <= usize::from(u8::MAX));
    out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(text.as_bytes());
}
