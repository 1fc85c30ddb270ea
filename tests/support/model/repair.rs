//! The naive plan's repair: *fenced*: an observation never frees or changes anything newer than itself.
//!
//! Promises: implements the rules of `plan/repair.rs` a second time. Does not observe anything.

use gipam::plan::change::{Kind, Record};
use gipam::plan::request::{Decision, Fence, Repair, Reply, Space};

use super::{Expected, Model};

impl Model {
    pub fn repair(&mut self, repair: &Repair, seen: &Decision) -> Result<(), String> {
        let done = match repair {
            Repair::Free(death) => match death.key() {
                (serial, Some(address), generation) => self.free_dead(serial, address, generation),
                (serial, None, generation) => {
                    let at = self.grant_of(serial, generation);
                    let at =
                        at.filter(|at| !death.needs_unnamed() || self.subnets[*at].state.id.contains("#?"));
                    let at = at.filter(|at| self.subnets[*at].state.space == Space::Local);
                    at.map(|at| self.release_subnet(at, true)).is_some()
                }
            },
            Repair::Adopt { serial, lease, read } => {
                let address = lease.address;
                let record = Record {
                    leased: true,
                    kind: lease.kind,
                    name: lease.name.clone(),
                    mac: lease.mac,
                    asked_by_number: false,
                    withheld: false,
                    since: self.now,
                    generation: self.next_generation,
                };
                if self.is_late(*serial, address, *read) {
                    return self.expect(seen, &Expected::Refused("OutOfDate"), false, false);
                }
                self.adopt(*serial, address, record, *read)
            }
            Repair::Identify { serial, address, generation, kind, .. } => {
                let at = self.lease_of(*serial, *address, *generation);
                let open = |at: &usize| {
                    let record = &self.subnets[*at].records[address];
                    let nobody = record.name.is_none() && record.mac.is_none();
                    match (record.kind, *kind) {
                        (Kind::Unknown, kind) => kind != Kind::Unknown,
                        (Kind::Endpoint, Kind::Auxiliary) => nobody,
                        (before, now) => (before, now) == (Kind::Auxiliary, Kind::Endpoint),
                    }
                };
                match at.filter(open) {
                    Some(at) => {
                        self.learn_marks(at, *address, *kind);
                        let record = self.subnets[at].records.get_mut(address).unwrap();
                        record.kind = *kind;
                        record.asked_by_number &= *kind != Kind::Auxiliary;
                        true
                    }
                    None => false,
                }
            }
            Repair::Listed { serial, generation } => {
                let at = self.grant_of(*serial, *generation);
                at.is_some_and(|at| self.subnets[at].state.start_beyond.take().is_some())
            }
            Repair::AdoptSubnets(adoptions) => return self.adopt_subnets(adoptions, seen),
            Repair::NameSubnet { prefix, id } => return self.name_subnet(*prefix, id, seen),
            Repair::NameNetwork { .. } => return Err("names of networks only concern views".to_owned()),
            Repair::Name { serial, address, generation, shown } => {
                let at = self.lease_of(*serial, *address, *generation);
                at.map(|at| {
                    let record = self.subnets[at].records.get_mut(address).unwrap();
                    if record.name.is_some() {
                        record.name = Some((&*shown.container).into());
                    }
                })
                .is_some()
            }
            Repair::Arrival { .. } | Repair::Engine(_) => {
                return Err("callers and Engines have tests of their own".to_owned());
            }
            Repair::Doubled { .. } => return Err("duplicates only concern the history".to_owned()),
        };
        self.expect(seen, &Expected::Reply(Reply::Done), done, false)
    }

    fn grant_of(&self, serial: u64, generation: u64) -> Option<usize> {
        let at = self.by_serial(serial)?;
        let entry = &self.subnets[at];
        (entry.held() && entry.state.generation == generation).then_some(at)
    }

    fn lease_of(&self, serial: u64, address: u128, generation: u64) -> Option<usize> {
        let at = self.by_serial(serial).filter(|at| self.subnets[*at].held())?;
        self.subnets[at].leased(address).filter(|record| record.generation == generation).map(|_| at)
    }

    fn free_dead(&mut self, serial: u64, address: u128, generation: u64) -> bool {
        let Some(at) = self.lease_of(serial, address, generation) else { return false };
        let entry = &self.subnets[at];
        if entry.records[&address].kind != Kind::Endpoint || entry.state.space != Space::Local {
            return false;
        }
        self.release_address(at, address, true);
        true
    }

    /// Whether it was released so shortly before the check that the Engine may still show it.
    fn is_late(&self, serial: u64, address: u128, read: Fence) -> bool {
        let Some(at) = self.by_serial(serial) else { return false };
        let entry = &self.subnets[at];
        let known = entry.held()
            && entry.state.generation < read.generation
            && entry.state.prefix.contains_number(address);
        let free = |old: &&Record| !old.leased || old.kind == Kind::Stranger;
        let old = entry.records.get(&address).filter(free).filter(|old| old.generation < read.generation);
        known && old.is_some_and(|old| old.since + 5_000 > read.at)
    }

    fn adopt(&mut self, serial: u64, address: u128, record: Record, read: Fence) -> bool {
        let Some(at) = self.by_serial(serial) else { return false };
        let entry = &self.subnets[at];
        let old = entry.records.get(&address);
        let settled = |old: &Record| {
            let free = !old.leased || old.kind == Kind::Stranger;
            free && old.generation < read.generation && old.since + 5_000 <= read.at
        };
        let fits = entry.held()
            && entry.state.generation < read.generation
            && entry.state.prefix.contains_number(address);
        if !fits || !old.is_none_or(settled) || self.sibling_with(entry, address).is_some() {
            return false;
        }
        let asked_by_number = old.is_some_and(|old| old.asked_by_number);
        self.learn_marks(at, address, record.kind);
        self.generation();
        self.subnets[at].records.insert(address, Record { asked_by_number, ..record });
        true
    }

    /// A newly learned kind of address also changes the marks of its subnet.
    fn learn_marks(&mut self, at: usize, address: u128, kind: Kind) {
        let entry = &mut self.subnets[at];
        let gateway = entry.state.marks.gateway.and_then(|gateway| entry.leased(gateway));
        let known = gateway.is_some_and(|record| record.kind == Kind::Gateway);
        let marks = &mut entry.state.marks;
        (marks.addressed, marks.stormed) = (true, false);
        match kind {
            Kind::Gateway if !known => marks.gateway = Some(address),
            Kind::Endpoint => marks.had_endpoint = true,
            _ => {}
        }
    }
}
