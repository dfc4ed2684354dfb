//! Where rooms are kept, whichever store it is: the port with its futures in boxes, so that doors need not know the store's type.

use std::future::Future;
use std::pin::Pin;

use tidegate_core::room::{Answer, Command, Listed, Settings, Ticket};
use tidegate_core::time::Timestamp;

use tidegate_store::rooms::{LineDocument, RoomError, RoomStatus, RoomStore, Told};
use tidegate_wire::room::name::RoomName;

type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, RoomError>> + Send + 'a>>;

/// As [`RoomStore`].
pub(super) trait Store: Send + Sync {
    fn put<'a>(&'a self, room: &'a RoomName, settings: &'a Settings) -> Asked<'a, Answer>;
    fn remove<'a>(&'a self, room: &'a RoomName) -> Asked<'a, bool>;
    fn rooms(&self) -> Asked<'_, Vec<(RoomName, Settings)>>;
    fn ask<'a>(&'a self, room: &'a RoomName, command: &'a Command) -> Asked<'a, Told>;
    fn look<'a>(&'a self, room: &'a RoomName, ticket: &'a Ticket) -> Asked<'a, Told>;
    fn status<'a>(&'a self, room: &'a RoomName) -> Asked<'a, RoomStatus>;
    fn line<'a>(&'a self, room: &'a RoomName) -> Asked<'a, LineDocument>;
    fn listed<'a>(&'a self, room: &'a RoomName, after: u64, most: usize) -> Asked<'a, Vec<Listed>>;
    fn turn(&self) -> Asked<'_, Option<Timestamp>>;
}

impl<S: RoomStore> Store for S {
    fn put<'a>(&'a self, room: &'a RoomName, settings: &'a Settings) -> Asked<'a, Answer> {
        Box::pin(RoomStore::put(self, room, settings))
    }

    fn remove<'a>(&'a self, room: &'a RoomName) -> Asked<'a, bool> {
        Box::pin(RoomStore::remove(self, room))
    }

    fn rooms(&self) -> Asked<'_, Vec<(RoomName, Settings)>> {
        Box::pin(RoomStore::rooms(self))
    }

    fn ask<'a>(&'a self, room: &'a RoomName, command: &'a Command) -> Asked<'a, Told> {
        Box::pin(RoomStore::ask(self, room, command))
    }

    fn look<'a>(&'a self, room: &'a RoomName, ticket: &'a Ticket) -> Asked<'a, Told> {
        Box::pin(RoomStore::look(self, room, ticket))
    }

    fn status<'a>(&'a self, room: &'a RoomName) -> Asked<'a, RoomStatus> {
        Box::pin(RoomStore::status(self, room))
    }

    fn line<'a>(&'a self, room: &'a RoomName) -> Asked<'a, LineDocument> {
        Box::pin(RoomStore::line(self, room))
    }

    fn listed<'a>(&'a self, room: &'a RoomName, after: u64, most: usize) -> Asked<'a, Vec<Listed>> {
        Box::pin(RoomStore::listed(self, room, after, most))
    }

    fn turn(&self) -> Asked<'_, Option<Timestamp>> {
        Box::pin(RoomStore::turn(self))
    }
}
