//! Pools: those in the configuration file, or the single pool `default` that `-v4` and `-v6` define.
//!
//! Promises: pools in the file override those of flags and variables; whatever the plan cannot support is refused
//! with its position; a base with host bits is refused in the file, but masked with a warning in flags and variables, as
//! in the old gipam. Does not know lease files and books, whose precedence lies between the two.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::Spanned;

use super::document::{Document, OrderName};
use super::error::{ConfigError, Problem, problem};
use super::keys::BaseTable;
use super::options::{self, Spelling};
use super::origin::Origin;
use super::resolve::Resolver;
use super::value;
use crate::plan::prefix::{AddressRange, Family, Prefix};
use crate::plan::settings::{
    AddressOrder, Base, Millis, PoolSettings, Settings, SettingsError, default_size,
};
use crate::plan::written;

/// Where the pools of a configuration come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolsOrigin {
    /// Not from the configuration: a lease file or the books must contain them.
    Nowhere,
    /// From this configuration file, which overrides lease files and books.
    Document(PathBuf),
    /// From flags or variables, which lease files and books override.
    Options {
        /// Where the IPv4 base was set, if it was.
        v4: Option<Origin>,
        /// Where the IPv6 base was set, if it was.
        v6: Option<Origin>,
    },
}

/// The name of the pool that `-v4` and `-v6` define.
pub(super) const DEFAULT_POOL: &str = "default";

/// Reads the pools from the file, and adds their reservations to `reserved`.
pub(super) fn of_document(
    document: &Document,
    cooling: Millis,
    subnet_cooling: Millis,
    reserved: &mut Vec<AddressRange>,
) -> Result<Vec<PoolSettings>, ConfigError> {
    let mut pools = Vec::new();
    for table in &document.top.pool {
        document.value(&table.name, |name| value::pool_name(name))?;
        let time = |written: &Option<Spanned<String>>, default| match written {
            Some(written) => document.value(written, |text| value::duration(text)),
            None => Ok(default),
        };
        let pool = PoolSettings {
            name: table.name.get_ref().clone(),
            v4: base(document, table.v4.as_ref().map(|base| &base.0), Family::V4)?,
            v6: base(document, table.v6.as_ref().map(|base| &base.0), Family::V6)?,
            cooling: time(&table.cooling, cooling)?,
            subnet_cooling: time(&table.subnet_cooling, subnet_cooling)?,
            closed: false,
        };
        for written in &table.reserved {
            let inside = |text: &String| reserved_in(&pool, value::range(text)?);
            reserved.push(document.value(written, inside)?);
        }
        pools.push(pool);
    }
    let settings = Settings { pools, ..Settings::default() };
    settings.check().map_err(|error| refuse(document, error))?;
    Ok(settings.pools)
}

/// Refuses a reservation that does not overlap its pool, because it must be a typing error.
fn reserved_in(pool: &PoolSettings, range: AddressRange) -> Result<AddressRange, Problem> {
    let touches = pool
        .base(range.family)
        .is_some_and(|base| range.first <= base.base.last() && base.base.first() <= range.last);
    touches.then_some(range).ok_or_else(|| {
        problem!(
            "{range} lies outside pool {}; write it under its own pool, or under the top-level key reserved",
            pool.name
        )
    })
}

fn base(document: &Document, table: Option<&BaseTable>, family: Family) -> Result<Option<Base>, ConfigError> {
    let Some(table) = table else { return Ok(None) };
    let base = document.value(&table.base, |text| match value::base(text, family)? {
        (prefix, true) => Err(problem!("{text} has host bits set; write {prefix}")),
        (prefix, false) => Ok(prefix),
    })?;
    let size = table.size.as_ref().map_or(default_size(family), |size| *size.get_ref());
    if size < base.length() || size > family.bits() {
        let span = table.size.as_ref().map_or(table.base.span(), Spanned::span);
        return Err(document.refuse(&span, outside(size, base)));
    }
    let mut addresses = AddressOrder::default();
    if let Some(written) = &table.addresses {
        addresses = document.value(written, |name| order(*name, family, size))?;
    }
    Ok(Some(Base { base, size, addresses }))
}

fn outside(size: u8, base: Prefix) -> Problem {
    let (least, most) = (base.length(), base.family().bits());
    problem!("size /{size} does not fit {base}; give a length from {least} to {most}")
}

fn order(name: OrderName, family: Family, size: u8) -> Result<AddressOrder, Problem> {
    match (name, family) {
        (OrderName::Eui64, Family::V4) => Err(problem!("eui64 addresses need IPv6")),
        (OrderName::Stable, Family::V4) => Err(problem!("stable addresses need IPv6")),
        (OrderName::Eui64, Family::V6) if size > 64 => {
            Err(problem!("eui64 addresses need subnets of /64 or larger"))
        }
        _ => Ok(name.into()),
    }
}

/// Reports an error of [`Settings::check`] at its position in the file.
pub(super) fn refuse(document: &Document, error: SettingsError) -> ConfigError {
    let tables = &document.top.pool;
    let last = |name: &str| tables.iter().rev().find(|table| table.name.get_ref() == name);
    let span = last(&error.pool).and_then(|table| match error.base {
        None => Some(table.name.span()),
        Some(base) => {
            let base = if base.family() == Family::V4 { &table.v4 } else { &table.v6 };
            base.as_ref().map(|base| base.0.base.span())
        }
    });
    document.refuse(&span.unwrap_or(0..0), problem!("{error}"))
}

/// Remarks about settings that are valid but may not be intended.
pub(super) fn remarks(settings: &Settings) -> Vec<String> {
    let bases = || settings.pools.iter().flat_map(|pool| [(pool, pool.v4), (pool, pool.v6)]);
    let mut remarks: Vec<String> = bases()
        .filter_map(|(pool, base)| Some(format!("pool {}: {}", pool.name, written::remark(&base?)?)))
        .collect();
    // Bases do not overlap, so only the last one that begins before a range ends can overlap the range.
    let known: BTreeMap<(Family, u128), u128> = bases()
        .filter_map(|(_, base)| base.map(|base| base.base))
        .map(|base| ((base.family(), base.first()), base.last()))
        .collect();
    let meets = |range: &AddressRange| {
        let before = known.range((range.family, 0)..=(range.family, range.last)).next_back();
        before.is_some_and(|(_, last)| *last >= range.first)
    };
    let outside = |range: &&AddressRange| !meets(range);
    let outside = settings.reserved.iter().filter(outside);
    remarks.extend(outside.filter(|_| !settings.pools.is_empty()).map(|range| {
        format!("reserved {range} lies outside all pools; it affects only networks with a --subnet there")
    }));
    remarks
}

/// The pool `default` that flags and variables define, if they give a base.
pub(super) fn of_options(
    resolver: &mut Resolver<'_>,
    cooling: Millis,
    subnet_cooling: Millis,
) -> Result<(Option<PoolSettings>, PoolsOrigin), ConfigError> {
    let v4 = option_base(resolver, Family::V4, options::V4, options::V4AB)?;
    let v6 = option_base(resolver, Family::V6, options::V6, options::V6AB)?;
    if v4.is_none() && v6.is_none() {
        return Ok((None, PoolsOrigin::Nowhere));
    }
    let (v4, v4_origin) = v4.unzip();
    let (v6, v6_origin) = v6.unzip();
    let name = DEFAULT_POOL.to_owned();
    let pool = PoolSettings { name, v4, v6, cooling, subnet_cooling, closed: false };
    Ok((Some(pool), PoolsOrigin::Options { v4: v4_origin, v6: v6_origin }))
}

fn option_base(
    resolver: &mut Resolver<'_>,
    family: Family,
    base: Spelling,
    size: Spelling,
) -> Result<Option<(Base, Origin)>, ConfigError> {
    let written_size = resolver.text(size, None);
    let size = match &written_size {
        Some(written) => resolver.read(written, |text| value::size(text, family))?,
        None => default_size(family),
    };
    let Some(written) = resolver.text(base, None) else {
        if let Some(size) = written_size {
            let warning = format!(
                "{} {} also needs {} PREFIX; without it, it is ignored",
                size.origin, size.value, base.flag
            );
            resolver.warnings.push(warning);
        }
        return Ok(None);
    };
    let (base, masked) = resolver.read(&written, |text| value::base(text, family))?;
    if size < base.length() {
        let place = written_size.as_ref().unwrap_or(&written);
        return Err(resolver.refuse(place, outside(size, base)));
    }
    if masked {
        let warning = format!("{}: {} has host bits set; {base} is used", written.origin, written.value);
        resolver.warnings.push(warning);
    }
    Ok(Some((Base { base, size, addresses: AddressOrder::default() }, written.origin)))
}
