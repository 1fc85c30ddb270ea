//! What the Engine calls the holders: read for views.
//!
//! Promises: a name belongs to one lease; the view that shows it compares the generation; what older books have of any length and
//! any characters is cut and escaped. Does not write (see `write`).

use std::collections::BTreeMap;

use super::sqlite::{Reader, StoreError, sqlite};
use crate::plan::change::{Serial, ShownHolder};
use crate::text;

/// By serial and address: the generation that was named, and what it was called.
pub type Names = BTreeMap<(Serial, String), (u64, ShownHolder)>;

/// By serial: the grant that was named, and what its network was called.
pub type Networks = BTreeMap<Serial, (u64, Box<str>)>;

impl Reader {
    /// What the Engine calls the networks of subnets.
    pub fn networks(&self) -> Result<Networks, StoreError> {
        let fail = || sqlite(&self.path, "reading the names of networks");
        let sql = "SELECT subnet, generation, network FROM networks";
        let mut statement = self.connection.prepare(sql).map_err(fail())?;
        let number = |value: i64| u64::try_from(value).unwrap_or(0);
        let rows = statement.query_map([], |row| {
            Ok((number(row.get(0)?), (number(row.get(1)?), text::name(&row.get::<_, String>(2)?).into())))
        });
        rows.map_err(fail())?.collect::<Result<_, _>>().map_err(fail())
    }

    /// By serial and address: the generation that was named, and what it was called.
    pub fn names(&self) -> Result<Names, StoreError> {
        let sql = "SELECT subnet, address, generation, container, container_id, network FROM names";
        let mut statement = self.connection.prepare(sql).map_err(sqlite(&self.path, "reading names"))?;
        let number = |value: i64| u64::try_from(value).unwrap_or(0);
        let rows = statement.query_map([], |row| {
            let key = (number(row.get(0)?), row.get(1)?);
            let text = |at: usize| row.get::<_, String>(at).map(|name| text::name(&name).into());
            let shown = ShownHolder { container: text(3)?, container_id: text(4)?, network: text(5)? };
            Ok((key, (number(row.get(2)?), shown)))
        });
        let rows = rows.map_err(sqlite(&self.path, "reading names"))?;
        rows.collect::<Result<_, _>>().map_err(sqlite(&self.path, "reading names"))
    }
}
