//! One look: the books as they were read, against the Engine's networks as they were listed afterwards.
//!
//! Promises: pure. Matches by space and prefix, since the Engine shows no PoolIDs; where a prefix is held twice nothing
//! is adopted. Gateways that the Engine hides (P26) are no sign of death: only endpoints are ever suspected.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::networks::{Unknown, unknown_networks};
use super::suspects::Key;
use crate::docker::engine::{Endpoint, Network};
use crate::plan::change::{Kind, Record, Serial, Shown};
use crate::plan::prefix::{Prefix, number};
use crate::plan::request::{Fence, Repair, Space};
use crate::plan::settings::Millis;
use crate::plan::{Plan, Subnet};

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// What looked dead: key, granted at, why.
    pub(super) dead: Vec<(Key, Millis, String)>,
    /// What can be done at once: adopt, identify, note as listed.
    pub(super) at_once: Vec<Repair>,
    /// Names to note, cheap and often the same.
    pub(super) names: Vec<Repair>,
    /// No dockerd that lives has called yet.
    nobody: bool,
    /// Live leases of callers that have gone, whatever that means: they are not taken for dead.
    pub(super) alive_all_the_same: BTreeSet<(Serial, u128, u64)>,
    /// Networks of ours whose subnet the books do not hold.
    pub(super) unknown_networks: Vec<Unknown>,
    /// Adopted subnets whose PoolID is not known yet: it was this Engine that had them.
    pub(super) unnamed: BTreeSet<Key>,
}

/// Compares. `read` is when the books were read that `plan` holds. While no dockerd that lives has called (`nobody`), the
/// first call of one may tell that another has gone: what is alive now is then known to be.
pub(super) fn compare(plan: &Plan, read: Fence, networks: &[Network], nobody: bool) -> Look {
    let mut look = Look { nobody, ..Look::default() };
    let held: Vec<&Subnet> =
        plan.subnets().filter(|subnet| subnet.is_held() && subnet.state.space == Space::Local).collect();
    for subnet in &held {
        let prefix = subnet.state.prefix;
        let there: Vec<&Network> = networks
            .iter()
            .filter(|network| network.subnets.iter().any(|shown| shown.prefix == prefix))
            .collect();
        let key = (subnet.state.serial, None, subnet.state.generation);
        if subnet.awaits_id() {
            look.unnamed.insert(key);
        }
        if there.is_empty() {
            look.dead.push((key, subnet.state.granted_at, "the Engine knows no such network".to_owned()));
            continue;
        }
        let alone = held.iter().filter(|other| other.state.prefix == prefix).count() == 1;
        known(&mut look, plan, subnet, &there, alone, read);
    }
    look.names.extend(plan.subnets().filter_map(|subnet| network_name(subnet, &held, networks)));
    look.unknown_networks = unknown_networks(&held, networks, read);
    look
}

/// A subnet whose network the Engine knows.
fn known(look: &mut Look, plan: &Plan, subnet: &Subnet, there: &[&Network], alone: bool, read: Fence) {
    let state = &subnet.state;
    let local = there.iter().all(|network| network.scope == "local");
    let names = there.iter().map(|network| network.name.as_str()).collect::<Vec<_>>().join(", ");
    let live = |address: u128| live_at(there, state.prefix, address);
    for (address, record) in subnet.addresses.records().filter(|(_, record)| record.leased) {
        let key = (state.serial, Some(address), record.generation);
        match live(address) {
            Some((network, endpoint)) => {
                if look.nobody || plan.asked_by_the_gone(record.generation) {
                    look.alive_all_the_same.insert((state.serial, address, record.generation));
                }
                name(look, key, network, endpoint);
            }
            None if record.kind == Kind::Endpoint && local => {
                look.dead.push((
                    key,
                    record.since,
                    format!("no running container of network {names} has it"),
                ));
            }
            None => {}
        }
        identify(look, key, record, there, state.prefix, live(address).is_some());
    }
    if alone && local {
        adopt(look, subnet, there, read);
    }
    if state.start_beyond.is_some() {
        look.at_once.push(Repair::Listed { serial: state.serial, generation: state.generation });
    }
}

/// The endpoint that is live at this address.
fn live_at<'a>(there: &[&'a Network], prefix: Prefix, address: u128) -> Option<(&'a Network, &'a Endpoint)> {
    let here = |shown: &IpAddr| prefix.contains_address(*shown) && number(*shown) == address;
    there.iter().find_map(|network| {
        let endpoint = network.endpoints.iter().find(|endpoint| endpoint.addresses.iter().any(here))?;
        Some((*network, endpoint))
    })
}

fn name(look: &mut Look, (serial, address, generation): Key, network: &Network, endpoint: &Endpoint) {
    let (Some(address), false) = (address, endpoint.container.is_empty()) else { return };
    let shown = Shown {
        container: endpoint.container.as_str().into(),
        container_id: endpoint.container_id.as_str().into(),
        network: network.name.as_str().into(),
    };
    look.names.push(Repair::Name { serial, address, generation, shown });
}

/// What the Engine calls the network of a held subnet, where one network alone can be meant.
fn network_name(subnet: &Subnet, local: &[&Subnet], networks: &[Network]) -> Option<Repair> {
    let state = &subnet.state;
    let is_local = state.space == Space::Local;
    let copies = local.iter().filter(|other| is_local && other.state.prefix == state.prefix).count();
    let mut there = networks.iter().filter(|network| {
        (is_local || network.scope != "local")
            && network.subnets.iter().any(|shown| shown.prefix == state.prefix)
    });
    let (network, other) = (there.next()?, there.next());
    let network = network.name.as_str().into();
    let (serial, generation) = (state.serial, state.generation);
    (subnet.is_held() && copies <= 1 && other.is_none()).then_some(Repair::NameNetwork {
        serial,
        generation,
        network,
    })
}

/// What the Engine says an address of a network is, beside its endpoints.
fn set_up_kind(there: &[&Network], prefix: Prefix, address: u128) -> Option<Kind> {
    let is = |shown: &IpAddr| prefix.contains_address(*shown) && number(*shown) == address;
    there.iter().flat_map(|network| &network.subnets).find_map(|subnet| {
        if subnet.gateway.as_ref().is_some_and(is) {
            return Some(Kind::Gateway);
        }
        subnet.auxiliary.iter().any(is).then_some(Kind::Auxiliary)
    })
}

/// A lease that was taken over, and what it is.
fn identify(
    look: &mut Look,
    (serial, address, generation): Key,
    record: &Record,
    there: &[&Network],
    prefix: Prefix,
    live: bool,
) {
    let Some(address) = address.filter(|_| record.kind == Kind::Unknown) else { return };
    let kind = if live { Some(Kind::Endpoint) } else { set_up_kind(there, prefix, address) };
    if let Some(kind) = kind {
        let evidence = "the Engine shows it".into();
        look.at_once.push(Repair::Identify { serial, address, generation, kind, evidence });
    }
}

/// For the history.
pub(super) fn seen_in(endpoint: &Endpoint, network: &Network) -> Box<str> {
    format!("container {} has it in network {}", endpoint.container, network.name).into()
}

/// Live endpoints that the books lack. Swarm's load balancers come and go without us.
fn adopt(look: &mut Look, subnet: &Subnet, there: &[&Network], read: Fence) {
    let prefix = subnet.state.prefix;
    for network in there {
        for endpoint in network.endpoints.iter().filter(|endpoint| !endpoint.is_load_balancer()) {
            for shown in endpoint.addresses.iter().filter(|shown| prefix.contains_address(**shown)) {
                let address = number(*shown);
                if subnet.addresses.is_leased(address) {
                    continue;
                }
                look.at_once.push(Repair::Adopt {
                    serial: subnet.state.serial,
                    address,
                    kind: Kind::Endpoint,
                    mac: endpoint.mac,
                    read,
                    evidence: seen_in(endpoint, network),
                });
            }
        }
    }
}
