//! Which subnet: an explicit one if nobody holds it, else best fit in the pools that are open, around what is in use.
//!
//! Promises: pure; a candidate that Docker would refuse is not offered (P12); spaces stay disjoint; what is refused
//! changes nothing but the storm's marks. Does not read routes: they come with the request.

use super::Plan;
use super::change::{Change, Marks, Serial, SubnetState};
use super::choose_address::{MEMORY, MEMORY_FLOOR, TRIM};
use super::error::Error;
use super::free_space::FreeSpace;
use super::options::PoolOptions;
use super::place::{Blocked, Place};
use super::prefix::Prefix;
use super::request::{Context, Decision, InUseKind, KeyBefore, Reply, Space, SubnetRequest, Undo, Wanted};
use super::settings::{Base, Millis, PoolSettings, rfc3339};
use super::siblings::Part;

/// A subnet released less than this ago is not given to another network (its bridge may still be there, P17).
const YOUNGEST: Millis = 5_000;
/// How far back the storm guard looks.
const STORM_WINDOW: Millis = 60_000;
/// How many keys are remembered at most.
const KEYS: usize = 1_000;

/// The result of a search of the pools.
enum Found {
    Free { prefix: Prefix, pool: String, warning: Option<String> },
    Wait(Millis),
}

/// A new grant, before it has an id.
struct Grant<'a> {
    request: &'a SubnetRequest,
    prefix: Prefix,
    pool: Option<String>,
    key: Option<String>,
    dynamic: bool,
    /// A dead subnet of the same prefix, freed by the same decision; the grant inherits its memory.
    replaces: Option<Serial>,
}

impl Plan {
    /// RequestPool.
    pub(super) fn decide_subnet(&self, request: &SubnetRequest, context: Context) -> Decision {
        let outcome = match request.wanted {
            Wanted::Exact(prefix) => self.decide_exact(request, prefix, context),
            Wanted::Any { size } => self.decide_any(request, size, context),
        };
        outcome.unwrap_or_else(Decision::refused)
    }

    fn decide_exact(
        &self,
        request: &SubnetRequest,
        prefix: Prefix,
        context: Context,
    ) -> Result<Decision, Error> {
        let options = PoolOptions::parse(&request.options, false)?;
        if prefix.family() != request.family {
            return Err(Error::InvalidPool(format!(
                "{prefix} is {}, but {} was asked for",
                prefix.family(),
                request.family
            )));
        }
        check_range(request.range, prefix)?;
        if request.space == Space::Global
            && let Some(subnet) =
                self.at(Space::Global, prefix).first().and_then(|serial| self.subnet(*serial))
        {
            let mut decision = Decision::unchanged(Reply::Subnet {
                id: subnet.state.id.clone(),
                prefix: subnet.state.prefix,
            });
            if subnet.state.options != request.options || subnet.state.range != request.range {
                decision.warnings.push(format!(
                        "{prefix} was asked for again in space global with other options or another range; both networks share it"
                    ));
            }
            return Ok(decision);
        }
        let cleared = match options.overlap {
            true => Vec::new(),
            false => self.clear_the_way(request, prefix, context)?,
        };
        let pool = self.pool_around(prefix).map(|pool| pool.name.clone());
        let replaces = self.in_the_way_at(request, prefix).filter(|_| !cleared.is_empty());
        let grant = Grant { request, prefix, pool, key: None, dynamic: false, replaces };
        let mut decision = self.grant_subnet(grant, context);
        if !cleared.is_empty() {
            // An undo does not bring the dead one back.
            decision.undo = None;
            decision.warnings.push(format!("{prefix} takes the place of a subnet that is proven dead"));
            let granted = decision.changes.iter().find_map(|change| match change {
                Change::SubnetGranted(state) => Some(state.serial),
                _ => None,
            });
            // What the grant inherits must not be forgotten meanwhile.
            let kept = |change: &Change| !matches!(change, Change::SubnetForgotten { serial } if Some(*serial) == granted);
            decision.changes.splice(0..0, cleared.into_iter().filter(kept));
        }
        Ok(decision)
    }

    fn decide_any(
        &self,
        request: &SubnetRequest,
        size: Option<u8>,
        context: Context,
    ) -> Result<Decision, Error> {
        let options = PoolOptions::parse(&request.options, true)?;
        if let Some(range) = request.range {
            return Err(Error::InvalidSubPool(format!(
                "{range} also needs --subnet PREFIX{}",
                if size.is_some() { ": a prefix, not only a size" } else { "" }
            )));
        }
        if let (Some(size), Some(option)) = (size, options.size(request.family))
            && size != option
        {
            return Err(Error::InvalidRequest(format!(
                "the request has two sizes, /{size} (--subnet) and /{option} ({}.size); give one of them",
                request.family.name()
            )));
        }
        let storm = self.storm(request, context.now);
        if !storm.is_empty() {
            return Ok(refuse_storm(self, request, &storm));
        }
        let places = self.places(request, &options, size)?;
        if let Some((prefix, pool)) = self.keyed(request, &options, &places) {
            let grant =
                Grant { request, prefix, pool: Some(pool), key: options.key, dynamic: true, replaces: None };
            return Ok(self.grant_subnet(grant, context));
        }
        match self.search(request, &places, context.now)? {
            Found::Wait(until) => Ok(Decision::unchanged(Reply::Wait(until))),
            Found::Free { prefix, pool, warning } => {
                let grant = Grant {
                    request,
                    prefix,
                    pool: Some(pool),
                    key: options.key,
                    dynamic: true,
                    replaces: None,
                };
                let mut decision = self.grant_subnet(grant, context);
                decision.warnings.extend(warning);
                Ok(decision)
            }
        }
    }

    /// The pools to look in, in order: those named that have the family, else the driver's own.
    fn open_pools(
        &self,
        request: &SubnetRequest,
        options: &PoolOptions,
    ) -> Result<Vec<(&PoolSettings, Base)>, Error> {
        let with_family = |names: &[String]| -> Vec<(&PoolSettings, Base)> {
            let pools = names.iter().filter_map(|name| self.settings.pool(name));
            pools.filter_map(|pool| pool.base(request.family).map(|base| (pool, *base))).collect()
        };
        let mut pools = Vec::new();
        if let Some(named) = &options.pools {
            if let Some(unknown) = named.iter().find(|name| self.settings.pool(name).is_none()) {
                let known: Vec<&str> = self.settings.pools.iter().map(|pool| pool.name.as_str()).collect();
                return Err(Error::InvalidRequest(format!(
                    "option pool={unknown}: no such pool; the pools are {}",
                    known.join(", ")
                )));
            }
            pools = with_family(named);
        }
        if pools.is_empty() {
            let all = || self.settings.pools.iter().map(|pool| pool.name.clone()).collect();
            pools = with_family(&request.pools.as_deref().map_or_else(all, <[String]>::to_vec));
        }
        if pools.is_empty() {
            return Err(Error::NoAvailablePool(format!(
                "no pool open to this driver has {}; add one to the configuration, or give --subnet",
                request.family
            )));
        }
        Ok(pools)
    }

    /// The subnet that `key=WORD` had, while it is free: cooling or not.
    pub(super) fn keyed(
        &self,
        request: &SubnetRequest,
        options: &PoolOptions,
        places: &[Place<'_>],
    ) -> Option<(Prefix, String)> {
        let word = options.key.clone()?;
        let (prefix, _) = *self.keys.get(&(request.space, request.family, word))?;
        let place = places.iter().find(|place| place.base.contains(prefix) && place.hopeless().is_none())?;
        let free = self.held_anywhere(prefix).is_none() && place.blocked.by(prefix).is_none();
        (prefix.length() == place.length && free).then(|| (prefix, place.pool.name.clone()))
    }

    /// Where subnets of the wanted size may come from, in order.
    pub(super) fn places<'a>(
        &'a self,
        request: &'a SubnetRequest,
        options: &PoolOptions,
        size: Option<u8>,
    ) -> Result<Vec<Place<'a>>, Error> {
        let size = size.or(options.size(request.family));
        let pools = self.open_pools(request, options)?;
        let place = |(pool, base): (&'a PoolSettings, Base)| Place {
            pool,
            base: base.base,
            length: size.unwrap_or(base.size),
            blocked: Blocked::new(base.base, &request.in_use, self),
        };
        Ok(pools.into_iter().map(place).collect())
    }

    fn search(&self, request: &SubnetRequest, places: &[Place<'_>], now: Millis) -> Result<Found, Error> {
        for place in places.iter().filter(|place| place.hopeless().is_none()) {
            let free = self.free.get(&place.base);
            let skip = |candidate| place.blocked.by(candidate);
            if let Some(prefix) = free.and_then(|free| free.best_fit(place.length, skip)) {
                return Ok(Found::Free { prefix, pool: place.pool.name.clone(), warning: None });
            }
        }
        self.search_cooling(places, now).ok_or_else(|| {
            let why = places.iter().map(|place| place.hopeless().unwrap_or_else(|| self.full_text(place)));
            Error::NoAvailablePool(format!(
                "no free {} subnet: {}; remove unused networks (gipam subnets shows them), ask for a smaller size, or add a pool",
                request.family,
                why.collect::<Vec<_>>().join("; ")
            ))
        })
    }

    /// When nothing else is left: the place freed by the releases that have cooled longest.
    fn search_cooling(&self, places: &[Place<'_>], now: Millis) -> Option<Found> {
        let mut cooling: Vec<&SubnetState> = self
            .cooling
            .iter()
            .filter_map(|(_, serial)| self.subnet(*serial).map(|subnet| &subnet.state))
            .filter(|state| places.iter().any(|place| place.base.overlaps(state.prefix)))
            .collect();
        if cooling.is_empty() {
            return None;
        }
        let mut occupied = self.occupied.clone();
        let mut spaces: Vec<(&Place<'_>, FreeSpace)> =
            places.iter().filter_map(|place| Some((place, self.free.get(&place.base)?.clone()))).collect();
        spaces.retain(|(place, _)| place.hopeless().is_none());
        cooling.sort_by_key(|state| (state.released_at, state.serial));
        for state in cooling {
            occupied.remove(state.prefix, state.serial);
            for (place, space) in &mut spaces {
                space.vacate(state.prefix, &occupied);
                let Some(prefix) = space.best_fit(place.length, |candidate| place.blocked.by(candidate))
                else {
                    continue;
                };
                let earliest = state.cool_until.min(state.released_at.unwrap_or(0).saturating_add(YOUNGEST));
                if earliest > now {
                    return Some(Found::Wait(earliest));
                }
                let warning = format!(
                    "pool {}: {prefix} is given again while still cooling (released {}); nothing else is free",
                    place.pool.name,
                    rfc3339(state.released_at.unwrap_or(0))
                );
                return Some(Found::Free { prefix, pool: place.pool.name.clone(), warning: Some(warning) });
            }
        }
        None
    }

    pub(super) fn full_text(&self, place: &Place<'_>) -> String {
        let base = place.base;
        let held = self
            .occupied
            .all_inside(base)
            .filter(|serial| self.subnet(*serial).is_some_and(super::subnet::Subnet::is_held));
        let foreign =
            place.blocked.texts.iter().filter(|used| self.occupied.overlapping(used.prefix).is_none());
        let routes: Vec<&str> = foreign.map(|used| used.text.as_str()).take(5).collect();
        let routes =
            if routes.is_empty() { String::new() } else { format!(", in use here: {}", routes.join(", ")) };
        format!(
            "pool {} ({base}) has no free /{} ({} subnets held{routes})",
            place.pool.name,
            place.length,
            held.count()
        )
    }

    /// The serials of a storm: dynamic subnets of one family, space and option set, all held, no address requested
    /// from any of them, granted within a minute; empty below the limit.
    pub(super) fn storm(&self, request: &SubnetRequest, now: Millis) -> Vec<Serial> {
        let limit = usize::try_from(self.settings.storm_limit).unwrap_or(usize::MAX);
        let group = (request.space, request.family, request.options.clone());
        let Some(quiet) = self.unaddressed.get(&group).filter(|quiet| limit > 0 && quiet.len() >= limit)
        else {
            return Vec::new();
        };
        let since = now.saturating_sub(STORM_WINDOW);
        let recent: Vec<Serial> = quiet.range((since, 0)..).take(limit).map(|(_, serial)| *serial).collect();
        if recent.len() < limit { Vec::new() } else { recent }
    }

    fn grant_subnet(&self, grant: Grant<'_>, context: Context) -> Decision {
        let Grant { request, prefix, pool, key, dynamic, replaces } = grant;
        let replaced = replaces.and_then(|serial| self.subnet(serial));
        let previous = replaced.or_else(|| self.memory_for(request.space, prefix, Part::asked(request)));
        let serial = previous.map_or(self.next_serial, |subnet| subnet.state.serial);
        let state = SubnetState {
            serial,
            id: self.new_id(request.space, prefix, context.random),
            space: request.space,
            prefix,
            range: request.range,
            pool,
            options: request.options.clone(),
            dynamic,
            granted_at: context.now,
            generation: self.next_generation,
            start_beyond: None,
            marks: Marks { set_up_at: context.now, ..Marks::default() },
            released_at: None,
            cool_until: 0,
        };
        let reply = Reply::Subnet { id: state.id.clone(), prefix };
        let (key_changes, key_before) = match key {
            Some(word) => self.remember_key(request, word, prefix, context.now),
            None => (Vec::new(), None),
        };
        let undo = Undo::Subnet {
            serial,
            generation: state.generation,
            previous: previous.map(|subnet| Box::new(subnet.state.clone())),
            key: key_before,
        };
        let mut changes = vec![Change::SubnetGranted(Box::new(state))];
        changes.extend(key_changes);
        changes.extend(self.trim_remembered(0, &[serial], context.now));
        Decision { reply: Ok(reply), changes, warnings: Vec::new(), undo: Some(undo) }
    }

    /// A key keeps pointing to its subnet while that is held. Also returns what an undo has to restore.
    fn remember_key(
        &self,
        request: &SubnetRequest,
        word: String,
        prefix: Prefix,
        now: Millis,
    ) -> (Vec<Change>, Option<KeyBefore>) {
        let (space, family) = (request.space, request.family);
        let before = self.keys.get(&(space, family, word.clone())).copied();
        if before.is_some_and(|(known, _)| known != prefix && !self.at(space, known).is_empty()) {
            return (Vec::new(), None);
        }
        let remembered =
            Change::KeyRemembered { space, family, word: word.clone(), prefix: Some((prefix, now)) };
        let mut changes = vec![remembered];
        if before.is_none() && self.keys.len() >= KEYS {
            changes.extend(self.keys.iter().min_by_key(|(_, (_, at))| *at).map(
                |((space, family, word), _)| Change::KeyRemembered {
                    space: *space,
                    family: *family,
                    word: word.clone(),
                    prefix: None,
                },
            ));
        }
        (changes, Some((word, before)))
    }

    /// The longest released subnets, those that are too old or too many; never one that cools. `more` are about to be
    /// released.
    pub(super) fn trim_remembered(
        &self,
        more: usize,
        but: &[Serial],
        now: Millis,
    ) -> impl Iterator<Item = Change> + use<'_> {
        let but = but.to_vec();
        let held = (self.subnets.len() - self.released.len()).saturating_sub(more);
        let excess = (self.released.len() + more).saturating_sub(MEMORY_FLOOR.max(4 * held));
        let cool =
            move |serial: &Serial| self.subnet(*serial).is_some_and(|subnet| subnet.state.cool_until <= now);
        let oldest =
            self.released.iter().copied().filter(move |(_, serial)| !but.contains(serial)).take(TRIM);
        oldest
            .enumerate()
            .filter(move |(n, (released_at, _))| *n < excess || released_at.saturating_add(MEMORY) < now)
            .map(|(_, (_, serial))| serial)
            .take_while(cool)
            .map(|serial| Change::SubnetForgotten { serial })
    }
}

fn check_range(range: Option<Prefix>, prefix: Prefix) -> Result<(), Error> {
    match range {
        Some(range) if !prefix.contains(range) => Err(Error::InvalidSubPool(format!(
            "{range} does not lie in {prefix}; choose an --ip-range inside the --subnet"
        ))),
        _ => Ok(()),
    }
}

fn refuse_storm(plan: &Plan, request: &SubnetRequest, storm: &[Serial]) -> Decision {
    let seen: Vec<&str> = request
        .in_use
        .iter()
        .filter(|used| matches!(used.kind, InUseKind::OnLinkV4Route | InUseKind::Nameserver))
        .map(|used| used.text.as_str())
        .collect();
    let seen = if seen.is_empty() { "none seen".to_owned() } else { seen.join(", ") };
    let error = Error::NoAvailablePool(format!(
        "Docker keeps refusing what is offered: {} {} subnets were granted within a minute and no address was ever requested from them; \
         look for a pool that overlaps an on-link route or a nameserver of the Docker host: {seen}",
        storm.len(),
        request.family,
    ));
    let subnets = storm.iter().filter_map(|serial| plan.subnets.get(serial)).map(|subnet| &subnet.state);
    let marked = subnets.filter(|state| !state.marks.stormed).map(|state| Change::SubnetMarked {
        serial: state.serial,
        marks: Marks { stormed: true, ..state.marks.clone() },
    });
    Decision { reply: Err(error), changes: marked.collect(), warnings: Vec::new(), undo: None }
}
