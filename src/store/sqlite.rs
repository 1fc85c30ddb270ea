//! Opens, locks and commits the SQLite file.
//!
//! Promises: one writer (see `lock`) and any number of readers; new books appear at their path complete or
//! not at all. Checkpoints never run inside a commit, so a full disk cannot make a durable commit look
//! failed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Params, Row, ffi};

pub use super::error::{CommitError, StoreError};
use super::headroom::Headroom;
use super::lines::{self, Happening};
use super::lock::{Lock, check_directory, check_name, real};
use super::log::Log;
use super::owner::{check_header, check_owner, check_version};
use super::schema::{APPLICATION_ID, MIGRATIONS, VERSION};
use super::tail::Tail;

/// The tables of an open file, for reading; each module of `store` reads its own.
#[derive(Debug)]
pub struct Tables {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
}

/// The books, open for writing; a file has at most one of these at a time.
#[derive(Debug)]
pub struct Books {
    pub(super) tables: Tables,
    pub(super) open_transaction: bool,
    /// Pages in the WAL after the last commit.
    log_pages: Arc<AtomicI32>,
    /// History rows that are not in the open transaction yet, with their numbers.
    pub(super) lines: Vec<(i64, Happening)>,
    pub(super) history_limit: u64,
    pub(super) tail: Tail,
    pub(super) fold_least: usize,
    /// Something other than addresses was written, so the counters have to be written too.
    pub(super) counters_due: bool,
    /// The result of a commit is unknown, so `close` does not roll back.
    failed: bool,
    log: Log,
    headroom: Headroom,
    /// Declared after the connection, which has to be closed first.
    _lock: Lock,
}

/// The WAL is checkpointed after this many pages (about 16 MiB) and then overwritten in place.
const CHECKPOINT_PAGES: i32 = 4_000;

/// The same limit on a disk without space for the headroom file: 400 KiB.
const TIGHT_CHECKPOINT_PAGES: i32 = 100;

/// The I/O errors that SQLite reports when it cannot create or extend the WAL's index.
const NO_ROOM: [i32; 2] = [ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_IOERR_SHMOPEN];

/// The directory that contains this file.
pub(super) fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Appends a suffix to the file name of a path.
pub(super) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { path, doing, source }
}

pub(super) fn sqlite(path: &Path, doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    move |source| match source.sqlite_error_code() {
        // In these cases, SQLite reports a full disk as "disk I/O error".
        _ if source.sqlite_error().is_some_and(|it| NO_ROOM.contains(&it.extended_code)) => {
            StoreError::Sqlite { path, doing: "creating the index of the WAL (is the disk full?)", source }
        }
        Some(ErrorCode::NotADatabase) => StoreError::Foreign { path, why: "not a database".to_owned() },
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Damaged { path, what: format!("{doing}: {source}") },
        _ => StoreError::Sqlite { path, doing, source },
    }
}

impl Books {
    /// Opens the books, or creates them if the file does not exist (but never a directory); takes the lock.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let path = &real(path)?;
        check_directory(path)?;
        let mut lock = Lock::take(path)?;
        if !path.try_exists().map_err(io(path, "checking the file"))? {
            create(path)?;
            lock.hold_file()?;
        }
        check_header(path)?;
        let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // Plan each statement once, for all values that it runs with.
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
            .map_err(sqlite(path, "opening"))?;
        // Do not write, not even a checkpoint, before owner and schema version are checked.
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .map_err(sqlite(path, "opening"))?;
        let mut books = Self {
            tables: Tables { path: path.to_owned(), connection },
            open_transaction: false,
            log_pages: Arc::default(),
            lines: Vec::new(),
            history_limit: 100_000,
            tail: Tail::default(),
            fold_least: usize::MAX,
            counters_due: false,
            failed: false,
            log: Log::of_books(path, CHECKPOINT_PAGES),
            headroom: Headroom::of_books(path),
            _lock: lock,
        };
        let version = check_version(path, &books.connection)?;
        books.configure()?;
        migrate(path, &books.connection, version)?;
        books.read_tail()?;
        Ok(books)
    }

    /// Sets how many history rows are kept.
    pub fn keep_history(&mut self, rows: u64) {
        self.history_limit = rows;
        // If few rows are kept, few may wait in the tail; otherwise the waiting rows would be kept longer.
        if let Some(few) = usize::try_from(rows).ok().filter(|few| *few < super::tail::LEAST) {
            self.fold_after(few.max(super::tail::TRIM));
        }
    }

    fn configure(&mut self) -> Result<(), StoreError> {
        let batch = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; PRAGMA busy_timeout=1000; \
                     PRAGMA temp_store=MEMORY;";
        self.connection.execute_batch(batch).map_err(sqlite(&self.path, "setting up the WAL"))?;
        self.connection.set_prepared_statement_cache_capacity(64);
        // The hook replaces the automatic checkpoint, which would run inside a commit.
        let pages = self.log_pages.clone();
        let count = move |_: &mut rusqlite::hooks::Wal, in_log| {
            pages.store(in_log, Ordering::Relaxed);
            Ok(())
        };
        self.tables.connection.wal_hook(Some(count)).map_err(sqlite(&self.path, "watching the WAL"))?;
        Ok(())
    }

    /// Opens the transaction of a batch, if it is not open yet.
    pub(super) fn begin(&mut self) -> Result<(), CommitError> {
        if !self.open_transaction {
            self.execute("BEGIN IMMEDIATE", [])?;
            self.open_transaction = true;
        }
        Ok(())
    }

    /// Makes everything that was written since the last commit durable, with one sync.
    pub fn commit(&mut self) -> Result<(), CommitError> {
        if !self.open_transaction {
            return Ok(());
        }
        let written = lines::write(&self.tables.connection, &mut self.lines).map_err(CommitError::from);
        let committed = written.and_then(|()| Ok(self.execute("COMMIT", [])?));
        self.failed |= matches!(committed, Err(CommitError::Unknown(_)));
        committed?;
        self.open_transaction = false;
        self.counters_due = false;
        Ok(())
    }

    /// Discards everything that was written since the last commit.
    pub fn rollback(&mut self) -> Result<(), CommitError> {
        let written = std::mem::take(&mut self.open_transaction);
        self.counters_due = false;
        self.lines.clear();
        // SQLite may already have rolled back.
        if !self.connection.is_autocommit() {
            self.connection
                .execute_batch("ROLLBACK")
                .map_err(|error| CommitError::Unknown(error.to_string()))?;
        }
        if written {
            self.read_tail().map_err(|error| CommitError::Unknown(error.to_string()))?;
        }
        Ok(())
    }

    /// After a commit that failed for lack of space: deletes the headroom file, then checkpoints and
    /// truncates the WAL. Waits at most a second for readers to release the WAL; gipam cannot answer requests
    /// in that time anyway.
    pub fn make_room(&mut self) {
        self.headroom.give();
        self.log.forget();
        // A failure is expected, since the disk is full.
        let _ = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }

    /// Checks whether the disk accepts a small transaction. If it does not, a checkpoint may free space,
    /// since the next transaction then restarts the WAL.
    pub fn probe(&mut self) -> Result<(), CommitError> {
        let full = |error: &rusqlite::Error| error.sqlite_error_code() == Some(ErrorCode::DiskFull);
        let mut outcome = self.write_nothing()?;
        if outcome.as_ref().is_err_and(full) {
            // A failure is expected, since the disk is full.
            let _ = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
            outcome = self.write_nothing()?;
        }
        Ok(outcome?)
    }

    /// Tries to write a page without changing anything. The outer error means that the rollback failed.
    fn write_nothing(&mut self) -> Result<Result<(), rusqlite::Error>, CommitError> {
        let batch = "BEGIN IMMEDIATE; UPDATE counters SET next_serial = next_serial WHERE one = 1; COMMIT";
        let outcome = self.connection.execute_batch(batch);
        if outcome.is_err() {
            self.rollback()?;
        }
        Ok(outcome)
    }

    /// Whether [`Books::checkpoint_if_due`] has something to do.
    pub fn is_checkpoint_due(&self) -> bool {
        let pages = self.log_pages.load(Ordering::Relaxed);
        !self.headroom.is_there() || pages >= CHECKPOINT_PAGES || self.log.is_short(pages)
    }

    /// Checkpoints a long WAL, extends its file and restores the headroom file. Call it when no answer
    /// waits and the last commit succeeded. A failure does no harm.
    pub fn checkpoint_if_due(&mut self) {
        self.headroom.keep();
        // Without space for the headroom file, the WAL must not use the space that the database will need.
        let (due, mode) = if self.headroom.is_there() {
            (CHECKPOINT_PAGES, "PASSIVE")
        } else {
            (TIGHT_CHECKPOINT_PAGES, "TRUNCATE")
        };
        if self.log_pages.load(Ordering::Relaxed) >= due {
            self.log_pages.store(0, Ordering::Relaxed);
            self.checkpoint(mode);
        }
        if self.headroom.is_there() {
            self.log.lengthen(self.log_pages.load(Ordering::Relaxed), || self.headroom.has_room());
        } else {
            self.log.forget();
        }
    }

    fn checkpoint(&self, mode: &str) {
        let pragma = format!("PRAGMA wal_checkpoint({mode})");
        if let Err(error) = self.connection.query_row(&pragma, [], |_| Ok(())) {
            tracing::warn!("the books {}: checkpoint failed, retrying later: {error}", self.path.display());
        }
    }

    /// Checkpoints the WAL into the database and closes the books.
    pub fn close(mut self) -> Result<(), StoreError> {
        if !self.failed {
            // If this fails, closing the connection rolls back.
            let _ = self.rollback();
        }
        self.checkpoint("TRUNCATE");
        let Tables { path, connection } = self.tables;
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
            .map_err(sqlite(&path, "closing"))?;
        connection.close().map_err(|(_, source)| StoreError::Sqlite { path, doing: "closing", source })
    }
}

/// The books, open for reading only, whether or not a daemon is running.
#[derive(Debug)]
pub struct Reader(Tables);

impl Deref for Books {
    type Target = Tables;

    fn deref(&self) -> &Tables {
        &self.tables
    }
}

impl Deref for Reader {
    type Target = Tables;

    fn deref(&self) -> &Tables {
        &self.0
    }
}

impl Tables {
    /// The path of the books.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads all rows of a query.
    pub(super) fn rows<T, C: FromIterator<T>>(
        &self,
        doing: &'static str,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<C, StoreError> {
        let rows = || self.connection.prepare_cached(sql)?.query_map(params, read)?.collect::<Result<C, _>>();
        rows().map_err(sqlite(&self.path, doing))
    }

    /// Reads the first row of a query, if there is one.
    pub(super) fn row<T>(
        &self,
        doing: &'static str,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let row = || self.connection.prepare_cached(sql)?.query_row(params, read).optional();
        row().map_err(sqlite(&self.path, doing))
    }
}

/// Opens a database file without any checks.
pub(super) fn open(path: &Path, access: OpenFlags) -> Result<Connection, StoreError> {
    Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(sqlite(path, "opening"))
}

impl Reader {
    /// Opens existing books without changing anything.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.try_exists().map_err(io(path, "checking the file"))? {
            return Err(StoreError::Absent(path.to_owned()));
        }
        let connection = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        check_name(path)?;
        check_owner(path, &connection)?;
        let version = check_version(path, &connection)?;
        if version < VERSION {
            return Err(StoreError::Older { path: path.to_owned(), found: version });
        }
        connection.busy_timeout(std::time::Duration::from_secs(2)).map_err(sqlite(path, "opening"))?;
        // One transaction for all reads, so that they see one consistent snapshot.
        connection.execute_batch("BEGIN").map_err(sqlite(path, "opening"))?;
        Ok(Self(Tables { path: path.to_owned(), connection }))
    }

    /// Ends the snapshot: later reads may see newer data than earlier ones.
    pub fn forget_snapshot(&self) -> Result<(), StoreError> {
        self.connection.execute_batch("COMMIT; BEGIN").map_err(sqlite(&self.path, "renewing the snapshot"))
    }
}

/// Creates new books under another name and moves them into place, so an interrupted first start leaves no
/// partial file.
fn create(path: &Path) -> Result<(), StoreError> {
    let aside = suffixed(path, ".new");
    for leftover in ["", "-journal", "-wal", "-shm"] {
        match fs::remove_file(suffixed(&aside, leftover)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io(path, "removing an unfinished file")(error)),
        }
    }
    for leftover in ["-wal", "-shm", "-journal"] {
        if suffixed(path, leftover).exists() {
            let why = format!("{} exists, but the database does not", suffixed(path, leftover).display());
            return Err(StoreError::Foreign { path: path.to_owned(), why });
        }
    }
    let mut options = OpenOptions::new();
    options.create_new(true).write(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&aside).map_err(io(path, "creating the file"))?;
    let connection = Connection::open(&aside).map_err(sqlite(path, "creating new books"))?;
    connection
        .execute_batch("PRAGMA synchronous=FULL; PRAGMA journal_mode=DELETE")
        .map_err(sqlite(path, "creating new books"))?;
    connection
        .pragma_update(None, "application_id", APPLICATION_ID)
        .map_err(sqlite(path, "creating new books"))?;
    migrate(path, &connection, 0)?;
    connection.close().map_err(|(_, source)| StoreError::Sqlite {
        path: path.to_owned(),
        doing: "creating new books",
        source,
    })?;
    File::open(&aside).and_then(|file| file.sync_all()).map_err(io(path, "syncing new books"))?;
    fs::rename(&aside, path).map_err(io(path, "moving new books into place"))?;
    sync_directory(path)
}

/// Makes creations, renames and removals next to this file durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    File::open(directory(path))
        .and_then(|directory| directory.sync_all())
        .map_err(io(path, "syncing the directory"))
}

fn migrate(path: &Path, connection: &Connection, from: i32) -> Result<(), StoreError> {
    for version in from..VERSION {
        let steps = usize::try_from(version).ok().and_then(|version| MIGRATIONS.get(version));
        let steps = steps.ok_or_else(|| StoreError::Damaged {
            path: path.to_owned(),
            what: format!("schema {version} does not exist"),
        })?;
        let batch = format!("BEGIN IMMEDIATE; {steps}; PRAGMA user_version = {}; COMMIT", version + 1);
        connection.execute_batch(&batch).map_err(sqlite(path, "migrating"))?;
    }
    Ok(())
}
