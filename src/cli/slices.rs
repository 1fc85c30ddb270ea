//! `gipam slices` and `gipam routes`: pools that several hosts divide.
//!
//! Promises: the text of routes goes to standard output alone, so that a pipe can apply it; what it lacks is
//! a warning on standard error. Changes nothing and makes no routes.

use super::error::CliError;
use super::output::{self, Asking};
use super::tables::{optional, table};
use super::views::{list, query};
use crate::view::routes::{RouteFormat, text, warnings};
use crate::view::rows::{RouteRow, SliceRow};

/// `gipam slices`.
pub(super) fn slices(asking: &Asking) -> Result<(), CliError> {
    let width = asking.width;
    list(asking, "/v1/slices", ("slice", &[]), |rows: Vec<SliceRow>| {
        let row = |row: SliceRow| {
            let (pool, host) = (optional(row.pool.as_deref()), optional(row.host.as_deref()));
            let state = if row.contested { format!("{} (contested)", row.state) } else { row.state };
            let [used, room] =
                [row.used, row.room].map(|count| count.map_or_else(String::new, |count| count.0.to_string()));
            vec![pool, row.slice, host, state, row.of, used, room]
        };
        let headings = ["POOL", "SLICE", "HOST", "STATE", "=OF", ">USED", ">ROOM"];
        table(width, &headings, rows.into_iter().map(row))
    })
}

/// `gipam routes --format FORMAT [--host NAME]`.
pub(super) fn routes(asking: &Asking, format: &str, host: Option<&str>) -> Result<(), CliError> {
    let path = query("/v1/routes", &[("host", host)]);
    let answer = asking.view(&path)?;
    let rows: Vec<RouteRow> = output::read(&path, &answer)?;
    let format = RouteFormat::parse(format).filter(|_| !asking.json);
    if format.is_none_or(RouteFormat::needs_via) {
        warnings(&rows).iter().for_each(|warning| output::note(warning));
    }
    match format {
        Some(format) => output::text(&text(&rows, format)),
        None => output::json(&path, &answer),
    }
}
