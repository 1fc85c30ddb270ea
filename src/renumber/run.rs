//! Performs a move on the Engine, or finishes one that was cut off.
//!
//! Promises: every step can be repeated: what is done already is found done; a container that appears meanwhile is taken
//! along; a container that is gone is passed over. If a step fails, the state stays on disk for the next run.

use std::path::Path;

use serde_json::Value;

use super::RenumberError;
use super::moves::{NetworkMove, network_move};
use super::state::RunState;
use crate::docker::control;
use crate::plan::prefix::Prefix;
use crate::view::rows::SubnetRow;

/// How many times a network is cleared of containers that appear while it is removed.
const ROUNDS: u32 = 3;

/// A network or subnet that cannot be moved, and why.
pub type RefusedMove = (String, RenumberError);

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
        let Some(network) = networks.iter().find(|network| has(network, row)) else {
            let why = "the Engine shows no network with it; if another Engine has it, run this there";
            plan.refused.push((row.prefix.clone(), RenumberError(why.to_owned())));
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
            Err(error) => plan.refused.push((name.to_owned(), error)),
        }
    }
    plan.moves.sort_by(|a, b| (&a.project, &a.name).cmp(&(&b.project, &b.name)));
    Ok(plan)
}

async fn one(
    engine: &Path,
    id: &str,
    name: &str,
    rows: &[SubnetRow],
) -> Result<Option<NetworkMove>, RenumberError> {
    let Some(network) = control::network(engine, id).await? else { return Ok(None) };
    let containers = control::attached(engine, name, id).await?;
    let own: Vec<&SubnetRow> = rows.iter().filter(|row| has(&network, row)).collect();
    for shown in subnets(&network).filter(|shown| shown.first() != 0) {
        if !own.iter().any(|row| Prefix::parse(&row.prefix) == Some(shown)) {
            return Err(RenumberError(format!("the books lack its subnet {shown}; first: gipam gc")));
        }
    }
    network_move(&network, &containers, &own).map(Some)
}

/// The subnets that the Engine shows for a network.
fn subnets(network: &Value) -> impl Iterator<Item = Prefix> {
    let configs = network["IPAM"]["Config"].as_array().into_iter().flatten();
    configs.filter_map(|config| Prefix::parse(config["Subnet"].as_str()?))
}

/// Whether a row of the books is a subnet of this network.
fn has(network: &Value, row: &SubnetRow) -> bool {
    let prefix = Prefix::parse(&row.prefix);
    let named = row.network.as_deref().is_some_and(|name| network["Name"].as_str() == Some(name));
    row.space == "local" && (named || subnets(network).any(|shown| Some(shown) == prefix))
}

/// Performs a move, from whatever step it has reached. Calls `tell` after each step.
pub async fn perform(
    engine: &Path,
    state: &RunState,
    mut network: NetworkMove,
    tell: &mut dyn FnMut(&str),
) -> Result<(), RenumberError> {
    if control::network(engine, &network.id).await?.is_some() {
        clear(engine, state, &mut network, tell).await?;
    }
    let id = created(engine, &network, tell).await?;
    let mut failed = Vec::new();
    for container in &network.containers {
        let name = &container.name;
        let Some(shown) = control::container(engine, &container.id).await? else {
            tell(&format!("{name} no longer exists"));
            continue;
        };
        let attached = &shown["NetworkSettings"]["Networks"][&network.name];
        if !attached.is_null() && attached["NetworkID"].as_str() != Some(&network.id) {
            continue;
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
        let attached = network.take_in(&containers)?;
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

/// The id of the new network, which an earlier run may have created.
async fn created(
    engine: &Path,
    network: &NetworkMove,
    tell: &mut dyn FnMut(&str),
) -> Result<String, RenumberError> {
    let listed = control::networks(engine).await?;
    let same =
        |it: &&Value| it["Name"].as_str() == Some(&network.name) && it["Id"].as_str() != Some(&network.id);
    if let Some(known) = listed.iter().find(same) {
        return Ok(known["Id"].as_str().unwrap_or_default().to_owned());
    }
    let id = control::create(engine, &network.create).await.map_err(|error| {
        let name = &network.name;
        RenumberError(format!(
            "network {name} is removed and cannot be created: {error}; correct that and finish with: gipam renumber --yes"
        ))
    })?;
    tell(&format!("created network {}", network.name));
    Ok(id)
}
