//! MANY HOSTS: a plan of a thousand hosts that claim slices through one store, simulated with the real machine and the real plan.
//!
//! Promises: the same figures at each run, except for times: no sockets, no threads, no clock. The store answers after a
//! millisecond each way, and not at all during an outage. Containers are not simulated one by one where they cannot
//! need the store: in networks of a host's own slices.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Instant;

use gipam::claims::machine::Machine;
use gipam::claims::machine::calls::{Effect, Pairs, StoreCall, StoreReply};
use gipam::claims::machine::event::{ClaimEvent, Geometry, HostIdentity, Started};
use gipam::claims::machine::own_books::ClaimBooks;
use gipam::claims::machine::records::{PLAN, PlanRecord, slice_of, written};
use gipam::plan::Plan;
use gipam::plan::prefix::{Family, Prefix};
use gipam::plan::request::{Request, Want};
use gipam::plan::settings::{AddressOrder, Base, PoolSettings, Settings, Shared};

use crate::crowd::exact;

/// The hosts of the plan, the networks that each creates, and the containers in each network.
pub const HOSTS: usize = 1_000;
pub const NETWORKS: usize = 100;
pub const CONTAINERS: usize = 50;
/// The hosts on one LAN, and the containers that each of them has there.
pub const LAN_HOSTS: usize = 100;
pub const ON_LAN: usize = 50;
/// Hosts that die and are forgotten, and hosts that join late.
pub const DEAD: usize = 20;
pub const LATE: usize = 50;

/// The networks are created within this time; everything is in milliseconds.
const DAY: u64 = 3_600_000;
/// The store does not answer during this time.
pub const OUTAGE: std::ops::Range<u64> = 1_500_000..2_100_000;
/// A call to the store and its answer take so long each.
pub const WAY: u64 = 1;
/// A call without an answer is given up after this time.
pub const GIVEN_UP: u64 = 1_000;
/// A host with fewer free networks than this claims a slice ahead: a quarter of a slice.
const SPARE: usize = 16;

impl Cluster {
    /// Calls to the store for each container that was started, without the LAN.
    pub fn per_container(&self) -> f64 {
        (self.calls - self.lan_calls) as f64 / (self.networks * CONTAINERS) as f64
    }

    /// Calls to the store for each container of the LAN.
    pub fn per_lan_container(&self) -> f64 {
        self.lan_calls as f64 / self.lan_addresses as f64
    }

    /// Looks and signs for each second.
    pub fn upkeep_rate(&self) -> f64 {
        self.upkeep as f64 * 1_000.0 / DAY as f64
    }
}

/// What is counted.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub networks: usize,
    pub lan_addresses: usize,
    /// Slices in the store at the end.
    pub slices: usize,
    /// Slices taken from hosts that were forgotten.
    pub taken: usize,
    pub claims: usize,
    /// Claims that lost against another host's.
    pub conflicts: usize,
    /// Calls for claims: lists and transactions on slices, and the signs that follow a lost claim.
    pub calls: usize,
    /// Those among them for the LAN.
    pub lan_calls: usize,
    /// Looks, signs and lists at starts.
    pub upkeep: usize,
    /// The most calls within one second.
    pub peak: usize,
    /// Networks created and refused during the outage.
    pub outage_made: usize,
    pub outage_refused: usize,
    /// Requests that were refused otherwise, and the first reason.
    pub refused_otherwise: usize,
    pub why: Option<String>,
    /// Calls that a grant inside the host's own slices made before it was answered.
    pub own_calls: usize,
    /// How long one wanting network waited at most, outside of the outage.
    pub slowest: u64,
    /// Bytes of one list at the end.
    pub list: usize,
    /// Bytes that the plan of a host takes, and its copy of the list.
    pub took: f64,
    /// Slices that two hosts had; always 0.
    pub twice: usize,
    /// How many seconds the simulation took.
    pub seconds: f64,
}

/// The pool that is cut into networks: 64 networks a slice.
pub fn routed() -> Geometry {
    let base = Prefix::new(Family::V4, 10 << 24, 8);
    Geometry { base, slice: 20, shared: false, by_number: None }
}

/// The LAN of all hosts: 16 addresses a slice.
pub fn lan() -> Geometry {
    let base = Prefix::new(Family::V4, (172 << 24) + (16 << 16), 15);
    Geometry { base, slice: 28, shared: true, by_number: None }
}

fn settings() -> Settings {
    let pool = |name: &str, geometry: Geometry, size: u8| {
        let base = Base::new(geometry.base, size, AddressOrder::Sequential);
        let shared = geometry.shared.then(Shared::default);
        PoolSettings {
            name: name.to_owned(),
            v4: Some(Base { slice: Some(geometry.slice), shared, ..base }),
            v6: None,
            cooling: gipam::plan::settings::DEFAULT_COOLING,
            subnet_cooling: gipam::plan::settings::DEFAULT_SUBNET_COOLING,
            closed: false,
            provenance: Default::default(),
        }
    };
    let pools = vec![pool("routed", routed(), 26), pool("lan", lan(), lan().base.length())];
    Settings { pools, storm_limit: 0, ..Settings::default() }
}

/// What happens at a time.
pub enum Event {
    Start(usize),
    /// The machine of a host has to go on without an event, unless it does something else by then.
    Wake(usize),
    /// The store has the call; then its answer is on the way back.
    Call(usize, u64, StoreCall),
    Answer(usize, u64, Option<StoreReply>),
    Network(usize),
    /// A container on the LAN.
    Container(usize),
    Die(usize),
    Forget(usize),
}

/// A request that waits for a slice.
pub struct Waiting {
    pub want: Want,
    /// None: a slice claimed ahead.
    pub request: Option<Request>,
    pub since: u64,
}

pub struct Host {
    pub plan: Plan,
    pub books: ClaimBooks,
    pub machine: Option<Machine>,
    pub waiting: BTreeMap<u64, Waiting>,
    pub numbers: u64,
    pub networks: usize,
    /// When its machine has to go on.
    pub wakes: u64,
    /// The PoolID of the LAN's network.
    pub lan: String,
}

impl Host {
    /// Whether one more slice is claimed, so that a quarter of a slice is always free.
    pub fn needs_spare(&self) -> bool {
        let held = self.plan.slices().iter().filter(|slice| routed().base.contains(slice.prefix)).count();
        let ahead = self.waiting.values().any(|waiting| waiting.request.is_none());
        !ahead && held > 0 && held * 64 < self.networks + SPARE
    }
}

pub struct World {
    pub now: u64,
    order: u64,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    what: BTreeMap<u64, Event>,
    pub store: Pairs,
    pub hosts: Vec<Host>,
    chance: u64,
    /// Calls in the current second.
    pub second: (u64, usize),
    pub counts: Cluster,
}

/// Simulates an hour of the plan.
pub fn run() -> Cluster {
    let (before, began) = (resident(), Instant::now());
    let mut world = World::new();
    while let Some(Reverse((at, order))) = world.events.pop() {
        if at > DAY {
            break;
        }
        world.now = at;
        if let Some(event) = world.what.remove(&order) {
            world.happen(event);
        }
    }
    world.counts.took = (resident() - before) / world.hosts.len() as f64;
    world.counts.list = world.store.iter().map(|(key, value)| key.len() + value.len()).sum();
    world.counts.slices = world.store.keys().filter(|key| slice_of(key).is_some()).count();
    world.counts.twice = world.doubles();
    world.counts.seconds = began.elapsed().as_secs_f64();
    world.counts
}

/// If this call claims a slice: whether another host had it before.
pub fn put_slice(what: &StoreCall) -> Option<bool> {
    let StoreCall::Transact { compares, effect: Effect::Put { key, .. } } = what else { return None };
    slice_of(key)?;
    Some(compares.first().is_some_and(|compare| compare.value.is_some()))
}

/// The id of a host; ids are spread as random ones are.
pub fn host_id(host: usize) -> String {
    format!("{:016x}", (host as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Resident memory of this process, in bytes.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|it| it.parse::<f64>().ok()).unwrap_or(f64::NAN) * 1024.0
}

impl World {
    fn new() -> Self {
        let mut store = Pairs::new();
        store.insert(PLAN.to_owned(), written(&PlanRecord::first("plan", "m")));
        let host = |_| Host {
            plan: Plan::new(settings()),
            books: ClaimBooks::default(),
            machine: None,
            waiting: BTreeMap::new(),
            numbers: 0,
            networks: 0,
            wakes: u64::MAX,
            lan: String::new(),
        };
        let mut world = Self {
            now: 0,
            order: 0,
            events: BinaryHeap::new(),
            what: BTreeMap::new(),
            store,
            hosts: (0..HOSTS + LATE).map(host).collect(),
            chance: 7,
            second: (0, 0),
            counts: Cluster::default(),
        };
        for host in 0..HOSTS + LATE {
            let begin = if host < HOSTS { 0 } else { DAY / 2 };
            let start = begin + world.below(60_000);
            world.at(start, Event::Start(host));
            let networks = if host < HOSTS { NETWORKS } else { NETWORKS / 2 };
            for _ in 0..networks {
                let at = start + 2_000 + world.below(DAY - start - 10_000);
                world.at(at, Event::Network(host));
            }
            for _ in (0..ON_LAN).filter(|_| host < LAN_HOSTS) {
                let at = start + 2_000 + world.below(DAY - start - 10_000);
                world.at(at, Event::Container(host));
            }
        }
        for dead in 0..DEAD {
            let host = HOSTS - 1 - dead;
            world.at(DAY / 4, Event::Die(host));
            world.at(DAY / 4 + 300_000 + dead as u64 * 1_000, Event::Forget(host));
        }
        world
    }

    pub fn at(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at, self.order)));
        self.what.insert(self.order, event);
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % bound.max(1)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start(host) => self.start(host),
            Event::Wake(host) if self.hosts[host].wakes == self.now => {
                self.step(host, ClaimEvent::Tick { now: self.now });
            }
            Event::Wake(_) => {}
            Event::Call(host, call, what) => {
                let reply = what.apply(&mut self.store);
                let claim = put_slice(&what).is_some();
                self.counts.conflicts += usize::from(claim && reply != StoreReply::Done);
                self.at(self.now + WAY, Event::Answer(host, call, Some(reply)));
            }
            Event::Answer(host, call, Some(reply)) => self.step(host, ClaimEvent::Replied { call, reply }),
            Event::Answer(host, call, None) => {
                let why = "no endpoint answers".to_owned();
                self.step(host, ClaimEvent::Unknown { call, why });
            }
            Event::Network(host) => self.network(host),
            Event::Container(host) => self.container(host),
            Event::Die(host) => self.hosts[host].machine = None,
            Event::Forget(host) => self.forget(host),
        }
    }

    fn start(&mut self, host: usize) {
        let name = format!("host-{host}");
        let id = host_id(host);
        let identity = HostIdentity { id, name, via: vec!["192.0.2.1".to_owned()], machine: String::new() };
        let books = ClaimBooks::default();
        let run = format!("{host:x}");
        self.hosts[host].machine = Some(Machine::new(Started { host: identity, books, run, now: self.now }));
        self.step(host, ClaimEvent::Tick { now: self.now });
        if host < LAN_HOSTS {
            self.ask(host, exact(lan().base));
        }
    }
}
