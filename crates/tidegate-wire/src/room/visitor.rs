//! Who a visitor is to a room: 128 bits that say the same of the same device, address or header, and nothing else.
//!
//! The bits are a keyed hash with the room's name in it: nobody who reads them in a store, a ticket or a log learns
//! the address or the header they were made of, and the same device has other bits in another room.

use std::fmt;

use crate::identity::ClientIp;
use crate::room::name::RoomName;
use crate::room::token::keys::{LabelledKey, RoomSecret};

#[cfg(test)]
mod tests;

/// Longest header value that names a visitor, in bytes.
pub const MAX_IDENTITY_HEADER_BYTES: usize = 1024;

/// The random number in a visitor's device cookie. Shows itself to nobody: who knows it can take the visitor's seat.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceId(u128);

/// A visitor as a room knows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VisitorId(u128);

/// The address prefix of a visitor as a room knows it, by which seats are counted: IPv4 /32, IPv6 by the
/// [prefix](crate::identity::Ipv6Prefix) of the policy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressId(u128);

/// The header that is to name the visitor cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the header that names the visitor must have 1 to {MAX_IDENTITY_HEADER_BYTES} bytes")]
pub struct IdentityHeaderError;

/// The key of the hashes.
///
/// It must stay while visitors hold seats, also when the keys of tokens are rotated: with another key every visitor
/// is a stranger, and no ticket belongs to who shows it. So give it a secret of its own.
#[derive(Debug, Clone)]
pub struct VisitorKey(LabelledKey);

// === impl DeviceId ===

impl DeviceId {
    /// A new device of 128 random bits, which the caller draws.
    #[must_use]
    pub const fn from_random(random: u128) -> Self {
        Self(random)
    }

    /// The bits, for the payload of a token.
    pub(super) const fn to_bits(self) -> u128 {
        self.0
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceId(…)")
    }
}

// === impl VisitorId, AddressId ===

macro_rules! hashed_id {
    ($name:ident) => {
        impl $name {
            /// The identity that has these bits.
            #[must_use]
            pub const fn from_bits(bits: u128) -> Self {
                Self(bits)
            }

            /// The bits, for the core and the stores.
            #[must_use]
            pub const fn to_bits(self) -> u128 {
                self.0
            }
        }

        /// 32 hexadecimal digits.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

hashed_id!(VisitorId);
hashed_id!(AddressId);

// === impl VisitorKey ===

impl VisitorKey {
    /// The key that the secret holds for this purpose.
    #[must_use]
    pub fn new(secret: &RoomSecret) -> Self {
        Self(secret.derive(&["visitor"]))
    }

    /// The visitor with this device cookie (`one_seat_per: device`).
    #[must_use]
    pub fn of_device(&self, room: &RoomName, device: DeviceId) -> VisitorId {
        VisitorId(self.hash("device", room, &device.0.to_be_bytes()))
    }

    /// The visitor behind this address, cut to its prefix (`one_seat_per: ip`).
    #[must_use]
    pub fn of_address(&self, room: &RoomName, client: ClientIp) -> VisitorId {
        VisitorId(self.hash("address", room, client.key().as_bytes()))
    }

    /// The visitor whom the site names in a header of its own (`one_seat_per: header`).
    ///
    /// # Errors
    /// [`IdentityHeaderError`] if the value is empty or longer than [`MAX_IDENTITY_HEADER_BYTES`].
    pub fn of_header(&self, room: &RoomName, value: &[u8]) -> Result<VisitorId, IdentityHeaderError> {
        if !(1..=MAX_IDENTITY_HEADER_BYTES).contains(&value.len()) {
            return Err(IdentityHeaderError);
        }
        Ok(VisitorId(self.hash("header", room, value)))
    }

    /// The visitor whom a caller of the check API names by a value of these entries: a rule's subject, or its partition key. It is
    /// none that a browser, an address or a header could be.
    #[must_use]
    pub fn of_entries<'e>(
        &self,
        room: &RoomName,
        domain: &str,
        entries: impl IntoIterator<Item = (&'e str, &'e str)>,
    ) -> VisitorId {
        let mut parts: Vec<&[u8]> = vec![b"entries", room.as_str().as_bytes(), domain.as_bytes()];
        parts.extend(entries.into_iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]));
        VisitorId(half(&self.0.mac(&parts)))
    }

    /// The address prefix by which the room counts seats, whoever the visitor is.
    #[must_use]
    pub fn address_of(&self, room: &RoomName, client: ClientIp) -> AddressId {
        AddressId(self.hash("prefix", room, client.key().as_bytes()))
    }

    /// What says that somebody at this address was shown the door of a room at this time: bits that nobody else can make.
    #[must_use]
    pub fn sighting(&self, room: &RoomName, client: ClientIp, at_s: u64) -> u128 {
        let at = at_s.to_be_bytes();
        half(&self.0.mac(&[b"seen", room.as_str().as_bytes(), client.key().as_bytes(), &at]))
    }

    fn hash(&self, label: &str, room: &RoomName, value: &[u8]) -> u128 {
        let mac = self.0.mac(&[label.as_bytes(), room.as_str().as_bytes(), value]);
        half(&mac)
    }
}

fn half(mac: &[u8]) -> u128 {
    mac.first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes))
}
