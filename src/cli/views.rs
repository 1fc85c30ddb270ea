//! `gipam status`, `pools`, `subnets`, `leases`, `history`: what the daemon, or its books, know.
//!
//! Promises: each view is one request; with `--json` its answer is passed on, otherwise it is a screen
//! (`screen`) or a table with the same rows in the same order. Changes nothing.

use std::io::IsTerminal;

use serde::de::DeserializeOwned;

use super::args::Leases;
use super::error::Error;
use super::output::{self, Asking};
use super::screen;
use super::tables::{escaped, optional, table, time};
use crate::admin::client::encoded;
use crate::admin::rows::{HistoryRow, LeaseRow, PoolRow, Status, SubnetRow};
use crate::config::Surroundings;

/// Asks, and prints JSON or what `shown` makes of it.
pub(super) fn show<T: DeserializeOwned>(
    asking: &Asking,
    path: &str,
    shown: impl FnOnce(T) -> String,
) -> Result<(), Error> {
    let answer = asking.view(path)?;
    if asking.json {
        return output::json(path, &answer);
    }
    let laying_out = asking.work("laying the answer out");
    let text = shown(output::read(path, &answer)?);
    drop(laying_out);
    output::painted(&text)
}

/// `gipam status`.
pub(super) fn status(asking: &Asking, surroundings: &Surroundings) -> Result<(), Error> {
    let colour = std::io::stdout().is_terminal() && !surroundings.variables.contains_key("NO_COLOR");
    show(asking, "/v1/status", |status: Status| screen::drawn(&status, colour))
}

/// `gipam pools`.
pub(super) fn pools(asking: &Asking) -> Result<(), Error> {
    show(asking, "/v1/pools", |rows: Vec<PoolRow>| {
        let why = |row: &PoolRow| {
            let why = row.unusable.as_ref()?;
            Some(format!("pool {} ({}): {}\n", row.pool, row.base, escaped(why)))
        };
        let notes: String = rows.iter().filter_map(why).collect();
        let row = |row: PoolRow| {
            let name = match row.unusable {
                Some(_) => format!("{} (unusable)", row.pool),
                None if row.closed => format!("{} (closed)", row.pool),
                None => row.pool,
            };
            let size = format!("/{}", row.size);
            let [subnets, cooling, free] =
                [row.subnets, row.cooling, row.free].map(|count| count.0.to_string());
            vec![name, row.family, row.base, size, subnets, cooling, free]
        };
        let headings = ["POOL", "FAMILY", "BASE", ">SIZE", ">SUBNETS", ">COOLING", ">FREE"];
        table(&headings, rows.into_iter().map(row)) + &notes
    })
}

/// `gipam subnets`.
pub(super) fn subnets(asking: &Asking) -> Result<(), Error> {
    show(asking, "/v1/subnets", |rows: Vec<SubnetRow>| {
        let row = |row: SubnetRow| {
            let (pool, range) = (optional(row.pool.as_deref()), optional(row.range.as_deref()));
            let (gateway, since) = (optional(row.gateway.as_deref()), time(row.since.as_deref()));
            let network = optional(row.network.as_deref());
            vec![
                row.prefix,
                network,
                pool,
                row.space,
                range,
                gateway,
                row.leases.0.to_string(),
                since,
                row.id,
            ]
        };
        let headings = ["SUBNET", "NETWORK", "POOL", "SPACE", "RANGE", "GATEWAY", ">LEASES", "SINCE", "ID"];
        table(&headings, rows.into_iter().map(row))
    })
}

/// `gipam leases [--all]`.
pub(super) fn leases(asking: &Asking, wanted: &Leases) -> Result<(), Error> {
    let path = query(
        "/v1/leases",
        &[
            ("all", wanted.all.then_some("true")),
            ("subnet", wanted.subnet.as_deref()),
            ("holder", wanted.holder.as_deref()),
            ("state", wanted.state.as_deref()),
            ("since", wanted.since.as_deref()),
        ],
    );
    show(asking, &path, |rows: Vec<LeaseRow>| {
        let row = |row: LeaseRow| {
            let kind = row.kind.unwrap_or_else(|| "unknown".to_owned());
            let (holder, mac) = (optional(row.holder.as_deref()), optional(row.mac.as_deref()));
            let network = optional(row.network.as_deref());
            vec![row.subnet, row.address, kind, holder, network, mac, row.state, time(row.since.as_deref())]
        };
        let headings = ["SUBNET", "ADDRESS", "KIND", "HOLDER", "NETWORK", "MAC", "STATE", "SINCE"];
        table(&headings, rows.into_iter().map(row))
    })
}

/// `gipam history [ADDRESS|NAME]`.
pub(super) fn history(
    asking: &Asking,
    of: Option<&str>,
    since: Option<&str>,
    limit: u32,
) -> Result<(), Error> {
    let limit = limit.to_string();
    let path = query("/v1/history", &[("of", of), ("since", since), ("limit", Some(&limit))]);
    show(asking, &path, history_table)
}

/// Lines of history.
pub(super) fn history_table(rows: Vec<HistoryRow>) -> String {
    let row = |row: HistoryRow| {
        let rest = [row.subnet, row.address, row.kind, row.holder, row.mac, row.why];
        let rest = rest.into_iter().map(Option::unwrap_or_default);
        [time(Some(&row.at)), row.event].into_iter().chain(rest).collect()
    };
    let headings = ["AT", "EVENT", "SUBNET", "ADDRESS", "KIND", "HOLDER", "MAC", "WHY"];
    table(&headings, rows.into_iter().map(row))
}

/// A path with those values that are there.
pub(super) fn query(path: &str, values: &[(&str, Option<&str>)]) -> String {
    let mut text = path.to_owned();
    let mut before = '?';
    for (name, value) in values.iter().filter_map(|(name, value)| Some((name, (*value)?))) {
        text.push_str(&format!("{before}{name}={}", encoded(value)));
        before = '&';
    }
    text
}
