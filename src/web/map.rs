//! The map: a pool, a part of it or a subnet as cells in the order of their addresses.
//!
//! Promises: bounded in cells, however wide the prefix: where equal cells would be too many, what is free between two
//! things becomes one cell, and neighbours become one cell that can be looked into. Every cell says what it is in words.
//! Decides nothing.

use std::net::IpAddr;

use serde::Serialize;

use super::cells::{Cell, CellState, Item, Region, Special, fold};
use super::picture::{Picture, ShownSubnet};
use crate::plan::Plan;
use crate::plan::error::{ErrorKind, Refusal};
use crate::plan::prefix::{Family, Prefix, number};
use crate::plan::settings::PoolSettings;

/// Cells of one area where all areas are shown.
const OVERVIEW: usize = 256;
/// Cells of the region alone.
const ALONE: usize = 1_024;

/// A pool's family, a part of it, a subnet, or what lies outside of all pools.
#[derive(Debug, Serialize)]
pub struct Area {
    /// `pool`, `part`, `subnet` or `outside`.
    pub kind: &'static str,
    /// The pool's name; none outside.
    pub pool: Option<String>,
    /// `v4` or `v6`; none outside.
    pub family: Option<&'static str>,
    /// The prefix; none outside.
    pub prefix: Option<String>,
    /// The PoolID of a subnet.
    pub id: Option<String>,
    /// Its name, besides its prefix.
    pub name: Option<String>,
    /// Length of the prefixes that single cells show.
    pub unit: u8,
    /// A pool that gives no new subnets.
    pub closed: bool,
    pub cells: Vec<Cell>,
}

/// One step of the way from all pools to an area.
#[derive(Debug, Serialize)]
pub struct Step {
    /// In words.
    pub label: String,
    /// The prefix to look at; none for all pools.
    pub at: Option<String>,
}

/// What is looked at.
#[derive(Debug, Serialize)]
pub struct Map {
    /// The way to it.
    pub path: Vec<Step>,
    /// All pools, or the one area.
    pub areas: Vec<Area>,
}

/// Everything, or what lies at this prefix.
pub fn map(picture: &Picture, at: Option<&str>) -> Result<Map, Refusal> {
    let mut path = vec![Step { label: "All pools".to_owned(), at: None }];
    let Some(text) = at else { return Ok(Map { path, areas: overview(picture) }) };
    let prefix = Prefix::parse(text)
        .ok_or_else(|| Refusal::new(ErrorKind::Invalid, format!("{text:?} is not a prefix")))?;
    if let Some((pool, base)) = pool_around(picture, prefix) {
        path.push(Step { label: format!("{} {base}", pool.name), at: Some(base.to_string()) });
        if base == prefix {
            return Ok(Map { path, areas: vec![pool_area(picture, pool, base, base, ALONE)] });
        }
    }
    let held = picture.subnets.iter().filter_map(|subnet| Some((Prefix::parse(&subnet.row.prefix)?, subnet)));
    let inside = held.filter(|(held, _)| held.contains(prefix)).max_by_key(|(held, _)| held.length());
    let area = match (inside, pool_around(picture, prefix)) {
        (Some((whole, subnet)), _) => {
            path.push(Step { label: whole.to_string(), at: Some(whole.to_string()) });
            subnet_area(picture, subnet, whole, prefix)
        }
        (None, Some((pool, base))) => pool_area(picture, pool, base, prefix, ALONE),
        (None, None) => {
            let text = format!("{prefix} is neither in a pool nor in a subnet");
            return Err(Refusal::new(ErrorKind::Missing, text));
        }
    };
    if path.last().is_some_and(|step| step.at.as_deref() != Some(text)) {
        path.push(Step { label: prefix.to_string(), at: Some(prefix.to_string()) });
    }
    Ok(Map { path, areas: vec![area] })
}

fn pool_around(picture: &Picture, prefix: Prefix) -> Option<(&PoolSettings, Prefix)> {
    let pool = picture.plan.pool_around(prefix)?;
    Some((pool, pool.base(prefix.family())?.base))
}

fn overview(picture: &Picture) -> Vec<Area> {
    let mut areas = Vec::new();
    for pool in &picture.plan.settings().pools {
        for base in Family::BOTH.into_iter().filter_map(|family| pool.base(family)) {
            areas.push(pool_area(picture, pool, base.base, base.base, OVERVIEW));
        }
    }
    let outside = picture.subnets.iter().filter_map(|subnet| {
        let prefix = Prefix::parse(&subnet.row.prefix)?;
        pool_around(picture, prefix).is_none().then(|| subnet_item(subnet, prefix).into_cell())
    });
    let mut cells: Vec<Cell> = outside.collect();
    if cells.len() > ALONE {
        let rest = cells.len() - ALONE;
        cells.truncate(ALONE);
        cells.push(Cell::rest(rest));
    }
    if !cells.is_empty() {
        areas.push(Area {
            kind: "outside",
            pool: None,
            family: None,
            prefix: None,
            id: None,
            name: None,
            unit: 0,
            closed: false,
            cells,
        });
    }
    areas
}

/// A held subnet as something on the map of its pool.
fn subnet_item(subnet: &ShownSubnet, prefix: Prefix) -> Item {
    let name = subnet.row.network.clone();
    let text = format!(
        "{} of {} addresses used",
        subnet.row.leases.0,
        subnet.row.leases.0 + subnet.row.cooling.0 + subnet.free.0
    );
    Item {
        first: prefix.first(),
        last: prefix.last(),
        state: CellState::Used,
        share: subnet.share.0,
        label: prefix.to_string(),
        name,
        text,
        at: Some(prefix.to_string()),
    }
}

/// A pool's base or a part of it: subnets are its things.
fn pool_area(picture: &Picture, pool: &PoolSettings, base: Prefix, part: Prefix, most: usize) -> Area {
    let inside = |prefix: Prefix| prefix.family() == part.family() && part.contains(prefix);
    let held = picture.subnets.iter().filter_map(|subnet| {
        let prefix = Prefix::parse(&subnet.row.prefix).filter(|prefix| inside(*prefix))?;
        Some(subnet_item(subnet, prefix))
    });
    let now = picture.at;
    let cools = picture.plan.subnets().filter(|subnet| !subnet.is_held() && subnet.state.cool_until > now);
    let cooling = cools.filter(|subnet| inside(subnet.state.prefix)).map(|subnet| Item {
        first: subnet.state.prefix.first(),
        last: subnet.state.prefix.last(),
        state: CellState::Cooling,
        share: 0.0,
        label: subnet.state.prefix.to_string(),
        name: None,
        text: format!("given to others in {} s", (subnet.state.cool_until - now).div_ceil(1_000)),
        at: None,
    });
    let mut items: Vec<Item> = held.chain(cooling).collect();
    items.sort_by_key(|item| (item.first, std::cmp::Reverse(item.last)));
    let unit = pool.base(part.family()).map_or(part.length(), |base| base.size).max(part.length());
    let region = Region { prefix: part, finest: unit, noun: "subnet" };
    Area {
        kind: if base == part { "pool" } else { "part" },
        pool: Some(pool.name.clone()),
        family: Some(part.family().name()),
        prefix: Some(part.to_string()),
        id: None,
        name: None,
        unit,
        closed: pool.closed,
        cells: fold(region, items, &not_given(picture, base, part), most),
    }
}

/// The parts of a pool that nobody has and that are not free: reserved, or all of it where the host uses it.
fn not_given(picture: &Picture, base: Prefix, part: Prefix) -> Vec<Special> {
    if Plan::unusable(base, &picture.in_use).is_none() {
        return reserved(picture, part, part, false);
    }
    let text = "not given: this host uses it, see the pool";
    vec![Special { first: part.first(), last: part.last(), state: CellState::Never, text }]
}

/// Reservations in a part, of the whole that they were looked up for.
fn reserved(picture: &Picture, whole: Prefix, part: Prefix, is_subnet: bool) -> Vec<Special> {
    let ranges = picture.plan.reservations(whole, is_subnet).into_iter();
    let inside = ranges.filter(|(first, last)| *first <= part.last() && *last >= part.first());
    let special = |(first, last): (u128, u128)| Special {
        first: first.max(part.first()),
        last: last.min(part.last()),
        state: CellState::Reserved,
        text: "reserved: never given dynamically",
    };
    inside.map(special).collect()
}

/// A subnet or a part of it: addresses are its things.
fn subnet_area(picture: &Picture, subnet: &ShownSubnet, whole: Prefix, part: Prefix) -> Area {
    let rows = picture.leases.iter().filter(|lease| lease.id.as_deref() == Some(&subnet.row.id));
    let mut items: Vec<Item> = rows
        .filter_map(|lease| {
            let address: IpAddr = lease.address.parse().ok()?;
            let at = number(address);
            part.contains_number(at).then(|| Item {
                first: at,
                last: at,
                state: match (lease.state.as_str(), lease.kind.as_deref()) {
                    ("leased", Some("gateway")) => CellState::Gateway,
                    ("leased", _) => CellState::Used,
                    ("cooling", _) => CellState::Cooling,
                    _ => CellState::Pinned,
                },
                share: 1.0,
                label: lease.address.clone(),
                name: lease.holder.clone(),
                text: lease.kind.clone().unwrap_or_default(),
                at: None,
            })
        })
        .collect();
    items.sort_by_key(|item| item.first);
    let mut special = reserved(picture, whole, part, true);
    let (low, high) = crate::plan::never_given(whole);
    for at in [low, high].into_iter().flatten().filter(|at| part.contains_number(*at)) {
        let text = "never given: network or broadcast address";
        special = cut(special, Special { first: at, last: at, state: CellState::Never, text });
    }
    if let Some(held) = picture.plan.held(&subnet.row.id) {
        let slot = held.slot(picture.plan.reserved_merged());
        if part.contains_number(slot) && ![low, high].contains(&Some(slot)) {
            let text = "kept for the gateway";
            special = cut(special, Special { first: slot, last: slot, state: CellState::Never, text });
        }
    }
    let region = Region { prefix: part, finest: part.family().bits(), noun: "address" };
    Area {
        kind: "subnet",
        pool: subnet.row.pool.clone(),
        family: Some(part.family().name()),
        prefix: Some(part.to_string()),
        id: Some(subnet.row.id.clone()),
        name: subnet.row.network.clone(),
        unit: part.family().bits(),
        closed: false,
        cells: fold(region, items, &special, ALONE),
    }
}

/// The list with one more address in it, which is cut out of the cell there.
fn cut(list: Vec<Special>, one: Special) -> Vec<Special> {
    let mut parts: Vec<Special> = Vec::new();
    for special in list {
        if one.first < special.first || one.first > special.last {
            parts.push(special);
            continue;
        }
        if special.first < one.first {
            parts.push(Special { last: one.first - 1, ..special });
        }
        if special.last > one.last {
            parts.push(Special { first: one.last + 1, ..special });
        }
    }
    parts.push(one);
    parts.sort_by_key(|special| special.first);
    parts
}
