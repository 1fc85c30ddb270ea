//! Changes that a person makes to the pools: `gipam pool add`, `close` and `resize`.
//!
//! Promises: if a configuration file declares the pools, the change is refused, and the answer shows the lines that the file
//! needs; otherwise the books are changed, with a note about each warning that the next start with the same flags will log.
//! The ledger decides, commits and answers.

use std::path::Path;
use std::sync::Arc;

use super::asked::{PoolArgs, PoolCut};
use super::changing::{DecidedChange, are_now, change};
use crate::config::{Config, PoolsOrigin, value};
use crate::ledger::Ledger;
use crate::plan::Plan;
use crate::plan::error::{ErrorKind, Refusal};
use crate::plan::pools::{Cut, PoolChange};
use crate::plan::prefix::{Family, Prefix};
use crate::plan::settings::{AddressOrder, PoolSettings, Settings};
use crate::settle::{Below, settle};
use crate::view::rows::ChangedRow;

/// Changes the pools, or refuses with the reason.
pub(super) async fn pool(
    ledger: &Ledger,
    asked: PoolArgs,
    config: Arc<Config>,
) -> Result<ChangedRow, Refusal> {
    let invalid = |text: String| Refusal::new(ErrorKind::Invalid, text);
    let (wanted, dry_run) = match asked {
        PoolArgs::Add(cut) => {
            value::pool_name(&cut.name).map_err(|problem| invalid(problem.to_string()))?;
            (PoolChange::Add { cuts: cuts(&cut).map_err(invalid)?, name: cut.name }, cut.dry_run)
        }
        PoolArgs::Close { name, dry_run } => (PoolChange::Close { name }, dry_run),
        PoolArgs::Resize(cut) => {
            (PoolChange::Resize { cuts: cuts(&cut).map_err(invalid)?, name: cut.name }, cut.dry_run)
        }
    };
    change(ledger, dry_run, move |plan| decide(plan, &wanted, &config)).await
}

fn cuts(cut: &PoolCut) -> Result<[Cut; 2], String> {
    let v4 = Cut { base: base(cut.v4.as_deref(), Family::V4)?, size: cut.v4_size };
    let v6 = Cut { base: base(cut.v6.as_deref(), Family::V6)?, size: cut.v6_size };
    Ok([v4, v6])
}

/// Parses a base prefix. As in the configuration file, it must not have host bits.
fn base(text: Option<&str>, family: Family) -> Result<Option<Prefix>, String> {
    let Some(text) = text else { return Ok(None) };
    match value::base(text, family) {
        Ok((prefix, false)) => Ok(Some(prefix)),
        Ok((prefix, true)) => Err(format!("{text} has host bits set; write {prefix}")),
        Err(problem) => Err(problem.to_string()),
    }
}

fn decide(plan: &Plan, wanted: &PoolChange, config: &Config) -> Result<DecidedChange, Refusal> {
    // Decide first, so that a mistake is reported before a person writes it into the file.
    let settings = plan.change_pools(wanted)?;
    let name = wanted.pool();
    let Some(settings) = settings else {
        return Ok(DecidedChange::nothing(match wanted {
            PoolChange::Close { .. } => format!("pool {name} is already closed"),
            _ => format!("pool {name} already has these settings"),
        }));
    };
    if let PoolsOrigin::Document(file) = &config.pools_origin {
        let text = declared(wanted, settings.pool(name), file);
        return Err(Refusal::new(ErrorKind::Invalid, text));
    }
    let mut decided = DecidedChange::settings(plan, settings.clone());
    decided.row.notes = notes(plan, wanted, &settings, config);
    Ok(decided)
}

/// The refusal that shows which lines the configuration file needs instead.
fn declared(wanted: &PoolChange, after: Option<&PoolSettings>, file: &Path) -> String {
    let (file, name) = (file.display(), wanted.pool());
    let why = format!("nothing was changed: pools are managed in {file}");
    match (wanted, after) {
        (PoolChange::Close { .. }, _) | (_, None) => {
            format!("{why}; remove the [[pool]] with name = {name:?} there, then run gipam reload")
        }
        (_, Some(pool)) => {
            let table = table(pool);
            format!("{why}; add or edit this [[pool]] there, then run gipam reload\n{table}")
        }
    }
}

fn table(pool: &PoolSettings) -> String {
    let mut lines = format!("\n[[pool]]\nname = {:?}\n", pool.name);
    for base in pool.bases() {
        let order = match base.addresses {
            AddressOrder::Sequential => String::new(),
            order => format!(", addresses = {:?}", order.name()),
        };
        let (family, prefix, size) = (base.base.family().name(), base.base, base.size);
        let slice = base.slice.map_or_else(String::new, |slice| format!(", slice = {slice}"));
        lines += &format!("{family} = {{ base = \"{prefix}\", size = {size}{slice}{order} }}\n");
    }
    lines
}

/// Notes: what stays, which drivers do not list the pool, and what the next start with the same flags will warn about.
fn notes(plan: &Plan, wanted: &PoolChange, settings: &Settings, config: &Config) -> Vec<String> {
    let (name, mut notes) = (wanted.pool(), Vec::new());
    let held = plan.held_by_pool().get(name).copied().unwrap_or(0);
    match wanted {
        PoolChange::Close { .. } if held > 0 => {
            notes.push(format!("{}; the pool is removed when the last one is released", are_now(held, "subnet", "held")));
        }
        PoolChange::Resize { .. } if held > 0 => {
            notes.push(format!("{}; held subnets keep their length", are_now(held, "subnet", "held")));
        }
        PoolChange::Add { .. } => notes.extend(config.drivers.iter().filter_map(|driver| {
            let closed = driver.pools.as_ref().is_some_and(|pools| !pools.iter().any(|pool| pool == name));
            let driver = &driver.name;
            closed.then(|| {
                format!("the configuration does not list pool {name} for driver {driver}; to use it there: --ipam-opt pool={name}")
            })
        })),
        _ => {}
    }
    for family in Family::BOTH {
        let open = |settings: &Settings| {
            settings.pools.iter().any(|pool| !pool.closed && pool.base(family).is_some())
        };
        if open(plan.settings()) && !open(settings) {
            notes.push(format!(
                "after this, no open pool has {family}; a network that needs it must set --subnet"
            ));
        }
    }
    let configured = config.settings.clone().with_books(settings);
    let (_, warnings) = settle(&configured, &config.pools_origin, &settings.pools, Below::Books, plan);
    notes.extend(warnings.iter().map(|warning| format!("at each start with the same flags: {warning}")));
    notes
}
