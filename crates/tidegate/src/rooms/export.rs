//! Everybody in a room as rows, for operators: numbers, states and times, and nothing that names anybody.
//!
//! A room is read a page at a time, so that nobody in it waits for whoever reads. Rows are therefore not all of one instant: who comes
//! while it is read is at the end, and who goes may be in it or not.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use tidegate_core::room::{Listed, ListedAs, RoomName};
use tidegate_core::time::Timestamp;
use tidegate_store::rooms::RoomError;
use tidegate_wire::room::seat::UnixTime;
use tokio::sync::mpsc;

use super::Rooms;

/// Rows that are read at one time.
const PAGE: usize = 1_024;
/// Pages that may wait for whoever reads.
const PAGES_AHEAD: usize = 2;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowFormat {
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated values with a head.
    Csv,
}

/// Which rows are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) format: RowFormat,
    /// Those whose number is above this one.
    pub(crate) after: u64,
    /// At most so many; all, if absent.
    pub(crate) most: Option<usize>,
}

/// Rows as they are written; an error cuts them off.
pub(crate) type Rows = mpsc::Receiver<io::Result<Bytes>>;

impl Rooms {
    /// Everybody in a room.
    ///
    /// # Errors
    /// The first of them cannot be read.
    pub(crate) async fn export(&self, name: &RoomName, wanted: Wanted) -> Result<Rows, RoomError> {
        let (sender, receiver) = mpsc::channel(PAGES_AHEAD);
        let (shared, name) = (Arc::clone(&self.0), name.clone());
        let mut left = wanted.most.unwrap_or(usize::MAX);
        let mut rows = shared.store.listed(&name, wanted.after, PAGE.min(left)).await?;
        tokio::spawn(async move {
            let mut head = wanted.format == RowFormat::Csv;
            loop {
                let page = written(&rows, wanted.format, std::mem::take(&mut head));
                if sender.send(Ok(page)).await.is_err() {
                    return;
                }
                left = left.saturating_sub(rows.len());
                let Some(last) = rows.last().filter(|_| left > 0) else { return };
                match shared.store.listed(&name, last.number.get(), PAGE.min(left)).await {
                    Ok(next) => rows = next,
                    Err(error) => {
                        // Cut off, lest it be taken for all of it.
                        let _ = sender.send(Err(io::Error::other(error.to_string()))).await;
                        return;
                    }
                }
            }
        });
        Ok(receiver)
    }
}

fn written(rows: &[Listed], format: RowFormat, with_head: bool) -> Bytes {
    let mut text = String::with_capacity(rows.len() * 96);
    if with_head {
        text.push_str("queue_number,state,until,started_at,seen_at,ends_at,renewals\n");
    }
    for row in rows {
        let session = match row.standing {
            ListedAs::Active(session) => Some(session),
            _ => None,
        };
        let (number, state) = (row.number.get(), row.standing.name());
        let times = [
            Some(row.until),
            session.map(|session| session.start),
            session.map(|session| session.seen),
            session.and_then(|session| session.limit_at),
        ];
        let renewals = session.map(|session| session.renewals);
        match format {
            RowFormat::Ndjson => {
                let [until, started_at, seen_at, ends_at] = times.map(|at| at.map(UnixTime));
                let row = json!({
                    "queue_number": number, "state": state, "until": until, "started_at": started_at,
                    "seen_at": seen_at, "ends_at": ends_at, "renewals": renewals,
                });
                text.push_str(&row.to_string());
                text.push('\n');
            }
            RowFormat::Csv => {
                let [until, started_at, seen_at, ends_at] =
                    times.map(|at| at.map_or_else(String::new, seconds));
                let renewals = renewals.map_or_else(String::new, |renewals| renewals.to_string());
                text.push_str(&format!(
                    "{number},{state},{until},{started_at},{seen_at},{ends_at},{renewals}\n"
                ));
            }
        }
    }
    Bytes::from(text)
}

/// Unix seconds to the millisecond, as in JSON.
fn seconds(at: Timestamp) -> String {
    let millis = at.as_micros() / 1_000;
    format!("{}.{:03}", millis / 1_000, millis % 1_000)
}
