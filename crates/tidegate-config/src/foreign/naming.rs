//! Names for rules of products whose limits have none, or not names like ours.

use std::collections::HashSet;

use tidegate_core::rule::model::MAX_NAME_BYTES;

/// Room for what makes a name unique: `-` and eight digits of a checksum, `-` and a number.
const SUFFIX_BYTES: usize = 24;

/// Gives each rule of a domain a name of its own.
#[derive(Default)]
pub(super) struct Names {
    taken: HashSet<String>,
}

impl Names {
    /// A name like `wanted`: the same for the same text, in whatever order others are named, unless two texts become alike.
    pub(super) fn give(&mut self, wanted: &str) -> String {
        let name = writable(wanted);
        let mut unique = name.clone();
        let mut number = 2_u32;
        while !self.taken.insert(unique.clone()) {
            unique = format!("{name}-{number}");
            number += 1;
        }
        unique
    }
}

/// The text as the name of a rule. What cannot stand in one becomes `-`, and then a checksum of the whole text follows, so
/// that different texts stay different.
fn writable(text: &str) -> String {
    let is_allowed = |c: &char| c.is_ascii_alphanumeric() || "._:/-".contains(*c);
    let room = MAX_NAME_BYTES - SUFFIX_BYTES;
    if !text.is_empty() && text.len() <= room && text.chars().all(|c| is_allowed(&c)) {
        return text.to_owned();
    }
    let kept: String = text.chars().map(|c| if is_allowed(&c) { c } else { '-' }).take(room).collect();
    format!("{kept}-{:08x}", checksum(text))
}

/// FNV-1a of 32 bits: <https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>.
fn checksum(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_writable_stable_and_unique() {
        let mut names = Names::default();
        assert_eq!(names.give("remote_address"), "remote_address");
        assert_eq!(names.give("remote_address"), "remote_address-2");
        assert_eq!(names.give("path_/json"), "path_/json");
        let (blank, tab) = (names.give("a b"), names.give("a\tb"));
        assert!(blank.starts_with("a-b-") && tab.starts_with("a-b-") && blank != tab);
        assert_eq!(names.give(&"x".repeat(500)).len(), MAX_NAME_BYTES - SUFFIX_BYTES + 9);
        assert!(!names.give("").is_empty());
    }
}
