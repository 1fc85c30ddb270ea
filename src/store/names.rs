//! The Engine's names for the holders and the networks, read for views.
//!
//! Promises: a name belongs to one lease, and the view that shows it compares the generations. Names in older
//! books may have any length and any characters, so they are truncated and escaped. Does not write (see
//! `write`).

use std::collections::BTreeMap;

use rusqlite::{Row, params};

use super::sqlite::{StoreError, Tables};
use crate::plan::change::{Serial, ShownHolder};
use crate::plan::prefix::number;
use crate::text;

/// By serial: the generation of the grant that was named, and the name of its network.
pub type Networks = BTreeMap<Serial, (u64, Box<str>)>;

/// For one subnet, by address number: the generation of the lease that was named, and its names.
pub type NamesOfSubnet = BTreeMap<u128, (u64, ShownHolder)>;

/// Where the Engine showed a name: addresses in subnets, and whole subnets, by serial.
pub type ShownAt = (Vec<(Serial, String)>, Vec<Serial>);

impl Tables {
    /// The Engine's name for the network that this grant belongs to.
    pub fn network_of(&self, serial: Serial, generation: u64) -> Result<Option<String>, StoreError> {
        let sql = "SELECT network FROM networks WHERE subnet = ?1 AND generation = ?2";
        self.row(DOING, sql, [serial, generation], |row| Ok(shown(row, 0)?.into()))
    }

    /// The Engine's names for the holders of a subnet's addresses, or of one of them.
    pub fn names_of(&self, serial: Serial, address: Option<&str>) -> Result<NamesOfSubnet, StoreError> {
        let only = if address.is_some() { "address = ?2" } else { "?2 IS NULL" };
        let sql = format!("SELECT {COLUMNS} FROM names WHERE subnet = ?1 AND {only}");
        let names: Vec<_> = self.rows(DOING, &sql, params![serial, address], |row| {
            let address = row.get_ref(0)?.as_str()?.parse().ok().map(number);
            Ok((address, (row.get(1)?, holder(row)?)))
        })?;
        Ok(names.into_iter().filter_map(|(address, name)| Some((address?, name))).collect())
    }

    /// Where the Engine has shown a container or network of this name, or a container whose id begins with
    /// `id`.
    pub fn shown_as(&self, name: &str, id: Option<&str>) -> Result<ShownAt, StoreError> {
        let addresses =
            self.rows(DOING, SHOWN_AS, params![name, id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let subnets =
            self.rows(DOING, "SELECT subnet FROM networks WHERE network = ?1", [name], |row| row.get(0))?;
        Ok((addresses, subnets))
    }
}

/// The columns that [`holder`] reads.
const COLUMNS: &str = "address, generation, container, container_id, network";

const DOING: &str = "reading the Engine's names";

/// `g` sorts after every hexadecimal digit.
const SHOWN_AS: &str = "SELECT subnet, address FROM names WHERE container = ?1 \
    UNION SELECT subnet, address FROM names WHERE network = ?1 \
    UNION SELECT subnet, address FROM names WHERE container_id >= ?2 AND container_id < ?2 || 'g'";

fn shown(row: &Row<'_>, column: usize) -> rusqlite::Result<Box<str>> {
    Ok(text::name(row.get_ref(column)?.as_str()?).into())
}

fn holder(row: &Row<'_>) -> rusqlite::Result<ShownHolder> {
    Ok(ShownHolder { container: shown(row, 2)?, container_id: shown(row, 3)?, network: shown(row, 4)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Books;

    #[test]
    fn looking_up_a_name_uses_the_indexes() {
        let directory = tempfile::tempdir().unwrap();
        let books = Books::open(&directory.path().join("gipam.db")).unwrap();
        let sql = format!("EXPLAIN QUERY PLAN {SHOWN_AS}");
        let steps: Vec<String> =
            books.rows(DOING, &sql, params!["web", "0123456789ab"], |row| row.get(3)).unwrap();
        let of_names: Vec<_> = steps.iter().filter(|step| step.contains(" names")).collect();
        assert_eq!(of_names.len(), 3, "{steps:?}");
        for step in of_names {
            assert!(step.starts_with("SEARCH names") && step.contains("INDEX names_by_"), "{step}");
        }
    }
}
