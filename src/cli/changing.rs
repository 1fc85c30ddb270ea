//! `gipam reserve`, `unreserve`, `pin`, `unpin` and `pool`: what a person changes of the running plan.
//!
//! Promises: one request each; what changes is printed line by line, then what else there is to know, then the leases
//! that it meets; `--dry-run` prints the same. What is allowed is the daemon's decision.

use serde_json::{Value, json};

use super::change_args::{PinArgs, PoolArgs, PoolCut, ReservationArgs, UnpinArgs};
use super::error::CliError;
use super::output::{self, Asking};
use super::tables::{Width, escaped, optional, table};
use super::views::list;
use crate::view::rows::{ChangedRow, HeldRow, ReservedRow};

/// Leases that are listed; `--json` has more.
const LISTED: usize = 20;

/// `gipam reserve [RANGE]`.
pub(super) fn reserve(asking: &Asking, asked: &ReservationArgs) -> Result<(), CliError> {
    let Some(range) = &asked.range else {
        if asked.dry_run || asked.pool.is_some() {
            return Err(CliError::Usage("gipam reserve needs a PREFIX, an ADDRESS or FROM-TO".to_owned()));
        }
        return list(asking, "/v1/reserved", ("reservation", &[]), |rows| reservations(asking.width, rows));
    };
    let body = json!({"range": range, "pool": asked.pool, "dry_run": asked.dry_run});
    changed(asking, "/v1/reserve", &body)
}

fn reservations(width: Width, rows: Vec<ReservedRow>) -> String {
    let row = |row: ReservedRow| {
        let (first, last) = (row.first.to_string(), row.last.to_string());
        vec![first, last, row.origin, row.pools.join(" "), row.leases.0.to_string()]
    };
    table(width, &["FIRST", "LAST", "RESERVED BY", "POOLS", ">LEASES"], rows.into_iter().map(row))
}

/// `gipam unreserve RANGE`.
pub(super) fn unreserve(
    asking: &Asking,
    range: &str,
    pool: Option<&str>,
    dry_run: bool,
) -> Result<(), CliError> {
    changed(asking, "/v1/unreserve", &json!({"range": range, "pool": pool, "dry_run": dry_run}))
}

/// `gipam pin NAME ADDRESS`.
pub(super) fn pin(asking: &Asking, asked: &PinArgs) -> Result<(), CliError> {
    let PinArgs { holder, at } = asked;
    let body = json!({"holder": holder, "address": at.address, "subnet": at.subnet, "dry_run": at.dry_run});
    changed(asking, "/v1/pin", &body)
}

/// `gipam unpin ADDRESS`.
pub(super) fn unpin(asking: &Asking, asked: &UnpinArgs) -> Result<(), CliError> {
    let body = json!({"address": asked.address, "subnet": asked.subnet, "dry_run": asked.dry_run});
    changed(asking, "/v1/unpin", &body)
}

/// `gipam pool add`, `close` and `resize`.
pub(super) fn pool(asking: &Asking, asked: &PoolArgs) -> Result<(), CliError> {
    let cut = |action: &str, cut: &PoolCut| {
        json!({"action": action, "name": cut.pool, "v4": cut.v4, "v4_size": cut.v4_size, "v6": cut.v6,
            "v6_size": cut.v6_size, "dry_run": cut.dry_run})
    };
    let body = match asked {
        PoolArgs::Add(asked) => cut("add", asked),
        PoolArgs::Resize(asked) => cut("resize", asked),
        PoolArgs::Close { pool, dry_run } => json!({"action": "close", "name": pool, "dry_run": dry_run}),
    };
    changed(asking, "/v1/pool", &body)
}

/// Has it done, and says what was.
fn changed(asking: &Asking, path: &str, body: &Value) -> Result<(), CliError> {
    let answer = asking.change(path, body)?;
    if asking.json {
        return output::json(path, &answer);
    }
    output::text(&told(output::read(path, &answer)?))
}

fn told(row: ChangedRow) -> String {
    let mut lines: Vec<String> = row.changes.iter().map(|line| escaped(line)).collect();
    if !row.changed {
        lines.push("nothing changes".to_owned());
    }
    lines.extend(row.notes.iter().map(|note| format!("note: {}", escaped(note))));
    if row.changed && row.dry_run {
        lines.push("this was a rehearsal: nothing was changed".to_owned());
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
