//! Answers every want of the ledger if a plan file assigns the slices: gipam cannot claim a slice then, and the answer says why.
//!
//! Promises: each want is answered at once, with the owner or with the space that nobody has, and with what to do. Changes
//! nothing.

use tokio::sync::mpsc::UnboundedReceiver;

use super::division::{Division, SlicedPool};
use super::known::{HostsPlan, SharedPlan};
use crate::ledger::Ledger;
use crate::plan::prefix::Prefix;
use crate::plan::request::Want;

/// How many owners or free parts an answer lists.
const NAMED: usize = 3;

/// Answers the wants until the ledger ends.
pub async fn answer(ledger: Ledger, mut wants: UnboundedReceiver<Want>, known: SharedPlan) {
    while let Some(want) = wants.recv().await {
        ledger.cannot(want, &why(want, known.get().as_deref()));
    }
}

/// Why this host cannot get what it wants, and what to do.
pub fn why(want: Want, hosts: Option<&HostsPlan>) -> String {
    let (Want::Room { base: prefix } | Want::These(prefix)) = want;
    let Some(hosts) = hosts else {
        return "this host has no [plan], so it cannot claim a slice; configure [plan], or remove slice from the pool"
            .to_owned();
    };
    if let Some((_, why)) = hosts.refused.iter().find(|(base, _)| base.overlaps(prefix)) {
        return why.clone();
    }
    let path = &hosts.place;
    let Some(file) = &hosts.division else {
        let error = hosts.error.as_deref().unwrap_or("it was not read");
        return format!("the plan file cannot be used: {error}; mend it, then run gipam reload");
    };
    match (want, file.pool_around(prefix)) {
        (Want::Room { base }, Some(pool)) => room(hosts, file, pool, base),
        (Want::These(_), Some(pool)) => these(hosts, file, pool, prefix),
        (_, None) => {
            format!("{path} does not have a pool around {prefix}; add it there, then run gipam reload")
        }
    }
}

/// Why this host has no further slice of this part of a pool.
fn room(hosts: &HostsPlan, file: &Division, pool: &SlicedPool, part: Prefix) -> String {
    let (host, path, slice) = (&hosts.host, &hosts.place, pool.slice);
    let free: Vec<Prefix> = file.holes(pool).into_iter().filter(|hole| hole.overlaps(part)).collect();
    match free.first() {
        None => format!("every slice of {} has an owner in {path}: let another host give one up", pool.base),
        Some(first) => format!(
            "nobody has {}: add a /{slice} to host {host} in {path}, for example {}, then run gipam reload",
            listed(free.iter().map(ToString::to_string)),
            Prefix::new(first.family(), first.first(), slice)
        ),
    }
}

/// Why this host does not have the slices around this prefix.
fn these(hosts: &HostsPlan, file: &Division, pool: &SlicedPool, prefix: Prefix) -> String {
    let (host, path) = (&hosts.host, &hosts.place);
    let others: Vec<String> = file
        .owners_of(prefix)
        .filter(|(_, owner)| !owner.name.eq_ignore_ascii_case(host))
        .map(|(slice, owner)| format!("{slice} belongs to host {}", owner.name))
        .collect();
    if !others.is_empty() {
        return format!("{}; choose one in a slice of host {host}", listed(others.into_iter()));
    }
    let free = file.holes(pool).into_iter().filter_map(|hole| {
        match (hole.contains(prefix), prefix.contains(hole)) {
            (true, _) => Some(Prefix::new(prefix.family(), prefix.first(), pool.slice.min(prefix.length()))),
            (_, inside) => inside.then_some(hole),
        }
    });
    let free: Vec<String> = free.map(|free| free.to_string()).collect();
    if free.is_empty() {
        return format!(
            "{path} gives it to host {host}, but networks are in a slice of another length there"
        );
    }
    format!("nobody has {}: add it to host {host} in {path}, then run gipam reload", listed(free.into_iter()))
}

/// The first texts, and how many more there are.
fn listed(mut texts: impl Iterator<Item = String>) -> String {
    let first: Vec<String> = texts.by_ref().take(NAMED).collect();
    match texts.count() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
