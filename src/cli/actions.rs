//! `gipam import`, `export`, `gc`, `adopt`, `release` and others: commands that change the books or copy them.
//!
//! Promises: a release needs `--force`; an export is written exactly as the daemon sent it.
//! The daemon decides what is allowed.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::error::CliError;
use super::output::{self, Asking};
use super::paper::wrapped;
use super::tables::{Width, escaped, optional, pairs, table};
use crate::config::Surroundings;
use crate::reconcile::Finding;

/// Sends the request to the daemon and prints the answer: as JSON, or as the text that `words` returns.
pub(super) fn done<T: DeserializeOwned>(
    asking: &Asking,
    path: &str,
    body: &Value,
    words: impl FnOnce(T) -> String,
) -> Result<(), CliError> {
    said(asking, path, &asking.change(path, body)?, words)
}

/// Prints an answer: as JSON, or as the text that `words` returns.
fn said<T: DeserializeOwned>(
    asking: &Asking,
    path: &str,
    answer: &[u8],
    words: impl FnOnce(T) -> String,
) -> Result<(), CliError> {
    if asking.json {
        return output::json(path, answer);
    }
    output::text(&words(output::read(path, answer)?))
}

/// `gipam import FILE [--replace]` of a lease file of the old gipam.
pub(super) fn import(asking: &Asking, name: &str, content: &str, replace: bool) -> Result<(), CliError> {
    let answer = asking.import(name, content, replace)?;
    said(asking, "/v1/import", &answer, |taken| format!("imported {name}\n{}", listed(taken)))
}

/// The text of an answer, one line per key.
fn listed(object: Map<String, Value>) -> String {
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let lines: Vec<(&str, String)> = object.iter().map(|(key, value)| (key.as_str(), text(value))).collect();
    pairs(&lines)
}

/// `gipam export`.
pub(super) fn export(asking: &Asking, format: &str) -> Result<(), CliError> {
    let answer = asking.view(&format!("/v1/export?format={format}"))?;
    output::bytes(&answer)
}

/// `gipam backup FILE`.
pub(super) fn backup(asking: &Asking, copy: &Path, surroundings: &Surroundings) -> Result<(), CliError> {
    let answer = asking.backup(&surroundings.directory.join(copy))?;
    said(asking, "/v1/backup", &answer, listed)
}

/// `gipam restore FILE`.
pub(super) fn restore(asking: &Asking, copy: &Path, surroundings: &Surroundings) -> Result<(), CliError> {
    let answer = asking.restore(&surroundings.directory.join(copy))?;
    said(asking, "/v1/restore", &answer, listed)
}

/// `gipam reload [--dry-run]`.
pub(super) fn reload(asking: &Asking, dry_run: bool) -> Result<(), CliError> {
    done(asking, "/v1/reload", &json!({"dry_run": dry_run}), |lines: Vec<String>| match lines.as_slice() {
        [] => "nothing changes\n".to_owned(),
        lines => lines.iter().map(|line| escaped(line) + "\n").collect(),
    })
}

/// `gipam join [--new] [--dry-run] [--restored]`.
pub(super) fn join(asking: &Asking, new: bool, dry_run: bool, restored: bool) -> Result<(), CliError> {
    let body = json!({"new": new, "dry_run": dry_run, "restored": restored});
    done(asking, "/v1/join", &body, |lines: Vec<String>| {
        lines.iter().map(|line| escaped(line) + "\n").collect()
    })
}

/// `gipam gc [--apply] [--new-engine]`.
pub(super) fn gc(asking: &Asking, apply: bool, new_engine: bool) -> Result<(), CliError> {
    let body = json!({"apply": apply, "new_engine": new_engine});
    done(asking, "/v1/gc", &body, |findings: Vec<Finding>| match findings.is_empty() {
        true => "books and Engine agree: no differences\n".to_owned(),
        false => found(asking.width, findings),
    })
}

/// Each piece of advice once, in order.
pub(super) fn once<'a>(all: impl Iterator<Item = &'a Option<String>>) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    all.flatten().filter(|advice| seen.insert(*advice)).cloned().collect()
}

/// Findings as a table, followed by what a person can do, each piece of advice once.
fn found(width: Width, findings: Vec<Finding>) -> String {
    let advice = once(findings.iter().map(|finding| &finding.advice));
    let row = |finding: Finding| {
        let first_seen = width.time(finding.first_seen.as_deref());
        let (address, holder) = (optional(finding.address.as_deref()), optional(finding.holder.as_deref()));
        vec![finding.what, finding.subnet, address, holder, first_seen, finding.why, finding.action]
    };
    let headings = ["WHAT", "SUBNET", "=ADDRESS", "=HOLDER", "=DEAD SINCE", "~WHY", "~WHAT FOLLOWS"];
    let mut text = table(width, &headings, findings.into_iter().map(row));
    for said in advice {
        text.push_str(&format!("\n{}.\n", wrapped(&said, 100, 100).join("\n")));
    }
    text
}

/// `gipam adopt SUBNET POOLID`.
pub(super) fn adopt(asking: &Asking, subnet: &str, id: &str) -> Result<(), CliError> {
    let line = |finding: Finding| format!("{}: {}\n", finding.subnet, finding.action);
    let lines = |findings: Vec<Finding>| findings.into_iter().map(line).collect();
    done(asking, "/v1/adopt", &json!({"subnet": subnet, "id": id}), lines)
}

/// `gipam release SUBNET [ADDRESS] --force [--without-engine]`.
pub(super) fn release(
    asking: &Asking,
    subnet: &str,
    address: Option<&str>,
    force: bool,
    without_engine: bool,
) -> Result<(), CliError> {
    // The daemon determines whether a single word is a subnet or an address.
    let what = address.map_or_else(|| subnet.to_owned(), |address| format!("{address} of {subnet}"));
    if !force {
        return Err(CliError::Usage(format!(
            "{what} may still be in use; look up its holder with gipam leases, then repeat with --force, which asks the \
             Engine first"
        )));
    }
    let body = json!({
        "subnet": subnet, "address": address, "force": force, "without_engine": without_engine
    });
    done(asking, "/v1/release", &body, |_: Value| format!("released {what}\n"))
}
