//! Decides how a network moves to the current prefix of its pool: from what the Engine shows and the rows of the books.
//!
//! Promises: pure; host parts stay the same for every address that is fixed, and for the gateway; what cannot be done is
//! refused with the reason. Values that are only passed on (options, labels) are not interpreted.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::RenumberError;
use crate::plan::prefix::{Prefix, number};
use crate::view::rows::SubnetRow;

/// The label that Compose gives to the networks of a project.
pub const PROJECT: &str = "com.docker.compose.project";
/// Docker writes these into the options of a network itself.
const WRITTEN_BY_DOCKER: [&str; 2] = ["com.docker.network.enable_ipv4", "com.docker.network.enable_ipv6"];
/// The characters of a container's id that Docker adds as an alias.
const SHORT_ID: usize = 12;

/// One subnet of a network, before and after; both are the same if it stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetMove {
    pub from: String,
    pub to: String,
}

/// One container, with what its connection needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerMove {
    pub id: String,
    pub name: String,
    pub running: bool,
    /// Fixed addresses that change, before and after.
    pub fixed: Vec<SubnetMove>,
    /// Whether some of its addresses are chosen when it is connected.
    pub chosen: bool,
    /// `EndpointConfig` of the new connection.
    pub endpoint: Value,
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

fn refused<T>(text: String) -> Result<T, RenumberError> {
    Err(RenumberError(text))
}

/// The prefixes of a network, before and after.
struct HostParts(Vec<(Prefix, Prefix)>);

impl HostParts {
    fn of(name: &str, rows: &[&SubnetRow]) -> Result<Self, RenumberError> {
        let mut pairs = Vec::new();
        for row in rows {
            let Some(from) = Prefix::parse(&row.prefix) else { continue };
            let to = match &row.stale {
                None => from,
                Some(stale) => match stale.same_number.as_deref().and_then(Prefix::parse) {
                    Some(to) => to,
                    None => {
                        let (prefix, base) = (&row.prefix, &stale.base);
                        return refused(format!(
                            "network {name}: {base} has no place for the number of {prefix}; remove the network and create it \
                             again"
                        ));
                    }
                },
            };
            pairs.push((from, to));
        }
        Ok(Self(pairs))
    }

    /// The address with the same host part.
    fn address(&self, address: IpAddr) -> Option<IpAddr> {
        let (from, to) = self.0.iter().find(|(from, _)| from.contains_address(address))?;
        Some(to.address(to.first() + (number(address) - from.first())))
    }

    /// The same for an address as text, with or without a length; a text that is not an address is refused.
    fn text(&self, text: &str) -> Option<String> {
        let alone = text.split('/').next().unwrap_or(text);
        Some(self.address(alone.parse().ok()?)?.to_string())
    }

    fn prefix(&self, prefix: Prefix) -> Option<Prefix> {
        let (from, to) = self.0.iter().find(|(from, _)| from.contains(prefix))?;
        Some(Prefix::new(to.family(), to.first() + (prefix.first() - from.first()), prefix.length()))
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn is_true(value: &Value) -> bool {
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
    let ends = network["Containers"].as_object().into_iter().flatten().map(|(key, _)| key);
    if let Some(end) = ends.clone().find(|key| key.starts_with("ep-") || key.starts_with("lb-")) {
        return refused(format!(
            "network {name} has the endpoint {end}, which no container has; remove it with: docker network disconnect -f"
        ));
    }
    let translation = HostParts::of(&name, rows)?;
    let mut moved: Vec<(u128, ContainerMove)> = Vec::new();
    for container in containers {
        if let Some(found) = container_move(&name, &id, container, &translation)? {
            moved.push(found);
        }
    }
    if let Some(hidden) = ends.clone().find(|key| !moved.iter().any(|(_, known)| known.id == **key)) {
        return refused(format!(
            "network {name} has an endpoint of container {hidden}, which the Engine does not list; try again"
        ));
    }
    moved.sort_by_key(|(address, _)| *address);
    let subnets =
        translation.0.iter().map(|(from, to)| SubnetMove { from: from.to_string(), to: to.to_string() });
    Ok(NetworkMove {
        project: network["Labels"][PROJECT].as_str().map(str::to_owned),
        subnets: subnets.collect(),
        create: creation(network, rows, &translation)?,
        containers: moved.into_iter().map(|(_, container)| container).collect(),
        name,
        id,
    })
}

impl NetworkMove {
    /// Takes in containers that were attached since this was decided; returns the id and name of all that are attached now.
    pub fn take_in(&mut self, containers: &[Value]) -> Result<Vec<(String, String)>, RenumberError> {
        let parsed = |pair: &SubnetMove| Some((Prefix::parse(&pair.from)?, Prefix::parse(&pair.to)?));
        let translation = HostParts(self.subnets.iter().filter_map(parsed).collect());
        let mut attached = Vec::new();
        for container in containers {
            let Some((_, found)) = container_move(&self.name, &self.id, container, &translation)? else {
                continue;
            };
            attached.push((found.id.clone(), found.name.clone()));
            if !self.containers.iter().any(|known| known.id == found.id) {
                self.containers.push(found);
            }
        }
        Ok(attached)
    }
}

/// The body of the request that creates the network again.
fn creation(network: &Value, rows: &[&SubnetRow], translation: &HostParts) -> Result<Value, RenumberError> {
    let ipam = &network["IPAM"];
    let mut configs = Vec::new();
    for (row, (from, to)) in rows.iter().zip(&translation.0) {
        let mut config = Map::from_iter([("Subnet".to_owned(), json!(to.to_string()))]);
        if let Some(gateway) = row.gateway.as_deref().and_then(|gateway| translation.text(gateway)) {
            config.insert("Gateway".to_owned(), json!(gateway));
        }
        if let Some(range) = row.range.as_deref().and_then(Prefix::parse) {
            let range = translation.prefix(range).unwrap_or(range);
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
            match translation.text(&old) {
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

/// A container with the number of its address in the network; `None` if it is not attached to this network.
fn container_move(
    network: &str,
    id: &str,
    container: &Value,
    translation: &HostParts,
) -> Result<Option<(u128, ContainerMove)>, RenumberError> {
    let name = text(&container["Name"]).trim_start_matches('/').to_owned();
    let attached = container["NetworkSettings"]["Networks"].as_object().into_iter().flatten();
    let is_this = |(key, endpoint): &(&String, &Value)| match endpoint["NetworkID"].as_str() {
        Some(known) if !known.is_empty() => known == id,
        _ => *key == network || *key == id,
    };
    let Some((_, endpoint)) = attached.into_iter().find(is_this) else { return Ok(None) };
    let container_id = text(&container["Id"]);
    if container["HostConfig"]["NetworkMode"].as_str() == Some(id) {
        return refused(format!(
            "container {name} names network {network} by its id, which changes; create the container again with the network's \
             name first"
        ));
    }
    if is_true(&container["State"]["Paused"]) {
        return refused(format!("container {name} is paused; first: docker unpause {name}"));
    }
    let mut fixed = Vec::new();
    let mut addresses = Map::new();
    for key in ["IPv4Address", "IPv6Address"] {
        let Some(old) = endpoint["IPAMConfig"][key].as_str().filter(|old| !old.is_empty()) else { continue };
        let Some(new) = translation.text(old) else {
            return refused(format!(
                "container {name} has the fixed address {old}, which lies outside the subnets of network {network}; change it \
                 first"
            ));
        };
        addresses.insert(key.to_owned(), json!(new));
        fixed.push(SubnetMove { from: old.to_owned(), to: new });
    }
    if let Some(local) = endpoint["IPAMConfig"]["LinkLocalIPs"].as_array() {
        addresses.insert("LinkLocalIPs".to_owned(), json!(local));
    }
    let held = ["IPAddress", "GlobalIPv6Address"].map(|key| endpoint[key].as_str().unwrap_or_default());
    let held: Vec<IpAddr> = held.iter().filter_map(|held| held.parse().ok()).collect();
    let stale = held
        .iter()
        .rev()
        .find_map(|held| Some(number(*held)).filter(|_| translation.address(*held).is_some()));
    let known = addresses.len();
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
    let short = container_id.get(..SHORT_ID).unwrap_or_default();
    let aliases = endpoint["Aliases"].as_array().into_iter().flatten();
    let aliases: Vec<&Value> = aliases.filter(|alias| alias.as_str() != Some(short)).collect();
    if !aliases.is_empty() {
        new.insert("Aliases".to_owned(), json!(aliases));
    }
    // Engines from 25 on keep it.
    if let Some(mac) = endpoint["MacAddress"].as_str().filter(|mac| !mac.is_empty()) {
        new.insert("MacAddress".to_owned(), json!(mac));
    }
    let running = is_true(&container["State"]["Running"]);
    let chosen = known < translation.0.len();
    let moved =
        ContainerMove { id: container_id, name, running, fixed, chosen, endpoint: Value::Object(new) };
    Ok(Some((stale.unwrap_or(u128::MAX), moved)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::rows::StaleRow;

    fn rows() -> [SubnetRow; 2] {
        let row = |prefix: &str, gateway: &str| SubnetRow {
            prefix: prefix.to_owned(),
            gateway: Some(gateway.to_owned()),
            ..SubnetRow::default()
        };
        let stale = StaleRow {
            base: "2001:db8:b::/56".to_owned(),
            same_number: Some("2001:db8:b:3::/64".to_owned()),
        };
        [
            row("192.0.2.0/24", "192.0.2.1"),
            SubnetRow { stale: Some(stale), ..row("2001:db8:a:3::/64", "2001:db8:a:3::1") },
        ]
    }

    fn network() -> Value {
        json!({
            "Name": "web_default", "Id": "n1", "Scope": "local", "Driver": "bridge", "EnableIPv4": true, "EnableIPv6": true,
            "Internal": false, "Attachable": true, "Ingress": false, "ConfigFrom": {"Network": ""},
            "IPAM": {"Driver": "gipam", "Options": {"pool": "home"}, "Config": [
                {"Subnet": "192.0.2.0/24", "Gateway": "192.0.2.1"},
                {"Subnet": "2001:db8:a:3::/64", "AuxiliaryAddresses": {"router": "2001:db8:a:3::fe"}},
            ]},
            "Options": {"com.docker.network.enable_ipv6": "true", "com.docker.network.bridge.name": "br-web"},
            "Labels": {PROJECT: "web", "other": "label"},
            "Containers": {"aaaaaaaaaaaabbbb": {}},
        })
    }

    fn container() -> Value {
        json!({
            "Id": "aaaaaaaaaaaabbbb", "Name": "/web-db-1", "State": {"Running": true, "Paused": false},
            "HostConfig": {"NetworkMode": "web_default"},
            "NetworkSettings": {"Networks": {"web_default": {
                "NetworkID": "n1", "IPAMConfig": {"IPv6Address": "2001:db8:a:3::77"}, "Links": null,
                "Aliases": ["db", "aaaaaaaaaaaa"], "DriverOpts": null, "GwPriority": 0,
                "IPAddress": "192.0.2.5", "GlobalIPv6Address": "2001:db8:a:3::77", "MacAddress": "02:42:ac:11:00:02",
            }, "other": {"NetworkID": "n2"}}},
        })
    }

    fn moved(network: &Value, containers: &[Value]) -> Result<NetworkMove, RenumberError> {
        let rows = rows();
        network_move(network, containers, &rows.iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_network_keeps_everything_but_its_prefix() {
        let found = moved(&network(), &[container()]).unwrap();
        assert_eq!(found.project.as_deref(), Some("web"));
        let expected = json!({
            "Name": "web_default", "CheckDuplicate": true, "Driver": "bridge", "Internal": false, "Attachable": true,
            "EnableIPv4": true, "EnableIPv6": true,
            "IPAM": {"Driver": "gipam", "Options": {"pool": "home"}, "Config": [
                {"Subnet": "192.0.2.0/24", "Gateway": "192.0.2.1"},
                {"Subnet": "2001:db8:b:3::/64", "Gateway": "2001:db8:b:3::1",
                 "AuxiliaryAddresses": {"router": "2001:db8:b:3::fe"}},
            ]},
            "Options": {"com.docker.network.bridge.name": "br-web"}, "Labels": {PROJECT: "web", "other": "label"},
        });
        assert_eq!(found.create, expected);
        let [container] = &found.containers[..] else { panic!("{found:?}") };
        assert_eq!(
            container.endpoint,
            json!({"IPAMConfig": {"IPv6Address": "2001:db8:b:3::77"}, "Aliases": ["db"], "MacAddress": "02:42:ac:11:00:02"})
        );
        assert!(container.running && container.chosen, "its IPv4 address is not fixed");
        let file = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<NetworkMove>(&file).unwrap(), found);
    }

    #[test]
    fn what_docker_cannot_do_is_refused_with_the_reason() {
        let changed = |pointer: &str, value: Value| {
            let mut all = json!({"network": network(), "container": container()});
            *all.pointer_mut(pointer).unwrap() = value;
            moved(&all["network"], &[all["container"].clone()]).unwrap_err().to_string()
        };
        for (pointer, value, why) in [
            ("/network/Scope", json!("swarm"), "belongs to a swarm"),
            ("/network/Ingress", json!(true), "belongs to a swarm"),
            (
                "/network/ConfigFrom/Network",
                json!("template"),
                "takes its subnets from the configuration network template",
            ),
            ("/network/Containers", json!({"ep-1": {}}), "has the endpoint ep-1"),
            ("/network/Containers", json!({"other": {}}), "which the Engine does not list"),
            ("/container/HostConfig/NetworkMode", json!("n1"), "names network web_default by its id"),
            ("/container/State/Paused", json!(true), "docker unpause web-db-1"),
            (
                "/container/NetworkSettings/Networks/web_default/IPAMConfig/IPv6Address",
                json!("2001:db8:9::1"),
                "the fixed address 2001:db8:9::1, which lies outside",
            ),
        ] {
            let error = changed(pointer, value);
            assert!(error.contains(why), "{pointer}: {error}");
        }
        let mut rows = rows();
        rows[1].stale.as_mut().unwrap().same_number = None;
        let error = network_move(&network(), &[], &rows.iter().collect::<Vec<_>>()).unwrap_err();
        assert!(error.to_string().contains("has no place for the number of 2001:db8:a:3::/64"), "{error}");
    }

    #[test]
    fn containers_are_connected_in_the_order_of_their_addresses() {
        let named = |id: &str, address: &str| {
            let mut container = container();
            container["Id"] = json!(id);
            container["NetworkSettings"]["Networks"]["web_default"]["IPAMConfig"] = Value::Null;
            container["NetworkSettings"]["Networks"]["web_default"]["GlobalIPv6Address"] = json!(address);
            container
        };
        let all = [named("c", "2001:db8:a:3::9"), named("b", ""), named("a", "2001:db8:a:3::2")];
        let mut network = network();
        network["Containers"] = json!({});
        let found = moved(&network, &all).unwrap();
        let order: Vec<&str> = found.containers.iter().map(|container| container.id.as_str()).collect();
        assert_eq!(order, ["b", "a", "c"], "192.0.2.5 is a smaller number than any IPv6 address");
        assert!(found.containers.iter().all(|container| container.chosen && container.fixed.is_empty()));
    }
}
