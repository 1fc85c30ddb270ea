//! What is committed: the values that the store keeps and the plan applies.
//!
//! Promises: a change says everything that applying it needs (no clock, no configuration), so that the plan rebuilt
//! from the store equals the plan served. Does not know tables or SQL.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use super::callers::Caller;
use super::pins::Pin;
use super::prefix::{Family, Prefix};
use super::request::{Mac, Space};
use super::settings::Millis;
use super::shown::EngineIdentity;
use super::stamps::Shift;

/// The number of a subnet in the books. A prefix granted again gets its old serial back, and with it the memory of its addresses.
pub type Serial = u64;

/// What a lease is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The gateway (`RequestAddressType`).
    Gateway,
    /// An `--aux-address`.
    Auxiliary,
    /// A container's.
    Endpoint,
    /// From an old lease file; its kind is not known yet.
    Unknown,
}

impl Kind {
    /// The word in the books and in views; unknown has none.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::Gateway => Some("gateway"),
            Self::Auxiliary => Some("auxiliary"),
            Self::Endpoint => Some("endpoint"),
            Self::Unknown => None,
        }
    }

    /// Whether both may have one address in networks that share a subnet: the router of both.
    pub(super) fn is_one_router(self, other: Self) -> bool {
        (self, other) == (Self::Gateway, Self::Gateway)
    }

    /// The kind of this name.
    pub fn parse(name: Option<&str>) -> Option<Self> {
        match name {
            None => Some(Self::Unknown),
            Some("gateway") => Some(Self::Gateway),
            Some("auxiliary") => Some(Self::Auxiliary),
            Some("endpoint") => Some(Self::Endpoint),
            Some(_) => None,
        }
    }
}

/// What is known of one address: a lease, or the memory of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Held now, or released.
    pub leased: bool,
    pub kind: Kind,
    /// The holder's endpoint name, escaped and cut (see `docker::wire`).
    pub name: Option<SmolStr>,
    pub mac: Option<Mac>,
    /// Was once asked for by number, by an endpoint.
    pub asked_by_number: bool,
    /// Not given to an anonymous request: its MAC came back before, so a person fixed it; or a person released it, not Docker.
    pub withheld: bool,
    /// When it was granted, or released.
    pub since: Millis,
    /// Of its grant; a release keeps it.
    pub generation: u64,
}

impl Record {
    /// The holder's new name, if the Engine's differs from that in the request.
    pub fn renamed(&self, generation: u64, container: &str) -> Option<SmolStr> {
        let other = self.name.as_deref().is_some_and(|name| name != container) && !container.is_empty();
        (self.leased && self.generation == generation && other).then(|| container.into())
    }
}

/// Small facts about a held subnet that later decisions need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Was ever asked for an address since its grant.
    pub addressed: bool,
    pub had_endpoint: bool,
    /// When it was granted, or last asked for a gateway or auxiliary address.
    pub set_up_at: Millis,
    /// The gateway that was given.
    pub gateway: Option<u128>,
    /// The gateway was asked for once more, as an auxiliary address.
    pub gateway_is_auxiliary: bool,
    /// Part of a storm: does not cool.
    pub stormed: bool,
}

impl Marks {
    /// A lease of this kind was learned at an address.
    pub(super) const fn learn(&mut self, kind: Kind, address: u128, has_gateway: bool) {
        (self.addressed, self.stormed) = (true, false);
        match kind {
            Kind::Gateway if !has_gateway => self.gateway = Some(address),
            Kind::Endpoint => self.had_endpoint = true,
            _ => {}
        }
    }
}

/// Everything the books hold about a subnet except its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetState {
    pub serial: Serial,
    /// The PoolID.
    pub id: String,
    pub space: Space,
    pub prefix: Prefix,
    /// Where dynamic addresses come from; the whole subnet if absent.
    pub range: Option<Prefix>,
    /// The pool it was cut from or lies in.
    pub pool: Option<String>,
    pub options: BTreeMap<String, String>,
    /// Chosen by us.
    pub dynamic: bool,
    pub granted_at: Millis,
    pub generation: u64,
    /// From an old lease file: dynamic choice starts beyond this address while there is room.
    pub start_beyond: Option<u128>,
    pub marks: Marks,
    /// Released then; `None` while held.
    pub released_at: Option<Millis>,
    /// Not given to others before this time.
    pub cool_until: Millis,
}

/// Why something was released, or where a PoolID came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Docker's request.
    Docker,
    /// A person's command.
    Force,
    /// Proven dead; this is the evidence.
    Repair(Box<str>),
}

impl Why {
    /// The word, or the evidence, for the history.
    pub fn text(&self) -> &str {
        match self {
            Self::Docker => "docker",
            Self::Force => "force",
            Self::Repair(evidence) => evidence,
        }
    }
}

/// A release that came before the PoolID of its subnet was known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRelease {
    pub generation: u64,
    /// The PoolID that Docker named.
    pub id: Box<str>,
    pub at: Millis,
}

/// A holder as the Engine shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownHolder {
    pub container: Box<str>,
    pub container_id: Box<str>,
    pub network: Box<str>,
}

/// One change of the books. `serial` says of which subnet, `address` is a number in it; `generation` says of which grant or
/// lease, where a later one must be left alone.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A subnet was granted (a new serial, or one that is taken up again).
    SubnetGranted(Box<SubnetState>),
    /// A subnet is as it was before an undone grant.
    SubnetRestored(Box<SubnetState>),
    /// Its marks changed.
    SubnetMarked { serial: Serial, marks: Marks },
    /// It was given back, with every lease in it.
    SubnetReleased { serial: Serial, at: Millis, cool_until: Millis, why: Why },
    /// The Engine showed one of gipam's networks whose subnet the books lacked.
    SubnetAdopted { state: Box<SubnetState>, evidence: Box<str> },
    /// An adopted subnet's PoolID became known.
    SubnetIdLearned { serial: Serial, id: String, why: Why },
    /// It leaves the books with all that is remembered of its addresses.
    SubnetForgotten { serial: Serial },
    /// An address was leased.
    AddressGranted { serial: Serial, address: u128, record: Record },
    /// A lease ended; the record stays as memory.
    AddressReleased { serial: Serial, address: u128, at: Millis, why: Why },
    /// An address is as it was before an undone grant, or as the books say at a start.
    AddressRestored { serial: Serial, address: u128, record: Record },
    /// All that the books say of a subnet's addresses, at a start: nothing is known of it yet.
    AddressesLoaded { serial: Serial, records: Vec<(u128, Record)> },
    /// The Engine showed what an address is: one that the books lacked, or one whose kind nobody knew.
    AddressLearned { serial: Serial, address: u128, record: Record, evidence: Box<str> },
    /// What the Engine calls the network of a subnet. For views: the plan does not know it.
    SubnetNamed { serial: Serial, generation: u64, network: Box<str> },
    /// Docker released an address of an adopted subnet under a PoolID that may be the subnet's: carried out once that is known.
    ReleaseKept { serial: Serial, address: u128, kept: KeptRelease },
    /// The Engine's own list was read: dynamic choice need not start beyond the old counter any more.
    SubnetListed { serial: Serial },
    /// What the Engine calls a holder. Of this the plan knows only a new name.
    AddressNamed { serial: Serial, address: u128, generation: u64, shown: ShownHolder },
    /// Nothing is remembered of an address any more.
    AddressForgotten { serial: Serial, address: u128 },
    /// A person pinned an address to a holder, for every future subnet of this prefix.
    AddressPinned { space: Space, prefix: Prefix, address: u128, pin: Pin },
    /// A person removed the pin.
    AddressUnpinned { space: Space, prefix: Prefix, address: u128 },
    /// `key=WORD` points to this prefix since then; to nothing if absent.
    KeyRemembered { space: Space, family: Family, word: String, prefix: Option<(Prefix, Millis)> },
    /// A caller came, or more is known about one; its name: see [`Gone`](super::request::Gone).
    CallerSeen { name: Box<str>, caller: Caller },
    /// This caller has ended, and nothing that it requested can be alive.
    CallerForgotten { name: Box<str> },
    /// The Engine whose networks these books hold.
    EngineKnown(Box<EngineIdentity>),
    /// One address is at two living endpoints. For the history: the plan does not know it.
    AddressDoubled { serial: Serial, address: u128, evidence: Box<str> },
    /// The time of day stepped; every stored time moves with it.
    ClockStepped(Shift),
    /// No generation or serial below these will be used again.
    Counted { next_generation: u64, next_serial: Serial },
}
