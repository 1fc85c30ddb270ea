//! Copies of the books: taken while a daemon writes them, and put back while none runs.
//!
//! Promises: a copy is one moment of the books, complete or not there; what is put back was read whole before, and the
//! books that it replaces are kept beside it. At no moment is there a file at the path that is not whole books.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::sqlite::{Books, Error, Reader, beside, io, sqlite, sync_directory, take_lock};
use crate::plan::Plan;

/// What is done next, for whoever waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// The books that are there are closed in order: what stands in their log alone is moved into them.
    Closing(&'a Path),
    /// This file is written; it will have at most so many bytes.
    Writing(&'a Path, u64),
    /// The copy is brought to this version's schema, and SQLite looks at every page of it.
    Checking,
    /// All of it is read, as a start would.
    Reading,
    /// It is carried to the disk.
    Syncing,
}

/// Writes a copy of the books to a new file, readable by its owner alone; says before each step what it is. Returns
/// the size of the copy in bytes.
///
/// # Errors
/// If the books cannot be read, or there is a file already.
pub fn backup(books: &Path, copy: &Path, tell: &dyn Fn(Step<'_>)) -> Result<u64, Error> {
    drop(Reader::open(books)?);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(books, flags).map_err(sqlite(books, "opening"))?;
    // SQLite fills an empty file, and would make one that everybody may read.
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(copy).map_err(io(copy, "making the copy"))?;
    tell(Step::Writing(copy, size(&connection).map_err(sqlite(books, "measuring"))?));
    let written = connection
        .execute("VACUUM INTO ?1", [&*copy.to_string_lossy()])
        .map_err(sqlite(copy, "writing the copy"))
        .and_then(|_| {
            tell(Step::Syncing);
            let file = File::open(copy).map_err(io(copy, "syncing the copy"))?;
            file.sync_all().map_err(io(copy, "syncing the copy"))?;
            sync_directory(copy)?;
            Ok(file.metadata().map_err(io(copy, "measuring the copy"))?.len())
        });
    if written.is_err() {
        // What is there is no copy.
        let _ = fs::remove_file(copy);
    }
    written
}

/// The bytes of the pages that hold something. A copy leaves the others out, and may fill these better.
fn size(connection: &Connection) -> Result<u64, rusqlite::Error> {
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let pages = number("PRAGMA page_count")? - number("PRAGMA freelist_count")?;
    Ok(u64::try_from(pages * number("PRAGMA page_size")?).unwrap_or_default())
}

/// Puts a copy in the place of the books, which no daemon may have open; says before each step what it is. Returns
/// where the books that were there are kept now, if there were any.
///
/// # Errors
/// If the copy is no whole books, or a daemon has the books; then nothing was changed.
pub fn restore(copy: &Path, books: &Path, tell: &dyn Fn(Step<'_>)) -> Result<Option<PathBuf>, Error> {
    // What is in their log is moved into them, so that they lose nothing if this is cut off in the middle.
    let close = || {
        tell(Step::Closing(books));
        Books::open(books).and_then(Books::close)
    };
    match if books.exists() { close() } else { Ok(()) } {
        Ok(()) => {}
        Err(locked @ Error::Locked(_)) => return Err(locked),
        Err(error) => tracing::warn!("the books that are replaced are kept as they are: {error}"),
    }
    let _lock = take_lock(books)?;
    let aside = beside(books, ".restoring");
    let outcome = prepare(copy, &aside, tell).and_then(|()| replace(&aside, books));
    for leftover in ["", "-wal", "-shm", ".lock", ".reserve"] {
        let _ = fs::remove_file(beside(&aside, leftover));
    }
    outcome
}

/// A copy of the copy, of this version's schema, read whole once.
fn prepare(copy: &Path, aside: &Path, tell: &dyn Fn(Step<'_>)) -> Result<(), Error> {
    super::owner::check_header(copy)?;
    tell(Step::Writing(aside, fs::metadata(copy).map_err(io(copy, "measuring"))?.len()));
    fs::copy(copy, aside).map_err(io(copy, "copying"))?;
    tell(Step::Checking);
    let mut prepared = Books::open(aside)?;
    let verdict: String = prepared
        .connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(sqlite(copy, "checking"))?;
    if verdict != "ok" {
        return Err(Error::Damaged { path: copy.to_owned(), what: verdict });
    }
    tell(Step::Reading);
    let mut plan = Plan::new(prepared.settings()?);
    prepared.load(|change| plan.apply(&change))?;
    // The copy knows nothing of who came since: whoever is here may have asked for what it holds.
    prepared.forget_callers()?;
    tell(Step::Syncing);
    prepared.close()?;
    File::open(aside).and_then(|file| file.sync_all()).map_err(io(aside, "syncing"))
}

/// The prepared file takes the place of the books; those are kept, with their log.
fn replace(aside: &Path, books: &Path) -> Result<Option<PathBuf>, Error> {
    let kept = if books.exists() { Some(keep(books)?) } else { None };
    fs::rename(aside, books).map_err(io(books, "moving the copy in place"))?;
    sync_directory(books)?;
    Ok(kept)
}

/// Another name for the books, and their log under that name; a log must not meet other books.
fn keep(books: &Path) -> Result<PathBuf, Error> {
    let free = |n: &u32| !beside(books, &format!(".replaced-{n}")).exists();
    let number = (1..u32::MAX).find(free).unwrap_or(u32::MAX);
    let kept = beside(books, &format!(".replaced-{number}"));
    fs::hard_link(books, &kept).map_err(io(books, "keeping the books that are there"))?;
    for end in ["-wal", "-shm"] {
        let log = beside(books, end);
        if log.exists() {
            fs::rename(&log, beside(&kept, end)).map_err(io(books, "keeping their log"))?;
        }
    }
    sync_directory(books)?;
    Ok(kept)
}
