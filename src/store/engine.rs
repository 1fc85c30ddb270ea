//! Which Engine holds what is in the books: two values of the `meta` table.
//!
//! Promises: both or neither. Does not judge what another Engine's lists mean (see the plan's `evidence`).

use rusqlite::{Connection, OptionalExtension};

use super::sqlite::Books;
use super::write::Written;
use crate::plan::change::Change;
use crate::plan::shown::EngineIdentity;

const ID: &str = "engine_id";
const ROOT: &str = "engine_root";

impl Books {
    /// Writes it into the open transaction.
    pub(super) fn put_engine(&self, identity: &EngineIdentity) -> Written {
        for (key, value) in [(ID, &identity.id), (ROOT, &identity.root)] {
            self.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", [key, value])?;
        }
        Ok(())
    }
}

/// Reads it, if it was ever written.
pub(super) fn load(connection: &Connection) -> Result<Option<Change>, rusqlite::Error> {
    let value = |key: &str| {
        let sql = "SELECT value FROM meta WHERE key = ?1";
        connection.query_row(sql, [key], |row| row.get::<_, String>(0)).optional()
    };
    let known = |id: String, root: String| EngineIdentity { id: id.into(), root: root.into() };
    let identity = value(ID)?.zip(value(ROOT)?).map(|(id, root)| known(id, root));
    Ok(identity.map(|identity| Change::EngineKnown(Box::new(identity))))
}
