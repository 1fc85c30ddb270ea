//! What a look found, as people read it.
//!
//! Promises: pure. Says who held what, why it looks wrong and what follows. Decides nothing.

use super::Finding;
use super::networks::LEARNING;
use super::suspects::{Key, Seen};
use crate::plan::request::Fence;
use crate::plan::settings::{Millis, rfc3339};
use crate::plan::{Plan, Subnet, mac_text};
use crate::store::names::{Names, Networks};

/// The books as they were read.
pub(super) struct Known {
    /// The plan in them.
    pub(super) plan: Plan,
    /// When they were read.
    pub(super) read: Fence,
    /// What the Engine called the holders.
    pub(super) names: Names,
    /// What it called their networks.
    pub(super) networks: Networks,
}

/// Something that looks dead.
pub(super) fn suspect(
    known: &Known,
    (serial, address, _): &Key,
    since: Millis,
    seen: Option<&Seen>,
    why: &str,
    (action, advice): (String, Option<&str>),
) -> Option<Finding> {
    let subnet = known.plan.subnet(*serial)?;
    let prefix = subnet.state.prefix;
    Some(Finding {
        what: if address.is_some() { "lease" } else { "subnet" }.to_owned(),
        subnet: prefix.to_string(),
        address: address.map(|address| prefix.address(address).to_string()),
        holder: address.and_then(|address| holder(known, subnet, address)),
        since: Some(rfc3339(since)),
        first_seen: seen.map(|seen| rfc3339(seen.first)),
        last_seen: seen.map(|seen| rfc3339(seen.last)),
        why: why.to_owned(),
        action,
        advice: advice.map(str::to_owned),
    })
}

/// The subnet as a suspect.
pub(super) fn subnet_key(subnet: &Subnet) -> Key {
    (subnet.state.serial, None, subnet.state.generation)
}

/// Who held a lease, by the name that Docker gave, else as the Engine showed it, else by MAC.
fn holder(known: &Known, subnet: &Subnet, address: u128) -> Option<String> {
    let record = subnet.addresses.get(address)?;
    let key = (subnet.state.serial, subnet.state.prefix.address(address).to_string());
    let shown = known.names.get(&key).filter(|(generation, _)| *generation == record.generation);
    let name = record.name.as_deref().or(shown.map(|(_, shown)| shown.container.as_ref()));
    name.map(str::to_owned).or_else(|| record.mac.map(mac_text))
}

/// An adopted subnet of which nobody has said the PoolID.
pub(super) fn unnamed(subnet: &Subnet, known: &Known) -> Finding {
    Finding {
        what: "subnet".to_owned(),
        subnet: subnet.state.prefix.to_string(),
        address: None,
        holder: None,
        since: Some(rfc3339(subnet.state.granted_at)),
        first_seen: None,
        last_seen: Some(rfc3339(known.read.at)),
        why: "adopted; Docker's PoolID for it is not known yet".to_owned(),
        action: "wait: the next container says it".to_owned(),
        advice: Some(LEARNING.to_owned()),
    }
}
