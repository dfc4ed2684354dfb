//! The last rules that worked, on disk: a node starts with them while the database is down.
//!
//! Two lines of JSON. The first says which format it is, and how long the second is and what its SHA-256 is; the second
//! has the rules. A file that was cut short or changed is told, never used. It is replaced whole: written beside, brought to
//! the disk, renamed. Its owner alone may read it, since it has the hashes of API keys.
//!
//! The functions wait for the disk: call them where that is allowed.

mod format;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::model::{ApiKey, OverrideQuota, StoredDomain, Tenant};

/// The longest file, in bytes.
pub const MAX_FILE_BYTES: usize = 256 << 20;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// The rules version that it is.
    pub rules_version: i64,
    /// When it was saved.
    pub saved_us: i64,
    /// All domains with their rules.
    pub domains: Vec<StoredDomain>,
    /// All tenants.
    pub tenants: Vec<Tenant>,
    /// The different quotas of overrides, by tenant, domain and rule.
    pub overrides: Vec<((String, String, String), OverrideQuota)>,
    /// All API keys.
    pub keys: Vec<ApiKey>,
}

/// Why the last good rules were not saved or not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LastGoodError {
    /// The file system failed.
    #[error("the last good rules in {} could not be read or written; check the folder and its permissions", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There are more rules than fit.
    #[error(
        "the last good rules for {} have more than {} MiB, so a start without the database cannot have them; keep fewer rules",
        path.display(), MAX_FILE_BYTES >> 20
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It was cut short or changed, or is something else.
    #[error(
        "{} has no last good rules, or damaged ones ({what}); move it away to start without them",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: &'static str,
    },
    /// Another version of Tidegate wrote it.
    #[error(
        "the last good rules in {} have format {found}, this version reads {}; start the version that wrote them, or move the file away",
        path.display(), format::FORMAT
    )]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// The format it has.
        found: u64,
    },
}

/// Where the last good rules are kept.
#[derive(Clone, Debug)]
pub struct LastGood {
    path: PathBuf,
}

/// What a text is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    TooLarge,
    Damaged(&'static str),
    OtherFormat(u64),
}

impl LastGood {
    /// Kept in this file, which need not be there yet; its folder must.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts these in the place of what was kept. One at a time: two would meet in the file beside it.
    ///
    /// # Errors
    /// [`LastGoodError`]; what was kept before is still there then.
    pub fn save(&self, saved: &Saved) -> Result<(), LastGoodError> {
        let bytes = format::write(saved, MAX_FILE_BYTES).map_err(|fault| self.fault(fault))?;
        self.put_in_place(&bytes).map_err(|source| self.io(source))
    }

    /// What is kept; `None` where there is no file.
    ///
    /// # Errors
    /// [`LastGoodError`] says what is wrong with the file and what to do.
    pub fn load(&self) -> Result<Option<Saved>, LastGoodError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io(error)),
        };
        let length = file.metadata().map_err(|source| self.io(source))?.len();
        let limit = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX);
        if length > limit {
            return Err(self.fault(Fault::TooLarge));
        }
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).map_err(|source| self.io(source))?;
        format::read(&bytes).map(Some).map_err(|fault| self.fault(fault))
    }

    fn put_in_place(&self, bytes: &[u8]) -> io::Result<()> {
        let mut beside = self.path.as_os_str().to_owned();
        beside.push(".tmp");
        let beside = PathBuf::from(beside);
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = private_file(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn io(&self, source: io::Error) -> LastGoodError {
        LastGoodError::Io { path: self.path.clone(), source }
    }

    fn fault(&self, fault: Fault) -> LastGoodError {
        let path = self.path.clone();
        match fault {
            Fault::TooLarge => LastGoodError::TooLarge { path },
            Fault::Damaged(what) => LastGoodError::Damaged { path, what },
            Fault::OtherFormat(found) => LastGoodError::OtherFormat { path, found },
        }
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
