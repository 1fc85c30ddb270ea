//! The settings that the books keep: pools, reservations, times and the host's secret.
//!
//! Promises: views need only the books, without a daemon or its configuration file; the secret is created
//! only once.

use rusqlite::{Row, params};

use super::lines::{Happening, OF_STALE};
use super::load::{Clear, Unclear, number_in, parsed};
use super::old_gipam::hexadecimal;
use super::sqlite::{Books, CommitError, StoreError, Tables};
use super::write::{Written, signed};
use crate::plan::Plan;
use crate::plan::change::{Change, Why};
use crate::plan::prefix::{AddressRange, Family, Prefix};
use crate::plan::renumbering::{BaseSource, Provenance, StaleChange};
use crate::plan::settings::{AddressOrder, Base, PoolSettings, Settings, Shared};
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
    /// Sets a value of the `meta` table in the open transaction.
    pub fn put_meta(&mut self, key: &str, value: &str) -> Result<(), CommitError> {
        self.begin()?;
        Ok(self.write_meta(key, value)?)
    }

    /// Writes the settings into the open transaction.
    pub fn put_settings(&mut self, settings: &Settings) -> Result<(), CommitError> {
        self.begin()?;
        Ok(self.write_settings(settings)?)
    }

    fn write_meta(&self, key: &str, value: &str) -> Written {
        self.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", [key, value])
    }

    /// Writes which Engine the books belong to.
    pub(super) fn write_engine(&self, identity: &EngineIdentity) -> Written {
        self.write_meta(ENGINE_ID, &identity.id)?;
        self.write_meta(ENGINE_ROOT, &identity.root)
    }

    fn write_settings(&self, settings: &Settings) -> Written {
        self.connection
            .execute_batch("DELETE FROM pools; DELETE FROM reserved; DELETE FROM reserved_by_hand;")?;
        self.connection.execute_batch("DELETE FROM sources; DELETE FROM former_bases;")?;
        for (position, pool) in settings.pools.iter().enumerate() {
            let base = |family| pool.base(family).map(|base| base.base.to_string());
            let size = |family| pool.base(family).map(|base| base.size);
            self.execute(
                "INSERT INTO pools VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
                params![
                    position,
                    pool.name,
                    base(Family::V4),
                    size(Family::V4),
                    base(Family::V6),
                    size(Family::V6),
                    pool.v6.map(|base| base.addresses.name()),
                    signed(pool.cooling),
                    signed(pool.subnet_cooling),
                    pool.closed,
                    pool.v4.and_then(|base| base.slice),
                    pool.v6.and_then(|base| base.slice),
                    pool.v4.and_then(|base| shared_text(&base)),
                    pool.v6.and_then(|base| shared_text(&base)),
                    pool.v4.and_then(|base| gateway_text(&base)),
                    pool.v6.and_then(|base| gateway_text(&base)),
                    pool.v4.is_some_and(|base| base.probe),
                    pool.v6.is_some_and(|base| base.probe)
                ],
            )?;
            self.write_provenance(pool)?;
        }
        for (table, ranges) in
            [("reserved", &settings.reserved), ("reserved_by_hand", &settings.reserved_by_hand)]
        {
            let sql = format!("INSERT INTO {table} VALUES (?1, ?2, ?3)");
            for (position, range) in ranges.iter().enumerate() {
                let [first, last] =
                    [range.first, range.last].map(|end| range.family.address(end).to_string());
                self.execute(&sql, params![position, first, last])?;
            }
        }
        for (key, value) in [
            ("cooling", settings.cooling.to_string()),
            ("subnet_cooling", settings.subnet_cooling.to_string()),
            ("restart_window", settings.restart_window.to_string()),
            ("storm_limit", settings.storm_limit.to_string()),
            ("secret", hexadecimal(&settings.secret)),
        ] {
            self.write_meta(key, &value)?;
        }
        Ok(())
    }
}

impl Books {
    fn write_provenance(&self, pool: &PoolSettings) -> Written {
        let Provenance { sources, former } = &pool.provenance;
        for (family, source) in Family::BOTH.into_iter().zip(sources) {
            let Some(source) = source else { continue };
            let addresses = source.addresses.name();
            self.execute(
                "INSERT INTO sources VALUES (?1, ?2, ?3, ?4, ?5)",
                params![pool.name, family.name(), source.text, source.size, addresses],
            )?;
        }
        for (position, base) in former.iter().enumerate() {
            let row = params![pool.name, position, base.to_string()];
            self.execute("INSERT INTO former_bases VALUES (?1, ?2, ?3)", row)?;
        }
        Ok(())
    }

    /// Records in the history which held subnets become stale under `settings`, and which are no longer stale. `plan` is the
    /// plan before the change.
    pub fn write_stale(&mut self, plan: &Plan, settings: &Settings) -> Result<(), CommitError> {
        for StaleChange { serial, stale, why } in plan.stale_changes(settings) {
            let Some(subnet) = plan.subnet(serial) else { continue };
            let [becomes, no_longer] = OF_STALE;
            let event = if stale { becomes } else { no_longer };
            self.begin()?;
            let line = Happening::of(&subnet.state, plan.now(), event);
            self.history(line.because(&Why::Repair(why.into())))?;
        }
        Ok(())
    }
}

const ENGINE_ID: &str = "engine_id";
const ENGINE_ROOT: &str = "engine_root";

impl Tables {
    /// A value of the `meta` table.
    pub fn meta(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.row("reading", "SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
    }

    /// Which Engine the books belong to; `None` unless both values were written.
    pub(super) fn engine(&self) -> Result<Option<Change>, StoreError> {
        let identity = self.meta(ENGINE_ID)?.zip(self.meta(ENGINE_ROOT)?);
        let known = |(id, root): (String, String)| EngineIdentity { id: id.into(), root: root.into() };
        Ok(identity.map(|it| Change::EngineKnown(Box::new(known(it)))))
    }

    /// Reads the settings from the books.
    pub fn settings(&self) -> Result<Settings, StoreError> {
        let mut settings = Settings::default();
        for (key, into) in [
            ("cooling", &mut settings.cooling),
            ("subnet_cooling", &mut settings.subnet_cooling),
            ("restart_window", &mut settings.restart_window),
        ] {
            self.read_meta(key, into, |text| parsed(text).ok())?;
        }
        self.read_meta("storm_limit", &mut settings.storm_limit, |text| parsed(text).ok())?;
        self.read_meta("secret", &mut settings.secret, secret)?;
        self.table("pools", "SELECT * FROM pools ORDER BY position", |row| {
            let name: String = row.get("name")?;
            settings.pools.push(pool(row).map_err(|Unclear(what)| Unclear(format!("pool {name}: {what}")))?);
            Ok(())
        })?;
        self.provenance(&mut settings.pools)?;
        settings.reserved = self.ranges("reserved")?;
        settings.reserved_by_hand = self.ranges("reserved_by_hand")?;
        settings.reserved_by_hand.sort_unstable();
        Ok(settings)
    }

    fn provenance(&self, pools: &mut [PoolSettings]) -> Result<(), StoreError> {
        self.table("sources", "SELECT * FROM sources", |row| {
            let (name, family): (String, String) = (row.get("pool")?, row.get("family")?);
            let order: String = row.get("addresses")?;
            let unclear = || Unclear(format!("the source of pool {name} cannot be read"));
            let family = Family::BOTH.into_iter().find(|known| known.name() == family).ok_or_else(unclear)?;
            let addresses = AddressOrder::parse(&order).ok_or_else(unclear)?;
            let (text, size) = (row.get("source")?, row.get("size")?);
            if let Some(pool) = pools.iter_mut().find(|pool| pool.name == name) {
                let probe = pool.base(family).is_some_and(|base| base.probe);
                let source = BaseSource { text, size, addresses, probe };
                pool.provenance.sources[family as usize] = Some(source);
            }
            Ok(())
        })?;
        self.table("former_bases", "SELECT * FROM former_bases ORDER BY pool, position", |row| {
            let name: String = row.get("pool")?;
            let base = super::load::prefix(row.get_ref("base")?.as_str()?)?;
            if let Some(pool) = pools.iter_mut().find(|pool| pool.name == name) {
                pool.provenance.former.push(base);
            }
            Ok(())
        })
    }

    /// Reads a value of the `meta` table if it is set.
    fn read_meta<T>(
        &self,
        key: &str,
        into: &mut T,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<(), StoreError> {
        let Some(text) = self.meta(key)? else { return Ok(()) };
        let what = format!("table meta, key {key}: {text:?} cannot be read");
        *into = read(&text).ok_or_else(|| StoreError::Damaged { path: self.path.clone(), what })?;
        Ok(())
    }

    fn ranges(&self, table: &'static str) -> Result<Vec<AddressRange>, StoreError> {
        let mut ranges = Vec::new();
        self.table(table, &format!("SELECT first, last FROM {table} ORDER BY position"), |row| {
            let text = format!("{}-{}", row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
            ranges.push(
                AddressRange::parse(&text)
                    .ok_or_else(|| Unclear(format!("reservation {text} is not a range")))?,
            );
            Ok(())
        })?;
        Ok(ranges)
    }
}

fn secret(text: &str) -> Option<[u8; 32]> {
    let byte = |at| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(byte).collect();
    bytes?.try_into().ok()
}

fn pool(row: &Row<'_>) -> Clear<PoolSettings> {
    let order: Option<String> = row.get("v6_addresses")?;
    let order = order.as_deref().map_or(Some(AddressOrder::default()), AddressOrder::parse);
    let order = order.ok_or_else(|| Unclear("the order of IPv6 addresses is unknown".to_owned()))?;
    let [mut v4, mut v6] = [
        base(Family::V4, row.get("v4_base")?, row.get("v4_size")?, AddressOrder::default())?,
        base(Family::V6, row.get("v6_base")?, row.get("v6_size")?, order)?,
    ];
    for (family, base) in [("v4", &mut v4), ("v6", &mut v6)] {
        if let Some(base) = base {
            let text = |what: &str| row.get::<_, Option<String>>(&*format!("{family}_{what}"));
            base.slice = row.get(&*format!("{family}_slice"))?;
            base.shared = text("shared")?.map(|text| shared(&text)).transpose()?;
            base.probe = row.get(&*format!("{family}_probe"))?;
            base.gateway = text("gateway")?.map(|text| number_in(base.base, &text)).transpose()?;
        }
    }
    Ok(PoolSettings {
        name: row.get("name")?,
        v4,
        v6,
        cooling: row.get("cooling")?,
        subnet_cooling: row.get("subnet_cooling")?,
        closed: row.get("closed")?,
        provenance: Provenance::default(),
    })
}

/// How a base is shared, as text: the part that is given by number, `-` for none.
fn shared_text(base: &Base) -> Option<String> {
    let Shared { by_number } = base.shared?;
    Some(by_number.map_or_else(|| NONE.to_owned(), |part| part.to_string()))
}

fn shared(by_number: &str) -> Clear<Shared> {
    Ok(Shared { by_number: (by_number != NONE).then(|| super::load::prefix(by_number)).transpose()? })
}

fn gateway_text(base: &Base) -> Option<String> {
    base.gateway.map(|gateway| base.base.address(gateway).to_string())
}

const NONE: &str = "-";

/// Reads one family of a pool, if the pool has it.
fn base(
    family: Family,
    base: Option<String>,
    size: Option<u8>,
    addresses: AddressOrder,
) -> Clear<Option<Base>> {
    match (base, size) {
        (None, None) => Ok(None),
        (Some(base), Some(size)) => match Prefix::parse(&base).filter(|base| base.family() == family) {
            Some(base) => Ok(Some(Base::new(base, size, addresses))),
            None => Err(Unclear(format!("{base:?} is not an {} prefix", family.name()))),
        },
        (base, size) => Err(Unclear(format!("the base {base:?} and the size {size:?} must be set together"))),
    }
}
