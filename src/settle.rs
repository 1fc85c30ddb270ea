//! Decides which pools are in force: those of the configuration file, of a lease file at its takeover, of the
//! books, of flags and variables; in this order of precedence (R70, R71).
//!
//! Promises: pure; a source of lower precedence that differs causes a warning that names both; a pool that
//! leaves the configuration file, or was closed by hand, stays closed while it has subnets. Does no I/O.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::PoolsOrigin;
use crate::plan::Plan;
use crate::plan::prefix::{AddressRange, Family, Prefix};
use crate::plan::renumbering::BaseSource;
use crate::plan::settings::{Base, Checked, PoolSettings, Settings, Shared};

/// The source of the known pools, apart from the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    /// A lease file that is being taken over.
    LeaseFile,
    Books,
}

/// The settings in force, from the configuration and the pools in `known` (books or lease file), and any
/// warnings.
pub fn settle(
    configured: &Settings,
    origin: &PoolsOrigin,
    known: &[PoolSettings],
    below: Below,
    plan: &Plan,
) -> (Settings, Vec<String>) {
    let mut settings = configured.clone();
    let mut warnings = Vec::new();
    match origin {
        PoolsOrigin::Document(_) => {
            keep_sourced(&mut settings, known);
            keep_closed(&mut settings, known, plan, &mut warnings);
            for pool in &mut settings.pools {
                if let Some(before) = known.iter().find(|before| before.name == pool.name && !pool.closed) {
                    pool.remember_former(before);
                }
            }
        }
        PoolsOrigin::Nowhere | PoolsOrigin::Options { .. } => {
            if !known.is_empty() {
                settings.pools = known.to_vec();
                settings = plan.without_empty_pools(&settings).unwrap_or(settings);
                for pool in &mut settings.pools {
                    (pool.cooling, pool.subnet_cooling) = (configured.cooling, configured.subnet_cooling);
                }
                for pool in &configured.pools {
                    add_families(&mut settings.pools, pool, origin, below, &mut warnings);
                }
            }
        }
    }
    (settings, warnings)
}

/// The prefixes that a source has now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourcedPrefix {
    /// The most likely first.
    pub prefixes: Vec<Prefix>,
    /// The prefix that a pool has stays as long as it is one of them.
    pub stays: bool,
}

/// The prefixes that sources have now, by the text of the source.
pub type SourcedPrefixes = BTreeMap<String, SourcedPrefix>;

/// These settings with the prefixes that the sources have now: for each pool the first of its family. A prefix that conflicts
/// with another pool is not used, and the second value says why; then, and for a source without a prefix, the last
/// one of `known` stays.
pub fn with_sourced(
    configured: Settings,
    known: &[PoolSettings],
    now: &SourcedPrefixes,
) -> (Settings, Vec<String>) {
    let mut settings = configured;
    keep_sourced(&mut settings, known);
    let mut moves = Vec::new();
    for (at, pool) in settings.pools.iter().enumerate() {
        for (family, source) in Family::BOTH.into_iter().zip(&pool.provenance.sources) {
            let Some(source) = source else { continue };
            let has = pool.base(family).map(|base| base.base);
            let Some(sourced) = now.get(&source.text) else { continue };
            if sourced.stays && has.is_some_and(|has| sourced.prefixes.contains(&has)) {
                continue;
            }
            let found = sourced.prefixes.iter().find(|found| found.family() == family);
            moves.extend(found.filter(|found| has != Some(**found)).map(|found| (at, family, *found)));
        }
    }
    let moved = |settings: &Settings, moves: &[(usize, Family, Prefix)]| {
        let mut moved = settings.clone();
        for (at, family, prefix) in moves {
            moved.pools[*at].set_sourced(*family, Some(*prefix));
        }
        moved.check().map(|()| moved)
    };
    // All together first: two pools may exchange their prefixes.
    if let Ok(all) = moved(&settings, &moves) {
        return (all, Vec::new());
    }
    let mut conflicts = Vec::new();
    for one in moves {
        match moved(&settings, &[one]) {
            Ok(with) => settings = with,
            Err(error) => {
                let pool = &settings.pools[one.0];
                let source = pool.provenance.sources[one.1 as usize].as_ref();
                let stays = pool.base(one.1).map_or_else(
                    || "it stays without a prefix".to_owned(),
                    |base| format!("{} stays", base.base),
                );
                conflicts.push(format!(
                    "pool {} does not get {} from {}: {error}; {stays}",
                    pool.name,
                    one.2,
                    source.map_or("", |source| &source.text)
                ));
            }
        }
    }
    (settings, conflicts)
}

/// Gives pools whose prefix comes from a source, and is not set, the last one that is known.
fn keep_sourced(settings: &mut Settings, known: &[PoolSettings]) {
    for pool in &mut settings.pools {
        let awaited: Vec<Family> = pool.awaits().map(|(family, _)| family).collect();
        let Some(before) = known.iter().find(|before| before.name == pool.name) else { continue };
        for family in awaited {
            let usable = before.base(family).filter(|base| base.shared.is_none());
            pool.set_sourced(family, usable.map(|base| base.base));
        }
    }
}

/// Keeps pools that left the file but still have subnets, as closed pools, unless they conflict with another
/// pool.
fn keep_closed(settings: &mut Settings, known: &[PoolSettings], plan: &Plan, warnings: &mut Vec<String>) {
    let held = plan.held_by_pool();
    let named: BTreeSet<&str> = settings.pools.iter().map(|pool| pool.name.as_str()).collect();
    let gone =
        |pool: &&PoolSettings| !named.contains(pool.name.as_str()) && held.contains_key(pool.name.as_str());
    let gone: Vec<PoolSettings> =
        known.iter().filter(gone).map(|pool| PoolSettings { closed: true, ..pool.clone() }).collect();
    let mut checked = Checked::default();
    // Conflicts between the file's own pools were refused when it was read.
    settings.pools.iter().for_each(|pool| drop(checked.add(pool)));
    let mut closed = Vec::new();
    for pool in &gone {
        if checked.add(pool).is_err() {
            warnings.push(format!(
                "pool {} was removed from the configuration, and another pool now covers its prefix; its subnets stay",
                pool.name
            ));
        } else {
            closed.push(pool.clone());
            warnings.push(format!(
                "pool {} was removed from the configuration but still has subnets; it stays closed until they are released",
                pool.name
            ));
        }
    }
    settings.pools.extend(closed);
}

/// Adds a family given by flags or variables to the pool of that name, if no pool has it; warns about other
/// differences.
fn add_families(
    pools: &mut [PoolSettings],
    wanted: &PoolSettings,
    origin: &PoolsOrigin,
    below: Below,
    warnings: &mut Vec<String>,
) {
    let standing = match below {
        Below::LeaseFile => "the lease file",
        Below::Books => "the books",
    };
    for family in Family::BOTH {
        let Some(base) = wanted.base(family) else { continue };
        let written = match origin {
            PoolsOrigin::Options { v4, v6 } => if family == Family::V4 { v4 } else { v6 }.as_ref(),
            PoolsOrigin::Nowhere | PoolsOrigin::Document(_) => None,
        };
        let written = written.map_or_else(|| format!("-{}", family.name()), ToString::to_string);
        let has: Vec<(&str, Base)> = pools
            .iter()
            .filter_map(|pool| pool.base(family).map(|base| (pool.name.as_str(), *base)))
            .collect();
        if has.iter().any(|(_, known)| known.base == base.base && known.size == base.size) {
            continue;
        }
        // The pool that was most likely meant.
        let near = has.iter().find(|(_, known)| known.base.overlaps(base.base)).or_else(|| has.first());
        if let Some((name, known)) = near {
            warnings.push(format!(
                "{written} {} (size /{}) differs from pool {name} of {standing}, {} (size /{}), which stays in force; \
                 a configuration file would take precedence",
                base.base, base.size, known.base, known.size,
            ));
            continue;
        }
        let Some(at) = pools.iter().position(|pool| pool.name == wanted.name) else {
            // A pool of this name may have been closed by hand; do not reopen it automatically.
            let name = &wanted.name;
            let standing_pools: Vec<String> =
                pools.iter().map(|pool| format!("{} ({})", pool.name, bases(pool))).collect();
            warnings.push(format!(
                "{written} {} (size /{}) is not used: no pool {name} in {standing}, only {}; add it with: \
                 gipam pool add {name} --{} {}",
                base.base,
                base.size,
                standing_pools.join(", "),
                family.name(),
                base.base,
            ));
            continue;
        };
        let pool = &mut pools[at];
        if pool.closed {
            warnings.push(format!(
                "{written} {} (size /{}) has no effect, because pool {} of {standing} is closed; \
                 gipam pool add adds another",
                base.base, base.size, pool.name,
            ));
        } else if family == Family::V4 {
            pool.v4 = Some(*base);
        } else {
            pool.v6 = Some(*base);
        }
    }
}

/// Describes each change of the settings in one line, for the report of a reload.
pub fn difference(old: &Settings, new: &Settings) -> Vec<String> {
    let mut lines = Vec::new();
    let (before, after) = (by_name(old), by_name(new));
    for pool in &new.pools {
        match before.get(pool.name.as_str()) {
            None => lines.push(format!("pool {} is added: {}", pool.name, bases(pool))),
            Some(before) => changed_pool(before, pool, &mut lines),
        }
    }
    for pool in old.pools.iter().filter(|pool| !after.contains_key(pool.name.as_str())) {
        lines.push(format!("pool {} is removed: {}", pool.name, bases(pool)));
    }
    for (from, to, is, since) in [(new, old, "is no longer", ""), (old, new, "is", " from now on")] {
        let there: BTreeSet<&AddressRange> = from.reserved.iter().collect();
        for range in to.reserved.iter().filter(|range| !there.contains(range)) {
            lines.push(format!("{range} {is} reserved{since}"));
        }
        let by_hand = &from.reserved_by_hand;
        for range in to.reserved_by_hand.iter().filter(|range| !by_hand.contains(range)) {
            lines.push(format!("{range} {is} reserved by hand{since}"));
        }
    }
    let mut number = |what: &str, old: u64, new: u64, unit: &str| {
        if old != new {
            lines.push(format!("{what}: {old}{unit} becomes {new}{unit}"));
        }
    };
    number("cooling of addresses outside all pools", old.cooling / 1_000, new.cooling / 1_000, " s");
    number(
        "cooling of subnets outside all pools",
        old.subnet_cooling / 1_000,
        new.subnet_cooling / 1_000,
        " s",
    );
    number("restart window", old.restart_window / 1_000, new.restart_window / 1_000, " s");
    number("storm limit", old.storm_limit.into(), new.storm_limit.into(), "");
    lines
}

fn by_name(settings: &Settings) -> BTreeMap<&str, &PoolSettings> {
    settings.pools.iter().map(|pool| (pool.name.as_str(), pool)).collect()
}

fn bases(pool: &PoolSettings) -> String {
    let bases = pool.bases();
    let slices = |base: &Base| {
        let slices = base.slice.map_or_else(String::new, |slice| format!(" (slices of /{slice})"));
        let gateway =
            base.gateway.map_or_else(String::new, |at| format!(", gateway {}", base.base.address(at)));
        let Some(Shared { by_number }) = base.shared else { return format!("{slices}{gateway}") };
        let by_number = by_number.map_or_else(String::new, |part| format!(", {part} by number"));
        format!("{slices} shared{gateway}{by_number}")
    };
    let bases = bases.map(|base| format!("{} in /{}{}", base.base, base.size, slices(base)));
    let awaited = pool.awaits().map(|(_, source)| format!("no prefix yet ({})", source.text));
    bases.chain(awaited).collect::<Vec<String>>().join(", ")
}

fn changed_pool(old: &PoolSettings, new: &PoolSettings, lines: &mut Vec<String>) {
    let name = &new.name;
    if bases(old) != bases(new) {
        lines.push(format!("pool {name}: {} becomes {}", bases(old), bases(new)));
    }
    for (old, new) in old.provenance.sources.iter().zip(&new.provenance.sources) {
        let text = |source: &Option<BaseSource>| {
            source.as_ref().map_or_else(|| "the configuration".to_owned(), |source| source.text.clone())
        };
        if text(old) != text(new) {
            lines.push(format!("pool {name}: its prefix comes from {} instead of {}", text(new), text(old)));
        }
    }
    let orders = |pool: &PoolSettings| pool.v6.map(|base| base.addresses);
    if orders(old) != orders(new) && old.v6.is_some() && new.v6.is_some() {
        lines.push(format!("pool {name}: the order of IPv6 addresses changes for new addresses"));
    }
    if old.closed != new.closed {
        let word = if new.closed { "closed: it gives no new subnets" } else { "open again" };
        lines.push(format!("pool {name} is {word}"));
    }
    for (what, old, new) in
        [("addresses", old.cooling, new.cooling), ("subnets", old.subnet_cooling, new.subnet_cooling)]
    {
        if old != new {
            lines.push(format!(
                "pool {name}: cooling of {what}: {} s becomes {} s",
                old / 1_000,
                new / 1_000
            ));
        }
    }
}
