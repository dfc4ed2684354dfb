//! Names of rooms: safe in a path, in the name of a cookie and in the key of a store, in one spelling.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest name, in bytes.
pub const MAX_ROOM_NAME_BYTES: usize = 48;

/// The name of a room: 1 to [`MAX_ROOM_NAME_BYTES`] bytes of `a-z 0-9 - _`, the first a letter or a digit.
///
/// Capitals are refused, so that two spellings are never one room to people and two to machines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomName(Arc<str>);

/// Why a text is no name of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RoomNameError {
    /// No bytes, or too many.
    #[error("a room's name has 1 to {MAX_ROOM_NAME_BYTES} characters")]
    Length,
    /// A character outside the alphabet, at this byte.
    #[error("a room's name consists of a-z, 0-9, - and _, and begins with a letter or a digit; see byte {0}")]
    Character(usize),
}

impl RoomName {
    /// Checks a text.
    ///
    /// # Errors
    /// [`RoomNameError`], for the first thing that is wrong.
    pub fn new(text: &str) -> Result<Self, RoomNameError> {
        if !(1..=MAX_ROOM_NAME_BYTES).contains(&text.len()) {
            return Err(RoomNameError::Length);
        }
        let wrong = text.bytes().enumerate().find(|(at, byte)| match byte {
            b'a'..=b'z' | b'0'..=b'9' => false,
            b'-' | b'_' => *at == 0,
            _ => true,
        });
        wrong.map_or_else(|| Ok(Self(text.into())), |(at, _)| Err(RoomNameError::Character(at)))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RoomName {
    type Err = RoomNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_for_each_name() {
        let longest = "a".repeat(MAX_ROOM_NAME_BYTES);
        for good in ["demo", "a", "9", "summer-sale_2026", "0-", &longest] {
            assert_eq!(good.parse::<RoomName>().map(|name| name.to_string()), Ok(good.to_owned()));
        }
        let too_long = "a".repeat(MAX_ROOM_NAME_BYTES + 1);
        for text in ["", &too_long] {
            assert_eq!(RoomName::new(text), Err(RoomNameError::Length));
        }
        for (text, at) in [
            ("Demo", 0),
            ("-demo", 0),
            ("_demo", 0),
            ("de mo", 2),
            ("demo/", 4),
            ("demo;", 4),
            ("de.mo", 2),
            ("..", 0),
            ("d{e}", 1),
            ("d%65mo", 1),
            ("démo", 1),
            ("demo\n", 4),
            ("demo\0", 4),
        ] {
            assert_eq!(RoomName::new(text), Err(RoomNameError::Character(at)), "{text:?}");
        }
    }
}
