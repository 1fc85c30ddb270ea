//! `gipam reserve`, `unreserve`, `pin`, `unpin` and `pool`: changes to the running plan by a person.
//!
//! Promises: one request per command; the output lists the changes line by line, then notes, then the affected
//! leases; `--dry-run` prints the same. The daemon decides what is allowed.

use serde::Serialize;
use serde_json::json;

use super::actions::done;
use super::error::CliError;
use super::output::Asking;
use super::tables::{Width, escaped, optional, table};
use super::views::list;
use crate::admin::asked::ReservationArgs;
use crate::view::rows::{ChangedRow, HeldRow, ReservedRow};

/// How many leases are listed; `--json` lists more.
const LISTED: usize = 20;

/// `gipam reserve [RANGE]`.
pub(super) fn reserve(asking: &Asking, asked: &ReservationArgs) -> Result<(), CliError> {
    if asked.range.is_none() {
        if asked.dry_run || asked.pool.is_some() {
            return Err(CliError::Usage("gipam reserve needs a PREFIX, an ADDRESS or FROM-TO".to_owned()));
        }
        return list(asking, "/v1/reserved", ("reservation", &[]), |rows| reservations(asking.width, rows));
    }
    change(asking, "/v1/reserve", asked)
}

fn reservations(width: Width, rows: Vec<ReservedRow>) -> String {
    let row = |row: ReservedRow| {
        let (first, last) = (row.first.to_string(), row.last.to_string());
        vec![first, last, row.origin, row.pools.join(" "), row.leases.0.to_string()]
    };
    table(width, &["FIRST", "LAST", "RESERVED BY", "POOLS", ">LEASES"], rows.into_iter().map(row))
}

/// Sends the change to the daemon and prints the result.
pub(super) fn change(asking: &Asking, path: &str, asked: &impl Serialize) -> Result<(), CliError> {
    done(asking, path, &json!(asked), told)
}

fn told(row: ChangedRow) -> String {
    let mut lines: Vec<String> = row.changes.iter().map(|line| escaped(line)).collect();
    if !row.changed {
        lines.push("nothing changes".to_owned());
    }
    lines.extend(row.notes.iter().map(|note| format!("note: {}", escaped(note))));
    if row.changed && row.dry_run {
        lines.push("dry run: nothing was changed".to_owned());
    }
    let mut text = lines.join("\n") + "\n";
    let more = row.leases.len().saturating_sub(LISTED);
    if !row.leases.is_empty() {
        let line = |row: HeldRow| {
            let [kind, holder, mac] = [row.kind, row.holder, row.mac].map(|cell| optional(cell.as_deref()));
            vec![row.subnet, row.address, kind, holder, mac]
        };
        let rows = row.leases.into_iter().take(LISTED).map(line);
        text += &table(Width::of_output(), &["SUBNET", "ADDRESS", "KIND", "HOLDER", "?MAC"], rows);
    }
    if more > 0 {
        text += &format!("and {more} more; --json lists them\n");
    }
    text
}
