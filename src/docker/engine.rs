//! The Engine's own API, as far as repair needs it: its networks and endpoints.
//!
//! Promises: only reads; tolerates fields that are absent, null or new (Engines from 20.10 on); is never
//! called within a request (P5: the Engine's locks would deadlock). Makes no decisions.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::plan::prefix::{Family, Prefix};
use crate::plan::request::Mac;
pub use crate::plan::shown::{Configured, Endpoint, Network};
use crate::plan::shown::{EngineIdentity, Lists};
use crate::server::client::{ClientError, HttpReply, encoded, open, piece, request};
use crate::text;

/// How long the Engine may take for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a call to the Engine failed.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct EngineError {
    /// The status, if the Engine refused the request.
    status: Option<u16>,
    text: String,
}

impl EngineError {
    fn silent(socket: &Path, why: &ClientError) -> Self {
        Self { status: None, text: format!("the Engine at {} cannot be reached: {why}", socket.display()) }
    }

    fn refused(socket: &Path, path: &str, status: u16) -> Self {
        let text = format!("the Engine at {} answered {path} with status {status}", socket.display());
        Self { status: Some(status), text }
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default, expecting = "a network")]
struct NetworkJson {
    name: Option<String>,
    id: Option<String>,
    scope: Option<String>,
    #[serde(rename = "IPAM")]
    ipam: Option<IpamJson>,
    containers: Option<BTreeMap<String, EndpointJson>>,
    #[serde(rename = "ConfigOnly")]
    config_only: Option<bool>,
    #[serde(rename = "EnableIPv4")]
    v4: Option<bool>,
    #[serde(rename = "EnableIPv6")]
    v6: Option<bool>,
}

impl NetworkJson {
    /// Whether it can hold subnets: a template (`--config-only`) is listed too, but cannot.
    fn holds(&self) -> bool {
        self.config_only != Some(true)
    }

    /// Whether it uses one of Docker's own IPAM drivers; no other driver serves such a network.
    fn has_builtin_ipam(&self) -> bool {
        let driver = self.ipam.as_ref().and_then(|ipam| ipam.driver.as_deref());
        matches!(driver, Some("default" | "null"))
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default, expecting = "the IPAM section of a network")]
struct IpamJson {
    driver: Option<String>,
    options: Option<BTreeMap<String, String>>,
    config: Option<Vec<ConfigJson>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", expecting = "a subnet of a network")]
struct ConfigJson {
    subnet: Option<String>,
    gateway: Option<String>,
    #[serde(rename = "IPRange")]
    range: Option<String>,
    #[serde(rename = "AuxiliaryAddresses", alias = "AuxAddress")]
    auxiliary: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", expecting = "a container in a network")]
struct EndpointJson {
    name: Option<String>,
    mac_address: Option<String>,
    #[serde(rename = "IPv4Address")]
    v4: Option<String>,
    #[serde(rename = "IPv6Address")]
    v6: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerJson {
    #[serde(default)]
    id: String,
    state: Option<String>,
    names: Option<Vec<String>>,
    network_settings: Option<SettingsJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SettingsJson {
    networks: Option<BTreeMap<String, AttachmentJson>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AttachmentJson {
    #[serde(rename = "NetworkID")]
    network: Option<String>,
    gateway: Option<String>,
    #[serde(rename = "IPv6Gateway")]
    gateway_v6: Option<String>,
    #[serde(rename = "IPAddress")]
    v4: Option<String>,
    #[serde(rename = "GlobalIPv6Address")]
    v6: Option<String>,
    mac_address: Option<String>,
}

async fn ask(socket: &Path, path: &str) -> Result<Vec<u8>, EngineError> {
    match request(socket, "GET", path, Vec::new(), PATIENCE).await {
        Ok(HttpReply { status: 200, body }) => Ok(body),
        Ok(HttpReply { status, .. }) => Err(EngineError::refused(socket, path, status)),
        Err(error) => Err(EngineError::silent(socket, &error)),
    }
}

async fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, EngineError> {
    serde_json::from_slice(&ask(socket, path).await?).map_err(|error| {
        // The reason may quote the answer.
        let why = error.to_string();
        let text = format!("cannot parse the Engine's answer to {path}: {}", text::cut(&why, text::NAME));
        EngineError { status: None, text }
    })
}

/// Checks whether the Engine serves its API; while starting, it calls its drivers before it serves the API
/// (P5).
pub async fn ping(socket: &Path) -> Result<(), EngineError> {
    ask(socket, "/_ping").await.map(drop)
}

/// The parts of `/info` that identify the Engine.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct InfoJson {
    #[serde(rename = "ID")]
    id: Option<Box<str>>,
    docker_root_dir: Option<Box<str>>,
    containers: Option<usize>,
}

/// Everything that repair needs to know about an Engine: its networks of all IPAM drivers, with the live
/// endpoints of those that do not use Docker's own drivers. An endpoint is live if its network shows it, or a
/// container that is not stopped.
pub async fn lists(socket: &Path) -> Result<Lists, EngineError> {
    let mut lists = Lists::default();
    let listed: Vec<NetworkJson> = get(socket, "/networks").await?;
    for network in listed.into_iter().filter(NetworkJson::holds) {
        let id = network.id.clone().filter(|id| !id.is_empty() && !network.has_builtin_ipam());
        let (network, complete) = match id {
            None => (network, false),
            Some(id) => match get::<NetworkJson>(socket, &format!("/networks/{id}")).await {
                Ok(inspected) => (inspected, true),
                // The network is being removed; its endpoints count as alive until a later list lacks the
                // network.
                Err(EngineError { status: Some(404), .. }) => (network, false),
                Err(error) => return Err(error),
            },
        };
        if network.holds() {
            lists.networks.push(read_network(network, complete, &mut lists.unclear));
        }
    }
    let containers: Vec<ContainerJson> = get(socket, "/containers/json?all=1").await?;
    let info = match get::<InfoJson>(socket, "/info").await {
        Ok(info) => info,
        // A proxy may forbid this request; the lists then show what is alive, but do not prove anything dead.
        Err(EngineError { status: Some(_), text }) => {
            lists.unclear.push(text);
            InfoJson::default()
        }
        Err(error) => return Err(error),
    };
    if let Some(count) = info.containers.filter(|count| *count != containers.len()) {
        lists.unclear.push(format!(
            "/info counts {}, but {} are listed",
            text::counted(count, "container"),
            containers.len()
        ));
    }
    let identity = info.id.zip(info.docker_root_dir).filter(|(id, root)| !id.is_empty() && !root.is_empty());
    lists.engine = identity.map(|(id, root)| EngineIdentity { id, root });
    // This comes before the containers' gateways are read, because each gateway belongs to a subnet.
    lists.networks.iter_mut().filter(|network| !network.endpoints.is_empty()).for_each(locate);
    for container in containers.into_iter().filter(holds_its_addresses) {
        attach(&mut lists, container);
    }
    lists.networks.iter_mut().for_each(locate);
    Ok(lists)
}

/// Reads networks as `docker network inspect` prints them: a list, or a single one.
pub fn read_inspected(text: &str) -> Result<Vec<Network>, serde_json::Error> {
    let networks: Vec<NetworkJson> = match text.trim_start().starts_with('[') {
        true => serde_json::from_slice(text.as_bytes())?,
        false => vec![serde_json::from_slice(text.as_bytes())?],
    };
    let read = |network: NetworkJson| {
        let mut network = read_network(network, true, &mut Vec::new());
        locate(&mut network);
        network
    };
    Ok(networks.into_iter().filter(NetworkJson::holds).map(read).collect())
}

/// Parses an address, with or without a prefix length; `None` if the text is absent or empty.
///
/// # Errors
/// The text, if it is not an address.
fn address(text: Option<&str>) -> Result<Option<IpAddr>, String> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let alone = text.split('/').next().unwrap_or(text);
    alone.parse().map(Some).map_err(|_| text.to_owned())
}

/// A name is free text (P33), and only serves for display.
fn named(name: Option<String>) -> String {
    text::name(&name.unwrap_or_default()).into_owned()
}

/// Reads a network. If a value cannot be parsed, the network's endpoints count as incomplete, or the whole
/// list as unclear.
fn read_network(json: NetworkJson, inspected: bool, unclear: &mut Vec<String>) -> Network {
    let name = named(json.name);
    let ipam = json.ipam.unwrap_or_default();
    let mut network = Network {
        id: json.id.unwrap_or_default(),
        scope: json.scope.unwrap_or_else(|| "local".to_owned()),
        ipam: ipam.driver.unwrap_or_default(),
        options: ipam.options.unwrap_or_default(),
        // A missing list does not mean an empty one.
        complete: inspected && json.containers.is_some(),
        ..Network::default()
    };
    // A family that is switched off is listed, although it was never requested (P28).
    let is_on = |family: Family| match family {
        Family::V4 => json.v4 != Some(false),
        Family::V6 => json.v6 != Some(false),
    };
    for config in ipam.config.unwrap_or_default() {
        match config.read() {
            Ok(Some(subnet)) if is_on(subnet.prefix.family()) => network.subnets.push(subnet),
            Ok(_) => {}
            Err(text) => unclear.push(format!("network {name}: {text:?} is neither a subnet nor an address")),
        }
    }
    for (container_id, endpoint) in json.containers.unwrap_or_default() {
        match endpoint.read(container_id) {
            Ok(endpoint) => network.endpoints.push(endpoint),
            Err(_) => network.complete = false,
        }
    }
    Network { name, ..network }
}

impl ConfigJson {
    /// The subnet; `None` if the text is absent or empty.
    fn read(self) -> Result<Option<Configured>, String> {
        let Some(text) = self.subnet.filter(|text| !text.is_empty()) else { return Ok(None) };
        let prefix = Prefix::parse(&text).ok_or(text)?;
        let auxiliary = self.auxiliary.unwrap_or_default();
        let auxiliary = auxiliary.values().map(|text| address(Some(text))).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Configured {
            prefix,
            range: self.range.as_deref().and_then(Prefix::parse),
            gateway: address(self.gateway.as_deref())?,
            auxiliary: auxiliary.into_iter().flatten().collect(),
        }))
    }
}

impl EndpointJson {
    fn read(self, container_id: String) -> Result<Endpoint, String> {
        let addresses = [address(self.v4.as_deref())?, address(self.v6.as_deref())?];
        Ok(Endpoint {
            container: named(self.name),
            container_id,
            addresses: addresses.into_iter().flatten().collect(),
            mac: self.mac_address.as_deref().and_then(Mac::parse),
        })
    }
}

/// Engines up to 28 keep showing the requested size, `0.0.0.0/26`, even if they know the subnet (P28); an
/// unspecified prefix is never a subnet.
fn locate(network: &mut Network) {
    let unspecified = |subnet: &Configured| subnet.prefix.first() == 0;
    let sizes: Vec<Configured> = network.subnets.extract_if(.., |subnet| unspecified(subnet)).collect();
    for size in sizes {
        network.locate(size.prefix.family(), size.prefix.length(), &size);
    }
}

/// If a dockerd was killed, or ended while its driver was not running, its stopped containers still show the
/// addresses that they had. A container that is just starting does not prove anything either, but its network
/// shows the endpoint.
fn holds_its_addresses(container: &ContainerJson) -> bool {
    !matches!(container.state.as_deref(), Some("created" | "exited" | "dead"))
}

/// Adds what a container shows about its own attachments.
fn attach(lists: &mut Lists, container: ContainerJson) {
    let names = container.names.unwrap_or_default();
    let name = names.first().map_or("", |name| name.trim_start_matches('/'));
    let name = text::name(name).into_owned();
    let Some(attachments) = container.network_settings.and_then(|settings| settings.networks) else {
        lists.unclear.push(format!("container {name} does not show its networks"));
        return;
    };
    for attachment in attachments.into_values() {
        let mut networks = lists.networks.iter_mut();
        let Some(network) = networks.find(|network| Some(&network.id) == attachment.network.as_ref()) else {
            continue;
        };
        let texts = [&attachment.gateway, &attachment.gateway_v6, &attachment.v4, &attachment.v6];
        let [gateway_v4, gateway_v6, v4, v6] = texts.map(|text| {
            address(text.as_deref()).unwrap_or_else(|_| {
                network.complete = false;
                None
            })
        });
        for gateway in [gateway_v4, gateway_v6] {
            show_gateway(network, gateway);
        }
        let addresses = [v4, v6].into_iter().flatten();
        match network.endpoints.iter_mut().find(|endpoint| endpoint.container_id == container.id) {
            Some(known) => {
                known.container.clone_from(&name);
                for address in addresses {
                    if !known.addresses.contains(&address) {
                        known.addresses.push(address);
                    }
                }
            }
            None if v4.is_none() && v6.is_none() => {}
            None => network.endpoints.push(Endpoint {
                container: name.clone(),
                container_id: container.id.clone(),
                addresses: addresses.collect(),
                mac: attachment.mac_address.as_deref().and_then(Mac::parse),
            }),
        }
    }
}

/// A container knows its gateways, even if its network hides them (P26).
fn show_gateway(network: &mut Network, shown: Option<IpAddr>) {
    let Some(shown) = shown else { return };
    let hidden = |subnet: &&mut Configured| subnet.gateway.is_none() && subnet.prefix.contains_address(shown);
    if let Some(subnet) = network.subnets.iter_mut().find(hidden) {
        subnet.gateway = Some(shown);
    }
}

/// Calls `happened` when the event stream begins, because earlier events are not reported, and at every
/// network or container event until the stream ends.
pub async fn follow_events(socket: &Path, mut happened: impl FnMut()) -> Result<(), EngineError> {
    let path = format!("/events?filters={}", encoded(r#"{"type":["network","container"]}"#));
    let silent = |error| EngineError::silent(socket, &error);
    let mut answer = open(socket, "GET", &path, Vec::new()).await.map_err(silent)?;
    if answer.status != 200 {
        return Err(EngineError::refused(socket, &path, answer.status));
    }
    happened();
    while piece(socket, &mut answer).await.map_err(silent)?.is_some() {
        happened();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p33_names_are_escaped_and_truncated() {
        let name = format!("\u{1b}[2J\nerror: forged\u{9b}\u{2028}\u{202e}{}", "n".repeat(140_000));
        let container = serde_json::json!({"Name": name, "IPv4Address": "192.0.2.2/24"});
        let network = serde_json::json!({"Name": name, "Id": "1", "Containers": {"c": container}});
        let networks = read_inspected(&network.to_string()).unwrap();
        let mut lists = Lists { networks, ..Lists::default() };
        let listed = serde_json::json!({"Id": "d", "Names": [format!("/{name}")],
            "NetworkSettings": {"Networks": {"x": {"NetworkID": "1", "IPAddress": "192.0.2.3"}}}});
        attach(&mut lists, serde_json::from_value(listed).unwrap());
        let network = lists.networks.pop().unwrap();
        let names = network.endpoints.iter().map(|endpoint| &endpoint.container).chain([&network.name]);
        let names: Vec<&String> = names.collect();
        assert_eq!(names.len(), 3);
        for name in names {
            let steers = |letter: char| letter.is_control() || ['\u{2028}', '\u{202e}'].contains(&letter);
            assert!(
                name.len() <= text::NAME && name.contains("forged") && !name.contains(steers),
                "{name:?}"
            );
        }
    }
}
