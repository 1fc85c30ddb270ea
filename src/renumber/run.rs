//! Performs a move on the Engine, or finishes one that was cut off.
//!
//! Promises: every step can be repeated: what is done already is found done; a container that appears meanwhile is taken
//! along; a container that is gone is passed over; a base that has changed again is followed as long as the new network does
//! not exist. If a step fails, the state stays on disk for the next run.

use std::path::Path;

use serde_json::Value;

use super::RenumberError;
use super::containers::restarts;
use super::moves::{NetworkMove, PROJECT, network_move, subnets};
use super::obstacles::{has, obstacle};
use super::state::RunState;
use crate::docker::control;
use crate::plan::prefix::Prefix;
use crate::view::rows::{PoolRow, SubnetRow, age};

/// How many times a network is cleared of containers that appear while it is removed.
const ROUNDS: u32 = 3;

/// A container that ran for this many seconds after a restart is not restarted again and again. Docker forgets earlier restarts,
/// too, after ten seconds.
const SETTLED: i64 = 10;

/// A network or subnet that cannot be moved, and why.
#[derive(Debug)]
pub struct RefusedMove {
    /// The name of the network, or the prefix of a subnet whose network is not known.
    pub name: String,
    /// The Compose project that it belongs to.
    pub project: Option<String>,
    pub why: RenumberError,
}

/// What is to be done: the networks that move, and those that cannot.
#[derive(Debug, Default)]
pub struct RenumberPlan {
    pub moves: Vec<NetworkMove>,
    pub refused: Vec<RefusedMove>,
}

/// Reads the Engine and decides for each network with a stale subnet. `rows` are all subnets of the books.
pub async fn plan(engine: &Path, rows: &[SubnetRow]) -> Result<RenumberPlan, RenumberError> {
    let networks = control::networks(engine).await?;
    let mut plan = RenumberPlan::default();
    let mut done: Vec<&str> = Vec::new();
    for row in rows.iter().filter(|row| row.stale.is_some()) {
        let mut refuse = |name: &str, project: Option<&str>, why: RenumberError| {
            let (name, project) = (name.to_owned(), project.map(str::to_owned));
            plan.refused.push(RefusedMove { name, project, why });
        };
        if row.space != "local" {
            let why = "a swarm holds it; remove and create its network with docker network on a manager";
            refuse(&row.prefix, None, RenumberError(why.to_owned()));
            continue;
        }
        let Some(network) = networks.iter().find(|network| has(network, row)) else {
            refuse(&row.prefix, None, RenumberError(unseen(&networks, row)));
            continue;
        };
        let id = network["Id"].as_str().unwrap_or_default();
        if done.contains(&id) {
            continue;
        }
        done.push(id);
        let name = network["Name"].as_str().unwrap_or_default();
        match one(engine, id, name, rows).await {
            Ok(Some(network)) => plan.moves.push(network),
            // It was removed just now.
            Ok(None) => {}
            Err(why) => refuse(name, network["Labels"][PROJECT].as_str(), why),
        }
    }
    plan.moves.sort_by(|a, b| (&a.project, &a.name).cmp(&(&b.project, &b.name)));
    let moves = std::mem::take(&mut plan.moves);
    for network in moves {
        match obstacle(&network, &plan.moves, rows, &networks) {
            None => plan.moves.push(network),
            Some(why) => {
                let NetworkMove { name, project, .. } = network;
                plan.refused.push(RefusedMove { name, project, why });
            }
        }
    }
    Ok(plan)
}

/// Why the Engine does not show the network of this subnet. A swarm's networks are shown without their subnets.
fn unseen(networks: &[Value], row: &SubnetRow) -> String {
    let prefix = Prefix::parse(&row.prefix);
    let shows_it = |it: &&Value| subnets(it).any(|shown| Some(shown) == prefix);
    match networks.iter().find(shows_it).and_then(|it| it["Name"].as_str()) {
        Some(template) => format!(
            "it comes from the configuration network {template}; change that one, and create the networks again that are made \
             from it"
        ),
        None => "the Engine shows no network with it; if another Engine has it, run this there".to_owned(),
    }
}

async fn one(
    engine: &Path,
    id: &str,
    name: &str,
    rows: &[SubnetRow],
) -> Result<Option<NetworkMove>, RenumberError> {
    let Some(network) = control::network(engine, id).await? else { return Ok(None) };
    let containers = control::attached(engine, name, id).await?;
    if let Some(restless) = containers.iter().find(|container| is_restless(container)) {
        return Err(restarts(restless["Name"].as_str().unwrap_or_default()));
    }
    let own: Vec<&SubnetRow> = rows.iter().filter(|row| has(&network, row)).collect();
    for shown in subnets(&network).filter(|shown| shown.first() != 0) {
        if !own.iter().any(|row| Prefix::parse(&row.prefix) == Some(shown)) {
            return Err(RenumberError(format!("the books lack its subnet {shown}; first: gipam gc")));
        }
    }
    network_move(&network, &containers, &own).map(Some)
}

/// Whether the Engine restarted a container a moment ago, so that it may end at any step: it cannot be connected between two
/// runs.
fn is_restless(container: &Value) -> bool {
    let restarted = container["RestartCount"].as_u64().is_some_and(|count| count > 0);
    let age = || age(container["State"]["StartedAt"].as_str()?);
    restarted && age().is_some_and(|seconds| seconds < SETTLED)
}

/// Performs a move, from whatever step it has reached; writes it down before it changes anything. `pools` are the pools now; calls `tell` after each step.
pub async fn perform(
    engine: &Path,
    state: &RunState,
    mut network: NetworkMove,
    pools: &[PoolRow],
    tell: &mut dyn FnMut(&str),
) -> Result<(), RenumberError> {
    if control::network(engine, &network.id).await?.is_some() {
        clear(engine, state, &mut network, tell).await?;
    }
    let (id, as_planned) = created(engine, state, &mut network, pools, tell).await?;
    let mut failed = Vec::new();
    for container in &network.containers {
        let name = &container.name;
        let Some(shown) = control::container(engine, &container.id).await? else {
            tell(&format!("{name} no longer exists"));
            continue;
        };
        if container.running && shown["State"]["Running"].as_bool() == Some(false) {
            tell(&format!("{name} does not run any more; to start it: docker start {name}"));
        }
        let attached = &shown["NetworkSettings"]["Networks"][&network.name];
        if !attached.is_null() && attached["NetworkID"].as_str() != Some(&network.id) {
            if !as_planned || container.has_its_addresses(attached) {
                continue;
            }
            // It was started while the new network existed and it was not connected yet.
            if let Err(error) = control::disconnect(engine, &id, &container.id).await {
                failed.push(format!("container {name} lacks its fixed address: {error}"));
                continue;
            }
        }
        match control::connect(engine, &id, &container.id, &container.endpoint).await {
            Ok(()) => tell(&format!("connected {name}")),
            Err(error) => failed.push(format!("container {name} is not connected: {error}")),
        }
    }
    if !failed.is_empty() {
        let texts = failed.join("; ");
        let name = &network.name;
        return Err(RenumberError(format!(
            "network {name}: {texts}; correct that and finish with: gipam renumber --yes"
        )));
    }
    state.finish()
}

/// Disconnects all containers from the old network and removes it.
async fn clear(
    engine: &Path,
    state: &RunState,
    network: &mut NetworkMove,
    tell: &mut dyn FnMut(&str),
) -> Result<(), RenumberError> {
    let mut round = 0;
    loop {
        round += 1;
        let containers = control::attached(engine, &network.name, &network.id).await?;
        let attached = network.take_in(&containers).map_err(|error| match round {
            1 => error,
            _ => RenumberError(format!("{error}; correct that and finish with: gipam renumber --yes")),
        })?;
        state.write(network)?;
        for (id, name) in attached {
            match control::disconnect(engine, &network.id, &id).await {
                Ok(()) => tell(&format!("disconnected {name}")),
                // It was removed or disconnected just now; removing the network shows whether that is so.
                Err(error) if error.status.is_some() => tell(&format!("{name}: {error}")),
                Err(error) => return Err(error.into()),
            }
        }
        match control::remove(engine, &network.id).await {
            Ok(()) => {
                tell(&format!("removed network {}", network.name));
                return Ok(());
            }
            Err(error) if error.status.is_some() && round < ROUNDS => {}
            Err(error) => {
                return Err(RenumberError(format!(
                    "{error}; correct that and finish with: gipam renumber --yes"
                )));
            }
        }
    }
}

/// The id of the new network, which an earlier run may have created, and whether it has the subnets that it is to have.
async fn created(
    engine: &Path,
    state: &RunState,
    network: &mut NetworkMove,
    pools: &[PoolRow],
    tell: &mut dyn FnMut(&str),
) -> Result<(String, bool), RenumberError> {
    let listed = control::networks(engine).await?;
    let same =
        |it: &&Value| it["Name"].as_str() == Some(&network.name) && it["Id"].as_str() != Some(&network.id);
    if let Some(known) = listed.iter().find(same) {
        return Ok((known["Id"].as_str().unwrap_or_default().to_owned(), network.has_its_subnets(known)));
    }
    let by_hand = |error: RenumberError| {
        let file = state.path().display();
        RenumberError(format!(
            "{error}; create the network by hand from what {file} says, then remove that file"
        ))
    };
    network.follow(pools).map_err(by_hand)?;
    state.write(network)?;
    let id = control::create(engine, &network.create).await.map_err(|error| {
        let name = &network.name;
        RenumberError(format!(
            "network {name} is removed and cannot be created: {error}; correct that and finish with: gipam renumber --yes"
        ))
    })?;
    tell(&format!("created network {}", network.name));
    Ok((id, true))
}
