//! Errors when opening, reading and writing the books, worded for people.
//!
//! Promises: each text names the file, what is wrong, and what to do. Makes no decisions.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

use super::schema::VERSION;
use crate::plan::error::{ErrorKind, Refusal};

/// Why books cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the books {0} are in use by another gipam; stop it first, or give another --file")]
    Locked(PathBuf),
    /// The file is not an SQLite database, or it belongs to another program.
    #[error(
        "{path} is not a gipam database ({why}); it was left untouched: give another --file, or restore a backup"
    )]
    Foreign { path: PathBuf, why: String },
    /// A newer gipam wrote the file.
    #[error(
        "{path} has schema {found}, and this gipam supports {VERSION}; it was left untouched: use the newer gipam"
    )]
    Newer { path: PathBuf, found: i32 },
    /// Only a writer migrates the file.
    #[error(
        "{path} has schema {found}, older than {VERSION}; it was left untouched: start this gipam once to migrate it"
    )]
    Older { path: PathBuf, found: i32 },
    /// A row cannot be understood; gipam never guesses.
    #[error(
        "the books {path} are damaged: {what}; they were left untouched: restore a backup, or repair them with sqlite3"
    )]
    Damaged { path: PathBuf, what: String },
    #[error("no books found at {0}")]
    Absent(PathBuf),
    /// The path is mistyped, or a disk is not mounted.
    #[error("the directory {} of {} does not exist; correct the path, or create it: mkdir -p {}",
        directory.display(), path.display(), directory.display())]
    NoDirectory { path: PathBuf, directory: PathBuf },
    /// The file has several hard links.
    #[error("{} has {names} names (hard links), and each would have its own WAL: remove the others; \
        find them with: find / -xdev -samefile {}", path.display(), path.display())]
    Names { path: PathBuf, names: u64 },
    /// The file itself is a bind mount.
    #[error(
        "{0} is mounted as a single file, so its WAL would be written elsewhere; mount its directory instead"
    )]
    Mounted(PathBuf),
    /// Another program has the books open.
    #[error("the books {0} are open in another program (an sqlite3 shell?); close it, then repeat")]
    Open(PathBuf),
    /// The given copy is the file of the books itself.
    #[error("{0} is the file of the books itself; nothing was changed: give the copy that is to replace it")]
    Itself(PathBuf),
    /// The file already exists.
    #[error(
        "{0} already exists, and gipam backup never overwrites a file; nothing was changed: give another name"
    )]
    Exists(PathBuf),
    #[error("the books {path}: {doing} failed")]
    Sqlite { path: PathBuf, doing: &'static str, source: rusqlite::Error },
    /// The file system reports an error.
    #[error("the books {path}: {doing} failed")]
    Io { path: PathBuf, doing: &'static str, source: io::Error },
}

/// Why a commit failed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Rolled back: nothing was changed; try again later.
    #[error(
        "the disk of the books is full or busy ({0}); nothing was changed: free some space, then try again"
    )]
    Definite(String),
    /// The change may or may not be on disk: stop and recover.
    #[error("writing the books failed ({0}); gipam stops and recovers when it is started again")]
    Unknown(String),
}

impl From<rusqlite::Error> for CommitError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy) => Self::Definite(error.to_string()),
            _ => Self::Unknown(error.to_string()),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        let kind = match error {
            StoreError::Absent(_) => ErrorKind::Missing,
            StoreError::Locked(_) | StoreError::Open(_) => ErrorKind::Taken,
            StoreError::Itself(_) => ErrorKind::Invalid,
            _ => ErrorKind::Failed,
        };
        Self::new(kind, text)
    }
}

impl From<CommitError> for Refusal {
    fn from(error: CommitError) -> Self {
        Self::new(ErrorKind::Failed, error.to_string())
    }
}
