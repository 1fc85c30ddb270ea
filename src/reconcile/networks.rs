//! gipam's networks whose subnet is not in the books, because the books were lost or come from an old backup.
//!
//! Promises: pure. Says what lives in each network, and why one cannot be adopted: its prefix is shown twice, or overlaps
//! what is held. Adopts nothing.

use super::Finding;
use crate::plan::Subnet;
use crate::plan::evidence::Sight;
use crate::plan::prefix::Prefix;
use crate::plan::request::{Adoption, Fence};
use crate::plan::settings::rfc3339;
use crate::plan::shown::Network;
use crate::text::counted;

/// Advice on how an adopted subnet gets its PoolID.
pub(super) const LEARNING: &str = "Docker sends the PoolID of an adopted subnet when the next container starts there. If that start is \
    refused as not found, the refusal names the PoolID to give: gipam adopt SUBNET POOLID";
/// The same advice if several networks share a prefix.
pub(super) const SHARING: &str = "These networks share a subnet. Docker sends the PoolID when the next container starts there. If that \
    start is refused, as PoolIDs of earlier versions name no range, use docker restart on a running container of that network, or type \
    what the refusal says: gipam adopt RANGE POOLID";
const ADOPTABLE: &str = "gipam gc --apply adopts networks that the books lack";
const OVERLAP: &str = "Of two networks that overlap, remove one; then gipam gc --apply adopts the other";

/// One network whose subnet is not in the books.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unknown {
    pub(super) network: String,
    /// What would be adopted.
    pub(super) adoption: Adoption,
    /// Why it cannot be adopted; `None` if it can.
    pub(super) obstacle: Option<String>,
}

/// The outcome of a request to adopt a network.
pub(super) enum Outcome {
    /// Nobody asked to adopt it.
    Open,
    /// It was adopted.
    Adopted,
    Refused(String),
}

/// All such networks. `held` are the subnets of space local in the books, which were read at `read`.
pub(super) fn unknown_networks(
    held: &[&Subnet],
    sight: &Sight<'_>,
    networks: &[Network],
    read: Fence,
) -> Vec<Unknown> {
    let mut unknown = Vec::new();
    let ours = |network: &Network| network.is_local() && sight.is_ours(network);
    let all: Vec<(&Network, Adoption)> = networks
        .iter()
        .filter(|network| ours(network))
        .flat_map(|network| network.subnets.iter().map(move |shown| (network, Adoption::of(network, shown))))
        .collect();
    for network in networks.iter().filter(|network| ours(network)) {
        for shown in &network.subnets {
            let leases = network.lives_in(shown);
            let mut adoption = Adoption { leases, read, ..Adoption::of(network, shown) };
            let prefix = shown.prefix;
            let here = || held.iter().filter(|subnet| subnet.state.prefix == prefix);
            if here().any(|subnet| !adoption.is_beside(&subnet.state)) {
                continue;
            }
            // A leased address that is also live in another network stays where it is.
            adoption.leases.retain(|lease| {
                let elsewhere = |(other, _): &(&Network, _)| other.id != network.id;
                let leased = here().any(|subnet| subnet.addresses.is_leased(lease.address));
                !(leased && sight.living(prefix, lease.address).iter().any(elsewhere))
            });
            let in_the_way = held.iter().find(|subnet| !adoption.is_beside(&subnet.state));
            let obstacle = match (rival(network, prefix, &all), in_the_way) {
                (Some(other), _) => Some(format!("network {other} overlaps it")),
                (None, Some(subnet)) => Some(format!("{} of the books overlaps it", subnet.state.prefix)),
                (None, None) => None,
            };
            unknown.push(Unknown { network: network.name.clone(), adoption, obstacle });
        }
    }
    unknown
}

/// The name of a network that cannot be held together with another one that overlaps this prefix. While there is such a
/// network, nobody can tell whose PoolID Docker will send.
fn rival<'a>(network: &Network, prefix: Prefix, all: &[(&'a Network, Adoption)]) -> Option<&'a str> {
    let around: Vec<&(&Network, Adoption)> =
        all.iter().filter(|(_, it)| it.prefix.overlaps(prefix)).collect();
    let pairs = around.iter().flat_map(|one| around.iter().map(move |two| (one, two)));
    let clash = |((one, seen), (two, other)): (&(&'a Network, Adoption), &(&'a Network, Adoption))| {
        (one.id != two.id && !seen.stands_beside(other)).then_some((*one, *two))
    };
    let clashes: Vec<_> = pairs.filter_map(|(one, two)| clash((*one, *two))).collect();
    let own = clashes.iter().find(|(one, _)| one.id == network.id).map(|(_, two)| two);
    own.or_else(|| clashes.first().map(|(one, _)| one)).map(|it| it.name.as_str())
}

impl Unknown {
    /// Whether this prefix, which a person gave, is the prefix or the range of this network.
    pub(super) fn is_called(&self, prefix: Prefix) -> bool {
        self.adoption.prefix == prefix || self.adoption.range == Some(prefix)
    }

    /// The finding about this network, for people.
    pub(super) fn finding(&self, outcome: &Outcome) -> Finding {
        let prefix = self.adoption.prefix;
        let lives = counted(self.adoption.leases.len(), "address");
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
            holder: Some(self.network.clone()),
            last_seen: Some(rfc3339(self.adoption.read.at)),
            why: why.to_owned(),
            action,
            advice: advice.map(str::to_owned),
            ..Finding::default()
        }
    }
}
