//! A counting read: the subnets, and of each address only what counting needs.
//!
//! Promises: nothing is kept; an address that cannot be read is an error. For frequent counting, such as metrics: a
//! fraction of the time that rebuilding the plan takes.

use std::net::IpAddr;

use super::load::{Unclear, parsed, subnet};
use super::sqlite::{Error, Reader, sqlite};
use crate::plan::change::{Change, Serial};
use crate::plan::prefix::number;
use crate::plan::settings::Millis;

impl Reader {
    /// The subnets, held and remembered, without their addresses.
    pub fn load_subnets(&self, mut take: impl FnMut(Change)) -> Result<(), Error> {
        let fail = || sqlite(&self.path, "counting subnets");
        let mut statement =
            self.connection.prepare("SELECT * FROM subnets ORDER BY serial").map_err(fail())?;
        let mut rows = statement.query([]).map_err(fail())?;
        while let Some(row) = rows.next().map_err(fail())? {
            let state =
                subnet(row).map_err(fail())?.map_err(|Unclear(what)| self.damaged("subnets", &what))?;
            take(Change::SubnetGranted(Box::new(state)));
        }
        Ok(())
    }

    /// Subnet, address, whether it is leased, and since when: of all that are leased or were released after this.
    pub fn given(
        &self,
        after: Millis,
        mut take: impl FnMut(Serial, u128, bool, Millis),
    ) -> Result<(), Error> {
        let fail = || sqlite(&self.path, "counting addresses");
        let sql =
            "SELECT subnet, address, leased, since FROM known WHERE leased OR since > ?1 ORDER BY subnet";
        let mut statement = self.connection.prepare(sql).map_err(fail())?;
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let mut rows = statement.query([after]).map_err(fail())?;
        let whole = |value: i64| u64::try_from(value).unwrap_or(0);
        while let Some(row) = rows.next().map_err(fail())? {
            let text = row.get_ref(1).map_err(fail())?.as_str().unwrap_or_default();
            let address: IpAddr = parsed(text).map_err(|what| self.damaged("addresses", &what))?;
            let (serial, leased, since) =
                (row.get(0).map_err(fail())?, row.get(2).map_err(fail())?, row.get(3).map_err(fail())?);
            take(whole(serial), number(address), leased, whole(since));
        }
        Ok(())
    }

    fn damaged(&self, table: &str, what: &str) -> Error {
        Error::Damaged { path: self.path.clone(), what: format!("table {table}: {what}") }
    }
}
