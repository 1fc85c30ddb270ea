//! Applies changes: the same code updates the served plan and rebuilds it from the store.
//!
//! Promises: total and deterministic; a change that names something unknown has no effect. Makes no
//! decisions.

use super::change::{Change, Kind, Marks, Record, Serial, SubnetState, Why};
use super::prefix::Prefix;
use super::settings::Millis;
use super::slices::Confines;
use super::subnet::Subnet;
use super::{COOLING, Plan};

impl Plan {
    /// Advances the time and frees the subnets that have cooled. Cheap when no subnet is due; the time never
    /// goes backwards.
    pub fn advance(&mut self, now: Millis) {
        self.now = self.now.max(now);
        while let Some((until, serial)) =
            self.cooling.first().copied().filter(|(until, _)| *until <= self.now)
        {
            self.cooling.remove(&(until, serial));
            if let Some(subnet) = self.subnets.get(&serial) {
                self.cooled(subnet.state.prefix, subnet.state.released_at.unwrap_or(0), serial);
            }
        }
    }

    /// Applies one committed change.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::SubnetGranted(state)
            | Change::SubnetRestored(state)
            | Change::SubnetAdopted { state, .. } => self.put_subnet((**state).clone()),
            Change::SubnetIdLearned { serial, id, .. } => {
                self.drop_kept(*serial);
                let Some(subnet) = self.subnets.get(serial) else { return };
                self.put_subnet(SubnetState { id: id.clone(), ..subnet.state.clone() });
            }
            Change::SubnetMarked { serial, marks } => self.mark(*serial, marks),
            Change::SubnetReleased { serial, at, cool_until, why } => {
                self.drop_kept(*serial);
                self.end_subnet(*serial, (*at, *cool_until), *why != Why::Docker);
            }
            Change::SubnetForgotten { serial } => {
                self.drop_kept(*serial);
                self.unindex(*serial);
                self.subnets.remove(serial);
            }
            Change::AddressGranted { serial, address, record }
            | Change::AddressRestored { serial, address, record }
            | Change::AddressQuarantined { serial, address, record }
            | Change::AddressLearned { serial, address, record, .. } => {
                self.put_address(*serial, *address, record.clone());
            }
            Change::AddressesLoaded { serial, records } => self.load_addresses(*serial, records),
            Change::AddressReleased { serial, address, at, why } => {
                let Some(subnet) = self.subnets.get_mut(serial) else { return };
                let Some(record) = subnet.addresses.get(*address) else { return };
                let withheld = record.withheld || *why != Why::Docker;
                let record = Record { leased: false, since: *at, withheld, ..record.clone() };
                subnet.addresses.put(*address, record);
            }
            Change::AddressForgotten { serial, address } | Change::QuarantineEnded { serial, address } => {
                if let Some(subnet) = self.subnets.get_mut(serial) {
                    subnet.addresses.forget(*address);
                }
            }
            Change::SubnetListed { serial } => {
                if let Some(subnet) = self.subnets.get_mut(serial) {
                    subnet.state.start_beyond = None;
                }
            }
            Change::SubnetNamed { .. } | Change::AddressDoubled { .. } => {}
            Change::AddressNamed { serial, address, generation, shown } => {
                self.rename_holder(*serial, *address, *generation, &shown.container);
            }
            Change::ReleaseKept { serial, address, kept } => {
                self.kept.insert((*serial, *address), kept.clone());
            }
            Change::SlicePut(slice) => self.put_slice(slice.prefix, Some(slice.clone())),
            Change::SliceGone { prefix } => self.put_slice(*prefix, None),
            Change::EngineKnown(identity) => self.engine = Some(identity.as_ref().clone()),
            Change::AddressPinned { space, prefix, address, pin } => {
                self.put_pin((*space, *prefix), *address, Some(pin.clone()));
            }
            Change::AddressUnpinned { space, prefix, address } => {
                self.put_pin((*space, *prefix), *address, None);
            }
            Change::KeyRemembered { space, family, word, prefix } => {
                let key = (*space, *family, word.clone());
                match prefix {
                    Some(prefix) => self.keys.insert(key, *prefix),
                    None => self.keys.remove(&key),
                };
            }
            Change::CallerSeen { name, caller } => {
                self.callers.insert(name.clone(), caller.clone());
            }
            Change::CallerForgotten { name } => {
                self.callers.remove(name);
            }
            Change::ClockStepped(shift) => self.clock_stepped(*shift),
            Change::Counted { next_generation, next_serial } => {
                self.next_generation = self.next_generation.max(*next_generation);
                self.next_serial = self.next_serial.max(*next_serial);
            }
        }
    }

    /// Docker does not report a `docker rename` to a driver: the Engine's current name replaces the one sent with the request.
    /// A holder whose request had no name is not looked up by name.
    fn rename_holder(&mut self, serial: Serial, address: u128, generation: u64, container: &str) {
        let Some(subnet) = self.subnets.get_mut(&serial) else { return };
        let Some(record) = subnet.addresses.get(address) else { return };
        if let Some(name) = record.renamed(generation, container) {
            subnet.addresses.put(address, Record { name: Some(name), ..record.clone() });
        }
    }

    fn put_address(&mut self, serial: Serial, address: u128, record: Record) {
        let Some(subnet) = self.subnets.get_mut(&serial) else { return };
        self.next_generation = self.next_generation.max(record.generation.saturating_add(1));
        subnet.addresses.put(address, record);
    }

    fn load_addresses(&mut self, serial: Serial, records: &[(u128, Record)]) {
        let Some(subnet) = self.subnets.get_mut(&serial) else { return };
        let newest = records.iter().map(|(_, record)| record.generation).max();
        self.next_generation = self.next_generation.max(newest.map_or(0, |newest| newest.saturating_add(1)));
        subnet.addresses.load(records);
    }

    fn put_subnet(&mut self, state: SubnetState) {
        let serial = state.serial;
        self.next_generation = self.next_generation.max(state.generation.saturating_add(1));
        self.next_serial = self.next_serial.max(serial.saturating_add(1));
        self.unindex(serial);
        match self.subnets.get_mut(&serial) {
            Some(subnet) => {
                subnet.state = state;
                subnet.bound(&Confines {
                    reserved: &self.reserved,
                    spaces: &self.spaces,
                    slices: &self.slices,
                });
            }
            None => {
                let pins = self.pins.get(&(state.space, state.prefix)).cloned().unwrap_or_default();
                let limits =
                    Confines { reserved: &self.reserved, spaces: &self.spaces, slices: &self.slices };
                self.subnets.insert(serial, Box::new(Subnet::new(state, &limits, pins)));
            }
        }
        self.index_subnet(serial);
    }

    fn mark(&mut self, serial: Serial, marks: &Marks) {
        let Some(subnet) = self.subnets.get_mut(&serial) else { return };
        let moved = subnet.state.marks.gateway != marks.gateway;
        subnet.state.marks = marks.clone();
        if moved {
            subnet.bound(&Confines { reserved: &self.reserved, spaces: &self.spaces, slices: &self.slices });
        }
        if marks.addressed {
            self.unaddressed.remove(&(subnet.state.granted_at, serial));
        }
    }

    /// Marks a subnet as released. Endpoints are remembered; gateways, auxiliary addresses and unknown leases are forgotten.
    fn end_subnet(&mut self, serial: Serial, (at, cool_until): (Millis, Millis), withheld: bool) {
        self.unindex(serial);
        if let Some(subnet) = self.subnets.get_mut(&serial) {
            let leases = subnet.addresses.leases();
            let leases: Vec<(u128, Kind)> = leases.map(|(address, record)| (address, record.kind)).collect();
            for (address, kind) in leases {
                match subnet.addresses.get(address).filter(|_| kind == Kind::Endpoint).cloned() {
                    Some(record) => subnet.addresses.put(
                        address,
                        Record { leased: false, since: at, withheld: withheld || record.withheld, ..record },
                    ),
                    None => subnet.addresses.forget(address),
                }
            }
            subnet.state.released_at = Some(at);
            subnet.state.cool_until = cool_until;
        }
        self.index_subnet(serial);
    }

    pub(super) fn index_subnet(&mut self, serial: Serial) {
        let Some(subnet) = self.subnets.get(&serial) else { return };
        let state = &subnet.state;
        let (prefix, space) = (state.prefix, state.space);
        let Some(released_at) = state.released_at else {
            self.by_id.insert(state.id.clone(), serial);
            self.standing[space as usize].insert(prefix, serial);
            if state.dynamic && !state.marks.addressed {
                self.unaddressed.insert((state.granted_at, serial));
            }
            self.spaces.stand(prefix, true);
            return;
        };
        self.released.insert((released_at, serial));
        self.remembered.insert((space, prefix, released_at, serial));
        if state.cool_until > self.now {
            self.cooling.insert((state.cool_until, serial));
            self.cooling_by_age[prefix.family() as usize].insert((released_at, serial));
            self.standing[COOLING].insert(prefix, serial);
            self.spaces.stand(prefix, false);
        }
    }

    pub(super) fn unindex(&mut self, serial: Serial) {
        let Some(state) = self.subnets.get(&serial).map(|subnet| &subnet.state) else { return };
        let (prefix, space) = (state.prefix, state.space);
        let Some(released_at) = state.released_at else {
            self.by_id.remove(&state.id);
            self.unaddressed.remove(&(state.granted_at, serial));
            self.standing[space as usize].remove(prefix, &serial);
            return self.spaces.leave(prefix, &self.standing, &self.slices, true);
        };
        self.released.remove(&(released_at, serial));
        self.remembered.remove(&(space, prefix, released_at, serial));
        if self.cooling.remove(&(state.cool_until, serial)) {
            self.cooled(prefix, released_at, serial);
        }
    }

    /// A subnet no longer cools.
    fn cooled(&mut self, prefix: Prefix, released_at: Millis, serial: Serial) {
        self.cooling_by_age[prefix.family() as usize].remove(&(released_at, serial));
        self.standing[COOLING].remove(prefix, &serial);
        self.spaces.leave(prefix, &self.standing, &self.slices, false);
    }
}
