//! DESK: a pure plan with the requested occupancy, and a caller that times requests to it.
//!
//! Promises: the occupancy stays as requested: grants are undone between the timed parts, or follow as many
//! releases. The settings are the defaults, including the storm guard. The benchmark times the plan, and the
//! guard counts its instructions.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gipam::plan::Plan;
use gipam::plan::change::{Change, Serial};
use gipam::plan::prefix::{Family, Prefix};
use gipam::plan::request::{
    AddressRequest, Dead, Decision, Mac, Reply, Request, Space, SubnetRequest, Wanted,
};
use gipam::plan::settings::{AddressOrder, Base, PoolSettings, Settings};

/// Requests in a batch, whose grants are then undone; below the storm guard's limit.
pub const BATCH: u64 = 16;

const NOW: u64 = 1_800_000_000_000;

/// A plan and its caller.
#[derive(Debug)]
pub struct Desk {
    plan: Plan,
    family: Family,
    id: String,
    serial: Serial,
    /// Held endpoints, for churn.
    held: Vec<std::net::IpAddr>,
    /// Shared by all requests, as in the daemon.
    dead: Arc<Dead>,
    counter: u64,
    chance: u64,
}

fn prefix(text: &str) -> Prefix {
    Prefix::parse(text).unwrap_or_else(|| Prefix::new(Family::V4, 0, 0))
}

/// Settings with one pool that has these bases and sizes.
pub fn settings(base: [&str; 2], sizes: [u8; 2]) -> Settings {
    let base = |number: usize| Some(Base::new(prefix(base[number]), sizes[number], AddressOrder::Sequential));
    let pool = PoolSettings {
        name: "default".to_owned(),
        v4: base(0),
        v6: base(1),
        cooling: gipam::plan::settings::DEFAULT_COOLING,
        subnet_cooling: gipam::plan::settings::DEFAULT_SUBNET_COOLING,
        closed: false,
        provenance: Default::default(),
    };
    Settings { pools: vec![pool], ..Settings::default() }
}

impl Desk {
    fn new(family: Family, settings: Settings) -> Self {
        let mut plan = Plan::new(settings);
        plan.advance(NOW);
        Self {
            plan,
            family,
            id: String::new(),
            serial: 0,
            held: Vec::new(),
            dead: Arc::default(),
            counter: 0,
            chance: 0x9e37_79b9,
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % below
    }

    fn carry_out(&mut self, request: &Request) -> Decision {
        self.counter += 1;
        self.plan.advance(NOW + self.counter / 100);
        let decision = self.plan.decide(request, self.counter.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        decision.changes.iter().for_each(|change| self.plan.apply(change));
        decision
    }

    /// A plan with one subnet (IPv6: a range of a /64) of `bits` host bits and with this many leases, in
    /// order or at random places.
    pub fn with_leases(family: Family, bits: u8, leases: u64, scattered: bool) -> Self {
        let mut desk = Self::new(family, settings(["10.0.0.0/8", "2001:db8::/32"], [16, 64]));
        let base = prefix(if family == Family::V4 { "10.0.0.0/8" } else { "2001:db8:0:9::/64" });
        let cut = Prefix::new(family, base.first(), family.bits() - bits);
        let (subnet, range) = if family == Family::V4 { (cut, None) } else { (base, Some(cut)) };
        let mut request = desk.subnet_request(Wanted::Exact(subnet), None);
        if let Request::Subnet(request) = &mut request {
            request.range = range;
        }
        if let Ok(Reply::Subnet { id, .. }) = desk.carry_out(&request).reply {
            desk.serial = desk.plan.held(&id).map_or(0, |subnet| subnet.state.serial);
            desk.id = id;
        }
        let gateway = AddressRequest { id: desk.id.clone(), gateway: true, ..AddressRequest::default() };
        desk.carry_out(&Request::Address(gateway));
        // The first two and the last are the network, the gateway and the broadcast address.
        let mut places: Vec<u64> = (2..(1 << bits) - 1).collect();
        if scattered {
            for at in (1..places.len()).rev() {
                let other = desk.random(at as u64 + 1) as usize;
                places.swap(at, other);
            }
        }
        places.truncate(leases as usize);
        for place in places {
            let address = subnet.address(subnet.first() + u128::from(place));
            let mut request = desk.address_request();
            if let Request::Address(request) = &mut request {
                // The request of an endpoint, not of a gateway.
                request.gateway = false;
            }
            desk.lease_at(address, &request);
        }
        desk
    }

    /// Adds a lease at this address as if gipam had chosen it dynamically.
    fn lease_at(&mut self, address: std::net::IpAddr, request: &Request) {
        let Request::Address(request) = request else { return };
        self.counter += 1;
        let record = gipam::plan::change::Record {
            leased: true,
            kind: gipam::plan::change::Kind::Endpoint,
            name: None,
            mac: request.mac,
            asked_by_number: false,
            withheld: false,
            since: NOW,
            generation: self.plan.counters().0,
        };
        let address_number = gipam::plan::prefix::number(address);
        self.plan.apply(&Change::AddressGranted { serial: self.serial, address: address_number, record });
        self.held.push(address);
    }

    /// A plan with `count` subnets of mixed sizes, each with its gateway.
    pub fn with_subnets(family: Family, count: usize) -> Self {
        let mut desk = Self::new(family, settings(["10.0.0.0/8", "2001:db8::/32"], [24, 64]));
        for _ in 0..count {
            let request = desk.any_subnet();
            if let Ok(Reply::Subnet { id, .. }) = desk.carry_out(&request).reply {
                let gateway = AddressRequest { id, gateway: true, ..AddressRequest::default() };
                desk.carry_out(&Request::Address(gateway));
            }
        }
        desk
    }

    fn subnet_request(&self, wanted: Wanted, range: Option<Prefix>) -> Request {
        Request::Subnet(SubnetRequest {
            space: Space::Local,
            family: self.family,
            wanted,
            range,
            options: Default::default(),
            pools: None,
            in_use: Vec::new().into(),
            in_a_row: 0,
            dead: Default::default(),
            cannot: Default::default(),
        })
    }

    fn any_subnet(&mut self) -> Request {
        let more = self.random(8) as u8;
        let size = Some(if self.family == Family::V4 { 22 + more } else { 56 + 2 * more });
        self.subnet_request(Wanted::Any { size }, None)
    }

    fn address_request(&mut self) -> Request {
        self.counter += 1;
        let [.., a, b, c, d] = self.counter.to_be_bytes();
        Request::Address(AddressRequest {
            id: self.id.clone(),
            address: None,
            gateway: false,
            name: None,
            mac: Some(Mac([2, 0x42, a, b, c, d])),
            serial: false,
            dead: self.dead.clone(),
            half: None,
            cannot: Default::default(),
            probed: Default::default(),
        })
    }

    /// Runs `step` in batches for `rounds` requests in total, and returns the total time.
    fn time(&mut self, rounds: u64, mut step: impl FnMut(&mut Self, u64) -> Duration) -> Duration {
        let (mut left, mut total) = (rounds, Duration::ZERO);
        while left > 0 {
            let count = left.min(BATCH);
            total += step(self, count);
            left -= count;
        }
        total
    }

    fn timed_batch(&mut self, requests: &[Request], decisions: &mut Vec<Decision>) -> Duration {
        let began = Instant::now();
        for request in requests {
            let decision = self.carry_out(black_box(request));
            decisions.push(decision);
        }
        began.elapsed()
    }

    /// Times RequestAddress at this occupancy.
    pub fn time_addresses(&mut self, rounds: u64) -> Duration {
        self.time(rounds, |desk, count| {
            let requests: Vec<Request> = (0..count).map(|_| desk.address_request()).collect();
            let mut decisions = Vec::with_capacity(requests.len());
            let took = desk.timed_batch(&requests, &mut decisions);
            let serial = desk.serial;
            for decision in decisions {
                let Ok(Reply::Address { address, .. }) = decision.reply else { return Duration::MAX };
                let address = gipam::plan::prefix::number(address);
                desk.plan.apply(&Change::AddressForgotten { serial, address });
            }
            took
        })
    }

    /// Times ReleaseAddress of a random address, followed by RequestAddress in its place.
    pub fn time_churn(&mut self, rounds: u64) -> Duration {
        self.time(rounds, |desk, count| {
            let mut requests = Vec::with_capacity(2 * count as usize);
            for _ in 0..count {
                let which = desk.random(desk.held.len() as u64) as usize;
                let address = desk.held.swap_remove(which);
                let id = desk.id.clone();
                requests.push(Request::Release { id, address: Some(address), generation: None });
                requests.push(desk.address_request());
            }
            let mut decisions = Vec::with_capacity(requests.len());
            let took = desk.timed_batch(&requests, &mut decisions);
            for decision in decisions {
                if let Ok(Reply::Address { address, .. }) = decision.reply {
                    desk.held.push(address);
                }
            }
            took
        })
    }

    /// Times RequestPool while the plan holds its other subnets.
    pub fn time_subnets(&mut self, rounds: u64) -> Duration {
        self.time(rounds, |desk, count| {
            let requests: Vec<Request> = (0..count).map(|_| desk.any_subnet()).collect();
            let mut decisions = Vec::with_capacity(requests.len());
            let took = desk.timed_batch(&requests, &mut decisions);
            for decision in decisions {
                let Ok(Reply::Subnet { id, .. }) = decision.reply else { return Duration::MAX };
                let serial = desk.plan.held(&id).map(|subnet| subnet.state.serial);
                serial.into_iter().for_each(|serial| desk.plan.apply(&Change::SubnetForgotten { serial }));
            }
            took
        })
    }
}
