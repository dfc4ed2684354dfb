//! Waiting rooms: as many series as there are rooms, which have a maximum.

use std::sync::Arc;

use tidegate_core::time::Micros;

use super::catalogue::{
    ROOM_ABANDONED, ROOM_ACTIVE, ROOM_ADMITTED, ROOM_CAPACITY, ROOM_ENDED, ROOM_EXPIRED, ROOM_JOINED,
    ROOM_READY, ROOM_WAIT, ROOM_WAITING,
};
use super::cells::{Histogram, LINE_BOUNDS};
use super::page::Page;

/// How long visitors of one room waited.
#[derive(Debug)]
pub(crate) struct RoomWaits(Histogram);

/// One room at one time.
#[derive(Debug)]
pub(crate) struct RoomReport {
    pub(crate) waiting: u64,
    pub(crate) ready: u64,
    pub(crate) active: u64,
    pub(crate) capacity: u64,
    pub(crate) joined: u64,
    pub(crate) admitted: u64,
    pub(crate) abandoned: u64,
    pub(crate) expired: u64,
    pub(crate) ended: u64,
    pub(crate) waits: Arc<RoomWaits>,
}

impl Default for RoomWaits {
    fn default() -> Self {
        Self(Histogram::new(&LINE_BOUNDS))
    }
}

impl RoomWaits {
    /// A visitor has come in after so long.
    pub(crate) fn observe(&self, wait: Micros) {
        self.0.observe(wait.into());
    }
}

pub(super) fn write(page: &mut Page, room: &str, report: &RoomReport) {
    let numbers = [
        (&ROOM_WAITING, report.waiting),
        (&ROOM_READY, report.ready),
        (&ROOM_ACTIVE, report.active),
        (&ROOM_CAPACITY, report.capacity),
        (&ROOM_JOINED, report.joined),
        (&ROOM_ADMITTED, report.admitted),
        (&ROOM_ABANDONED, report.abandoned),
        (&ROOM_EXPIRED, report.expired),
        (&ROOM_ENDED, report.ended),
    ];
    for (metric, number) in numbers {
        page.labelled(metric, [room], number);
    }
    page.histogram(&ROOM_WAIT, [room], report.waits.0.read());
}
