//! Reads the tables as changes; applied to an empty plan, they rebuild the plan of the last commit.
//!
//! Promises: a row that cannot be understood causes an error that names it; loading never skips it and never
//! guesses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use rusqlite::Row;
use rusqlite::types::FromSqlError;

use super::sqlite::{StoreError, Tables, sqlite};
use crate::plan::change::{Change, KeptRelease, Kind, Marks, Record, Serial, SubnetState};
use crate::plan::prefix::{Family, Prefix, number};
use crate::plan::request::{Mac, Space};
use crate::plan::{Caller, Plan};

/// Why a row is invalid or cannot be read.
pub(super) struct Unclear(pub(super) String);

impl From<rusqlite::Error> for Unclear {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::IntegralValueOutOfRange(_, value) if value < 0 => {
                Self(format!("{value} is negative"))
            }
            other => Self(other.to_string()),
        }
    }
}

impl From<FromSqlError> for Unclear {
    fn from(error: FromSqlError) -> Self {
        rusqlite::Error::from(error).into()
    }
}

pub(super) type Clear<T> = Result<T, Unclear>;

/// The columns of an address, in the order that [`known`] reads.
const COLUMNS: &str = "address, leased, kind, name, mac, pinned, since, generation";

/// The prefixes of the subnets read so far, by serial.
type Prefixes = BTreeMap<Serial, Prefix>;

/// The subnet whose rows are being read: its serial, its prefix, and its addresses so far.
type AtHand = (Serial, Prefix, Vec<(u128, Record)>);

impl Tables {
    /// The plan that these books store.
    pub fn plan(&self) -> Result<Plan, StoreError> {
        let mut plan = Plan::new(self.settings()?);
        self.load(|change| plan.apply(&change))?;
        Ok(plan)
    }

    /// Passes everything that is granted or remembered to `take`, as changes.
    pub fn load(&self, take: impl FnMut(Change)) -> Result<(), StoreError> {
        // Each page is read only once, so a cache would only cost memory on top of the plan that is being
        // built.
        let cache = |pragma| self.connection.execute_batch(pragma).map_err(sqlite(&self.path, "reading"));
        cache("PRAGMA cache_size=-128")?;
        self.load_all(take)?;
        cache("PRAGMA cache_size=-2000")
    }

    fn load_all(&self, mut take: impl FnMut(Change)) -> Result<(), StoreError> {
        // Pins come before the subnets, so that the subnets are built with their pins.
        self.table("pins", "SELECT * FROM pins", |row| {
            take(super::by_hand::pinned(row)?);
            Ok(())
        })?;
        // Slices also come before the subnets, so that the free space is built only once.
        self.table("slices", "SELECT * FROM slices", |row| {
            take(super::slices::slice(row)?);
            Ok(())
        })?;
        // The prefix of each serial, for reading its addresses.
        let mut prefixes = BTreeMap::new();
        self.table("subnets", "SELECT * FROM subnets ORDER BY serial", |row| {
            let state = subnet(row)?;
            prefixes.insert(state.serial, state.prefix);
            take(Change::SubnetGranted(Box::new(state)));
            Ok(())
        })?;
        self.load_addresses(&prefixes, &mut take)?;
        self.load_tail(&prefixes, &mut take)?;
        // Releases that wait until the PoolID of an adopted subnet is known.
        self.table(
            "kept_releases",
            "SELECT subnet, address, generation, id, at FROM kept_releases",
            |row| {
                let serial = row.get(0)?;
                let Some(prefix) = prefixes.get(&serial) else { return Ok(()) };
                let address = number_in(*prefix, row.get_ref(1)?.as_str()?)?;
                let kept = KeptRelease { generation: row.get(2)?, id: row.get(3)?, at: row.get(4)? };
                take(Change::ReleaseKept { serial, address, kept });
                Ok(())
            },
        )?;
        self.table("keys", "SELECT * FROM keys", |row| {
            take(key(row)?);
            Ok(())
        })?;
        self.table("callers", "SELECT name, first, until FROM callers", |row| {
            let caller = Caller { first: row.get(1)?, until: row.get(2)? };
            take(Change::CallerSeen { name: row.get(0)?, caller });
            Ok(())
        })?;
        self.engine()?.map(&mut take);
        self.table("counters", "SELECT next_generation, next_serial FROM counters", |row| {
            take(Change::Counted { next_generation: row.get(0)?, next_serial: row.get(1)? });
            Ok(())
        })
    }

    /// Reads the table of addresses, subnet by subnet.
    fn load_addresses(&self, prefixes: &Prefixes, mut take: impl FnMut(Change)) -> Result<(), StoreError> {
        let sql = format!("SELECT subnet, {COLUMNS} FROM addresses ORDER BY subnet");
        let mut at_hand: Option<AtHand> = None;
        let loaded = |(serial, _, mut records): AtHand| {
            // The table is sorted by the text of the address.
            records.sort_unstable_by_key(|(address, _)| *address);
            Change::AddressesLoaded { serial, records }
        };
        self.table("addresses", &sql, |row| {
            let serial = row.get(0)?;
            if at_hand.as_ref().is_none_or(|(of, ..)| *of != serial) {
                at_hand.take().map(loaded).map(&mut take);
                at_hand = prefixes.get(&serial).map(|prefix| (serial, *prefix, Vec::new()));
            }
            let Some((_, prefix, records)) = &mut at_hand else {
                return Err(Unclear(format!("{} does not belong to any subnet", row.get::<_, String>(1)?)));
            };
            records.push(known(*prefix, row)?);
            Ok(())
        })?;
        at_hand.map(loaded).map(take);
        Ok(())
    }

    /// Reads the history rows that the table of addresses does not include yet. A row whose subnet is gone
    /// contributes only its generation.
    fn load_tail(&self, prefixes: &Prefixes, mut take: impl FnMut(Change)) -> Result<(), StoreError> {
        let sql = format!(
            "SELECT serial, {COLUMNS} FROM history WHERE seq > (SELECT folded FROM counters) AND address IS NOT NULL \
             ORDER BY seq"
        );
        self.table("history", &sql, |row| {
            let (serial, generation): (Serial, u64) = (row.get(0)?, row.get(8)?);
            let counted = Change::Counted { next_generation: generation.saturating_add(1), next_serial: 0 };
            match (prefixes.get(&serial), row.get::<_, Option<bool>>(2)?) {
                (None, _) => take(counted),
                (Some(prefix), Some(_)) => {
                    let (address, record) = known(*prefix, row)?;
                    take(Change::AddressRestored { serial, address, record });
                }
                (Some(prefix), None) => {
                    take(counted);
                    let address = number_in(*prefix, row.get_ref(1)?.as_str()?)?;
                    take(Change::AddressForgotten { serial, address });
                }
            }
            Ok(())
        })
    }

    /// Reads a table row by row; the error names a row that cannot be understood.
    pub(super) fn table(
        &self,
        name: &'static str,
        sql: &str,
        mut read: impl FnMut(&Row<'_>) -> Clear<()>,
    ) -> Result<(), StoreError> {
        let fail = || sqlite(&self.path, "reading");
        let mut statement = self.connection.prepare(sql).map_err(fail())?;
        let mut rows = statement.query([]).map_err(fail())?;
        let mut count = 0u64;
        while let Some(row) = rows.next().map_err(fail())? {
            count += 1;
            if let Err(Unclear(what)) = read(row) {
                let what = format!("table {name}, row {count}: {what}");
                return Err(StoreError::Damaged { path: self.path.clone(), what });
            }
        }
        Ok(())
    }
}

pub(super) fn parsed<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} cannot be read"))
}

pub(super) fn prefix(text: &str) -> Clear<Prefix> {
    Prefix::parse(text).ok_or_else(|| Unclear(format!("{text:?} is not a prefix")))
}

pub(super) fn number_in(prefix: Prefix, text: &str) -> Clear<u128> {
    let address: IpAddr = parsed(text).map_err(Unclear)?;
    if prefix.contains_address(address) {
        Ok(number(address))
    } else {
        Err(Unclear(format!("{address} is outside {prefix}")))
    }
}

pub(super) fn space(text: &str) -> Clear<Space> {
    Space::parse(text)
        .filter(|_| !text.is_empty())
        .ok_or_else(|| Unclear(format!("{text:?} is not an address space")))
}

pub(super) fn mac(text: &str) -> Clear<Mac> {
    Mac::parse(text).ok_or_else(|| Unclear(format!("{text:?} is not a MAC address")))
}

fn subnet(row: &Row<'_>) -> Clear<SubnetState> {
    let text = |name: &str| row.get::<_, String>(name);
    let maybe = |name: &str| row.get::<_, Option<String>>(name);
    let prefix = prefix(&text("prefix")?)?;
    let inside = |name: &str| maybe(name)?.map(|text| number_in(prefix, &text)).transpose();
    let range = maybe("range")?.map(|text| self::prefix(&text)).transpose()?;
    if range.is_some_and(|range| !prefix.contains(range)) {
        return Err(Unclear(format!("the range of {prefix} is outside it")));
    }
    let options: BTreeMap<String, String> =
        serde_json::from_str(&text("options")?).map_err(|error| Unclear(error.to_string()))?;
    Ok(SubnetState {
        serial: row.get("serial")?,
        id: text("id")?,
        space: space(&text("space")?)?,
        prefix,
        range,
        pool: maybe("pool")?,
        options,
        dynamic: row.get("dynamic")?,
        granted_at: row.get("granted_at")?,
        generation: row.get("generation")?,
        start_beyond: inside("start_beyond")?,
        marks: Marks {
            addressed: row.get("addressed")?,
            had_endpoint: row.get("had_endpoint")?,
            set_up_at: row.get("set_up_at")?,
            gateway: inside("gateway")?,
            gateway_is_auxiliary: row.get("gateway_is_auxiliary")?,
            stormed: row.get("stormed")?,
        },
        released_at: row.get("released_at")?,
        cool_until: row.get("cool_until")?,
    })
}

/// Reads a row whose columns are a serial and [`COLUMNS`].
fn known(prefix: Prefix, row: &Row<'_>) -> Clear<(u128, Record)> {
    let text = |at: usize| Ok::<_, Unclear>(row.get_ref(at)?.as_str_or_null()?);
    let (kind, marks): (_, i64) = (text(3)?, row.get(6)?);
    let record = Record {
        leased: row.get(2)?,
        kind: Kind::parse(kind).ok_or_else(|| Unclear(format!("{kind:?} is not a kind")))?,
        name: text(4)?.map(Into::into),
        mac: text(5)?.map(mac).transpose()?,
        asked_by_number: marks & 1 != 0,
        withheld: marks & 2 != 0,
        since: row.get(7)?,
        generation: row.get(8)?,
    };
    Ok((number_in(prefix, row.get_ref(1)?.as_str()?)?, record))
}

fn key(row: &Row<'_>) -> Clear<Change> {
    let family = match row.get_ref(1)?.as_str()? {
        "v4" => Family::V4,
        "v6" => Family::V6,
        other => return Err(Unclear(format!("{other:?} is not an address family"))),
    };
    let prefix = prefix(row.get_ref(3)?.as_str()?)?;
    Ok(Change::KeyRemembered {
        space: space(row.get_ref(0)?.as_str()?)?,
        family,
        word: row.get(2)?,
        prefix: Some((prefix, row.get(4)?)),
    })
}
