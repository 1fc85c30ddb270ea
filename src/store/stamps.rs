//! Moves the stored times after the time of day stepped: the plan's `stamps` as SQL statements.
//!
//! Promises: afterwards the tables agree with a plan that was moved by the same shift. The times of events
//! (`history.at`) stay as the clock showed them. Touches every row, which is acceptable since steps are rare.

use rusqlite::params;

use super::lines;
use super::sqlite::Books;
use super::write::{Written, signed};
use crate::plan::stamps::{LATEST, Shift};

/// The plan's `Shift::moved`: ?1 is the shift, ?2 the time after it, ?3 the latest value that is accepted as
/// a time.
fn moved(column: &str) -> String {
    format!("min(max(min({column}, ?3) + ?1, 0), ?2)")
}

/// All statements; each moves the columns that it sets.
fn statements() -> Vec<String> {
    let (granted, set_up, released) = (moved("granted_at"), moved("set_up_at"), moved("released_at"));
    let cooling = format!(
        "min(max(min(cool_until, ?3) + ?1, 0), {released} + max(min(cool_until, ?3) - min(released_at, ?3), 0))"
    );
    let (since, at) = (moved("since"), moved("at"));
    vec![
        format!("UPDATE subnets SET granted_at = {granted}, set_up_at = {set_up}"),
        format!(
            "UPDATE subnets SET cool_until = {cooling}, released_at = {released} WHERE released_at IS NOT NULL"
        ),
        format!("UPDATE addresses SET since = {since}"),
        format!(
            "UPDATE history SET since = {since} WHERE seq > (SELECT folded FROM counters) AND since IS NOT NULL"
        ),
        format!("UPDATE keys SET at = {at}"),
        format!("UPDATE pins SET since = {since}"),
        format!("UPDATE kept_releases SET at = {at}"),
    ]
}

impl Books {
    /// Moves all stamps in the tables, in the open transaction.
    pub(super) fn move_stamps(&mut self, shift: Shift) -> Written {
        lines::write(&self.tables.connection, &mut self.lines)?;
        for sql in statements() {
            self.execute(&sql, params![shift.by, signed(shift.now), signed(LATEST)])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a column holds a time, judging by its name.
    fn is_time(column: &str) -> bool {
        ["at", "since"].contains(&column) || column.ends_with("_at") || column.ends_with("_until")
    }

    #[test]
    fn every_time_in_the_tables_moves() {
        let directory = tempfile::tempdir().unwrap();
        let books = Books::open(&directory.path().join("gipam.db")).unwrap();
        let sql =
            "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table'";
        let mut statement = books.connection.prepare(sql).unwrap();
        let columns = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let columns: Vec<(String, String)> = columns.collect::<Result<_, _>>().unwrap();
        let times = columns.iter().filter(|(table, column)| {
            // The times of events stay.
            is_time(column) && (table.as_str(), column.as_str()) != ("history", "at")
        });
        let mut seen = 0;
        for (table, column) in times {
            let moved = |sql: &String| {
                sql.starts_with(&format!("UPDATE {table} SET ")) && sql.contains(&format!(" {column} = "))
            };
            assert!(statements().iter().any(moved), "{table}.{column} stays behind when the clock steps");
            seen += 1;
        }
        assert!(seen >= 9, "the columns were found");
    }
}
