//! The mark in the address of a page whose browser was given its cookies a moment ago: one that comes with it and without them keeps
//! none, and is known by its address.
//!
//! The mark counts for a moment, at the address it was given to. An address of the page that somebody kept or passed on says nothing
//! of the browser that opens it later.

use tidegate_core::room::RoomName;
use tidegate_core::time::Timestamp;
use tidegate_wire::identity::ClientIp;
use tidegate_wire::room::visitor::VisitorKey;

/// The parameter of the page's address.
pub(super) const SEEN: &str = "seen";
/// How long a browser has to follow to the page, in seconds; nodes' clocks may differ by as much.
const MAX_AGE_S: u64 = 30;
/// The longest mark, in bytes.
pub(super) const MAX_MARK_BYTES: usize = 64;

/// The query with a new mark, and with none that was there before.
pub(super) fn with_mark(query: Option<&str>, mark: &str) -> String {
    let former = query.unwrap_or_default().split('&');
    let kept = former.filter(|pair| !pair.is_empty() && pair.split('=').next() != Some(SEEN));
    let mut query: String = kept.flat_map(|pair| [pair, "&"]).collect();
    query.extend([SEEN, "=", mark]);
    query
}

/// The mark of somebody at this address.
pub(super) fn mark(key: &VisitorKey, room: &RoomName, client: ClientIp, now: Timestamp) -> String {
    of_second(key, room, client, now.as_micros() / 1_000_000)
}

/// Whether the mark was given to this address a moment ago.
pub(super) fn is_fresh(
    key: &VisitorKey,
    room: &RoomName,
    client: ClientIp,
    now: Timestamp,
    mark: &str,
) -> bool {
    let at_s = mark.split('-').next().and_then(|text| u64::from_str_radix(text, 16).ok());
    let is_near = |at_s: &u64| at_s.abs_diff(now.as_micros() / 1_000_000) <= MAX_AGE_S;
    at_s.filter(is_near).is_some_and(|at_s| of_second(key, room, client, at_s) == mark)
}

fn of_second(key: &VisitorKey, room: &RoomName, client: ClientIp, at_s: u64) -> String {
    format!("{at_s:x}-{:032x}", key.sighting(room, client, at_s))
}
