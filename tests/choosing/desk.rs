//! A plan for tests: requests written briefly, decided and applied at once, with a clock that the test
//! advances.
//!
//! Promises: every decision is applied as the ledger would. Does not check anything itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use gipam::plan::Plan;
use gipam::plan::change::{Kind, Record};
use gipam::plan::error::Refusal;
use gipam::plan::host_use::HostUse;
pub use gipam::plan::prefix::Family::{self, V4, V6};
use gipam::plan::prefix::{AddressRange, Prefix};
use gipam::plan::request::{
    AddressRequest, Decision, InUse, InUseKind, Repair, Reply, Request, Space, SubnetRequest, Wanted,
};
use gipam::plan::settings::{AddressOrder, Base, PoolSettings, Settings};

pub const MINUTE: u64 = 60_000;
pub const DAY: u64 = 24 * 60 * MINUTE;

pub fn prefix(text: &str) -> Prefix {
    Prefix::parse(text).unwrap()
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A pool with one or two families, written `base:size`.
pub fn pool(name: &str, v4: &str, v6: &str) -> PoolSettings {
    let base = |text: &str| {
        let (base, size) = text.rsplit_once(':')?;
        Some(Base::new(prefix(base), size.parse().unwrap(), AddressOrder::Sequential))
    };
    PoolSettings {
        name: name.into(),
        v4: base(v4),
        v6: base(v6),
        cooling: 10 * MINUTE,
        subnet_cooling: MINUTE,
        closed: false,
        provenance: Default::default(),
    }
}

pub fn pools(pools: &[PoolSettings]) -> Settings {
    let settings = Settings { pools: pools.to_vec(), secret: [7; 32], ..Settings::default() };
    settings.check().unwrap();
    settings
}

pub fn lan() -> Settings {
    pools(&[pool("lan", "10.0.0.0/16:24", "2001:db8::/48:64")])
}

pub fn reserve(settings: Settings, ranges: &[&str]) -> Settings {
    let reserved = ranges.iter().map(|text| AddressRange::parse(text).unwrap()).collect();
    Settings { reserved, ..settings }
}

/// Any subnet of this family.
pub fn any(family: Family) -> SubnetRequest {
    let (options, pools, in_use) = (BTreeMap::new(), None, HostUse::default());
    let (space, wanted, range, dead) = (Space::Local, Wanted::Any { size: None }, None, Arc::default());
    // As in Docker's loop: each request immediately after the previous one.
    let in_a_row = u32::MAX;
    SubnetRequest {
        space,
        family,
        wanted,
        range,
        options,
        pools,
        in_use,
        in_a_row,
        dead,
        cannot: Default::default(),
    }
}

/// `0.0.0.0/N`, `::/N`.
pub fn sized(family: Family, size: u8) -> SubnetRequest {
    SubnetRequest { wanted: Wanted::Any { size: Some(size) }, ..any(family) }
}

/// `--subnet`.
pub fn exact(text: &str) -> SubnetRequest {
    SubnetRequest { wanted: Wanted::Exact(prefix(text)), ..any(prefix(text).family()) }
}

/// Further properties of a request for a subnet.
pub trait Words {
    fn option(self, key: &str, value: &str) -> Self;
    fn range(self, text: &str) -> Self;
    fn from(self, pools: &[&str]) -> Self;
    fn global(self) -> Self;
    fn seeing(self, kind: InUseKind, prefixes: &[&str]) -> Self;
}

impl Words for SubnetRequest {
    fn option(mut self, key: &str, value: &str) -> Self {
        self.options.insert(key.into(), value.into());
        self
    }
    fn range(self, text: &str) -> Self {
        Self { range: Some(prefix(text)), ..self }
    }
    fn from(self, pools: &[&str]) -> Self {
        Self { pools: Some(pools.iter().map(|name| (*name).to_owned()).collect()), ..self }
    }
    fn global(self) -> Self {
        Self { space: Space::Global, ..self }
    }
    fn seeing(self, kind: InUseKind, prefixes: &[&str]) -> Self {
        let seen = prefixes.iter().map(|text| InUse {
            prefix: prefix(text),
            kind,
            text: format!("{text} dev eth0"),
        });
        Self { in_use: self.in_use.iter().cloned().chain(seen).collect(), ..self }
    }
}

/// A request for an address, without any further properties.
pub fn address(id: &str) -> AddressRequest {
    AddressRequest { id: id.into(), ..AddressRequest::default() }
}
pub fn named(id: &str, name: &str) -> AddressRequest {
    AddressRequest { name: Some(name.into()), ..address(id) }
}
pub fn number(id: &str, text: &str) -> AddressRequest {
    AddressRequest { address: Some(ip(text)), ..address(id) }
}
pub fn gateway(id: &str) -> AddressRequest {
    AddressRequest { gateway: true, ..address(id) }
}

/// The plan and its clock.
pub struct Desk {
    pub plan: Plan,
    pub now: u64,
    pub warnings: Vec<String>,
    random: u64,
}

impl Desk {
    pub fn new(settings: Settings) -> Self {
        let mut desk =
            Self { plan: Plan::new(settings), now: 1_800_000_000_000, warnings: Vec::new(), random: 0 };
        desk.pass(0);
        desk
    }

    pub fn pass(&mut self, millis: u64) {
        self.now += millis;
        self.plan.advance(self.now);
    }

    pub fn decide(&mut self, request: &Request) -> Decision {
        self.random += 1;
        self.plan.decide(request, self.random)
    }

    pub fn ask(&mut self, request: Request) -> Result<Reply, Refusal> {
        let decision = self.decide(&request);
        for change in &decision.changes {
            self.plan.apply(change);
        }
        self.warnings = decision.warnings;
        decision.reply
    }

    /// The outcome of a request for a subnet: its prefix, `wait N` (milliseconds from now), or the refusal.
    pub fn said(&mut self, request: SubnetRequest) -> String {
        match self.ask(Request::Subnet(request)) {
            Ok(Reply::Subnet { prefix, .. }) => prefix.to_string(),
            Ok(Reply::Wait(until)) => format!("wait {}", until - self.now),
            Ok(other) => format!("{other:?}"),
            Err(error) => error.to_string(),
        }
    }

    /// Requests a subnet and returns its PoolID.
    pub fn subnet(&mut self, request: SubnetRequest) -> String {
        match self.ask(Request::Subnet(request)) {
            Ok(Reply::Subnet { id, .. }) => id,
            other => panic!("{other:?}"),
        }
    }

    /// The outcome of a request for an address: `address/length`, or the refusal.
    pub fn gave(&mut self, request: AddressRequest) -> String {
        match self.ask(Request::Address(request)) {
            Ok(Reply::Address { address, length }) => format!("{address}/{length}"),
            Ok(other) => format!("{other:?}"),
            Err(error) => error.to_string(),
        }
    }

    /// Like [`Self::gave`], without the length.
    pub fn host(&mut self, request: AddressRequest) -> String {
        let gave = self.gave(request);
        gave.rsplit_once('/').map_or(gave.clone(), |(address, _)| address.to_owned())
    }

    pub fn release(&mut self, id: &str) {
        assert_eq!(
            self.ask(Request::Release { id: id.into(), address: None, generation: None }),
            Ok(Reply::Done)
        );
    }

    pub fn free(&mut self, id: &str, text: &str) {
        let request = Request::Release { id: id.into(), address: Some(ip(text)), generation: None };
        assert_eq!(self.ask(request), Ok(Reply::Done));
    }

    /// Applies what the Engine lists as the purpose of an address.
    pub fn lists_as(&mut self, id: &str, text: &str, kind: Kind) {
        let generation = self.record(id, text).unwrap().generation;
        let serial = self.plan.held(id).unwrap().state.serial;
        let (address, evidence) = (gipam::plan::prefix::number(ip(text)), "listed".into());
        let wish = Repair::Identify { serial, address, generation, kind, evidence };
        self.ask(Request::Repair(Box::new(wish))).unwrap();
    }

    pub fn force(&mut self, subnet: &str, address: Option<&str>) -> String {
        match self.ask(Request::Force { subnet: subnet.into(), address: address.map(ip), generation: None }) {
            Ok(reply) => format!("{reply:?}"),
            Err(error) => error.to_string(),
        }
    }

    pub fn record(&self, id: &str, text: &str) -> Option<Record> {
        let subnet = self.plan.held(id).unwrap();
        subnet.addresses.get(subnet.number_of(ip(text)).unwrap()).cloned()
    }

    pub fn kind(&self, id: &str, text: &str) -> Kind {
        self.record(id, text).unwrap().kind
    }
}
