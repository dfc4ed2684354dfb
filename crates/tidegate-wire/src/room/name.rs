//! Names of rooms, which are those of the core, as texts of JSON.

use serde::{Deserialize, Deserializer, Serializer, de};
pub use tidegate_core::room::{MAX_ROOM_NAME_BYTES, RoomName, RoomNameError};

pub(crate) fn serialize<S: Serializer>(name: &RoomName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.as_str())
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RoomName, D::Error> {
    let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
    RoomName::new(&text).map_err(de::Error::custom)
}
