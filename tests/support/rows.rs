//! THE BOOKS IN MEMORY: the rows that the tables would keep, and the changes that are read from them at a
//! start.
//!
//! Promises: keeps what `store/write.rs` keeps, in an order that does not depend on the served plan. No disk,
//! no SQL.

use std::collections::BTreeMap;

use gipam::plan::change::{Change, KeptRelease, Kind, Record, Serial, SubnetState, Why};
use gipam::plan::pins::Pin;
use gipam::plan::prefix::{Family, Prefix};
use gipam::plan::request::Space;
use gipam::plan::settings::{Millis, Settings};
use gipam::plan::shown::EngineIdentity;
use gipam::plan::slices::Slice;
use gipam::plan::{Caller, Plan};

/// The tables.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    subnets: BTreeMap<Serial, SubnetState>,
    addresses: BTreeMap<(Serial, String), (u128, Record)>,
    keys: BTreeMap<(Space, Family, String), (Prefix, Millis)>,
    callers: BTreeMap<Box<str>, Caller>,
    engine: Option<Box<EngineIdentity>>,
    pins: BTreeMap<(Space, Prefix, u128), Pin>,
    kept: BTreeMap<(Serial, u128), KeptRelease>,
    slices: BTreeMap<Prefix, Slice>,
    counters: (u64, Serial),
}

impl Rows {
    /// Keeps a change, as one or two SQL statements would.
    pub fn keep(&mut self, change: &Change) {
        match change {
            Change::SubnetGranted(state) | Change::SubnetRestored(state) => {
                self.subnets.insert(state.serial, (**state).clone());
            }
            Change::SubnetAdopted { state, .. } => {
                self.subnets.insert(state.serial, (**state).clone());
            }
            Change::SubnetIdLearned { serial, id, .. } => {
                self.kept.retain(|(subnet, _), _| subnet != serial);
                if let Some(state) = self.subnets.get_mut(serial) {
                    state.id.clone_from(id);
                }
            }
            Change::SubnetMarked { serial, marks } => {
                if let Some(state) = self.subnets.get_mut(serial) {
                    state.marks = marks.clone();
                }
            }
            Change::SubnetReleased { serial, at, cool_until, why } => {
                self.kept.retain(|(subnet, _), _| subnet != serial);
                if let Some(state) = self.subnets.get_mut(serial) {
                    (state.released_at, state.cool_until) = (Some(*at), *cool_until);
                }
                let ended = |record: &Record| record.leased && record.kind != Kind::Endpoint;
                self.addresses.retain(|(subnet, _), (_, record)| subnet != serial || !ended(record));
                for (_, (_, record)) in self.addresses.iter_mut().filter(|((subnet, _), _)| subnet == serial)
                {
                    if record.leased {
                        (record.leased, record.since) = (false, *at);
                        record.withheld |= *why != Why::Docker;
                    }
                }
            }
            Change::SubnetForgotten { serial } => {
                self.kept.retain(|(subnet, _), _| subnet != serial);
                self.subnets.remove(serial);
                self.addresses.retain(|(subnet, _), _| subnet != serial);
            }
            Change::AddressGranted { serial, address, record }
            | Change::AddressRestored { serial, address, record }
            | Change::AddressQuarantined { serial, address, record }
            | Change::AddressLearned { serial, address, record, .. } => {
                self.addresses.insert((*serial, address.to_string()), (*address, record.clone()));
            }
            Change::AddressReleased { serial, address, at, why } => {
                if let Some((_, record)) = self.addresses.get_mut(&(*serial, address.to_string())) {
                    (record.leased, record.since) = (false, *at);
                    record.withheld |= *why != Why::Docker;
                }
            }
            Change::AddressForgotten { serial, address } | Change::QuarantineEnded { serial, address } => {
                self.addresses.remove(&(*serial, address.to_string()));
            }
            Change::KeyRemembered { space, family, word, prefix } => {
                let key = (*space, *family, word.clone());
                match prefix {
                    Some(prefix) => self.keys.insert(key, *prefix),
                    None => self.keys.remove(&key),
                };
            }
            Change::SubnetListed { serial } => {
                if let Some(state) = self.subnets.get_mut(serial) {
                    state.start_beyond = None;
                }
            }
            Change::CallerSeen { name, caller } => {
                self.callers.insert(name.clone(), caller.clone());
            }
            Change::CallerForgotten { name } => {
                self.callers.remove(name);
            }
            Change::EngineKnown(identity) => self.engine = Some(identity.clone()),
            Change::AddressDoubled { .. } => {}
            Change::AddressPinned { space, prefix, address, pin } => {
                self.pins.insert((*space, *prefix, *address), pin.clone());
            }
            Change::AddressUnpinned { space, prefix, address } => {
                self.pins.remove(&(*space, *prefix, *address));
            }
            Change::ClockStepped(shift) => {
                self.subnets.values_mut().for_each(|state| shift.subnet(state));
                let records = self.addresses.values_mut().map(|(_, record)| &mut record.since);
                let keys = self.keys.values_mut().map(|(_, at)| at);
                let pins = self.pins.values_mut().map(|pin| &mut pin.since);
                let kept = self.kept.values_mut().map(|kept| &mut kept.at);
                for stamp in records.chain(keys).chain(pins).chain(kept) {
                    *stamp = shift.moved(*stamp);
                }
            }
            Change::SlicePut(slice) => {
                self.slices.insert(slice.prefix, slice.clone());
            }
            Change::SliceGone { prefix } => {
                self.slices.remove(prefix);
            }
            Change::ReleaseKept { serial, address, kept } => {
                self.kept.insert((*serial, *address), kept.clone());
            }
            Change::AddressNamed { serial, address, generation, shown } => {
                let known = self.addresses.get_mut(&(*serial, address.to_string()));
                if let Some((_, record)) = known
                    && let Some(name) = record.renamed(*generation, &shown.container)
                {
                    record.name = Some(name);
                }
            }
            Change::SubnetNamed { .. } | Change::AddressesLoaded { .. } | Change::Counted { .. } => {}
        }
    }

    /// Keeps the counters, once per batch.
    pub fn count(&mut self, plan: &Plan) {
        self.counters = plan.counters();
    }

    /// The plan as a starting daemon would rebuild it.
    pub fn rebuild(&self, settings: &Settings, now: Millis) -> Plan {
        let mut plan = Plan::new(settings.clone());
        for slice in self.slices.values() {
            plan.apply(&Change::SlicePut(slice.clone()));
        }
        for state in self.subnets.values() {
            plan.apply(&Change::SubnetGranted(Box::new(state.clone())));
        }
        for ((serial, _), (address, record)) in &self.addresses {
            plan.apply(&Change::AddressRestored {
                serial: *serial,
                address: *address,
                record: record.clone(),
            });
        }
        for ((space, family, word), prefix) in &self.keys {
            let (space, family, word) = (*space, *family, word.clone());
            plan.apply(&Change::KeyRemembered { space, family, word, prefix: Some(*prefix) });
        }
        for ((space, prefix, address), pin) in &self.pins {
            let (space, prefix, address, pin) = (*space, *prefix, *address, pin.clone());
            plan.apply(&Change::AddressPinned { space, prefix, address, pin });
        }
        for ((serial, address), kept) in &self.kept {
            let (serial, address, kept) = (*serial, *address, kept.clone());
            plan.apply(&Change::ReleaseKept { serial, address, kept });
        }
        for (name, caller) in &self.callers {
            plan.apply(&Change::CallerSeen { name: name.clone(), caller: caller.clone() });
        }
        if let Some(engine) = &self.engine {
            plan.apply(&Change::EngineKnown(engine.clone()));
        }
        let (next_generation, next_serial) = self.counters;
        plan.apply(&Change::Counted { next_generation, next_serial });
        plan.advance(now);
        plan
    }
}
