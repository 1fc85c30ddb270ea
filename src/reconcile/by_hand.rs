//! Repairs that people request: adopting one network, releasing an unused lease or subnet, or trusting
//! another Engine.
//!
//! Promises: the Engine is queried first. A lease or subnet that it shows alive is not released; the refusal
//! names the holder and the Docker command that frees it. Only the same lease or grant that was checked is
//! released.

use std::net::IpAddr;

use super::compare::compare;
use super::networks::Unknown;
use super::run::Reconciler;
use super::{Finding, name_of, unavailable};
use crate::ledger::Refusal;
use crate::plan::change::Kind;
use crate::plan::error::ErrorKind;
use crate::plan::evidence::{Doubt, IndexedLists};
use crate::plan::holder::{container_command, network_command};
use crate::plan::prefix::Prefix;
use crate::plan::request::{Repair, Request, Space};
use crate::plan::{Plan, Subnet};

/// The advice if the Engine cannot tell what is alive.
pub(super) const WITHOUT: &str = "if you are sure that it is unused, repeat with --without-engine";

impl Reconciler {
    /// Adopts one network under the PoolID that a person gives, or sets the PoolID of a subnet that is
    /// already adopted.
    pub(super) async fn adopt_by_hand(&mut self, prefix: Prefix, id: &str) -> Result<Finding, Refusal> {
        let seen = self.see().await.map_err(unavailable)?;
        let look = compare(&self.ledger, &seen).await?;
        let refused = |kind, text| Err(Refusal::new(kind, text));
        let sharing: Vec<_> = look.unknown_networks.iter().filter(|it| it.is_called(prefix)).collect();
        let waiting = look
            .waiting
            .iter()
            .find(|one| one.range == Some(prefix) || (one.prefix == prefix && sharing.is_empty()));
        let (Some(unknown), None) = (sharing.first(), waiting) else {
            let wish = Repair::NameSubnet { prefix, id: id.to_owned() };
            let named = self.ledger.ask(Request::Repair(Box::new(wish))).await;
            return match (named, waiting) {
                (Err(refusal), None) if refusal.kind == ErrorKind::Missing => {
                    let text = format!(
                        "the Engine at {} has no gipam network with the subnet {prefix}; see: gipam gc",
                        self.engine.display()
                    );
                    refused(ErrorKind::Missing, text)
                }
                (Err(refusal), _) => Err(refusal),
                (Ok(_), waiting) => {
                    let known = waiting.map(|one| one.finding.clone()).unwrap_or_default();
                    let action = format!("its PoolID is {id} from now on");
                    Ok(Finding { subnet: prefix.to_string(), action, advice: None, ..known })
                }
            };
        };
        if let Some(obstacle) = &unknown.obstacle {
            return refused(ErrorKind::Taken, format!("{prefix} is not adopted: {obstacle}"));
        }
        if let (Some(range), true) = (unknown.adoption.range, sharing.len() > 1) {
            let text = format!(
                "several networks share {prefix}; give the --ip-range of the one that you mean: gipam adopt {range} {id:?}"
            );
            return refused(ErrorKind::Invalid, text);
        }
        let mut named: Unknown = (*unknown).clone();
        named.adoption.id = Some(id.to_owned());
        let others = look.unknown_networks.iter().filter(|it| it.adoption.prefix == named.adoption.prefix);
        let others = others.filter(|it| !std::ptr::eq(*it, *unknown)).map(|it| it.adoption.clone());
        let adoptions = std::iter::once(named.adoption.clone()).chain(others).collect();
        self.ledger.ask(Request::Repair(Box::new(Repair::AdoptSubnets(adoptions)))).await?;
        self.learned = true;
        Ok(named.finding(&Ok(true)))
    }

    /// Makes the books belong to the Engine that answers.
    pub(super) async fn trust(&mut self) -> Result<Vec<Finding>, Refusal> {
        let seen = self.see().await.map_err(unavailable)?;
        let Some(engine) = seen.lists.lists().engine.clone() else {
            return Err(unavailable(format!(
                "the Engine at {}: {}",
                self.engine.display(),
                Doubt::Unidentified
            )));
        };
        tracing::info!("by hand: the books belong to Engine {} with data in {}", engine.id, engine.root);
        self.ledger.ask(Request::Repair(Box::new(Repair::Engine(Box::new(engine))))).await?;
        self.look(false).await.map_err(unavailable)
    }

    /// Releases a lease or a subnet that the Engine does not show alive.
    pub(super) async fn release_by_hand(
        &mut self,
        subnet: String,
        address: Option<IpAddr>,
    ) -> Result<Vec<Finding>, Refusal> {
        let seen = self.see().await;
        let seen = seen.map_err(|text| unavailable(format!("{text}; {WITHOUT}")))?;
        let (name, engine) = (subnet.clone(), self.engine.display().to_string());
        let judge = move |plan: &Plan| {
            let Some(named) = plan.named(&name).ok() else { return Ok(None) };
            let Some((number, generation)) = lease_or_grant(named, address) else { return Ok(None) };
            if generation >= seen.read.generation {
                // Granted after the lists were requested: the plan refuses to release it under generation 0.
                return Ok(Some(0));
            }
            if let Some(text) = alive(&seen.lists, named, number) {
                return Err(Refusal::new(ErrorKind::Taken, text));
            }
            let doubt = match seen.view(plan) {
                Ok(_) | Err(Doubt::Stranger(_)) => None,
                Err(doubt) => {
                    Some(format!("the Engine at {engine} cannot confirm that it is unused: {doubt}"))
                }
            };
            let young = (generation >= seen.settled).then(|| {
                "it was granted less than a minute ago, so its container may just be starting".to_owned()
            });
            match doubt.or(young) {
                Some(why) => {
                    let name = name_of(&name, address);
                    Err(unavailable(format!("{name} is not released: {why}; {WITHOUT}")))
                }
                None => Ok(Some(generation)),
            }
        };
        let generation = self.ledger.look(judge).await??;
        self.ledger.ask(Request::Force { subnet, address, generation }).await.map(|_| Vec::new())
    }
}

/// The number of the address, if one is given, and the generation of the lease or grant that would be
/// released.
fn lease_or_grant(subnet: &Subnet, address: Option<IpAddr>) -> Option<(Option<u128>, u64)> {
    let Some(address) = address else { return Some((None, subnet.state.generation)) };
    let number = subnet.number_of(address)?;
    let record = subnet.addresses.lease(number)?;
    Some((Some(number), record.generation))
}

/// If the Engine shows the holder: a text with its name and the Docker command that frees the lease or
/// subnet.
fn alive(shown: &IndexedLists, subnet: &Subnet, number: Option<u128>) -> Option<String> {
    let prefix = subnet.state.prefix;
    let Some(number) = number else {
        let network = shown.networks(prefix).next()?;
        let (name, command) = (&network.name, network_command(&network.name));
        return Some(format!(
            "subnet {prefix} is in use by network {name}; remove the network with: {command}"
        ));
    };
    let address = prefix.address(number);
    if let Some((network, endpoint)) = shown.living(prefix, number).next() {
        let (container, network) = (&endpoint.container, &network.name);
        let command = container_command(container, &endpoint.container_id);
        return Some(format!(
            "address {address} is in use by container {container} in network {network}; free it with: {command}, or: docker network disconnect {network} {container}"
        ));
    }
    let network = shown.networks(prefix).next()?;
    let (what, command) = match (shown.set_up(prefix, number), subnet.addresses.get(number)?.kind) {
        (Some(Kind::Auxiliary), _) => ("an auxiliary address", network_command(&network.name)),
        // An Engine may hide the gateway of a live network (P26).
        (Some(_), _) | (None, Kind::Gateway) => ("the gateway", network_command(&network.name)),
        (None, _) if subnet.state.space == Space::Global => ("an address", network_command(&network.name)),
        (None, _) => return None,
    };
    let name = &network.name;
    Some(format!(
        "address {address} is in use: it is {what} of network {name}; remove the network with: {command}"
    ))
}
