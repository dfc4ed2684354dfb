//! Waiting rooms beside the engine: opened before the doors, driven while they are open.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::RoomDefinition;
use tidegate_engine::{Clock, SystemClock};
use tidegate_store::rooms::{JournalOptions, MemoryRooms};

use super::settings::{RoomSettings, ServeSettings};
use super::store::StoreSettings;
use crate::rooms::{Driver, Pages, RoomKeys, Rooms};

/// The end of the name of the file beside the state file in which a secret is kept that nobody gave.
const SECRET_SUFFIX: &str = ".rooms-secret";
/// That of the folder in which rooms are kept.
const FOLDER_SUFFIX: &str = ".rooms";

/// Rooms that are driven.
pub(super) struct OpenRooms {
    pub(super) rooms: Rooms,
    _driver: Driver,
}

/// How pages are made.
///
/// # Errors
/// A language file is not as it should be.
pub(super) fn pages(settings: &ServeSettings) -> anyhow::Result<Pages> {
    Ok(Pages::load(&settings.rooms.pages)?)
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
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let of_store = Arc::clone(&clock);
    let of_store: tidegate_store::rooms::Clock = Arc::new(move || of_store.now());
    let store = match beside(settings, FOLDER_SUFFIX) {
        Some(folder) => MemoryRooms::open(&JournalOptions::new(folder), of_store)?,
        None => MemoryRooms::new(of_store),
    };
    let rooms = Rooms::with_pages(store, clock, keys, pages)?;
    let stall = Duration::from_millis(settings.limits.write_stall_timeout_ms);
    let rooms = rooms.with_joins_per_address(settings.rooms.joins_per_address).with_stream_stall(stall);
    rooms.take_up(of_file).await?;
    rooms.adopt().await?;
    let driver = Driver::start(&rooms);
    Ok(OpenRooms { rooms, _driver: driver })
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
    if !matches!(settings.store, StoreSettings::Memory) && !of_file.is_empty() {
        tracing::warn!(
            "waiting rooms have a secret of this node's own: other nodes refuse its tickets and passes; give all of them one \
             --room-secret-file"
        );
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
