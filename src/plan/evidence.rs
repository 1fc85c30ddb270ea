//! PROOF OF DEATH: what an Engine's lists prove about a lease or a subnet, and what they do not.
//!
//! Something is dead only if complete lists, from the positively identified Engine that requested the grant, lack it twice.
//! Anything unreadable, filtered, unspecified, doubled, foreign, partial or new counts as alive.
//!
//! Promises: a [`Death`] can only be made from two [`Absence`]s, an absence only from a [`CompleteView`], and a complete
//! view only from lists without gaps, of the Engine that the books know. Pure. Does not decide who may free anything.

use std::collections::{BTreeMap, BTreeSet};

use super::change::{Kind, Record, Serial};
use super::prefix::{Prefix, number};
use super::prefix_index::PrefixIndex;
use super::request::Space;
use super::settings::{Millis, Moment, rfc3339};
use super::shown::{Configured, Endpoint, EngineIdentity, Lists, Network};
use super::{Part, Plan, Subnet, options};

/// Identifies a lease or a subnet: serial, address (of a lease), generation.
pub type ProofKey = (Serial, Option<u128>, u64);

/// Why an Engine's lists are not a complete view.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// Some of the lists could not be read.
    #[error("its lists are incomplete: {0}")]
    Unclear(String),
    /// The Engine does not identify itself.
    #[error("its /info lacks ID or DockerRootDir, so it cannot be identified")]
    Unidentified,
    /// It is not the Engine that the books know.
    #[error("it is Engine {} with data in {}, and the books know Engine {} with data in {}", shown.id, shown.root, known.id, known.root)]
    Another {
        /// The Engine in the books.
        known: Box<EngineIdentity>,
        /// The Engine that answered.
        shown: Box<EngineIdentity>,
    },
    /// It shows none of the networks in the books.
    #[error("it shows none of the networks in the books ({0} subnets)")]
    Stranger(usize),
}

/// Addresses that an Engine's lists show in one prefix.
#[derive(Debug, Default)]
struct ShownPlace {
    /// Live endpoints, by address: the places of network and endpoint in the lists.
    living: BTreeMap<u128, Vec<(usize, usize)>>,
    /// Gateways and auxiliary addresses.
    set_up: BTreeMap<u128, Kind>,
}

/// An Engine's lists, arranged by prefix. Contains no data from the books, so one survey serves many reads of
/// the plan.
#[derive(Debug)]
pub struct IndexedLists {
    lists: Lists,
    drivers: Vec<String>,
    places: BTreeMap<Prefix, ShownPlace>,
    /// The places of the networks in the lists, by prefix.
    networks: PrefixIndex<usize>,
}

impl IndexedLists {
    /// Arranges these lists; `drivers` are the driver names that this gipam serves.
    pub fn new(lists: Lists, drivers: &[String]) -> Self {
        let mut places: BTreeMap<Prefix, ShownPlace> = BTreeMap::new();
        let mut networks = PrefixIndex::default();
        for (n, network) in lists.networks.iter().enumerate() {
            for subnet in &network.subnets {
                networks.insert(subnet.prefix, n);
                let place = places.entry(subnet.prefix).or_default();
                let inside = |address: &&std::net::IpAddr| subnet.prefix.contains_address(**address);
                for auxiliary in subnet.auxiliary.iter().filter(inside) {
                    place.set_up.insert(number(*auxiliary), Kind::Auxiliary);
                }
                for gateway in subnet.gateway.iter().filter(inside) {
                    place.set_up.insert(number(*gateway), Kind::Gateway);
                }
                for (e, endpoint) in network.endpoints.iter().enumerate() {
                    for address in endpoint.addresses.iter().filter(inside) {
                        place.living.entry(number(*address)).or_default().push((n, e));
                    }
                }
            }
        }
        Self { lists, drivers: drivers.to_vec(), places, networks }
    }

    /// The lists.
    pub const fn lists(&self) -> &Lists {
        &self.lists
    }

    /// Whether this gipam assigns a network's addresses, and Docker requests them on this host.
    pub fn is_ours_here(&self, network: &Network) -> bool {
        network.is_local() && self.drivers.contains(&network.ipam)
    }

    /// The networks with exactly this prefix.
    pub fn networks(&self, prefix: Prefix) -> impl Iterator<Item = &Network> + Clone {
        self.networks.at(prefix).iter().filter_map(|n| self.lists.networks.get(*n))
    }

    /// The live endpoints at an address of a prefix.
    pub fn living(&self, prefix: Prefix, address: u128) -> impl Iterator<Item = (&Network, &Endpoint)> {
        let living = self.places.get(&prefix).and_then(|place| place.living.get(&address));
        living.into_iter().flatten().filter_map(|(n, e)| {
            let network = self.lists.networks.get(*n)?;
            Some((network, network.endpoints.get(*e)?))
        })
    }

    /// Whether this address is a gateway or an auxiliary address of a network, and which of the two.
    pub fn set_up(&self, prefix: Prefix, address: u128) -> Option<Kind> {
        self.places.get(&prefix).and_then(|place| place.set_up.get(&address).copied())
    }

    /// Addresses at which one prefix shows several endpoints.
    pub fn crowded(&self) -> impl Iterator<Item = (Prefix, u128)> {
        self.places.iter().flat_map(|(prefix, place)| {
            let crowded = place.living.iter().filter(|(_, living)| living.len() > 1);
            crowded.map(|(address, _)| (*prefix, *address))
        })
    }
}

/// The plan compared with an Engine's lists, during one read of the plan.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    plan: &'a Plan,
    shown: &'a IndexedLists,
}

impl<'a> Sight<'a> {
    /// Compares the plan with these lists.
    pub const fn new(plan: &'a Plan, shown: &'a IndexedLists) -> Self {
        Self { plan, shown }
    }

    /// The plan.
    pub const fn plan(&self) -> &'a Plan {
        self.plan
    }

    /// The network of a held subnet, if it is unambiguous: networks that share its prefix are distinguished by their ranges.
    pub fn network_of(&self, subnet: &Subnet) -> Option<&'a Network> {
        let state = &subnet.state;
        let mut meant =
            self.local_ones(state.prefix).filter(|(_, part)| !part.coexists_with(Part::of(state)));
        let (network, part) = meant.next()?;
        let mut grants = self.plan.grants_of(Space::Local, state.prefix);
        let alone = meant.next().is_none()
            && grants.all(|it| it.state.serial == state.serial || part.coexists_with(Part::of(&it.state)));
        alone.then_some(network)
    }

    /// The held subnet that records an address used in this network: the network's own, else the first with
    /// its prefix, so that no subnet grants that address to others. Copies are separate on purpose.
    pub fn home_of(&self, network: &Network, prefix: Prefix) -> Option<&'a Subnet> {
        let is_it = |subnet: &&'a Subnet| self.network_of(subnet).is_some_and(|it| it.id == network.id);
        let copied = self.is_copied(prefix) || options::wants_copy(&network.options);
        let held = || self.plan.grants_of(Space::Local, prefix);
        held().find(is_it).or_else(|| held().next().filter(|_| !copied))
    }

    /// gipam's networks on this host with exactly this prefix.
    fn local_ones(&self, prefix: Prefix) -> impl Iterator<Item = (&'a Network, Part)> {
        let ours = self.shown.networks(prefix).filter(|network| self.shown.is_ours_here(network));
        ours.filter_map(move |network| Some((network, network.part(network.subnet(prefix)?))))
    }

    /// Whether the lists are complete for exactly this prefix, cover every grant that holds it, and show only gipam's networks
    /// on this host: then an endpoint that they lack does not exist.
    pub fn lists_all(&self, prefix: Prefix) -> bool {
        let mut networks = self.shown.networks(prefix);
        networks.clone().count() >= self.plan.grants_of(Space::Local, prefix).count().max(1)
            && networks.all(|network| network.complete && self.shown.is_ours_here(network))
    }

    /// Why a lease seems dead, if it does.
    pub fn lease_missing(&self, subnet: &Subnet, address: u128, record: &Record) -> Option<String> {
        let prefix = subnet.state.prefix;
        let freeable = record.leased && record.kind == Kind::Endpoint && subnet.is_held_locally();
        if !freeable || !self.lists_all(prefix) {
            return None;
        }
        if self.shown.set_up(prefix, address).is_some() || self.shown.living(prefix, address).next().is_some()
        {
            return None;
        }
        let names: Vec<&str> = self.shown.networks(prefix).map(|network| network.name.as_str()).collect();
        Some(format!("no running container of network {} has it", names.join(", ")))
    }

    /// Why a subnet seems dead, if it does.
    pub fn subnet_missing(&self, subnet: &Subnet) -> Option<String> {
        let prefix = subnet.state.prefix;
        let once = self.plan.grants_of(Space::Local, prefix).nth(1).is_none();
        let overlapped = self.shown.networks.overlapping(prefix).is_some();
        let size = (prefix.family(), prefix.length());
        let mut networks = self.shown.lists.networks.iter();
        (subnet.is_held_locally() && once && !overlapped && !networks.any(|it| it.unlocated.contains(&size)))
            .then(|| "the Engine does not know this network".to_owned())
    }

    /// Whether two containers have an address at once. Requested copies of a prefix (`overlap=true`) are separate networks,
    /// each with its own addresses.
    pub fn is_doubled(&self, prefix: Prefix, address: u128) -> bool {
        let (copied, drivers) = (self.is_copied(prefix), &self.shown.drivers);
        let living: Vec<_> = self.shown.living(prefix, address).collect();
        living.iter().enumerate().any(|(n, (network, endpoint))| {
            living.iter().take(n).any(|(other, rival)| {
                let ours = drivers.contains(&network.ipam) || drivers.contains(&other.ipam);
                let two = endpoint.container_id != rival.container_id;
                ours && two && (network.id == other.id || !copied)
            })
        })
    }

    /// Whether a grant of this prefix was made with `overlap=true`.
    pub fn is_copied(&self, prefix: Prefix) -> bool {
        self.plan.grants_of(Space::Local, prefix).any(|subnet| options::wants_copy(&subnet.state.options))
    }
}

/// Lists without gaps, of the Engine that the books know.
#[derive(Debug)]
pub struct CompleteView<'a> {
    sight: Sight<'a>,
    engine: &'a EngineIdentity,
    at: Moment,
    settled: u64,
}

impl<'a> CompleteView<'a> {
    /// A complete view, if the lists allow one. The survey began at `at`; grants below generation `settled` were a minute old
    /// by then, by a clock that never steps: the Engine shows an endpoint only after its container has started.
    ///
    /// # Errors
    /// The reason why these lists are not a complete view.
    pub fn of(sight: Sight<'a>, at: Moment, settled: u64) -> Result<Self, Doubt> {
        let Sight { plan, shown } = sight;
        let engine = shown.lists.engine.as_ref().ok_or(Doubt::Unidentified)?;
        if let Some(known) = plan.engine().filter(|known| *known != engine) {
            return Err(Doubt::Another { known: Box::new(known.clone()), shown: Box::new(engine.clone()) });
        }
        if let Some(what) = shown.lists.unclear.first() {
            return Err(Doubt::Unclear(what.clone()));
        }
        let is_held = |subnet: &Configured| plan.grants_of(Space::Local, subnet.prefix).next().is_some();
        let mut ours = shown.lists.networks.iter().filter(|network| shown.is_ours_here(network));
        if !ours.any(|network| network.subnets.iter().any(is_held)) {
            let held = plan.subnets().filter(|subnet| subnet.is_held_locally());
            match held.map(|subnet| subnet.state.prefix).collect::<BTreeSet<_>>().len() {
                0 => {}
                held => return Err(Doubt::Stranger(held)),
            }
        }
        Ok(Self { sight, engine, at, settled })
    }

    /// The Engine of this view.
    pub const fn engine(&self) -> &'a EngineIdentity {
        self.engine
    }

    /// An absence, if a lease is missing from these lists and is old enough to be in them.
    pub fn lease_absent(&self, subnet: &Subnet, address: u128, record: &Record) -> Option<Absence> {
        let why = self.sight.lease_missing(subnet, address, record)?;
        self.absence((subnet.state.serial, Some(address), record.generation), why)
    }

    /// An absence, if a subnet is missing from these lists and is old enough to be in them.
    pub fn subnet_absent(&self, subnet: &Subnet) -> Option<Absence> {
        let why = self.sight.subnet_missing(subnet)?;
        self.absence((subnet.state.serial, None, subnet.state.generation), why)
    }

    fn absence(&self, key: ProofKey, why: String) -> Option<Absence> {
        (key.2 < self.settled).then(|| Absence { key, at: self.at, engine: self.engine.clone(), why })
    }
}

/// Something that one complete view lacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absence {
    key: ProofKey,
    at: Moment,
    engine: EngineIdentity,
    why: String,
}

impl Absence {
    pub const fn key(&self) -> ProofKey {
        self.key
    }

    /// When the survey began.
    pub const fn at(&self) -> Moment {
        self.at
    }
}

/// The proof that something is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    key: ProofKey,
    evidence: Box<str>,
    /// The proof counts only while the subnet's PoolID is unknown.
    while_unnamed: bool,
}

impl Death {
    /// A proof, if two views of one Engine, at least this many milliseconds apart, lacked it; one view never counts as two.
    pub fn of(first: &Absence, last: &Absence, apart: Millis) -> Option<Self> {
        let (from, to) = (first.at.steady, last.at.steady);
        let proven = first.key == last.key && first.engine == last.engine && to > from && to - from >= apart;
        proven.then(|| {
            let (first, last_seen) = (rfc3339(first.at.wall), rfc3339(last.at.wall));
            let evidence = format!("{} at {first} and {last_seen}", last.why).into();
            Self { key: last.key, evidence, while_unnamed: false }
        })
    }

    /// Limits the proof: once an address of the subnet is requested, the subnet may be another Engine's, and
    /// the proof does not count.
    pub fn while_unnamed(self) -> Self {
        Self { while_unnamed: true, ..self }
    }

    /// Whether the proof counts only while the PoolID of its subnet is unknown.
    pub const fn needs_unnamed(&self) -> bool {
        self.while_unnamed
    }

    pub const fn key(&self) -> ProofKey {
        self.key
    }

    /// The evidence, for the history.
    pub fn evidence(&self) -> Box<str> {
        self.evidence.clone()
    }
}
