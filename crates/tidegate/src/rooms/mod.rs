//! Waiting rooms, as visitors and the proxies before a site meet them.
//!
//! ```text
//! definition  what is chosen for a room: who is one visitor, where visitors come from, how its page looks
//! pages       how the pages of all rooms are made, and what cannot be shown
//! kept        what is kept of a room beside what decides
//! of_file     the rooms of a rule file, which may change
//! adopt       rooms that other nodes have made, changed or removed
//! keys        secrets, and what is signed with them
//! store       where rooms are kept, whichever store it is
//! watch       what happens in rooms: wakes the driver, remembers why places are over, tells streams
//! driver      does what is due, at the instant at which it is; follows what changes in the store
//! visit       who asks, and from where: cookies, address, origin
//! calls       join, poll, heartbeat, claim, renew, leave
//! joins       how often one address may ask for places
//! tokens      tickets and passes, shown and new
//! hints       pages that say they go
//! answer      how a visitor stands, as the wire has it
//! seen        browsers that keep no cookies
//! shown       the page, status, line document, files
//! events      the stream of events
//! session     whether the session of a pass goes on
//! streams     how many of them there may be
//! authz       whether a proxy may let a request pass
//! valve       places for those who are over the limit of a rule
//! export      everybody in a room, as rows
//! operator    what operators ask and change
//! demo        a page of a shop
//! web         the waiting page, its files, and the snippet for other pages
//! ```
//!
//! Nothing is decided here: a room is asked, and its answer is signed and written.

mod adopt;
mod answer;
mod authz;
mod calls;
mod definition;
mod demo;
mod driver;
mod events;
mod export;
mod hints;
mod joins;
mod kept;
mod keys;
mod of_file;
mod operator;
mod pages;
mod seen;
mod session;
mod shown;
mod store;
mod streams;
mod tokens;
mod valve;
mod visit;
mod watch;
pub mod web;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arc_swap::ArcSwap;
use tidegate_core::room::{Answer, Refusal};
use tidegate_engine::Clock;
use tidegate_store::rooms::{RoomError, RoomStore, RoomWatcher};
use tidegate_wire::room::name::RoomName;
use tidegate_wire::room::token::Issuer;

pub(crate) use authz::{Admission, room_in_field};
pub(crate) use calls::{RoomCall, with_cookies};
pub use definition::{Definition, DefinitionError, OneSeatPer};
pub use driver::Driver;
pub use events::EventBody;
pub(crate) use export::{RowFormat, Rows, Wanted};
pub use joins::{DEFAULT_JOINS_PER_ADDRESS, MAX_JOINS_PER_ADDRESS};
pub use keys::{RoomKeys, RoomKeysError};
pub use pages::{PageSettings, Pages};
pub use streams::{DEFAULT_STREAMS_PER_ADDRESS, MAX_STREAMS_PER_ADDRESS};
pub(crate) use valve::{Comer, Named, Purpose, Shows};
pub(crate) use visit::Visit;

use definition::Room;
use hints::Hints;
use joins::Joins;
use of_file::OfFile;
use store::Store;
use watch::Watch;
use web::Page;

/// The rooms of one node. Clones share everything.
#[derive(Clone)]
pub struct Rooms(Arc<Shared>);

struct Shared {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    keys: RoomKeys,
    /// Whether other nodes may share the rooms and have other keys.
    is_alone_with_keys: bool,
    /// Who passes as JWT are from; none are made where nobody is.
    issuer: Option<Issuer>,
    rooms: ArcSwap<BTreeMap<RoomName, Arc<Room>>>,
    /// Whether there may be rooms that are not shown here yet, since the store could not be asked.
    may_lack: AtomicBool,
    pages: Pages,
    /// Held while rooms are made, changed or removed, one after the other.
    changing: tokio::sync::Mutex<OfFile>,
    /// What is shown where there is no such room.
    nowhere: Page,
    watch: Arc<Watch>,
    hints: Hints,
    joins: Joins,
    streams: events::Streams,
}

impl std::fmt::Debug for Rooms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.rooms.load().keys()).finish()
    }
}

/// Why rooms cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum RoomsError {
    /// A room cannot be shown.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// The pages cannot be made.
    #[error("the pages of waiting rooms cannot be made: {0}")]
    Page(#[from] web::PageError),
    /// The store does not take a room.
    #[error("room {0}: {1}")]
    Store(RoomName, RoomError),
    /// What is there contradicts what is wanted.
    #[error("room {0}: {1}")]
    Refused(RoomName, Refusal),
    /// Nodes share the rooms, and not the secret.
    #[error(
        "waiting rooms in a shared store need one secret on all nodes, or each refuses the tickets and passes of the others: give all of \
         them the same --room-secret-file (openssl rand -hex 32 makes one)"
    )]
    NoSecret,
    /// The store does not say which rooms it has.
    #[error("the rooms that are kept cannot be listed: {0}")]
    Unlisted(RoomError),
}

impl RoomsError {
    /// Whether it is the store that does not answer now, and the same may succeed a little later.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            RoomsError::Store(_, error) | RoomsError::Unlisted(error) => error.retryable(),
            RoomsError::Definition(_)
            | RoomsError::Page(_)
            | RoomsError::Refused(..)
            | RoomsError::NoSecret => false,
        }
    }
}

impl Rooms {
    /// No rooms yet, which are to be kept in this store.
    ///
    /// # Errors
    /// The shipped pages cannot be made.
    pub fn new<S: RoomStore>(store: S, clock: Arc<dyn Clock>, keys: RoomKeys) -> Result<Self, RoomsError> {
        Self::with_pages(store, clock, keys, Pages::load(&PageSettings::default())?)
    }

    /// As [`Rooms::new`], with pages made in another way.
    ///
    /// # Errors
    /// As [`Rooms::new`].
    pub fn with_pages<S: RoomStore>(
        store: S,
        clock: Arc<dyn Clock>,
        keys: RoomKeys,
        pages: Pages,
    ) -> Result<Self, RoomsError> {
        let watch = Arc::new(Watch::default());
        RoomStore::watch(&store, Arc::clone(&watch) as Arc<dyn RoomWatcher>);
        Ok(Self(Arc::new(Shared {
            store: Arc::new(store),
            joins: Joins::new(DEFAULT_JOINS_PER_ADDRESS, Arc::clone(&clock)),
            clock,
            keys,
            is_alone_with_keys: false,
            issuer: None,
            rooms: ArcSwap::default(),
            may_lack: AtomicBool::new(false),
            nowhere: shown::nowhere(&pages)?,
            pages,
            changing: tokio::sync::Mutex::default(),
            watch,
            hints: Hints::default(),
            streams: events::Streams::default(),
        })))
    }

    /// The same rooms, of which one address is given so many places a second at most, ten seconds' worth of them at one instant; 0 is no
    /// limit. To be called before they are cloned.
    #[must_use]
    pub fn with_joins_per_address(mut self, per_second: u32) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.joins = Joins::new(per_second, Arc::clone(&shared.clock));
        }
        self
    }

    /// The same rooms, of a node whose keys nobody gave it, in a store that others share: it has none, and shows none of theirs, since no
    /// node would take the tickets of another. To be called before they are cloned.
    #[must_use]
    pub fn without_shared_secret(mut self) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.is_alone_with_keys = true;
        }
        self
    }

    /// The same rooms, whose passes are also given as JWT of this issuer. To be called before they are cloned.
    #[must_use]
    pub fn with_pass_issuer(mut self, issuer: Option<Issuer>) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.issuer = issuer;
        }
        self
    }

    /// The same rooms, of which one address has so many streams of events at most; 0 is no limit. To be called before they are cloned.
    #[must_use]
    pub fn with_streams_per_address(mut self, most: u32) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.streams.set_per_address(most);
        }
        self
    }

    /// The same rooms, whose streams of events end for clients that read nothing for so long. To be called before they are cloned.
    #[must_use]
    pub fn with_stream_stall(mut self, stall: Duration) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.streams.set_stall(stall);
        }
        self
    }

    /// How many rooms there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.rooms.load().len()
    }

    /// Makes a room, or changes one that is there: visitors keep their places.
    ///
    /// # Errors
    /// It cannot be shown, or the store does not take it.
    pub async fn define(&self, definition: &Definition) -> Result<(), RoomsError> {
        let _changing = self.0.changing.lock().await;
        self.0.define(definition).await.map(drop)
    }
}

impl Shared {
    /// Makes or changes a room, and returns the one that it was.
    async fn define(&self, definition: &Definition) -> Result<Option<Arc<Room>>, RoomsError> {
        let former = self.rooms.load().get(&definition.name).cloned();
        let room = Arc::new(Room::new(definition, &self.pages, former.as_deref())?);
        self.enter(&room).await?;
        Ok(former)
    }

    /// Puts a room in force as it is here.
    async fn enter(&self, room: &Arc<Room>) -> Result<(), RoomsError> {
        let name = &room.name;
        self.watch.follow(name, &room.news, &room.counts);
        let put = self.store.put(name, &room.settings).await;
        let put = put.map_err(|error| RoomsError::Store(name.clone(), error))?;
        if let Answer::Refused(refusal) = put {
            return Err(RoomsError::Refused(name.clone(), refusal));
        }
        self.show(room);
        Ok(())
    }

    fn show(&self, room: &Arc<Room>) {
        self.rooms.rcu(|rooms| {
            let mut rooms = BTreeMap::clone(rooms);
            rooms.insert(room.name.clone(), Arc::clone(room));
            rooms
        });
    }

    fn check_secret(&self) -> Result<(), RoomsError> {
        if self.is_alone_with_keys { Err(RoomsError::NoSecret) } else { Ok(()) }
    }

    /// Forgets a room and everybody in it; false where there is none of this name.
    async fn remove(&self, name: &RoomName) -> Result<bool, RoomError> {
        let was_kept = self.store.remove(name).await?;
        Ok(self.let_go(name) || was_kept)
    }

    /// Shows a room no more; false where there is none of this name.
    fn let_go(&self, name: &RoomName) -> bool {
        let here = self.rooms.load().get(name).cloned();
        self.rooms.rcu(|rooms| {
            let mut rooms = BTreeMap::clone(rooms);
            rooms.remove(name);
            rooms
        });
        self.watch.forget(name);
        if let Some(room) = &here {
            room.news.tell_all();
        }
        here.is_some()
    }
}
