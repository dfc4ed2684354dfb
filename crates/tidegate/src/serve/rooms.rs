//! Waiting rooms beside the engine: opened before the doors, driven while they are open.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::RoomDefinition;
use tidegate_core::time::Timestamp;
use tidegate_engine::{Clock, SystemClock, random_seed};
use tidegate_redis::RedisRoomLog;
use tidegate_store::rooms::shared::{NodeId, SharedOptions, SharedRooms};
use tidegate_store::rooms::{JournalOptions, MemoryRooms};

use super::settings::{RoomSettings, ServeSettings};
use super::store::{RemoteStore, StoreSettings};
use crate::rooms::{Driver, Pages, RoomKeys, Rooms, RoomsError};

/// The end of the name of the file beside the state file in which a secret is kept that nobody gave.
const SECRET_SUFFIX: &str = ".rooms-secret";
/// That of the folder in which rooms are kept.
const FOLDER_SUFFIX: &str = ".rooms";

/// Rooms that are driven.
pub(super) struct OpenRooms {
    pub(super) rooms: Rooms,
    /// The store, where other nodes share it.
    shared: Option<SharedRooms<RedisRoomLog>>,
    _driver: Driver,
}

/// How pages are made.
///
/// # Errors
/// A language file is not as it should be.
pub(super) fn pages(settings: &ServeSettings) -> anyhow::Result<Pages> {
    Ok(Pages::load(&settings.rooms.pages)?)
}

impl OpenRooms {
    /// Nobody asks any more: other nodes go on with the rooms that this one keeps.
    pub(super) async fn stop(self) {
        if let Some(shared) = self.shared {
            shared.close().await;
        }
    }
}

/// The time of a store, which is the same at all nodes.
struct StoreClock(tidegate_store::rooms::Clock);

impl Clock for StoreClock {
    fn now(&self) -> Timestamp {
        (self.0)()
    }
}

/// Opens the rooms of a rule file.
///
/// # Errors
/// There is no secret, or a room cannot be as the file says.
pub(super) async fn open(
    settings: &ServeSettings,
    pages: Pages,
    of_file: &[RoomDefinition],
) -> anyhow::Result<OpenRooms> {
    let keys = keys(settings, of_file)?;
    let (rooms, shared) = match &settings.store {
        StoreSettings::Redis(remote) if !is_trial(settings) => {
            let (shared, clock) = shared(remote).await?;
            (Rooms::with_pages(shared.clone(), clock, keys, pages)?, Some(shared))
        }
        StoreSettings::Memory | StoreSettings::Redis(_) => (embedded(settings, keys, pages)?, None),
    };
    let stall = Duration::from_millis(settings.limits.write_stall_timeout_ms);
    let RoomSettings { joins_per_address, streams_per_address, pass_issuer, .. } = &settings.rooms;
    let rooms = rooms.with_joins_per_address(*joins_per_address).with_stream_stall(stall);
    let rooms = rooms.with_streams_per_address(*streams_per_address);
    let rooms = rooms.with_pass_issuer(pass_issuer.clone());
    let rooms = match shared.is_some() && !has_secret(settings) {
        true => rooms.without_shared_secret(),
        false => rooms,
    };
    take_up(&rooms, of_file, shared.is_some()).await?;
    let driver = Driver::start(&rooms);
    Ok(OpenRooms { rooms, shared, _driver: driver })
}

/// Puts the rooms of the file in force, and those that the store has besides. A store that others share may not be there: that must not
/// keep the node down.
async fn take_up(rooms: &Rooms, of_file: &[RoomDefinition], is_shared: bool) -> Result<(), RoomsError> {
    if !is_shared {
        rooms.take_up(of_file).await?;
        return rooms.adopt().await;
    }
    if rooms.take_up_when_there(of_file).await? {
        rooms.adopt_when_there().await?;
    }
    Ok(())
}

/// Whether a secret was given, which other nodes may have, too.
fn has_secret(settings: &ServeSettings) -> bool {
    let RoomSettings { secret_file, secret, .. } = &settings.rooms;
    secret_file.is_some() || secret.is_some()
}

/// Whether the only room is the one to try of the shipped rules, for which nobody has to make a secret: each node has its own then.
fn is_trial(settings: &ServeSettings) -> bool {
    settings.rules.is_none() && !has_secret(settings)
}

/// Rooms in this process, in a folder beside the state file if there is one.
fn embedded(settings: &ServeSettings, keys: RoomKeys, pages: Pages) -> anyhow::Result<Rooms> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let of_store = Arc::clone(&clock);
    let of_store: tidegate_store::rooms::Clock = Arc::new(move || of_store.now());
    let store = match beside(settings, FOLDER_SUFFIX) {
        Some(folder) => MemoryRooms::open(&JournalOptions::new(folder), of_store)?,
        None => MemoryRooms::new(of_store),
    };
    Ok(Rooms::with_pages(store, clock, keys, pages)?)
}

/// Rooms that are shared over the servers of the buckets, and the servers' clock.
async fn shared(remote: &RemoteStore) -> anyhow::Result<(SharedRooms<RedisRoomLog>, Arc<dyn Clock>)> {
    let local = SystemClock::new();
    let log = RedisRoomLog::new(&remote.redis, Arc::new(move || local.now()))?;
    log.wait_until_tried().await;
    let clock = log.clock();
    let node = NodeId(random_seed()[0]);
    let rooms = SharedRooms::new(log, node, Arc::clone(&clock), SharedOptions::default());
    Ok((rooms, Arc::new(StoreClock(clock))))
}

/// The keys of the secret that was given; of one that was made and is kept beside the state file; or of one that is gone with
/// this process.
fn keys(settings: &ServeSettings, of_file: &[RoomDefinition]) -> anyhow::Result<RoomKeys> {
    let RoomSettings { secret_file, secret, .. } = &settings.rooms;
    if let Some(secret) = secret {
        return Ok(RoomKeys::parse(secret.expose(), "--room-secret")?);
    }
    if let Some(file) = secret_file {
        return Ok(RoomKeys::read(file)?);
    }
    if !matches!(settings.store, StoreSettings::Memory) && !of_file.is_empty() && !is_trial(settings) {
        return Err(RoomsError::NoSecret.into());
    }
    match beside(settings, SECRET_SUFFIX) {
        Some(path) => Ok(RoomKeys::read_or_make(&path)?),
        None => Ok(RoomKeys::passing()?),
    }
}

/// What stands beside the state file, if there is one.
fn beside(settings: &ServeSettings, suffix: &str) -> Option<PathBuf> {
    let mut path = settings.state_file.clone()?.into_os_string();
    path.push(suffix);
    Some(path.into())
}
