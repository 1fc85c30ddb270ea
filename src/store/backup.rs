//! Copies of the books, taken while a daemon writes them. `restore` puts them back.
//!
//! Promises: a copy shows the books at one moment, including changes that are only in the WAL. The copy gets
//! its name only once it is complete and on disk. A backup never overwrites a file and never creates a
//! directory.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::lock::check_directory;
use super::sqlite::{Reader, StoreError, io, open, sqlite, suffixed, sync_directory};

/// The next step, for progress display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupStep<'a> {
    /// Checkpoints the WAL of the existing books into their database and closes them.
    Closing(&'a Path),
    /// This file is being written; it will have at most this many bytes.
    Writing(&'a Path, u64),
    /// SQLite checks every page of the copy.
    Checking,
    /// The copy is migrated to this version's schema and loaded completely, as at startup.
    Reading,
    /// The copy is synced to disk.
    Syncing,
}

/// Writes a copy of the books to a new file that only its owner can read, and reports each step before it
/// begins. Returns the size of the copy in bytes.
///
/// # Errors
/// If the books cannot be read, or if `copy` already exists.
pub fn backup(books: &Path, copy: &Path, tell: &dyn Fn(BackupStep<'_>)) -> Result<u64, StoreError> {
    drop(Reader::open(books)?);
    check_directory(copy)?;
    if copy.symlink_metadata().is_ok() {
        return Err(StoreError::Exists(copy.to_owned()));
    }
    let connection = open(books, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let part = suffixed(copy, ".part");
    // Stays locked during the write, so that another backup to this name fails at once without overwriting
    // the file.
    let held = begin(&part)?;
    let outcome = write(&connection, &part, copy, tell);
    if outcome.is_err() {
        // An incomplete file is not a usable copy.
        let _ = fs::remove_file(&part);
    }
    drop(held);
    outcome
}

/// Creates the file that becomes the copy, or empties one that an interrupted backup left behind.
fn begin(part: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(part).map_err(io(part, "creating the copy"))?;
    file.try_lock()
        .map_err(|error| io(part, "locking the copy (is another backup writing it?)")(error.into()))?;
    file.set_len(0).map_err(io(part, "creating the copy"))?;
    Ok(file)
}

fn write(
    connection: &Connection,
    part: &Path,
    copy: &Path,
    tell: &dyn Fn(BackupStep<'_>),
) -> Result<u64, StoreError> {
    tell(BackupStep::Writing(part, size(connection).map_err(sqlite(part, "measuring"))?));
    vacuum_into(connection, part)?;
    tell(BackupStep::Syncing);
    let file = File::open(part).map_err(io(part, "syncing the copy"))?;
    file.sync_all().map_err(io(part, "syncing the copy"))?;
    let size = file.metadata().map_err(io(part, "measuring the copy"))?.len();
    name(part, copy)?;
    sync_directory(copy)?;
    Ok(size)
}

/// Gives the finished file its name, unless that name is already taken.
fn name(part: &Path, copy: &Path) -> Result<(), StoreError> {
    let moved = match renameat_with(CWD, part, CWD, copy, RenameFlags::NOREPLACE) {
        // This file system does not support NOREPLACE.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP)
            if copy.symlink_metadata().is_err() =>
        {
            fs::rename(part, copy)
        }
        other => other.map_err(io::Error::from),
    };
    moved.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => StoreError::Exists(copy.to_owned()),
        _ => io(copy, "naming the copy")(error),
    })
}

/// Has SQLite write a snapshot of this database, including its WAL, into an empty file.
pub(super) fn vacuum_into(connection: &Connection, file: &Path) -> Result<(), StoreError> {
    let path = file.to_string_lossy();
    connection.execute("VACUUM INTO ?1", [&*path]).map_err(sqlite(file, "writing the copy"))?;
    Ok(())
}

/// The total size in bytes of the pages in use. A copy leaves out free pages and may pack the others better.
pub(super) fn size(connection: &Connection) -> Result<u64, rusqlite::Error> {
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let pages = number("PRAGMA page_count")? - number("PRAGMA freelist_count")?;
    Ok(u64::try_from(pages * number("PRAGMA page_size")?).unwrap_or_default())
}
