//! The tail: the newest history rows, which are not in the table of addresses yet, and how they are moved
//! there.
//!
//! A change to an address only adds a history row, which says what happened and what is known about the
//! address from then on. Later, while no requests arrive, this state is written into the table (*folded*), in
//! the order of the table, so that many changes share a page. `counters.folded` is the last folded row. After
//! that, the oldest history is deleted.
//!
//! Promises: a crash between any two steps loses nothing, since rows after `folded` override the table and
//! are never deleted. The tail is bounded, however long requests keep coming. Readers must read both (the
//! views `known` and `leases` do). The caller decides when to fold.

use rusqlite::Connection;

use super::lines::{Happening, HappeningPlace, marks};
use super::sqlite::{Books, CommitError, StoreError, sqlite};
use super::write::{Written, signed};
use crate::plan::Plan;
use crate::plan::change::Serial;
use crate::plan::prefix::{number, text};
use crate::plan::request::Mac;

/// Folding starts only when the tail has at least this many rows.
pub(super) const LEAST: usize = 4_096;
/// Folding also waits for this many rows per page of the database: then several rows share a page, however
/// large the books are.
const PER_PAGE: usize = 4;
/// Rows folded in one commit while no requests arrive; a request that arrives meanwhile waits a few
/// milliseconds.
const QUIET_STEP: usize = 1_024;
/// Up to this many rows wait while requests arrive; beyond that, some are folded with each commit.
const MOST: usize = 65_536;
/// Beyond [`MOST`], this many rows are folded for each row that was written.
const STEP: usize = 4;
/// The minimum number of rows that such a commit folds.
const SMALLEST_STEP: usize = 128;
/// How many history rows are deleted at a time.
pub(super) const TRIM: usize = 1_000;

/// An address that a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Touched {
    serial: Serial,
    address: u128,
}

/// Folding in progress: the rows still to be copied, and the value of `folded` once all are copied.
#[derive(Debug)]
struct Folding {
    rows: std::vec::IntoIter<Touched>,
    upto: i64,
}

/// The content of the tail.
#[derive(Debug, Default)]
pub(super) struct Tail {
    touched: Vec<Touched>,
    folding: Option<Folding>,
    folded: i64,
    /// No history row has a lower number.
    oldest: i64,
    next: i64,
    /// The highest generation in these rows.
    generation: u64,
    /// Number of rows written in the open transaction.
    fresh: usize,
    limit: usize,
}

impl Tail {
    /// Gives this history row the next number.
    pub(super) fn next_row(&mut self, line: &Happening) -> i64 {
        if let (HappeningPlace::Subnet { serial, .. }, Some(address), Some(holder)) =
            (&line.place, line.address, &line.holder)
        {
            self.touch(*serial, address, holder.generation);
        }
        self.next += 1;
        self.fresh += 1;
        self.next - 1
    }

    /// Records that a row is about this address.
    fn touch(&mut self, serial: Serial, address: u128, generation: u64) {
        self.touched.push(Touched { serial, address });
        self.generation = self.generation.max(generation);
    }

    /// The number of the last history row that may be deleted.
    pub(super) fn folded(&self) -> i64 {
        if self.is_empty() { self.next - 1 } else { self.folded }
    }

    fn is_empty(&self) -> bool {
        self.touched.is_empty() && self.folding.is_none()
    }

    fn waiting(&self) -> usize {
        self.touched.len() + self.folding.as_ref().map_or(0, |folding| folding.rows.len())
    }

    /// Prepares the next rows to fold: each address once, in the order of the table.
    fn begin(&mut self) {
        let mut rows = std::mem::take(&mut self.touched);
        rows.sort_unstable();
        rows.dedup();
        self.folding = Some(Folding { rows: rows.into_iter(), upto: self.next - 1 });
    }
}

impl Books {
    /// Sets the limit at which folding starts; for tests, and if little history is kept.
    pub fn fold_after(&mut self, rows: usize) {
        self.fold_least = rows;
        self.tail.limit = self.tail.limit.min(rows);
    }

    /// Reads the tail from the books: at startup, and after a rollback.
    pub(super) fn read_tail(&mut self) -> Result<(), StoreError> {
        let mut tail = Tail { limit: LEAST.min(self.fold_least), ..Tail::default() };
        read(&self.connection, &mut tail).map_err(sqlite(&self.path, "reading the newest history"))?;
        self.tail = tail;
        Ok(())
    }

    /// Whether rows wait to be folded or deleted while no requests arrive.
    pub fn is_untidy(&self) -> bool {
        self.fold_is_due() || self.beyond() >= TRIM
    }

    /// Folds or deletes some rows in the open transaction. Call it while no requests arrive, and commit.
    /// `plan` must show what the books contain.
    pub fn tidy(&mut self, plan: &Plan) -> Result<(), CommitError> {
        if self.fold_is_due() { self.fold(plan, QUIET_STEP) } else { self.trim() }
    }

    /// Like [`Books::tidy`], but called before each commit, and only if too many rows wait. `plan` must
    /// include everything that was written in this transaction.
    pub fn tidy_if_pressing(&mut self, plan: &Plan) -> Result<(), CommitError> {
        let fresh = std::mem::take(&mut self.tail.fresh);
        // If little history is kept, no rows may wait.
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

    /// Number of history rows that need not be kept.
    fn beyond(&self) -> usize {
        let upto = (self.tail.next - 1).saturating_sub(signed(self.history_limit)).min(self.tail.folded());
        usize::try_from(upto.saturating_sub(self.tail.oldest - 1)).unwrap_or(0)
    }

    /// Deletes the oldest rows that need not be kept.
    fn trim(&mut self) -> Result<(), CommitError> {
        let rows = i64::try_from(self.beyond().min(TRIM)).unwrap_or(0);
        self.begin()?;
        self.tail.oldest += rows;
        Ok(self.execute("DELETE FROM history WHERE seq < ?1", [self.tail.oldest])?)
    }

    /// Folds everything and commits. `plan` must show what the books contain.
    pub fn fold_all(&mut self, plan: &Plan) -> Result<(), CommitError> {
        while !self.tail.is_empty() {
            self.fold(plan, usize::MAX)?;
        }
        self.commit()
    }

    fn fold(&mut self, plan: &Plan, most: usize) -> Result<(), CommitError> {
        self.begin()?;
        if self.tail.folding.is_none() {
            self.tail.begin();
        }
        let Some(folding) = &mut self.tail.folding else { return Ok(()) };
        copy(&self.tables.connection, plan, folding.rows.by_ref().take(most))?;
        if folding.rows.len() == 0 {
            let (upto, generation) = (folding.upto, signed(self.tail.generation));
            let sql = "UPDATE counters SET folded = ?1, next_generation = max(next_generation, ?2 + 1)";
            self.execute(sql, [upto, generation])?;
            let pages: usize = self.connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
            self.tail.limit = LEAST.max(pages.saturating_mul(PER_PAGE)).min(self.fold_least);
            self.tail.folded = upto;
            self.tail.folding = None;
        }
        Ok(())
    }
}

/// Updates the table of addresses from the plan. If an address changed again later, the plan is newer than
/// the row that is being folded; that does no harm, since the later rows have the same content.
fn copy(connection: &Connection, plan: &Plan, rows: impl Iterator<Item = Touched>) -> Written {
    // `INSERT OR REPLACE` would make SQLite keep a journal of each statement.
    let mut put = connection.prepare_cached(
        "INSERT INTO addresses VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (subnet, address) DO UPDATE SET \
         leased = excluded.leased, kind = excluded.kind, name = excluded.name, mac = excluded.mac, pinned = excluded.pinned, \
         since = excluded.since, generation = excluded.generation",
    )?;
    for Touched { serial, address } in rows {
        // If the subnet is gone, its rows have already been deleted from the tables.
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

/// Deletes the row of an address whose record was deleted, and the Engine's name for its holder.
fn forget(connection: &Connection, serial: Serial, address: &str) -> Written {
    for sql in [
        "DELETE FROM addresses WHERE (subnet, address) = (?1, ?2)",
        "DELETE FROM names WHERE (subnet, address) = (?1, ?2)",
    ] {
        connection.prepare_cached(sql)?.execute(rusqlite::params![signed(serial), address])?;
    }
    Ok(())
}

fn read(connection: &Connection, tail: &mut Tail) -> Written {
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
        // An unreadable address still counts here; loading the books reports it.
        let address = row.get_ref(1)?.as_str().ok().and_then(|text| text.parse().ok()).map_or(0, number);
        tail.touch(row.get(0)?, address, row.get(2)?);
    }
    Ok(())
}
