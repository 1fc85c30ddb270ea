//! The history as a numbered log: everything that happened after a given row, in order, for consumers that
//! need every event.
//!
//! Promises: rows come in the order of their numbers. Only pruned rows are missing, and the gap in the
//! numbers shows it. The caller sets the limit. The container and network of a holder are added to its row
//! when the Engine shows them later.

use rusqlite::{Row, params};

use super::history::{HistoryLine, LINES, line};
use super::sqlite::{StoreError, Tables};

/// Rows of these types only record what is known about an address. They are not events.
pub const QUIET: [&str; 2] = ["forgotten", "restored"];

impl Tables {
    /// At most `most` rows after row `number`, including those that are not events.
    pub fn lines_after(&self, number: u64, most: usize) -> Result<Vec<HistoryLine>, StoreError> {
        let sql = format!("{LINES} WHERE h.seq > ?1 ORDER BY h.seq LIMIT ?2");
        self.rows("reading the newest history", &sql, params![number, most], line)
    }

    /// The number of the oldest row still stored, and of the newest row ever written. If no row is stored,
    /// the first number is the second plus one.
    pub fn log_ends(&self) -> Result<(u64, u64), StoreError> {
        let sql = "SELECT (SELECT min(seq) FROM history), \
                   max(folded, coalesce((SELECT max(seq) FROM history), 0)) FROM counters";
        let ends = self.row("reading history", sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let (oldest, newest): (Option<u64>, u64) = ends.unwrap_or_default();
        Ok((oldest.unwrap_or(newest + 1), newest))
    }

    /// Counts the rows after row `number` whose event is in `events`, spelled as in the history. An empty
    /// list means all events.
    pub fn count_after(&self, number: u64, events: &[String]) -> Result<u64, StoreError> {
        let sql = "SELECT event, count(*) FROM history WHERE seq > ?1 GROUP BY event";
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let counts: Vec<(String, u64)> = self.rows("counting the newest history", sql, [number], read)?;
        let wanted = |event: &String| match events {
            [] => !QUIET.contains(&&**event),
            events => events.contains(event),
        };
        Ok(counts.iter().filter(|(event, _)| wanted(event)).map(|(_, count)| count).sum())
    }
}
