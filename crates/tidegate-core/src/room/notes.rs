//! What whoever makes a room wants kept with its settings, and no room reads.

use std::sync::Arc;

/// The longest notes of one room, in bytes.
pub const MAX_NOTES_BYTES: usize = 128 << 10;

/// A text that is kept with the settings of a room, wherever they are kept, and changes with them in one step: how the room looks, say, and
/// where that was written. Copies share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notes(Arc<str>);

impl Notes {
    /// These notes; `None` where they are longer than [`MAX_NOTES_BYTES`].
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (text.len() <= MAX_NOTES_BYTES).then(|| Self(Arc::from(text)))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_have_an_end() {
        let longest = "x".repeat(MAX_NOTES_BYTES);
        assert_eq!(Notes::new(&longest).unwrap().as_str(), longest);
        assert_eq!(Notes::new(&(longest + "x")), None);
    }
}
