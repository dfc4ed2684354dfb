//! Rooms that the store has and this node has not, or not so: made, changed or removed at another node, or kept from before a start.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate_config::RoomDefinition;
use tidegate_core::room::{RoomName, Settings};
use tidegate_store::rooms::RoomError;

use super::definition::{Definition, DefinitionError, Room};
use super::kept::Kept;
use super::of_file::OfFile;
use super::{Rooms, RoomsError, Shared};

/// What was taken in.
pub(super) enum Adopted {
    /// Nothing: it was here.
    Known,
    /// A change.
    Changed,
    /// A room, and what was kept of it.
    New(Option<Box<Kept>>),
}

impl Rooms {
    /// Takes in what the store has, and lets go what it has not any more. A [`Driver`](super::Driver) does the same when the store says
    /// that something has changed.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn adopt(&self) -> Result<(), RoomsError> {
        let of_file = self.0.changing.lock().await;
        self.0.adopt(&of_file).await
    }

    /// The same; where the store cannot be reached, a driver does it once it can be.
    ///
    /// # Errors
    /// The store cannot be asked, and never will be.
    pub async fn adopt_when_there(&self) -> Result<(), RoomsError> {
        match self.adopt().await {
            Err(error) if error.retryable() => {
                self.0.may_lack.store(true, Ordering::Release);
                self.0.watch.look_again();
            }
            adopted => adopted?,
        }
        Ok(())
    }
}

impl Shared {
    pub(super) async fn adopt(&self, of_file: &OfFile) -> Result<(), RoomsError> {
        let kept = self.store.rooms().await.map_err(RoomsError::Unlisted)?;
        if let (Some((name, _)), Err(error)) = (kept.first(), self.check_secret()) {
            tracing::error!(room = %name, %error, "other nodes have rooms that cannot be shown here");
            return Ok(());
        }
        for (name, settings) in &kept {
            match self.adopt_room(name, settings) {
                Adopted::Known => {}
                Adopted::Changed => tracing::info!(room = %name, "a room was changed at another node"),
                Adopted::New(kept) => tell_of_new(name, kept.as_deref(), of_file),
            }
        }
        let kept: BTreeSet<_> = kept.into_iter().map(|(name, _)| name).collect();
        let here = self.rooms.load_full();
        for name in here.keys().filter(|name| !kept.contains(*name)) {
            // One that only cannot be read now is not gone.
            if matches!(self.store.status(name).await, Err(RoomError::UnknownRoom)) {
                self.let_go(name);
                tracing::info!(room = %name, "a room was removed at another node");
            }
        }
        self.may_lack.store(false, Ordering::Release);
        Ok(())
    }

    /// Shows a room as it is kept.
    pub(super) fn adopt_room(&self, name: &RoomName, settings: &Settings) -> Adopted {
        let former = self.rooms.load().get(name).cloned();
        if former.as_ref().is_some_and(|room| room.settings == *settings) {
            return Adopted::Known;
        }
        let kept = Kept::read(settings);
        let room = self.room_of(name, settings, kept.as_ref(), former.as_deref());
        let room = match room {
            Ok(room) => Arc::new(room),
            Err(error) => {
                tracing::error!(room = %name, %error, "a room that is kept cannot be shown");
                return Adopted::Known;
            }
        };
        self.watch.follow(name, &room.news, &room.counts);
        self.show(&room);
        if former.is_some() { Adopted::Changed } else { Adopted::New(kept.map(Box::new)) }
    }

    /// The room as it was described; with the usual page where this node has not what that takes, its template for example.
    fn room_of(
        &self,
        name: &RoomName,
        settings: &Settings,
        kept: Option<&Kept>,
        former: Option<&Room>,
    ) -> Result<Room, DefinitionError> {
        let usual;
        let kept = match kept {
            Some(kept) => kept,
            None => {
                usual = Kept { room: RoomDefinition::new(name.clone(), settings.spec()), of_file: None };
                &usual
            }
        };
        let described = Definition::of(kept, &self.keys)?;
        let described = Definition { settings: settings.clone(), ..described };
        Room::new(&described, &self.pages, former).or_else(|error| {
            tracing::error!(room = %name, %error, "a room is shown here with the usual page");
            let plain =
                Definition { template: None, asset_origins: Vec::new(), accent: None, ..described.clone() };
            Room::new(&plain, &self.pages, former)
        })
    }
}

fn tell_of_new(name: &RoomName, kept: Option<&Kept>, of_file: &OfFile) {
    match kept {
        None => tracing::warn!(
            room = %name,
            "a room was kept that is not in the rule file: it goes on, with the usual page, no hosts, and a seat per device; \
             add it to the file, or remove it: tidegate rooms remove {name}"
        ),
        Some(Kept { of_file: Some(_), .. }) if of_file.entry(name).is_none() => tracing::warn!(
            room = %name,
            "a room was kept that is not in the rule file: it goes on as it was, until it is removed: tidegate rooms remove {name}"
        ),
        Some(_) => tracing::info!(room = %name, "a room is here that an operator has made"),
    }
}
