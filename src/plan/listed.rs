//! Imports subnets and leases that a person lists, from a table or from Docker's description of its networks.
//!
//! Promises: *disjoint*, *unique*, *inside*: an entry that would break one of them is refused, with its place in the list;
//! an entry that the books already contain changes nothing, so a list can be imported twice; a subnet and all its leases are
//! imported in one decision. An address that was released seconds ago is not imported, because the list may be older.
//! Does not free or replace anything.

use std::collections::BTreeMap;

use super::adopt::AdoptionBatch;
use super::change::{Change, Kind};
use super::error::Refusal;
use super::grant_address::never_given_name;
use super::repair::SETTLING;
use super::request::{Adoption, Dead, ShownLease, Space};
use super::settings::rfc3339;
use super::subnet::Subnet;
use super::{Part, Plan};

/// A subnet from the list.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedSubnet {
    /// Its place in the list, for messages: `line 3`, `network web`.
    pub place: String,
    /// The places of its leases in the list, by address; a lease that is missing here has the place of the subnet.
    pub places: BTreeMap<u128, String>,
    /// Whether the entry comes from Docker: then its name for a holder may be newer than the one in the books.
    pub shown: bool,
    /// The subnet and its leases: each lease is inside the subnet and listed once. Without a PoolID,
    /// Docker sends it later.
    pub network: Adoption,
}

/// The outcome for a listed subnet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    /// To commit, in this order.
    pub changes: Vec<Change>,
    /// Whether the books lacked the subnet.
    pub new: bool,
    /// Numbers of the addresses that the books lacked.
    pub leases: Vec<u128>,
}

/// Why a listed subnet cannot be imported.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{place}: {error}")]
pub struct Obstacle {
    /// Its place in the list.
    pub place: String,
    /// The reason.
    pub error: Refusal,
}

impl ListedSubnet {
    fn obstacle(&self, error: Refusal) -> Obstacle {
        Obstacle { place: self.place.clone(), error }
    }

    fn obstacle_at(&self, address: u128, error: Refusal) -> Obstacle {
        Obstacle { place: self.places.get(&address).unwrap_or(&self.place).clone(), error }
    }
}

impl Plan {
    /// The outcome for each entry, in order, if every entry that can be imported is imported.
    pub fn take_listed(&self, all: &[ListedSubnet]) -> Vec<Result<Taken, Obstacle>> {
        let networks = all.iter().map(|listed| &listed.network);
        let mut batch = AdoptionBatch::of(self, networks);
        let mut taken: Vec<&ListedSubnet> = Vec::new();
        let mut outcomes = Vec::new();
        for listed in all {
            let network = &listed.network;
            let outcome = match taken.iter().find(|other| !network.part().coexists_with(other.network.part()))
            {
                Some(other) => Err(listed.obstacle(Refusal::overlap_pool(format!(
                    "{} overlaps {} of {}",
                    network.prefix, other.network.prefix, other.place
                )))),
                None => batch.take(listed),
            };
            if outcome.is_ok() {
                taken.push(listed);
            }
            outcomes.push(outcome);
        }
        outcomes
    }
}

impl AdoptionBatch<'_> {
    fn take(&mut self, listed: &ListedSubnet) -> Result<Taken, Obstacle> {
        let prefix = listed.network.prefix;
        for lease in listed.network.leases.iter().filter(|lease| lease.kind != Kind::Unknown) {
            if let Some(why) = never_given_name(prefix, lease.address) {
                let error = Refusal::out_of_range(prefix.address(lease.address), why);
                return Err(listed.obstacle_at(lease.address, error));
            }
        }
        let part = listed.network.part();
        let there = self.plan.grants_of(Space::Local, prefix);
        let meant: Vec<&Subnet> =
            there.filter(|subnet| !part.coexists_with(Part::of(&subnet.state))).collect();
        match meant.as_slice() {
            [] => self.take_new(&listed.network).map_err(|error| listed.obstacle(error)),
            [subnet] => self.take_into(subnet, listed),
            _ => Err(listed.obstacle(Refusal::overlap_pool(format!("{prefix} is held several times")))),
        }
    }

    /// Imports a subnet that the books lack.
    fn take_new(&mut self, network: &Adoption) -> Result<Taken, Refusal> {
        self.plan.refuse_unfit(network, self.plan.now)?;
        for lease in &network.leases {
            if let Some((subnet, record)) = self.plan.sibling_lease(network, lease.address)
                && !record.kind.is_one_router(lease.kind)
            {
                return Err(self.plan.in_use(subnet, lease.address, record, &Dead::default()));
            }
        }
        let (_, changes) = self.adopt(network);
        let leases = network.leases.iter().map(|lease| lease.address).collect();
        Ok(Taken { changes, new: true, leases })
    }

    /// Imports what the books lack about a subnet that they have.
    fn take_into(&mut self, subnet: &Subnet, listed: &ListedSubnet) -> Result<Taken, Obstacle> {
        let (state, mut taken) = (&subnet.state, Taken::default());
        if let Some(id) = listed.network.id.as_ref().filter(|id| **id != state.id) {
            let named = self.plan.name_one(subnet, id);
            taken.changes.push(named.map_err(|error| listed.obstacle(error))?);
        }
        let mut marks = state.marks.clone();
        for lease in &listed.network.leases {
            let address = lease.address;
            let known = self.known_lease(subnet, lease, listed.shown);
            if known.map_err(|error| listed.obstacle_at(address, error))? {
                continue;
            }
            if self.is_anothers(subnet, address, lease.kind) {
                let text = format!("another subnet {} has this address", state.prefix);
                return Err(listed.obstacle_at(address, Refusal::overlap_pool(text)));
            }
            marks.learn(lease.kind, address, subnet.gateway_lease().is_some() || marks.gateway.is_some());
            let record = lease.record(subnet.addresses.get(address), self.plan.now, self.generation());
            let (serial, evidence) = (state.serial, lease.evidence.clone());
            taken.changes.push(Change::AddressLearned { serial, address, record, evidence });
            taken.leases.push(address);
        }
        if marks != state.marks {
            taken.changes.push(Change::SubnetMarked { serial: state.serial, marks });
        }
        Ok(taken)
    }

    /// Whether the books already have this lease. Refuses if they have a different one, or if the address was just released.
    fn known_lease(&self, subnet: &Subnet, lease: &ShownLease, shown: bool) -> Result<bool, Refusal> {
        let Some(record) = subnet.addresses.get(lease.address) else { return Ok(false) };
        let address = subnet.state.prefix.address(lease.address);
        if !record.leased {
            if record.since.saturating_add(SETTLING) > self.plan.now {
                return Err(Refusal::out_of_date(format!(
                    "{address} was released at {}, so the list may be out of date; try again in a few seconds",
                    rfc3339(record.since)
                )));
            }
            return Ok(false);
        }
        // An address without a name and a MAC may be an endpoint's or an auxiliary one; its kind is not known
        // yet.
        let open = record.kind == Kind::Endpoint && record.name.is_none() && record.mac.is_none();
        let kind = record.kind.name().filter(|_| !open);
        if (!shown && differ(record.name.as_ref(), lease.name.as_ref()))
            || differ(record.mac, lease.mac)
            || differ(kind, lease.kind.name())
        {
            let name = record.name.as_ref().map(ToString::to_string);
            let mac = record.mac.map(|mac| mac.to_string());
            let holder =
                name.or(mac).or(kind.map(str::to_owned)).unwrap_or_else(|| "an unknown holder".to_owned());
            let remedy = format!("see: gipam who {address}");
            return Err(Refusal::in_use(address, &holder, &remedy));
        }
        Ok(true)
    }
}

/// Whether both are known and differ.
fn differ<T: PartialEq>(ours: Option<T>, theirs: Option<T>) -> bool {
    ours.zip(theirs).is_some_and(|(ours, theirs)| ours != theirs)
}
