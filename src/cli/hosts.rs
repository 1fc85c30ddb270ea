//! `gipam hosts` and `gipam hosts forget NAME`: the hosts of the plan, and which of them are gone for good.
//!
//! Promises: a host is forgotten only after its name was typed out, or with `--yes`; what that means stands before it. Without a
//! terminal and without `--yes`, nothing is asked and nothing changes.

use std::io::{self, BufRead, IsTerminal};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::actions::done;
use super::error::CliError;
use super::output::{self, Asking};
use super::paper::span;
use super::tables::{Width, escaped, optional, table};
use super::views::list;
use crate::text::counted;
use crate::view::rows::{HostRow, SliceRow, age};
use crate::view::{ErrorKind, Refusal};

/// How many slices of a host are listed.
const LISTED: usize = 6;

/// `gipam hosts`.
pub(super) fn hosts(asking: &Asking) -> Result<(), CliError> {
    list(asking, "/v1/hosts", ("host", &[]), |rows: Vec<HostRow>| hosts_table(asking.width, rows))
}

fn hosts_table(width: Width, rows: Vec<HostRow>) -> String {
    let row = |row: HostRow| {
        let state = match (row.own, row.state.as_str()) {
            (true, "active") => "this host".to_owned(),
            (true, state) => format!("this host, {state}"),
            (false, state) => state.to_owned(),
        };
        let via: Vec<String> = row.via.iter().map(ToString::to_string).collect();
        let slices = row.slices.map_or_else(String::new, |slices| slices.to_string());
        let sign = sign(width, &row);
        vec![row.host, state, optional(Some(via.join(" ")).as_deref()), slices, sign]
    };
    table(width, &["HOST", "STATE", "VIA", ">SLICES", "LAST SIGN"], rows.into_iter().map(row))
}

/// When a host gave its last sign of life. Hosts of a plan file give none.
fn sign(width: Width, row: &HostRow) -> String {
    match (&row.sign, row.beat) {
        (Some(sign), _) => width.time(Some(sign)),
        (None, Some(beat)) if beat > 0 && !row.own => "before this driver started".to_owned(),
        _ => optional(None),
    }
}

#[derive(Deserialize)]
struct ForgottenAnswer {
    host: String,
    slices: Vec<String>,
}

/// `gipam hosts forget NAME [--yes]`.
pub(super) fn forget(asking: &Asking, name: &str, yes: bool) -> Result<(), CliError> {
    let rows: Vec<HostRow> = from_daemon(asking, "/v1/hosts")?;
    let is_meant =
        |row: &HostRow| row.host.eq_ignore_ascii_case(name) || row.id.as_deref().is_some_and(|id| id == name);
    let Some(host) = rows.into_iter().find(is_meant) else {
        let text = format!("the plan has no host {name}; see gipam hosts");
        return Err(CliError::Admin(Refusal::new(ErrorKind::Missing, text)));
    };
    if !yes {
        let slices: Vec<SliceRow> = from_daemon(asking, "/v1/slices")?;
        let slices = slices.into_iter().filter(|slice| slice.host.as_deref() == Some(&host.host));
        let slices: Vec<String> = slices.map(|slice| slice.slice).collect();
        confirm(&host, &slices, asking.json)?;
    }
    let body = json!({"host": host.id.as_deref().unwrap_or(&host.host)});
    done(asking, "/v1/forget", &body, |ForgottenAnswer { host, slices }| {
        let taken = match slices.len() {
            0 => "it had no slices".to_owned(),
            n => format!("other hosts may take its {}", counted(n as u64, "slice")),
        };
        format!("host {} is forgotten: {taken}\n", escaped(&host))
    })
}

/// The rows of a view. The books alone do not know what other hosts have.
fn from_daemon<T: DeserializeOwned>(asking: &Asking, path: &str) -> Result<Vec<T>, CliError> {
    let answer = asking.daemon_view(path).map_err(|error| CliError::Admin(error.into()))?;
    output::read(path, &answer)
}

/// What it means to forget this host, and its name typed out by a person.
fn confirm(host: &HostRow, slices: &[String], json: bool) -> Result<(), CliError> {
    let name = escaped(&host.host);
    if json || !io::stdin().is_terminal() {
        return Err(CliError::Usage(format!(
            "host {name} is not forgotten: nobody can type its name here; if it is gone for good, repeat with --yes"
        )));
    }
    output::note(&meaning(host, slices));
    output::note(&format!("type the name of the host to forget it ({name}):"));
    let mut typed = String::new();
    let read = io::stdin().lock().read_line(&mut typed);
    if read.is_err() || !typed.trim().eq_ignore_ascii_case(&host.host) {
        return Err(CliError::Usage(format!("host {name} is not forgotten: its name was not typed")));
    }
    Ok(())
}

/// The host's last sign, its slices, and what follows.
fn meaning(host: &HostRow, slices: &[String]) -> String {
    let name = escaped(&host.host);
    let sign = match (host.sign.as_deref(), host.sign.as_deref().and_then(age)) {
        (Some(at), Some(age)) => format!("{} ago ({at})", span(age)),
        _ => "before this driver started".to_owned(),
    };
    let listed = slices.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
    let slices = match slices.len() {
        0 => "no slices".to_owned(),
        n if n > LISTED => format!("{}: {listed} and {} more", counted(n as u64, "slice"), n - LISTED),
        n => format!("{}: {listed}", counted(n as u64, "slice")),
    };
    format!(
        "host {name}: last sign of life {sign}; {slices}\n\
         Forgetting a host is final: from then on, other hosts take its slices and give their addresses.\n\
         If {name} is still alive, its addresses are then given twice. Shut it down or cut it off from the network first.\n\
         It can take part again only as a new host, with gipam join."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> HostRow {
        HostRow { host: "b".to_owned(), state: "active".to_owned(), beat: Some(7), ..HostRow::default() }
    }

    #[test]
    fn what_it_means_to_forget_a_host_names_its_sign_its_slices_and_the_danger() {
        let slices: Vec<String> = (0..8).map(|n| format!("10.20.{}.0/20", n * 16)).collect();
        let text = meaning(&host(), &slices);
        assert!(
            text.contains("host b: last sign of life before this driver started; 8 slices: 10.20.0.0/20,"),
            "{text}"
        );
        assert!(text.contains("10.20.80.0/20 and 2 more"), "{text}");
        assert!(text.contains("If b is still alive, its addresses are then given twice."), "{text}");
        assert!(meaning(&host(), &[]).contains("no slices"));
    }

    #[test]
    fn hosts_are_listed_with_their_state_and_their_last_sign() {
        let own = HostRow { own: true, slices: Some(2), ..host() };
        let gone = HostRow { state: "forgotten".to_owned(), own: true, beat: None, ..host() };
        let text = hosts_table(Width::default(), vec![host(), own, gone]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("active") && lines[1].contains("before this driver started"), "{text}");
        assert!(lines[2].contains("this host ") && lines[2].ends_with("2  -"), "{text}");
        assert!(lines[3].contains("this host, forgotten") && !lines[3].contains("before"), "{text}");
    }
}
