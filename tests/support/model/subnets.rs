//! The naive plan's subnets: every candidate of every open pool is examined, one after the other.
//!
//! Promises: the choice of R10 to R25 by exhaustive search. Does not deal with addresses.

use gipam::plan::change::{Kind, Marks, Record, SubnetState};
use gipam::plan::host_use::HostUse;
use gipam::plan::prefix::Prefix;
use gipam::plan::request::{Decision, InUse, InUseKind, Reply, Space, SubnetRequest, Want, Wanted};
use gipam::plan::settings::{Base, Millis};

use super::siblings::{apart, asked, part};
use super::{Entry, Expected, Grant, Model};

/// One family of one pool, and the length of the subnets to be given.
struct Place {
    pool: String,
    base: Base,
    length: u8,
}

/// The result of a search.
enum Found {
    Free(Prefix, String, bool),
    Wait(Millis),
    Claim(Want),
    Nothing,
}

fn option<'a>(request: &'a SubnetRequest, key: &str) -> Option<&'a str> {
    request.options.get(key).map(String::as_str)
}

/// A grant may lack an undo only if it replaces something dead, with a warning.
pub fn replaced_the_dead(dynamic: bool, warned: bool) -> Result<(), String> {
    if warned && !dynamic { Ok(()) } else { Err("a grant that cannot be undone".to_owned()) }
}

/// The first and last address that may be given.
pub fn usable(prefix: Prefix) -> (u128, u128) {
    let v4 = prefix.family().bits() == 32;
    let plain = prefix.family().bits() - prefix.length() < 2;
    let (low, high) = if plain { (0, 0) } else { (1, u128::from(v4)) };
    (prefix.first() + low, prefix.last() - high)
}

impl Model {
    pub fn reserved(&self, prefix: Prefix, address: u128) -> bool {
        let family = prefix.family();
        let ranges = self.settings.reserved.iter().chain(&self.settings.reserved_by_hand);
        ranges
            .into_iter()
            .any(|range| range.family == family && range.first <= address && address <= range.last)
    }

    /// Whether reservations leave no address that could be given.
    pub fn wholly_reserved(&self, prefix: Prefix) -> bool {
        let (first, last) = usable(prefix);
        (first..=last).all(|address| self.reserved(prefix, address))
    }

    pub fn subnet(&mut self, request: &SubnetRequest, seen: &Decision) -> Result<(), String> {
        match request.wanted {
            Wanted::Exact(prefix) => self.exact(request, prefix, seen),
            Wanted::Any { size } => self.any(request, size, seen),
        }
    }

    fn exact(&mut self, request: &SubnetRequest, prefix: Prefix, seen: &Decision) -> Result<(), String> {
        let refused = |variant| Expected::Refused(variant);
        if prefix.family() != request.family {
            return self.expect(seen, &refused("InvalidPool"), false, false);
        }
        if request.range.is_some_and(|range| !prefix.contains(range)) {
            return self.expect(seen, &refused("InvalidSubPool"), false, false);
        }
        let held: Vec<&SubnetState> = self
            .subnets
            .iter()
            .filter(|entry| entry.held())
            .map(|entry| &entry.state)
            .filter(|it| it.space == request.space)
            .collect();
        if request.space == Space::Global {
            let same = held.iter().filter(|state| state.prefix == prefix).min_by_key(|state| state.serial);
            if let Some(state) = same {
                let reply = Expected::Reply(Reply::Subnet { id: state.id.clone(), prefix, gateway: None });
                let differs = state.options != request.options || state.range != request.range;
                return self.expect(seen, &reply, false, differs);
            }
        }
        if request.space == Space::Local && self.is_sliced(prefix) && !self.owns(prefix) {
            let claim = Reply::Claim(Want::These(prefix));
            return self.expect(seen, &Expected::Reply(claim), false, false);
        }
        let copies = option(request, "overlap") == Some("true");
        let in_the_way: Vec<&&SubnetState> =
            held.iter().filter(|it| !copies && it.prefix.overlaps(prefix)).collect();
        let shares = |it: &SubnetState| it.prefix == prefix && apart(part(it), asked(request));
        let in_the_way: Vec<&&SubnetState> = in_the_way.into_iter().filter(|it| !shares(it)).collect();
        let is_dead = |it: &SubnetState| {
            let death = request.dead.proven.get(&(it.serial, None, it.generation));
            death.is_some_and(|death| !death.needs_unnamed() || it.id.contains("#?"))
        };
        let dead = request.space == Space::Local && in_the_way.iter().all(|it| is_dead(it));
        let way: Vec<(u64, u64)> = in_the_way.iter().map(|it| (it.serial, it.generation)).collect();
        if !way.is_empty() && !dead {
            return self.expect(seen, &refused("PoolOverlap"), false, false);
        }
        let heir = in_the_way.iter().filter(|it| it.prefix == prefix).map(|it| it.serial).min();
        self.clear_the_way(&way);
        let inside = |base: Option<&Base>| base.is_some_and(|base| base.base.contains(prefix));
        let pool = self.settings.pools.iter().find(|pool| inside(pool.base(request.family)));
        let pool = pool.map(|pool| pool.name.clone());
        self.granted(request, prefix, pool, heir, seen, !way.is_empty())
    }

    /// Releases the dead subnets in the way; of several copies of one prefix, the memory of the first one
    /// stays.
    fn clear_the_way(&mut self, way: &[(u64, u64)]) {
        let prefix_of =
            |model: &Self, serial| model.by_serial(serial).map(|at| model.subnets[at].state.prefix);
        let mut serials: Vec<u64> = way.iter().map(|(serial, _)| *serial).collect();
        serials.sort_unstable();
        let copy = |model: &Self, n: usize| {
            serials[..n].iter().any(|first| prefix_of(model, *first) == prefix_of(model, serials[n]))
        };
        let copies: Vec<bool> = (0..serials.len()).map(|n| copy(self, n)).collect();
        for (serial, copy) in serials.into_iter().zip(copies) {
            let Some(at) = self.by_serial(serial) else { continue };
            if copy {
                self.subnets.remove(at);
            } else {
                self.release_subnet(at, true);
            }
        }
    }

    fn any(&mut self, request: &SubnetRequest, size: Option<u8>, seen: &Decision) -> Result<(), String> {
        let known = |key: &str| {
            ["pool", "v4.size", "v6.size", "key", "overlap"].contains(&key) || key.starts_with("com.docker.")
        };
        if request.range.is_some() {
            return self.expect(seen, &Expected::Refused("InvalidSubPool"), false, false);
        }
        if request.options.keys().any(|key| !known(key)) {
            return self.expect(seen, &Expected::Refused("InvalidRequest"), false, false);
        }
        let wanted = option(request, &format!("{}.size", request.family.name()));
        let wanted = wanted.and_then(|text| text.parse::<u8>().ok());
        if size.zip(wanted).is_some_and(|(one, other)| one != other) {
            return self.expect(seen, &Expected::Refused("InvalidRequest"), false, false);
        }
        let storm = self.storm(request);
        if !storm.is_empty() {
            let unmarked = storm.iter().any(|at| !self.subnets[*at].state.marks.stormed);
            self.expect(seen, &Expected::Refused("NoAvailablePool"), unmarked, false)?;
            for at in storm {
                self.subnets[at].state.marks.stormed = true;
            }
            return Ok(());
        }
        let places = match self.places(request, size) {
            Ok(places) => places,
            Err(variant) => return self.expect(seen, &Expected::Refused(variant), false, false),
        };
        if let Some((prefix, pool)) = self.keyed(request, &places) {
            return self.granted(request, prefix, Some(pool), None, seen, false);
        }
        match self.search(request, &places) {
            Found::Nothing => self.expect(seen, &Expected::Refused("NoAvailablePool"), false, false),
            Found::Claim(want) => self.expect(seen, &Expected::Reply(Reply::Claim(want)), false, false),
            Found::Wait(until) => self.expect(seen, &Expected::Reply(Reply::Wait(until)), false, false),
            Found::Free(prefix, pool, warns) => self.granted(request, prefix, Some(pool), None, seen, warns),
        }
    }

    /// The newest subnets of a storm, as many as the limit allows.
    fn storm(&self, request: &SubnetRequest) -> Vec<usize> {
        let limit = self.settings.storm_limit as usize;
        let quiet = |entry: &Entry| {
            let state = &entry.state;
            let group = (state.space, state.prefix.family(), &state.options)
                == (request.space, request.family, &request.options);
            group
                && entry.held()
                && state.dynamic
                && !state.marks.addressed
                && state.granted_at + 60_000 >= self.now
        };
        let mut quiet: Vec<usize> = (0..self.subnets.len()).filter(|at| quiet(&self.subnets[*at])).collect();
        quiet.sort_by_key(|at| (self.subnets[*at].state.granted_at, self.subnets[*at].state.serial));
        let in_a_row = request.in_a_row as usize >= limit;
        if limit == 0 || quiet.len() < if in_a_row { limit } else { 16 * limit } {
            return Vec::new();
        }
        quiet.split_off(quiet.len() - limit)
    }

    fn places(&self, request: &SubnetRequest, size: Option<u8>) -> Result<Vec<Place>, &'static str> {
        let family = request.family;
        let size = size.or_else(|| {
            option(request, &format!("{}.size", family.name())).and_then(|text| text.parse().ok())
        });
        let open = |names: &[String]| -> Vec<Place> {
            let pools =
                names.iter().filter_map(|name| self.settings.pools.iter().find(|pool| pool.name == *name));
            let bases = pools.filter_map(|pool| pool.base(family).map(|base| (pool.name.clone(), *base)));
            bases.map(|(pool, base)| Place { pool, base, length: size.unwrap_or(base.size) }).collect()
        };
        let mut places = Vec::new();
        if let Some(names) = option(request, "pool") {
            let names: Vec<String> = names.split(',').map(str::to_owned).collect();
            if names.iter().any(|name| !self.settings.pools.iter().any(|pool| pool.name == *name)) {
                return Err("InvalidRequest");
            }
            places = open(&names);
        }
        if places.is_empty() {
            let all = || self.settings.pools.iter().map(|pool| pool.name.clone()).collect();
            places = open(&request.pools.as_deref().map_or_else(all, <[String]>::to_vec));
            places.retain(|place| request.pools.is_some() || place.base.shared.is_none());
        }
        if places.is_empty() { Err("NoAvailablePool") } else { Ok(places) }
    }

    fn hopeless(&self, place: &Place, in_use: &HostUse) -> bool {
        let closed = self.settings.pools.iter().any(|pool| pool.name == place.pool && pool.closed);
        let on_link =
            |used: &InUse| used.kind == InUseKind::OnLinkV4Route && used.prefix.contains(place.base.base);
        closed || place.length < place.base.base.length() || in_use.iter().any(on_link)
    }

    fn blocked(&self, base: Prefix, in_use: &HostUse, candidate: Prefix) -> bool {
        let counts = |used: &InUse| match used.kind {
            InUseKind::InterfaceAddress | InUseKind::Nameserver => true,
            InUseKind::OnLinkV4Route | InUseKind::Route => !used.prefix.contains(base),
        };
        self.wholly_reserved(candidate)
            || in_use.iter().any(|used| counts(used) && used.prefix.overlaps(candidate))
    }

    fn keyed(&self, request: &SubnetRequest, places: &[Place]) -> Option<(Prefix, String)> {
        let word = option(request, "key")?.to_owned();
        let (prefix, _) = *self.keys.get(&(request.space, request.family, word))?;
        let place = places.iter().find(|place| place.base.base.contains(prefix))?;
        let held = self.subnets.iter().any(|entry| entry.held() && entry.state.prefix.overlaps(prefix));
        let no = held
            || (self.is_sliced(prefix) && !self.owns(prefix))
            || self.hopeless(place, &request.in_use)
            || self.blocked(place.base.base, &request.in_use, prefix);
        (!no && place.length == prefix.length()).then(|| (prefix, place.pool.clone()))
    }

    fn search(&self, request: &SubnetRequest, places: &[Place]) -> Found {
        let mut occupied: Vec<&SubnetState> = self.subnets.iter().map(|entry| &entry.state).collect();
        occupied.retain(|state| state.released_at.is_none() || state.cool_until > self.now);
        let mut places: Vec<&Place> = places.iter().collect();
        places.retain(|place| !self.hopeless(place, &request.in_use));
        for place in &places {
            if let Some(prefix) = self.best(place, &request.in_use, &occupied) {
                return Found::Free(prefix, place.pool.clone(), false);
            }
            let cut = place.base.slice.filter(|_| place.base.shared.is_none() && !self.owns(place.base.base));
            let fits = cut.is_some_and(|slice| slice <= place.length);
            if fits && request.space == Space::Local {
                return Found::Claim(Want::Room { base: place.base.base });
            }
        }
        let mut cooling: Vec<&SubnetState> =
            occupied.iter().copied().filter(|state| state.released_at.is_some()).collect();
        cooling.sort_by_key(|state| (state.released_at, state.serial));
        for next in cooling {
            occupied.retain(|state| state.serial != next.serial);
            for place in &places {
                let Some(prefix) = self.best(place, &request.in_use, &occupied) else { continue };
                let earliest = (next.released_at.unwrap() + 5_000).min(next.cool_until);
                if earliest > self.now {
                    return Found::Wait(earliest);
                }
                return Found::Free(prefix, place.pool.clone(), true);
            }
        }
        Found::Nothing
    }

    /// Best fit: the free candidate in the smallest free block, the lowest of several.
    fn best(&self, place: &Place, in_use: &HostUse, occupied: &[&SubnetState]) -> Option<Prefix> {
        let base = place.base.base;
        let owned = |prefix: Prefix| !self.is_sliced(prefix) || self.owns(prefix);
        let free =
            |prefix: Prefix| owned(prefix) && !occupied.iter().any(|state| state.prefix.overlaps(prefix));
        let block = |candidate: Prefix| {
            let mut block = candidate;
            while let Some(parent) = block.parent().filter(|parent| base.contains(*parent) && free(*parent)) {
                block = parent;
            }
            block.length()
        };
        let step = 1u128 << (base.family().bits() - place.length);
        let firsts = (0..).map(|n| base.first() + n * step).take_while(|first| *first <= base.last());
        let candidates = firsts.map(|first| Prefix::new(base.family(), first, place.length));
        let open = candidates.filter(|candidate| free(*candidate) && !self.blocked(base, in_use, *candidate));
        open.min_by_key(|candidate| (u8::MAX - block(*candidate), candidate.first()))
    }

    /// `heir` is the dead subnet that the new one replaces: its serial and its memory go to the new one.
    fn granted(
        &mut self,
        request: &SubnetRequest,
        prefix: Prefix,
        pool: Option<String>,
        heir: Option<u64>,
        seen: &Decision,
        warns: bool,
    ) -> Result<(), String> {
        self.expect(seen, &Expected::Subnet(prefix), true, warns)?;
        let Ok(Reply::Subnet { id, gateway, .. }) = &seen.reply else { return Err("no subnet".to_owned()) };
        let router = self.router(request.space, prefix).filter(|router| {
            let sibling = |entry: &&Entry| {
                entry.held() && entry.state.prefix == prefix && apart(part(&entry.state), asked(request))
            };
            let mut siblings = self.subnets.iter().filter(sibling);
            siblings.all(|entry| entry.leased(*router).is_none_or(|record| record.kind == Kind::Gateway))
        });
        if *gateway != router.map(|router| prefix.address(router)) {
            return Err(format!("expected the gateway {router:?}"));
        }
        if self.subnets.iter().any(|entry| entry.state.id == *id) {
            return Err(format!("PoolID {id} was used before"));
        }
        let (now, generation) = (self.now, self.generation());
        let dynamic = matches!(request.wanted, Wanted::Any { .. });
        let memory = match heir {
            Some(serial) => self.by_serial(serial),
            None => self.memory_for(request.space, prefix, asked(request)),
        };
        let state_before = memory.map(|at| self.subnets[at].state.clone());
        let serial = state_before.as_ref().map_or(self.next_serial, |state| state.serial);
        self.next_serial = self.next_serial.max(serial + 1);
        let state = SubnetState {
            serial,
            id: id.clone(),
            space: request.space,
            prefix,
            range: request.range,
            pool,
            options: request.options.clone(),
            dynamic,
            granted_at: now,
            generation,
            start_beyond: None,
            marks: Marks { set_up_at: now, gateway: router, ..Marks::default() },
            released_at: None,
            cool_until: 0,
        };
        let at = memory.unwrap_or(self.subnets.len());
        match memory {
            Some(at) => self.subnets[at].state = state,
            None => self.subnets.push(Entry { state, records: Default::default() }),
        }
        if let Some(router) = router {
            let record = Record {
                leased: true,
                kind: Kind::Gateway,
                name: None,
                mac: None,
                asked_by_number: false,
                withheld: false,
                since: now,
                generation: self.generation(),
            };
            self.subnets[at].records.insert(router, record);
        }
        let key = if dynamic { self.remember_key(request, prefix) } else { None };
        let Some(undo) = seen.undo.clone() else { return replaced_the_dead(dynamic, warns) };
        let (address, record_before, gateway_before) = (None, None, None);
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

    /// Makes the key point to the new subnet, unless the subnet that it points to is held.
    fn remember_key(
        &mut self,
        request: &SubnetRequest,
        prefix: Prefix,
    ) -> Option<(String, Option<(Prefix, Millis)>)> {
        let word = option(request, "key")?.to_owned();
        let key = (request.space, request.family, word.clone());
        let before = self.keys.get(&key).copied();
        let held = |known: Prefix| {
            let is = |entry: &Entry| {
                entry.held() && entry.state.space == request.space && entry.state.prefix == known
            };
            self.subnets.iter().any(is)
        };
        if before.is_some_and(|(known, _)| known != prefix && held(known)) {
            return None;
        }
        self.keys.insert(key, (prefix, self.now));
        Some((word, before))
    }
}
