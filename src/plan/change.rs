//! Committed changes: the values that the store writes and the plan applies.
//!
//! Promises: a change contains everything needed to apply it (no clock, no configuration), so that the plan rebuilt
//! from the store equals the plan that is served. Does not know tables or SQL.

use std::collections::BTreeMap;
use std::fmt;

use smol_str::SmolStr;

use super::callers::Caller;
use super::pins::Pin;
use super::prefix::{Family, Prefix};
use super::request::{Mac, Space};
use super::settings::Millis;
use super::shown::EngineIdentity;
use super::slices::Slice;
use super::stamps::Shift;

/// The number of a subnet in the books. If a prefix is granted again, it gets its old serial and the records of its addresses.
pub type Serial = u64;

/// What a lease is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The gateway (`RequestAddressType`).
    Gateway,
    /// An `--aux-address`.
    Auxiliary,
    /// For a container.
    Endpoint,
    /// Of a machine on the LAN that gipam does not know, and that answered a probe.
    Stranger,
    /// Read from an old lease file; the kind is not known yet.
    Unknown,
}

impl Kind {
    /// The word for this kind in the books and in views; `None` for unknown.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::Gateway => Some("gateway"),
            Self::Auxiliary => Some("auxiliary"),
            Self::Endpoint => Some("endpoint"),
            Self::Stranger => Some("stranger"),
            Self::Unknown => None,
        }
    }

    /// Whether leases of these two kinds may share an address in networks that share a subnet: only if both are its gateway.
    pub(super) fn is_one_router(self, other: Self) -> bool {
        (self, other) == (Self::Gateway, Self::Gateway)
    }

    /// The kind with this name.
    pub fn parse(name: Option<&str>) -> Option<Self> {
        match name {
            None => Some(Self::Unknown),
            Some("gateway") => Some(Self::Gateway),
            Some("auxiliary") => Some(Self::Auxiliary),
            Some("endpoint") => Some(Self::Endpoint),
            Some("stranger") => Some(Self::Stranger),
            Some(_) => None,
        }
    }
}

/// What the books know about one address: a lease, or the memory of a released one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// True if it is held now, false if it was released.
    pub leased: bool,
    pub kind: Kind,
    /// The holder's endpoint name, escaped and truncated (see `docker::wire`).
    pub name: Option<SmolStr>,
    pub mac: Option<Mac>,
    /// An endpoint once requested it by number.
    pub asked_by_number: bool,
    /// Not given to an anonymous request: a person fixed its MAC (that MAC came back before), or released it instead of Docker.
    pub withheld: bool,
    /// When it was granted or, once released, when it was released.
    pub since: Millis,
    /// The generation of its grant; a release does not change it.
    pub generation: u64,
}

impl Record {
    /// The holder's new name, if the Engine's name for it differs from the one in the request.
    pub fn renamed(&self, generation: u64, container: &str) -> Option<SmolStr> {
        let other = self.name.as_deref().is_some_and(|name| name != container) && !container.is_empty();
        (self.leased && self.generation == generation && other).then(|| container.into())
    }
}

/// Small facts about a held subnet that later decisions need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Whether any address was requested in it since it was granted.
    pub addressed: bool,
    pub had_endpoint: bool,
    /// When it was granted, or when a gateway or auxiliary address was last requested.
    pub set_up_at: Millis,
    /// The gateway that was granted.
    pub gateway: Option<u128>,
    /// The gateway's address was also requested as an auxiliary address.
    pub gateway_is_auxiliary: bool,
    /// The subnet was part of a storm, so it does not cool.
    pub stormed: bool,
}

impl Marks {
    /// Records that a lease of this kind was found at an address.
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
    /// The range from which dynamic addresses come; the whole subnet if `None`.
    pub range: Option<Prefix>,
    /// The pool that it was cut from or lies in.
    pub pool: Option<String>,
    pub options: BTreeMap<String, String>,
    /// Chosen by gipam.
    pub dynamic: bool,
    pub granted_at: Millis,
    pub generation: u64,
    /// From an old lease file: dynamic choice starts after this address while addresses are left there.
    pub start_beyond: Option<u128>,
    pub marks: Marks,
    /// When it was released; `None` while it is held.
    pub released_at: Option<Millis>,
    /// Not given to other networks before this time.
    pub cool_until: Millis,
}

/// Why something was released, or where a PoolID was learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// A request from Docker.
    Docker,
    /// A command from a person.
    Force,
    /// It was proven dead; this is the evidence.
    Repair(Box<str>),
}

impl Why {
    /// The word or the evidence, for the history.
    pub fn text(&self) -> &str {
        match self {
            Self::Docker => "docker",
            Self::Force => "force",
            Self::Repair(evidence) => evidence,
        }
    }
}

/// A release that arrived before the PoolID of its subnet was known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRelease {
    pub generation: u64,
    /// The PoolID that Docker sent.
    pub id: Box<str>,
    pub at: Millis,
}

/// A holder as the Engine lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownHolder {
    pub container: Box<str>,
    pub container_id: Box<str>,
    pub network: Box<str>,
}

impl fmt::Display for ShownHolder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "container {} in network {}", self.container, self.network)
    }
}

/// One change of the books. `serial` identifies the subnet and `address` is a number in it; `generation` identifies the grant
/// or lease, where a later one must not be changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A subnet was granted, under a new serial or under one that is reused.
    SubnetGranted(Box<SubnetState>),
    /// A grant was undone, and the subnet is again as it was before.
    SubnetRestored(Box<SubnetState>),
    /// The marks of a subnet changed.
    SubnetMarked { serial: Serial, marks: Marks },
    /// A subnet was released, with every lease in it.
    SubnetReleased { serial: Serial, at: Millis, cool_until: Millis, why: Why },
    /// The Engine listed one of gipam's networks whose subnet was missing from the books.
    SubnetAdopted { state: Box<SubnetState>, evidence: Box<str> },
    /// The PoolID of an adopted subnet became known.
    SubnetIdLearned { serial: Serial, id: String, why: Why },
    /// A subnet is removed from the books, with all that they remember about its addresses.
    SubnetForgotten { serial: Serial },
    /// An address was leased.
    AddressGranted { serial: Serial, address: u128, record: Record },
    /// A lease ended; its record is kept as a memory.
    AddressReleased { serial: Serial, address: u128, at: Millis, why: Why },
    /// An address is again as it was before an undone grant, or as the books have it at startup.
    AddressRestored { serial: Serial, address: u128, record: Record },
    /// Everything the books have about a subnet's addresses, loaded at startup, when the plan has no records for it yet.
    AddressesLoaded { serial: Serial, records: Vec<(u128, Record)> },
    /// The Engine listed an address that the books lacked, or whose kind was unknown.
    AddressLearned { serial: Serial, address: u128, record: Record, evidence: Box<str> },
    /// The Engine's name for the network of a subnet. Only for views: the plan does not store it.
    SubnetNamed { serial: Serial, generation: u64, network: Box<str> },
    /// Docker released an address of an adopted subnet under a PoolID that may be the subnet's; carried out once that is known.
    ReleaseKept { serial: Serial, address: u128, kept: KeptRelease },
    /// The Engine's own list was read: dynamic choice no longer has to start after the old counter.
    SubnetListed { serial: Serial },
    /// The Engine's name and ids for a holder. The plan uses only a changed name.
    AddressNamed { serial: Serial, address: u128, generation: u64, shown: ShownHolder },
    /// A stranger answered a probe of the address.
    AddressQuarantined { serial: Serial, address: u128, record: Record },
    /// The stranger no longer answers.
    QuarantineEnded { serial: Serial, address: u128 },
    /// The record of an address was deleted.
    AddressForgotten { serial: Serial, address: u128 },
    /// A person pinned an address to a holder, for every future subnet of this prefix.
    AddressPinned { space: Space, prefix: Prefix, address: u128, pin: Pin },
    /// A person removed the pin.
    AddressUnpinned { space: Space, prefix: Prefix, address: u128 },
    /// Since this time, `key=WORD` points to this prefix; if `None`, to nothing.
    KeyRemembered { space: Space, family: Family, word: String, prefix: Option<(Prefix, Millis)> },
    /// A new caller appeared, or more is known about one. For its name see [`Gone`](super::request::Gone).
    CallerSeen { name: Box<str>, caller: Caller },
    /// This caller has ended, and nothing that it requested can still be running.
    CallerForgotten { name: Box<str> },
    /// The Engine whose networks are in these books.
    EngineKnown(Box<EngineIdentity>),
    /// A slice now belongs to this host, or its state changed.
    SlicePut(Slice),
    /// A slice no longer belongs to this host.
    SliceGone { prefix: Prefix },
    /// Two running endpoints have the same address. Only for the history: the plan does not store it.
    AddressDoubled { serial: Serial, address: u128, evidence: Box<str> },
    /// The time of day stepped; every stored time is shifted with it.
    ClockStepped(Shift),
    /// No generation or serial below these will be used again.
    Counted { next_generation: u64, next_serial: Serial },
}
