//! Turns the results of a check into text for people.
//!
//! Promises: pure. Says who held what, why it looks wrong, and what happens next. Makes no decisions.

use std::path::Path;

use super::Finding;
use super::compare::{Doubled, Missing};
use super::networks::{LEARNING, SHARING};
use super::suspects::Seen;
use crate::plan::evidence::{Doubt, ProofKey};
use crate::plan::prefix::Prefix;
use crate::plan::settings::{Millis, rfc3339};
use crate::plan::{Plan, Subnet};

/// Advice for an address that two containers have.
const DUPLICATE: &str = "Two containers with the same address each lose part of their traffic. Disconnect one of them and \
    connect it again: it gets another address";
/// Advice if another Engine answers.
const ANOTHER_ENGINE: &str = "If this Engine has replaced the one in the books for good: gipam gc \
    --new-engine";
/// Advice if an Engine shows none of the networks in the books.
const NONE_KNOWN: &str = "An Engine that shows none of these networks may be another one, or may not have loaded them yet. If they \
    are gone for good: gipam release SUBNET --force, which asks the Engine first";

/// The finding about a lease or subnet that looks dead. `named` is the name that the Engine showed for its
/// holder.
pub(super) fn suspect(
    one: &Missing,
    named: Option<&str>,
    seen: Option<&Seen>,
    (action, advice): (String, Option<&str>),
) -> Finding {
    let name = one.name.as_deref().or(named).map(str::to_owned);
    Finding {
        what: if one.key.1.is_some() { "lease" } else { "subnet" }.to_owned(),
        subnet: one.prefix.to_string(),
        address: one.key.1.map(|address| one.prefix.address(address).to_string()),
        holder: name.or_else(|| one.mac.map(|mac| mac.to_string())),
        since: Some(rfc3339(one.since)),
        first_seen: seen.map(|seen| rfc3339(seen.first.at().wall)),
        last_seen: seen.map(|seen| rfc3339(seen.last.at().wall)),
        why: one.why.clone(),
        action,
        advice: advice.map(str::to_owned),
    }
}

/// An adopted subnet whose PoolID is not known yet.
#[derive(Clone, Debug)]
pub(super) struct WaitingSubnet {
    pub(super) key: ProofKey,
    pub(super) prefix: Prefix,
    pub(super) range: Option<Prefix>,
    pub(super) finding: Finding,
}

impl WaitingSubnet {
    /// Describes the subnet; `network` is the name of its network, and the books were read at `read`.
    pub(super) fn of(subnet: &Subnet, plan: &Plan, network: Option<&str>, read: Millis) -> Self {
        let state = &subnet.state;
        let grants = plan.grants_of(state.space, state.prefix);
        let shared = state.range.filter(|_| grants.filter(|other| other.awaits_id()).nth(1).is_some());
        let range = shared.map_or_else(String::new, |range| format!(" with the range {range}"));
        let finding = Finding {
            what: "subnet".to_owned(),
            subnet: state.prefix.to_string(),
            holder: network.map(str::to_owned),
            since: Some(rfc3339(state.granted_at)),
            last_seen: Some(rfc3339(read)),
            why: format!("adopted{range}; Docker's PoolID for it is not known yet"),
            action: "wait: the next container start reveals it".to_owned(),
            advice: Some(if shared.is_some() { SHARING } else { LEARNING }.to_owned()),
            ..Finding::default()
        };
        let key = (state.serial, None, state.generation);
        Self { key, prefix: state.prefix, range: state.range, finding }
    }
}

/// The finding about an address that two endpoints have.
pub(super) fn doubled(one: &Doubled, read: Millis) -> Finding {
    let address = one.prefix.address(one.address);
    let (last, network) = one.who.last().map_or(("CONTAINER", "NETWORK"), |(name, network)| (name, network));
    Finding {
        what: "duplicate".to_owned(),
        subnet: one.prefix.to_string(),
        address: Some(address.to_string()),
        holder: Some(one.who.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")),
        last_seen: Some(rfc3339(read)),
        why: format!("in use twice: {}", one.holders()),
        action: format!("in use twice; disconnect one of them: docker network disconnect {network} {last}"),
        advice: Some(DUPLICATE.to_owned()),
        ..Finding::default()
    }
}

/// The finding that the Engine's lists are not a complete view.
pub(super) fn doubtful(doubt: &Doubt, read: Millis, engine: &Path) -> Finding {
    let advice = match doubt {
        Doubt::Another { .. } => Some(ANOTHER_ENGINE),
        Doubt::Stranger(_) => Some(NONE_KNOWN),
        Doubt::Unclear(_) | Doubt::Unidentified => None,
    };
    Finding {
        what: "engine".to_owned(),
        last_seen: Some(rfc3339(read)),
        why: format!("the Engine at {}: {doubt}", engine.display()),
        action: "nothing is freed".to_owned(),
        advice: advice.map(str::to_owned),
        ..Finding::default()
    }
}
