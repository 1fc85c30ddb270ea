//! WHICH SUBNET gipam gives to a network that does not request a specific one: the ways to find one, in the order tried.
//!
//! [`ORDER`] is the complete order: [`SubnetSearch::first`] uses the first way that finds a subnet, [`explain`](super::explain)
//! prints all of them. The pools are searched in order, each for the best fit that avoids everything in use.
//!
//! Promises: pure; the cost depends on what is found, not on the number of pools, subnets or cooling subnets:
//! pools without room are skipped, and a refusal is known before the search. Cooling subnets: the [`OLDEST`]
//! that have cooled longest are tried one by one, each for the space that it would free; after that, the best
//! fit among all of them.

use super::Plan;
use super::change::{Serial, SubnetState};
use super::error::Refusal;
use super::free_space::Standing;
use super::options::PoolOptions;
use super::place::PoolPlace;
use super::pool_spaces::Vacancy;
use super::prefix::Prefix;
use super::request::{Space, SubnetRequest, Want, Wanted};
use super::settings::{Millis, PoolSettings, rfc3339};

/// For this long after its release, a subnet is not given to another network (its bridge may still exist, P17).
const YOUNGEST: Millis = 5_000;
/// How many of the longest-cooled subnets are examined one by one.
const OLDEST: usize = 64;
/// How many free parts of one cooling subnet are examined.
const PARTS: usize = 64;
/// How many pools, and how many prefixes in use, a refusal lists.
const NAMED: usize = 5;

/// A way to find a subnet, with its name for people.
pub(super) type SubnetWay = (&'static str, fn(&SubnetSearch<'_>) -> Option<Offer>);

/// The ways to find a subnet, in the order in which they are tried.
pub(super) const ORDER: &[SubnetWay] =
    &[(KEY, keyed), (FREE, first_free), ("longest released", longest_released), (STALE, number_of_stale)];

/// The subnet that `key=WORD` had, if it is not held (it may be cooling).
pub(super) const KEY: &str = "key";
/// The best fit in the first pool with room.
pub(super) const FREE: &str = "free";
/// A number that is kept for a subnet outside the current base of its pool.
pub(super) const STALE: &str = "kept for a stale subnet";

/// The result of a way.
pub(super) enum Offer {
    /// This subnet, and a warning for the operator, if there is one.
    Free(Prefix, Option<String>),
    Wait(Millis),
    /// The request does not say which parts of this pool the host uses.
    Unknown,
    /// The first pool with room for the subnet is sliced, and this host must first claim a slice of it.
    Claim(Want),
}

/// The search for one subnet.
pub(super) struct SubnetSearch<'a> {
    pub(super) plan: &'a Plan,
    pub(super) request: &'a SubnetRequest,
    pub(super) options: &'a PoolOptions,
    /// The pools to search, by their position in the settings, in this order; all pools if `None`.
    open: Option<Vec<usize>>,
    /// The requested length, if there is one.
    size: Option<u8>,
}

/// Cooling subnets that were released after a given one: they block the place that it would open.
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
        self.plan.cooling_by_prefix().all_covering(prefix).any(|serial| self.is(*serial))
    }
    fn is_in(&self, prefix: Prefix) -> bool {
        self.plan.cooling_by_prefix().all_inside(prefix).any(|serial| self.is(*serial))
    }
}

impl Plan {
    /// The pools to search: the pools named in the options that have the family, else the pools of the driver.
    fn open_pools(
        &self,
        request: &SubnetRequest,
        options: &PoolOptions,
    ) -> Result<Option<Vec<usize>>, Refusal> {
        let family = request.family;
        let place = |name: &String| {
            let at = self.spaces.named(name)?;
            self.settings.pools.get(at)?.base(family).map(|_| at)
        };
        if let Some(named) = &options.pools {
            if let Some(unknown) = named.iter().find(|name| self.pool(name).is_none()) {
                return Err(Refusal::invalid_request(format!(
                    "option pool={unknown}: this pool does not exist; the pools are {}",
                    self.pool_names()
                )));
            }
            let named: Vec<usize> = named.iter().filter_map(place).collect();
            if !named.is_empty() {
                return Ok(Some(named));
            }
            if let Some(why) = Self::awaited(named_pools(self, options), family) {
                return Err(Refusal::no_available_pool(why));
            }
        }
        let open: Option<Vec<usize>> =
            request.pools.as_ref().map(|names| names.iter().filter_map(place).collect());
        if open.as_ref().map_or(self.spaces.count(family), Vec::len) == 0 {
            let of_driver =
                |pool: &&PoolSettings| request.pools.as_ref().is_none_or(|names| names.contains(&pool.name));
            if let Some(why) = Self::awaited(self.settings.pools.iter().filter(of_driver), family) {
                return Err(Refusal::no_available_pool(why));
            }
            return Err(Refusal::no_available_pool(format!(
                "no pool open to this driver has {family}; add one to the configuration, or give --subnet"
            )));
        }
        Ok(open)
    }

    /// The names of the pools; only the first of them if there are very many.
    pub(super) fn pool_names(&self) -> String {
        const MOST: usize = 50;
        let pools = &self.settings.pools;
        let names: Vec<&str> = pools.iter().take(MOST).map(|pool| pool.name.as_str()).collect();
        match pools.len().saturating_sub(MOST) {
            0 => names.join(", "),
            more => format!("{} and {more} more", names.join(", ")),
        }
    }
}

impl<'a> SubnetSearch<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        request: &'a SubnetRequest,
        options: &'a PoolOptions,
    ) -> Result<Self, Refusal> {
        let open = plan.open_pools(request, options)?;
        let named = if let Wanted::Any { size } = request.wanted { size } else { None };
        Ok(Self { plan, request, options, open, size: named.or(options.size(request.family)) })
    }

    /// The result of the first way that finds a subnet.
    pub(super) fn first(&self) -> Option<Offer> {
        ORDER.iter().find_map(|(_, find)| find(self))
    }

    /// The pool at this position in the settings, prepared for a search.
    fn place(&self, at: usize) -> Option<PoolPlace<'a>> {
        PoolPlace::new(self.plan, self.plan.settings.pools.get(at)?, self.request, self.size)
    }

    /// All pools to search, in order.
    pub(super) fn places(&self) -> impl Iterator<Item = PoolPlace<'a>> {
        let all = if self.open.is_none() { 0..self.plan.settings.pools.len() } else { 0..0 };
        let places = all.chain(self.open.iter().flatten().copied()).filter_map(|at| self.place(at));
        // A subnet that several hosts share is given only to requests that name its pool.
        places.filter(|place| self.open.is_some() || place.space.shared().is_none())
    }

    /// The pools to search that have room of this kind, in order. Pools without room are skipped.
    fn with_room(&self, kind: Vacancy) -> impl Iterator<Item = PoolPlace<'a>> {
        let (spaces, family, size) = (&self.plan.spaces, self.request.family, self.size);
        let any = self.open.is_none().then(|| {
            let next = move |from: usize| spaces.next(kind, family, from, size);
            std::iter::successors(next(0), move |at| next(at + 1)).filter_map(|at| self.place(at))
        });
        let room = move |place: &PoolPlace<'_>| {
            place.space.part(kind).shortest().is_some_and(|length| length <= place.length)
        };
        let named = self.open.is_some().then(|| self.places().filter(room));
        let all = any.into_iter().flatten().chain(named.into_iter().flatten());
        all.filter(|place| place.hopeless().is_none())
    }

    /// The first sliced pool in which this host may claim another slice for this request.
    fn claimable(&self) -> Option<(usize, Offer)> {
        if self.request.space == Space::Global {
            return None;
        }
        let sliced = self.plan.spaces.sliced(self.request.family).filter_map(|at| Some((self.rank(at)?, at)));
        let claimable = sliced.filter_map(|(rank, at)| {
            let (place, want) = (self.place(at)?, |base| Want::Room { base });
            let fits = place.space.slice().is_some_and(|slice| slice <= place.length);
            let cannot =
                self.request.cannot.why(want(place.base)).is_some() || self.plan.slices.cover(place.base);
            let known = self.request.in_use.knows(place.base);
            let offer = if known { Offer::Claim(want(place.base)) } else { Offer::Unknown };
            (fits && !cannot && place.hopeless().is_none()).then_some((rank, offer))
        });
        claimable.min_by_key(|(rank, _)| *rank)
    }

    /// The rank of a pool in the search order; `None` if it is not searched.
    fn rank(&self, at: usize) -> Option<usize> {
        self.open.as_ref().map_or(Some(at), |open| open.iter().position(|other| *other == at))
    }

    /// The refusal if no way found a subnet.
    pub(super) fn nothing_left(&self) -> Refusal {
        let why = |place: PoolPlace<'_>| place.hopeless().unwrap_or_else(|| place.full_text());
        let mut texts = self.places().take(NAMED).map(why);
        let mut text = texts.next().unwrap_or_default();
        for next in texts {
            text.push_str("; ");
            text.push_str(&next);
        }
        let all = self.open.as_ref().map_or(self.plan.spaces.count(self.request.family), Vec::len);
        if let Some(more) = all.checked_sub(NAMED).filter(|more| *more > 0) {
            text.push_str(&format!("; and {more} more pools"));
        }
        Refusal::no_available_pool(format!(
            "no free {} subnet: {text}; remove unused networks (gipam subnets shows them), request a smaller size, or add a pool",
            self.request.family,
        ))
    }
}

/// The pools that the options name.
fn named_pools<'a>(plan: &'a Plan, options: &'a PoolOptions) -> impl Iterator<Item = &'a PoolSettings> {
    options.pools.iter().flatten().filter_map(|name| plan.pool(name))
}

fn keyed(search: &SubnetSearch<'_>) -> Option<Offer> {
    let SubnetSearch { plan, request, options, .. } = search;
    let word = options.key.clone()?;
    let (known, _) = *plan.keys.get(&(request.space, request.family, word))?;
    let prefix = plan.key_now(known, search.places().map(|place| place.pool));
    let at = plan.spaces.around(prefix)?.pool;
    let place = search.place(at).filter(|_| search.rank(at).is_some())?;
    let known = request.in_use.knows(place.base);
    let free = plan.held_anywhere(prefix).is_none() && place.blocked_or_kept(prefix).is_none();
    let free = free && plan.unowned_subnet(prefix).is_none();
    let good = known && free && place.hopeless().is_none() && prefix.length() == place.length;
    good.then_some(Offer::Free(prefix, None))
}

fn first_free(search: &SubnetSearch<'_>) -> Option<Offer> {
    let claimable = search.claimable();
    let before = |place: &PoolPlace<'_>| {
        let rank = place.space.pool;
        claimable.as_ref().is_none_or(|(claimed, _)| search.rank(rank).is_some_and(|rank| rank <= *claimed))
    };
    let found = search.with_room(Vacancy::Free).take_while(before).find_map(|place| free_in(&place, search));
    found.or(claimable.map(|(_, offer)| offer))
}

/// The best fit in one pool.
pub(super) fn free_in(place: &PoolPlace<'_>, search: &SubnetSearch<'_>) -> Option<Offer> {
    if !search.request.in_use.knows(place.base) {
        return Some(Offer::Unknown);
    }
    let prefix = place.space.part(Vacancy::Free).best_fit(place.length, |it| place.blocked_or_kept(it))?;
    Some(Offer::Free(prefix, None))
}

/// When nothing else is left: a number that a stale subnet would get.
fn number_of_stale(search: &SubnetSearch<'_>) -> Option<Offer> {
    if !search.plan.spaces.renumbered() {
        return None;
    }
    let stale = search.with_room(Vacancy::Free).filter(|place| !place.pool.provenance.former.is_empty());
    stale.filter(|place| search.request.in_use.knows(place.base)).find_map(|place| {
        let prefix = place.space.part(Vacancy::Free).best_fit(place.length, |it| place.blocked_by(it))?;
        let warning = format!(
            "pool {}: {prefix} is given although its number belongs to a subnet on an earlier prefix; nothing else is free",
            place.pool.name
        );
        Some(Offer::Free(prefix, Some(warning)))
    })
}

/// The place that the longest-cooled subnets would free.
fn longest_released(search: &SubnetSearch<'_>) -> Option<Offer> {
    let plan = search.plan;
    let cooling = &plan.cooling_by_age[search.request.family as usize];
    if cooling.is_empty() {
        return None;
    }
    // Skips the search if no place would be free even without the cooling subnets.
    search.with_room(Vacancy::Reclaimable).next()?;
    for &(released_at, serial) in cooling.iter().take(OLDEST) {
        let Some(state) = plan.subnet(serial).map(|subnet| &subnet.state) else { continue };
        let newer = Newer { plan, than: (released_at, serial) };
        let mut spaces: Vec<usize> =
            plan.spaces.touching(state.prefix).take(PARTS).map(|space| space.pool).collect();
        spaces.retain(|at| search.rank(*at).is_some());
        spaces.sort_by_key(|at| search.rank(*at));
        for place in spaces.into_iter().filter_map(|at| search.place(at)) {
            if place.hopeless().is_none()
                && let Some(prefix) = opened_by(&place, state.prefix, &newer)
            {
                return Some(given_cooling(search, &place, prefix, state));
            }
        }
    }
    if cooling.len() <= OLDEST {
        return None;
    }
    search.with_room(Vacancy::Reclaimable).find_map(|place| {
        let prefix =
            place.space.part(Vacancy::Reclaimable).best_fit(place.length, |it| place.blocked_by(it))?;
        let cooling = plan.cooling_by_prefix();
        let inside = cooling.all_inside(prefix).chain(cooling.all_covering(prefix));
        let states = inside.filter_map(|serial| plan.subnet(*serial)).map(|subnet| &subnet.state);
        let newest = states.max_by_key(|state| (state.released_at, state.serial))?;
        Some(given_cooling(search, &place, prefix, newest))
    })
}

/// Offers a place whose most recently released cooling subnet is `last`: now if `last` may already be given
/// again, else later.
fn given_cooling(
    search: &SubnetSearch<'_>,
    place: &PoolPlace<'_>,
    prefix: Prefix,
    last: &SubnetState,
) -> Offer {
    if !search.request.in_use.knows(place.base) {
        return Offer::Unknown;
    }
    let released_at = last.released_at.unwrap_or(0);
    let earliest = last.cool_until.min(released_at.saturating_add(YOUNGEST));
    if earliest > search.plan.now {
        return Offer::Wait(earliest);
    }
    let warning = format!(
        "pool {}: {prefix} is given again while still cooling (released {}); nothing else is free",
        place.pool.name,
        rfc3339(released_at)
    );
    Offer::Free(prefix, Some(warning))
}

impl PoolPlace<'_> {
    pub(super) fn full_text(&self) -> String {
        let Self { pool, base, length, space, .. } = self;
        // Free blocks do not contain gipam's own subnets.
        let blocks = space.part(Vacancy::Free).blocks().take(PARTS);
        let used: Vec<String> = blocks.flat_map(|block| self.texts_in(block)).take(NAMED).collect();
        let used =
            if used.is_empty() { String::new() } else { format!(", in use here: {}", used.join(", ")) };
        let mut text =
            format!("pool {} ({base}) has no free /{length} (subnets held: {}{used})", pool.name, space.held);
        if let Some(slice) = space.slice() {
            text.push_str(&format!(", and this host holds {} of its /{slice} slices", self.slices_held()));
        }
        if let Some(why) = self.cannot() {
            text.extend(["; ", why]);
        }
        text
    }
}

/// The place that a cooling subnet opens if the subnets released after it still block theirs.
fn opened_by(place: &PoolPlace<'_>, cooling: Prefix, newer: &Newer<'_>) -> Option<Prefix> {
    let around = Prefix::new(cooling.family(), cooling.first(), place.length.min(cooling.length()));
    let region = if around.contains(place.base) { place.base } else { around };
    let part = place.space.part(Vacancy::Reclaimable).part(region, place.length, PARTS, newer);
    part.best_fit(place.length, |candidate| place.blocked_by(candidate))
}
