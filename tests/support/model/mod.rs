//! A NAIVE PLAN: plain lists, linear search, no index. It predicts every answer of the real one and copies
//! only what depends on chance (PoolIDs, stable addresses).
//!
//! Promises: implements the rules R9 to R48 a second time, as simply as possible. Only for subnets of a
//! few hundred addresses. Times in milliseconds.

mod addresses;
mod adopt;
mod pins;
mod quarantine;
mod repair;
pub mod siblings;
mod slices;
mod subnets;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use gipam::plan::change::{Change, Kind, Marks, Record, Serial, SubnetState};
use gipam::plan::error::Refusal;
use gipam::plan::pins::Pin;
use gipam::plan::prefix::{Family, Prefix, number};
use gipam::plan::request::{Decision, Reply, Request, Space, Undo};
use gipam::plan::settings::{Millis, PoolSettings, Settings};
use gipam::plan::slices::SliceState;

const DAY: Millis = 24 * 3_600_000;

/// A subnet with its addresses, held or remembered.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub state: SubnetState,
    pub records: BTreeMap<u128, Record>,
}

impl Entry {
    pub fn held(&self) -> bool {
        self.state.released_at.is_none()
    }
    fn leased(&self, address: u128) -> Option<&Record> {
        self.records.get(&address).filter(|record| record.leased)
    }
}

/// What is needed to undo one grant.
#[derive(Clone, Debug)]
pub struct Grant {
    pub undo: Undo,
    serial: Serial,
    generation: u64,
    address: Option<u128>,
    record_before: Option<Record>,
    gateway_before: Option<u128>,
    state_before: Option<SubnetState>,
    key: Option<(String, Option<(Prefix, Millis)>)>,
}

/// The answer that the model predicts.
#[derive(Debug, PartialEq)]
enum Expected {
    Reply(Reply),
    Subnet(Prefix),
    AddressAmong(BTreeSet<u128>, u8),
    Refused(&'static str),
}

/// The naive plan.
#[derive(Clone, Debug)]
pub struct Model {
    pub settings: Settings,
    pub now: Millis,
    pub subnets: Vec<Entry>,
    pub keys: BTreeMap<(Space, Family, String), (Prefix, Millis)>,
    pub grants: Vec<Grant>,
    pub pins: Vec<(Space, Prefix, u128, Pin)>,
    /// Releases with a PoolID that is not known yet: serial, address, generation, PoolID, time.
    pub kept: Vec<(Serial, u128, u64, String, Millis)>,
    /// The slices: prefix, state, claim.
    pub slices: BTreeMap<Prefix, (SliceState, Box<str>)>,
    next_generation: u64,
    next_serial: Serial,
}

impl Model {
    pub fn new(settings: Settings) -> Self {
        let (subnets, keys, grants, pins) = (Vec::new(), BTreeMap::new(), Vec::new(), Vec::new());
        Self {
            settings,
            now: 0,
            subnets,
            keys,
            grants,
            pins,
            kept: Vec::new(),
            slices: BTreeMap::new(),
            next_generation: 1,
            next_serial: 1,
        }
    }

    /// Checks a decision of the real plan against the rules, and applies it to the model.
    pub fn follow(&mut self, request: &Request, seen: &Decision) -> Result<(), String> {
        match request {
            Request::Subnet(request) => self.subnet(request, seen)?,
            Request::Address(request) => self.address(request, seen)?,
            Request::Release { id, address: None, generation } => {
                let held = self
                    .held(id)
                    .filter(|at| generation.is_none_or(|it| it == self.subnets[*at].state.generation));
                self.expect(seen, &Expected::Reply(Reply::Done), held.is_some(), false)?;
                if let Some(at) = held {
                    self.release_subnet(at, false);
                }
            }
            Request::Release { id, address: Some(address), generation: None } if self.held(id).is_none() => {
                let kept = self.keep_release(id, *address);
                self.expect(seen, &Expected::Reply(Reply::Done), kept, false)?;
            }
            Request::Release { id, address: Some(address), generation } => {
                let found = self.held(id).and_then(|at| self.lease_at(at, *address));
                let found =
                    found.filter(|(_, _, record)| generation.is_none_or(|it| it == record.generation));
                self.expect(seen, &Expected::Reply(Reply::Done), found.is_some(), false)?;
                if let Some((at, address, _)) = found {
                    self.release_address(at, address, false);
                }
            }
            Request::Force { subnet, address, .. } => self.force(subnet, *address, seen)?,
            Request::Undo(undo) => self.undo(undo, seen)?,
            Request::Repair(repair) => self.repair(repair, seen)?,
            Request::Slice(request) => self.slice(request, seen)?,
            Request::Probed(result) => self.probed(result, seen)?,
        }
        self.follow_forgotten(&seen.changes)
    }

    /// A subnet of old books whose leases have no known kind, and the changes that a takeover makes of it;
    /// no changes if it overlaps a held subnet.
    pub fn take_over(&mut self, prefix: Prefix, beyond: u128, leases: u16) -> Vec<Change> {
        let overlaps = |entry: &Entry| {
            entry.held() && entry.state.space == Space::Local && entry.state.prefix.overlaps(prefix)
        };
        if self.subnets.iter().any(overlaps) {
            return Vec::new();
        }
        let (now, generation, serial) = (self.now, self.generation(), self.next_serial);
        self.next_serial += 1;
        let state = SubnetState {
            serial,
            id: format!("old-{serial}"),
            space: Space::Local,
            prefix,
            range: None,
            pool: self.settings.pools.first().map(|pool| pool.name.clone()),
            options: BTreeMap::new(),
            dynamic: true,
            granted_at: now,
            generation,
            start_beyond: Some((prefix.first() + beyond).min(prefix.last())),
            marks: Marks { addressed: true, had_endpoint: true, set_up_at: now, ..Marks::default() },
            released_at: None,
            cool_until: 0,
        };
        let mut changes = vec![Change::SubnetGranted(Box::new(state.clone()))];
        let mut records = BTreeMap::new();
        for offset in (0..16).filter(|offset| leases >> offset & 1 == 1) {
            let address = prefix.first() + offset;
            if !prefix.contains_number(address) {
                break;
            }
            let (kind, generation) = (Kind::Unknown, self.generation());
            let record = Record {
                leased: true,
                kind,
                name: None,
                mac: None,
                asked_by_number: false,
                withheld: false,
                since: now,
                generation,
            };
            changes.push(Change::AddressGranted { serial, address, record: record.clone() });
            records.insert(address, record);
        }
        self.subnets.push(Entry { state, records });
        changes
    }

    /// Compares an answer with the prediction; `changes` and `warns` say whether it must contain changes and
    /// a warning.
    fn expect(&self, seen: &Decision, expected: &Expected, changes: bool, warns: bool) -> Result<(), String> {
        let fits = match (expected, &seen.reply) {
            (Expected::Reply(reply), Ok(seen)) => reply == seen,
            (Expected::Subnet(prefix), Ok(Reply::Subnet { prefix: seen, .. })) => prefix == seen,
            (Expected::AddressAmong(among, length), Ok(Reply::Address { address, length: seen })) => {
                length == seen && among.contains(&number(*address))
            }
            (Expected::Refused(variant), Err(error)) => variant_of(error) == *variant,
            _ => false,
        };
        if !fits {
            return Err(format!("expected {expected:?}"));
        }
        if changes == seen.changes.is_empty() {
            return Err(format!("expected {} changes", if changes { "some" } else { "no" }));
        }
        if warns == seen.warnings.is_empty() {
            return Err(format!("expected {} warning", if warns { "a" } else { "no" }));
        }
        Ok(())
    }

    /// The subnet with this PoolID. An adopted subnet that has no PoolID yet is never found.
    fn held(&self, id: &str) -> Option<usize> {
        self.exactly(id).filter(|_| !id.contains("#?"))
    }

    fn exactly(&self, id: &str) -> Option<usize> {
        self.subnets.iter().position(|entry| entry.held() && entry.state.id == id)
    }

    fn by_serial(&self, serial: Serial) -> Option<usize> {
        self.subnets.iter().position(|entry| entry.state.serial == serial)
    }

    fn lease_at(&self, at: usize, address: IpAddr) -> Option<(usize, u128, &Record)> {
        let entry = &self.subnets[at];
        let inside = entry.state.prefix.contains_address(address);
        entry.leased(number(address)).filter(|_| inside).map(|record| (at, number(address), record))
    }

    fn pool_of(&self, state: &SubnetState) -> Option<&PoolSettings> {
        self.settings.pools.iter().find(|pool| Some(&pool.name) == state.pool.as_ref())
    }

    fn cooling(&self, state: &SubnetState) -> Millis {
        self.pool_of(state).map_or(self.settings.cooling, |pool| pool.cooling)
    }

    fn generation(&mut self) -> u64 {
        self.next_generation += 1;
        self.next_generation - 1
    }

    /// Endpoints are remembered, all others are forgotten; the newest memory of a prefix replaces an older
    /// one.
    fn release_subnet(&mut self, at: usize, withheld: bool) {
        let (now, state) = (self.now, self.subnets[at].state.clone());
        let cooling = self.pool_of(&state).map_or(self.settings.subnet_cooling, |pool| pool.subnet_cooling);
        let entry = &mut self.subnets[at];
        entry.records.retain(|_, record| !record.leased || record.kind == Kind::Endpoint);
        for record in entry.records.values_mut().filter(|record| record.leased) {
            (record.leased, record.since, record.withheld) = (false, now, withheld || record.withheld);
        }
        entry.state.released_at = Some(now);
        entry.state.cool_until = now + if state.marks.stormed { 0 } else { cooling };
        let serial = state.serial;
        self.kept.retain(|kept| kept.0 != serial);
        self.subnets.retain(|entry| {
            let same = (entry.state.space, entry.state.prefix) == (state.space, state.prefix);
            let other = siblings::apart(siblings::part(&entry.state), siblings::part(&state));
            entry.held() || !same || entry.state.serial == serial || other
        });
    }

    fn release_address(&mut self, at: usize, address: u128, withheld: bool) {
        let now = self.now;
        if let Some(record) = self.subnets[at].records.get_mut(&address) {
            (record.leased, record.since, record.withheld) = (false, now, withheld || record.withheld);
        }
    }

    fn force(&mut self, text: &str, address: Option<IpAddr>, seen: &Decision) -> Result<(), String> {
        let named = |entry: &&Entry| Prefix::parse(text) == Some(entry.state.prefix);
        let found: Vec<usize> = match self.exactly(text) {
            Some(at) => vec![at],
            None => {
                let held = self.subnets.iter().filter(|entry| entry.held()).filter(named);
                held.filter_map(|entry| self.exactly(&entry.state.id)).collect()
            }
        };
        let &[at] = found.as_slice() else {
            let variant = if found.is_empty() { "NotFound" } else { "InvalidRequest" };
            return self.expect(seen, &Expected::Refused(variant), false, false);
        };
        let Some(address) = address else {
            self.expect(seen, &Expected::Reply(Reply::Done), true, false)?;
            self.release_subnet(at, true);
            return Ok(());
        };
        let Some((at, address, _)) = self.lease_at(at, address) else {
            return self.expect(seen, &Expected::Refused("NotFound"), false, false);
        };
        self.expect(seen, &Expected::Reply(Reply::Done), true, false)?;
        self.release_address(at, address, true);
        Ok(())
    }

    /// Undoes only what this grant changed, and only while the grant is unchanged.
    fn undo(&mut self, undo: &Undo, seen: &Decision) -> Result<(), String> {
        let Some(grant) = self.grants.iter().find(|grant| grant.undo == *undo).cloned() else {
            return Err("an undo that no grant returned".to_owned());
        };
        let at = self.by_serial(grant.serial);
        let done = match (at, grant.address) {
            (None, _) => false,
            (Some(at), None) => self.undo_subnet(at, &grant),
            (Some(at), Some(address)) => self.undo_address(at, address, &grant),
        };
        self.expect(seen, &Expected::Reply(Reply::Done), done, false)
    }

    fn undo_subnet(&mut self, at: usize, grant: &Grant) -> bool {
        let entry = &self.subnets[at];
        let untouched = entry.held() && entry.state.generation == grant.generation;
        // The configured gateway is leased together with the subnet.
        let router =
            |record: &Record| record.kind == Kind::Gateway && record.generation == grant.generation + 1;
        if !untouched || entry.records.values().any(|record| record.leased && !router(record)) {
            return false;
        }
        let (space, prefix) = (entry.state.space, entry.state.prefix);
        // A copy that was released meanwhile left a newer memory of the prefix, which stays.
        let newer = |before: &SubnetState| {
            let of_it = self.subnets.iter().filter(|entry| !entry.held()).map(|entry| &entry.state);
            let mut same = of_it.filter(|it| (it.space, it.prefix) == (space, prefix));
            same.any(|it| !siblings::apart(siblings::part(it), siblings::part(before)))
        };
        match (&grant.state_before, grant.state_before.as_ref().is_some_and(newer)) {
            (Some(before), false) => {
                self.subnets[at].state = before.clone();
                self.subnets[at].records.retain(|_, record| !record.leased);
            }
            _ => drop(self.subnets.remove(at)),
        }
        if let Some((word, before)) = &grant.key {
            let key = (space, prefix.family(), word.clone());
            if self.keys.get(&key).is_some_and(|(known, _)| *known == prefix) {
                match before {
                    Some(before) => self.keys.insert(key, *before),
                    None => self.keys.remove(&key),
                };
            }
        }
        true
    }

    fn undo_address(&mut self, at: usize, address: u128, grant: &Grant) -> bool {
        let entry = &mut self.subnets[at];
        if entry.leased(address).is_none_or(|record| record.generation != grant.generation) {
            return false;
        }
        let was_gateway = entry.records.get(&address).is_some_and(|record| record.kind == Kind::Gateway);
        match &grant.record_before {
            Some(before) => entry.records.insert(address, before.clone()),
            None => entry.records.remove(&address),
        };
        if was_gateway && entry.state.marks.gateway == Some(address) {
            entry.state.marks.gateway = grant.gateway_before;
        }
        true
    }

    /// Entries that the plan forgets by itself must be the oldest, no longer cooling, and too old or too
    /// many.
    fn follow_forgotten(&mut self, changes: &[Change]) -> Result<(), String> {
        for change in changes {
            match change {
                Change::SubnetForgotten { serial } => {
                    let Some(at) = self.by_serial(*serial) else { continue };
                    let state = self.subnets[at].state.clone();
                    let Some(released) = state.released_at else {
                        return Err(format!("forgot {serial}, which is held"));
                    };
                    let held = self.subnets.iter().filter(|entry| entry.held()).count();
                    let due =
                        released + 90 * DAY < self.now || self.subnets.len() - held > 1_000.max(4 * held);
                    if !due || state.cool_until > self.now {
                        return Err(format!("forgot {} too early", state.prefix));
                    }
                    self.subnets.remove(at);
                }
                Change::AddressForgotten { serial, address } => {
                    let Some(at) = self.by_serial(*serial) else {
                        return Err("forgot in an unknown subnet".to_owned());
                    };
                    let cooling = self.cooling(&self.subnets[at].state);
                    let entry = &mut self.subnets[at];
                    let Some(record) = entry.records.get(address) else { continue };
                    let due = record.since + 90 * DAY < self.now || entry.records.len() > 1_000;
                    if record.leased || !due || record.since + cooling > self.now {
                        return Err(format!("forgot {} too early", entry.state.prefix.address(*address)));
                    }
                    entry.records.remove(address);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The name of a refusal, recognized by its phrase.
pub fn variant_of(refusal: &Refusal) -> &'static str {
    let names = [
        ("invalid address pool", "InvalidPool"),
        ("invalid address sub-pool", "InvalidSubPool"),
        ("invalid request", "InvalidRequest"),
        ("address pool not found: no subnet is granted under", "PoolNotFound"),
        ("address pool not found", "NotFound"),
        ("not now", "OutOfDate"),
        ("requested address is out of range", "OutOfRange"),
        ("pool overlaps with other one", "PoolOverlap"),
        ("address pool overlaps with existing pool", "OverlapPool"),
        (
            "address already in use",
            if refusal.text.contains(" is pinned to ") { "Pinned" } else { "AddressInUse" },
        ),
        ("no available pool", "NoAvailablePool"),
        ("slice ", "Taken"),
        ("no available addresses", "NoAvailableAddresses"),
    ];
    let name = names.into_iter().find(|(phrase, _)| refusal.text.starts_with(phrase));
    name.map_or("unknown", |(_, name)| name)
}
