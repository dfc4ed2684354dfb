//! The folder of a journal: which files there are, and that nobody else writes them.
//!
//! Generation after generation has a snapshot and a journal that goes on from it. Those of earlier generations are
//! removed once the snapshot of a later one is there.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::OpenError;

const LOCK: &str = "rooms.lock";
const SNAPSHOT: &str = "snapshot";
const JOURNAL: &str = "journal";
const TEMPORARY: &str = "tmp";
/// Another one for each start of the machine (Linux).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A folder that is this process's.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
    /// The machine was not started anew since the folder was used last, so whatever was written is there.
    pub(super) is_same_boot: bool,
}

/// The generations there are files of, ascending.
#[derive(Debug, Default)]
pub(super) struct Generations {
    pub(super) snapshots: Vec<u64>,
    pub(super) journals: Vec<u64>,
}

impl Folder {
    /// Makes the folder if it is not there, and takes it.
    pub(super) fn take(path: &Path) -> Result<Self, OpenError> {
        let failed = |file: &Path| {
            let file = file.to_owned();
            |source| OpenError::Io { file, source }
        };
        fs::create_dir_all(path).map_err(failed(path))?;
        let lock_path = path.join(LOCK);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut lock = options.open(&lock_path).map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { folder: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(OpenError::Io { file: lock_path, source }),
        }
        let is_same_boot = note_boot(&mut lock).map_err(failed(&lock_path))?;
        Ok(Self { path: path.to_owned(), _lock: lock, is_same_boot })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn snapshot(&self, generation: u64) -> PathBuf {
        self.file(generation, SNAPSHOT)
    }

    pub(super) fn journal(&self, generation: u64) -> PathBuf {
        self.file(generation, JOURNAL)
    }

    /// Where a snapshot is written before it takes its place.
    pub(super) fn temporary(&self, generation: u64) -> PathBuf {
        self.file(generation, TEMPORARY)
    }

    pub(super) fn generations(&self) -> io::Result<Generations> {
        let mut generations = Generations::default();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let Some((generation, kind)) = name.to_str().and_then(parse) else { continue };
            match kind {
                SNAPSHOT => generations.snapshots.push(generation),
                JOURNAL => generations.journals.push(generation),
                _ => {}
            }
        }
        generations.snapshots.sort_unstable();
        generations.journals.sort_unstable();
        Ok(generations)
    }

    /// Files of generations before `generation`.
    pub(super) fn before(&self, generation: u64) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_str().and_then(parse).is_some_and(|(of, _)| of < generation) {
                files.push(entry.path());
            }
        }
        Ok(files)
    }

    fn file(&self, generation: u64, kind: &str) -> PathBuf {
        self.path.join(format!("rooms-{generation:016x}.{kind}"))
    }
}

fn parse(name: &str) -> Option<(u64, &str)> {
    let (generation, kind) = name.strip_prefix("rooms-")?.split_once('.')?;
    let is_kind = [SNAPSHOT, JOURNAL, TEMPORARY].contains(&kind);
    (generation.len() == 16 && is_kind)
        .then(|| Some((u64::from_str_radix(generation, 16).ok()?, kind)))
        .flatten()
}

/// Notes which start of the machine this is; whether it is that which was noted before.
fn note_boot(lock: &mut File) -> io::Result<bool> {
    let mut before = String::new();
    // Something else in it is no boot either.
    if lock.read_to_string(&mut before).is_err() {
        before.clear();
    }
    let Ok(now) = fs::read_to_string(BOOT_ID) else { return Ok(false) };
    if before == now {
        return Ok(true);
    }
    lock.set_len(0)?;
    lock.rewind()?;
    lock.write_all(now.as_bytes())?;
    lock.sync_all()?;
    Ok(false)
}
