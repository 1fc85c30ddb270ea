//! Decides how one container is connected to the network that takes the place of its own.
//!
//! Promises: pure; fixed addresses keep their host part; names, links and options are passed on as they are; a container that
//! Docker could not connect as before is refused with the reason.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::RenumberError;
use super::host_parts::HostParts;
use super::moves::{is_true, refused, text};
use crate::plan::prefix::number;
use crate::plan::request::Mac;

/// The characters of a container's id that Docker adds as an alias.
const SHORT_ID: usize = 12;
/// The keys of the addresses that a person may fix.
const FIXED: [&str; 2] = ["IPv4Address", "IPv6Address"];

/// A fixed address, before and after; both are the same if it stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressMove {
    pub from: String,
    pub to: String,
}

/// One container, with what its connection needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerMove {
    pub id: String,
    pub name: String,
    pub running: bool,
    /// Its fixed addresses.
    pub fixed: Vec<AddressMove>,
    /// Whether some of its addresses are not fixed. gipam chooses them when the container is connected. They keep their host
    /// part only if Docker sends what identifies the container: its name (Engine 29) or a fixed MAC (Engines before 25).
    pub chosen: bool,
    /// `EndpointConfig` of the new connection.
    pub endpoint: Value,
}

impl ContainerMove {
    /// Whether a connection that the Engine shows has the fixed addresses.
    pub(super) fn has_its_addresses(&self, shown: &Value) -> bool {
        let address = |of: &Value, key: &str| of["IPAMConfig"][key].as_str()?.parse::<IpAddr>().ok();
        FIXED.iter().all(|key| {
            let wanted = address(&self.endpoint, key);
            wanted.is_none() || address(shown, key) == wanted
        })
    }

    /// Follows another change of the prefixes.
    pub(super) fn follow(&mut self, changed: &HostParts) {
        for fixed in &mut self.fixed {
            fixed.to = changed.text(&fixed.to).unwrap_or_else(|| fixed.to.clone());
        }
        if let Some(addresses) = self.endpoint.get_mut("IPAMConfig") {
            changed.replace(addresses);
        }
    }
}

/// A container with the number of its address in the network; `None` if it is not attached to this network.
pub(super) fn container_move(
    network: &str,
    id: &str,
    container: &Value,
    host_parts: &HostParts,
) -> Result<Option<(u128, ContainerMove)>, RenumberError> {
    let name = text(&container["Name"]).trim_start_matches('/').to_owned();
    let attached = container["NetworkSettings"]["Networks"].as_object();
    let is_this = |(key, endpoint): &(&String, &Value)| match endpoint["NetworkID"].as_str() {
        Some(known) if !known.is_empty() => known == id,
        _ => *key == network || *key == id,
    };
    let Some((_, endpoint)) = attached.into_iter().flatten().find(is_this) else { return Ok(None) };
    let mode = container["HostConfig"]["NetworkMode"].as_str().filter(|mode| !mode.is_empty());
    let is_other = |mode: &&str| *mode != id && attached.is_some_and(|all| all.contains_key(*mode));
    if mode.filter(|mode| !is_other(mode)).is_some_and(|mode| mode != network && id.starts_with(mode)) {
        return refused(format!(
            "container {name} names network {network} by its id, which changes; create the container again with the network's \
             name first"
        ));
    }
    if is_true(&container["State"]["Paused"]) {
        return refused(format!("container {name} is paused; first: docker unpause {name}"));
    }
    if is_true(&container["State"]["Restarting"]) {
        return Err(restarts(&name));
    }
    if let Some(mac) = forgotten_mac(container, endpoint, network) {
        return refused(format!(
            "container {name} has the fixed MAC {mac}, which this Engine forgets when it disconnects a container; remove it \
             first, and create it again afterwards"
        ));
    }
    let (mut fixed, mut addresses) = (Vec::new(), Map::new());
    for key in FIXED {
        let Some(old) = endpoint["IPAMConfig"][key].as_str().filter(|old| !old.is_empty()) else { continue };
        let Some(new) = host_parts.text(old) else {
            return refused(format!(
                "container {name} has the fixed address {old}, which lies outside the subnets of network {network}; change it \
                 first"
            ));
        };
        addresses.insert(key.to_owned(), json!(new));
        fixed.push(AddressMove { from: old.to_owned(), to: new });
    }
    let held = ["GlobalIPv6Address", "IPAddress"].map(|key| endpoint[key].as_str().unwrap_or_default());
    let mut held = held.iter().filter_map(|held| held.parse::<IpAddr>().ok());
    let place = held.find(|held| host_parts.address(*held).is_some()).map(number);
    let moved = ContainerMove {
        running: is_true(&container["State"]["Running"]),
        chosen: fixed.len() < host_parts.0.len(),
        endpoint: Value::Object(connection(endpoint, addresses, &text(&container["Id"]))),
        id: text(&container["Id"]),
        name,
        fixed,
    };
    Ok(Some((place.unwrap_or(u128::MAX), moved)))
}

/// What the new connection has in common with this one, with these fixed addresses.
fn connection(endpoint: &Value, mut addresses: Map<String, Value>, container: &str) -> Map<String, Value> {
    if let Some(local) = endpoint["IPAMConfig"]["LinkLocalIPs"].as_array() {
        addresses.insert("LinkLocalIPs".to_owned(), json!(local));
    }
    let mut new = Map::new();
    if !addresses.is_empty() {
        new.insert("IPAMConfig".to_owned(), Value::Object(addresses));
    }
    for key in ["Links", "DriverOpts", "GwPriority"] {
        let value = &endpoint[key];
        if !value.is_null() && *value != json!(0) {
            new.insert(key.to_owned(), value.clone());
        }
    }
    let short = container.get(..SHORT_ID).unwrap_or_default();
    let aliases = endpoint["Aliases"].as_array().into_iter().flatten();
    let aliases: Vec<&Value> = aliases.filter(|alias| alias.as_str() != Some(short)).collect();
    if !aliases.is_empty() {
        new.insert("Aliases".to_owned(), json!(aliases));
    }
    new
}

/// Why a container cannot be moved that the Engine restarts all the time.
pub(super) fn restarts(name: &str) -> RenumberError {
    let name = name.trim_start_matches('/');
    RenumberError(format!(
        "container {name} ends and is restarted again and again; first: docker stop {name}"
    ))
}

/// The fixed MAC of a connection that would have another one afterwards. Engines from 25 on ignore the MAC of a request that
/// connects a container; earlier ones take it from the container.
fn forgotten_mac(container: &Value, endpoint: &Value, network: &str) -> Option<String> {
    // Engines before 25 do not show this key.
    endpoint.get("DNSNames")?;
    let known = |value: &Value| value.as_str().filter(|mac| !mac.is_empty()).map(str::to_owned);
    let (of_container, shown) = (known(&container["Config"]["MacAddress"]), known(&endpoint["MacAddress"]));
    let is_main = container["HostConfig"]["NetworkMode"].as_str() == Some(network);
    let own = of_container.filter(|mac| is_main || shown.as_ref() == Some(mac));
    // Docker generates only MACs that are marked as such.
    own.or(shown.filter(|mac| Mac::parse(mac).is_some_and(|mac| !mac.is_made_up())))
}
