//! The Engine's names for the holders and the networks, read for views.
//!
//! Promises: a name belongs to one lease, and the view that shows it compares the generations. Names in older books may
//! have any length and any characters, so they are cut and escaped. Does not write (see `write`).

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, params};

use super::sqlite::{Reader, StoreError, sqlite};
use super::write::signed;
use crate::plan::change::{Serial, ShownHolder};
use crate::plan::prefix::number;
use crate::text;

/// By serial: the generation of the grant that was named, and the name of its network.
pub type Networks = BTreeMap<Serial, (u64, Box<str>)>;

/// Of one subnet, by the number of the address: the generation of the lease that was named, and its names.
pub type NamesOfSubnet = BTreeMap<u128, (u64, ShownHolder)>;

/// Where the Engine showed a name: addresses in subnets, and whole subnets, by serial.
pub type ShownAt = (Vec<(Serial, String)>, Vec<Serial>);

fn whole(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

impl Reader {
    /// The Engine's name for the network that this grant belongs to.
    pub fn network_of(&self, serial: Serial, generation: u64) -> Result<Option<String>, StoreError> {
        let sql = "SELECT network FROM networks WHERE subnet = ?1 AND generation = ?2";
        let asked = self.connection.prepare_cached(sql).and_then(|mut statement| {
            let name = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
            statement.query_row(params![signed(serial), signed(generation)], name).optional()
        });
        let name = asked.map_err(sqlite(&self.path, "reading the names of networks"))?;
        Ok(name.map(|name| text::name(&name).into_owned()))
    }

    /// The Engine's names for the holders of a subnet's addresses, or of one of them.
    pub fn names_of(&self, serial: Serial, address: Option<&str>) -> Result<NamesOfSubnet, StoreError> {
        let fail = || sqlite(&self.path, "reading names");
        let sql = match address {
            Some(_) => {
                "SELECT address, generation, container, container_id, network FROM names WHERE subnet = ?1 AND address = ?2"
            }
            None => {
                "SELECT address, generation, container, container_id, network FROM names WHERE subnet = ?1 AND ?2 IS NULL"
            }
        };
        let mut statement = self.connection.prepare_cached(sql).map_err(fail())?;
        let rows = statement.query_map(params![signed(serial), address], |row| {
            let text = |at: usize| Ok::<_, rusqlite::Error>(text::name(row.get_ref(at)?.as_str()?).into());
            let shown = ShownHolder { container: text(2)?, container_id: text(3)?, network: text(4)? };
            let (address, generation) = (row.get_ref(0)?.as_str()?.parse().ok(), whole(row.get(1)?));
            Ok(address.map(|address| (number(address), (generation, shown))))
        });
        rows.map_err(fail())?.filter_map(Result::transpose).collect::<Result<_, _>>().map_err(fail())
    }

    /// Where the Engine has shown a container or network of this name, or a container whose id begins with `id`.
    pub fn shown_as(&self, name: &str, id: Option<&str>) -> Result<ShownAt, StoreError> {
        let fail = || sqlite(&self.path, "looking for a name");
        // `g` sorts after every hexadecimal digit.
        let sql = "SELECT subnet, address FROM names WHERE container = ?1 \
                   UNION SELECT subnet, address FROM names WHERE network = ?1 \
                   UNION SELECT subnet, address FROM names WHERE container_id >= ?2 AND container_id < ?2 || 'g'";
        let mut statement = self.connection.prepare_cached(sql).map_err(fail())?;
        let addresses = statement.query_map(params![name, id], |row| Ok((whole(row.get(0)?), row.get(1)?)));
        let addresses = addresses.map_err(fail())?.collect::<Result<_, _>>().map_err(fail())?;
        let sql = "SELECT subnet FROM networks WHERE network = ?1";
        let mut statement = self.connection.prepare_cached(sql).map_err(fail())?;
        let subnets = statement.query_map([name], |row| row.get(0).map(whole)).map_err(fail())?;
        Ok((addresses, subnets.collect::<Result<_, _>>().map_err(fail())?))
    }

    /// Ends the snapshot: later reads may see newer data than earlier ones.
    pub fn forget_snapshot(&self) -> Result<(), StoreError> {
        self.connection.execute_batch("COMMIT; BEGIN").map_err(sqlite(&self.path, "reading names"))
    }
}
