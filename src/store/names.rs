//! What the Engine calls the holders: read for views.
//!
//! Promises: a name belongs to one lease; whoever shows it compares the generation. Does not write (see `write`).

use std::collections::BTreeMap;

use super::sqlite::{Error, Reader, sqlite};
use super::write::signed;
use crate::plan::change::{Serial, Shown};

/// By serial and address: the generation that was named, and what it was called.
pub type Names = BTreeMap<(Serial, String), (u64, Shown)>;

impl Reader {
    /// By serial and address: the generation that was named, and what it was called.
    pub fn names(&self) -> Result<Names, Error> {
        let sql = "SELECT subnet, address, generation, container, container_id, network FROM names";
        let mut statement = self.connection.prepare(sql).map_err(sqlite(&self.path, "reading names"))?;
        let number = |value: i64| u64::try_from(value).unwrap_or(0);
        let rows = statement.query_map([], |row| {
            let key = (number(row.get(0)?), row.get(1)?);
            let text = |at: usize| row.get::<_, String>(at).map(String::into_boxed_str);
            let shown = Shown { container: text(3)?, container_id: text(4)?, network: text(5)? };
            Ok((key, (number(row.get(2)?), shown)))
        });
        let rows = rows.map_err(sqlite(&self.path, "reading names"))?;
        rows.collect::<Result<_, _>>().map_err(sqlite(&self.path, "reading names"))
    }

    /// The names in one subnet: address, generation and network.
    pub fn names_in(&self, serial: Serial) -> Result<Vec<(String, u64, String)>, Error> {
        let sql = "SELECT address, generation, network FROM names WHERE subnet = ?1";
        let mut statement = self.connection.prepare(sql).map_err(sqlite(&self.path, "reading names"))?;
        let number = |value: i64| u64::try_from(value).unwrap_or(0);
        let rows = statement
            .query_map([signed(serial)], |row| Ok((row.get(0)?, number(row.get(1)?), row.get(2)?)))
            .map_err(sqlite(&self.path, "reading names"))?;
        rows.collect::<Result<_, _>>().map_err(sqlite(&self.path, "reading names"))
    }
}
