//! The search of the pools for a subnet: first what is free, then what has cooled longest, in the pools that are open.
//!
//! Promises: pure; what it costs depends on what it finds, not on how many pools, subnets or cooling ones there are: pools
//! without room are never looked at, and a refusal is known before anything is searched. Among what cools, the place that the
//! longest-cooled releases open comes first, as far as the [`OLDEST`] of them go; beyond, the best fit of all that cools.

use super::Plan;
use super::change::{Serial, SubnetState};
use super::error::Error;
use super::free_space::Standing;
use super::options::PoolOptions;
use super::place::{Blocked, Place};
use super::pool_spaces::Kind;
use super::prefix::Prefix;
use super::request::SubnetRequest;
use super::settings::{Millis, rfc3339};

/// A subnet released less than this ago is not given to another network (its bridge may still be there, P17).
const YOUNGEST: Millis = 5_000;
/// How many of the longest-cooled are looked at one by one.
const OLDEST: usize = 64;
/// How many free parts of one cooling subnet are looked at.
const PARTS: usize = 64;
/// How many pools, and how many things in use, a refusal names.
const NAMED: usize = 5;

/// The result of a search of the pools.
pub(super) enum Found {
    Free {
        prefix: Prefix,
        pool: String,
        warning: Option<String>,
    },
    Wait(Millis),
    /// Nobody has looked at what the host uses of this pool.
    Unknown,
}

/// The pools to look in, by their place in the settings.
pub(super) enum Open<'a> {
    /// All of them.
    All,
    /// Those of these names that have the family, in this order.
    Named(Vec<&'a str>),
}

/// Cooling subnets that were released after a moment, which block the place of an older one.
struct Newer<'a> {
    plan: &'a Plan,
    than: (Millis, Serial),
}

impl Newer<'_> {
    fn is(&self, serial: Serial) -> bool {
        let state = self.plan.subnet(serial).map(|subnet| &subnet.state);
        state.is_some_and(|state| state.released_at.is_none_or(|at| (at, serial) > self.than))
    }
}

impl Standing for Newer<'_> {
    fn covers(&self, prefix: Prefix) -> bool {
        self.plan.occupied.all_covering(prefix).any(|serial| self.is(serial))
    }
    fn is_in(&self, prefix: Prefix) -> bool {
        self.plan.occupied.all_inside(prefix).any(|serial| self.is(serial))
    }
}

impl Plan {
    /// The pools to look in: those named that have the family, else the driver's own.
    pub(super) fn open_pools<'a>(
        &self,
        request: &'a SubnetRequest,
        options: &'a PoolOptions,
    ) -> Result<Open<'a>, Error> {
        let has = |name: &&str| self.pool(name).is_some_and(|pool| pool.base(request.family).is_some());
        if let Some(named) = &options.pools {
            if let Some(unknown) = named.iter().find(|name| self.pool(name).is_none()) {
                return Err(Error::InvalidRequest(format!(
                    "option pool={unknown}: no such pool; the pools are {}",
                    self.pool_names()
                )));
            }
            let named: Vec<&str> = named.iter().map(String::as_str).filter(has).collect();
            if !named.is_empty() {
                return Ok(Open::Named(named));
            }
        }
        let open = match &request.pools {
            Some(names) => Open::Named(names.iter().map(String::as_str).filter(has).collect()),
            None => Open::All,
        };
        let none = match &open {
            Open::Named(names) => names.is_empty(),
            Open::All => self.spaces.count(request.family) == 0,
        };
        if none {
            return Err(Error::NoAvailablePool(format!(
                "no pool open to this driver has {}; add one to the configuration, or give --subnet",
                request.family
            )));
        }
        Ok(open)
    }

    /// The names of the pools, the first of them if there are very many.
    pub(super) fn pool_names(&self) -> String {
        const MOST: usize = 50;
        let pools = &self.settings.pools;
        let names: Vec<&str> = pools.iter().take(MOST).map(|pool| pool.name.as_str()).collect();
        match pools.len().saturating_sub(MOST) {
            0 => names.join(", "),
            more => format!("{} and {more} more", names.join(", ")),
        }
    }

    /// The pool at this place, to look in.
    fn place<'a>(&'a self, request: &'a SubnetRequest, size: Option<u8>, at: usize) -> Option<Place<'a>> {
        let pool = self.settings.pools.get(at)?;
        let base = pool.base(request.family)?;
        let blocked = Blocked::new(base.base, &request.in_use, &request.dead, self);
        let space = self.spaces.at(base.base)?;
        Some(Place { pool, base: base.base, space, length: size.unwrap_or(base.size), blocked })
    }

    /// All places, in order.
    pub(super) fn places<'a>(
        &'a self,
        request: &'a SubnetRequest,
        open: &'a Open<'a>,
        size: Option<u8>,
    ) -> Box<dyn Iterator<Item = Place<'a>> + 'a> {
        match open {
            Open::All => {
                Box::new((0..self.settings.pools.len()).filter_map(move |at| self.place(request, size, at)))
            }
            Open::Named(names) => {
                let at = names.iter().filter_map(|name| self.spaces.named(name));
                Box::new(at.filter_map(move |at| self.place(request, size, at)))
            }
        }
    }

    /// The places that have room of this kind, in order. Those without are not looked at.
    fn with_room<'a>(
        &'a self,
        request: &'a SubnetRequest,
        open: &'a Open<'a>,
        size: Option<u8>,
        kind: Kind,
    ) -> Box<dyn Iterator<Item = Place<'a>> + 'a> {
        let family = request.family;
        let hopeful = |place: &Place<'_>| place.hopeless().is_none();
        if matches!(open, Open::All) {
            let next = move |from: usize| self.spaces.next(kind, family, from, size);
            let at = std::iter::successors(next(0), move |at| next(at + 1));
            return Box::new(at.filter_map(move |at| self.place(request, size, at)).filter(hopeful));
        }
        let room = move |place: &Place<'_>| {
            let space = if kind == Kind::Free { &place.space.free } else { &place.space.reclaimable };
            space.shortest().is_some_and(|length| length <= place.length)
        };
        Box::new(self.places(request, open, size).filter(room).filter(hopeful))
    }

    /// The subnet that `key=WORD` had, while it is free: cooling or not.
    pub(super) fn keyed(
        &self,
        request: &SubnetRequest,
        options: &PoolOptions,
        open: &Open<'_>,
    ) -> Option<(Prefix, String)> {
        let word = options.key.clone()?;
        let (prefix, _) = *self.keys.get(&(request.space, request.family, word))?;
        let at = self.spaces.around(prefix)?.pool;
        let place = self.place(request, options.size_for(request), at)?;
        let is_open = match open {
            Open::All => true,
            Open::Named(names) => names.contains(&place.pool.name.as_str()),
        };
        let known = request.in_use.knows(place.base);
        let free = self.held_anywhere(prefix).is_none() && place.blocked.by(prefix).is_none();
        let good = is_open && known && free && place.hopeless().is_none();
        (prefix.length() == place.length && good).then(|| (prefix, place.pool.name.clone()))
    }

    pub(super) fn search(
        &self,
        request: &SubnetRequest,
        open: &Open<'_>,
        size: Option<u8>,
        now: Millis,
    ) -> Result<Found, Error> {
        for place in self.with_room(request, open, size, Kind::Free) {
            if !request.in_use.knows(place.base) {
                return Ok(Found::Unknown);
            }
            if let Some(prefix) = place.space.free.best_fit(place.length, |it| place.blocked.by(it)) {
                return Ok(Found::Free { prefix, pool: place.pool.name.clone(), warning: None });
            }
        }
        match self.search_cooling(request, open, size, now) {
            Some(found) => Ok(found),
            None => Err(self.nothing_left(request, open, size)),
        }
    }

    /// When nothing else is left: the place freed by the releases that have cooled longest.
    fn search_cooling(
        &self,
        request: &SubnetRequest,
        open: &Open<'_>,
        size: Option<u8>,
        now: Millis,
    ) -> Option<Found> {
        let cooling = &self.cooling_by_age[request.family as usize];
        // Where nothing could come from even if nothing cooled, nothing is searched.
        if cooling.is_empty() {
            return None;
        }
        self.with_room(request, open, size, Kind::Reclaimable).next()?;
        let mut looked = 0;
        for &(released_at, serial) in cooling {
            looked += 1;
            if looked > OLDEST {
                break;
            }
            let Some(state) = self.subnet(serial).map(|subnet| &subnet.state) else { continue };
            let newer = Newer { plan: self, than: (released_at, serial) };
            let mut spaces: Vec<usize> =
                self.spaces.touching(state.prefix).take(PARTS).map(|space| space.pool).collect();
            spaces.sort_by_key(|at| self.rank(open, *at));
            for place in spaces.into_iter().filter_map(|at| self.place(request, size, at)) {
                if self.rank(open, place.space.pool).is_none() || place.hopeless().is_some() {
                    continue;
                }
                if let Some(prefix) = opened_by(&place, state.prefix, &newer) {
                    return Some(self.given_cooling(request, &place, prefix, state, now));
                }
            }
        }
        if looked <= OLDEST {
            return None;
        }
        self.with_room(request, open, size, Kind::Reclaimable).find_map(|place| {
            let prefix = place.space.reclaimable.best_fit(place.length, |it| place.blocked.by(it))?;
            let inside = self.occupied.all_inside(prefix).chain(self.occupied.all_covering(prefix));
            let states = inside.filter_map(|serial| self.subnet(serial)).map(|subnet| &subnet.state);
            let newest = states.max_by_key(|state| (state.released_at, state.serial))?;
            Some(self.given_cooling(request, &place, prefix, newest, now))
        })
    }

    /// The place of a pool in the order; `None` if it is not open.
    fn rank(&self, open: &Open<'_>, at: usize) -> Option<usize> {
        match open {
            Open::All => Some(at),
            Open::Named(names) => {
                let name = &self.settings.pools.get(at)?.name;
                names.iter().position(|other| other == name)
            }
        }
    }

    /// A place is free when this subnet, the last one in it, is.
    fn given_cooling(
        &self,
        request: &SubnetRequest,
        place: &Place<'_>,
        prefix: Prefix,
        last: &SubnetState,
        now: Millis,
    ) -> Found {
        if !request.in_use.knows(place.base) {
            return Found::Unknown;
        }
        let released_at = last.released_at.unwrap_or(0);
        let earliest = last.cool_until.min(released_at.saturating_add(YOUNGEST));
        if earliest > now {
            return Found::Wait(earliest);
        }
        let warning = format!(
            "pool {}: {prefix} is given again while still cooling (released {}); nothing else is free",
            place.pool.name,
            rfc3339(released_at)
        );
        Found::Free { prefix, pool: place.pool.name.clone(), warning: Some(warning) }
    }

    fn nothing_left(&self, request: &SubnetRequest, open: &Open<'_>, size: Option<u8>) -> Error {
        let why = |place: Place<'_>| place.hopeless().unwrap_or_else(|| self.full_text(&place));
        let mut text = self.places(request, open, size).take(NAMED).map(why).collect::<Vec<_>>().join("; ");
        let all = match open {
            Open::All => self.spaces.count(request.family),
            Open::Named(names) => names.len(),
        };
        if let Some(more) = all.checked_sub(NAMED).filter(|more| *more > 0) {
            text.push_str(&format!("; and so on for {more} more pools"));
        }
        Error::NoAvailablePool(format!(
            "no free {} subnet: {text}; remove unused networks (gipam subnets shows them), ask for a smaller size, or add a pool",
            request.family,
        ))
    }

    pub(super) fn full_text(&self, place: &Place<'_>) -> String {
        // Our own subnets are not in any free block.
        let blocks = place.space.free.blocks().take(PARTS);
        let foreign = blocks.flat_map(|block| place.blocked.texts_in(block));
        let strangers =
            place.space.free.blocks().take(PARTS).flat_map(|block| place.blocked.strangers_in(block));
        let routes = foreign.map(|used| used.text.clone()).chain(strangers);
        let routes: Vec<String> = routes.take(NAMED).collect();
        let routes =
            if routes.is_empty() { String::new() } else { format!(", in use here: {}", routes.join(", ")) };
        let Place { pool, base, length, space, .. } = place;
        format!("pool {} ({base}) has no free /{length} (subnets held: {}{routes})", pool.name, space.held)
    }
}

/// The place that a cooling subnet opens if those that cool less long stay.
fn opened_by(place: &Place<'_>, cooling: Prefix, newer: &Newer<'_>) -> Option<Prefix> {
    let around = Prefix::new(cooling.family(), cooling.first(), place.length.min(cooling.length()));
    let region = if around.contains(place.base) { place.base } else { around };
    let part = place.space.reclaimable.part(region, place.length, PARTS, newer);
    part.best_fit(place.length, |candidate| place.blocked.by(candidate))
}

impl PoolOptions {
    /// The size that a request wants, if it says one.
    pub(super) fn size_for(&self, request: &SubnetRequest) -> Option<u8> {
        let named = match request.wanted {
            super::request::Wanted::Any { size } => size,
            super::request::Wanted::Exact(_) => None,
        };
        named.or(self.size(request.family))
    }
}
