//! How buckets are laid out in the store.

use std::fmt;
use std::str::FromStr;

use super::SettingsError;

const PROBLEM: SettingsError =
    SettingsError::Parameter("the layout must be plain, packed, or packed:8 to packed:24");

/// How buckets are laid out in the store. All nodes that share buckets must have the same layout. From plain to packed
/// buckets are carried over when they are next touched; any other change of layout begins with fresh buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Every bucket has a key of its own: about 113 bytes.
    #[default]
    Plain,
    /// Token and leaky buckets share hashes: about 24 bytes each where a hash has tens of them. All other buckets, and
    /// those whose rate is too odd for the short form, have keys of their own.
    Packed(Groups),
}

/// How many hashes the buckets of a packed layout share: a power of two. In a Cluster, so many per domain.
///
/// A hash should hold 8 to 128 buckets that are in use: with fewer its own size counts, with more it takes longer to
/// find one, and beyond `hash-max-listpack-entries` of the server (512 by default) it takes several times the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Groups {
    bits: u8,
}

impl Groups {
    /// The fewest, as a power of two.
    pub const MIN_BITS: u8 = 8;
    /// The most, as a power of two.
    pub const MAX_BITS: u8 = 24;

    /// 2 to this power, 8 to 24.
    ///
    /// # Errors
    ///
    /// The power is out of range.
    pub fn of_bits(bits: u8) -> Result<Self, SettingsError> {
        if (Self::MIN_BITS..=Self::MAX_BITS).contains(&bits) { Ok(Self { bits }) } else { Err(PROBLEM) }
    }

    /// The power of two.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.bits
    }
}

impl Default for Groups {
    /// 65,536: for half a million to eight million buckets in use.
    fn default() -> Self {
        Self { bits: 16 }
    }
}

impl FromStr for Layout {
    type Err = SettingsError;

    /// Reads `plain`, `packed`, or `packed:` and the groups as a power of two, as in `packed:20`.
    fn from_str(text: &str) -> Result<Self, SettingsError> {
        match text.split_once(':') {
            None if text == "plain" => Ok(Self::Plain),
            None if text == "packed" => Ok(Self::Packed(Groups::default())),
            Some(("packed", bits)) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().map_err(|_| PROBLEM).and_then(Groups::of_bits).map(Self::Packed)
            }
            _ => Err(PROBLEM),
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Layout::Plain => f.write_str("plain"),
            Layout::Packed(groups) => write!(f, "packed:{}", groups.bits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_is_read_as_it_is_written() {
        assert_eq!("plain".parse(), Ok(Layout::Plain));
        assert_eq!("packed".parse(), Ok(Layout::Packed(Groups { bits: 16 })));
        for bits in 8..=24 {
            let text = format!("packed:{bits}");
            let layout: Layout = text.parse().unwrap();
            assert_eq!((layout, layout.to_string()), (Layout::Packed(Groups { bits }), text));
        }
        for wrong in ["", "Plain", "packed:", "packed:7", "packed:25", "packed:+9", "packed:300", "plain:9"] {
            assert_eq!(wrong.parse::<Layout>(), Err(PROBLEM), "{wrong}");
        }
    }
}
