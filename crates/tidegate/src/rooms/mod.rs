//! Waiting rooms, as visitors and the proxies before a site meet them.
//!
//! ```text
//! definition  what is chosen for a room: who is one visitor, where visitors come from, how its page looks
//! keys        secrets, and what is signed with them
//! store       where rooms are kept, whichever store it is
//! watch       what happens in rooms: wakes the driver, remembers why places are over, tells streams
//! driver      does what is due, at the instant at which it is
//! visit       who asks, and from where: cookies, address, origin
//! calls       join, poll, heartbeat, claim, leave
//! tokens      tickets and passes, shown and new
//! hints       pages that say they go
//! answer      how a visitor stands, as the wire has it
//! shown       the page, status, line document, files
//! events      the stream of events
//! authz       whether a proxy may let a request pass
//! operator    what operators ask and change
//! demo        a page of a shop
//! web         the waiting page, its files, and the snippet for other pages
//! ```
//!
//! Nothing is decided here: a room is asked, and its answer is signed and written.

mod answer;
mod authz;
mod calls;
mod definition;
mod demo;
mod driver;
mod events;
mod hints;
mod keys;
mod operator;
mod shown;
mod store;
mod tokens;
mod visit;
mod watch;
pub mod web;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tidegate_core::room::{Answer, Refusal};
use tidegate_engine::Clock;
use tidegate_store::rooms::{RoomError, RoomStore, RoomWatcher};
use tidegate_wire::room::name::RoomName;

pub(crate) use authz::{Admission, room_asked_for};
pub(crate) use calls::{RoomCall, with_cookies};
pub use definition::{Definition, DefinitionError, OneSeatPer};
pub use driver::Driver;
pub use events::EventBody;
pub use keys::{RoomKeys, RoomKeysError};
pub(crate) use visit::Visit;

use definition::Room;
use hints::Hints;
use store::Store;
use watch::Watch;
use web::{Languages, Page};

/// The rooms of one node. Clones share everything.
#[derive(Clone)]
pub struct Rooms(Arc<Shared>);

struct Shared {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    keys: RoomKeys,
    rooms: ArcSwap<BTreeMap<RoomName, Arc<Room>>>,
    languages: Arc<Languages>,
    /// What is shown where there is no such room.
    nowhere: Page,
    watch: Arc<Watch>,
    hints: Hints,
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
}

impl Rooms {
    /// No rooms yet, which are to be kept in this store.
    ///
    /// # Errors
    /// The shipped pages cannot be made.
    pub fn new<S: RoomStore>(store: S, clock: Arc<dyn Clock>, keys: RoomKeys) -> Result<Self, RoomsError> {
        let languages = Arc::new(Languages::load(&web::LanguageOptions::default())?);
        let watch = Arc::new(Watch::default());
        RoomStore::watch(&store, Arc::clone(&watch) as Arc<dyn RoomWatcher>);
        Ok(Self(Arc::new(Shared {
            store: Arc::new(store),
            clock,
            keys,
            rooms: ArcSwap::default(),
            nowhere: shown::nowhere(&languages)?,
            languages,
            watch,
            hints: Hints::default(),
            streams: events::Streams::default(),
        })))
    }

    /// Makes a room, or changes one that is there: visitors keep their places.
    ///
    /// # Errors
    /// It cannot be shown, or the store does not take it.
    pub async fn define(&self, definition: &Definition) -> Result<(), RoomsError> {
        let (shared, name) = (&*self.0, &definition.name);
        let former = shared.rooms.load().get(name).cloned();
        let room = Arc::new(Room::new(definition, &shared.languages, former.as_deref())?);
        shared.watch.follow(name, &room.news, &room.counts);
        let put = shared.store.put(name, &definition.settings).await;
        let put = put.map_err(|error| RoomsError::Store(name.clone(), error))?;
        if let Answer::Refused(refusal) = put {
            return Err(RoomsError::Refused(name.clone(), refusal));
        }
        shared.rooms.rcu(|rooms| {
            let mut rooms = BTreeMap::clone(rooms);
            rooms.insert(name.clone(), Arc::clone(&room));
            rooms
        });
        Ok(())
    }
}
