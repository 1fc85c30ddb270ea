//! Replaces the books with a copy while no daemon has them open.
//!
//! Promises: the copy is read through SQLite, including its WAL, and never changed. Before anything is
//! replaced, its pages are checked, its rows are counted, and it is loaded as at startup. At every moment the
//! path has complete books: the old ones with everything that was committed to them, or the new ones without
//! the WAL of the old. The replaced books are kept as NAME.replaced-N. Files that an interrupted restore left
//! behind are removed first.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::backup::{BackupStep, size, vacuum_into};
use super::lock::{Lock, REPLACED, check_directory, real};
use super::owner::{self, Head, check_owner, check_version};
use super::sqlite::{Books, StoreError, io, open, sqlite, suffixed, sync_directory};

/// The suffixes of the files that SQLite keeps next to a database.
const LOGS: [&str; 3] = ["-wal", "-shm", "-journal"];
/// How long to wait for readers to close the books.
const PATIENCE: Duration = Duration::from_secs(1);
/// The journal mode in the header of a database that has a WAL; a `-wal` file next to it then belongs to it.
const WITH_LOG: u8 = 2;

/// The result of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The real path of the books.
    pub books: PathBuf,
    /// Where the replaced books are kept now, if there were any.
    pub kept: Option<PathBuf>,
    /// Number of subnets in the copy that networks hold.
    pub subnets: u64,
    /// Number of leased addresses in the copy.
    pub leases: u64,
    /// A warning about the copy, if it needs one.
    pub note: Option<String>,
}

/// Replaces the books, which no daemon may have open, with a copy; reports each step before it begins.
///
/// # Errors
/// If the copy is not complete books, or if another process has the books open. In both cases, the books stay
/// unchanged.
pub fn restore(copy: &Path, books: &Path, tell: &dyn Fn(BackupStep<'_>)) -> Result<Restored, StoreError> {
    let books = &real(books)?;
    check_directory(books)?;
    check_place(books)?;
    let _lock = Lock::take(books)?;
    let aside = suffixed(books, ".restoring");
    clear(&aside)?;
    let outcome = prepare(copy, books, &aside, tell).and_then(|prepared| {
        let settled = settle(books, tell)?;
        let kept = keep(books)?;
        fs::rename(&aside, books).map_err(io(books, "moving the copy into place"))?;
        sync_directory(books)?;
        drop(settled);
        Ok(Restored { books: books.clone(), kept, ..prepared })
    });
    // The next restore removes files that cannot be removed now.
    let _ = clear(&aside);
    outcome
}

/// Removes the files that an interrupted restore left next to the books.
fn clear(aside: &Path) -> Result<(), StoreError> {
    for end in LOGS.into_iter().chain(["", ".lock", ".reserve"]) {
        let leftover = suffixed(aside, end);
        match fs::remove_file(&leftover) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(io(&leftover, "removing the leftover of an interrupted restore")(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Refuses to replace a file that never held books; a person has to move it away.
fn check_place(books: &Path) -> Result<(), StoreError> {
    match owner::head(books) {
        Ok(Head::Ours | Head::Ruined(_)) => Ok(()),
        Ok(Head::Other(why)) => Err(StoreError::Foreign { path: books.to_owned(), why }),
        Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes the copy as books of this version next to the books that it will replace, complete and on disk.
fn prepare(
    copy: &Path,
    books: &Path,
    aside: &Path,
    tell: &dyn Fn(BackupStep<'_>),
) -> Result<Restored, StoreError> {
    let note = check_source(copy, books)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(aside).map_err(io(aside, "creating the file"))?;
    let result = match copied(copy, aside, tell) {
        // If SQLite cannot write next to the copy, it cannot read the WAL; then it reads a duplicate of the
        // copy and its WAL elsewhere.
        Err(StoreError::Sqlite { source, .. }) if needs_room(&source) => {
            let elsewhere = suffixed(aside, "-journal").with_file_name(name_of(aside, ".source"));
            let outcome = duplicate(copy, &elsewhere).and_then(|()| {
                fs::write(aside, b"").map_err(io(aside, "creating the file"))?;
                copied(&elsewhere, aside, tell)
            });
            clear(&elsewhere)?;
            outcome
        }
        other => other,
    };
    result?;
    tell(BackupStep::Reading);
    let read = Books::open(aside).and_then(|books| Ok((books.plan()?, books)));
    let (plan, prepared) = read.map_err(|error| of_copy(error, copy, aside))?;
    // The copy does not record which callers (see the plan's `callers`) came after it was made, so any
    // current caller may own its leases.
    prepared.execute("DELETE FROM callers", []).map_err(sqlite(aside, "forgetting the callers"))?;
    tell(BackupStep::Syncing);
    prepared.close()?;
    if suffixed(aside, "-wal").metadata().is_ok_and(|log| log.len() > 0) {
        return Err(StoreError::Damaged {
            path: aside.to_owned(),
            what: "its WAL could not be checkpointed".to_owned(),
        });
    }
    inherit(books, aside)?;
    File::open(aside).and_then(|file| file.sync_all()).map_err(io(aside, "syncing"))?;
    let held = plan.subnets().filter(|subnet| subnet.is_held());
    let (subnets, leases) = held
        .fold((0, 0), |(subnets, leases), subnet| (subnets + 1, leases + subnet.addresses.leased() as u64));
    Ok(Restored { books: books.to_owned(), kept: None, subnets, leases, note })
}

/// An error in the rows that were written is reported as an error of the copy; a failing disk is not.
fn of_copy(error: StoreError, copy: &Path, aside: &Path) -> StoreError {
    let path = copy.to_owned();
    match error {
        StoreError::Damaged { path: of, what } if of == aside => StoreError::Damaged { path, what },
        StoreError::Sqlite { path: of, doing, source }
            if of == aside && source.sqlite_error_code() == Some(ErrorCode::Unknown) =>
        {
            StoreError::Damaged { path, what: format!("{doing}: {source}") }
        }
        other => other,
    }
}

fn name_of(path: &Path, end: &str) -> std::ffi::OsString {
    suffixed(Path::new(path.file_name().unwrap_or_default()), end).into_os_string()
}

/// Refuses a file that cannot be a copy of books, before SQLite touches it.
fn check_source(copy: &Path, books: &Path) -> Result<Option<String>, StoreError> {
    let foreign = |why: &str| StoreError::Foreign { path: copy.to_owned(), why: why.to_owned() };
    let source = match fs::metadata(copy) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(StoreError::Absent(copy.to_owned())),
        other => other.map_err(io(copy, "checking the file"))?,
    };
    if !source.is_file() {
        return Err(foreign("it is not a regular file"));
    }
    let same = |other: fs::Metadata| (other.dev(), other.ino()) == (source.dev(), source.ino());
    if fs::metadata(books).is_ok_and(same) {
        return Err(StoreError::Itself(copy.to_owned()));
    }
    owner::check_header(copy)?;
    let mode = owner::journal_mode(copy)?;
    let alone = mode == WITH_LOG && !suffixed(copy, "-wal").exists();
    Ok(alone.then(|| {
        format!(
            "{} was copied without its WAL ({}-wal): if gipam was running, the copy lacks the latest changes; \
             gipam backup makes complete copies",
            copy.display(),
            copy.display()
        )
    }))
}

/// Has SQLite check the copy and write it, including its WAL, to the file `aside`; then compares the rows of
/// both.
fn copied(copy: &Path, aside: &Path, tell: &dyn Fn(BackupStep<'_>)) -> Result<(), StoreError> {
    let source = open_source(copy)?;
    check_owner(copy, &source)?;
    check_version(copy, &source)?;
    tell(BackupStep::Checking);
    let verdict: String = source
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(sqlite(copy, "checking"))?;
    if verdict != "ok" {
        return Err(StoreError::Damaged { path: copy.to_owned(), what: verdict });
    }
    let version = || source.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0));
    let before = version().map_err(sqlite(copy, "reading"))?;
    let rows = counts(&source).map_err(sqlite(copy, "counting"))?;
    tell(BackupStep::Writing(aside, size(&source).map_err(sqlite(copy, "measuring"))?));
    vacuum_into(&source, aside)?;
    // If a daemon wrote to the source in the meantime, the copy shows a later moment and the counts may
    // differ.
    if version().map_err(sqlite(copy, "reading"))? == before {
        check_rows(copy, &rows, aside)?;
    }
    Ok(())
}

/// Refuses a written file whose rows differ from those of the source.
fn check_rows(copy: &Path, rows: &[(String, i64)], aside: &Path) -> Result<(), StoreError> {
    let written = open(aside, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let found = counts(&written).map_err(sqlite(aside, "counting"))?;
    if found == rows {
        return Ok(());
    }
    let what = format!("the copy has the rows {rows:?}, but only {found:?} were written");
    Err(StoreError::Damaged { path: copy.to_owned(), what })
}

/// Opens the copy read-only. If the copy has no WAL, SQLite does not create any file next to it.
fn open_source(copy: &Path) -> Result<Connection, StoreError> {
    let single = !["-wal", "-journal"].iter().any(|end| suffixed(copy, end).exists());
    let (name, flags) = if single {
        let path = copy.canonicalize().map_err(io(copy, "opening"))?;
        let letter = |byte: &u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                char::from(*byte).to_string()
            }
            other => format!("%{other:02x}"),
        };
        let path: String = path.as_os_str().as_encoded_bytes().iter().map(letter).collect();
        (PathBuf::from(format!("file:{path}?immutable=1")), OpenFlags::SQLITE_OPEN_URI)
    } else {
        (copy.to_owned(), OpenFlags::empty())
    };
    let flags = flags | OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(name, flags).map_err(sqlite(copy, "opening"))?;
    connection.busy_timeout(PATIENCE).map_err(sqlite(copy, "opening"))?;
    Ok(connection)
}

/// Whether SQLite failed because it could not write next to a file that it only reads.
fn needs_room(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

/// Copies the database and its WAL or journal to another name.
fn duplicate(copy: &Path, elsewhere: &Path) -> Result<(), StoreError> {
    for end in ["", "-wal", "-journal"] {
        match fs::copy(suffixed(copy, end), suffixed(elsewhere, end)) {
            Err(error) if error.kind() == ErrorKind::NotFound && !end.is_empty() => {}
            other => drop(other.map_err(io(copy, "copying"))?),
        }
    }
    Ok(())
}

/// The number of rows in each table.
fn counts(connection: &Connection) -> Result<Vec<(String, i64)>, rusqlite::Error> {
    let sql =
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    let mut names = connection.prepare(sql)?;
    let names: Vec<String> = names.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let count = |name: String| {
        let sql = format!("SELECT count(*) FROM \"{}\"", name.replace('"', "\"\""));
        let rows = connection.query_row(&sql, [], |row| row.get(0))?;
        Ok((name, rows))
    };
    names.into_iter().map(count).collect()
}

/// Gives the file the owner and mode of the replaced books or, if there are none, the owner of the directory.
fn inherit(books: &Path, aside: &Path) -> Result<(), StoreError> {
    let old = fs::metadata(books).ok();
    if let Some(old) = &old {
        fs::set_permissions(aside, old.permissions()).map_err(io(aside, "setting its mode"))?;
    }
    let Some(owner) = old.or_else(|| fs::metadata(aside.parent()?).ok()) else { return Ok(()) };
    let mine = fs::metadata(aside).map_err(io(aside, "checking the file"))?;
    if (owner.uid(), owner.gid()) == (mine.uid(), mine.gid()) {
        return Ok(());
    }
    match chown(aside, Some(owner.uid()), Some(owner.gid())) {
        // Users other than root can only create files of their own.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        other => other.map_err(io(aside, "setting its owner")),
    }
}

/// Turns the current books into one file without a WAL and locks it exclusively; `None` if they cannot be
/// read.
fn settle(books: &Path, tell: &dyn Fn(BackupStep<'_>)) -> Result<Option<Connection>, StoreError> {
    if !books.exists() {
        return Ok(None);
    }
    tell(BackupStep::Closing(books));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let settled = Connection::open_with_flags(books, flags).and_then(|connection| {
        connection.busy_timeout(PATIENCE)?;
        connection.query_row("PRAGMA locking_mode=EXCLUSIVE", [], |_| Ok(()))?;
        let mode: String = connection.query_row("PRAGMA journal_mode=DELETE", [], |row| row.get(0))?;
        connection.execute_batch("BEGIN EXCLUSIVE")?;
        Ok((connection, mode))
    });
    match settled {
        Ok((connection, mode)) if mode == "delete" => Ok(Some(connection)),
        Ok(_) => Err(StoreError::Open(books.to_owned())),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Err(StoreError::Open(books.to_owned()))
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                tracing::warn!("the replaced books cannot be read and are kept unchanged: {error}");
                Ok(None)
            }
            _ => Err(sqlite(books, "closing them before they are replaced")(error)),
        },
    }
}

/// Gives the current books a second name and moves away SQLite's files next to them, so that SQLite does not
/// apply these to the new books. A WAL that still exists belongs to unreadable or missing books; it is kept
/// under the second name.
fn keep(books: &Path) -> Result<Option<PathBuf>, StoreError> {
    let taken =
        |n: &u32| ["", "-wal", "-journal"].iter().any(|end| suffixed(&kept_name(books, *n), end).exists());
    let number = (1..u32::MAX).find(|n| !taken(n)).unwrap_or(u32::MAX);
    let kept = kept_name(books, number);
    let there = books.exists();
    if there {
        fs::hard_link(books, &kept).map_err(io(books, "keeping the current books"))?;
    }
    for end in LOGS {
        let log = suffixed(books, end);
        let Ok(found) = fs::symlink_metadata(&log) else { continue };
        let moved = if end == "-shm" || found.len() == 0 {
            fs::remove_file(&log)
        } else {
            tracing::warn!("{} is kept as {}", log.display(), suffixed(&kept, end).display());
            fs::rename(&log, suffixed(&kept, end))
        };
        moved.map_err(io(&log, "keeping the WAL of the replaced books"))?;
    }
    sync_directory(books)?;
    Ok(there.then_some(kept))
}

fn kept_name(books: &Path, number: u32) -> PathBuf {
    suffixed(books, &format!("{REPLACED}{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_that_lacks_rows_of_its_source_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let [copy, aside] = ["copy.db", "aside.db"].map(|name| place.path().join(name));
        let filled = |path: &Path, rows: u32| {
            let connection = Connection::open(path).unwrap();
            connection.execute_batch("CREATE TABLE a (x); CREATE TABLE b (x)").unwrap();
            (0..rows).for_each(|_| connection.execute_batch("INSERT INTO b VALUES (1)").unwrap());
            counts(&connection).unwrap()
        };
        let rows = filled(&copy, 3);
        filled(&aside, 3);
        check_rows(&copy, &rows, &aside).unwrap();
        Connection::open(&aside).unwrap().execute_batch("DELETE FROM b WHERE rowid = 1").unwrap();
        let refused = check_rows(&copy, &rows, &aside).unwrap_err().to_string();
        assert!(refused.contains("copy.db") && refused.contains("(\"b\", 2)"), "{refused}");
    }
}
