//! The naive plan's addresses: every address of a subnet is examined, one after the other.
//!
//! Promises: the order of R31 to R38. Only for small subnets.

use std::collections::BTreeSet;

use gipam::plan::change::{Kind, Marks, Record, SubnetState};
use gipam::plan::pins::{Holder, Pin};
use gipam::plan::prefix::{Family, Prefix, number};
use gipam::plan::request::{AddressRequest, Decision, Mac, Reply, Space, Want};
use gipam::plan::settings::AddressOrder;

use super::quarantine::is_strangers;
use super::subnets::{replaced_the_dead, usable};
use super::{Entry, Expected, Grant, Model};

/// A choice: one of these addresses, and whether a warning comes with it.
struct Choice {
    among: BTreeSet<u128>,
    warns: bool,
    /// Somebody else may still expect the address.
    late: bool,
}

fn only(address: u128, warns: bool) -> Choice {
    Choice { among: BTreeSet::from([address]), warns, late: warns }
}

fn made_up(mac: Mac) -> bool {
    mac.0[0] & 2 == 2
}

/// Whether a request does not say whose it is.
fn is_anonymous(request: &AddressRequest) -> bool {
    request.name.is_none() && request.mac.is_none_or(made_up)
}

/// Whether the caller had this record: by name, or by MAC where names are not sent.
fn is_of(request: &AddressRequest, record: &Record) -> bool {
    match &request.name {
        Some(name) => record.name.as_ref() == Some(name),
        None => request.mac.is_some() && record.mac == request.mac,
    }
}

impl Model {
    /// The gateway that was requested, otherwise the first usable address that is not reserved.
    pub fn slot(&self, state: &SubnetState) -> u128 {
        let (first, last) = usable(state.prefix);
        let none = self.wholly_reserved(state.prefix);
        let open = |address: &u128| none || !self.reserved(state.prefix, *address);
        let in_range = |address: &u128| state.range.is_some_and(|range| range.contains_number(*address));
        let within = (first..=last).find(|address| in_range(address) && open(address));
        state
            .marks
            .gateway
            .or(self.router(state.space, state.prefix))
            .or(within)
            .or_else(|| (first..=last).find(open))
            .unwrap()
    }

    /// The gateway that the configuration names for a subnet.
    pub fn router(&self, space: Space, prefix: Prefix) -> Option<u128> {
        let bases = self.settings.pools.iter().flat_map(|pool| pool.bases());
        let gateways = bases.filter(|base| base.base.contains(prefix)).filter_map(|base| base.gateway);
        let (first, last) = usable(prefix);
        gateways.into_iter().find(|it| space == Space::Local && (first..=last).contains(it))
    }

    /// Addresses that dynamic choice may give to any holder: neither the slot nor pinned ones.
    fn allowed(&self, entry: &Entry, whole: bool) -> Vec<u128> {
        let mut allowed = self.open(&entry.state, whole);
        allowed.retain(|address| self.pins_of(entry).all(|(pinned, _)| pinned != *address));
        allowed.retain(|address| self.sibling_with(entry, *address).is_none());
        allowed
    }

    /// The address that a person pinned to this holder, by name or else by MAC.
    fn pinned_to(&self, entry: &Entry, request: &AddressRequest) -> Option<u128> {
        let open = self.open(&entry.state, false);
        let of = |holder: Holder| self.pins_of(entry).find(|(_, pin)| pin.holder == holder);
        let by_name = request.name.as_deref().and_then(|name| of(Holder::Name(name.into())));
        let found = by_name.or_else(|| request.mac.and_then(|mac| of(Holder::Mac(mac))));
        let address = found.map(|(address, _)| address)?;
        let free = entry.leased(address).is_none() && self.sibling_with(entry, address).is_none();
        (open.contains(&address) && free).then_some(address)
    }

    /// The address with the oldest pin, which another holder gets only if no other address is left.
    fn others_pin(&self, entry: &Entry, whole: bool) -> Option<Choice> {
        let open = self.open(&entry.state, whole);
        let free = |(address, _): &(u128, &Pin)| open.contains(address) && entry.leased(*address).is_none();
        let longest = self.pins_of(entry).filter(free).min_by_key(|(address, pin)| (pin.since, *address));
        // Only the oldest pin is considered: if a sibling leases its address, no other pin is tried.
        let longest = longest.filter(|(address, _)| self.sibling_with(entry, *address).is_none());
        longest.map(|(address, _)| only(address, true))
    }

    /// All addresses that may be given dynamically.
    pub fn open(&self, state: &SubnetState, whole: bool) -> Vec<u128> {
        let mut open = self.open_to_all(state, whole);
        open.retain(|address| self.may_choose(state, *address));
        open
    }

    /// The same, if this host owned all slices.
    fn open_to_all(&self, state: &SubnetState, whole: bool) -> Vec<u128> {
        let (first, last) = usable(state.prefix);
        let range = state.range.filter(|_| !whole).unwrap_or(state.prefix);
        let (slot, none) = (self.slot(state), self.wholly_reserved(state.prefix));
        let router = self.router(state.space, state.prefix);
        (first..=last)
            .filter(|address| range.contains_number(*address) && *address != slot)
            .filter(|address| router != Some(*address))
            .filter(|address| none || !self.reserved(state.prefix, *address))
            .collect()
    }

    pub fn address(&mut self, request: &AddressRequest, seen: &Decision) -> Result<(), String> {
        match self.learn(&request.id, seen)? {
            Some(rest) => self.address_in(request, &rest),
            None => self.address_in(request, seen),
        }
    }

    fn address_in(&mut self, request: &AddressRequest, seen: &Decision) -> Result<(), String> {
        let Some(at) = self.held(&request.id) else {
            // If the PoolID may belong to any of several adopted subnets, the refusal names their ranges.
            let one_of = self.waiting(&request.id).iter().any(|at| self.subnets[*at].state.range.is_some());
            let variant = if one_of { "NotFound" } else { "PoolNotFound" };
            return self.expect(seen, &Expected::Refused(variant), false, false);
        };
        let entry = &self.subnets[at];
        let has_gateway =
            entry.state.marks.gateway.is_some_and(|gateway| {
                entry.leased(gateway).is_some_and(|record| record.kind == Kind::Gateway)
            });
        if request.gateway && !has_gateway && entry.state.prefix.first() == entry.state.prefix.last() {
            return self.expect(seen, &Expected::Refused("NoAvailableAddresses"), false, false);
        }
        if request.address.is_some() {
            return self.explicit(at, request, seen);
        }
        let entry = &self.subnets[at];
        let gateway = entry
            .state
            .marks
            .gateway
            .filter(|gateway| entry.leased(*gateway).is_some_and(|record| record.kind == Kind::Gateway));
        let (kind, choice) = match (request.gateway, gateway) {
            (true, Some(gateway)) => return self.expect(seen, &self.answer(at, gateway), false, false),
            (true, None) => (Kind::Gateway, self.gateway(entry)),
            (false, _) if self.lost(&entry.state).is_some() => {
                (Kind::Endpoint, self.given_before(entry, request))
            }
            (false, _) => (Kind::Endpoint, self.dynamic(entry, request)),
        };
        if let (Some(slice), None, Kind::Endpoint) = (self.lost(&entry.state), &choice, kind) {
            let claim = Reply::Claim(Want::These(slice));
            return self.expect(seen, &Expected::Reply(claim), false, false);
        }
        let late = choice.as_ref().is_none_or(|choice| choice.late) && kind == Kind::Endpoint;
        if let Some(want) = self.more(&entry.state).filter(|_| late) {
            return self.expect(seen, &Expected::Reply(Reply::Claim(want)), false, false);
        }
        match choice {
            Some(Choice { among, warns, late }) => {
                // Only a lease that is proven dead is given with a warning although nobody else expects it.
                let replaces = warns && !late;
                let entry = &self.subnets[at];
                let must = |address: &u128| !replaces && self.must_probe(entry, *address, request);
                match &seen.reply {
                    Ok(Reply::Probe(asked)) if among.contains(&number(*asked)) && must(&number(*asked)) => {
                        return self.expect(seen, &Expected::Reply(Reply::Probe(*asked)), false, false);
                    }
                    Ok(Reply::Address { address, .. }) if must(&number(*address)) => {
                        return Err(format!("{address} was not probed"));
                    }
                    _ => {}
                }
                self.granted_address(at, among, kind, request, seen, warns)
            }
            None => self.expect(seen, &Expected::Refused("NoAvailableAddresses"), false, false),
        }
    }

    fn answer(&self, at: usize, address: u128) -> Expected {
        let prefix = self.subnets[at].state.prefix;
        Expected::Reply(Reply::Address { address: prefix.address(address), length: prefix.length() })
    }

    fn explicit(&mut self, at: usize, request: &AddressRequest, seen: &Decision) -> Result<(), String> {
        let asked = request.address.ok_or("no address")?;
        let (entry, now) = (&self.subnets[at], self.now);
        let (address, marks) = (number(asked), entry.state.marks.clone());
        let (first, last) = usable(entry.state.prefix);
        if !entry.state.prefix.contains_address(asked) || !(first..=last).contains(&address) {
            return self.expect(seen, &Expected::Refused("OutOfRange"), false, false);
        }
        let kind = if request.gateway { Kind::Gateway } else { Kind::Endpoint };
        let nobody = request.name.is_none() && request.mac.is_none();
        let sets_up = !request.gateway && nobody && !marks.had_endpoint && now <= marks.set_up_at + 10_000;
        let known = |record: &Record| !is_strangers(record) || !(sets_up || request.gateway);
        let router = self.router(entry.state.space, entry.state.prefix) == Some(address);
        let of_gateway = entry.leased(address).is_some_and(|record| record.kind == Kind::Gateway);
        if router && of_gateway && request.gateway {
            return self.expect(seen, &self.answer(at, address), false, false);
        }
        let Some(record) = entry.leased(address).filter(|record| known(record)) else {
            let sibling = self.sibling_with(entry, address).filter(|(_, record)| known(record));
            let Some((sibling, record)) =
                sibling.filter(|_| kind != Kind::Gateway || !self.is_router(entry, address))
            else {
                let of_host = Prefix::host(asked);
                if router && !request.gateway && !sets_up {
                    return self.expect(seen, &Expected::Refused("AddressInUse"), false, false);
                }
                let aside = router && self.slot(&entry.state) != address;
                let reserved = self.is_reserved_in(entry, address) || aside;
                let common = if request.gateway { router } else { sets_up && reserved };
                if self.shared(&entry.state).is_some() && !self.owns(of_host) && !common {
                    let claim = Reply::Claim(Want::These(of_host));
                    return self.expect(seen, &Expected::Reply(claim), false, false);
                }
                let before = entry
                    .records
                    .get(&address)
                    .is_some_and(|record| is_anonymous(request) || is_of(request, record));
                if let Some(slice) = self.lost(&entry.state).filter(|_| !request.gateway && !before) {
                    let claim = Reply::Claim(Want::These(slice));
                    return self.expect(seen, &Expected::Reply(claim), false, false);
                }
                if !sets_up && self.must_probe(entry, address, request) {
                    return self.expect(seen, &Expected::Reply(Reply::Probe(asked)), false, false);
                }
                return self.granted_address(at, BTreeSet::from([address]), kind, request, seen, false);
            };
            let key = (sibling.state.serial, Some(address), record.generation);
            if request.dead.proven.contains_key(&key) && record.kind == Kind::Endpoint {
                let of = self.by_serial(key.0).ok_or("no sibling")?;
                self.release_address(of, address, true);
                return self.granted_address(at, BTreeSet::from([address]), kind, request, seen, true);
            }
            return self.expect(seen, &Expected::Refused("AddressInUse"), false, false);
        };
        if entry.state.space == Space::Global {
            return self.expect(seen, &self.answer(at, address), false, false);
        }
        if record.kind == Kind::Gateway && sets_up && !marks.gateway_is_auxiliary {
            self.expect(seen, &self.answer(at, address), true, false)?;
            self.subnets[at].state.marks.gateway_is_auxiliary = true;
            return Ok(());
        }
        let key = (entry.state.serial, Some(address), record.generation);
        let dead = request.dead.proven.contains_key(&key);
        if dead && record.kind == Kind::Endpoint {
            return self.granted_address(at, BTreeSet::from([address]), kind, request, seen, true);
        }
        self.expect(seen, &Expected::Refused("AddressInUse"), false, false)
    }

    fn gateway(&self, entry: &Entry) -> Option<Choice> {
        let slot = self.slot(&entry.state);
        let open = entry.leased(slot).is_none_or(is_strangers);
        if open && self.sibling_with(entry, slot).is_none() {
            return Some(only(slot, false));
        }
        let range = entry.state.range.unwrap_or(entry.state.prefix);
        if let Some(in_range) = self.unused(entry, true).iter().find(|it| range.contains_number(**it)) {
            return Some(only(*in_range, false));
        }
        self.unused(entry, true)
            .first()
            .map(|address| only(*address, false))
            .or_else(|| self.released(entry, true))
            .or_else(|| self.others_pin(entry, true))
    }

    fn unused(&self, entry: &Entry, whole: bool) -> Vec<u128> {
        let never_used = |address: &u128| !entry.records.contains_key(address);
        self.allowed(entry, whole).into_iter().filter(never_used).collect()
    }

    /// The address released longest ago; unpinned ones come first.
    fn released(&self, entry: &Entry, whole: bool) -> Option<Choice> {
        let cooling = self.cooling(&entry.state);
        let allowed = self.allowed(entry, whole);
        let records =
            allowed.iter().filter_map(|address| entry.records.get(address).map(|record| (*address, record)));
        let free = records.filter(|(_, record)| !record.leased);
        let (address, record) =
            free.min_by_key(|(address, record)| (record.asked_by_number, record.since, *address))?;
        Some(only(address, record.asked_by_number || record.since + cooling > self.now))
    }

    fn dynamic(&self, entry: &Entry, request: &AddressRequest) -> Option<Choice> {
        if let Some(pinned) = self.pinned_to(entry, request) {
            return Some(only(pinned, false));
        }
        if let Some(own) = self.recognized(entry, request) {
            return Some(own);
        }
        let all = self.unused(entry, false);
        let beyond = |address: &&u128| entry.state.start_beyond.is_some_and(|start| **address > start);
        let unused: Vec<u128> = match all.iter().any(|address| beyond(&address)) {
            true => all.iter().filter(beyond).copied().collect(),
            false => all,
        };
        if let Some(first) = unused.first() {
            let stable = self.is_stable(&entry.state, request);
            return Some(if stable {
                Choice { among: unused.into_iter().collect(), warns: false, late: false }
            } else {
                only(*first, false)
            });
        }
        let released = self.released(entry, false).or_else(|| self.others_pin(entry, false));
        released.or_else(|| self.last_resort(entry))
    }

    /// In a subnet whose slice this host has lost: an address that it gave before, to the caller if that is known.
    fn given_before(&self, entry: &Entry, request: &AddressRequest) -> Option<Choice> {
        let own = |address: &u128| entry.records.get(address).is_some_and(|record| is_of(request, record));
        if let Some(pinned) = self.pinned_to(entry, request).filter(own) {
            return Some(only(pinned, false));
        }
        let any = || self.released(entry, false).map(|choice| Choice { warns: false, late: false, ..choice });
        let once = |choice: &Choice| {
            let record = choice.among.first().and_then(|address| entry.records.get(address));
            record.is_some_and(|record| !record.asked_by_number)
        };
        self.recognized(entry, request).or_else(|| any().filter(|_| is_anonymous(request)).filter(once))
    }

    /// The address by which a holder is recognized.
    fn recognized(&self, entry: &Entry, request: &AddressRequest) -> Option<Choice> {
        let allowed = self.allowed(entry, false);
        let newest = |is: &dyn Fn(&Record) -> bool| {
            let own = entry.records.iter().filter(|(_, record)| !record.leased && is(record));
            own.max_by_key(|(_, record)| record.generation).map(|(address, _)| *address)
        };
        let by_name =
            request.name.as_deref().and_then(|name| newest(&|record| record.name.as_deref() == Some(name)));
        let by_mac = || request.mac.and_then(|mac| newest(&|record| record.mac == Some(mac)));
        let known = by_name.or_else(by_mac);
        let generation = known.map_or(0, |known| entry.records[&known].generation);
        if let Some((_, dead)) = self.own_dead(entry, request).filter(|(of, _)| *of > generation) {
            return Some(Choice { late: false, ..only(dead, true) });
        }
        if let Some(own) = known.filter(|own| allowed.contains(own)) {
            return Some(only(own, false));
        }
        self.just_released(entry, request, &allowed).filter(|_| known.is_none()).map(|it| only(it, false))
    }

    /// The generation and address of the holder's newest lease that is proven dead.
    fn own_dead(&self, entry: &Entry, request: &AddressRequest) -> Option<(u64, u128)> {
        let is_own = |record: &Record| is_of(request, record);
        let (open, serial) = (self.open(&entry.state, false), entry.state.serial);
        let allowed = |address: u128| {
            let pinned = self.pins_of(entry).any(|(pinned, _)| pinned == address);
            let own = request.name.clone().map(Holder::Name);
            let to = |holder: Holder| self.pins_of(entry).find(|(_, pin)| pin.holder == holder);
            let mine = own.and_then(to).or_else(|| request.mac.map(Holder::Mac).and_then(to));
            open.contains(&address) && (!pinned || mine.is_some_and(|(mine, _)| mine == address))
        };
        let dead = |address: u128, record: &Record| {
            request.dead.proven.contains_key(&(serial, Some(address), record.generation))
                && record.kind == Kind::Endpoint
                && entry.state.space == Space::Local
        };
        let leased = entry.records.iter().filter(|(_, record)| record.leased && is_own(record));
        let dead = leased.filter(|(at, record)| allowed(**at) && dead(**at, record));
        let newest = dead.map(|(address, record)| (record.generation, *address)).max()?;
        self.sibling_with(entry, newest.1).is_none().then_some(newest)
    }

    /// The only address that Docker released within the window, for a request without a known name or MAC.
    fn just_released(&self, entry: &Entry, request: &AddressRequest, allowed: &[u128]) -> Option<u128> {
        if !is_anonymous(request) || request.serial || entry.state.space != Space::Local {
            return None;
        }
        let open = self.open(&entry.state, false);
        let free = |address: &u128| {
            open.contains(address) && self.pins_of(entry).all(|(pinned, _)| pinned != *address)
        };
        let recent = |record: &Record| record.since + self.settings.restart_window > self.now;
        let released = entry.records.iter().filter(|(address, record)| {
            !record.leased
                && free(address)
                && recent(record)
                && !record.asked_by_number
                && !record.withheld
                && record.kind == Kind::Endpoint
                && record.mac.is_none_or(made_up)
        });
        let released: Vec<u128> = released.map(|(address, _)| *address).collect();
        match released.as_slice() {
            [only] => Some(*only).filter(|only| allowed.contains(only)),
            _ => None,
        }
    }

    /// Whether a reservation has an effect on this address.
    fn is_reserved_in(&self, entry: &Entry, address: u128) -> bool {
        self.reserved(entry.state.prefix, address) && !self.wholly_reserved(entry.state.prefix)
    }

    /// The gateway's slot, which is given only if no other address is left.
    fn last_resort(&self, entry: &Entry) -> Option<Choice> {
        let (state, slot) = (&entry.state, self.slot(&entry.state));
        let in_range = state.range.unwrap_or(state.prefix).contains_number(slot);
        let reserved = self.reserved(state.prefix, slot) && !self.wholly_reserved(state.prefix);
        let sibling = self.sibling_with(entry, slot).is_some();
        let shared = self.shared(state).is_some() || self.router(state.space, state.prefix) == Some(slot);
        (in_range && !shared && !reserved && !sibling && entry.leased(slot).is_none())
            .then(|| only(slot, true))
    }

    fn is_stable(&self, state: &SubnetState, request: &AddressRequest) -> bool {
        let family = state.prefix.family();
        let order = self.pool_of(state).and_then(|pool| pool.base(family)).map(|base| base.addresses);
        let known = request.name.is_some() || request.mac.is_some();
        family == Family::V6 && order == Some(AddressOrder::Stable) && known && !request.serial
    }

    fn granted_address(
        &mut self,
        at: usize,
        among: BTreeSet<u128>,
        kind: Kind,
        request: &AddressRequest,
        seen: &Decision,
        warns: bool,
    ) -> Result<(), String> {
        let state = &self.subnets[at].state;
        let length = state.prefix.length();
        // A gateway that leaves no address of the range to containers causes a warning.
        let marks = Marks { gateway: among.first().copied(), ..state.marks.clone() };
        let filled = kind == Kind::Gateway
            && self.open_to_all(&SubnetState { marks, ..state.clone() }, false).is_empty();
        self.expect(seen, &Expected::AddressAmong(among, length), true, warns || filled)?;
        let Ok(Reply::Address { address, .. }) = &seen.reply else { return Err("no address".to_owned()) };
        let (address, generation, now) = (number(*address), self.generation(), self.now);
        let router = self.router(self.subnets[at].state.space, self.subnets[at].state.prefix);
        let entry = &mut self.subnets[at];
        let gateway_before = entry.state.marks.gateway;
        let record_before = entry.records.get(&address).cloned();
        let pinned = kind == Kind::Endpoint && request.address.is_some();
        let nobody = request.name.is_none() && request.mac.is_none() && request.address.is_some();
        let record = Record {
            leased: true,
            kind,
            name: request.name.as_deref().map(Into::into),
            mac: request.mac,
            asked_by_number: pinned || record_before.as_ref().is_some_and(|record| record.asked_by_number),
            withheld: request.mac.is_some() && record_before.as_ref().is_some_and(|it| it.mac == request.mac),
            since: now,
            generation,
        };
        if let Some(before) =
            gateway_before.filter(|it| kind == Kind::Gateway && *it != address && router == Some(*it))
            && entry.leased(before).is_some_and(|record| record.kind == Kind::Gateway)
        {
            entry.records.remove(&before);
        }
        entry.records.insert(address, record);
        let marks = &mut entry.state.marks;
        (marks.addressed, marks.stormed) = (true, false);
        match kind {
            Kind::Gateway => {
                (marks.gateway, marks.gateway_is_auxiliary, marks.set_up_at) = (Some(address), false, now)
            }
            _ if nobody && !marks.had_endpoint && now <= marks.set_up_at + 10_000 => marks.set_up_at = now,
            _ => marks.had_endpoint = true,
        }
        let Some(undo) = seen.undo.clone() else {
            return replaced_the_dead(false, warns);
        };
        let (serial, address, state_before, key) = (entry.state.serial, Some(address), None, None);
        self.grants.push(Grant {
            undo,
            serial,
            generation,
            address,
            record_before,
            gateway_before,
            state_before,
            key,
        });
        Ok(())
    }
}
