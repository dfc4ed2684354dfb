//! Names of rooms: safe in a path, in the name of a cookie and in the key of a store, in one spelling.

use core::fmt;
use core::str::FromStr;
use std::sync::Arc;

/// The longest name, in bytes.
pub const MAX_ROOM_NAME_BYTES: usize = 63;

/// The name of a room: 1 to [`MAX_ROOM_NAME_BYTES`] bytes of `a-z 0-9 -`, the first a letter or a digit. Capitals are refused,
/// so that two spellings are never one room to people and two to machines. Cloning it copies nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomName(Arc<str>);

/// Why a text is no name of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomNameError {
    /// No bytes, or too many.
    Length,
    /// A byte outside the alphabet, and where.
    Character(usize),
}

impl fmt::Display for RoomNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RoomNameError::Length => write!(f, "a room's name has 1 to {MAX_ROOM_NAME_BYTES} characters"),
            RoomNameError::Character(at) => write!(
                f,
                "a room's name is made of a-z, 0-9 and -, and begins with a letter or a digit; see byte {at}"
            ),
        }
    }
}

impl core::error::Error for RoomNameError {}

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
            b'-' => *at == 0,
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
        for good in ["demo", "a", "9", "summer-sale-2026", "0-", &longest] {
            assert_eq!(good.parse::<RoomName>().map(|name| name.to_string()), Ok(good.to_owned()));
        }
        let too_long = "a".repeat(MAX_ROOM_NAME_BYTES + 1);
        for text in ["", &too_long] {
            assert_eq!(RoomName::new(text), Err(RoomNameError::Length));
        }
        for (text, at) in
            [("Demo", 0), ("-demo", 0), ("de mo", 2), ("d_mo", 1), ("..", 0), ("d{e}", 1), ("démo", 1)]
        {
            assert_eq!(RoomName::new(text), Err(RoomNameError::Character(at)), "{text:?}");
        }
    }
}
