//! Repairs what Docker lost: frees dead leases and subnets, adopts live ones, and learns the kinds of leases.
//!
//! Promises: *fenced*: each request names the generation it saw; anything newer is not changed. Only endpoints and subnets of
//! space local are freed, never gateways, auxiliary or unknown leases, or anything in space global. Does not observe anything.

use std::collections::{BTreeMap, BTreeSet};

use super::change::{Change, Kind, Record, Why};
use super::error::Refusal;
use super::evidence::Death;
use super::prefix::Prefix;
use super::request::{Fence, Repair, ShownLease, Space, SubnetRequest};
use super::settings::Millis;
use super::siblings::Part;
use super::subnet::Subnet;
use super::{Plan, Serial};

/// An address released this shortly before the books were read may still appear in the Engine's lists (Docker updates them
/// after the release): it is not adopted in this survey.
pub const SETTLING: Millis = 5_000;

impl Plan {
    /// The changes for a repair request; none if what repair saw has changed since.
    pub(super) fn decide_repair(&self, repair: &Repair) -> Result<Vec<Change>, Refusal> {
        Ok(match repair {
            Repair::AdoptSubnets(adoptions) => self.adopt_subnets(adoptions)?,
            Repair::NameSubnet { prefix, id } => {
                let (subnet, named) = self.name_subnet(*prefix, id)?;
                let mut changes = vec![named];
                self.with_kept(subnet, id, &mut changes);
                changes
            }
            Repair::Free(death) => self.free_dead(death),
            Repair::Engine(identity) if self.engine.as_ref() == Some(identity) => Vec::new(),
            Repair::Engine(identity) => vec![Change::EngineKnown(identity.clone())],
            Repair::Doubled { serial, address, read, evidence } => {
                self.doubled(*serial, *address, *read, evidence)?
            }
            Repair::Adopt { serial, lease, read } => self.adopt(*serial, lease, *read)?,
            Repair::Identify { serial, address, generation, kind, evidence } => {
                self.identify(*serial, *address, *generation, *kind, evidence)
            }
            Repair::Listed { serial, generation } => {
                let seen = self.seen(*serial, *generation);
                let listed = seen.filter(|subnet| subnet.state.start_beyond.is_some());
                Vec::from_iter(listed.map(|_| Change::SubnetListed { serial: *serial }))
            }
            Repair::Arrival { boot, arrived, gone } => self.decide_arrival(boot, arrived, gone),
            Repair::NameNetwork { serial, generation, network } => {
                let (serial, generation, network) = (*serial, *generation, network.clone());
                let named = Change::SubnetNamed { serial, generation, network };
                Vec::from_iter(self.seen(serial, generation).map(|_| named))
            }
            Repair::Name { serial, address, generation, shown } => {
                let (serial, address, generation, shown) = (*serial, *address, *generation, shown.clone());
                let named = Change::AddressNamed { serial, address, generation, shown };
                Vec::from_iter(self.lease(serial, address, generation).map(|_| named))
            }
        })
    }

    /// The held subnet, if it is still the same grant.
    fn seen(&self, serial: Serial, generation: u64) -> Option<&Subnet> {
        self.subnet(serial).filter(|subnet| subnet.is_held() && subnet.state.generation == generation)
    }

    /// The lease, if it is still the same one.
    fn lease(&self, serial: Serial, address: u128, generation: u64) -> Option<(&Subnet, &Record)> {
        let subnet = self.subnet(serial).filter(|subnet| subnet.is_held())?;
        let record = subnet.addresses.lease(address)?;
        (record.generation == generation).then_some((subnet, record))
    }

    /// Frees a lease or subnet that is proven dead: only endpoints and subnets of space local.
    fn free_dead(&self, death: &Death) -> Vec<Change> {
        let (serial, address, generation) = death.key();
        let Some(subnet) = self.subnet(serial).filter(|subnet| subnet.is_held_locally()) else {
            return Vec::new();
        };
        let freeable = match address {
            Some(address) => subnet.addresses.lease(address).is_some_and(|it| it.kind == Kind::Endpoint),
            None => !death.needs_unnamed() || subnet.awaits_id(),
        };
        let why = Why::Repair(death.evidence());
        let freed = freeable.then(|| self.release(subnet, address, Some(generation), why));
        freed.flatten().unwrap_or_default()
    }

    fn adopt(&self, serial: Serial, lease: &ShownLease, read: Fence) -> Result<Vec<Change>, Refusal> {
        let address = lease.address;
        let known = self.subnet(serial).filter(|subnet| {
            let state = &subnet.state;
            subnet.is_held() && state.generation < read.generation && state.prefix.contains_number(address)
        });
        let Some(subnet) = known else { return Ok(Vec::new()) };
        let old = subnet.addresses.get(address);
        // A container that the Engine shows is not a stranger.
        let is_leased = |old: &Record| old.leased && old.kind != Kind::Stranger;
        if old.is_some_and(|old| is_leased(old) || old.generation >= read.generation) {
            return Ok(Vec::new());
        }
        if old.is_some_and(|old| old.since.saturating_add(SETTLING) > read.at) {
            let address = subnet.state.prefix.address(address);
            return Err(Refusal::out_of_date(format!(
                "{address} was released within the last seconds, so the Engine's list may be out of date"
            )));
        }
        if self.siblings(subnet).hold(address) {
            return Ok(Vec::new());
        }
        Ok(learned(subnet, address, lease.record(old, self.now, self.next_generation), &lease.evidence))
    }

    /// Two endpoints have this address. The Engine's lists are not a snapshot: for an address that was released and granted
    /// again while they were made, they may show both the old holder and the new one.
    fn doubled(
        &self,
        serial: Serial,
        address: u128,
        read: Fence,
        evidence: &str,
    ) -> Result<Vec<Change>, Refusal> {
        let Some(subnet) = self.subnet(serial).filter(|subnet| subnet.is_held()) else {
            return Ok(Vec::new());
        };
        let state = &subnet.state;
        let mut records =
            self.grants_of(state.space, state.prefix).filter_map(|grant| grant.addresses.get(address));
        let is_new = |record: &Record| {
            record.generation >= read.generation || record.since.saturating_add(SETTLING) > read.at
        };
        if records.any(is_new) {
            return Err(Refusal::out_of_date(format!(
                "{} was granted or released within the last seconds, so the Engine's lists may show a former holder",
                state.prefix.address(address)
            )));
        }
        Ok(vec![Change::AddressDoubled { serial, address, evidence: evidence.into() }])
    }

    /// Sets the kind of a lease that the Engine shows: one of unknown kind, or an address requested by number
    /// without a holder, which may have been an endpoint's or an auxiliary one.
    fn identify(
        &self,
        serial: Serial,
        address: u128,
        generation: u64,
        kind: Kind,
        evidence: &str,
    ) -> Vec<Change> {
        let Some((subnet, record)) = self.lease(serial, address, generation) else { return Vec::new() };
        let anonymous = record.name.is_none() && record.mac.is_none();
        let open = match record.kind {
            Kind::Unknown => kind != Kind::Unknown,
            Kind::Endpoint => kind == Kind::Auxiliary && anonymous,
            Kind::Auxiliary => kind == Kind::Endpoint,
            Kind::Gateway | Kind::Stranger => false,
        };
        if !open {
            return Vec::new();
        }
        let asked_by_number = record.asked_by_number && kind != Kind::Auxiliary;
        let record = Record { kind, asked_by_number, ..record.clone() };
        learned(subnet, address, record, evidence)
    }

    /// The held subnets that conflict with this part, the nearest first.
    pub(super) fn in_the_way(&self, space: Space, part: Part) -> impl Iterator<Item = (Serial, &Subnet)> {
        let index = self.index(space);
        let standing = index.all_covering(part.prefix).chain(index.all_inside(part.prefix));
        let known = standing.filter_map(|serial| Some((*serial, self.subnet(*serial)?)));
        known.filter(move |(_, subnet)| !part.coexists_with(Part::of(&subnet.state)))
    }

    /// The changes that free the held subnets that conflict with this prefix, if all of them are proven dead, and the first
    /// of them with exactly this prefix: its replacement inherits its memory.
    pub(super) fn clear_the_way(
        &self,
        request: &SubnetRequest,
        prefix: Prefix,
    ) -> Result<(Vec<Change>, Option<&Subnet>), Refusal> {
        let (space, dead) = (request.space, &request.dead);
        let evidence = |subnet: &Subnet| {
            let key = (subnet.state.serial, None, subnet.state.generation);
            dead.proven.get(&key).filter(|death| !death.needs_unnamed() || subnet.awaits_id())
        };
        // One conflicting subnet that is alive is enough to refuse, however many there are.
        let alive = |subnet: &Subnet| space != Space::Local || evidence(subnet).is_none();
        let (mut nearest, mut in_the_way) = (None, BTreeMap::new());
        for (serial, subnet) in self.in_the_way(space, Part::asked(request, prefix)) {
            let nearest = *nearest.get_or_insert(subnet);
            if alive(subnet) {
                return Err(self.overlap(nearest, prefix, dead));
            }
            in_the_way.insert(serial, subnet);
        }
        let mut prefixes = BTreeSet::new();
        let mut changes = Vec::new();
        for subnet in in_the_way.values() {
            let Some(death) = evidence(subnet) else { continue };
            changes.extend(self.release_subnet(subnet, Why::Repair(death.evidence())));
            // Only one memory per prefix is kept: that of the first copy.
            if !prefixes.insert(subnet.state.prefix) {
                changes.push(Change::SubnetForgotten { serial: subnet.state.serial });
            }
        }
        Ok((changes, in_the_way.into_values().find(|subnet| subnet.state.prefix == prefix)))
    }
}

/// The changes for a lease that was found or identified, including the marks of its subnet.
fn learned(subnet: &Subnet, address: u128, record: Record, evidence: &str) -> Vec<Change> {
    let serial = subnet.state.serial;
    let mut marks = subnet.state.marks.clone();
    marks.learn(record.kind, address, subnet.gateway_lease().is_some());
    let mut changes = vec![Change::AddressLearned { serial, address, record, evidence: evidence.into() }];
    if marks != subnet.state.marks {
        changes.push(Change::SubnetMarked { serial, marks });
    }
    changes
}
