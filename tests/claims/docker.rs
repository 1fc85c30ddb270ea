//! Docker on a simulated host: networks and containers that come and go, and their requests.
//!
//! Promises: has exactly what it got an answer for and has not begun to release. A killed gipam does not end anything here.

use std::collections::BTreeMap;
use std::net::IpAddr;

use gipam::plan::Plan;
use gipam::plan::change::Kind;
use gipam::plan::prefix::{Family, Prefix, number};
use gipam::plan::request::{
    AddressRequest, Adoption, Fence, Mac, Repair, Reply, Request, ShownLease, Space, SubnetRequest, Wanted,
};
use gipam::plan::slices::SliceState;

use crate::chance::Chance;
use crate::pools::{pool, pools, router, size};

/// A network that Docker has.
#[derive(Clone, Debug)]
pub struct Network {
    pub prefix: Prefix,
    pub range: Option<Prefix>,
    /// It is one of those on a LAN that other hosts have, too.
    pub shared: bool,
    pub leases: BTreeMap<u128, Kind>,
}

impl Network {
    /// The addresses of its containers.
    fn endpoints(&self) -> impl Iterator<Item = u128> {
        self.leases.iter().filter(|(_, kind)| **kind == Kind::Endpoint).map(|(address, _)| *address)
    }
}

/// What Docker waits for.
#[derive(Clone, Debug)]
pub enum Asked {
    Network { range: Option<Prefix> },
    Address { id: String, kind: Kind },
}

#[derive(Default)]
pub struct Docker {
    /// By PoolID.
    pub networks: BTreeMap<String, Network>,
    pub asked: BTreeMap<u64, Asked>,
}

impl Docker {
    /// Something that a person or an orchestrator does at random; `None` if it is not possible now.
    pub fn acts(&mut self, chance: &mut Chance) -> Option<(Option<Asked>, Request)> {
        match chance.below(100) {
            0..=29 => Some(create(chance)),
            30..=59 => self.start_container(chance),
            60..=79 => self.stop_container(chance).map(|request| (None, request)),
            _ => self.remove(chance).map(|request| (None, request)),
        }
    }

    /// A container is started, or a network gets its router.
    pub fn start_container(&self, chance: &mut Chance) -> Option<(Option<Asked>, Request)> {
        let ids: Vec<&String> = self.networks.keys().collect();
        let id = chance.one_of(&ids)?.clone();
        let network = &self.networks[&id];
        let pool = pool(network.prefix.family(), network.shared);
        if network.shared && !network.leases.values().any(|kind| *kind == Kind::Gateway) {
            return Some(ask_router(id, network.prefix, router(&pool)));
        }
        let by_number = network.shared && chance.in_1000(300);
        let address = by_number.then(|| {
            let size = usize::try_from(network.prefix.size()).unwrap();
            let address = network.prefix.first() + chance.below(size) as u128;
            // Only a few single addresses, so that several hosts want the same one.
            let single = pool.by_number.is_some_and(|part| part.contains_number(address));
            network.prefix.address(if single { address & !0xe } else { address })
        });
        let endpoint = u8::try_from(chance.below(8)).unwrap();
        let request = AddressRequest {
            id: id.clone(),
            address,
            name: chance.in_1000(700).then(|| format!("c{endpoint}").into()),
            mac: Some(Mac([2, 0, 0, 0, 0, endpoint])),
            ..AddressRequest::default()
        };
        Some((Some(Asked::Address { id, kind: Kind::Endpoint }), Request::Address(request)))
    }

    fn stop_container(&mut self, chance: &mut Chance) -> Option<Request> {
        let leases = self.networks.iter().flat_map(|(id, network)| {
            network.leases.iter().map(move |(address, kind)| (id.clone(), *address, *kind))
        });
        let leases: Vec<_> = leases.filter(|(.., kind)| *kind == Kind::Endpoint).collect();
        let (id, address, _) = chance.one_of(&leases)?;
        let network = self.networks.get_mut(&id)?;
        network.leases.remove(&address);
        Some(Request::Release { id, address: Some(network.prefix.address(address)), generation: None })
    }

    fn remove(&mut self, chance: &mut Chance) -> Option<Request> {
        let ids: Vec<&String> = self.networks.keys().collect();
        let id = chance.one_of(&ids)?.clone();
        self.networks.remove(&id);
        Some(Request::Release { id, address: None, generation: None })
    }

    /// Takes an answer; returns what Docker requests next because of it.
    pub fn answered(&mut self, asked: Asked, reply: Reply) -> Option<(Option<Asked>, Request)> {
        match (asked, reply) {
            (Asked::Network { range }, Reply::Subnet { id, prefix, .. }) => {
                let shared = pools().iter().any(|pool| pool.shared && pool.base.contains(prefix));
                let leases = BTreeMap::new();
                self.networks.insert(id.clone(), Network { prefix, range, shared, leases });
                let pool = pool(prefix.family(), shared);
                shared.then(|| ask_router(id, prefix, router(&pool)))
            }
            (Asked::Address { id, kind }, Reply::Address { address, .. }) => {
                match self.networks.get_mut(&id) {
                    Some(network) => {
                        network.leases.insert(number(address), kind);
                        None
                    }
                    // The network was removed while its container started.
                    None => Some((None, Request::Release { id, address: Some(address), generation: None })),
                }
            }
            (asked, reply) => panic!("{reply:?} for {asked:?}"),
        }
    }

    /// What other hosts must not have: the networks of pools that are cut, and the addresses of LANs.
    pub fn taken(&self) -> impl Iterator<Item = Prefix> {
        let networks = self.networks.values().filter(|network| !network.shared).map(|it| it.prefix);
        networks.chain(self.shared_leases())
    }

    fn shared_leases(&self) -> impl Iterator<Item = Prefix> {
        let lans = self.networks.values().filter(|network| network.shared);
        lans.flat_map(|lan| lan.endpoints().map(|address| Prefix::host(lan.prefix.address(address))))
    }

    /// The first thing that Docker has and this plan lacks.
    pub fn missing_in(&self, plan: &Plan) -> Option<String> {
        self.networks.iter().find_map(|(id, network)| {
            let Some(subnet) = plan.held(id) else { return Some(id.clone()) };
            let missing = network.endpoints().find(|address| !subnet.addresses.is_leased(*address));
            missing.map(|address| format!("{} of {id}", network.prefix.address(address)))
        })
    }

    /// The first thing that Docker has and that lies outside this host's slices in this plan; if hosts contest slices, also outside
    /// those of which the plan says that they are lost.
    pub fn unowned_in(&self, plan: &Plan, contests: bool) -> Option<Prefix> {
        let is_lost = |taken: Prefix| {
            let mut slices = plan.slices().meeting(taken);
            contests && slices.any(|slice| slice.state == SliceState::Lost)
        };
        self.taken().find(|taken| !plan.slices().cover(*taken) && !is_lost(*taken))
    }

    /// What repair requests, so that the books say what Docker has: one difference. `None` if there is none.
    pub fn repair(&self, plan: &Plan) -> Option<Request> {
        let read = Fence { generation: plan.counters().0, at: plan.now() };
        for subnet in plan.subnets().filter(|subnet| subnet.is_held()) {
            let release = |address: Option<IpAddr>| Request::Release {
                id: subnet.state.id.clone(),
                address,
                generation: None,
            };
            let Some(network) = self.networks.get(&subnet.state.id) else { return Some(release(None)) };
            let mut leases = subnet.addresses.leases().map(|(address, _)| address);
            let dead = leases.find(|address| !network.leases.contains_key(address));
            if let Some(address) = dead {
                return Some(release(Some(network.prefix.address(address))));
            }
            // As in `src/reconcile`: the place of a router is kept free for it anyway.
            let shown = network.endpoints().find(|address| !subnet.addresses.is_leased(*address));
            if let Some(address) = shown {
                let (serial, lease) = (subnet.state.serial, shown_lease(address, Kind::Endpoint));
                return Some(Request::Repair(Box::new(Repair::Adopt { serial, lease, read })));
            }
        }
        let (id, network) = self.networks.iter().find(|(id, _)| plan.held(id).is_none())?;
        let adoption = Adoption {
            prefix: network.prefix,
            range: network.range,
            options: BTreeMap::new(),
            id: Some(id.clone()),
            leases: network.leases.iter().map(|(address, kind)| shown_lease(*address, *kind)).collect(),
            read,
            evidence: "it is there".into(),
        };
        Some(Request::Repair(Box::new(Repair::AdoptSubnets(vec![adoption]))))
    }
}

fn shown_lease(address: u128, kind: Kind) -> ShownLease {
    ShownLease { address, kind, name: None, mac: None, evidence: "it is there".into() }
}

fn ask_router(id: String, prefix: Prefix, router: u128) -> (Option<Asked>, Request) {
    let address = Some(prefix.address(router));
    let request = AddressRequest { id: id.clone(), address, gateway: true, ..AddressRequest::default() };
    (Some(Asked::Address { id, kind: Kind::Gateway }), Request::Address(request))
}

/// A network is created: of any prefix, of one that a person chose, or on a LAN, with a range or without one.
pub fn create(chance: &mut Chance) -> (Option<Asked>, Request) {
    let family = if chance.in_1000(500) { Family::V4 } else { Family::V6 };
    let is_shared = chance.in_1000(250);
    let pool = pool(family, is_shared);
    let part = |chance: &mut Chance, length: u8| {
        let places = 1_usize << (length - pool.base.length());
        let step = 1_u128 << (family.bits() - length);
        Prefix::new(family, pool.base.first() + chance.below(places) as u128 * step, length)
    };
    let (wanted, range) = match (is_shared, chance.below(10)) {
        (true, 0..=3) => {
            let length = pool.slice - 1 + u8::try_from(chance.below(3)).unwrap();
            (Wanted::Exact(pool.base), Some(part(chance, length)))
        }
        (true, _) => (Wanted::Exact(pool.base), None),
        // Sometimes as large as a slice, or as two of them.
        (false, 0..=1) => {
            let spread = usize::from(size(&pool) + 1 - (pool.slice - 1));
            let length = pool.slice - 1 + u8::try_from(chance.below(spread)).unwrap();
            (Wanted::Exact(part(chance, length)), None)
        }
        (false, _) => (Wanted::Any { size: None }, None),
    };
    let request = SubnetRequest {
        space: Space::Local,
        family,
        wanted,
        range,
        options: BTreeMap::new(),
        pools: None,
        in_use: Default::default(),
        in_a_row: 0,
        dead: Default::default(),
        cannot: Default::default(),
    };
    (Some(Asked::Network { range }), Request::Subnet(request))
}
