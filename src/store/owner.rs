//! Checks which program a file belongs to: files of other programs or of a newer gipam are left untouched.
//!
//! Promises: the error names the foreign file, which is left unchanged. A process that has the books open
//! must check through SQLite, see [`check_owner`].

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use rusqlite::Connection;

use super::schema::{APPLICATION_ID, VERSION};
use super::sqlite::{StoreError, io, sqlite};

/// What kind of file the first bytes show.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// The books of gipam.
    Ours,
    /// Damaged books, as an interrupted write or a disk that lost pages may leave them.
    Ruined(&'static str),
    Other(String),
}

/// Reads the first bytes directly, so that SQLite never touches a foreign file. Use it only for files that
/// this process does not have open; see [`check_owner`].
pub(super) fn head(path: &Path) -> Result<Head, StoreError> {
    let header = header(path)?;
    Ok(match (header.get(68..72), header.starts_with(b"SQLite format 3\0")) {
        (Some(id), true) if id == APPLICATION_ID.to_be_bytes() => Head::Ours,
        (Some(id), true) => {
            let id = id.iter().fold(0u32, |id, byte| id << 8 | u32::from(*byte));
            Head::Other(format!("its application id is {id:#x}"))
        }
        (None, true) => Head::Ruined("the file is truncated"),
        (_, false) if header.is_empty() => Head::Ruined("the file is empty"),
        (_, false) if header.iter().all(|byte| *byte == 0) => Head::Ruined("no SQLite header"),
        (_, false) => Head::Other("no SQLite header".to_owned()),
    })
}

fn header(path: &Path) -> Result<Vec<u8>, StoreError> {
    let mut header = Vec::new();
    let file = File::open(path).map_err(io(path, "opening"))?;
    file.take(72).read_to_end(&mut header).map_err(io(path, "reading"))?;
    Ok(header)
}

/// The journal mode in the header of our database: 1 for a rollback journal, 2 for a WAL.
pub(super) fn journal_mode(path: &Path) -> Result<u8, StoreError> {
    Ok(header(path)?.get(18).copied().unwrap_or_default())
}

/// Refuses files that are not gipam's, judging by the first bytes.
pub(super) fn check_header(path: &Path) -> Result<(), StoreError> {
    let why = match head(path)? {
        Head::Ours => return Ok(()),
        Head::Ruined(why) => why.to_owned(),
        Head::Other(why) => why,
    };
    Err(StoreError::Foreign { path: path.to_owned(), why })
}

/// Checks the owner through SQLite, for readers. A process that closes any descriptor of a file loses all its
/// locks on it (POSIX). If this check opened the file itself, it would drop the daemon's own locks. The next
/// program that closes the books would then think that it is the only user and delete the WAL, with
/// everything that is written to it afterwards.
pub(super) fn check_owner(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    let foreign = |why: &str| Err(StoreError::Foreign { path: path.to_owned(), why: why.to_owned() });
    match fs::metadata(path).map_err(io(path, "opening"))?.len() {
        0 => return foreign("the file is empty"),
        1..72 => return foreign("the file is truncated"),
        _ => {}
    }
    let found = connection.pragma_query_value(None, "application_id", |row| row.get::<_, i32>(0));
    match found.map_err(sqlite(path, "reading the header"))? {
        APPLICATION_ID => Ok(()),
        other => foreign(&format!("its application id is {other:#x}")),
    }
}

/// Returns the version of the schema; refuses a version newer than this program.
pub(super) fn check_version(path: &Path, connection: &Connection) -> Result<i32, StoreError> {
    let found = connection.pragma_query_value(None, "user_version", |row| row.get::<_, i32>(0));
    match found.map_err(sqlite(path, "reading the header"))? {
        found if found > VERSION => Err(StoreError::Newer { path: path.to_owned(), found }),
        found => Ok(found),
    }
}
