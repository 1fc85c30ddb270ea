//! The history as a numbered log: everything that happened after a given row, in order, for consumers that need every event.
//!
//! Promises: rows come in the order of their numbers. Only pruned rows are missing, and the gap in the numbers shows it. The
//! caller limits how many it gets. What became known about a holder later (container, network) is added to its row.

use super::history::{HistoryLine, LINES, line};
use super::sqlite::{Reader, StoreError, sqlite};
use super::write::signed;

/// Rows that only say what is known of an address: no events.
pub const QUIET: [&str; 2] = ["forgotten", "restored"];

fn whole(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

impl Reader {
    /// The rows after this one, at most this many, including those that are not events.
    pub fn lines_after(&self, number: u64, most: usize) -> Result<Vec<HistoryLine>, StoreError> {
        let fail = || sqlite(&self.path, "reading the newest history");
        let sql = format!("{LINES} WHERE h.seq > ?1 ORDER BY h.seq LIMIT ?2");
        let mut statement = self.connection.prepare(&sql).map_err(fail())?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = statement.query_map([signed(number), most], line).map_err(fail())?;
        rows.collect::<Result<_, _>>().map_err(fail())
    }

    /// The numbers of the oldest row that is kept and of the newest that was ever written. If no row is kept, the first is one
    /// higher than the second.
    pub fn log_ends(&self) -> Result<(u64, u64), StoreError> {
        let sql = "SELECT (SELECT min(seq) FROM history), \
                   max(folded, coalesce((SELECT max(seq) FROM history), 0)) FROM counters";
        let ends = self.connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
        let (oldest, newest): (Option<i64>, i64) = ends.map_err(sqlite(&self.path, "reading history"))?;
        Ok((oldest.map_or(whole(newest) + 1, whole), whole(newest)))
    }

    /// Counts the rows after row `number` whose event is in `events`, spelled as in the history. If empty: all events.
    pub fn count_after(&self, number: u64, events: &[String]) -> Result<u64, StoreError> {
        let fail = || sqlite(&self.path, "counting the newest history");
        let sql = "SELECT event, count(*) FROM history WHERE seq > ?1 GROUP BY event";
        let mut statement = self.connection.prepare(sql).map_err(fail())?;
        let rows = statement.query_map([signed(number)], |row| Ok((row.get(0)?, row.get(1)?)));
        let mut sum = 0;
        for row in rows.map_err(fail())? {
            let (event, count): (String, i64) = row.map_err(fail())?;
            let wanted = if events.is_empty() { !QUIET.contains(&&*event) } else { events.contains(&event) };
            sum += if wanted { whole(count) } else { 0 };
        }
        Ok(sum)
    }
}
