//! Importing subnets and leases that a person lists: a table, or what Docker shows of its networks.
//!
//! Promises: *disjoint*, *unique*, *inside*: what would break one of them is refused with the place where it is listed;
//! what the books already know changes nothing, so a list can be imported twice; all that lives in a subnet comes with
//! it in one decision. What was released within the last minute is not imported, because the list may be older.
//! Frees and replaces nothing.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use super::Plan;
use super::adopt::AdoptionBatch;
use super::change::{Change, Kind, Marks, Record};
use super::error::PlanError;
use super::prefix::Prefix;
use super::repair::SETTLING;
use super::request::{Adoption, Context, Dead, Fence, Mac, ShownLease, Space};
use super::settings::{Millis, rfc3339};
use super::subnet::{Subnet, never_given};

/// A subnet as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSubnet {
    /// Where it is listed, for messages: `line 3`, `network web`.
    pub place: String,
    /// Its prefix.
    pub prefix: Prefix,
    /// Its `--ip-range`.
    pub range: Option<Prefix>,
    /// Its PoolID; Docker sends it later if absent.
    pub id: Option<String>,
    /// Its `--ipam-opt` map.
    pub options: BTreeMap<String, String>,
    /// Its leases; each inside it and listed once.
    pub leases: Vec<ListedLease>,
    /// Docker shows it: what it calls a holder may be newer than what the books call it.
    pub shown: bool,
    /// For the history.
    pub evidence: Box<str>,
}

/// A lease as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedLease {
    /// Where, for people.
    pub place: String,
    /// Its number.
    pub address: u128,
    /// What it is.
    pub kind: Kind,
    /// The holder's name, by which Docker will ask for it again.
    pub name: Option<SmolStr>,
    /// The holder's MAC.
    pub mac: Option<Mac>,
}

/// What becomes of a listed subnet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    /// To commit, in this order.
    pub changes: Vec<Change>,
    /// The books lack the subnet.
    pub new: bool,
    /// Numbers of the addresses that the books lack.
    pub leases: Vec<u128>,
}

/// Why a listed subnet cannot be taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{place}: {error}")]
pub struct Obstacle {
    /// Where it is listed.
    pub place: String,
    /// Why.
    pub error: PlanError,
}

impl ListedSubnet {
    /// As a network that is adopted.
    fn adoption(&self, plan: &Plan, context: Context) -> Adoption {
        let shown = self.leases.iter().map(|lease| ShownLease {
            address: lease.address,
            kind: lease.kind,
            name: lease.name.clone(),
            mac: lease.mac,
            evidence: self.evidence.clone(),
        });
        Adoption {
            prefix: self.prefix,
            range: self.range,
            options: self.options.clone(),
            id: self.id.clone(),
            leases: shown.collect(),
            read: Fence { generation: plan.next_generation, at: context.now },
            evidence: self.evidence.clone(),
        }
    }
}

impl Plan {
    /// What becomes of each of these, in this order, if all that can be taken is.
    pub fn take_listed(&self, all: &[ListedSubnet], context: Context) -> Vec<Result<Taken, Obstacle>> {
        let mut next = AdoptionBatch::of(self, all.iter().map(|listed| listed.prefix));
        let mut taken: Vec<(Adoption, &ListedSubnet)> = Vec::new();
        let mut outcomes = Vec::new();
        for listed in all {
            let obstacle = |error| Obstacle { place: listed.place.clone(), error };
            let adoption = listed.adoption(self, context);
            let outcome = match taken.iter().find(|(other, _)| !adoption.stands_beside(other)) {
                Some((_, other)) => Err(obstacle(PlanError::OverlapPool(format!(
                    "{} overlaps {} of {}",
                    listed.prefix, other.prefix, other.place
                )))),
                None => self.take(listed, &adoption, &mut next, context.now),
            };
            if outcome.is_ok() {
                taken.push((adoption, listed));
            }
            outcomes.push(outcome);
        }
        outcomes
    }

    fn take(
        &self,
        listed: &ListedSubnet,
        adoption: &Adoption,
        next: &mut AdoptionBatch,
        now: Millis,
    ) -> Result<Taken, Obstacle> {
        for lease in &listed.leases {
            let (low, high) = never_given(listed.prefix);
            if lease.kind != Kind::Unknown && [low, high].contains(&Some(lease.address)) {
                let why = format!("is the network or broadcast address of {}, or all zero", listed.prefix);
                let error = PlanError::OutOfRange { address: listed.prefix.address(lease.address), why };
                return Err(Obstacle { place: lease.place.clone(), error });
            }
        }
        let there = self.grants_of(Space::Local, listed.prefix);
        let meant: Vec<&Subnet> = there.filter(|subnet| !adoption.is_beside(&subnet.state)).collect();
        let obstacle = |error| Obstacle { place: listed.place.clone(), error };
        match meant.as_slice() {
            [] => self.take_new(listed, adoption, next, now).map_err(obstacle),
            [subnet] => self.take_into(subnet, listed, next, now),
            _ => Err(obstacle(PlanError::OverlapPool(format!("{} is held several times", listed.prefix)))),
        }
    }

    /// A subnet that the books lack.
    fn take_new(
        &self,
        listed: &ListedSubnet,
        adoption: &Adoption,
        next: &mut AdoptionBatch,
        now: Millis,
    ) -> Result<Taken, PlanError> {
        self.refuse_overlap_of(adoption)?;
        self.refuse_recent(adoption)?;
        if let Some(id) = &listed.id {
            self.check_id(listed.prefix, adoption.range(), id)?;
        }
        for lease in &listed.leases {
            if let Some((subnet, record)) = self.sibling_lease(adoption, lease.address)
                && (record.kind, lease.kind) != (Kind::Gateway, Kind::Gateway)
            {
                return Err(self.in_use(subnet, lease.address, record, &Dead::default()));
            }
        }
        let (_, changes) = self.adopted(adoption, next, false, now);
        let leases = listed.leases.iter().map(|lease| lease.address).collect();
        Ok(Taken { changes, new: true, leases })
    }

    /// What a subnet of the books lacks.
    fn take_into(
        &self,
        subnet: &Subnet,
        listed: &ListedSubnet,
        next: &mut AdoptionBatch,
        now: Millis,
    ) -> Result<Taken, Obstacle> {
        let state = &subnet.state;
        let mut taken = Taken::default();
        if let Some(id) = listed.id.as_ref().filter(|id| **id != state.id) {
            let named = self.name_one(subnet, id);
            taken.changes.push(named.map_err(|error| Obstacle { place: listed.place.clone(), error })?);
        }
        let mut marks = Marks { addressed: true, stormed: false, ..state.marks.clone() };
        for lease in &listed.leases {
            let known = self.known_lease(subnet, lease, listed.shown, now);
            if known.map_err(|error| Obstacle { place: lease.place.clone(), error })? {
                continue;
            }
            if self.is_anothers(subnet, (lease.address, lease.kind), next) {
                let text = format!("another subnet {} has it", state.prefix);
                let error = PlanError::OverlapPool(text);
                return Err(Obstacle { place: lease.place.clone(), error });
            }
            match lease.kind {
                Kind::Gateway if subnet.gateway_lease().is_none() && marks.gateway.is_none() => {
                    marks.gateway = Some(lease.address);
                }
                Kind::Endpoint => marks.had_endpoint = true,
                _ => {}
            }
            let record = Record {
                leased: true,
                kind: lease.kind,
                name: lease.name.clone(),
                mac: lease.mac,
                asked_by_number: subnet.addresses.get(lease.address).is_some_and(|old| old.asked_by_number),
                withheld: false,
                since: now,
                generation: next.generation(),
            };
            let (serial, address, evidence) = (state.serial, lease.address, listed.evidence.clone());
            taken.changes.push(Change::AddressLearned { serial, address, record, evidence });
            taken.leases.push(address);
        }
        if !taken.leases.is_empty() && marks != state.marks {
            taken.changes.push(Change::SubnetMarked { serial: state.serial, marks });
        }
        Ok(taken)
    }

    /// Whether the books have this lease already; refused if they have another there.
    fn known_lease(
        &self,
        subnet: &Subnet,
        lease: &ListedLease,
        shown: bool,
        now: Millis,
    ) -> Result<bool, PlanError> {
        let Some(record) = subnet.addresses.get(lease.address) else { return Ok(false) };
        let address = subnet.state.prefix.address(lease.address);
        if !record.leased {
            if record.since.saturating_add(SETTLING) > now {
                return Err(PlanError::OutOfDate(format!(
                    "{address} was released at {}, so the list may be out of date; try again in a few seconds",
                    rfc3339(record.since)
                )));
            }
            return Ok(false);
        }
        let differs = |ours: Option<String>, theirs: Option<String>| matches!((ours, theirs), (Some(ours), Some(theirs)) if ours != theirs);
        let text = |name: &Option<SmolStr>| name.as_ref().map(ToString::to_string);
        // It is not known yet whether an address without an owner is an endpoint's or an auxiliary one.
        let open = record.kind == Kind::Endpoint && record.name.is_none() && record.mac.is_none();
        let kind = |kind: Kind| kind.name().filter(|_| !open).map(str::to_owned);
        if (!shown && differs(text(&record.name), text(&lease.name)))
            || differs(record.mac.map(|mac| mac.to_string()), lease.mac.map(|mac| mac.to_string()))
            || differs(kind(record.kind), kind(lease.kind))
        {
            let held = [text(&record.name), record.mac.map(|mac| mac.to_string()), kind(record.kind)];
            let holder = held.into_iter().flatten().next().unwrap_or_else(|| "somebody".to_owned());
            let remedy = format!("see: gipam who {address}");
            return Err(PlanError::AddressInUse { address, holder, remedy });
        }
        Ok(true)
    }
}
