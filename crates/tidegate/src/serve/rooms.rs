//! Waiting rooms beside the engine: opened before the doors, driven while they are open.

use std::sync::Arc;

use anyhow::Context;
use tidegate_core::quota::{Algorithm, Quota};
use tidegate_core::room::{EarlyEnd, RoomName, SessionTerms, Settings, Spec};
use tidegate_core::time::Micros;
use tidegate_engine::{Clock, SystemClock};
use tidegate_store::rooms::MemoryRooms;

use super::settings::ServeSettings;
use crate::rooms::{Definition, Driver, RoomKeys, Rooms};

/// Rooms that are driven.
pub(super) struct OpenRooms {
    pub(super) rooms: Rooms,
    _driver: Driver,
}

/// Opens the rooms of the settings; `None` where there are none.
pub(super) async fn open(_settings: &ServeSettings) -> anyhow::Result<Option<OpenRooms>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let of_store = Arc::clone(&clock);
    let store = MemoryRooms::new(Arc::new(move || of_store.now()));
    let rooms = Rooms::new(store, clock, RoomKeys::passing()?)?;
    rooms.define(&demo()?).await?;
    let driver = Driver::start(&rooms);
    Ok(Some(OpenRooms { rooms, _driver: driver }))
}

fn demo() -> anyhow::Result<Definition> {
    let release = Quota::new(Algorithm::TokenBucket, 10, Micros::from_secs(1), None)
        .context("the demo's release rate")?;
    let spec = Spec {
        session: SessionTerms {
            limit: Some(Micros::from_secs(40)),
            idle: Some(Micros::from_secs(15)),
            early_end: EarlyEnd::FreesSeat,
            ..SessionTerms::default()
        },
        ..Spec::new(5, release)
    };
    Ok(Definition {
        title: "Demo shop".to_owned(),
        return_to: Some("/demo".to_owned()),
        ..Definition::new(RoomName::new("demo")?, Settings::new(spec)?)
    })
}
