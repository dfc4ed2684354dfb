//! What is kept of a room beside what decides: how it was described, so that every node shows it like the one at which it was made, and
//! after a restart; and its entry of the rule file that was in force last, so that a file which says the same changes nothing.
//!
//! It is a text that the store keeps with the room's settings, in one step with them.

use serde_json::{Value, json};
use tidegate_config::{RoomDefinition, parse_room, room_json};
use tidegate_core::room::{Notes, Settings};

/// Where a mistake in it would be.
const PLACE: &str = "what was kept of a room";

/// A room as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// The definition in force.
    pub(super) room: RoomDefinition,
    /// The one of the rule file that was put in force last; `None` where none was.
    pub(super) of_file: Option<RoomDefinition>,
}

impl Kept {
    /// What is kept with these settings; `None` where nothing is, or another version has written it.
    pub(super) fn read(settings: &Settings) -> Option<Self> {
        let notes: Value = serde_json::from_str(settings.notes()?.as_str()).ok()?;
        let room = read_room(notes.get("room")?)?;
        let of_file = match notes.get("file") {
            Some(Value::Bool(true)) => Some(room.clone()),
            Some(file) => read_room(file),
            None => None,
        };
        Some(Self { room, of_file })
    }

    /// The same as it is written; `None` where it is too long.
    pub(super) fn notes(&self) -> Option<Notes> {
        let mut notes = json!({ "room": room_json(&self.room) });
        if let Some(file) = &self.of_file {
            notes["file"] = if *file == self.room { Value::Bool(true) } else { room_json(file) };
        }
        Notes::new(&notes.to_string())
    }
}

fn read_room(room: &Value) -> Option<RoomDefinition> {
    parse_room(&room.to_string(), PLACE).ok()
}

#[cfg(test)]
mod tests {
    use tidegate_core::room::{MAX_NOTES_BYTES, Spec};

    use super::*;

    fn room(text: &str) -> RoomDefinition {
        parse_room(text, "t").unwrap()
    }

    fn there_and_back(kept: &Kept) -> Option<Kept> {
        let settings = Settings::new(Spec { seed: None, ..kept.room.spec.clone() }).unwrap();
        Kept::read(&settings.with_notes(Some(kept.notes()?)))
    }

    #[test]
    fn what_is_kept_comes_back() {
        let now =
            room("{ name: a, capacity: 5, release_rate: 600/m, hosts: [a.example], message: 'a \"b\"' }");
        let file = room("{ name: a, capacity: 1, release_rate: 10/s, session: { limit: none, idle: 15s } }");
        for of_file in [None, Some(now.clone()), Some(file)] {
            let kept = Kept { room: now.clone(), of_file };
            assert_eq!(there_and_back(&kept).as_ref(), Some(&kept));
        }
    }

    #[test]
    fn the_longest_room_of_a_file_and_another_one_of_an_operator_can_be_kept() {
        // Each a character of four bytes.
        let long = |count: usize| "\u{1f39f}".repeat(count);
        let many = |count: usize| (0..count).map(|_| long(255)).collect::<Vec<_>>();
        let longest = |capacity| RoomDefinition {
            hosts: many(tidegate_config::MAX_ROOM_HOSTS),
            asset_origins: many(tidegate_config::MAX_ROOM_ASSET_ORIGINS),
            return_to: Some(long(2_048)),
            title: long(tidegate_config::MAX_ROOM_TITLE_CHARS),
            message: Some(long(tidegate_config::MAX_ROOM_MESSAGE_CHARS)),
            ..room(&format!("{{ name: a, capacity: {capacity}, release_rate: 1/s }}"))
        };
        let kept = Kept { room: longest(1), of_file: Some(longest(2)) };
        let notes = kept.notes().unwrap();
        assert!(notes.as_str().len() > MAX_NOTES_BYTES / 2);
        assert_eq!(there_and_back(&kept), Some(kept));
    }
}
