//! Adopts whole networks that Docker has and the books lack, because the books were lost or come from an old backup.
//!
//! Promises: *fenced*, *disjoint*, *unique*; the subnet and all its live leases in the Engine's list are
//! added to the books in one decision, so a live address is never free, not even for a moment. The Engine
//! does not show PoolIDs: an adopted subnet has none until the first RequestAddress or a person provides it.
//! A release cannot provide it: it may be a late release of an earlier grant (P19), and trusting it would
//! take the subnet from the network.

use std::collections::{BTreeMap, BTreeSet};

use super::Plan;
use super::change::{Change, Kind, Marks, Record, Serial, SubnetState, Why};
use super::error::Refusal;
use super::prefix::Prefix;
use super::repair::SETTLING;
use super::request::{Adoption, Dead, ShownLease, Space};
use super::settings::{Millis, rfc3339};
use super::siblings::Part;
use super::subnet::Subnet;

/// The longest PoolID accepted from a person.
const LONGEST_ID: usize = 255;

/// Placeholder for an unknown PoolID; no grant ever has it. It contains the range if subnets share the prefix.
fn unlearned_id(space: Space, prefix: Prefix, range: Option<Prefix>) -> String {
    let range = range.map_or_else(String::new, |range| range.to_string());
    format!("{space}/{prefix}#?{range}")
}

/// Whether the text is the random part of gipam's own PoolIDs: 64 bits in hex.
fn is_random(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A PoolID without its random part: `<space>/<prefix>`, with `/<range>` if the network has one, as libnetwork writes them.
pub(super) fn named_in_id(space: Space, prefix: Prefix, range: Option<Prefix>) -> String {
    match range {
        Some(range) => [space.name(), "/", &prefix.text(), "/", &range.text()].concat(),
        None => [space.name(), "/", &prefix.text()].concat(),
    }
}

/// The prefix and range in one of gipam's own PoolIDs for space local. PoolIDs of earlier versions never contain a range.
fn named_by(id: &str) -> Option<(Prefix, Option<Prefix>)> {
    let (named, _) = id.rsplit_once('#').filter(|(_, random)| is_random(random))?;
    let rest = named.strip_prefix(Space::Local.name())?.strip_prefix('/')?;
    let (prefix, range) = match rest.match_indices('/').nth(1) {
        Some((at, _)) => (Prefix::parse(&rest[..at])?, Some(Prefix::parse(&rest[at + 1..])?)),
        None => (Prefix::parse(rest)?, None),
    };
    (named == named_in_id(Space::Local, prefix, range)).then_some((prefix, range))
}

impl Subnet {
    /// A PoolID that a RequestAddress for this subnet may contain: its own, or one that it would accept as its own.
    pub fn asked_as(&self) -> String {
        match self.awaits_id() {
            true => {
                let SubnetState { space, prefix, range, .. } = &self.state;
                format!("{}#{:016x}", named_in_id(*space, *prefix, *range), 0)
            }
            false => self.state.id.clone(),
        }
    }

    /// Whether it is adopted and its PoolID is not known yet.
    pub fn awaits_id(&self) -> bool {
        let SubnetState { id, space, prefix, range, .. } = &self.state;
        let is = |range| *id == unlearned_id(*space, *prefix, range);
        id.contains("#?") && (is(None) || is(*range))
    }
}

/// The state of one decision that adopts networks.
#[derive(Debug)]
pub(super) struct AdoptionBatch<'a> {
    pub(super) plan: &'a Plan,
    serial: Serial,
    generation: u64,
    /// Prefixes that several networks share, in this batch or with held subnets.
    shared: BTreeSet<Prefix>,
    /// Serials that this batch uses.
    used: BTreeSet<Serial>,
    /// Addresses that this batch leases in shared prefixes.
    claimed: BTreeMap<(Prefix, u128), Kind>,
}

impl<'a> AdoptionBatch<'a> {
    /// A batch for these networks.
    pub(super) fn of(plan: &'a Plan, networks: impl Iterator<Item = &'a Adoption>) -> Self {
        let (generation, serial) = plan.counters();
        let (mut once, mut shared) = (BTreeSet::new(), BTreeSet::new());
        for Adoption { prefix, .. } in networks {
            if !once.insert(*prefix) || plan.grants_of(Space::Local, *prefix).next().is_some() {
                shared.insert(*prefix);
            }
        }
        let (used, claimed) = Default::default();
        Self { plan, serial, generation, shared, used, claimed }
    }

    /// Returns the next generation and increments the counter.
    pub(super) const fn generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation - 1
    }

    /// Adopts a network: returns its serial and the changes.
    pub(super) fn adopt(&mut self, seen: &Adoption) -> (Serial, Vec<Change>) {
        let (plan, now) = (self.plan, self.plan.now);
        let (prefix, part) = (seen.prefix, seen.part());
        let range = part.range;
        let shares = self.shared.contains(&prefix);
        let its_own = |subnet: &&Subnet| {
            let state = &subnet.state;
            !self.used.contains(&state.serial) && (!shares || !Part::of(state).is_apart_from(part))
        };
        let memory = plan.memory_for(Space::Local, part).filter(its_own);
        let serial = memory.map_or(self.serial, |subnet| subnet.state.serial);
        self.used.insert(serial);
        self.serial = self.serial.max(serial + 1);
        let generation = self.generation();
        let (leases, gateway) = self.leases(seen, memory, serial);
        let unlearned = || unlearned_id(Space::Local, prefix, range.filter(|_| shares));
        let state = SubnetState {
            serial,
            id: seen.id.clone().unwrap_or_else(unlearned),
            space: Space::Local,
            prefix,
            range,
            pool: plan.pool_around(prefix).map(|pool| pool.name.clone()),
            options: seen.options.clone(),
            dynamic: false,
            granted_at: now,
            generation,
            start_beyond: None,
            marks: Marks { addressed: true, had_endpoint: true, set_up_at: now, gateway, ..Marks::default() },
            released_at: None,
            cool_until: 0,
        };
        let evidence = seen.evidence.clone();
        let mut changes = vec![Change::SubnetAdopted { state: Box::new(state), evidence }];
        changes.extend(leases);
        (serial, changes)
    }

    /// The network's leases, one per address, and the address of the gateway. A lease that a sibling holds as
    /// a precaution moves to its own network.
    fn leases(
        &mut self,
        seen: &Adoption,
        memory: Option<&Subnet>,
        serial: Serial,
    ) -> (Vec<Change>, Option<u128>) {
        let (mut known, mut gateway, mut changes) = (BTreeSet::new(), None, Vec::new());
        for lease in seen.leases.iter().filter(|lease| seen.prefix.contains_number(lease.address)) {
            if !known.insert(lease.address) {
                continue;
            }
            if self.shared.contains(&seen.prefix) {
                match self.taken_over(seen, lease) {
                    Some(moved) => changes.extend(moved),
                    None => continue,
                }
            }
            let generation = self.generation();
            if lease.kind == Kind::Gateway && gateway.is_none() {
                gateway = Some(lease.address);
            }
            let old = memory.and_then(|subnet| subnet.addresses.get(lease.address));
            let record = lease.record(old, self.plan.now, generation);
            let evidence = lease.evidence.clone();
            changes.push(Change::AddressLearned { serial, address: lease.address, record, evidence });
        }
        (changes, gateway)
    }

    /// The change needed before one of several subnets with this prefix can take a lease, if any; `None` if it cannot. An
    /// address is leased only once over all of these subnets, except for a gateway that they share.
    fn taken_over(&mut self, seen: &Adoption, lease: &ShownLease) -> Option<Option<Change>> {
        let key = (seen.prefix, lease.address);
        if self.claimed.get(&key).is_some_and(|kind| !kind.is_one_router(lease.kind)) {
            return None;
        }
        let moved = match self.plan.sibling_lease(seen, lease.address) {
            None => None,
            Some((_, record)) if record.kind.is_one_router(lease.kind) => None,
            Some((other, record)) => {
                let old = record.kind == Kind::Endpoint && record.generation < seen.read.generation;
                let (serial, address, at) = (other.state.serial, lease.address, self.plan.now);
                let why = Why::Repair(lease.evidence.clone());
                old.then_some(Some(Change::AddressReleased { serial, address, at, why }))?
            }
        };
        self.claimed.insert(key, lease.kind);
        Some(moved)
    }

    /// Whether another subnet of the prefix, held or in this batch, has this address, except as a gateway that both share.
    pub(super) fn is_anothers(&mut self, subnet: &Subnet, address: u128, kind: Kind) -> bool {
        let prefix = subnet.state.prefix;
        let held = self.plan.siblings(subnet).lease(address).map(|(_, record)| record.kind);
        let claimed = self.claimed.insert((prefix, address), kind);
        held.into_iter().chain(claimed).any(|other| !other.is_one_router(kind))
    }
}

impl Plan {
    /// The held subnet with this PoolID; subnets whose PoolID is not known yet are not found here.
    pub(super) fn granted(&self, id: &str) -> Option<&Subnet> {
        self.held(id).filter(|subnet| !subnet.awaits_id())
    }

    /// The held subnet that a request for an address refers to, and what is learned from the request: an unknown PoolID in
    /// gipam's format can only come from gipam, and names exactly the prefix of an adopted subnet.
    pub(super) fn called(&self, id: &str) -> Option<(&Subnet, Option<Change>)> {
        if let Some(subnet) = self.granted(id) {
            return Some((subnet, None));
        }
        let waiting = self.waiting(id);
        let subnet = match waiting.as_slice() {
            [subnet] => *subnet,
            // Before such a request, Docker has released something under this PoolID, in one of the subnets.
            several => {
                let mut released = several.iter().filter(|subnet| self.has_kept(subnet, id));
                released.next().filter(|_| released.next().is_none())?
            }
        };
        let serial = subnet.state.serial;
        Some((subnet, Some(Change::SubnetIdLearned { serial, id: id.to_owned(), why: Why::Docker })))
    }

    /// The adopted subnets to which this PoolID may belong.
    pub(super) fn waiting(&self, id: &str) -> Vec<&Subnet> {
        let Some((prefix, range)) = named_by(id) else { return Vec::new() };
        let meant = |subnet: &&Subnet| subnet.awaits_id() && (range.is_none() || subnet.state.range == range);
        self.grants_of(Space::Local, prefix).filter(meant).collect()
    }

    /// Why a request for an address with this PoolID is refused.
    pub(super) fn not_called(&self, id: &str) -> Refusal {
        let waiting = self.waiting(id);
        let ranges: Vec<_> = waiting.iter().filter_map(|subnet| subnet.state.range).collect();
        let [first, others @ ..] = ranges.as_slice() else { return Refusal::pool_not_found(id) };
        let others: Vec<String> = others.iter().map(ToString::to_string).collect();
        Refusal::not_found(format!(
            "adopted networks share {}, and the request does not show which one it is for; restart a running container of \
             that network, or give its --ip-range: gipam adopt {first} {id:?} (or {})",
            waiting.first().map_or_else(String::new, |subnet| subnet.state.prefix.to_string()),
            others.join(", ")
        ))
    }

    /// Adopts networks: all or none, so that networks which share a prefix are never confused.
    pub(super) fn adopt_subnets(&self, all: &[Adoption]) -> Result<Vec<Change>, Refusal> {
        let mut batch = AdoptionBatch::of(self, all.iter());
        let (mut changes, mut serials, mut rivals) = (Vec::new(), Vec::new(), Vec::<&Adoption>::new());
        for seen in all {
            if let Some(other) = rivals.iter().find(|other| !seen.part().coexists_with(other.part())) {
                return Err(Refusal::overlap_pool(format!("{} overlaps {}", seen.prefix, other.prefix)));
            }
            self.refuse_unfit(seen, seen.read.at)?;
            let (serial, taken) = batch.adopt(seen);
            rivals.push(seen);
            serials.push(serial);
            changes.extend(taken);
        }
        changes.extend(self.trim_remembered(0, &serials));
        Ok(changes)
    }

    /// The lease that a held subnet of the same prefix has at this address.
    pub(super) fn sibling_lease(&self, seen: &Adoption, address: u128) -> Option<(&Subnet, &Record)> {
        let mut grants = self.grants_of(Space::Local, seen.prefix);
        grants.find_map(|subnet| Some((subnet, subnet.addresses.lease(address)?)))
    }

    /// The nearest held subnet that conflicts with this network.
    pub fn obstacle_to(&self, seen: &Adoption) -> Option<&Subnet> {
        self.in_the_way(Space::Local, seen.part()).next().map(|(_, subnet)| subnet)
    }

    /// Refuses a network that overlaps a held subnet (unless they can be siblings), was just released, or whose PoolID is taken.
    /// The Engine's list was read at `read` or later.
    pub(super) fn refuse_unfit(&self, seen: &Adoption, read: Millis) -> Result<(), Refusal> {
        if let Some(subnet) = self.obstacle_to(seen) {
            return Err(self.overlap(subnet, seen.prefix, &Dead::default()));
        }
        self.refuse_recent(seen, read)?;
        seen.id.as_ref().map_or(Ok(()), |id| self.check_id(seen.prefix, seen.part().range, id))
    }

    /// Docker releases a subnet first and removes its network from the list later: a network whose subnet was released shortly
    /// before the books were read, or since, may be one of these.
    fn refuse_recent(&self, seen: &Adoption, read: Millis) -> Result<(), Refusal> {
        let since = (read.saturating_sub(SETTLING).saturating_add(1), 0);
        let mut recent = self.released.range(since..).filter_map(|(at, serial)| {
            let state = &self.subnet(*serial)?.state;
            let meant = state.space == Space::Local && !seen.part().coexists_with(Part::of(state));
            meant.then_some((at, state.prefix))
        });
        match recent.next_back() {
            None => Ok(()),
            Some((at, released)) => Err(Refusal::out_of_date(format!(
                "{released} was released at {}, so the Engine's list may be out of date; try again in a few seconds",
                rfc3339(*at)
            ))),
        }
    }

    /// Checks a PoolID that a person provided.
    fn check_id(&self, prefix: Prefix, range: Option<Prefix>, id: &str) -> Result<(), Refusal> {
        let shown: String = id.chars().take(LONGEST_ID).flat_map(char::escape_debug).collect();
        if let Some(subnet) = self.held(id) {
            let text = format!("PoolID {shown:?} belongs to {}", subnet.state.prefix);
            return Err(Refusal::overlap_pool(text));
        }
        if id.is_empty() || id.len() > LONGEST_ID || id.chars().any(char::is_control) || id.contains("#?") {
            return Err(Refusal::invalid_request(format!("{shown:?} is not a PoolID")));
        }
        let right = |named: &str| {
            [range, None].into_iter().any(|range| named == named_in_id(Space::Local, prefix, range))
        };
        match id.rsplit_once('#').filter(|(named, random)| is_random(random) && !right(named)) {
            Some((named, _)) => Err(Refusal::invalid_request(format!(
                "the PoolID names {named}, not {}",
                named_in_id(Space::Local, prefix, range)
            ))),
            None => Ok(()),
        }
    }

    /// Sets the PoolID of the adopted subnet with this prefix or range.
    pub(super) fn name_subnet(&self, prefix: Prefix, id: &str) -> Result<(&Subnet, Change), Refusal> {
        let mut waiting: Vec<&Subnet> =
            self.grants_of(Space::Local, prefix).filter(|subnet| subnet.awaits_id()).collect();
        if waiting.is_empty() {
            let ranged = |subnet: &&Subnet| subnet.is_held() && subnet.state.range == Some(prefix);
            waiting = self.subnets().filter(ranged).filter(|subnet| subnet.awaits_id()).collect();
        }
        if let [first, _, ..] = waiting.as_slice() {
            let range = first.state.range.unwrap_or(prefix);
            return Err(Refusal::invalid_request(format!(
                "several networks share {prefix}; give the --ip-range of the one that you mean: gipam adopt {range} {id:?}"
            )));
        }
        let Some(subnet) = waiting.first() else {
            let there = self.grants_of(Space::Local, prefix).next();
            let none = || {
                Refusal::not_found(format!(
                    "{prefix} is not an adopted subnet that waits for its PoolID; see: gipam gc"
                ))
            };
            return Err(there.map_or_else(none, has_id));
        };
        Ok((subnet, self.name_one(subnet, id)?))
    }

    /// Sets the PoolID of this adopted subnet.
    pub(super) fn name_one(&self, subnet: &Subnet, id: &str) -> Result<Change, Refusal> {
        if !subnet.awaits_id() {
            return Err(has_id(subnet));
        }
        self.check_id(subnet.state.prefix, subnet.state.range, id)?;
        Ok(Change::SubnetIdLearned { serial: subnet.state.serial, id: id.to_owned(), why: Why::Force })
    }
}

fn has_id(subnet: &Subnet) -> Refusal {
    let SubnetState { prefix, granted_at, id, .. } = &subnet.state;
    Refusal::overlap_pool(format!(
        "{prefix} has been held since {} under PoolID {id:?}",
        rfc3339(*granted_at)
    ))
}
