//! `gipam status`, `pools`, `subnets`, `leases`, `history`: what the daemon or its books contain.
//!
//! Promises: each view is one request; with `--json` the answer is printed as received, otherwise as a screen
//! (`screen`) or as a table with the same rows in the same order. Changes nothing.

use serde::de::DeserializeOwned;

use super::args::Leases;
use super::error::CliError;
use super::output::{self, Asking};
use super::screen::{self, Frame};
use super::tables::{Width, escaped, optional, table};
use super::terminal;
use crate::text::counted;
use crate::view::rows::{HistoryRow, LeaseRow, PoolRow, Status, SubnetRow};

/// Requests a view, and prints it as JSON or as the text that `shown` returns.
pub(super) fn show<T: DeserializeOwned>(
    asking: &Asking,
    path: &str,
    shown: impl FnOnce(T) -> String,
) -> Result<(), CliError> {
    let answer = asking.view(path)?;
    if asking.json {
        return output::json(path, &answer);
    }
    let laying_out = asking.work("formatting the answer");
    let text = shown(output::read(path, &answer)?);
    drop(laying_out);
    output::painted(&text)
}

/// Requests a list of `what` (for example `lease`), narrowed by `filters`, and prints a table unless it is empty.
pub(super) fn list<T: DeserializeOwned>(
    asking: &Asking,
    path: &str,
    (what, filters): (&str, &[(&str, Option<&str>)]),
    shown: impl FnOnce(Vec<T>) -> String,
) -> Result<(), CliError> {
    if asking.json {
        return asking.print_rows(path);
    }
    let answer = asking.view(path)?;
    let laying_out = asking.work("formatting the answer");
    let rows: Vec<T> = output::read(path, &answer)?;
    if rows.is_empty() {
        drop(laying_out);
        return none(what, filters);
    }
    let text = shown(rows);
    drop(laying_out);
    output::text(&text)
}

/// Prints a note for an empty list; if filters were given, returns an error instead, so that the exit code shows it.
fn none(what: &str, filters: &[(&str, Option<&str>)]) -> Result<(), CliError> {
    let given: Vec<String> = filters
        .iter()
        .filter_map(|(name, value)| Some(format!("{name} {}", escaped((*value)?)).trim_start().to_owned()))
        .collect();
    if given.is_empty() {
        output::note(&format!("no {what} yet"));
        return Ok(());
    }
    Err(CliError::NoMatch { what: what.to_owned(), filters: given.join(", ") })
}

/// `gipam status`.
pub(super) fn status(asking: &Asking) -> Result<(), CliError> {
    let frame = Frame::of(terminal::size());
    show(asking, "/v1/status", |status: Status| screen::drawn(&status, frame, asking.colour))
}

/// `gipam pools`.
pub(super) fn pools(asking: &Asking) -> Result<(), CliError> {
    list(asking, "/v1/pools", ("pool", &[]), |rows: Vec<PoolRow>| {
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
            vec![name, row.family, row.base, size, subnets, cooling, free, row.full]
        };
        let headings = ["POOL", "FAMILY", "BASE", ">SIZE", ">SUBNETS", ">COOLING", ">FREE", ">FULL"];
        table(asking.width, &headings, rows.into_iter().map(row)) + &notes
    })
}

/// `gipam subnets`.
pub(super) fn subnets(asking: &Asking) -> Result<(), CliError> {
    let width = asking.width;
    list(asking, "/v1/subnets", ("subnet", &[]), |rows: Vec<SubnetRow>| {
        let stale = rows.iter().filter(|row| row.stale.is_some()).count();
        let note = match stale {
            0 => String::new(),
            _ => format!("{} on an earlier prefix; to move them: gipam renumber\n", counted(stale, "subnet")),
        };
        let row = |row: SubnetRow| {
            let mut row = row;
            if let (Some(pool), true) = (&mut row.pool, row.stale.is_some()) {
                pool.push_str(" (stale)");
            }
            let [network, pool, range, gateway] =
                [row.network, row.pool, row.range, row.gateway].map(|value| optional(value.as_deref()));
            let (leases, since) = (row.leases.0.to_string(), width.time(row.since.as_deref()));
            vec![row.prefix, network, pool, row.space, range, gateway, leases, since, row.id]
        };
        let headings =
            ["SUBNET", "NETWORK", "POOL", "=SPACE", "=RANGE", "GATEWAY", ">LEASES", "SINCE", "?ID"];
        table(width, &headings, rows.into_iter().map(row)) + &note
    })
}

/// `gipam leases [--all]`.
pub(super) fn leases(asking: &Asking, wanted: &Leases) -> Result<(), CliError> {
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
    let filters = [
        ("", wanted.subnet.as_deref()),
        ("--holder", wanted.holder.as_deref()),
        ("--state", wanted.state.as_deref()),
        ("--since", wanted.since.as_deref()),
    ];
    let width = asking.width;
    list(asking, &path, ("lease", &filters), |rows: Vec<LeaseRow>| {
        let row = |row: LeaseRow| {
            let kind = row.kind.as_deref().unwrap_or("unknown").to_owned();
            let [subnet, address, state] = [row.subnet, row.address, row.state].map(String::from);
            let holder = width.holder(row.holder.as_deref(), row.mac.as_deref());
            let (mac, network) = (optional(row.mac.as_deref()), optional(row.network.as_deref()));
            let since = width.time(row.since.as_deref());
            vec![subnet, address, kind, holder, network, mac, state, since]
        };
        let headings = ["SUBNET", "ADDRESS", "KIND", "HOLDER", "=NETWORK", "?MAC", "=STATE", "SINCE"];
        table(width, &headings, rows.into_iter().map(row))
    })
}

/// `gipam history [ADDRESS|NAME]`.
pub(super) fn history(
    asking: &Asking,
    of: Option<&str>,
    since: Option<&str>,
    limit: u32,
) -> Result<(), CliError> {
    let limit = limit.to_string();
    let path = query("/v1/history", &[("of", of), ("since", since), ("limit", Some(&limit))]);
    let filters = [("", of), ("--since", since)];
    list(asking, &path, ("event", &filters), |rows| history_table(asking.width, rows))
}

pub(super) fn history_table(width: Width, rows: Vec<HistoryRow>) -> String {
    let row = |row: HistoryRow| {
        let holder = width.holder(row.holder.as_deref(), row.mac.as_deref());
        let [subnet, address, kind, mac, why] =
            [row.subnet, row.address, row.kind, row.mac, row.why].map(Option::unwrap_or_default);
        vec![width.time(Some(&row.at)), row.event, subnet, address, kind, holder, mac, why]
    };
    let headings = ["AT", "EVENT", "=SUBNET", "ADDRESS", "?KIND", "HOLDER", "?MAC", "~WHY"];
    table(width, &headings, rows.into_iter().map(row))
}

/// A path with those query values that are present.
pub(super) fn query(path: &str, values: &[(&str, Option<&str>)]) -> String {
    let given = values.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}
