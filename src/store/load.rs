//! Tables back into changes: applying them to an empty plan gives the plan that was served.
//!
//! Promises: a row that cannot be understood is an error that names it; nothing is skipped or guessed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use rusqlite::{Connection, Row};

use super::sqlite::{Books, Error, Reader, sqlite};
use crate::plan::Caller;
use crate::plan::change::{Change, Kind, Marks, Record, SubnetState};
use crate::plan::prefix::{Family, Prefix, number};
use crate::plan::request::{Mac, Space};

/// What a row says that cannot be.
struct Unclear(String);

type Clear<T> = Result<T, Unclear>;

impl Books {
    /// Everything that was granted and is remembered, as changes; each is handed to `take`.
    pub fn load(&self, take: impl FnMut(Change)) -> Result<(), Error> {
        load(&self.path, &self.connection, take)
    }
}

impl Reader {
    /// Everything that was granted and is remembered, as changes; each is handed to `take`.
    pub fn load(&self, take: impl FnMut(Change)) -> Result<(), Error> {
        load(&self.path, &self.connection, take)
    }
}

fn load(path: &std::path::Path, connection: &Connection, mut take: impl FnMut(Change)) -> Result<(), Error> {
    let mut table =
        |name: &'static str, sql: &str, read: fn(&Row<'_>) -> Result<Clear<Change>, rusqlite::Error>| {
            let mut statement = connection.prepare(sql).map_err(sqlite(path, "reading"))?;
            let mut rows = statement.query([]).map_err(sqlite(path, "reading"))?;
            let mut count = 0u64;
            while let Some(row) = rows.next().map_err(sqlite(path, "reading"))? {
                count += 1;
                let what = match read(row) {
                    Ok(Ok(change)) => {
                        take(change);
                        continue;
                    }
                    Ok(Err(Unclear(what))) => what,
                    Err(error) => error.to_string(),
                };
                let what = format!("table {name}, row {count}: {what}");
                return Err(Error::Damaged { path: path.to_owned(), what });
            }
            Ok(())
        };
    table("subnets", "SELECT * FROM subnets ORDER BY serial", |row| {
        Ok(subnet(row)?.map(Box::new).map(Change::SubnetGranted))
    })?;
    table(
        "addresses",
        "SELECT a.*, s.prefix FROM addresses a LEFT JOIN subnets s ON s.serial = a.subnet",
        address,
    )?;
    table("keys", "SELECT * FROM keys", key)?;
    table("callers", "SELECT * FROM callers", caller)?;
    table("counters", "SELECT next_generation, next_serial FROM counters", |row| {
        let (generation, serial) = (row.get::<_, i64>(0)?, row.get::<_, i64>(1)?);
        Ok(unsigned(generation).and_then(|next_generation| {
            Ok(Change::Counted { next_generation, next_serial: unsigned(serial)? })
        }))
    })
}

fn unsigned(value: i64) -> Clear<u64> {
    u64::try_from(value).map_err(|_| Unclear(format!("{value} is negative")))
}

pub(super) fn parsed<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} cannot be read"))
}

fn prefix(text: &str) -> Clear<Prefix> {
    Prefix::parse(text).ok_or_else(|| Unclear(format!("{text:?} is no prefix")))
}

fn number_in(prefix: Prefix, text: &str) -> Clear<u128> {
    let address: IpAddr = parsed(text).map_err(Unclear)?;
    if prefix.contains_address(address) {
        Ok(number(address))
    } else {
        Err(Unclear(format!("{address} lies outside of {prefix}")))
    }
}

fn space(text: &str) -> Clear<Space> {
    Space::parse(text)
        .filter(|_| !text.is_empty())
        .ok_or_else(|| Unclear(format!("{text:?} is no address space")))
}

fn mac(text: &str) -> Clear<Mac> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part =
            parts.next().filter(|part| part.len() == 2).and_then(|part| u8::from_str_radix(part, 16).ok());
        *byte = part.ok_or_else(|| Unclear(format!("{text:?} is no MAC")))?;
    }
    Ok(mac)
}

fn subnet(row: &Row<'_>) -> Result<Clear<SubnetState>, rusqlite::Error> {
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

fn address(row: &Row<'_>) -> Result<Clear<Change>, rusqlite::Error> {
    let (serial, text): (i64, String) = (row.get("subnet")?, row.get("address")?);
    let subnet_text: Option<String> = row.get("prefix")?;
    let (leased, pinned): (bool, bool) = (row.get("leased")?, row.get("pinned")?);
    let (kind, name, mac_text): (Option<String>, Option<String>, Option<String>) =
        (row.get("kind")?, row.get("name")?, row.get("mac")?);
    let (since, generation): (i64, i64) = (row.get("since")?, row.get("generation")?);
    Ok((|| {
        let subnet_text = subnet_text.ok_or_else(|| Unclear(format!("{text} belongs to no subnet")))?;
        let address = number_in(prefix(&subnet_text)?, &text)?;
        let kind = Kind::parse(kind.as_deref()).ok_or_else(|| Unclear(format!("{kind:?} is no kind")))?;
        let record = Record {
            leased,
            kind,
            name: name.map(Into::into),
            mac: mac_text.as_deref().map(mac).transpose()?,
            pinned,
            since: unsigned(since)?,
            generation: unsigned(generation)?,
        };
        Ok(Change::AddressRestored { serial: unsigned(serial)?, address, record })
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
            other => return Err(Unclear(format!("{other:?} is no family"))),
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
    let (until, live_restore): (Option<i64>, Option<bool>) = (row.get(2)?, row.get(3)?);
    Ok((|| {
        let until = until.map(unsigned).transpose()?;
        let caller = Caller { first: unsigned(first)?, until, live_restore };
        Ok(Change::CallerSeen { name: name.into(), caller })
    })())
}
