//! Networks of ours whose subnet the books do not hold: lost books, or books from an old backup.
//!
//! Promises: pure. Says what lives in each, and why one cannot be adopted: its prefix shown twice, or in the way of
//! what is held. Adopts nothing.

use std::net::IpAddr;

use super::Finding;
use super::compare::seen_in;
use crate::plan::Subnet;
use crate::plan::change::Kind;
use crate::plan::evidence::Sight;
use crate::plan::prefix::number;
use crate::plan::request::{Adoption, Fence, ShownLease};
use crate::plan::settings::rfc3339;
use crate::plan::shown::{Configured, Network};

/// How an adopted subnet gets its PoolID.
pub(super) const LEARNING: &str = "Docker sends the PoolID of an adopted subnet when the next container starts there. If that start is \
    refused as not found, the refusal names the PoolID to give: gipam adopt SUBNET POOLID";
const ADOPTABLE: &str = "gipam gc --apply adopts networks that the books lack";
const OVERLAP: &str = "Of two networks that overlap, remove one; then gipam gc --apply adopts the other";

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unknown {
    /// The network's name.
    pub(super) network: String,
    /// What there is to adopt.
    pub(super) adoption: Adoption,
    /// Why it cannot be.
    pub(super) obstacle: Option<String>,
}

/// The outcome of a request to adopt one.
pub(super) enum Outcome {
    /// Not requested.
    Open,
    /// It is done.
    Adopted,
    /// It was refused.
    Refused(String),
}

/// All of them. `held` are the subnets of space local that the books hold, as they were read at `read`.
pub(super) fn unknown_networks(
    held: &[&Subnet],
    sight: &Sight<'_>,
    networks: &[Network],
    read: Fence,
) -> Vec<Unknown> {
    let mut unknown = Vec::new();
    let ours = |network: &Network| network.is_local() && sight.is_ours(network);
    for (n, network) in networks.iter().enumerate().filter(|(_, network)| ours(network)) {
        for shown in &network.subnets {
            let prefix = shown.prefix;
            if held.iter().any(|subnet| subnet.state.prefix == prefix) {
                continue;
            }
            let others = networks
                .iter()
                .enumerate()
                .filter(|(other, it)| *other != n && ours(it))
                .map(|(_, other)| other);
            let twice =
                others.clone().find(|other| other.subnets.iter().any(|it| it.prefix.overlaps(prefix)));
            let in_the_way = held.iter().find(|subnet| subnet.state.prefix.overlaps(prefix));
            let obstacle = match (twice, in_the_way) {
                (Some(other), _) => Some(format!("network {} overlaps it", other.name)),
                (None, Some(subnet)) => Some(format!("{} of the books overlaps it", subnet.state.prefix)),
                (None, None) => None,
            };
            let adoption = adoption(network, shown, read);
            unknown.push(Unknown { network: network.name.clone(), adoption, obstacle });
        }
    }
    unknown
}

/// What lives in a subnet: the gateway first, which may be shown as an auxiliary address, too.
fn adoption(network: &Network, shown: &Configured, read: Fence) -> Adoption {
    let of_network = |kind: Kind| {
        move |address: IpAddr| {
            let evidence = format!("network {} shows it", network.name).into();
            ShownLease { address: number(address), kind, name: None, mac: None, evidence }
        }
    };
    let inside = |address: &IpAddr| shown.prefix.contains_address(*address);
    let mut leases: Vec<ShownLease> =
        shown.gateway.into_iter().filter(inside).map(of_network(Kind::Gateway)).collect();
    let auxiliary = shown.auxiliary.iter().copied().filter(inside);
    leases.extend(auxiliary.map(of_network(Kind::Auxiliary)));
    for endpoint in &network.endpoints {
        leases.extend(endpoint.addresses.iter().copied().filter(inside).map(|address| ShownLease {
            address: number(address),
            kind: Kind::Endpoint,
            name: endpoint.name(),
            mac: endpoint.mac,
            evidence: seen_in(endpoint, network),
        }));
    }
    Adoption {
        prefix: shown.prefix,
        range: shown.range.filter(|range| shown.prefix.contains(*range)),
        options: network.options.clone(),
        id: None,
        leases,
        read,
        evidence: format!("network {} has it", network.name).into(),
    }
}

impl Unknown {
    /// For people.
    pub(super) fn finding(&self, outcome: Outcome) -> Finding {
        let prefix = self.adoption.prefix;
        let lives = match self.adoption.leases.len() {
            1 => "1 address".to_owned(),
            count => format!("{count} addresses"),
        };
        let done = matches!(outcome, Outcome::Adopted);
        let (action, advice) = match (&self.obstacle, outcome) {
            (_, Outcome::Adopted) => match &self.adoption.id {
                None => (format!("adopted with {lives}"), Some(LEARNING)),
                Some(id) => (format!("adopted with {lives} under PoolID {id}"), None),
            },
            (Some(obstacle), _) => (format!("not adopted: {obstacle}"), Some(OVERLAP)),
            (None, Outcome::Refused(why)) => (format!("not adopted: {why}"), None),
            (None, Outcome::Open) => (format!("can be adopted with {lives}"), Some(ADOPTABLE)),
        };
        let why = match done {
            true => "the books lacked its subnet",
            false => "the books lack its subnet; its containers cannot start",
        };
        Finding {
            what: "network".to_owned(),
            subnet: prefix.to_string(),
            address: None,
            holder: Some(self.network.clone()),
            since: None,
            first_seen: None,
            last_seen: Some(rfc3339(self.adoption.read.at)),
            why: why.to_owned(),
            action,
            advice: advice.map(str::to_owned),
        }
    }
}
