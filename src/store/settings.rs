//! The settings that the books keep: pools, reservations, times and the host's secret.
//!
//! Promises: views need only the books, without a daemon or its configuration file; the secret is created only once.

use rusqlite::{Connection, OptionalExtension, params};

use super::load::parsed;
use super::sqlite::{Books, CommitError, Reader, StoreError, sqlite};
use super::write::{Written, signed};
use crate::plan::change::Change;
use crate::plan::prefix::{AddressRange, Family, Prefix};
use crate::plan::settings::{AddressOrder, Base, PoolSettings, Settings};
use crate::plan::shown::EngineIdentity;

impl AddressOrder {
    /// The name of the order in the configuration and in the books.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Eui64 => "eui64",
            Self::Stable => "stable",
        }
    }

    /// The order with this name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Sequential, Self::Eui64, Self::Stable].into_iter().find(|order| order.name() == text)
    }
}

impl Books {
    /// Reads the settings from the books.
    pub fn settings(&self) -> Result<Settings, StoreError> {
        read(&self.path, &self.connection)
    }

    /// A value of the `meta` table.
    pub fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        meta(&self.connection, key).map_err(sqlite(&self.path, "reading"))
    }

    /// Sets a value of the `meta` table in the open transaction.
    pub fn put_meta(&mut self, key: &str, value: &str) -> Result<(), CommitError> {
        self.begin()?;
        put_meta(&self.connection, key, value).map_err(|error| CommitError::of(&error))
    }

    /// Writes the settings into the open transaction.
    pub fn put_settings(&mut self, settings: &Settings) -> Result<(), CommitError> {
        self.begin()?;
        write(&self.connection, settings).map_err(|error| CommitError::of(&error))
    }
}

impl Reader {
    /// Reads the settings from the books.
    pub fn settings(&self) -> Result<Settings, StoreError> {
        read(&self.path, &self.connection)
    }

    /// A value of the `meta` table.
    pub fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        meta(&self.connection, key).map_err(sqlite(&self.path, "reading"))
    }
}

fn meta(connection: &Connection, key: &str) -> Result<Option<String>, rusqlite::Error> {
    connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
}

fn put_meta(connection: &Connection, key: &str, value: &str) -> Written {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?
        .execute([key, value])
        .map(|_| ())
}

const ENGINE_ID: &str = "engine_id";
const ENGINE_ROOT: &str = "engine_root";

/// Writes which Engine the books belong to, into the open transaction.
pub(super) fn put_engine(connection: &Connection, identity: &EngineIdentity) -> Written {
    put_meta(connection, ENGINE_ID, &identity.id)?;
    put_meta(connection, ENGINE_ROOT, &identity.root)
}

/// Reads which Engine the books belong to; `None` unless both values were written.
pub(super) fn engine(connection: &Connection) -> Result<Option<Change>, rusqlite::Error> {
    let identity = meta(connection, ENGINE_ID)?.zip(meta(connection, ENGINE_ROOT)?);
    let known = |(id, root): (String, String)| EngineIdentity { id: id.into(), root: root.into() };
    Ok(identity.map(|it| Change::EngineKnown(Box::new(known(it)))))
}

fn write(connection: &Connection, settings: &Settings) -> Result<(), rusqlite::Error> {
    connection.execute_batch("DELETE FROM pools; DELETE FROM reserved; DELETE FROM reserved_by_hand;")?;
    let mut insert =
        connection.prepare("INSERT INTO pools VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?;
    for (position, pool) in settings.pools.iter().enumerate() {
        let base = |family| pool.base(family).map(|base| base.base.to_string());
        let size = |family| pool.base(family).map(|base| base.size);
        insert.execute(params![
            signed(position as u64),
            pool.name,
            base(Family::V4),
            size(Family::V4),
            base(Family::V6),
            size(Family::V6),
            pool.v6.map(|base| base.addresses.name()),
            signed(pool.cooling),
            signed(pool.subnet_cooling),
            pool.closed
        ])?;
    }
    put_reserved(connection, "INSERT INTO reserved VALUES (?1, ?2, ?3)", &settings.reserved)?;
    put_reserved(connection, "INSERT INTO reserved_by_hand VALUES (?1, ?2, ?3)", &settings.reserved_by_hand)?;
    let secret: String = settings.secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let values = [
        ("cooling", settings.cooling.to_string()),
        ("subnet_cooling", settings.subnet_cooling.to_string()),
        ("restart_window", settings.restart_window.to_string()),
        ("storm_limit", settings.storm_limit.to_string()),
        ("secret", secret),
    ];
    for (key, value) in values {
        put_meta(connection, key, &value)?;
    }
    Ok(())
}

fn read(path: &std::path::Path, connection: &Connection) -> Result<Settings, StoreError> {
    let damaged = |what: String| StoreError::Damaged { path: path.to_owned(), what };
    let value = |key: &str| meta(connection, key).map_err(sqlite(path, "reading settings"));
    let mut settings = Settings::default();
    for (key, into) in [
        ("cooling", &mut settings.cooling),
        ("subnet_cooling", &mut settings.subnet_cooling),
        ("restart_window", &mut settings.restart_window),
    ] {
        if let Some(text) = value(key)? {
            *into = parsed(&text).map_err(damaged)?;
        }
    }
    if let Some(text) = value("storm_limit")? {
        settings.storm_limit = parsed(&text).map_err(damaged)?;
    }
    if let Some(text) = value("secret")? {
        settings.secret =
            secret(&text).ok_or_else(|| damaged("the secret is not 64 hexadecimal digits".to_owned()))?;
    }
    let mut statement =
        connection.prepare("SELECT * FROM pools ORDER BY position").map_err(sqlite(path, "reading pools"))?;
    let rows = statement.query_map([], |row| Ok(pool(row)?.ok_or_else(|| row.get::<_, String>("name"))));
    for row in rows.map_err(sqlite(path, "reading pools"))? {
        match row.map_err(sqlite(path, "reading pools"))? {
            Ok(pool) => settings.pools.push(pool),
            Err(name) => return Err(damaged(format!("pool {}", name.unwrap_or_default()))),
        }
    }
    let ranges = |table: &str| {
        let rows = reserved(connection, table).map_err(sqlite(path, "reading reservations"))?;
        let range = |(first, last): (String, String)| {
            let range = AddressRange::parse(&format!("{first}-{last}"));
            range.ok_or_else(|| damaged(format!("reservation {first} to {last}")))
        };
        rows.into_iter().map(range).collect::<Result<Vec<_>, _>>()
    };
    settings.reserved = ranges("reserved")?;
    settings.reserved_by_hand = ranges("reserved_by_hand")?;
    settings.reserved_by_hand.sort_unstable();
    Ok(settings)
}

fn secret(text: &str) -> Option<[u8; 32]> {
    let bytes: Option<Vec<u8>> = (0..text.len())
        .step_by(2)
        .map(|at| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect();
    bytes?.try_into().ok()
}

/// Reads a pool; `None` if the row cannot be understood.
fn pool(row: &rusqlite::Row<'_>) -> Result<Option<PoolSettings>, rusqlite::Error> {
    let v4 = base(Family::V4, row.get("v4_base")?, row.get("v4_size")?, None);
    let v6 = base(Family::V6, row.get("v6_base")?, row.get("v6_size")?, row.get("v6_addresses")?);
    let time = |name: &str| row.get::<_, i64>(name).map(|value| u64::try_from(value).ok());
    let (name, closed) = (row.get("name")?, row.get("closed")?);
    let times = time("cooling")?.zip(time("subnet_cooling")?);
    Ok(v4.zip(v6).zip(times).map(|((v4, v6), (cooling, subnet_cooling))| PoolSettings {
        name,
        v4,
        v6,
        cooling,
        subnet_cooling,
        closed,
    }))
}

/// Reads one family of a pool: `Some(None)` if the pool does not have it, `None` if the row cannot be understood.
fn base(
    family: Family,
    base: Option<String>,
    size: Option<u8>,
    order: Option<String>,
) -> Option<Option<Base>> {
    let (Some(base), Some(size)) = (&base, size) else {
        return (base.is_none() && size.is_none()).then_some(None);
    };
    let base = Prefix::parse(base).filter(|base| base.family() == family)?;
    let addresses = order.map_or(Some(AddressOrder::default()), |order| AddressOrder::parse(&order))?;
    Some(Some(Base { base, size, addresses }))
}

fn put_reserved(connection: &Connection, sql: &str, ranges: &[AddressRange]) -> Result<(), rusqlite::Error> {
    let mut insert = connection.prepare(sql)?;
    for (position, range) in ranges.iter().enumerate() {
        let ends = [range.first, range.last].map(|end| range.family.address(end).to_string());
        insert.execute(params![signed(position as u64), ends[0], ends[1]])?;
    }
    Ok(())
}

fn reserved(connection: &Connection, table: &str) -> Result<Vec<(String, String)>, rusqlite::Error> {
    let mut statement = connection.prepare(&format!("SELECT first, last FROM {table} ORDER BY position"))?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}
