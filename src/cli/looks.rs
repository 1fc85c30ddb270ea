//! `gipam who`, `map`, `explain` and `doctor`: detailed answers.
//!
//! Promises: all but `doctor` send one request, like the views, and `--json` prints the answer as received. Changes nothing.

use super::args::Explain;
use super::error::CliError;
use super::output::{self, Asking};
use super::picture;
use super::progress::ShownLine;
use super::tables::{Width, escaped, optional, pairs, time};
use super::views::{history_table, query, show};
use crate::config::{Options, Surroundings};
use crate::doctor::{self, Verdict};
use crate::view::map::MapRow;
use crate::view::rows::{Explanation, WhoRow};

/// `gipam who ADDRESS|NAME`.
pub(super) fn who(asking: &Asking, address: &str) -> Result<(), CliError> {
    show(asking, &query("/v1/who", &[("address", Some(address))]), |rows: Vec<WhoRow>| {
        rows.into_iter().map(|row| known(asking.width, row)).collect::<Vec<_>>().join("\n")
    })
}

fn known(width: Width, row: WhoRow) -> String {
    let mut lines = vec![("address", row.address.to_string()), ("state", row.state)];
    if let Some(lease) = row.lease {
        lines.extend([
            ("since", time(lease.since.as_deref())),
            ("kind", lease.kind.as_deref().unwrap_or("unknown").to_owned()),
            ("holder", optional(lease.holder.as_deref())),
            ("network", optional(lease.network.as_deref())),
            ("container", optional(lease.container.as_deref())),
            ("mac", optional(lease.mac.as_deref())),
            ("space", lease.space.to_string()),
            ("pool id", optional(lease.id.as_deref())),
        ]);
    } else if let Some(holder) = row.last_holder {
        lines.push(("last holder", holder));
    }
    lines.push((
        "subnet",
        row.subnet.unwrap_or_else(|| "none: no held subnet contains this address".to_owned()),
    ));
    lines.push(("pool", row.pool.unwrap_or_else(|| "none".to_owned())));
    if let (Some(host), Some(slice)) = (row.host, row.slice) {
        lines.push(("host", format!("{host}: the address lies in its slice {slice}")));
    }
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
pub(super) fn map(asking: &Asking, of: Option<&str>) -> Result<(), CliError> {
    // Programs get all segments, however many there are.
    let size = |most: u16| (!asking.json).then(|| most.to_string());
    let (columns, lines) = (size(picture::COLUMNS), size(picture::LINES));
    let path = query("/v1/map", &[("of", of), ("columns", columns.as_deref()), ("lines", lines.as_deref())]);
    show(asking, &path, |rows: Vec<MapRow>| {
        let drawn = |map: &MapRow| {
            let why = map.unusable.as_ref().map(|why| format!("unusable: {}\n", escaped(why)));
            picture::drawn(map, asking.colour) + &why.unwrap_or_default()
        };
        rows.iter().map(drawn).collect::<Vec<_>>().join("\n")
    })
}

/// `gipam explain --pool ... --address ...`.
pub(super) fn explain(asking: &Asking, asked: &Explain) -> Result<(), CliError> {
    let values = [
        ("pool", asked.pool.as_deref()),
        ("size", asked.size.as_deref()),
        ("address", asked.address.as_deref()),
        ("holder", asked.holder.as_deref()),
        ("mac", asked.mac.as_deref()),
    ];
    show(asking, &query("/v1/explain", &values), |rows: Vec<Explanation>| {
        rows.into_iter().map(explained).collect::<Vec<_>>().join("\n")
    })
}

fn explained(row: Explanation) -> String {
    let verdict = match (row.given, row.refused, row.depends) {
        (Some(given), ..) => format!("would be given: {given}"),
        (None, _, Some(depends)) => format!("depends on: {depends}"),
        (None, refused, None) => format!("would be refused: {}", refused.unwrap_or_default()),
    };
    let steps: Vec<(&str, String)> =
        row.steps.iter().map(|step| (step.what.as_str(), step.found.clone())).collect();
    format!("{}\n{}{}\n", escaped(&row.question), indented(&pairs(&steps)), escaped(&verdict))
}

/// `gipam doctor`.
pub(super) fn doctor(flags: &Options, json: bool, surroundings: &Surroundings) -> Result<(), CliError> {
    let examining = ShownLine::new(json, surroundings).work("examining this host");
    let findings = doctor::examine(flags, surroundings, &doctor::BooksPlace { root: "/".into() });
    drop(examining);
    let wrong = findings.iter().filter(|finding| finding.verdict == Verdict::Wrong).count();
    if json {
        let value = serde_json::to_value(&findings).unwrap_or_default();
        output::text(&output::json_text(&value))?;
    } else {
        output::text(&grouped(&findings))?;
    }
    if wrong > 0 { Err(CliError::Unfit(wrong)) } else { Ok(()) }
}

/// `gipam doctor --edge`.
pub(super) fn doctor_edge(json: bool, surroundings: &Surroundings) -> Result<(), CliError> {
    let asking = ShownLine::new(json, surroundings).work("asking the router");
    let cases = doctor::edge_cases()
        .map_err(|source| CliError::Read { path: "the addresses and routes of this host".into(), source })?;
    drop(asking);
    if json {
        return output::text(&output::json_text(&serde_json::to_value(&cases).unwrap_or_default()));
    }
    let texts: Vec<String> = cases.iter().map(doctor::EdgeFinding::text).collect();
    match texts.is_empty() {
        true => output::text(
            "# No IPv6 prefix leads to this host: it has no default route, or no global address by which to tell.\n\
             # Ask the provider for a prefix; see docs/ipv6.md.\n",
        ),
        false => output::text(&texts.join("\n")),
    }
}

/// The verdicts, the worst first, and the words for them.
const VERDICTS: [(Verdict, &str); 4] = [
    (Verdict::Wrong, "WRONG"),
    (Verdict::Warning, "WARNING"),
    (Verdict::Unknown, "unknown"),
    (Verdict::Well, "well"),
];

/// One line per kind, the worst first, and the counts at the end.
fn grouped(findings: &[doctor::DoctorFinding]) -> String {
    let (mut text, mut counts) = (String::new(), Vec::new());
    for (verdict, word) in VERDICTS {
        let all: Vec<&doctor::DoctorFinding> =
            findings.iter().filter(|finding| finding.verdict == verdict).collect();
        if !all.is_empty() {
            let plural = if verdict == Verdict::Warning && all.len() > 1 { "s" } else { "" };
            counts.push(format!("{} {}{plural}", all.len(), word.to_lowercase()));
        }
        let mut kinds: Vec<(HolderKind<'_>, Vec<&doctor::DoctorFinding>)> = Vec::new();
        for finding in all {
            let kind = (kind(&finding.check), finding.advice.as_deref());
            match kinds.iter_mut().find(|(known, _)| *known == kind && is_many(kind.0)) {
                Some((_, same)) => same.push(finding),
                None => kinds.push((kind, vec![finding])),
            }
        }
        for ((kind, advice), same) in kinds {
            let Some(first) = same.first() else { continue };
            let alike = same.iter().all(|finding| finding.found == first.found);
            let what = match (same.len(), alike) {
                (1, _) => format!("{}: {}", first.check, first.found),
                (count, true) => format!("{count} {kind}s: {}", first.found),
                (count, false) => {
                    format!("{count} {kind}s, such as {}: {}", first.check, first.found)
                }
            };
            text.push_str(&format!("{word:<8}{}\n", escaped(&what)));
            text.extend(advice.map(|advice| format!("        {}\n", escaped(advice))));
        }
    }
    text + &counts.join(", ") + "\n"
}

/// What a check is about, and its advice.
type HolderKind<'a> = (&'a str, Option<&'a str>);

/// The kind of object that a check is about: `pool` for `pool lan (192.0.2.0/24)`.
fn kind(check: &str) -> &str {
    match check.split_once(' ') {
        Some((kind, _)) if is_many(kind) => kind,
        _ => check,
    }
}

/// Whether a host can have many objects of this kind.
fn is_many(kind: &str) -> bool {
    matches!(kind, "pool" | "driver" | "hook")
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(check: &str, verdict: Verdict, found: &str, advice: Option<&str>) -> doctor::DoctorFinding {
        let advice = advice.map(str::to_owned);
        doctor::DoctorFinding { check: check.to_owned(), verdict, found: found.to_owned(), advice }
    }

    #[test]
    fn the_worst_findings_come_first_and_those_of_one_kind_share_a_line() {
        let mut findings = vec![finding("clock", Verdict::Well, "2026-01-02T03:04:05Z", None)];
        for n in 0..300 {
            findings.push(finding(&format!("pool p{n} (198.18.{n}.0/24)"), Verdict::Well, "unused", None));
        }
        findings.push(finding("routes", Verdict::Unknown, "cannot be read", None));
        for n in 0..2 {
            let found = format!("lies in the on-link route {n}");
            findings.push(finding(&format!("pool q{n}"), Verdict::Wrong, &found, Some("use another pool")));
        }
        findings.push(finding("daemon", Verdict::Wrong, "not running", Some("start it")));
        assert_eq!(
            grouped(&findings),
            "WRONG   2 pools, such as pool q0: lies in the on-link route 0\n        use another pool\n\
             WRONG   daemon: not running\n        start it\n\
             unknown routes: cannot be read\n\
             well    clock: 2026-01-02T03:04:05Z\n\
             well    300 pools: unused\n\
             3 wrong, 1 unknown, 301 well\n"
        );
    }
}
