//! What devices, tickets and passes say.

use tidegate_core::time::Timestamp;

use super::Kind;
use super::payload::{Reader, write_text};
use crate::room::name::RoomName;
use crate::room::site::{Audience, SiteHost};
use crate::room::visitor::{DeviceId, VisitorId};

/// A browser that keeps cookies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Its random number.
    pub id: DeviceId,
    /// When this token was signed.
    pub issued_at: Timestamp,
}

/// A visitor's place in the line of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The room.
    pub room: RoomName,
    /// The room's epoch at joining.
    pub epoch: u64,
    /// The place, given once.
    pub queue_number: u64,
    /// Whose it is.
    pub visitor: VisitorId,
    /// When the visitor joined.
    pub joined_at: Timestamp,
}

/// Proof that a visitor was admitted, for one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// The room.
    pub room: RoomName,
    /// The room's epoch at admission.
    pub epoch: u64,
    /// The place that was admitted.
    pub queue_number: u64,
    /// Whose it is.
    pub visitor: VisitorId,
    /// When the session began.
    pub started_at: Timestamp,
    /// When the pass ends; the seat is not given to anybody else before.
    pub expires_at: Timestamp,
    /// The hosts it holds for.
    pub audience: Audience,
}

/// Claims and their one encoding.
pub(super) trait Claims: Sized {
    const KIND: Kind;

    fn write(&self, out: &mut Vec<u8>);

    /// `None` for anything that `write` does not write.
    fn read(from: &mut Reader<'_>) -> Option<Self>;
}

impl Claims for Device {
    const KIND: Kind = Kind::Device;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.to_bits().to_be_bytes());
        write_timestamp(out, self.issued_at);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self { id: DeviceId::from_random(from.u128()?), issued_at: from.timestamp()? })
    }
}

impl Claims for Ticket {
    const KIND: Kind = Kind::Ticket;

    fn write(&self, out: &mut Vec<u8>) {
        write_place(out, &self.room, self.epoch, self.queue_number, self.visitor);
        write_timestamp(out, self.joined_at);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (room, epoch, queue_number, visitor) = read_place(from)?;
        Some(Self { room, epoch, queue_number, visitor, joined_at: from.timestamp()? })
    }
}

impl Claims for Pass {
    const KIND: Kind = Kind::Pass;

    fn write(&self, out: &mut Vec<u8>) {
        write_place(out, &self.room, self.epoch, self.queue_number, self.visitor);
        write_timestamp(out, self.started_at);
        write_timestamp(out, self.expires_at);
        // The rest is the hosts, each with its length: their number goes without saying.
        self.audience.hosts().iter().for_each(|host| write_text(out, host.as_str()));
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (room, epoch, queue_number, visitor) = read_place(from)?;
        let (started_at, expires_at) = (from.timestamp()?, from.timestamp()?);
        let mut hosts = Vec::new();
        while !from.is_empty() {
            hosts.push(SiteHost::from_canonical(from.text()?)?);
        }
        let count = hosts.len();
        let audience = Audience::new(hosts).ok().filter(|audience| audience.hosts().len() == count)?;
        Some(Self { room, epoch, queue_number, visitor, started_at, expires_at, audience })
    }
}

fn write_place(out: &mut Vec<u8>, room: &RoomName, epoch: u64, queue_number: u64, visitor: VisitorId) {
    write_text(out, room.as_str());
    out.extend_from_slice(&epoch.to_be_bytes());
    out.extend_from_slice(&queue_number.to_be_bytes());
    out.extend_from_slice(&visitor.to_bits().to_be_bytes());
}

fn read_place(from: &mut Reader<'_>) -> Option<(RoomName, u64, u64, VisitorId)> {
    let room = RoomName::new(from.text()?).ok()?;
    Some((room, from.u64()?, from.u64()?, VisitorId::from_bits(from.u128()?)))
}

fn write_timestamp(out: &mut Vec<u8>, at: Timestamp) {
    out.extend_from_slice(&at.as_micros().to_be_bytes());
}
