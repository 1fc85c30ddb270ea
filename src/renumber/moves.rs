//! Decides how a network moves to the current prefix of its pool: from what the Engine shows and the rows of the books.
//!
//! Promises: pure; the host parts of fixed addresses and of the gateway stay the same; what cannot be done is refused with the
//! reason. Values that are only passed on (options, labels) are not interpreted.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::RenumberError;
use super::containers::{ContainerMove, container_move};
use super::host_parts::HostParts;
use crate::plan::prefix::Prefix;
use crate::plan::renumbering::same_place;
use crate::view::rows::{PoolRow, SubnetRow};

/// The label that Compose gives to the networks of a project.
pub const PROJECT: &str = "com.docker.compose.project";
/// Docker writes these into the options of a network itself.
const WRITTEN_BY_DOCKER: [&str; 2] = ["com.docker.network.enable_ipv4", "com.docker.network.enable_ipv6"];

/// One subnet of a network, before and after; both are the same if it stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetMove {
    pub from: String,
    pub to: String,
    /// The pool, and the base from which `to` is cut, if the subnet does not stay.
    #[serde(default)]
    pub of: Option<PoolBase>,
}

/// A pool with its base at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolBase {
    pub pool: String,
    pub base: String,
}

/// A network that moves: everything needed to make it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkMove {
    pub name: String,
    /// The id of the network that is removed.
    pub id: String,
    /// The Compose project that it belongs to.
    pub project: Option<String>,
    pub subnets: Vec<SubnetMove>,
    /// The body of the request that creates it again.
    pub create: Value,
    /// In the order in which they are connected.
    pub containers: Vec<ContainerMove>,
}

pub(super) fn refused<T>(text: String) -> Result<T, RenumberError> {
    Err(RenumberError(text))
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(super) fn is_true(value: &Value) -> bool {
    value.as_bool() == Some(true)
}

/// How this network moves. `network` and `containers` are what the Engine shows, `rows` the subnets of the network in the
/// books.
pub fn network_move(
    network: &Value,
    containers: &[Value],
    rows: &[&SubnetRow],
) -> Result<NetworkMove, RenumberError> {
    let (name, id) = (text(&network["Name"]), text(&network["Id"]));
    if network["Scope"].as_str().is_some_and(|scope| scope != "local") || is_true(&network["Ingress"]) {
        return refused(format!(
            "network {name} belongs to a swarm, whose managers hold its subnets; remove and create it with docker network"
        ));
    }
    if network["ConfigFrom"]["Network"].as_str().is_some_and(|from| !from.is_empty()) {
        let from = text(&network["ConfigFrom"]["Network"]);
        return refused(format!(
            "network {name} takes its subnets from the configuration network {from}; change that one, and create {name} again"
        ));
    }
    let ends = || network["Containers"].as_object().into_iter().flatten();
    if let Some((_, end)) = ends().find(|(key, _)| key.starts_with("ep-") || key.starts_with("lb-")) {
        let end = text(&end["Name"]);
        return refused(format!(
            "network {name} has the endpoint {end}, which no container has; first: docker network disconnect -f {name} {end}"
        ));
    }
    let host_parts = HostParts::of(&name, rows)?;
    let mut moved: Vec<(u128, ContainerMove)> = Vec::new();
    for container in containers {
        if let Some(found) = container_move(&name, &id, container, &host_parts)? {
            moved.push(found);
        }
    }
    if let Some((hidden, _)) = ends().find(|(key, _)| !moved.iter().any(|(_, known)| known.id == **key)) {
        return refused(format!(
            "network {name} has an endpoint of container {hidden}, which the Engine does not list; try again"
        ));
    }
    moved.sort_by_key(|(address, _)| *address);
    Ok(NetworkMove {
        project: network["Labels"][PROJECT].as_str().map(str::to_owned),
        subnets: rows.iter().zip(&host_parts.0).map(|(row, pair)| subnet_move(row, *pair)).collect(),
        create: creation(network, rows, &host_parts)?,
        containers: moved.into_iter().map(|(_, container)| container).collect(),
        name,
        id,
    })
}

fn subnet_move(row: &SubnetRow, (from, to): (Prefix, Prefix)) -> SubnetMove {
    let of = row.pool.clone().zip(row.stale.as_ref().map(|stale| stale.base.clone()));
    let of = of.map(|(pool, base)| PoolBase { pool, base });
    SubnetMove { from: from.to_string(), to: to.to_string(), of }
}

impl NetworkMove {
    /// Takes in containers that were attached since this was decided; returns the id and name of all that are attached now.
    pub fn take_in(&mut self, containers: &[Value]) -> Result<Vec<(String, String)>, RenumberError> {
        let parsed = |pair: &SubnetMove| Some((Prefix::parse(&pair.from)?, Prefix::parse(&pair.to)?));
        let host_parts = HostParts(self.subnets.iter().filter_map(parsed).collect());
        let mut attached = Vec::new();
        for container in containers {
            let Some((_, found)) = container_move(&self.name, &self.id, container, &host_parts)? else {
                continue;
            };
            attached.push((found.id.clone(), found.name.clone()));
            if !self.containers.iter().any(|known| known.id == found.id) {
                self.containers.push(found);
            }
        }
        Ok(attached)
    }

    /// Follows bases that have changed again since this was decided.
    pub fn follow(&mut self, pools: &[PoolRow]) -> Result<(), RenumberError> {
        let mut changed = HostParts(Vec::new());
        for subnet in &mut self.subnets {
            let (Some(of), Some(to)) = (&mut subnet.of, Prefix::parse(&subnet.to)) else { continue };
            let family = |row: &&PoolRow| {
                row.pool == of.pool && Prefix::parse(&row.base).is_some_and(|it| it.family() == to.family())
            };
            let Some(now) = pools.iter().find(family).filter(|row| row.base != of.base) else { continue };
            let bases = Prefix::parse(&of.base).zip(Prefix::parse(&now.base));
            let Some(new) = bases.and_then(|(before, base)| same_place(to, before, base)) else {
                return refused(format!(
                    "network {}: the base of pool {} is now {}, which has no place for the number of {to}",
                    self.name, of.pool, now.base
                ));
            };
            changed.0.push((to, new));
            of.base.clone_from(&now.base);
            subnet.to = new.to_string();
        }
        if let Some(config) = self.create.pointer_mut("/IPAM/Config") {
            changed.replace(config);
        }
        self.containers.iter_mut().for_each(|container| container.follow(&changed));
        Ok(())
    }

    /// Whether a network that the Engine shows has the subnets that this one is to have.
    pub(super) fn has_its_subnets(&self, network: &Value) -> bool {
        let shown: Vec<Prefix> = subnets(network).collect();
        self.subnets.iter().all(|it| Prefix::parse(&it.to).is_some_and(|to| shown.contains(&to)))
    }
}

/// The subnets that the Engine shows for a network.
pub(super) fn subnets(network: &Value) -> impl Iterator<Item = Prefix> {
    let configs = network["IPAM"]["Config"].as_array().into_iter().flatten();
    configs.filter_map(|config| Prefix::parse(config["Subnet"].as_str()?))
}

/// The body of the request that creates the network again.
fn creation(network: &Value, rows: &[&SubnetRow], host_parts: &HostParts) -> Result<Value, RenumberError> {
    let ipam = &network["IPAM"];
    let mut configs = Vec::new();
    for (row, (from, to)) in rows.iter().zip(&host_parts.0) {
        let mut config = Map::from_iter([("Subnet".to_owned(), json!(to.to_string()))]);
        if let Some(gateway) = row.gateway.as_deref().and_then(|gateway| host_parts.text(gateway)) {
            config.insert("Gateway".to_owned(), json!(gateway));
        }
        if let Some(range) = row.range.as_deref().and_then(Prefix::parse) {
            let range = host_parts.prefix(range).unwrap_or(range);
            config.insert("IPRange".to_owned(), json!(range.to_string()));
        }
        let shown = ipam["Config"].as_array().into_iter().flatten();
        let same = shown.filter(|shown| {
            let subnet = shown["Subnet"].as_str().and_then(Prefix::parse);
            subnet.is_some_and(|subnet| {
                subnet == *from || subnet.first() == 0 && subnet.family() == from.family()
            })
        });
        let auxiliary = same.flat_map(|shown| {
            let both = [&shown["AuxiliaryAddresses"], &shown["AuxAddress"]];
            both.into_iter().filter_map(Value::as_object).flatten().collect::<Vec<_>>()
        });
        let mut moved = Map::new();
        for (key, address) in auxiliary {
            let old = text(address);
            match host_parts.text(&old) {
                Some(new) => drop(moved.insert(key.clone(), json!(new))),
                None => {
                    return refused(format!(
                        "network {}: the auxiliary address {old} lies outside its subnets",
                        text(&network["Name"])
                    ));
                }
            }
        }
        if !moved.is_empty() {
            config.insert("AuxiliaryAddresses".to_owned(), Value::Object(moved));
        }
        configs.push(Value::Object(config));
    }
    let mut options = network["Options"].as_object().cloned().unwrap_or_default();
    options.retain(|key, _| !WRITTEN_BY_DOCKER.contains(&key.as_str()));
    let mut body = json!({
        "Name": network["Name"],
        "CheckDuplicate": true,
        "Driver": network["Driver"],
        "Internal": is_true(&network["Internal"]),
        "Attachable": is_true(&network["Attachable"]),
        "EnableIPv6": is_true(&network["EnableIPv6"]),
        "IPAM": {"Driver": ipam["Driver"], "Options": ipam["Options"], "Config": configs},
        "Options": options,
        "Labels": network["Labels"].as_object().cloned().unwrap_or_default(),
    });
    if let Some(v4) = network["EnableIPv4"].as_bool() {
        body["EnableIPv4"] = json!(v4);
    }
    Ok(body)
}

#[cfg(test)]
#[path = "moves_tests.rs"]
mod tests;
