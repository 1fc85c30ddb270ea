//! The tail: the newest rows of the history, which the table of addresses does not show yet, and moving them there.
//!
//! A change of an address is one row of history and nothing else: it says what happened and what is known of the address
//! since. Now and then the last row of each address is copied into the table (*folded*), in the order of that table, so
//! that many changes touch one page; `counters.folded` says up to where. Promises: a crash between any two steps loses
//! nothing, since the rows beyond `folded` hold whatever the table says; the tail is bounded; who looks must look at both
//! (the views `known` and `leases` do). Never deletes history (see `write`).

use rusqlite::Connection;

use super::sqlite::{Books, CommitError, Error, sqlite};
use crate::plan::change::Serial;
use crate::plan::prefix::number;

/// At least so many rows stand in the tail before they are folded.
pub(super) const LEAST: usize = 4_096;
/// And so many for each page of the database: then several of them meet on a page, however large the books are.
const PER_PAGE: usize = 4;
/// For each row that is written so many are folded, while folding is due: nobody waits long for it.
const STEP: usize = 4;
/// But no fewer in one commit.
const SMALLEST_STEP: usize = 128;

/// A row that tells of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Touched {
    serial: Serial,
    address: u128,
    seq: i64,
}

/// Folding in progress: the rows still to be copied, and what `folded` will be then.
#[derive(Debug)]
struct Folding {
    rows: std::vec::IntoIter<Touched>,
    upto: i64,
}

/// What stands in the tail.
#[derive(Debug, Default)]
pub(super) struct Tail {
    touched: Vec<Touched>,
    folding: Option<Folding>,
    folded: i64,
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

    /// Row `seq` tells of this address.
    pub(super) fn touch(&mut self, serial: Serial, address: u128, seq: i64, generation: u64) {
        self.touched.push(Touched { serial, address, seq });
        self.generation = self.generation.max(generation);
    }

    /// History may be forgotten up to here.
    pub(super) fn folded(&self) -> i64 {
        if self.is_empty() { self.next - 1 } else { self.folded }
    }

    fn is_empty(&self) -> bool {
        self.touched.is_empty() && self.folding.is_none()
    }

    /// What is to be folded next: the last row of each address, in the order of the table.
    fn begin(&mut self) {
        let mut rows = std::mem::take(&mut self.touched);
        rows.sort_unstable();
        rows.dedup_by(|later, kept| {
            let same = (later.serial, later.address) == (kept.serial, kept.address);
            if same {
                *kept = *later;
            }
            same
        });
        self.folding = Some(Folding { rows: rows.into_iter(), upto: self.next - 1 });
    }
}

impl Books {
    /// So many rows at least stand in the tail before they are folded; for tests, and while little history is kept.
    pub fn fold_after(&mut self, rows: usize) {
        self.fold_least = rows;
        self.tail.limit = self.tail.limit.min(rows);
    }

    /// Looks in the books what the tail is: at the start, and after what was written has been rolled back.
    pub(super) fn read_tail(&mut self) -> Result<(), Error> {
        let mut tail = Tail { limit: LEAST.min(self.fold_least), ..Tail::default() };
        read(&self.connection, &mut tail).map_err(sqlite(&self.path, "reading the newest history"))?;
        self.tail = tail;
        Ok(())
    }

    /// Folds a part of the tail if it has grown; part of the transaction that is to be committed.
    pub(super) fn fold_if_due(&mut self) -> Result<(), CommitError> {
        let fresh = std::mem::take(&mut self.tail.fresh);
        if self.tail.folding.is_some() || self.tail.touched.len() >= self.tail.limit {
            self.fold(SMALLEST_STEP.max(fresh.saturating_mul(STEP)))?;
        }
        Ok(())
    }

    /// Folds everything.
    pub(super) fn fold_all(&mut self) -> Result<(), CommitError> {
        while !self.tail.is_empty() {
            self.begin()?;
            self.fold(usize::MAX)?;
        }
        self.commit()
    }

    fn fold(&mut self, most: usize) -> Result<(), CommitError> {
        let of = |error: rusqlite::Error| CommitError::of(&error);
        if self.tail.folding.is_none() {
            self.tail.begin();
        }
        let Some(folding) = &mut self.tail.folding else { return Ok(()) };
        for row in folding.rows.by_ref().take(most) {
            copy(&self.connection, row.seq).map_err(of)?;
        }
        if folding.rows.len() == 0 {
            let (upto, generation) = (folding.upto, super::write::signed(self.tail.generation));
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

/// Makes the table of addresses say what a row of history says.
fn copy(connection: &Connection, seq: i64) -> Result<(), rusqlite::Error> {
    let put = "INSERT OR REPLACE INTO addresses \
               SELECT serial, address, leased, kind, name, mac, pinned, since, generation FROM history AS h \
               WHERE seq = ?1 AND leased IS NOT NULL AND EXISTS (SELECT 1 FROM subnets AS s WHERE s.serial = h.serial)";
    if connection.prepare_cached(put)?.execute([seq])? > 0 {
        return Ok(());
    }
    // Forgotten, and its name with it, unless that is already the next holder's.
    for forget in [
        "DELETE FROM addresses WHERE (subnet, address) = (SELECT serial, address FROM history WHERE seq = ?1)",
        "DELETE FROM names WHERE (subnet, address) = (SELECT serial, address FROM history WHERE seq = ?1) \
         AND generation <= (SELECT generation FROM history WHERE seq = ?1)",
    ] {
        connection.prepare_cached(forget)?.execute([seq])?;
    }
    Ok(())
}

fn read(connection: &Connection, tail: &mut Tail) -> Result<(), rusqlite::Error> {
    let last = "SELECT folded, coalesce((SELECT max(seq) FROM history), 0) FROM counters";
    let (folded, newest): (i64, i64) =
        connection.query_row(last, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    (tail.folded, tail.next) = (folded, folded.max(newest) + 1);
    let sql = "SELECT seq, serial, address, generation FROM history \
               WHERE seq > (SELECT folded FROM counters) AND address IS NOT NULL ORDER BY seq";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let number_at = |at| row.get::<_, i64>(at).map(|number| u64::try_from(number).unwrap_or(0));
        // One that is no address keeps its place in the queue; who loads the books names it.
        let address = row.get_ref(2)?.as_str().ok().and_then(|text| text.parse().ok()).map_or(0, number);
        tail.touch(number_at(1)?, address, row.get(0)?, number_at(3)?);
    }
    Ok(())
}
