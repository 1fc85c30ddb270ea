//! What an Engine shows: its networks, their endpoints and addresses, and the parts of its lists that could not be read.
//!
//! Promises: plain values, as `docker::engine` reads them. Networks without addresses (a `--config-only` template, a
//! disabled family) are left out. Where the Engine shows a size instead of a prefix (P28), the prefix is
//! derived from an address in use there. Makes no decisions: see [`evidence`](super::evidence).

use std::collections::BTreeMap;
use std::net::IpAddr;

use smol_str::SmolStr;

use super::change::Kind;
use super::prefix::{Family, Prefix, number};
use super::request::{Mac, ShownLease, Space};
use super::siblings::Part;

/// The identity of an Engine, from its `/info`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineIdentity {
    /// The Engine's `ID`.
    pub id: Box<str>,
    /// The Engine's `DockerRootDir`: another data root has other networks, even with the same id.
    pub root: Box<str>,
}

/// Everything that one survey of an Engine read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// The Engine's identity; `None` if it does not send one.
    pub engine: Option<EngineIdentity>,
    /// The Engine's networks, of all IPAM drivers.
    pub networks: Vec<Network>,
    /// What was missing or could not be read; if not empty, the list may be incomplete.
    pub unclear: Vec<String>,
}

/// A network as the Engine shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    pub name: String,
    pub id: String,
    /// `local`, `swarm` or `global`.
    pub scope: String,
    /// The name of its IPAM driver.
    pub ipam: String,
    /// The options of its IPAM driver.
    pub options: BTreeMap<String, String>,
    pub subnets: Vec<Configured>,
    /// Subnets for which the Engine shows only the size, and no address in use: family and length.
    pub unlocated: Vec<(Family, u8)>,
    /// The live endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Whether `endpoints` is complete: the network was inspected, and everything in it could be read.
    pub complete: bool,
}

/// A subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    pub prefix: Prefix,
    /// The `--ip-range`.
    pub range: Option<Prefix>,
    /// The gateway, if the network or one of its containers shows one (P26: not always).
    pub gateway: Option<IpAddr>,
    /// The `--aux-address`es.
    pub auxiliary: Vec<IpAddr>,
}

/// A live endpoint of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub container: String,
    /// The container's id; `lb-NETWORK` or `ingress-sbox` for endpoints of Swarm, which are not containers.
    pub container_id: String,
    /// The addresses of both families.
    pub addresses: Vec<IpAddr>,
    pub mac: Option<Mac>,
}

impl Endpoint {
    /// The container's name, if the Engine shows one.
    pub fn name(&self) -> Option<SmolStr> {
        (!self.container.is_empty()).then(|| self.container.as_str().into())
    }
}

impl Network {
    /// Whether Docker requests its addresses from this host's driver, and not from a Swarm manager's.
    pub fn is_local(&self) -> bool {
        self.scope == "local"
    }

    /// The part of the space that the network takes with one of its subnets.
    pub fn part(&self, subnet: &Configured) -> Part {
        Part::new(Space::Local, subnet.prefix, subnet.range, &self.options)
    }

    /// The subnet with exactly this prefix.
    pub fn subnet(&self, prefix: Prefix) -> Option<&Configured> {
        self.subnets.iter().find(|subnet| subnet.prefix == prefix)
    }

    /// The addresses in use in a subnet: the gateway first, which may appear again as an auxiliary address.
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

    /// Derives the prefix of a subnet for which the Engine shows only the size (P28), from addresses in use there.
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
