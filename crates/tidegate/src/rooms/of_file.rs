//! The rooms of a rule file, which may change while visitors wait.
//!
//! What has changed in the file is taken up, and nothing else: what an operator has changed of a room stays until its entry in the
//! file changes. A room that is not in the file any more stays with everybody in it, and a warning says so: to take people's places
//! away is nothing that a line which was deleted by mistake may do. All rooms of a file are taken up or none, but for what visitors in one
//! of them do not allow any more.

use std::sync::Arc;

use tidegate_config::RoomDefinition;
use tidegate_core::room::RoomName;

use super::definition::{Definition, Room};
use super::{Rooms, RoomsError, Shared};

/// The rooms of the file as they were taken up last, and how to go back.
#[derive(Default)]
pub(super) struct OfFile {
    rooms: Vec<RoomDefinition>,
    before: Option<Before>,
}

/// How it was before a file was taken up.
struct Before {
    rooms: Vec<RoomDefinition>,
    /// The rooms that were changed, as they were; `None` of those that were made.
    changed: Vec<(RoomName, Option<Arc<Room>>)>,
}

impl Rooms {
    /// Takes up what has changed in the rooms of a rule file since the last time: all of it, or nothing.
    ///
    /// # Errors
    /// A room cannot be as the file says; everything is as it was.
    pub async fn take_up(&self, file: &[RoomDefinition]) -> Result<(), RoomsError> {
        let shared = &*self.0;
        let mut of_file = shared.changing.lock().await;
        let is_new = |room: &&RoomDefinition| !of_file.rooms.contains(room);
        let definitions = file.iter().filter(is_new).map(|room| Definition::of_file(room, &shared.keys));
        let definitions = definitions.collect::<Result<Vec<_>, _>>()?;
        let mut changed = Vec::with_capacity(definitions.len());
        for definition in &definitions {
            match shared.define_or_keep(definition).await {
                Ok(former) => changed.push((definition.name.clone(), former)),
                Err(error) => {
                    shared.go_back(changed).await;
                    return Err(error);
                }
            }
        }
        let rooms = shared.rooms.load();
        for gone in of_file.rooms.iter().filter(|room| !file.iter().any(|other| other.name == room.name)) {
            if rooms.contains_key(&gone.name) {
                tracing::warn!(
                    room = %gone.name,
                    "a room is not in the rule file any more: it stays, with everybody in it, until it is removed: tidegate rooms remove {}",
                    gone.name
                );
            }
        }
        let before = std::mem::replace(&mut of_file.rooms, file.to_vec());
        of_file.before = Some(Before { rooms: before, changed });
        Ok(())
    }

    /// Takes in the rooms that the store has kept and the file does not name: made by an operator, or not in the file any more. What
    /// decides is kept with them; everything else is as usual, and a warning says so.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn adopt(&self) -> Result<(), RoomsError> {
        let shared = &*self.0;
        let _changing = shared.changing.lock().await;
        for (name, settings) in shared.store.rooms().await.map_err(RoomsError::Unlisted)? {
            if shared.rooms.load().contains_key(&name) {
                continue;
            }
            let usual = RoomDefinition::new(name.clone(), settings.spec());
            let adopted = match Definition::of_file(&usual, &shared.keys) {
                Ok(definition) => shared.define(&definition).await.map(drop),
                Err(error) => Err(error.into()),
            };
            match adopted {
                Ok(()) => tracing::warn!(
                    room = %name,
                    "a room was kept that is not in the rule file: it goes on, with the usual page, no hosts, and a seat per device; add it to the file, or remove it: tidegate rooms remove {name}"
                ),
                Err(error) => tracing::error!(room = %name, %error, "a room was kept that cannot go on"),
            }
        }
        Ok(())
    }

    /// Goes back to how it was before the last file was taken up: something else in it could not be.
    pub async fn put_back(&self) {
        let mut of_file = self.0.changing.lock().await;
        if let Some(before) = of_file.before.take() {
            of_file.rooms = before.rooms;
            self.0.go_back(before.changed).await;
        }
    }
}

impl Shared {
    /// As [`Shared::define`]; a room that visitors are in and that cannot be as the file says goes on as it is in what decides. What
    /// became of one room keeps neither the others nor the process from starting.
    async fn define_or_keep(&self, definition: &Definition) -> Result<Option<Arc<Room>>, RoomsError> {
        let error = match self.define(definition).await {
            Err(error @ RoomsError::Refused(..)) => error,
            Err(error @ RoomsError::Store(..)) if !error.retryable() => error,
            defined => return defined,
        };
        let name = &definition.name;
        tracing::error!(room = %name, %error, "a room cannot be as the rule file says: it stays as it is");
        match self.store.status(name).await {
            Ok(status) => self.define(&Definition { settings: status.settings, ..definition.clone() }).await,
            // There is none that could go on.
            Err(_) => Ok(self.rooms.load().get(name).cloned()),
        }
    }

    async fn go_back(&self, changed: Vec<(RoomName, Option<Arc<Room>>)>) {
        for (name, former) in changed.into_iter().rev() {
            let gone_back = match former {
                Some(room) => self.enter(&room).await.map_err(|error| error.to_string()),
                None => self.remove(&name).await.map(drop).map_err(|error| error.to_string()),
            };
            if let Err(error) = gone_back {
                tracing::error!(room = %name, error, "a room could not be put back as it was");
            }
        }
    }
}
