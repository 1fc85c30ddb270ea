//! `gipam status`, `pools`, `subnets`, `leases`, `history`: what the daemon, or its books, know.
//!
//! Promises: each view is one request; with `--json` its answer is passed on, otherwise it is a table with the same
//! rows in the same order. Changes nothing.

use serde::de::DeserializeOwned;

use super::args::Leases;
use super::error::Error;
use super::output::{self, Asking};
use super::tables::{optional, pairs, table, time};
use crate::admin::client::encoded;
use crate::admin::rows::{HistoryRow, HookRow, LeaseRow, PoolRow, Status, SubnetRow};

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
    output::text(&shown(output::read(path, &answer)?))
}

/// `gipam status`.
pub(super) fn status(asking: &Asking) -> Result<(), Error> {
    show(asking, "/v1/status", |status: Status| {
        let drivers: Vec<String> =
            status.names.iter().zip(&status.doors).map(|(name, door)| format!("{name} at {door}")).collect();
        let error = match (&status.last_error, &status.last_error_at) {
            (Some(error), at) => format!("{error} ({})", time(at.as_deref())),
            (None, _) => "none".to_owned(),
        };
        let hooks: Vec<String> = status.hooks.iter().map(hook).collect();
        let mut lines = vec![
            ("running", if status.running { "yes" } else { "no" }.to_owned()),
            ("version", optional(status.version.as_deref())),
            ("started", time(status.started.as_deref())),
            ("drivers", drivers.join(", ")),
            ("books", status.books),
            ("pools", status.pools.to_string()),
            ("subnets", status.subnets.to_string()),
            ("leases", status.leases.to_string()),
            ("last error", error),
        ];
        lines.extend(hooks.into_iter().map(|hook| ("hook", hook)));
        lines.extend(status.filling.iter().map(|row| ("filling", row.to_string())));
        if let Some(bytes) = status.log_held {
            let since = time(status.log_held_since.as_deref());
            let text =
                format!("{} MiB in use since {since}: something reads the books without end", bytes >> 20);
            lines.push(("books' log", text));
        }
        pairs(&lines)
    })
}

/// How a hook does.
fn hook(row: &HookRow) -> String {
    let HookRow { hook, upto, .. } = row;
    let behind = match row.behind {
        Some(0) => "nothing waits".to_owned(),
        Some(1) => "1 event waits".to_owned(),
        Some(count) => format!("{count} events wait"),
        None => "what waits cannot be counted".to_owned(),
    };
    let trouble = match (&row.failing_since, &row.last_error) {
        (Some(since), Some(error)) => format!("; fails since {}: {error}", time(Some(since))),
        _ => String::new(),
    };
    format!("{hook}: told up to {upto}, {behind}{trouble}")
}

/// `gipam pools`.
pub(super) fn pools(asking: &Asking) -> Result<(), Error> {
    show(asking, "/v1/pools", |rows: Vec<PoolRow>| {
        let row = |row: PoolRow| {
            let name = if row.closed { format!("{} (closed)", row.pool) } else { row.pool };
            let size = format!("/{}", row.size);
            let [subnets, cooling, free] =
                [row.subnets, row.cooling, row.free].map(|count| count.0.to_string());
            vec![name, row.family, row.base, size, subnets, cooling, free]
        };
        let headings = ["POOL", "FAMILY", "BASE", ">SIZE", ">SUBNETS", ">COOLING", ">FREE"];
        table(&headings, rows.into_iter().map(row))
    })
}

/// `gipam subnets`.
pub(super) fn subnets(asking: &Asking) -> Result<(), Error> {
    show(asking, "/v1/subnets", |rows: Vec<SubnetRow>| {
        let row = |row: SubnetRow| {
            let (pool, range) = (optional(row.pool.as_deref()), optional(row.range.as_deref()));
            let (gateway, since) = (optional(row.gateway.as_deref()), time(row.since.as_deref()));
            vec![row.prefix, pool, row.space, range, gateway, row.leases.0.to_string(), since, row.id]
        };
        let headings = ["SUBNET", "POOL", "SPACE", "RANGE", "GATEWAY", ">LEASES", "SINCE", "ID"];
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
