//! What an Engine shows: its networks, what lives in them, and what in its lists could not be read.
//!
//! Promises: plain values, as `docker::engine` reads them. A network that holds nothing (a `--config-only` template, a
//! family that is switched off) is not among them. Where the Engine shows a size instead of a prefix (P28), the prefix is
//! taken from an address that lives in it. Decides nothing: see [`evidence`](super::evidence).

use std::collections::BTreeMap;
use std::net::IpAddr;

use smol_str::SmolStr;

use super::change::Kind;
use super::prefix::{Family, Prefix, number};
use super::request::{Mac, ShownLease};

/// One Engine, as it names itself in `/info`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineIdentity {
    /// Its `ID`.
    pub id: Box<str>,
    /// Its `DockerRootDir`: another data root has other networks, even with the same id.
    pub root: Box<str>,
}

/// Everything that one look at an Engine read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// Which Engine; absent if it does not say.
    pub engine: Option<EngineIdentity>,
    /// Its networks, of all IPAM drivers.
    pub networks: Vec<Network>,
    /// What was missing or could not be read: then the list may lack something.
    pub unclear: Vec<String>,
}

/// A network as the Engine shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    pub name: String,
    pub id: String,
    /// `local`, `swarm` or `global`.
    pub scope: String,
    /// Its IPAM driver.
    pub ipam: String,
    /// The options of its IPAM driver.
    pub options: BTreeMap<String, String>,
    pub subnets: Vec<Configured>,
    /// Subnets of which the Engine shows only the size, and nothing that lives there: family and length.
    pub unlocated: Vec<(Family, u8)>,
    /// Its live endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Whether `endpoints` are all that there are: the network was inspected, and everything in it could be read.
    pub complete: bool,
}

/// A subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
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
    pub container: String,
    /// The container's id; `lb-NETWORK` or `ingress-sbox` for those of Swarm, which are not containers.
    pub container_id: String,
    /// Its addresses of both families.
    pub addresses: Vec<IpAddr>,
    pub mac: Option<Mac>,
}

impl Endpoint {
    /// What its container is called, if the Engine says so.
    pub fn name(&self) -> Option<SmolStr> {
        (!self.container.is_empty()).then(|| self.container.as_str().into())
    }
}

impl Network {
    /// Whether Docker asks this host's driver for it, and not a Swarm manager's.
    pub fn is_local(&self) -> bool {
        self.scope == "local"
    }

    /// Its subnet of exactly this prefix.
    pub fn subnet(&self, prefix: Prefix) -> Option<&Configured> {
        self.subnets.iter().find(|subnet| subnet.prefix == prefix)
    }

    /// What lives in one of its subnets: the gateway first, which may be shown as an auxiliary address, too.
    pub fn lives_in(&self, subnet: &Configured) -> Vec<ShownLease> {
        let mut leases = Vec::new();
        let mut add = |address: IpAddr, kind: Kind, endpoint: Option<&Endpoint>, evidence: String| {
            if subnet.prefix.contains_address(address) {
                let (name, mac) = (endpoint.and_then(Endpoint::name), endpoint.and_then(|it| it.mac));
                let (address, evidence) = (number(address), evidence.into());
                leases.push(ShownLease { address, kind, name, mac, evidence });
            }
        };
        if let Some(gateway) = subnet.gateway {
            add(gateway, Kind::Gateway, None, format!("network {} shows it", self.name));
        }
        for auxiliary in &subnet.auxiliary {
            let evidence = format!("network {} lists it as an auxiliary address", self.name);
            add(*auxiliary, Kind::Auxiliary, None, evidence);
        }
        for endpoint in &self.endpoints {
            for address in &endpoint.addresses {
                let evidence = format!("container {} has it in network {}", endpoint.container, self.name);
                add(*address, Kind::Endpoint, Some(endpoint), evidence);
            }
        }
        leases
    }

    /// The endpoints that are live at this address of a prefix.
    pub fn living(&self, prefix: Prefix, address: u128) -> impl Iterator<Item = &Endpoint> {
        let here = move |shown: &IpAddr| prefix.contains_address(*shown) && number(*shown) == address;
        self.endpoints.iter().filter(move |endpoint| endpoint.addresses.iter().any(here))
    }

    /// Finds the prefix of a subnet of which the Engine shows only the size (P28), by what lives there.
    pub fn locate(&mut self, family: Family, length: u8, template: &Configured) {
        let lives = self.endpoints.iter().flat_map(|endpoint| &endpoint.addresses).chain(&template.gateway);
        let mut found: Vec<Prefix> = lives
            .filter(|address| Family::of(**address) == family)
            .map(|address| Prefix::new(family, number(*address), length))
            .filter(|prefix| self.subnet(*prefix).is_none())
            .collect();
        found.sort_unstable();
        found.dedup();
        if found.is_empty() {
            self.unlocated.push((family, length));
        }
        self.subnets.extend(found.into_iter().map(|prefix| Configured { prefix, ..template.clone() }));
    }
}
