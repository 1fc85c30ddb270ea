//! gipam's networks whose subnet is not in the books, because the books were lost or come from an old backup.
//!
//! Promises: lists the addresses in use in each network, and says why a network cannot be adopted: its prefix
//! is shown twice, or overlaps a held subnet. Does not adopt them itself.

use std::sync::Arc;

use super::Finding;
use super::compare::Sighting;
use crate::ledger::{Ledger, Refusal};
use crate::plan::evidence::IndexedLists;
use crate::plan::prefix::Prefix;
use crate::plan::request::{Adoption, Fence, Space};
use crate::plan::settings::rfc3339;
use crate::plan::shown::{Configured, Network};
use crate::plan::{Part, Plan};
use crate::text::counted;

/// Advice on how an adopted subnet gets its PoolID.
pub(super) const LEARNING: &str = "Docker sends the PoolID of an adopted subnet when the next container starts there. If that start is \
    refused as not found, the refusal names the PoolID to give: gipam adopt SUBNET POOLID";
/// The same advice if several networks share a prefix.
pub(super) const SHARING: &str = "These networks share a subnet. Docker sends the PoolID when the next container starts there. If that \
    start is refused (PoolIDs of earlier versions do not contain a range), use docker restart on a running container of that network, \
    or run the command in the refusal: gipam adopt RANGE POOLID";
const ADOPTABLE: &str = "gipam gc --apply adopts networks that the books lack";
const OVERLAP: &str = "Of two networks that overlap, remove one; then gipam gc --apply adopts the other";

/// One network whose subnet is not in the books.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unknown {
    /// The place of the network in the lists.
    place: usize,
    pub(super) network: String,
    /// Whether subnets in the books have the same prefix.
    shares: bool,
    /// The adoption that repair would request.
    pub(super) adoption: Adoption,
    /// Why it cannot be adopted; `None` if it can.
    pub(super) obstacle: Option<String>,
}

/// The network in this place of the lists, if one of its subnets is not in the books, which were read at
/// `read`.
pub(super) fn unknown(
    plan: &Plan,
    place: usize,
    network: &Network,
    shown: &Configured,
    read: Fence,
) -> Option<Unknown> {
    let adoption = Adoption { read, ..Adoption::of(network, shown) };
    let mut here = plan.grants_of(Space::Local, shown.prefix).peekable();
    let shares = here.peek().is_some();
    if here.any(|subnet| !adoption.part().coexists_with(Part::of(&subnet.state))) {
        return None;
    }
    let in_the_way = plan.obstacle_to(&adoption);
    let obstacle =
        in_the_way.map(|subnet| format!("subnet {} in the books overlaps it", subnet.state.prefix));
    Some(Unknown { place, network: network.name.clone(), adoption, shares, obstacle })
}

/// The name of a network that conflicts with another one, around this prefix. While both exist, a PoolID that
/// Docker sends may belong to either.
fn rival<'a>(lists: &'a IndexedLists, network: &Network, prefix: Prefix) -> Option<&'a str> {
    let ours = lists.lists().networks.iter().filter(|network| lists.is_ours_here(network));
    let all = ours.flat_map(|it| it.subnets.iter().map(move |shown| (it, shown)));
    let around = all.filter(|(_, shown)| shown.prefix.overlaps(prefix));
    let around: Vec<(&Network, Part)> = around.map(|(it, shown)| (it, it.part(shown))).collect();
    let pairs = around.iter().flat_map(|one| around.iter().map(move |two| (one, two)));
    let clashes: Vec<(&Network, &Network)> = pairs
        .filter(|((one, seen), (two, other))| one.id != two.id && !seen.coexists_with(*other))
        .map(|((one, _), (two, _))| (*one, *two))
        .collect();
    let own = clashes.iter().find(|(one, _)| one.id == network.id).map(|(_, two)| two);
    own.or_else(|| clashes.first().map(|(one, _)| one)).map(|it| it.name.as_str())
}

impl Unknown {
    /// Adds the addresses in use in the network, and another network that overlaps it.
    pub(super) async fn complete(&mut self, ledger: &Ledger, seen: &Arc<Sighting>) -> Result<(), Refusal> {
        let (prefix, networks) = (self.adoption.prefix, &seen.lists.lists().networks);
        let Some(network) = networks.get(self.place) else { return Ok(()) };
        let mut leases = network.subnet(prefix).map_or_else(Vec::new, |shown| network.lives_in(shown));
        if self.shares {
            // A leased address that is also live in another network stays where it is.
            let (seen, id) = (seen.clone(), network.id.clone());
            let kept = move |plan: &Plan| {
                leases.retain(|lease| {
                    let mut grants = plan.grants_of(Space::Local, prefix);
                    let leased = grants.any(|subnet| subnet.addresses.is_leased(lease.address));
                    !(leased && seen.lists.living(prefix, lease.address).any(|(other, _)| other.id != id))
                });
                leases
            };
            leases = ledger.look(kept).await?;
        }
        self.adoption.leases = leases;
        if let Some(other) = rival(&seen.lists, network, prefix) {
            self.obstacle = Some(format!("network {other} overlaps it"));
        }
        Ok(())
    }

    /// Whether this prefix, which a person gave, is the prefix or the range of this network.
    pub(super) fn is_called(&self, prefix: Prefix) -> bool {
        self.adoption.prefix == prefix || self.adoption.range == Some(prefix)
    }

    /// The finding about this network, for people: whether it was adopted, or why the ledger refused that.
    pub(super) fn finding(&self, adopted: &Result<bool, String>) -> Finding {
        let prefix = self.adoption.prefix;
        let lives = counted(self.adoption.leases.len(), "address");
        let (action, advice) = match (&self.obstacle, adopted) {
            (_, Ok(true)) => match &self.adoption.id {
                None => (format!("adopted with {lives}"), Some(LEARNING)),
                Some(id) => (format!("adopted with {lives} under PoolID {id}"), None),
            },
            (Some(obstacle), _) => (format!("not adopted: {obstacle}"), Some(OVERLAP)),
            (None, Err(why)) => (format!("not adopted: {why}"), None),
            (None, Ok(false)) => (format!("can be adopted with {lives}"), Some(ADOPTABLE)),
        };
        let why = match adopted {
            Ok(true) => "the books lacked its subnet",
            _ => "the books lack its subnet; its containers cannot start",
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
