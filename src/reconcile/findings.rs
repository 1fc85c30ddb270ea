//! Turns the results of a check into text for people.
//!
//! Promises: pure. Says who held what, why it looks wrong, and what happens next. Makes no decisions.

use super::Finding;
use super::compare::Doubled;
use super::networks::{LEARNING, SHARING};
use super::suspects::Seen;
use crate::plan::change::{Serial, ShownHolder};
use crate::plan::evidence::{Doubt, ProofKey};
use crate::plan::request::Fence;
use crate::plan::settings::{Millis, Moment, rfc3339};
use crate::plan::{Plan, Subnet};
use crate::store::names::{Names, Networks};
use std::path::Path;

/// Advice for an address that two containers have.
const DUPLICATE: &str = "Two containers with the same address each lose a part of their traffic. Disconnect one of them and \
    connect it again: it gets another address";
/// Advice if another Engine answers.
const ANOTHER_ENGINE: &str = "If this Engine has replaced the one in the books for good: gipam gc \
    --new-engine";
/// Advice if an Engine shows none of the networks in the books.
const NONE_KNOWN: &str = "An Engine that shows none of these networks may be another one, or may not have loaded them yet. If they \
    are gone for good: gipam release SUBNET --force, which asks the Engine first";

/// A snapshot of the books.
pub(super) struct BooksNow {
    pub(super) plan: Plan,
    pub(super) read: Fence,
    /// When they were read, by both clocks.
    pub(super) at: Moment,
    /// Grants below this generation were already at least a minute old.
    pub(super) settled: u64,
    /// The Engine's names for the holders.
    pub(super) names: Names,
    /// The Engine's names for their networks.
    pub(super) networks: Networks,
}

impl BooksNow {
    /// The Engine's name for the holder of an address, with the generation of the lease.
    pub(super) fn name_of(&self, serial: Serial, address: u128) -> Option<&(u64, ShownHolder)> {
        let prefix = self.plan.subnet(serial)?.state.prefix;
        self.names.get(&(serial, prefix.address(address).to_string()))
    }
}

/// The finding about something that looks dead.
pub(super) fn suspect(
    known: &BooksNow,
    (serial, address, _): &ProofKey,
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
        first_seen: seen.map(|seen| rfc3339(seen.first().wall)),
        last_seen: seen.map(|seen| rfc3339(seen.last().wall)),
        why: why.to_owned(),
        action,
        advice: advice.map(str::to_owned),
    })
}

/// The key of a whole subnet among the suspects.
pub(super) fn subnet_key(subnet: &Subnet) -> ProofKey {
    (subnet.state.serial, None, subnet.state.generation)
}

/// Who held a lease: the name that Docker gave, else the name that the Engine showed, else the MAC.
fn holder(known: &BooksNow, subnet: &Subnet, address: u128) -> Option<String> {
    let record = subnet.addresses.get(address)?;
    let key = (subnet.state.serial, subnet.state.prefix.address(address).to_string());
    let shown = known.names.get(&key).filter(|(generation, _)| *generation == record.generation);
    let name = record.name.as_deref().or(shown.map(|(_, shown)| shown.container.as_ref()));
    name.map(str::to_owned).or_else(|| record.mac.map(|mac| mac.to_string()))
}

/// The finding about an adopted subnet whose PoolID is not known yet. `called` has the names of the networks.
pub(super) fn unnamed(subnet: &Subnet, known: &BooksNow, called: &Networks) -> Finding {
    let state = &subnet.state;
    let grants = known.plan.grants_of(state.space, state.prefix);
    let shared = state.range.filter(|_| grants.filter(|other| other.awaits_id()).nth(1).is_some());
    let range = shared.map_or_else(String::new, |range| format!(" with the range {range}"));
    let network = called.get(&state.serial).filter(|(of, _)| *of == state.generation);
    Finding {
        what: "subnet".to_owned(),
        subnet: subnet.state.prefix.to_string(),
        holder: network.map(|(_, name)| name.to_string()),
        since: Some(rfc3339(subnet.state.granted_at)),
        last_seen: Some(rfc3339(known.read.at)),
        why: format!("adopted{range}; Docker's PoolID for it is not known yet"),
        action: "wait: the next container start reveals it".to_owned(),
        advice: Some(if shared.is_some() { SHARING } else { LEARNING }.to_owned()),
        ..Finding::default()
    }
}

/// The finding about an address that two endpoints have, the most serious one.
pub(super) fn doubled(one: &Doubled, known: &BooksNow) -> Finding {
    let address = one.prefix.address(one.address);
    let (last, network) = one.who.last().map_or(("CONTAINER", "NETWORK"), |(name, network)| (name, network));
    Finding {
        what: "duplicate".to_owned(),
        subnet: one.prefix.to_string(),
        address: Some(address.to_string()),
        holder: Some(one.who.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")),
        last_seen: Some(rfc3339(known.read.at)),
        why: format!("in use twice: {}", one.holders()),
        action: format!("in use twice; disconnect one of them: docker network disconnect {network} {last}"),
        advice: Some(DUPLICATE.to_owned()),
        ..Finding::default()
    }
}

/// The finding that the Engine's lists prove nothing.
pub(super) fn doubtful(doubt: &Doubt, known: &BooksNow, engine: &Path) -> Finding {
    let advice = match doubt {
        Doubt::Another { .. } => Some(ANOTHER_ENGINE),
        Doubt::Stranger(_) => Some(NONE_KNOWN),
        Doubt::Unclear(_) | Doubt::Unidentified => None,
    };
    Finding {
        what: "engine".to_owned(),
        last_seen: Some(rfc3339(known.read.at)),
        why: format!("the Engine at {}: {doubt}", engine.display()),
        action: "nothing is freed".to_owned(),
        advice: advice.map(str::to_owned),
        ..Finding::default()
    }
}
