//! `gipam who`, `map` and `explain`: closer looks.
//!
//! Promises: like the views, one request each, `--json` passes its answer on. Changes nothing.

use std::io::IsTerminal;

use super::args::Explain;
use super::error::Error;
use super::output::{self, Asking};
use super::picture;
use super::progress::Shown;
use super::tables::{Width, escaped, optional, pairs, time};
use super::views::{history_table, query, show};
use crate::admin::rows::{ExplainRow, MapRow, WhoRow};
use crate::config::{Options, Surroundings};
use crate::doctor::{self, Verdict};

/// `gipam who ADDRESS|NAME`.
pub(super) fn who(asking: &Asking, address: &str) -> Result<(), Error> {
    show(asking, &query("/v1/who", &[("address", Some(address))]), |rows: Vec<WhoRow>| {
        rows.into_iter().map(|row| known(asking.width, row)).collect::<Vec<_>>().join("\n")
    })
}

fn known(width: Width, row: WhoRow) -> String {
    let mut lines = vec![("address", row.address.to_string()), ("state", row.state)];
    if let Some(lease) = row.lease {
        lines.extend([
            ("since", time(lease.since.as_deref())),
            ("kind", lease.kind.unwrap_or_else(|| "unknown".to_owned())),
            ("holder", optional(lease.holder.as_deref())),
            ("network", optional(lease.network.as_deref())),
            ("container", optional(lease.container.as_deref())),
            ("mac", optional(lease.mac.as_deref())),
            ("space", lease.space),
            ("pool id", optional(lease.id.as_deref())),
        ]);
    } else if let Some(holder) = row.last_holder {
        lines.push(("last holder", holder));
    }
    lines.push(("subnet", row.subnet.unwrap_or_else(|| "none: no network has a subnet here".to_owned())));
    lines.push(("pool", row.pool.unwrap_or_else(|| "none".to_owned())));
    if row.reserved {
        let by = row.reserved_by.unwrap_or_else(|| "configuration".to_owned());
        lines.push(("reserved", format!("yes ({by}): never given dynamically")));
    }
    let history = if row.history.is_empty() {
        String::new()
    } else {
        format!("\n{}", history_table(width, row.history))
    };
    pairs(&lines) + &history
}

/// `gipam map [POOL|SUBNET]`.
pub(super) fn map(asking: &Asking, of: Option<&str>, surroundings: &Surroundings) -> Result<(), Error> {
    let colour = std::io::stdout().is_terminal() && !surroundings.variables.contains_key("NO_COLOR");
    show(asking, &query("/v1/map", &[("of", of)]), |rows: Vec<MapRow>| {
        let drawn = |map: &MapRow| {
            let why = map.unusable.as_ref().map(|why| format!("nothing can be given: {}\n", escaped(why)));
            Some(picture::drawn(map, colour)? + &why.unwrap_or_default())
        };
        rows.iter().filter_map(drawn).collect::<Vec<_>>().join("\n")
    })
}

/// `gipam explain --pool ... --address ...`.
pub(super) fn explain(asking: &Asking, asked: &Explain) -> Result<(), Error> {
    let values = [
        ("pool", asked.pool.as_deref()),
        ("size", asked.size.as_deref()),
        ("address", asked.address.as_deref()),
        ("holder", asked.holder.as_deref()),
        ("mac", asked.mac.as_deref()),
    ];
    show(asking, &query("/v1/explain", &values), |rows: Vec<ExplainRow>| {
        rows.into_iter().map(explained).collect::<Vec<_>>().join("\n")
    })
}

fn explained(row: ExplainRow) -> String {
    let verdict = match (row.given, row.refused) {
        (Some(given), _) => format!("would be given: {given}"),
        (None, refused) => format!("would be refused: {}", refused.unwrap_or_default()),
    };
    let steps: Vec<(&str, String)> =
        row.steps.iter().map(|step| (step.what.as_str(), step.found.clone())).collect();
    format!("{}\n{}{}\n", escaped(&row.question), indented(&pairs(&steps)), escaped(&verdict))
}

/// `gipam doctor`.
pub(super) fn doctor(flags: &Options, json: bool, surroundings: &Surroundings) -> Result<(), Error> {
    let examining = Shown::new(json, surroundings).work("examining this host");
    let findings = doctor::examine(flags, surroundings, &doctor::Place { root: "/".into() });
    drop(examining);
    let wrong = findings.iter().filter(|finding| finding.verdict == Verdict::Wrong).count();
    if json {
        let value = serde_json::to_value(&findings).unwrap_or_default();
        output::text(&output::json_text(&value))?;
    } else {
        output::text(&findings.iter().map(found).collect::<String>())?;
    }
    if wrong > 0 { Err(Error::Unfit(wrong)) } else { Ok(()) }
}

fn found(finding: &doctor::Finding) -> String {
    let word = match finding.verdict {
        Verdict::Well => "well",
        Verdict::Warning => "WARNING",
        Verdict::Wrong => "WRONG",
        Verdict::Unknown => "unknown",
    };
    let line = format!("{word:<8}{}: {}\n", escaped(&finding.check), escaped(&finding.found));
    let advice = finding.advice.as_ref().map(|advice| format!("        {}\n", escaped(advice)));
    line + &advice.unwrap_or_default()
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
