//! THE PLAN: which subnets and addresses are held, and which to grant next. Pure: no clock, no lock, no log,
//! no I/O.
//!
//! [`Plan::decide`] returns the answer and the changes that must first be durable; [`Plan::apply`] applies them.
//! Random bits for a PoolID are passed in with a request; [`Plan::advance`] moves the plan's time forward.
//!
//! Invariants (their names are test names): *disjoint*: held subnets of one space never overlap, unless this was requested.
//! *unique*: an address of a subnet has at most one lease. *inside*: a lease lies in its subnet, a dynamic one in its
//! range, and is not reserved. *faithful*: the plan rebuilt by applying what the store kept equals the plan served.
//! *repeatable*: releasing what is free succeeds and changes nothing. *conserved*: every address of a subnet is in
//! exactly one state: never given, reserved, the gateway's slot, leased, cooling or free.

mod addresses;
mod adopt;
mod apply;
mod callers;
pub mod change;
mod choose_address;
mod choose_subnet;
pub mod counts;
pub mod error;
pub mod evidence;
pub mod explain;
mod free_space;
mod grant_address;
mod grant_subnet;
pub mod holder;
pub mod host_use;
mod interface_id;
mod intervals;
mod kept;
pub mod listed;
mod mac;
mod memory;
mod options;
mod own;
pub mod pins;
mod place;
mod pool_spaces;
pub mod pools;
pub mod prefix;
mod prefix_index;
pub mod quarantine;
mod records;
mod release;
pub mod renumbering;
pub mod repair;
mod repairs;
pub mod request;
mod reserve;
pub mod settings;
pub mod shown;
mod siblings;
pub mod slices;
pub mod stamps;
pub mod strangers;
pub mod stretch;
mod subnet;
pub mod written;

use std::collections::{BTreeMap, BTreeSet};

pub use self::callers::Caller;
pub use self::reserve::ReservedBy;
pub use self::siblings::Part;
pub use self::subnet::{Subnet, never_given};
use change::Serial;
use pool_spaces::PoolSpaces;
use prefix::{Family, Prefix};
use prefix_index::PrefixIndex;
use request::{Decision, Request, Space, SubnetRequest};
use settings::{Millis, PoolSettings, Settings};
use shown::EngineIdentity;
use slices::{Confines, Slices};
use subnet::Reserved;

/// The place of the cooling subnets among those that dynamic choice must avoid; those before it are held.
const COOLING: usize = 2;

/// The state machine. Equality compares everything, including derived indexes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    settings: Settings,
    /// Reservations from the configuration and those made by hand, by family, merged.
    reserved: Reserved,
    now: Millis,
    /// Held and remembered subnets.
    subnets: BTreeMap<Serial, Box<Subnet>>,
    /// Held subnets by PoolID.
    by_id: BTreeMap<String, Serial>,
    /// What dynamic choice must avoid, by prefix: held subnets, by space, then cooling ones of both spaces.
    standing: [PrefixIndex<Serial>; 3],
    /// The pools by name and base, and their free parts.
    spaces: PoolSpaces,
    /// (cool until, serial) of released subnets that are still cooling.
    cooling: BTreeSet<(Millis, Serial)>,
    /// (released at, serial) of the cooling subnets, by family.
    cooling_by_age: [BTreeSet<(Millis, Serial)>; 2],
    /// (released at, serial) of all released subnets.
    released: BTreeSet<(Millis, Serial)>,
    /// (space, prefix, released at, serial) of all released subnets: a new grant reuses the newest memory of its
    /// prefix.
    remembered: BTreeSet<(Space, Prefix, Millis, Serial)>,
    /// Held dynamic subnets in which no address was ever requested: (granted at, serial).
    unaddressed: BTreeSet<(Millis, Serial)>,
    /// `key=WORD`: prefix and when it was granted.
    keys: BTreeMap<(Space, Family, String), (Prefix, Millis)>,
    /// Pins made by hand.
    pins: BTreeMap<(Space, Prefix), pins::Pins>,
    /// Releases that wait until the PoolID of their adopted subnet is known.
    kept: BTreeMap<(Serial, u128), change::KeptRelease>,
    /// The callers, by name.
    callers: BTreeMap<Box<str>, Caller>,
    /// The slices of this host, in pools that it shares with other hosts.
    slices: Slices,
    /// The Engine whose networks are in these books.
    engine: Option<EngineIdentity>,
    next_generation: u64,
    next_serial: Serial,
}

impl Plan {
    /// An empty plan.
    pub fn new(settings: Settings) -> Self {
        let mut plan = Self { next_generation: 1, next_serial: 1, ..Self::default() };
        plan.configure(settings);
        plan
    }

    /// Replaces the settings: held subnets and leases stay held; free space is rebuilt.
    pub fn configure(&mut self, settings: Settings) {
        self.settings = settings;
        self.reserved = subnet::merged(self.settings.reserved.iter().chain(&self.settings.reserved_by_hand));
        self.spaces = PoolSpaces::new(&self.settings.pools, &self.standing, &self.slices);
        let limits = Confines { reserved: &self.reserved, spaces: &self.spaces, slices: &self.slices };
        for subnet in self.subnets.values_mut() {
            subnet.bound(&limits);
        }
    }

    /// The plan's current time, as last set by `advance`.
    pub const fn now(&self) -> Millis {
        self.now
    }

    /// The settings in force.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Decides a request: returns the answer and the changes to commit first. Does not change the plan.
    /// `random` makes a new PoolID unique.
    pub fn decide(&self, request: &Request, random: u64) -> Decision {
        match request {
            Request::Subnet(request) => self.decide_subnet(request, random),
            Request::Address(request) => self.decide_address(request),
            Request::Release { id, address, generation } => {
                Decision::done(Ok(self.decide_release(id, *address, *generation)))
            }
            Request::Force { subnet, address, generation } => {
                Decision::done(self.decide_force(subnet, *address, *generation))
            }
            Request::Undo(undo) => self.decide_undo(undo),
            Request::Slice(request) => self.decide_slice(request),
            Request::Repair(repair) => Decision::done(self.decide_repair(repair)),
            Request::Probed(result) => Decision::done(Ok(self.decide_probed(result))),
        }
    }

    /// All subnets, held and remembered, by serial.
    pub fn subnets(&self) -> impl Iterator<Item = &Subnet> {
        self.subnets.values().map(Box::as_ref)
    }

    /// All subnets, held and remembered, from this serial on.
    pub fn subnets_from(&self, serial: Serial) -> impl Iterator<Item = &Subnet> {
        self.subnets.range(serial..).map(|(_, subnet)| &**subnet)
    }

    /// The held subnet with this PoolID.
    pub fn held(&self, id: &str) -> Option<&Subnet> {
        self.by_id.get(id).and_then(|serial| self.subnet(*serial))
    }

    /// The subnet with this serial.
    pub fn subnet(&self, serial: Serial) -> Option<&Subnet> {
        self.subnets.get(&serial).map(Box::as_ref)
    }

    /// The Engine whose networks are in these books, once an Engine was seen that has some of them.
    pub const fn engine(&self) -> Option<&EngineIdentity> {
        self.engine.as_ref()
    }

    /// The words of `key=` and the prefixes they point to.
    pub fn keys(&self) -> impl Iterator<Item = (Space, Family, &str, Prefix, Millis)> {
        self.keys
            .iter()
            .map(|((space, family, word), (prefix, at))| (*space, *family, word.as_str(), *prefix, *at))
    }

    /// The next generation and the next serial.
    pub const fn counters(&self) -> (u64, Serial) {
        (self.next_generation, self.next_serial)
    }

    /// The pool with this name.
    pub fn pool(&self, name: &str) -> Option<&PoolSettings> {
        self.spaces.named(name).and_then(|at| self.settings.pools.get(at))
    }

    /// The pool whose base contains this prefix.
    pub fn pool_around(&self, prefix: Prefix) -> Option<&PoolSettings> {
        self.spaces.around(prefix).and_then(|space| self.settings.pools.get(space.pool))
    }

    /// The bases of all pools.
    pub fn bases(&self) -> Box<[Prefix]> {
        self.spaces.bases().collect()
    }

    /// The reservations in this prefix, merged, each with its first and last address; if it is a subnet, only those that have
    /// an effect in it.
    pub fn reservations(&self, prefix: Prefix, is_subnet: bool) -> Vec<(u128, u128)> {
        let (first, last) = (prefix.first(), prefix.last());
        if is_subnet {
            return subnet::reserved_inside(prefix, &self.reserved).overlapping(first, last).collect();
        }
        self.reserved[prefix.family() as usize].overlapping(first, last).collect()
    }

    /// The name of this subnet for `gipam release`: its prefix, or its PoolID if several subnets have this prefix.
    pub fn command_name(&self, subnet: &Subnet) -> String {
        let prefix = subnet.state.prefix;
        let namesakes: usize = self.held_by_space().iter().map(|held| held.at(prefix).len()).sum();
        if namesakes > 1 { subnet.state.id.clone() } else { prefix.to_string() }
    }

    /// The held subnets that contain an address, of both spaces, by serial.
    pub fn held_around(&self, address: std::net::IpAddr) -> impl Iterator<Item = &Subnet> {
        let host = Prefix::host(address);
        let held = self.held_by_space().iter();
        let mut serials: Vec<Serial> = held.flat_map(|held| held.all_covering(host)).copied().collect();
        serials.sort_unstable();
        serials.into_iter().filter_map(|serial| self.subnet(serial))
    }

    /// Whether any subnet, held or remembered, has this prefix.
    pub fn is_known(&self, space: Space, prefix: Prefix) -> bool {
        let remembered = (space, prefix, 0, 0)..=(space, prefix, Millis::MAX, Serial::MAX);
        !self.at(space, prefix).is_empty() || self.remembered.range(remembered).next().is_some()
    }

    const fn index(&self, space: Space) -> &PrefixIndex<Serial> {
        &self.standing[space as usize]
    }

    /// The held subnets by prefix, by space.
    fn held_by_space(&self) -> &[PrefixIndex<Serial>] {
        &self.standing[..COOLING]
    }

    /// The cooling subnets by prefix.
    const fn cooling_by_prefix(&self) -> &PrefixIndex<Serial> {
        &self.standing[COOLING]
    }

    /// Serials held at exactly this prefix in a space.
    fn at(&self, space: Space, prefix: Prefix) -> &[Serial] {
        self.index(space).at(prefix)
    }

    /// A held subnet of either space that overlaps this prefix.
    fn held_anywhere(&self, prefix: Prefix) -> Option<Serial> {
        self.held_by_space().iter().find_map(|held| held.overlapping(prefix)).copied()
    }

    /// How long a released address of this subnet cools.
    pub fn cooling_of(&self, subnet: &Subnet) -> Millis {
        self.pool_of(subnet).map_or(self.settings.cooling, |pool| pool.cooling)
    }

    fn subnet_cooling_of(&self, subnet: &Subnet) -> Millis {
        self.pool_of(subnet).map_or(self.settings.subnet_cooling, |pool| pool.subnet_cooling)
    }

    fn pool_of(&self, subnet: &Subnet) -> Option<&PoolSettings> {
        self.pool(subnet.state.pool.as_deref()?)
    }

    /// A PoolID that identifies only this grant: `<space>/<prefix>#<64 bits>`, with `/<range>` after the prefix if it has one.
    fn new_id(&self, request: &SubnetRequest, prefix: Prefix, mut random: u64) -> String {
        let named = adopt::named_in_id(request.space, prefix, request.range);
        loop {
            let id = [&named, "#", &format!("{random:016x}")].concat();
            if !self.by_id.contains_key(&id) {
                return id;
            }
            random = random.wrapping_add(1);
        }
    }
}
