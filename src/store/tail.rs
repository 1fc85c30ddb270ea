//! The tail: the newest rows of the history, which the table of addresses does not show yet, and moving them there.
//!
//! A change of an address is one row of history and nothing else: it says what happened and what is known of the address
//! since. Later, while no requests come, what is known of these addresses is written into the table (*folded*), in the order of
//! that table, so that many changes touch one page; `counters.folded` says up to where. Then the oldest history is forgotten.
//!
//! Promises: a crash between any two steps loses nothing, since the rows beyond `folded` override the table, and no
//! row beyond is forgotten; the tail is bounded, however long it is busy; readers must read both (the views
//! `known` and `leases` do). Does not know when it is quiet.

use rusqlite::Connection;

use super::lines::marks;
use super::sqlite::{Books, CommitError, StoreError, sqlite};
use super::write::signed;
use crate::plan::Plan;
use crate::plan::change::Serial;
use crate::plan::prefix::{number, text};
use crate::plan::request::Mac;

/// At least this many rows are in the tail before they are folded.
pub(super) const LEAST: usize = 4_096;
/// And this many for each page of the database: then several of them meet on a page, however large the books are.
const PER_PAGE: usize = 4;
/// Rows folded in one quiet commit; a request that comes meanwhile waits a few milliseconds for it.
const QUIET_STEP: usize = 1_024;
/// This many rows wait for a quiet moment; beyond them a part is folded with each commit.
const MOST: usize = 65_536;
/// How many are folded then for each row that is written.
const STEP: usize = 4;
/// But no fewer in one commit.
const SMALLEST_STEP: usize = 128;
/// Rows of history that are forgotten at a time.
pub(super) const TRIM: usize = 1_000;

/// A row that tells of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Touched {
    serial: Serial,
    address: u128,
}

/// Folding in progress: the rows still to be copied, and what `folded` will be then.
#[derive(Debug)]
struct Folding {
    rows: std::vec::IntoIter<Touched>,
    upto: i64,
}

/// What is in the tail.
#[derive(Debug, Default)]
pub(super) struct Tail {
    touched: Vec<Touched>,
    folding: Option<Folding>,
    folded: i64,
    /// No row of history is older.
    oldest: i64,
    next: i64,
    /// The highest generation in these rows.
    generation: u64,
    /// Rows written in the open transaction.
    fresh: usize,
    limit: usize,
}

impl Tail {
    /// The number of the next row of history; it is used up.
    pub(super) fn next_row(&mut self) -> i64 {
        self.next += 1;
        self.fresh += 1;
        self.next - 1
    }

    /// A row tells of this address.
    pub(super) fn touch(&mut self, serial: Serial, address: u128, generation: u64) {
        self.touched.push(Touched { serial, address });
        self.generation = self.generation.max(generation);
    }

    /// History may be forgotten up to here.
    pub(super) fn folded(&self) -> i64 {
        if self.is_empty() { self.next - 1 } else { self.folded }
    }

    fn is_empty(&self) -> bool {
        self.touched.is_empty() && self.folding.is_none()
    }

    fn waiting(&self) -> usize {
        self.touched.len() + self.folding.as_ref().map_or(0, |folding| folding.rows.len())
    }

    /// What is to be folded next: each address once, in the order of the table.
    fn begin(&mut self) {
        let mut rows = std::mem::take(&mut self.touched);
        rows.sort_unstable();
        rows.dedup();
        self.folding = Some(Folding { rows: rows.into_iter(), upto: self.next - 1 });
    }
}

impl Books {
    /// At least this many rows are in the tail before they are folded; for tests, and while little history is kept.
    pub fn fold_after(&mut self, rows: usize) {
        self.fold_least = rows;
        self.tail.limit = self.tail.limit.min(rows);
    }

    /// Reads the tail from the books: at the start, and after a rollback.
    pub(super) fn read_tail(&mut self) -> Result<(), StoreError> {
        let mut tail = Tail { limit: LEAST.min(self.fold_least), ..Tail::default() };
        read(&self.connection, &mut tail).map_err(sqlite(&self.path, "reading the newest history"))?;
        self.tail = tail;
        Ok(())
    }

    /// Whether there is something to tidy while no requests come.
    pub fn is_untidy(&self) -> bool {
        self.fold_is_due() || self.beyond() >= TRIM
    }

    /// Folds or forgets a part, in the open transaction; call it while no requests come, and commit. `plan` is the plan as the
    /// books have it.
    pub fn tidy(&mut self, plan: &Plan) -> Result<(), CommitError> {
        if self.fold_is_due() { self.fold(plan, QUIET_STEP) } else { self.trim() }
    }

    /// The same before each commit, if too much waits for a quiet moment. `plan` is the plan with everything that was
    /// written.
    pub fn tidy_if_pressing(&mut self, plan: &Plan) -> Result<(), CommitError> {
        let fresh = std::mem::take(&mut self.tail.fresh);
        // Where little is kept, nothing waits.
        let most = if self.fold_least < LEAST { 0 } else { MOST };
        if self.tail.waiting() >= self.tail.limit.max(most) {
            self.fold(plan, SMALLEST_STEP.max(fresh.saturating_mul(STEP)))?;
        }
        while self.beyond() >= TRIM + most {
            self.trim()?;
        }
        Ok(())
    }

    fn fold_is_due(&self) -> bool {
        self.tail.folding.is_some() || self.tail.touched.len() >= self.tail.limit
    }

    /// Rows of history that need not be kept.
    fn beyond(&self) -> usize {
        let upto = (self.tail.next - 1).saturating_sub(signed(self.history_limit)).min(self.tail.folded());
        usize::try_from(upto.saturating_sub(self.tail.oldest - 1)).unwrap_or(0)
    }

    /// Forgets the oldest of them.
    fn trim(&mut self) -> Result<(), CommitError> {
        let rows = i64::try_from(self.beyond().min(TRIM)).unwrap_or(0);
        self.begin()?;
        self.tail.oldest += rows;
        let forget = self.connection.prepare_cached("DELETE FROM history WHERE seq < ?1");
        forget
            .and_then(|mut sql| sql.execute([self.tail.oldest]))
            .map_err(|error| CommitError::of(&error))?;
        Ok(())
    }

    /// Folds everything, and commits. `plan` is the plan as the books have it.
    pub fn fold_all(&mut self, plan: &Plan) -> Result<(), CommitError> {
        while !self.tail.is_empty() {
            self.fold(plan, usize::MAX)?;
        }
        self.commit()
    }

    fn fold(&mut self, plan: &Plan, most: usize) -> Result<(), CommitError> {
        let of = |error: rusqlite::Error| CommitError::of(&error);
        self.begin()?;
        if self.tail.folding.is_none() {
            self.tail.begin();
        }
        let Some(folding) = &mut self.tail.folding else { return Ok(()) };
        copy(&self.connection, plan, folding.rows.by_ref().take(most)).map_err(of)?;
        if folding.rows.len() == 0 {
            let (upto, generation) = (folding.upto, signed(self.tail.generation));
            let sql = "UPDATE counters SET folded = ?1, next_generation = max(next_generation, ?2 + 1)";
            self.connection
                .prepare_cached(sql)
                .and_then(|mut sql| sql.execute([upto, generation]))
                .map_err(of)?;
            let pages: i64 =
                self.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).map_err(of)?;
            let pages = usize::try_from(pages).unwrap_or(0);
            self.tail.limit = LEAST.max(pages.saturating_mul(PER_PAGE)).min(self.fold_least);
            self.tail.folded = upto;
            self.tail.folding = None;
        }
        Ok(())
    }
}

/// Makes the table of addresses say what the plan knows. Of an address that was touched again since, that is newer than the
/// row that is folded: the rows beyond say so, too.
fn copy(
    connection: &Connection,
    plan: &Plan,
    rows: impl Iterator<Item = Touched>,
) -> Result<(), rusqlite::Error> {
    // Not `INSERT OR REPLACE`: for that SQLite keeps a journal of each statement.
    let mut put = connection.prepare_cached(
        "INSERT INTO addresses VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (subnet, address) DO UPDATE SET \
         leased = excluded.leased, kind = excluded.kind, name = excluded.name, mac = excluded.mac, pinned = excluded.pinned, \
         since = excluded.since, generation = excluded.generation",
    )?;
    for Touched { serial, address } in rows {
        // With its subnet everything of it has gone from the tables.
        let Some(subnet) = plan.subnet(serial) else { continue };
        let shown = text(subnet.state.prefix.address(address));
        let Some(record) = subnet.addresses.get(address) else {
            forget(connection, serial, &shown)?;
            continue;
        };
        put.raw_bind_parameter(1, signed(serial))?;
        put.raw_bind_parameter(2, &*shown)?;
        put.raw_bind_parameter(3, record.leased)?;
        put.raw_bind_parameter(4, record.kind.name())?;
        put.raw_bind_parameter(5, record.name.as_deref())?;
        put.raw_bind_parameter(6, record.mac.map(Mac::text).as_deref())?;
        put.raw_bind_parameter(7, marks(record))?;
        put.raw_bind_parameter(8, signed(record.since))?;
        put.raw_bind_parameter(9, signed(record.generation))?;
        put.raw_execute()?;
    }
    Ok(())
}

/// Nothing is known of the address, so the row names no holder.
fn forget(connection: &Connection, serial: Serial, address: &str) -> Result<(), rusqlite::Error> {
    for sql in [
        "DELETE FROM addresses WHERE (subnet, address) = (?1, ?2)",
        "DELETE FROM names WHERE (subnet, address) = (?1, ?2)",
    ] {
        connection.prepare_cached(sql)?.execute(rusqlite::params![signed(serial), address])?;
    }
    Ok(())
}

fn read(connection: &Connection, tail: &mut Tail) -> Result<(), rusqlite::Error> {
    let ends = "SELECT folded, (SELECT min(seq) FROM history), (SELECT max(seq) FROM history) FROM counters";
    let (folded, oldest, newest): (i64, Option<i64>, Option<i64>) =
        connection.query_row(ends, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    (tail.folded, tail.next) = (folded, folded.max(newest.unwrap_or(0)) + 1);
    tail.oldest = oldest.unwrap_or(tail.next);
    let sql = "SELECT serial, address, generation FROM history \
               WHERE seq > (SELECT folded FROM counters) AND address IS NOT NULL ORDER BY seq";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let number_at = |at| row.get::<_, i64>(at).map(|number| u64::try_from(number).unwrap_or(0));
        // An unreadable address keeps its place in the queue; loading the books reports it.
        let address = row.get_ref(1)?.as_str().ok().and_then(|text| text.parse().ok()).map_or(0, number);
        tail.touch(number_at(0)?, address, number_at(2)?);
    }
    Ok(())
}
