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
use crate::renumber::run::{RefusedMove, RenumberPlan, perform, plan};
use crate::renumber::state::{RunState, unfinished_at};
use crate::server::client::blocking;
use crate::text::counted;
use crate::view::rows::{PoolRow, Status, SubnetRow};
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
    let unfinished = if yes { None } else { unfinished_at(&books)? };
    let all = match yes {
        true => {
            let state = RunState::open(&books)?;
            let mut all = Vec::new();
            if let Some(network) = state.unfinished()? {
                say(asking, &format!("finishing network {}", escaped(&network.name)))?;
                act(asking, &engine, &state, network.clone())?;
                all.push(network);
            }
            let todo = wanted(read(asking, &engine)?, names, all.first())?;
            report_refused(&todo);
            for network in todo.moves {
                say(asking, &head(&network))?;
                act(asking, &engine, &state, network.clone())?;
                all.push(network);
            }
            return finished(asking, &all, todo.refused.len());
        }
        false => wanted(read(asking, &engine)?, names, unfinished.as_ref())?,
    };
    if asking.json {
        let refused = all.refused.iter().map(|it| (it.name.as_str(), it.why.to_string()));
        let refused: BTreeMap<&str, String> = refused.collect();
        let answer = json!({"unfinished": unfinished, "moves": all.moves, "refused": refused});
        return output::json("renumber", answer.to_string().as_bytes());
    }
    let mut text = String::new();
    if let Some(network) = &unfinished {
        text.push_str(&format!("an earlier run did not finish network {}\n", escaped(&network.name)));
    }
    all.moves.iter().for_each(|network| text.push_str(&drawn(network)));
    all.refused.iter().for_each(|it| text.push_str(&format!("{}\n", refusal(it))));
    text.push_str(match (text.is_empty(), all.moves.is_empty() && unfinished.is_none()) {
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

/// The characters of an id that `docker network ls` shows. Shorter words are not ids, as an id may begin with any of them.
const SHORT_ID: usize = 12;

/// The moves of the networks with these names, ids or Compose projects; all without names. `unfinished` is the network that an
/// earlier run has begun to move.
fn wanted(
    all: RenumberPlan,
    names: &[String],
    unfinished: Option<&NetworkMove>,
) -> Result<RenumberPlan, CliError> {
    if names.is_empty() {
        return Ok(all);
    }
    let is = |network: &NetworkMove, name: &str| {
        let by_id = name.len() >= SHORT_ID && network.id.starts_with(name);
        network.name == name || network.project.as_deref() == Some(name) || by_id
    };
    let is_refused = |it: &RefusedMove, name: &str| it.name == name || it.project.as_deref() == Some(name);
    let known = |name: &String| {
        all.moves.iter().chain(unfinished).any(|network| is(network, name))
            || all.refused.iter().any(|it| is_refused(it, name))
    };
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        let text = format!("no network or project {unknown} is on an earlier prefix; see: gipam renumber");
        return Err(CliError::Admin(Refusal::new(ErrorKind::Missing, text)));
    }
    let RenumberPlan { mut moves, mut refused } = all;
    moves.retain(|network| names.iter().any(|name| is(network, name)));
    refused.retain(|it| names.iter().any(|name| is_refused(it, name)));
    Ok(RenumberPlan { moves, refused })
}

fn act(asking: &Asking, engine: &Path, state: &RunState, network: NetworkMove) -> Result<(), CliError> {
    let mut broken = Ok(());
    let mut tell = |line: &str| {
        if broken.is_ok() {
            broken = say(asking, &format!("  {}", escaped(line)));
        }
    };
    let pools: Vec<PoolRow> = from_daemon(asking, "/v1/pools")?;
    blocking(perform(engine, state, network, &pools, &mut tell))?;
    broken
}

fn refusal(refused: &RefusedMove) -> String {
    let RefusedMove { name, why, .. } = refused;
    format!("{}: cannot be moved: {}", escaped(name), escaped(&why.to_string()))
}

fn report_refused(todo: &RenumberPlan) {
    todo.refused.iter().for_each(|it| output::note(&refusal(it)));
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
        let when = if container.running { "is connected" } else { "starts" };
        let chosen =
            container.chosen.then(|| format!("addresses that are not fixed are chosen when it {when}"));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn network(name: &str, id: &str, project: &str) -> NetworkMove {
        NetworkMove {
            name: name.to_owned(),
            id: id.to_owned(),
            project: Some(project.to_owned()),
            subnets: Vec::new(),
            create: json!({}),
            containers: Vec::new(),
        }
    }

    fn plan_of(moves: &[NetworkMove]) -> RenumberPlan {
        let why = RenumberError("container db is paused".to_owned());
        let refused = RefusedMove { name: "bank_default".to_owned(), project: Some("bank".to_owned()), why };
        RenumberPlan { moves: moves.to_vec(), refused: vec![refused] }
    }

    fn chosen(word: &str, unfinished: Option<&NetworkMove>) -> Option<(Vec<String>, usize)> {
        let all =
            [network("shop_default", "ab0123456789cdef", "shop"), network("b", "c0123456789abcde", "x")];
        let found = wanted(plan_of(&all), &[word.to_owned()], unfinished).ok()?;
        Some((found.moves.into_iter().map(|it| it.name).collect(), found.refused.len()))
    }

    #[test]
    fn a_word_selects_networks_by_name_project_or_the_id_that_docker_shows() {
        let one = |name: &str| Some((vec![name.to_owned()], 0));
        for (word, found) in
            [("shop_default", "shop_default"), ("shop", "shop_default"), ("ab0123456789", "shop_default")]
        {
            assert_eq!(chosen(word, None), one(found), "{word}");
        }
        assert_eq!(chosen("b", None), one("b"));
        for word in ["", "a", "ab", "ab012345678", "nothing"] {
            assert_eq!(chosen(word, None), None, "{word}");
        }
    }

    #[test]
    fn a_refused_network_is_known_by_its_project_and_a_finished_one_by_its_name() {
        for word in ["bank", "bank_default"] {
            assert_eq!(chosen(word, None), Some((Vec::new(), 1)), "{word}");
        }
        let moved = network("done_default", "d", "done");
        for word in ["done", "done_default"] {
            assert_eq!(chosen(word, Some(&moved)), Some((Vec::new(), 0)), "{word}");
        }
    }
}
