//! Snapshots: what the store holds, written to a file for the next start.
//!
//! All numbers are little-endian. A head (magic, version, seed, time), records, and an end with the number of records
//! and a checksum of everything before it:
//!
//! | record | after its tag byte |
//! | --- | --- |
//! | 1, bucket | the entry's four words |
//! | 2, log | the entry's words, a count (32 bits), and per admission its time and units |
//! | 3, permits | the entry's words, a count (32 bits), and per permit its id, expiry and units |
//! | 4, quota | five words: what a revision means (see [`book`](super::book)) |
//! | 0, end | the number of records, 128 bits of checksum |
//!
//! Each shard is copied under its own lock and written after the lock is let go, so nobody waits for a disk; the
//! shards stand in the file as they were one after the other. Buckets at rest are left out. The seed is part of the
//! file, because fingerprints mean nothing without it: a snapshot is as secret as the seed.

use core::hash::Hasher;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use siphasher::sip128::{Hasher128, SipHasher13};
use tidegate_core::algorithm::{AdmissionLog, Permit, Permits, State};
use tidegate_core::quota::{MAX_LOG_LIMIT, MAX_PERMITS};
use tidegate_core::time::Timestamp;

use super::entry::Entry;
use super::shard::Shard;
use super::{MemoryOptions, MemoryStore};

const MAGIC: [u8; 8] = *b"TIDEGATE";
const VERSION: u32 = 2;
const END: u8 = 0;
const BUCKET: u8 = 1;
const LOG: u8 = 2;
const PERMITS: u8 = 3;
const QUOTA: u8 = 4;

/// Why a snapshot was not written or not read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Reading or writing failed.
    #[error("the snapshot could not be read or written")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("this file is not a snapshot of the memory store; name another file")]
    NotASnapshot,
    /// Another version of Tidegate wrote it.
    #[error(
        "the snapshot has format {found}, this version reads {VERSION}; move the file away to start empty"
    )]
    UnknownVersion {
        /// The format it has.
        found: u32,
    },
    /// It was cut short or changed.
    #[error("the snapshot is damaged ({0}); move the file away to start empty")]
    Damaged(&'static str),
}

impl MemoryStore {
    /// Writes what the store holds at `now`, and goes on serving meanwhile.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when `to` cannot be written.
    pub fn write_snapshot(&self, to: impl Write, now: Timestamp) -> Result<(), SnapshotError> {
        let mut writer = Checked::new(to, self.hasher.seed());
        let [a, b] = self.hasher.seed();
        let mut buffer = MAGIC.to_vec();
        buffer.extend(VERSION.to_le_bytes());
        put(&mut buffer, &[a, b, now.as_micros()]);
        let quotas = self.around.book.quotas();
        let mut records = quotas.len() as u64;
        for quota in &quotas {
            buffer.push(QUOTA);
            put(&mut buffer, quota);
        }
        for shard in 0..self.shards.len() {
            records +=
                write_shard(&self.lock(shard), &mut buffer, |entry| self.around.epochs.may_drop(entry, now));
            writer.write_all(&buffer)?;
            buffer.clear();
        }
        buffer.push(END);
        put(&mut buffer, &[records]);
        writer.write_all(&buffer)?;
        let checksum = writer.sum.finish128().as_bytes();
        writer.inner.write_all(&checksum)?;
        writer.inner.flush()?;
        Ok(())
    }

    /// A store that holds what a snapshot says. Its seed is the snapshot's; everything else is as in `options`, and
    /// what does not fit its memory is left out.
    ///
    /// # Errors
    /// [`SnapshotError`] says what is wrong with it; nothing is loaded then.
    pub fn restore(from: impl Read, options: &MemoryOptions, now: Timestamp) -> Result<Self, SnapshotError> {
        let mut head = [0; 12];
        let mut from = from;
        from.read_exact(&mut head).map_err(|error| short(error, SnapshotError::NotASnapshot))?;
        let (magic, version) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(SnapshotError::NotASnapshot);
        }
        let version = version.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
        if version != VERSION {
            return Err(SnapshotError::UnknownVersion { found: version });
        }
        let mut seed = [0; 16];
        from.read_exact(&mut seed).map_err(cut_short)?;
        let seed = seed.as_chunks::<8>().0;
        let seed = [u64::from_le_bytes(seed[0]), u64::from_le_bytes(seed[1])];
        let mut reader = Checked::new(from, seed);
        reader.sum.write(&head);
        seed.iter().for_each(|word| reader.sum.write(&word.to_le_bytes()));
        let store = Self::new(&MemoryOptions { seed, ..options.clone() });
        let [taken_at] = reader.words()?;
        store.read_records(&mut reader, Timestamp::from_micros(taken_at).min(now), now)?;
        Ok(store)
    }

    /// Writes a snapshot to a file, readable by its owner only: first to `path` with `.tmp` behind it, which then
    /// takes the place of `path`, so that there is a whole snapshot at any time.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when a file cannot be written; an earlier snapshot is then still in its place.
    pub fn save_to(&self, path: &Path, now: Timestamp) -> Result<(), SnapshotError> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let file = private_file(&temporary)?;
        self.write_snapshot(BufWriter::new(&file), now)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(())
    }

    /// [`MemoryStore::restore`] from a file.
    ///
    /// # Errors
    /// [`SnapshotError`] says what is wrong with it; nothing is loaded then.
    pub fn load_from(path: &Path, options: &MemoryOptions, now: Timestamp) -> Result<Self, SnapshotError> {
        Self::restore(BufReader::new(File::open(path)?), options, now)
    }

    fn read_records(
        &self,
        reader: &mut Checked<impl Read>,
        taken_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), SnapshotError> {
        let mut records = 0_u64;
        loop {
            let [tag] = reader.bytes()?;
            if tag == END {
                break;
            }
            records += 1;
            if tag == QUOTA {
                if !self.around.book.learn(reader.words()?) {
                    return Err(SnapshotError::Damaged("a quota that cannot be"));
                }
                continue;
            }
            let entry = Entry::from_words(reader.words()?).in_epoch(self.around.epochs.mark());
            let state = match (tag, entry.slab_index()) {
                (BUCKET, None) => None,
                (LOG, Some(_)) => Some(read_log(reader)?),
                (PERMITS, Some(_)) => Some(read_permits(reader)?),
                _ => return Err(SnapshotError::Damaged("unknown record")),
            };
            // At rest by the rules of then, perhaps, but not by those of now, which may be slower.
            if !entry.is_at_rest(taken_at) {
                self.lock(self.shard_of(entry.key())).restore(entry, state, now, &self.around);
            }
        }
        if reader.words()? != [records] {
            return Err(SnapshotError::Damaged("number of records"));
        }
        let expected = reader.sum.finish128().as_bytes();
        let mut checksum = [0; 16];
        reader.inner.read_exact(&mut checksum).map_err(cut_short)?;
        if checksum != expected {
            return Err(SnapshotError::Damaged("checksum"));
        }
        Ok(())
    }
}

fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

fn write_shard(shard: &Shard, buffer: &mut Vec<u8>, may_drop: impl Fn(&Entry) -> bool) -> u64 {
    let mut records = 0;
    for entry in (0..shard.slots()).filter_map(|index| shard.slot(index)) {
        if may_drop(entry) {
            continue;
        }
        let state = entry.slab_index().and_then(|index| shard.slab().get(index));
        match (entry.slab_index(), state) {
            (None, _) => {
                buffer.push(BUCKET);
                put(buffer, &entry.words());
            }
            (Some(_), Some(State::Log(log))) => {
                buffer.push(LOG);
                put(buffer, &entry.words());
                put_count(buffer, log.admissions().size_hint().0);
                log.admissions().for_each(|(at, units)| put(buffer, &[at, units]));
            }
            (Some(_), Some(State::Permits(permits))) => {
                buffer.push(PERMITS);
                put(buffer, &entry.words());
                put_count(buffer, permits.held().len());
                permits.held().iter().for_each(|permit| {
                    put(buffer, &[permit.id, permit.expires_at, permit.units]);
                });
            }
            (Some(_), _) => continue,
        }
        records += 1;
    }
    records
}

fn put(buffer: &mut Vec<u8>, words: &[u64]) {
    words.iter().for_each(|word| buffer.extend(word.to_le_bytes()));
}

fn put_count(buffer: &mut Vec<u8>, count: usize) {
    buffer.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

/// Memory is taken as admissions arrive, whatever the count promises.
fn read_log(reader: &mut Checked<impl Read>) -> Result<State, SnapshotError> {
    let mut admissions = Vec::new();
    for _ in 0..reader.count(MAX_LOG_LIMIT)? {
        let [at, units] = reader.words()?;
        admissions.push((at, units));
    }
    Ok(State::Log(AdmissionLog::from_admissions(admissions)))
}

fn read_permits(reader: &mut Checked<impl Read>) -> Result<State, SnapshotError> {
    let mut held = Vec::new();
    for _ in 0..reader.count(MAX_PERMITS)? {
        let [id, expires_at, units] = reader.words()?;
        held.push(Permit { id, expires_at, units });
    }
    Ok(State::Permits(Permits::from_held(held)))
}

/// A stream of which every byte is part of the checksum.
struct Checked<T> {
    inner: T,
    sum: SipHasher13,
}

impl<T> Checked<T> {
    fn new(inner: T, [a, b]: [u64; 2]) -> Self {
        Self { inner, sum: SipHasher13::new_with_keys(a, b) }
    }
}

impl<T: Write> Checked<T> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.write(bytes);
        self.inner.write_all(bytes)
    }
}

impl<T: Read> Checked<T> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes).map_err(cut_short)?;
        self.sum.write(&bytes);
        Ok(bytes)
    }

    fn words<const N: usize>(&mut self) -> Result<[u64; N], SnapshotError> {
        let mut words = [0; N];
        for word in &mut words {
            *word = u64::from_le_bytes(self.bytes()?);
        }
        Ok(words)
    }

    fn count(&mut self, max: u64) -> Result<u32, SnapshotError> {
        let count = u32::from_le_bytes(self.bytes()?);
        if u64::from(count) > max {
            Err(SnapshotError::Damaged("count above its maximum"))
        } else {
            Ok(count)
        }
    }
}

fn cut_short(error: io::Error) -> SnapshotError {
    short(error, SnapshotError::Damaged("cut short"))
}

/// The end of the stream where more was to come is the snapshot's fault, not the disk's.
fn short(error: io::Error, instead: SnapshotError) -> SnapshotError {
    if error.kind() == io::ErrorKind::UnexpectedEof { instead } else { error.into() }
}
