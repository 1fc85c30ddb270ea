//! Reads the output of `docker network inspect` as a list of subnets.
//!
//! Promises: tolerates fields that Engines add; lists only networks with one of our driver names and local scope; reports the
//! others with advice on what a person can do about them. Makes no decisions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::Value;

use super::{File, Row, Twice};
use crate::docker::engine::{Configured, Endpoint, Network, read_inspected};
use crate::plan::listed::ListedSubnet;
use crate::plan::prefix::Prefix;
use crate::plan::request::Adoption;

/// Parses the output; `names` are the names of our drivers.
pub(super) fn read(content: &str, names: &[String]) -> Result<File, String> {
    let networks = read_inspected(content).map_err(|error| {
        let (line, column, text) = (error.line(), error.column(), error.to_string());
        // The library's text ends with the line and the column.
        let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
        format!("line {line}, column {column}: not the output of docker network inspect: {text}")
    })?;
    let entries: Value = serde_json::from_str(content.trim_start_matches('\u{feff}')).unwrap_or_default();
    let single = std::slice::from_ref(&entries);
    for entry in entries.as_array().map_or(single, Vec::as_slice) {
        check(entry)?;
    }
    let mut file = File::default();
    for network in &networks {
        for subnet in &network.subnets {
            let ours = names.contains(&network.ipam);
            if ours && network.scope == "local" {
                file.twice.extend(twice(network, subnet).map(|twice| (file.listed.len(), twice)));
                file.listed.push(listed(network, subnet));
            } else {
                file.left.push(left(network, subnet, ours));
            }
        }
    }
    Ok(file)
}

/// Refuses an entry that docker network inspect would not print: it would be read as a network without addresses.
fn check(entry: &Value) -> Result<(), String> {
    let name = ["Name", "name"].into_iter().find_map(|key| entry.get(key)?.as_str()).unwrap_or("?");
    if let Some(ipam) = entry.get("IPAM").filter(|ipam| ipam.is_object()) {
        let configs = ipam.get("Config").and_then(Value::as_array).into_iter().flatten();
        let subnets =
            configs.filter_map(|config| config.get("Subnet")?.as_str()).filter(|text| !text.is_empty());
        return match subnets.into_iter().find(|text| Prefix::parse(text).is_none()) {
            Some(text) => Err(format!("network {name}: its Subnet {text:?} is not a prefix")),
            None => Ok(()),
        };
    }
    let what = if entry.get("NetworkSettings").is_some() {
        format!("it describes the container {name}, not a network")
    } else if entry.get("network_interface").is_some() || entry.get("subnets").is_some() {
        format!("{name} is a podman network")
    } else {
        format!("the entry {name} does not have an IPAM section")
    };
    Err(format!(
        "not the output of docker network inspect: {what}; give the output of: \
         docker network inspect $(docker network ls -q)"
    ))
}

/// The subnet with its leases. Each address is listed once, because the Engine may show an auxiliary address twice.
fn listed(network: &Network, subnet: &Configured) -> ListedSubnet {
    let place = format!("network {}", network.name);
    let evidence: Box<str> = format!("import: network {} has it", network.name).into();
    let (mut leases, mut once) = (network.lives_in(subnet), BTreeSet::new());
    leases.retain(|lease| once.insert(lease.address));
    leases.iter_mut().for_each(|lease| lease.evidence.clone_from(&evidence));
    let range = subnet.range.filter(|range| subnet.prefix.contains(*range));
    let network = Adoption { range, leases, evidence, ..Adoption::of(network, subnet) };
    ListedSubnet { place, places: BTreeMap::new(), shown: true, network }
}

/// Addresses of the subnet that several containers have: the list is inconsistent, or all of them are alive.
fn twice(network: &Network, subnet: &Configured) -> Option<Twice> {
    let mut holders: BTreeMap<IpAddr, Vec<&Endpoint>> = BTreeMap::new();
    for endpoint in &network.endpoints {
        for address in endpoint.addresses.iter().filter(|address| subnet.prefix.contains_address(**address)) {
            let of = holders.entry(*address).or_default();
            if !of.iter().any(|other| other.container_id == endpoint.container_id) {
                of.push(endpoint);
            }
        }
    }
    holders.retain(|_, of| of.len() > 1);
    let last = holders.values().next()?.last()?.container.clone();
    let said = holders.iter().map(|(address, of)| {
        let names: Vec<String> = of.iter().map(|one| format!("container {}", one.container)).collect();
        format!("{address} is in use twice: {}", names.join(" and "))
    });
    Some(Twice {
        why: said.collect::<Vec<_>>().join("; "),
        advice: format!(
            "Two containers with the same address each lose a part of their traffic; disconnect one: docker network disconnect {} {last}",
            network.name
        ),
    })
}

/// The row for a network that is not imported.
fn left(network: &Network, subnet: &Configured, ours: bool) -> Row {
    let prefix = subnet.prefix;
    let (why, advice) = match ours {
        true => (format!("its scope is {}, so Docker itself manages the addresses", network.scope), None),
        false => (
            format!("its IPAM driver is {:?}, and an import cannot change that", network.ipam),
            Some(format!("to never give its addresses dynamically: gipam reserve {prefix}")),
        ),
    };
    Row {
        place: format!("network {}", network.name),
        subnet: prefix.to_string(),
        id: None,
        addresses: Vec::new(),
        known: 0,
        action: "left".to_owned(),
        why: Some(why),
        advice,
    }
}
