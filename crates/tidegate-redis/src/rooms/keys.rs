//! What is kept of rooms in Redis, and under which keys.
//!
//! ```text
//! <prefix>room:{<name>}:h       the head (scripts/take.lua says what is in it)
//! <prefix>room:{<name>}:l       the lease: the keeper, with an expiry
//! <prefix>room:{<name>}:e       a list: the entries after the snapshot
//! <prefix>room:{<name>}:s<g>    a list: the pieces of the snapshot of this name
//! <prefix>rooms                 a set: the names of all rooms
//!
//! <prefix>rooms:<db>:all        channel: what all nodes are told
//! <prefix>rooms:<db>:n<node>    channel: what one node is told
//! <prefix>rooms:<db>:b<node>    channel: a node's messages to itself, to see whether they come
//! ```
//!
//! All keys of a room share a slot of a Cluster. A room's name holds nothing but `a-z`, `0-9` and `-`. Channels know no databases, so
//! they name it.

use tidegate_core::room::RoomName;
use tidegate_store::rooms::shared::NodeId;

use crate::settings::RedisSettings;

/// Makes keys and channels.
#[derive(Clone, Debug)]
pub(super) struct RoomKeys {
    prefix: Box<str>,
    channels: Box<str>,
}

/// The keys of one room.
#[derive(Clone, Debug)]
pub(super) struct KeysOfRoom {
    stem: Box<str>,
}

impl RoomKeys {
    pub(super) fn new(settings: &RedisSettings) -> Self {
        let prefix = settings.key_prefix();
        Self { prefix: prefix.into(), channels: format!("{prefix}rooms:{}:", settings.database()).into() }
    }

    pub(super) fn of(&self, room: &RoomName) -> KeysOfRoom {
        KeysOfRoom { stem: format!("{}room:{{{}}}:", self.prefix, room.as_str()).into() }
    }

    /// The set of the names of all rooms.
    pub(super) fn directory(&self) -> Vec<u8> {
        format!("{}rooms", self.prefix).into_bytes()
    }

    /// No key: the slots of these lead to any nodes of a Cluster.
    pub(super) fn anywhere(&self, turn: u64) -> Vec<u8> {
        // The byte at the end chooses the connection, the same one for all.
        format!("{}rooms:{turn}:1", self.prefix).into_bytes()
    }

    pub(super) fn to_all(&self) -> Vec<u8> {
        format!("{}all", self.channels).into_bytes()
    }

    pub(super) fn to_node(&self, node: NodeId) -> Vec<u8> {
        format!("{}n{:x}", self.channels, node.0).into_bytes()
    }

    pub(super) fn to_itself(&self, node: NodeId) -> Vec<u8> {
        format!("{}b{:x}", self.channels, node.0).into_bytes()
    }
}

impl KeysOfRoom {
    pub(super) fn head(&self) -> Vec<u8> {
        self.key("h")
    }

    pub(super) fn lease(&self) -> Vec<u8> {
        self.key("l")
    }

    pub(super) fn entries(&self) -> Vec<u8> {
        self.key("e")
    }

    /// What the keys of pieces begin with.
    pub(super) fn pieces_stem(&self) -> Vec<u8> {
        self.key("s")
    }

    pub(super) fn pieces(&self, name: &str) -> Vec<u8> {
        format!("{}s{name}", self.stem).into_bytes()
    }

    /// No key, but in the room's slot: what is asked under it goes over the first connection, which has short calls only.
    pub(super) fn short(&self) -> Vec<u8> {
        self.key("0")
    }

    /// The same for the second connection, over which much is carried.
    pub(super) fn long(&self) -> Vec<u8> {
        self.key("1")
    }

    fn key(&self, what: &str) -> Vec<u8> {
        format!("{}{what}", self.stem).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::slot_of;

    #[test]
    fn all_keys_of_a_room_share_a_slot_and_rooms_do_not() {
        let settings = RedisSettings::parse("redis://host/3").unwrap().with_key_prefix("p:").unwrap();
        let keys = RoomKeys::new(&settings);
        let of = |name: &str| keys.of(&RoomName::new(name).unwrap());
        let room = of("tickets-2026");
        assert_eq!(room.head(), b"p:room:{tickets-2026}:h");
        let all =
            [room.lease(), room.entries(), room.pieces_stem(), room.pieces("1f"), room.short(), room.long()];
        assert!(all.iter().all(|key| slot_of(key) == slot_of(&room.head())));
        let slots: std::collections::HashSet<u16> =
            (0..64).map(|n| slot_of(&of(&format!("r{n}")).head())).collect();
        assert!(slots.len() > 50);
        assert_eq!(keys.to_node(NodeId(255)), b"p:rooms:3:nff");
    }
}
