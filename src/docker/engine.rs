//! The Engine's own API, as far as repair needs it: which networks and endpoints there are.
//!
//! Promises: reads only; tolerant of fields that are absent, null or new (Engines from 20.10 on); never called inside a
//! request (P5: the Engine's locks would deadlock). Decides nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::plan::prefix::Prefix;
use crate::plan::request::Mac;
use crate::server::client::{ClientError, follow, request};
use crate::text;

/// How long the Engine may take for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why the Engine could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no answer.
    #[error("the Engine at {} cannot be asked: {source}", socket.display())]
    Silent {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        source: ClientError,
    },
    /// It refuses.
    #[error("the Engine at {} answered {path} with status {status}", socket.display())]
    Refused {
        /// Its socket.
        socket: PathBuf,
        /// What was asked.
        path: String,
        /// Its status.
        status: u16,
    },
    /// It says something else.
    #[error("the Engine's answer to {path} is not understood: {why}")]
    Unclear {
        /// What was asked.
        path: String,
        /// Why; it may quote the answer.
        why: String,
    },
}

/// A network as the Engine shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// `local`, `swarm` or `global`.
    pub scope: String,
    /// Its IPAM driver.
    pub ipam: String,
    /// The options of its IPAM driver.
    pub options: BTreeMap<String, String>,
    /// Its subnets.
    pub subnets: Vec<Configured>,
    /// Its live endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    /// Its prefix.
    pub prefix: Prefix,
    /// Its `--ip-range`.
    pub range: Option<Prefix>,
    /// Its gateway, where the network or one of its containers shows one (P26: not always).
    pub gateway: Option<IpAddr>,
    /// Its `--aux-address`es.
    pub auxiliary: Vec<IpAddr>,
}

/// A live endpoint of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The container's name.
    pub container: String,
    /// The container's id; `lb-NETWORK` or `ingress-sbox` for Swarm's load balancer, which is no container.
    pub container_id: String,
    /// Its addresses of both families.
    pub addresses: Vec<IpAddr>,
    /// Its MAC.
    pub mac: Option<Mac>,
}

impl Endpoint {
    /// Swarm's load balancers come and go without us.
    pub fn is_load_balancer(&self) -> bool {
        self.container_id.starts_with("lb-") || self.container_id == "ingress-sbox"
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkJson {
    name: Option<String>,
    id: Option<String>,
    scope: Option<String>,
    #[serde(rename = "IPAM")]
    ipam: Option<IpamJson>,
    containers: Option<BTreeMap<String, EndpointJson>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct IpamJson {
    driver: Option<String>,
    options: Option<BTreeMap<String, String>>,
    config: Option<Vec<ConfigJson>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ConfigJson {
    #[serde(rename = "Subnet")]
    subnet: Option<String>,
    #[serde(rename = "Gateway")]
    gateway: Option<String>,
    #[serde(rename = "IPRange")]
    range: Option<String>,
    #[serde(rename = "AuxiliaryAddresses", alias = "AuxAddress")]
    auxiliary: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct EndpointJson {
    #[serde(rename = "Name")]
    name: Option<String>,
    #[serde(rename = "MacAddress")]
    mac: Option<String>,
    #[serde(rename = "IPv4Address")]
    v4: Option<String>,
    #[serde(rename = "IPv6Address")]
    v6: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ContainerJson {
    #[serde(rename = "Id")]
    id: String,
    #[serde(rename = "State")]
    state: Option<String>,
    #[serde(rename = "Names")]
    names: Option<Vec<String>>,
    #[serde(rename = "NetworkSettings")]
    settings: Option<SettingsJson>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SettingsJson {
    #[serde(rename = "Networks")]
    networks: Option<BTreeMap<String, AttachmentJson>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AttachmentJson {
    #[serde(rename = "NetworkID")]
    network: Option<String>,
    #[serde(rename = "Gateway")]
    gateway_v4: Option<String>,
    #[serde(rename = "IPv6Gateway")]
    gateway_v6: Option<String>,
    #[serde(rename = "IPAddress")]
    v4: Option<String>,
    #[serde(rename = "GlobalIPv6Address")]
    v6: Option<String>,
    #[serde(rename = "MacAddress")]
    mac: Option<String>,
}

async fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, Error> {
    let silent = |source| Error::Silent { socket: socket.to_owned(), source };
    let reply = request(socket, "GET", path, Vec::new(), PATIENCE).await.map_err(silent)?;
    if reply.status != 200 {
        return Err(Error::Refused {
            socket: socket.to_owned(),
            path: path.to_owned(),
            status: reply.status,
        });
    }
    serde_json::from_slice(&reply.body).map_err(|error| {
        let why = text::cut(&error.to_string(), text::NAME).into_owned();
        Error::Unclear { path: path.to_owned(), why }
    })
}

/// Whether the Engine serves its API: at its start it calls its drivers before it does (P5).
pub async fn ping(socket: &Path) -> Result<(), Error> {
    let silent = |source| Error::Silent { socket: socket.to_owned(), source };
    let reply = request(socket, "GET", "/_ping", Vec::new(), PATIENCE).await.map_err(silent)?;
    if reply.status == 200 {
        return Ok(());
    }
    Err(Error::Refused { socket: socket.to_owned(), path: "/_ping".to_owned(), status: reply.status })
}

/// Whether containers outlive this Engine's process.
pub async fn live_restore(socket: &Path) -> Result<bool, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Info {
        live_restore_enabled: bool,
    }
    let info: Info = get(socket, "/info").await?;
    Ok(info.live_restore_enabled)
}

/// The networks whose IPAM driver is one of `drivers`, with their live endpoints. An endpoint is live when the network
/// shows it, or a container that is not stopped; a network that goes away meanwhile is left out.
pub async fn networks(socket: &Path, drivers: &[String]) -> Result<Vec<Network>, Error> {
    let listed: Vec<NetworkJson> = get(socket, "/networks").await?;
    let ours = |network: &NetworkJson| {
        network.ipam.as_ref().and_then(|ipam| ipam.driver.as_ref()).is_some_and(|name| drivers.contains(name))
    };
    let mut networks = Vec::new();
    for id in listed.into_iter().filter(ours).filter_map(|network| network.id) {
        match get::<NetworkJson>(socket, &format!("/networks/{id}")).await {
            Ok(network) => networks.push(read_network(network)),
            Err(Error::Refused { status: 404, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let containers: Vec<ContainerJson> = get(socket, "/containers/json?all=1").await?;
    for container in containers.into_iter().filter(holds_what_it_names) {
        attach(&mut networks, container);
    }
    Ok(networks)
}

/// Networks as `docker network inspect` prints them: a list, or one alone.
pub fn read_inspected(text: &str) -> Result<Vec<Network>, serde_json::Error> {
    let networks: Vec<NetworkJson> = match text.trim_start().starts_with('[') {
        true => serde_json::from_slice(text.as_bytes())?,
        false => vec![serde_json::from_slice(text.as_bytes())?],
    };
    Ok(networks.into_iter().map(read_network).collect())
}

/// An address that may carry a prefix length.
fn address(text: Option<&str>) -> Option<IpAddr> {
    text?.split('/').next()?.parse().ok()
}

/// A name is free text (P33): what it says is shown, and never more than that.
fn named(name: Option<String>) -> String {
    text::name(&name.unwrap_or_default()).into_owned()
}

fn read_network(json: NetworkJson) -> Network {
    let ipam = json.ipam.unwrap_or_default();
    let subnet = |config: ConfigJson| {
        let prefix = Prefix::parse(config.subnet.as_deref()?)?;
        let auxiliary = config.auxiliary.unwrap_or_default();
        Some(Configured {
            prefix,
            range: config.range.as_deref().and_then(Prefix::parse),
            gateway: address(config.gateway.as_deref()),
            auxiliary: auxiliary.values().filter_map(|text| address(Some(text))).collect(),
        })
    };
    let endpoint = |(container_id, json): (String, EndpointJson)| Endpoint {
        container: named(json.name),
        container_id,
        addresses: [address(json.v4.as_deref()), address(json.v6.as_deref())].into_iter().flatten().collect(),
        mac: json.mac.as_deref().and_then(super::wire::parse_mac),
    };
    Network {
        name: named(json.name),
        id: json.id.unwrap_or_default(),
        scope: json.scope.unwrap_or_else(|| "local".to_owned()),
        ipam: ipam.driver.unwrap_or_default(),
        options: ipam.options.unwrap_or_default(),
        subnets: ipam.config.unwrap_or_default().into_iter().filter_map(subnet).collect(),
        endpoints: json.containers.unwrap_or_default().into_iter().map(endpoint).collect(),
    }
}

/// Where a dockerd ended while its driver was away, or was killed, its stopped containers go on naming the addresses that
/// they had. One that is being started is no witness either: the network shows its endpoint.
fn holds_what_it_names(container: &ContainerJson) -> bool {
    !matches!(container.state.as_deref(), Some("created" | "exited" | "dead"))
}

/// Adds what a container shows of its own attachments.
fn attach(networks: &mut [Network], container: ContainerJson) {
    let names = container.names.unwrap_or_default();
    let name = names.first().map_or("", |name| name.trim_start_matches('/'));
    let name = text::name(name).into_owned();
    for attachment in container.settings.unwrap_or_default().networks.unwrap_or_default().into_values() {
        let network = networks.iter_mut().find(|network| Some(&network.id) == attachment.network.as_ref());
        let Some(network) = network else { continue };
        for gateway in [attachment.gateway_v4.as_deref(), attachment.gateway_v6.as_deref()] {
            show_gateway(network, address(gateway));
        }
        let addresses = [address(attachment.v4.as_deref()), address(attachment.v6.as_deref())];
        let addresses: Vec<IpAddr> = addresses.into_iter().flatten().collect();
        match network.endpoints.iter_mut().find(|endpoint| endpoint.container_id == container.id) {
            Some(known) => {
                known.container.clone_from(&name);
                for address in addresses
                    .into_iter()
                    .filter(|address| !known.addresses.contains(address))
                    .collect::<Vec<_>>()
                {
                    known.addresses.push(address);
                }
            }
            None if addresses.is_empty() => {}
            None => network.endpoints.push(Endpoint {
                container: name.clone(),
                container_id: container.id.clone(),
                addresses,
                mac: attachment.mac.as_deref().and_then(super::wire::parse_mac),
            }),
        }
    }
}

/// A container knows its gateways, also where its network hides them (P26).
fn show_gateway(network: &mut Network, shown: Option<IpAddr>) {
    let Some(shown) = shown else { return };
    let hidden = |subnet: &&mut Configured| subnet.gateway.is_none() && subnet.prefix.contains_address(shown);
    if let Some(subnet) = network.subnets.iter_mut().find(hidden) {
        subnet.gateway = Some(shown);
    }
}

/// Calls `happened` whenever something happens to a network or a container, until the stream of events ends.
pub async fn follow_events(socket: &Path, happened: impl FnMut()) -> Result<(), Error> {
    // {"type":["network","container"]}, encoded.
    let path = "/events?filters=%7B%22type%22%3A%5B%22network%22%2C%22container%22%5D%7D";
    let silent = |source| Error::Silent { socket: socket.to_owned(), source };
    follow(socket, path, happened).await.map_err(silent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p33_names_are_data_on_one_line_and_of_bounded_length() {
        let name = format!("\u{1b}[2J\nerror: forged\u{9b}\u{2028}\u{202e}{}", "n".repeat(140_000));
        let container = serde_json::json!({"Name": name, "IPv4Address": "192.0.2.2/24"});
        let network = serde_json::json!({"Name": name, "Id": "1", "Containers": {"c": container}});
        let mut networks = read_inspected(&network.to_string()).unwrap();
        let listed = serde_json::json!({"Id": "d", "Names": [format!("/{name}")],
            "NetworkSettings": {"Networks": {"x": {"NetworkID": "1", "IPAddress": "192.0.2.3"}}}});
        attach(&mut networks, serde_json::from_value(listed).unwrap());
        let network = networks.pop().unwrap();
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
