//! Reading a room's log: the snapshot piece by piece, the entries page by page.

use bytes::Bytes;
use redis::Value;
use tidegate_store::rooms::shared::{Loaded, LogError, MAX_PIECE_BYTES};
use tokio::time::Instant;

use super::keys::KeysOfRoom;
use super::scripts::{Call, garbled, log_error, one};
use super::{LONG_DEADLINE, Shared};

/// A page of entries ends after so many bytes; by then it may have 8 MiB more.
const PAGE_BYTES: usize = 512 << 10;
/// A page of entries ends after so many; by then it may have 15 more.
const PAGE_ENTRIES: usize = 1_024;
/// Pieces of a snapshot that are read at once.
const PAGE_PIECES: u64 = 4;
/// The most bytes of one room's log, snapshot and entries.
const MAX_LOADED_BYTES: usize = 1 << 30;
/// The largest number that scripts tell from its neighbours: later than any entry.
const MAX_NUMBER: u64 = 1 << 53;
/// What each entry or piece counts besides its own bytes.
const EACH: usize = 64;
/// How often reading begins anew because another snapshot was put in place.
const MAX_ATTEMPTS: usize = 16;

/// A page of entries, and what the head said at that time.
struct Page {
    term: u64,
    /// The last entry that the snapshot stands for, its pieces, and its name where there is one.
    base: u64,
    pieces: u64,
    snapshot: Option<String>,
    /// The number of the first of `entries`.
    first: u64,
    last: u64,
    entries: Vec<Bytes>,
}

/// What has been read, and how much that is.
#[derive(Default)]
struct Reading {
    loaded: Loaded,
    bytes: usize,
}

impl Shared {
    /// The snapshot, if `after` is before it, and all entries after both.
    pub(super) async fn load(&self, keys: &KeysOfRoom, after: u64) -> Result<Loaded, LogError> {
        for _ in 0..MAX_ATTEMPTS {
            if let Some(loaded) = self.load_once(keys, after).await? {
                return Ok(loaded);
            }
        }
        Err(LogError::NotDone("the log changed faster than it could be read".to_owned()))
    }

    /// `None` where the log was changed in between, other than at its end.
    async fn load_once(&self, keys: &KeysOfRoom, after: u64) -> Result<Option<Loaded>, LogError> {
        let Some(mut page) = self.page(keys, after.saturating_add(1)).await? else {
            return Ok(Some(Loaded::default()));
        };
        let (term, base) = (page.term, page.base);
        let mut reading = Reading::default();
        if let Some(name) = page.snapshot.as_ref().filter(|_| after < base) {
            let Some(pieces) = self.pieces(keys, name, page.pieces, &mut reading).await? else {
                return Ok(None);
            };
            reading.loaded.snapshot = Some((base, pieces));
        }
        let mut next = page.first;
        if next != after.max(base).saturating_add(1).min(MAX_NUMBER) {
            return Err(garbled());
        }
        loop {
            let is_empty = page.entries.is_empty();
            for entry in std::mem::take(&mut page.entries) {
                reading.count(&entry)?;
                reading.loaded.entries.push((next, entry));
                next += 1;
            }
            if next > page.last {
                return Ok(Some(reading.loaded));
            }
            if is_empty {
                return Err(garbled());
            }
            page = match self.page(keys, next).await? {
                Some(page) if page.term == term && page.first == next => page,
                _ => return Ok(None),
            };
        }
    }

    async fn page(&self, keys: &KeysOfRoom, from: u64) -> Result<Option<Page>, LogError> {
        let arguments = [from.min(MAX_NUMBER).to_string(), PAGE_BYTES.to_string(), PAGE_ENTRIES.to_string()];
        let call = Call {
            script: |scripts| &scripts.page,
            route: keys.long(),
            keys: vec![keys.head(), keys.entries()],
            arguments: arguments.map(Bytes::from).into(),
            within: LONG_DEADLINE,
        };
        let Value::Array(values) = self.run(call).await? else { return Err(garbled()) };
        let mut values = values.into_iter();
        let Some(header) = values.next() else { return Ok(None) };
        let entries = values.map(bytes_of).collect::<Result<Vec<_>, _>>()?;
        Page::read(&bytes_of(header)?, entries).map(Some).ok_or_else(garbled)
    }

    /// `None` where the snapshot has been replaced.
    async fn pieces(
        &self,
        keys: &KeysOfRoom,
        name: &str,
        count: u64,
        reading: &mut Reading,
    ) -> Result<Option<Vec<Bytes>>, LogError> {
        let (key, route) = (keys.pieces(name), keys.long());
        let mut pieces = Vec::new();
        while (pieces.len() as u64) < count {
            let from = pieces.len() as u64;
            let mut range = redis::cmd("LRANGE");
            range.arg(&key).arg(from).arg(count.min(from + PAGE_PIECES) - 1);
            let deadline = Instant::now() + LONG_DEADLINE;
            let replies = self.router.command(&route, deadline, move |_| vec![range.clone()]);
            let Value::Array(values) = one(replies.await.map_err(|failure| log_error(&failure))?)? else {
                return Err(garbled());
            };
            if values.is_empty() {
                let is_same = self
                    .page(keys, MAX_NUMBER)
                    .await?
                    .is_some_and(|page| page.snapshot.as_deref() == Some(name));
                return if is_same {
                    Err(LogError::Corrupt("a piece of the snapshot is missing".to_owned()))
                } else {
                    Ok(None)
                };
            }
            for value in values {
                let piece = bytes_of(value)?;
                reading.count(&piece)?;
                pieces.push(piece);
            }
        }
        Ok(Some(pieces))
    }
}

impl Reading {
    /// Counts what was read.
    fn count(&mut self, piece: &Bytes) -> Result<(), LogError> {
        self.bytes += piece.len() + EACH;
        if piece.len() > MAX_PIECE_BYTES || self.bytes > MAX_LOADED_BYTES {
            return Err(LogError::Corrupt(
                "an entry or a piece, or the whole log, is larger than it can be".to_owned(),
            ));
        }
        Ok(())
    }
}

impl Page {
    /// Reads the header, see `scripts/page.lua`.
    fn read(header: &[u8], entries: Vec<Bytes>) -> Option<Self> {
        let mut words = std::str::from_utf8(header).ok()?.split(' ');
        let mut number = || words.next()?.parse::<u64>().ok();
        let (term, base, pieces, first, last) = (number()?, number()?, number()?, number()?, number()?);
        // Beyond, numbers cannot be told apart.
        if base >= MAX_NUMBER || first > MAX_NUMBER || last > MAX_NUMBER {
            return None;
        }
        let snapshot = words.next().filter(|name| !name.is_empty()).map(str::to_owned);
        Some(Self { term, base, pieces, snapshot, first, last, entries })
    }
}

fn bytes_of(value: Value) -> Result<Bytes, LogError> {
    match value {
        Value::BulkString(bytes) => Ok(bytes.into()),
        _ => Err(garbled()),
    }
}
