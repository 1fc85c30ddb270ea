//! Releases by Docker or forced by a person, and undoing grants that could not be delivered.
//!
//! Promises: *repeatable*: releasing what is not held succeeds and changes nothing; a PoolID identifies one grant.
//! An undone grant leaves no cooling, no pin and no memory.

use std::net::IpAddr;

use super::change::{Change, Kind, Marks, Record, Serial, SubnetState, Why};
use super::error::Refusal;
use super::prefix::Prefix;
use super::request::{Decision, KeyBefore, Space, Undo};
use super::siblings::Part;
use super::stamps::Shift;
use super::{Plan, Subnet};

impl Plan {
    /// Releases a lease, or a subnet with all its leases; `None` if it is not held, or if its generation is not the one in
    /// `seen`.
    pub(super) fn release(
        &self,
        subnet: &Subnet,
        address: Option<u128>,
        seen: Option<u64>,
        why: Why,
    ) -> Option<Vec<Change>> {
        let generation = match address {
            Some(address) => subnet.addresses.lease(address)?.generation,
            None => subnet.state.generation,
        };
        if seen.is_some_and(|seen| seen != generation) {
            return None;
        }
        Some(match address {
            Some(address) => self.release_address(subnet, address, why),
            None => self.release_subnet(subnet, why),
        })
    }

    /// Decides ReleasePool and ReleaseAddress.
    pub(super) fn decide_release(&self, id: &str, address: Option<IpAddr>, seen: Option<u64>) -> Vec<Change> {
        let Some(subnet) = self.granted(id) else {
            let kept = address.and_then(|address| self.keep_release(id, address, seen));
            return Vec::from_iter(kept);
        };
        let number = address.map(|address| subnet.number_of(address));
        if number == Some(None) {
            return Vec::new();
        }
        self.release(subnet, number.flatten(), seen, Why::Docker).unwrap_or_default()
    }

    pub(super) fn release_subnet(&self, subnet: &Subnet, why: Why) -> Vec<Change> {
        let (at, state) = (self.now, &subnet.state);
        let cooling = if state.marks.stormed { 0 } else { self.subnet_cooling_of(subnet) };
        let mut changes = vec![Change::SubnetReleased {
            serial: state.serial,
            at,
            cool_until: at.saturating_add(cooling),
            why,
        }];
        // A copy made with overlap=true may have left a memory of the same prefix: one is enough.
        let others = self.replaced_memories(state.space, Part::of(state));
        changes.extend(others.iter().map(|serial| Change::SubnetForgotten { serial: *serial }));
        changes.extend(self.trim_remembered(1_usize.saturating_sub(others.len()), &others));
        changes
    }

    fn release_address(&self, subnet: &Subnet, address: u128, why: Why) -> Vec<Change> {
        let mut changes =
            vec![Change::AddressReleased { serial: subnet.state.serial, address, at: self.now, why }];
        changes.extend(self.trim_memory(subnet, 1, Some(address)));
        changes
    }

    /// Decides `gipam release SUBNET [ADDRESS] --force`.
    pub(super) fn decide_force(
        &self,
        text: &str,
        address: Option<IpAddr>,
        seen: Option<u64>,
    ) -> Result<Vec<Change>, Refusal> {
        let subnet = self.named(text)?;
        let not_leased = |address| {
            let prefix = subnet.state.prefix;
            Refusal::not_found(format!("{address} is not leased in {prefix}; see: gipam leases"))
        };
        let leased = |address| {
            let number = subnet.number_of(address).filter(|number| subnet.addresses.is_leased(*number));
            number.ok_or_else(|| not_leased(address))
        };
        let number = address.map(leased).transpose()?;
        self.release(subnet, number, seen, Why::Force).ok_or_else(|| {
            let text = format!("{text} has been given to another holder since; see: gipam leases");
            Refusal::out_of_date(text)
        })
    }

    /// The held subnet that a person specifies by PoolID or prefix.
    ///
    /// # Errors
    /// If no held subnet matches, or several do.
    pub fn named(&self, text: &str) -> Result<&Subnet, Refusal> {
        if let Some(subnet) = self.held(text) {
            return Ok(subnet);
        }
        let none = || Refusal::not_found(format!("no subnet {text:?} is held; see: gipam subnets"));
        let prefix = Prefix::parse(text).ok_or_else(none)?;
        let found = [Space::Local, Space::Global].into_iter().flat_map(|space| self.grants_of(space, prefix));
        the_one(found, none, |ids| format!("{prefix} names several subnets; name one by PoolID: {ids}"))
    }

    /// Undoes a grant that could not be delivered, if nothing happened to it since.
    pub(super) fn decide_undo(&self, undo: &Undo) -> Decision {
        // The clock may have stepped back since the grant.
        let not_later = Shift { by: 0, now: self.now };
        Decision::done(Ok(match undo {
            Undo::Subnet { serial, generation, previous, key } => {
                self.undo_subnet(*serial, *generation, previous.as_deref(), key.as_ref(), not_later)
            }
            Undo::Address { serial, address, generation, previous, gateway } => {
                let previous = previous
                    .as_deref()
                    .map(|record| Record { since: not_later.moved(record.since), ..record.clone() });
                self.undo_address(*serial, *address, *generation, previous.as_ref(), *gateway)
            }
        }))
    }

    fn undo_subnet(
        &self,
        serial: Serial,
        generation: u64,
        previous: Option<&SubnetState>,
        key: Option<&KeyBefore>,
        not_later: Shift,
    ) -> Vec<Change> {
        // The configured gateway was leased together with the subnet.
        let router = |record: &Record| record.kind == Kind::Gateway && record.generation == generation + 1;
        let untouched = |subnet: &&Subnet| {
            subnet.is_held()
                && subnet.state.generation == generation
                && subnet.addresses.leases().all(|(_, record)| router(record))
        };
        let Some(subnet) = self.subnet(serial).filter(untouched) else { return Vec::new() };
        let (space, prefix) = (subnet.state.space, subnet.state.prefix);
        // A copy of the prefix may have left a newer memory in the meantime: one is enough.
        let newer = |previous: &&SubnetState| !self.replaced_memories(space, Part::of(previous)).is_empty();
        let mut changes = match previous.filter(|previous| !newer(previous)) {
            Some(previous) => {
                let mut previous = previous.clone();
                not_later.subnet(&mut previous);
                let leased = subnet.addresses.leases().map(|(address, _)| address);
                let forgotten = leased.map(|address| Change::AddressForgotten { serial, address });
                forgotten.chain([Change::SubnetRestored(Box::new(previous))]).collect()
            }
            None => vec![Change::SubnetForgotten { serial }],
        };
        if let Some((word, before)) = key {
            let family = prefix.family();
            let known = self.keys.get(&(space, family, word.clone()));
            if known.is_some_and(|(known, _)| *known == prefix) {
                let before = before.map(|(prefix, at)| (prefix, not_later.moved(at)));
                changes.push(Change::KeyRemembered { space, family, word: word.clone(), prefix: before });
            }
        }
        changes
    }

    fn undo_address(
        &self,
        serial: Serial,
        address: u128,
        generation: u64,
        previous: Option<&Record>,
        gateway: Option<u128>,
    ) -> Vec<Change> {
        let Some(subnet) = self.subnet(serial) else { return Vec::new() };
        let untouched = |record: &&Record| record.generation == generation;
        let Some(record) = subnet.addresses.lease(address).filter(untouched) else { return Vec::new() };
        let mut changes = vec![match previous {
            Some(record) => Change::AddressRestored { serial, address, record: record.clone() },
            None => Change::AddressForgotten { serial, address },
        }];
        if record.kind == Kind::Gateway
            && subnet.state.marks.gateway == Some(address)
            && gateway != Some(address)
        {
            let marks = Marks { gateway, ..subnet.state.marks.clone() };
            changes.push(Change::SubnetMarked { serial, marks });
        }
        changes
    }
}

/// The only one of these subnets; `several` makes the text of the refusal from their PoolIDs.
pub(super) fn the_one<'a>(
    mut found: impl Iterator<Item = &'a Subnet>,
    none: impl FnOnce() -> Refusal,
    several: impl FnOnce(String) -> String,
) -> Result<&'a Subnet, Refusal> {
    let first = found.next().ok_or_else(none)?;
    let others: Vec<&str> = found.map(|subnet| subnet.state.id.as_str()).collect();
    match others.as_slice() {
        [] => Ok(first),
        others => Err(Refusal::invalid_request(several([&[&*first.state.id], others].concat().join(", ")))),
    }
}
