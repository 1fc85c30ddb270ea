//! `gipam renumber [NAME...] [--yes]`: prints, or performs, how networks on an earlier prefix move to the current one.
//!
//! Promises: without `--yes`, nothing changes; a run that was cut off is finished first. `renumber` decides and acts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::error::CliError;
use super::output::{self, Asking};
use super::tables::escaped;
use crate::renumber::RenumberError;
use crate::renumber::moves::NetworkMove;
use crate::renumber::run::{RenumberPlan, perform, plan};
use crate::renumber::state::{RunState, unfinished_at};
use crate::server::client::blocking;
use crate::text::counted;
use crate::view::rows::{Status, SubnetRow};
use crate::view::{ErrorKind, Refusal};

impl From<RenumberError> for CliError {
    fn from(error: RenumberError) -> Self {
        Self::Admin(Refusal::new(ErrorKind::Invalid, error.to_string()))
    }
}

/// `gipam renumber`.
pub(super) fn renumber(
    asking: &Asking,
    names: &[String],
    yes: bool,
    engine: Option<&Path>,
) -> Result<(), CliError> {
    let engine = engine.map(Path::to_owned).or_else(|| asking.engine()).ok_or_else(|| {
        CliError::Usage("gc.engine is \"\", so name the Engine's socket with --engine".to_owned())
    })?;
    let status: Status = from_daemon(asking, "/v1/status")?;
    let books = PathBuf::from(&status.books);
    let mut all = match yes {
        true => {
            let state = RunState::open(&books)?;
            let mut all = Vec::new();
            if let Some(network) = state.unfinished()? {
                say(asking, &format!("finishing network {}", escaped(&network.name)))?;
                act(asking, &engine, &state, network.clone())?;
                all.push(network);
            }
            let todo = wanted(read(asking, &engine)?, names)?;
            report_refused(&todo);
            for network in todo.moves {
                say(asking, &head(&network))?;
                state.write(&network)?;
                act(asking, &engine, &state, network.clone())?;
                all.push(network);
            }
            return finished(asking, &all, todo.refused.len());
        }
        false => wanted(read(asking, &engine)?, names)?,
    };
    let unfinished = unfinished_at(&books)?;
    if asking.json {
        let refused: BTreeMap<&str, String> =
            all.refused.iter().map(|(name, why)| (name.as_str(), why.to_string())).collect();
        let answer = json!({"unfinished": unfinished, "moves": all.moves, "refused": refused});
        return output::json("renumber", answer.to_string().as_bytes());
    }
    let mut text = String::new();
    if let Some(network) = unfinished {
        text.push_str(&format!("an earlier run did not finish network {}\n", escaped(&network.name)));
    }
    all.moves.iter().for_each(|network| text.push_str(&drawn(network)));
    all.refused.retain(|(name, why)| {
        text.push_str(&format!("{}: cannot be moved: {}\n", escaped(name), escaped(&why.to_string())));
        false
    });
    text.push_str(match (text.is_empty(), all.moves.is_empty()) {
        (true, _) => "no network is on an earlier prefix\n",
        (false, true) => "",
        (false, false) => "nothing was changed; to do it: gipam renumber --yes\n",
    });
    output::text(&text)
}

fn finished(asking: &Asking, all: &[NetworkMove], refused: usize) -> Result<(), CliError> {
    if asking.json {
        return output::json("renumber", json!({"moved": all}).to_string().as_bytes());
    }
    output::text(&match (all.len(), refused) {
        (0, 0) => "no network is on an earlier prefix\n".to_owned(),
        (moved, _) => format!("{} moved\n", counted(moved, "network")),
    })?;
    match refused {
        0 => Ok(()),
        refused => {
            Err(RenumberError(format!("{} cannot be moved; see above", counted(refused, "network"))).into())
        }
    }
}

fn read(asking: &Asking, engine: &Path) -> Result<RenumberPlan, CliError> {
    let rows: Vec<SubnetRow> = from_daemon(asking, "/v1/subnets")?;
    Ok(blocking(plan(engine, &rows))?)
}

/// The moves of the networks with these names, ids or Compose projects; all without names.
fn wanted(all: RenumberPlan, names: &[String]) -> Result<RenumberPlan, CliError> {
    if names.is_empty() {
        return Ok(all);
    }
    let is = |network: &NetworkMove, name: &str| {
        network.name == name || network.project.as_deref() == Some(name) || network.id.starts_with(name)
    };
    let known = |name: &String| {
        all.moves.iter().any(|network| is(network, name))
            || all.refused.iter().any(|(other, _)| other == name)
    };
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let text = format!("no network or project {unknown} is on an earlier prefix; see: gipam renumber");
        return Err(CliError::Admin(Refusal::new(ErrorKind::Missing, text)));
    }
    let RenumberPlan { mut moves, mut refused } = all;
    moves.retain(|network| names.iter().any(|name| is(network, name)));
    refused.retain(|(other, _)| names.contains(other));
    Ok(RenumberPlan { moves, refused })
}

fn act(asking: &Asking, engine: &Path, state: &RunState, network: NetworkMove) -> Result<(), CliError> {
    let mut broken = Ok(());
    let mut tell = |line: &str| {
        if broken.is_ok() {
            broken = say(asking, &format!("  {}", escaped(line)));
        }
    };
    blocking(perform(engine, state, network, &mut tell))?;
    broken
}

fn report_refused(todo: &RenumberPlan) {
    for (name, why) in &todo.refused {
        output::note(&format!("{}: cannot be moved: {}", escaped(name), escaped(&why.to_string())));
    }
}

fn say(asking: &Asking, line: &str) -> Result<(), CliError> {
    if asking.json { Ok(()) } else { output::text(&format!("{line}\n")) }
}

fn head(network: &NetworkMove) -> String {
    let project = network.project.as_ref().map(|project| format!(" (project {})", escaped(project)));
    let moves: Vec<String> = network
        .subnets
        .iter()
        .map(|it| match it.from == it.to {
            true => format!("{} stays", it.from),
            false => format!("{} becomes {}", it.from, it.to),
        })
        .collect();
    format!("network {}{}: {}", escaped(&network.name), project.unwrap_or_default(), moves.join(", "))
}

fn drawn(network: &NetworkMove) -> String {
    let mut text = head(network) + "\n";
    if network.containers.is_empty() {
        text.push_str("  no container is attached: it is removed and created again\n");
    }
    for container in &network.containers {
        let fixed: Vec<String> = container
            .fixed
            .iter()
            .filter(|it| it.from != it.to)
            .map(|it| format!("{} becomes {}", it.from, it.to))
            .collect();
        let chosen = container.chosen.then(|| "other addresses are chosen when it is connected".to_owned());
        let what: Vec<String> = fixed.into_iter().chain(chosen).collect();
        let state = if container.running { "keeps running" } else { "is stopped" };
        text.push_str(&format!("  {} {state}: {}\n", escaped(&container.name), what.join(", ")));
    }
    text
}

fn from_daemon<T: serde::de::DeserializeOwned>(asking: &Asking, path: &str) -> Result<T, CliError> {
    let answer = asking.daemon_view(path).map_err(|error| CliError::Admin(error.into()))?;
    output::read(path, &answer)
}
