//! Why books cannot be opened, read or written, for people.
//!
//! Promises: each text names the file, what is wrong, and what to do. Decides nothing.

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
    /// Not an SQLite file, or one of another program.
    #[error(
        "{path} is not a gipam database ({why}); it was left untouched: give another --file, or restore a backup"
    )]
    Foreign { path: PathBuf, why: String },
    /// From a newer program.
    #[error(
        "{path} has schema {found}, and this gipam knows {VERSION}; it was left untouched: use the newer gipam"
    )]
    Newer { path: PathBuf, found: i32 },
    /// A row that cannot be understood: never guess.
    #[error(
        "the books {path} are damaged: {what}; they were left untouched: restore a backup, or repair them with sqlite3"
    )]
    Damaged { path: PathBuf, what: String },
    #[error("no books found at {0}")]
    Absent(PathBuf),
    /// A mistyped path, or a disk that is not mounted.
    #[error("the directory {} of {} does not exist; correct the path, or create it: mkdir -p {}",
        directory.display(), path.display(), directory.display())]
    NoDirectory { path: PathBuf, directory: PathBuf },
    /// Hard links.
    #[error("{} has {names} names (hard links), and each would have its own WAL: remove the others; \
        find them with: find / -xdev -samefile {}", path.display(), path.display())]
    Names { path: PathBuf, names: u64 },
    /// A bind mount of the file.
    #[error(
        "{0} is mounted as a single file, so its WAL would be written elsewhere; mount its directory instead"
    )]
    Mounted(PathBuf),
    /// Another program than gipam has them open.
    #[error("the books {0} are open in another program (an sqlite3 shell?); close it, then repeat")]
    Open(PathBuf),
    /// The copy is the file of the books itself.
    #[error("{0} is the file of the books itself; nothing was changed: give the copy that is to replace it")]
    Itself(PathBuf),
    /// The file already exists.
    #[error("{0} exists, and gipam backup never overwrites; nothing was changed: give another name")]
    Exists(PathBuf),
    #[error("the books {path}: {doing} failed")]
    Sqlite { path: PathBuf, doing: &'static str, source: rusqlite::Error },
    /// The file system reports an error.
    #[error("the books {path}: {doing} failed")]
    Io { path: PathBuf, doing: &'static str, source: io::Error },
}

/// Why a commit did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Rolled back: nothing was changed; try again later.
    #[error("the disk of the books is full or busy ({0}); nothing was changed, try again when it has room")]
    Definite(String),
    /// The change may or may not be on disk: stop and recover.
    #[error("writing the books failed ({0}); gipam stops and recovers when it is started again")]
    Unknown(String),
}

impl CommitError {
    pub(super) fn of(error: &rusqlite::Error) -> Self {
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
