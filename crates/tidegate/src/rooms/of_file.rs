//! The rooms of a rule file, which may change while visitors wait.
//!
//! What has changed in the file since it was taken up last is taken up, and nothing else: what an operator has changed of a room stays
//! until its entry in the file changes. Which entry was taken up last is kept with the room ([`super::kept`]), so a node that starts
//! puts nothing in force that another node, or it itself before, has put in force already. A room that is not in the file any more
//! stays with everybody in it, and a warning says so: to take people's places away is nothing that a line which was deleted by mistake
//! may do. All rooms of a file are taken up or none, but for what visitors in one of them do not allow any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate_config::RoomDefinition;
use tidegate_core::room::{RoomName, Settings};
use tidegate_store::rooms::RoomError;

use super::definition::{Definition, Room};
use super::kept::Kept;
use super::{Rooms, RoomsError, Shared};

/// The rooms of the file as they were taken up last, and how to go back.
#[derive(Default)]
pub(super) struct OfFile {
    rooms: Vec<RoomDefinition>,
    /// Those of the rules in force, where they could not be taken up yet because the store could not be reached.
    waiting: Option<Vec<RoomDefinition>>,
    before: Option<Before>,
}

/// How it was before a file was taken up.
struct Before {
    rooms: Vec<RoomDefinition>,
    waiting: Option<Vec<RoomDefinition>>,
    /// The rooms that were changed, as they were; `None` of those that were made.
    changed: Vec<(RoomName, Option<Arc<Room>>)>,
}

impl OfFile {
    /// The file's entry of a room.
    pub(super) fn entry(&self, name: &RoomName) -> Option<&RoomDefinition> {
        self.rooms.iter().find(|room| room.name == *name)
    }
}

impl Rooms {
    /// Takes up what has changed in the rooms of a rule file since the last time: all of it, or nothing.
    ///
    /// # Errors
    /// A room cannot be as the file says; everything is as it was.
    pub async fn take_up(&self, file: &[RoomDefinition]) -> Result<(), RoomsError> {
        let mut of_file = self.0.changing.lock().await;
        let changed = self.0.take_up(&of_file, file).await?;
        of_file.taken_up(file, changed);
        Ok(())
    }

    /// The same; where the store cannot be reached, a [`Driver`](super::Driver) takes them up once it can be. Whether it is done.
    ///
    /// # Errors
    /// A room cannot be as the file says; everything is as it was.
    pub async fn take_up_when_there(&self, file: &[RoomDefinition]) -> Result<bool, RoomsError> {
        let mut of_file = self.0.changing.lock().await;
        match self.0.take_up(&of_file, file).await {
            Ok(changed) => {
                of_file.taken_up(file, changed);
                Ok(true)
            }
            Err(error) if error.retryable() => {
                tracing::warn!(%error, "rooms are not as the rule file says before the store is there; it is tried every second");
                let waiting = of_file.waiting.replace(file.to_vec());
                of_file.before = Some(Before { rooms: of_file.rooms.clone(), waiting, changed: Vec::new() });
                self.0.may_lack.store(true, Ordering::Release);
                self.0.watch.look_again();
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Goes back to how it was before the last file was taken up: something else in it could not be.
    pub async fn put_back(&self) {
        let mut of_file = self.0.changing.lock().await;
        if let Some(before) = of_file.before.take() {
            (of_file.rooms, of_file.waiting) = (before.rooms, before.waiting);
            self.0.go_back(before.changed).await;
        }
    }

    /// Takes up the file that waits for the store, if any, and takes in what else the store has.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub(super) async fn catch_up(&self) -> Result<(), RoomsError> {
        let mut of_file = self.0.changing.lock().await;
        if let Some(file) = of_file.waiting.clone() {
            match self.0.take_up(&of_file, &file).await {
                Ok(changed) => {
                    of_file.taken_up(&file, changed);
                    tracing::info!("the rooms are there");
                }
                Err(error) if error.retryable() => return Err(error),
                Err(error) => {
                    of_file.waiting = None;
                    tracing::error!(%error, "rooms cannot be as the rule file says");
                }
            }
        }
        self.0.adopt(&of_file).await
    }
}

impl OfFile {
    fn taken_up(&mut self, file: &[RoomDefinition], changed: Vec<(RoomName, Option<Arc<Room>>)>) {
        let rooms = std::mem::replace(&mut self.rooms, file.to_vec());
        self.before = Some(Before { rooms, waiting: self.waiting.take(), changed });
    }
}

impl Shared {
    /// Takes up what has changed in a file; what was changed by that.
    async fn take_up(
        &self,
        of_file: &OfFile,
        file: &[RoomDefinition],
    ) -> Result<Vec<(RoomName, Option<Arc<Room>>)>, RoomsError> {
        let new: Vec<_> = file.iter().filter(|room| !of_file.rooms.contains(room)).collect();
        let mut changed = Vec::with_capacity(new.len());
        if !new.is_empty() {
            self.check_secret()?;
            let kept = self.kept_of(&new).await?;
            let is_in_force = |room: &RoomDefinition| {
                let kept = kept.get(&room.name).and_then(Kept::read);
                kept.and_then(|kept| kept.of_file).as_ref() == Some(room)
            };
            let (in_force, new): (Vec<_>, Vec<_>) = new.into_iter().partition(|room| is_in_force(room));
            let definition = |room: &RoomDefinition| {
                Definition::of(&Kept { room: room.clone(), of_file: Some(room.clone()) }, &self.keys)
            };
            let definitions = new.into_iter().map(definition).collect::<Result<Vec<_>, _>>()?;
            for definition in &definitions {
                match self.define_or_keep(definition).await {
                    Ok(former) => changed.push((definition.name.clone(), former)),
                    Err(error) => {
                        self.go_back(changed).await;
                        return Err(error);
                    }
                }
            }
            for room in in_force {
                if let Some((name, settings)) = kept.get_key_value(&room.name) {
                    self.adopt_room(name, settings);
                }
            }
        }
        self.warn_of_gone(of_file, file);
        Ok(changed)
    }

    /// The settings of those of these rooms that are kept.
    async fn kept_of(&self, rooms: &[&RoomDefinition]) -> Result<BTreeMap<RoomName, Settings>, RoomsError> {
        let listed = self.store.rooms().await.map_err(RoomsError::Unlisted)?;
        let mut kept: BTreeMap<_, _> = listed.into_iter().collect();
        for RoomDefinition { name, .. } in rooms {
            if kept.contains_key(name) {
                continue;
            }
            // One that could not be read yet is not in the list, and must not be taken for a new one.
            match self.store.status(name).await {
                Ok(status) => drop(kept.insert(name.clone(), status.settings)),
                Err(RoomError::UnknownRoom) => {}
                Err(error) => return Err(RoomsError::Store(name.clone(), error)),
            }
        }
        Ok(kept)
    }

    fn warn_of_gone(&self, of_file: &OfFile, file: &[RoomDefinition]) {
        let rooms = self.rooms.load();
        for gone in of_file.rooms.iter().filter(|room| !file.iter().any(|other| other.name == room.name)) {
            if rooms.contains_key(&gone.name) {
                tracing::warn!(
                    room = %gone.name,
                    "a room is not in the rule file any more: it stays, with everybody in it, until it is removed: tidegate rooms remove {}",
                    gone.name
                );
            }
        }
    }

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
