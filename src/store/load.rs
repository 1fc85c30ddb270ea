//! Tables back into changes: applying them to an empty plan gives the plan that was served.
//!
//! Promises: a row that cannot be understood is an error that names it; nothing is skipped or guessed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use rusqlite::{Connection, Row};

use super::sqlite::{Books, Reader, StoreError, sqlite};
use crate::plan::Caller;
use crate::plan::change::{Change, KeptRelease, Kind, Marks, Record, Serial, SubnetState};
use crate::plan::prefix::{Family, Prefix, number};
use crate::plan::request::{Mac, Space};

/// What a row says that cannot be.
pub(super) struct Unclear(pub(super) String);

pub(super) type Clear<T> = Result<T, Unclear>;

/// The columns of an address, in the order that [`known`] reads.
const COLUMNS: &str = "address, leased, kind, name, mac, pinned, since, generation";

/// Prefixes of the subnets that were read, by serial.
type Prefixes = BTreeMap<Serial, Prefix>;

/// The subnet whose rows are being read: its serial, its prefix, its addresses so far.
type AtHand = (i64, Prefix, Vec<(u128, Record)>);

impl Books {
    /// Everything that was granted and is remembered, as changes; each is handed to `take`.
    pub fn load(&self, take: impl FnMut(Change)) -> Result<(), StoreError> {
        // Every page is read once: caching them would only use memory next to the plan that is built from them.
        let cache = |pragma| self.connection.execute_batch(pragma).map_err(sqlite(&self.path, "reading"));
        cache("PRAGMA cache_size=-128")?;
        load(&self.path, &self.connection, take)?;
        cache("PRAGMA cache_size=-2000")
    }
}

impl Reader {
    /// Everything that was granted and is remembered, as changes; each is handed to `take`.
    pub fn load(&self, take: impl FnMut(Change)) -> Result<(), StoreError> {
        load(&self.path, &self.connection, take)
    }
}

fn load(path: &Path, connection: &Connection, mut take: impl FnMut(Change)) -> Result<(), StoreError> {
    // Before the subnets, which are then built with their pins.
    table(
        path,
        connection,
        "pins",
        "SELECT * FROM pins",
        |row| Ok(super::pins::pinned(row)?.map(&mut take)),
    )?;
    // Of which prefix a serial is, for its addresses.
    let mut prefixes = BTreeMap::new();
    table(path, connection, "subnets", "SELECT * FROM subnets ORDER BY serial", |row| {
        Ok(subnet(row)?.map(|state| {
            prefixes.insert(state.serial, state.prefix);
            take(Change::SubnetGranted(Box::new(state)));
        }))
    })?;
    let sql = format!("SELECT subnet, {COLUMNS} FROM addresses ORDER BY subnet");
    // Subnet by subnet.
    let mut at_hand: Option<AtHand> = None;
    let loaded = |(serial, _, mut records): AtHand| {
        // The table has them in the order of their texts.
        records.sort_unstable_by_key(|(address, _)| *address);
        Change::AddressesLoaded { serial: serial.unsigned_abs(), records }
    };
    table(path, connection, "addresses", &sql, |row| {
        let serial: i64 = row.get(0)?;
        if at_hand.as_ref().is_none_or(|(of, ..)| *of != serial) {
            at_hand.take().map(loaded).map(&mut take);
            let prefix = u64::try_from(serial).ok().and_then(|of| prefixes.get(&of));
            at_hand = prefix.map(|prefix| (serial, *prefix, Vec::new()));
        }
        let Some((_, prefix, records)) = &mut at_hand else {
            return Ok(Err(Unclear(format!("{} belongs to no subnet", row.get::<_, String>(1)?))));
        };
        Ok(known(*prefix, row)?.map(|record| records.push(record)))
    })?;
    at_hand.map(loaded).map(&mut take);
    load_tail(path, connection, &prefixes, &mut take)?;
    load_kept(path, connection, &prefixes, &mut take)?;
    table(path, connection, "keys", "SELECT * FROM keys", |row| Ok(key(row)?.map(&mut take)))?;
    table(path, connection, "callers", "SELECT * FROM callers", |row| Ok(caller(row)?.map(&mut take)))?;
    super::engine::load(connection).map_err(sqlite(path, "reading which Engine it is"))?.map(&mut take);
    table(path, connection, "counters", "SELECT next_generation, next_serial FROM counters", |row| {
        let (generation, serial) = (row.get::<_, i64>(0)?, row.get::<_, i64>(1)?);
        Ok(unsigned(generation).and_then(|next_generation| {
            take(Change::Counted { next_generation, next_serial: unsigned(serial)? });
            Ok(())
        }))
    })
}

/// What happened since the table of addresses was brought up to date; a row of a subnet that is gone gives only its generation.
fn load_tail(
    path: &Path,
    connection: &Connection,
    prefixes: &Prefixes,
    mut take: impl FnMut(Change),
) -> Result<(), StoreError> {
    let sql = format!(
        "SELECT serial, {COLUMNS} FROM history WHERE seq > (SELECT folded FROM counters) AND address IS NOT NULL ORDER BY seq"
    );
    table(path, connection, "history", &sql, |row| {
        let (serial, generation): (i64, i64) = (row.get(0)?, row.get(8)?);
        let counted = match unsigned(generation) {
            Ok(generation) => {
                Change::Counted { next_generation: generation.saturating_add(1), next_serial: 0 }
            }
            Err(unclear) => return Ok(Err(unclear)),
        };
        let prefix = u64::try_from(serial).ok().and_then(|serial| prefixes.get(&serial));
        let change = match (prefix, row.get::<_, Option<bool>>(2)?) {
            (None, _) => Ok(counted),
            (Some(prefix), Some(_)) => known(*prefix, row)?.map(|(address, record)| {
                Change::AddressRestored { serial: serial.unsigned_abs(), address, record }
            }),
            (Some(prefix), None) => {
                take(counted);
                let forgotten = |address| Change::AddressForgotten { serial: serial.unsigned_abs(), address };
                number_in(*prefix, row.get_ref(1)?.as_str()?).map(forgotten)
            }
        };
        Ok(change.map(&mut take))
    })
}

/// Releases that wait for the PoolID of an adopted subnet.
fn load_kept(
    path: &Path,
    connection: &Connection,
    prefixes: &Prefixes,
    mut take: impl FnMut(Change),
) -> Result<(), StoreError> {
    let sql = "SELECT subnet, address, generation, id, at FROM kept_releases";
    table(path, connection, "kept_releases", sql, |row| {
        let serial = row.get::<_, i64>(0)?.unsigned_abs();
        let Some(prefix) = prefixes.get(&serial) else { return Ok(Ok(())) };
        let number = number_in(*prefix, row.get_ref(1)?.as_str()?);
        let (generation, id, at): (i64, String, i64) = (row.get(2)?, row.get(3)?, row.get(4)?);
        Ok((|| {
            let kept = KeptRelease { generation: unsigned(generation)?, id: id.into(), at: unsigned(at)? };
            take(Change::ReleaseKept { serial, address: number?, kept });
            Ok(())
        })())
    })
}

/// Reads a table row by row; what cannot be understood is named.
fn table(
    path: &Path,
    connection: &Connection,
    name: &'static str,
    sql: &str,
    mut read: impl FnMut(&Row<'_>) -> Result<Clear<()>, rusqlite::Error>,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare(sql).map_err(sqlite(path, "reading"))?;
    let mut rows = statement.query([]).map_err(sqlite(path, "reading"))?;
    let mut count = 0u64;
    while let Some(row) = rows.next().map_err(sqlite(path, "reading"))? {
        count += 1;
        let what = match read(row) {
            Ok(Ok(())) => continue,
            Ok(Err(Unclear(what))) => what,
            Err(error) => error.to_string(),
        };
        let what = format!("table {name}, row {count}: {what}");
        return Err(StoreError::Damaged { path: path.to_owned(), what });
    }
    Ok(())
}

pub(super) fn unsigned(value: i64) -> Clear<u64> {
    u64::try_from(value).map_err(|_| Unclear(format!("{value} is negative")))
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
        Err(Unclear(format!("{address} lies outside of {prefix}")))
    }
}

pub(super) fn space(text: &str) -> Clear<Space> {
    Space::parse(text)
        .filter(|_| !text.is_empty())
        .ok_or_else(|| Unclear(format!("{text:?} is not an address space")))
}

pub(super) fn mac(text: &str) -> Clear<Mac> {
    Mac::parse(text).ok_or_else(|| Unclear(format!("{text:?} is not a MAC")))
}

pub(super) fn subnet(row: &Row<'_>) -> Result<Clear<SubnetState>, rusqlite::Error> {
    let text = |name: &str| row.get::<_, String>(name);
    let maybe = |name: &str| row.get::<_, Option<String>>(name);
    let whole = |name: &str| row.get::<_, i64>(name);
    let flag = |name: &str| row.get::<_, bool>(name);
    let (serial, granted_at, generation) = (whole("serial")?, whole("granted_at")?, whole("generation")?);
    let (set_up_at, cool_until) = (whole("set_up_at")?, whole("cool_until")?);
    let released_at = row.get::<_, Option<i64>>("released_at")?;
    let (id, space_text, prefix_text, pool) = (text("id")?, text("space")?, text("prefix")?, maybe("pool")?);
    let (range, options, start_beyond, gateway) =
        (maybe("range")?, text("options")?, maybe("start_beyond")?, maybe("gateway")?);
    let (dynamic, addressed, had_endpoint) = (flag("dynamic")?, flag("addressed")?, flag("had_endpoint")?);
    let (gateway_is_auxiliary, stormed) = (flag("gateway_is_auxiliary")?, flag("stormed")?);
    Ok((|| {
        let prefix = prefix(&prefix_text)?;
        let inside = |text: Option<String>| text.map(|text| number_in(prefix, &text)).transpose();
        let range = range.map(|text| self::prefix(&text)).transpose()?;
        if range.is_some_and(|range| !prefix.contains(range)) {
            return Err(Unclear(format!("the range of {prefix} lies outside of it")));
        }
        let options: BTreeMap<String, String> =
            serde_json::from_str(&options).map_err(|error| Unclear(error.to_string()))?;
        let gateway = inside(gateway)?;
        let set_up_at = unsigned(set_up_at)?;
        Ok(SubnetState {
            serial: unsigned(serial)?,
            id,
            space: space(&space_text)?,
            prefix,
            range,
            pool,
            options,
            dynamic,
            granted_at: unsigned(granted_at)?,
            generation: unsigned(generation)?,
            start_beyond: inside(start_beyond)?,
            marks: Marks { addressed, had_endpoint, set_up_at, gateway, gateway_is_auxiliary, stormed },
            released_at: released_at.map(unsigned).transpose()?,
            cool_until: unsigned(cool_until)?,
        })
    })())
}

/// A row of addresses: serial, address, leased, kind, name, mac, pinned, since, generation.
fn known(prefix: Prefix, row: &Row<'_>) -> Result<Clear<(u128, Record)>, rusqlite::Error> {
    let text = |at: usize| Ok::<_, rusqlite::Error>(row.get_ref(at)?.as_str_or_null()?);
    let (address, kind_text, name, mac_text) = (row.get_ref(1)?.as_str()?, text(3)?, text(4)?, text(5)?);
    let (leased, marks): (bool, i64) = (row.get(2)?, row.get(6)?);
    let (since, generation): (i64, i64) = (row.get(7)?, row.get(8)?);
    Ok((|| {
        let address = number_in(prefix, address)?;
        let kind = Kind::parse(kind_text).ok_or_else(|| Unclear(format!("{kind_text:?} is not a kind")))?;
        let record = Record {
            leased,
            kind,
            name: name.map(Into::into),
            mac: mac_text.map(mac).transpose()?,
            asked_by_number: marks & 1 != 0,
            withheld: marks & 2 != 0,
            since: unsigned(since)?,
            generation: unsigned(generation)?,
        };
        Ok((address, record))
    })())
}

fn key(row: &Row<'_>) -> Result<Clear<Change>, rusqlite::Error> {
    let (space_text, family, word): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let (prefix_text, at): (String, i64) = (row.get(3)?, row.get(4)?);
    Ok((|| {
        let prefix = prefix(&prefix_text)?;
        let family = match family.as_str() {
            "v4" => Family::V4,
            "v6" => Family::V6,
            other => return Err(Unclear(format!("{other:?} is not a family"))),
        };
        Ok(Change::KeyRemembered {
            space: space(&space_text)?,
            family,
            word,
            prefix: Some((prefix, unsigned(at)?)),
        })
    })())
}

fn caller(row: &Row<'_>) -> Result<Clear<Change>, rusqlite::Error> {
    let (name, first): (String, i64) = (row.get(0)?, row.get(1)?);
    let until: Option<i64> = row.get(2)?;
    Ok((|| {
        let until = until.map(unsigned).transpose()?;
        let caller = Caller { first: unsigned(first)?, until };
        Ok(Change::CallerSeen { name: name.into(), caller })
    })())
}
