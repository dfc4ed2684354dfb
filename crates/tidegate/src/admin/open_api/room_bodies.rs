//! What the admin API answers about waiting rooms, as schemas.

#![expect(dead_code, reason = "the types exist for their schemas and are never made")]

use schemars::JsonSchema;

use crate::door::open_api::{Nullable, Seconds};

/// A waiting room.
#[derive(JsonSchema)]
pub(super) struct Room {
    name: String,
    /// `open`, `paused`, `draining`, `closed` or `scheduled`.
    state: String,
    waiting: u64,
    /// Called, and not come in yet.
    ready: u64,
    /// Sessions.
    active: u64,
    /// Seats of sessions that ended before their pass.
    held: u64,
    serving_number: u64,
    next_number: u64,
    epoch: u32,
    counted: RoomCounts,
    draw: RoomDraw,
    /// The room as a rule file has it.
    definition: RoomDocument,
}

/// What the order of those is drawn from who come before a shuffled opening; docs/guide/steering-rooms.md says how to check it.
#[derive(JsonSchema)]
struct RoomDraw {
    /// SHA-256 of the seed, to be published before the opening; null where nothing is drawn.
    commitment: Nullable<String>,
    /// The draw, once it was made.
    made: Nullable<RoomDrawn>,
}

/// A draw that was made: all it takes to compute it again.
#[derive(JsonSchema)]
struct RoomDrawn {
    /// The last number that had left the line before.
    after: u64,
    /// The last number that took part.
    last: u64,
    /// What the order was made from: SHA-256 of the seed, the beacon and how many took part.
    key: String,
    /// What was committed to.
    seed: Nullable<String>,
}

/// A room that is gone.
#[derive(JsonSchema)]
pub(super) struct RoomRemoved {
    name: String,
    #[schemars(extend("const" = true))]
    removed: bool,
}

/// One visitor of a room, of whom nothing is told that would name it. Times are Unix seconds.
#[derive(JsonSchema)]
pub(super) struct RoomRow {
    queue_number: u64,
    /// `waiting`, `ready`, `active` or `held`: a session that is over while its pass is still valid.
    state: String,
    /// Until when that is so if nothing happens.
    until: Seconds,
    /// Of sessions.
    started_at: Nullable<Seconds>,
    /// Of sessions: the last sign of life.
    seen_at: Nullable<Seconds>,
    /// Of sessions: when they end whatever comes.
    ends_at: Nullable<Seconds>,
    /// Of sessions: how often they were renewed.
    renewals: Nullable<u64>,
}

/// What was counted on this node since it started.
#[derive(JsonSchema)]
struct RoomCounts {
    joined: u64,
    admitted: u64,
    abandoned: u64,
    expired: u64,
    ended: u64,
}

/// A room as it stands in the list `rooms` of a rule file; docs/reference/rules.schema.json has its fields.
pub(super) struct RoomDocument;

impl JsonSchema for RoomDocument {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RoomDocument".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "object",
            "description": "A room as it stands in the list `rooms` of a rule file; docs/reference/rules.schema.json has its fields.",
            "required": ["name", "capacity", "release_rate"],
            "additionalProperties": true,
        })
    }
}
