//! Repair's input to the plan: what it has proven, and which changes it requests.
//!
//! Promises: plain values; each request identifies things by serial and generation, and is refused if they have changed since.
//! Makes no decisions.

use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;

use super::change::{Kind, Record, Serial, ShownHolder};
use super::evidence::{Death, ProofKey};
use super::prefix::Prefix;
use super::request::{Mac, Space};
use super::settings::Millis;
use super::shown::{Configured, EngineIdentity, Network};
use super::siblings::Part;
use super::strangers::Strangers;

/// The knowledge of repair: the leases and subnets that are proven dead (by two views at least a minute
/// apart, both a minute after the grant), those that it saw alive, and the Engine's names for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dead {
    /// Leases and subnets that are proven dead.
    pub proven: BTreeMap<ProofKey, Death>,
    /// Leases that the Engine shows alive although every caller that could have requested them has ended.
    pub alive_nevertheless: BTreeSet<ProofKey>,
    /// The Engine's names for the holders, by serial and address, with the generation of the lease.
    pub holders: BTreeMap<(Serial, u128), (u64, ShownHolder)>,
    /// The Engine's names for the networks, by serial, with the generation of the grant.
    pub networks: BTreeMap<Serial, (u64, Box<str>)>,
    /// Subnets of networks that the Engine has and the books lack: from lost books, or from other IPAM drivers.
    pub strangers: Strangers,
}

impl Dead {
    /// The Engine's name for the holder of a lease in repair's last survey.
    pub fn holder(&self, serial: Serial, address: u128, generation: u64) -> Option<&ShownHolder> {
        self.holders.get(&(serial, address)).filter(|(of, _)| *of == generation).map(|(_, shown)| shown)
    }

    /// The Engine's name for the network of a subnet in repair's last survey.
    pub fn network(&self, serial: Serial, generation: u64) -> Option<&str> {
        self.networks.get(&serial).filter(|(of, _)| *of == generation).map(|(_, name)| name.as_ref())
    }
}

/// How much of a caller is certainly gone: only itself, or also its containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// Its process has ended; some of its containers may still run (`live-restore`).
    Itself,
    /// It has ended, and none of its containers is left.
    WithItsContainers,
}

/// Repair's requests, outside the request path. Each names what it saw by serial, address and generation, or by the moment when
/// the books were read (before the Engine was queried), and is refused if that has changed since. Evidence is for the history.
#[derive(Clone, Debug, PartialEq)]
pub enum Repair {
    /// Frees the lease or subnet that is proven dead.
    Free(Death),
    /// This Engine is the one whose networks are in the books.
    Engine(Box<EngineIdentity>),
    /// Two running endpoints have the same address: for the history and its followers. Refused while the address may only have
    /// changed its holder.
    Doubled { serial: Serial, address: u128, read: Fence, evidence: Box<str> },
    /// Adopts whole networks with all their leases: all or none, as some may share a prefix.
    AdoptSubnets(Vec<Adoption>),
    /// Sets Docker's PoolID for the adopted subnet of this prefix in space local; `prefix` is the range if several subnets
    /// share their prefix.
    NameSubnet { prefix: Prefix, id: String },
    /// Adds a lease that the Engine shows live in a subnet: refused if something was granted or released there since.
    Adopt { serial: Serial, lease: ShownLease, read: Fence },
    /// Sets the kind of a lease whose kind was unknown.
    Identify { serial: Serial, address: u128, generation: u64, kind: Kind, evidence: Box<str> },
    /// The Engine's list of a subnet was read.
    Listed { serial: Serial, generation: u64 },
    /// A request came from an unrecorded caller; `boot` names this boot, for callers that cannot be distinguished, and `gone`
    /// lists recorded callers that have ended.
    Arrival { boot: Box<str>, arrived: Box<str>, gone: Vec<(Box<str>, Gone)> },
    /// Sets the Engine's name for the network of a subnet.
    NameNetwork { serial: Serial, generation: u64, network: Box<str> },
    /// Sets the Engine's name and ids for a holder.
    Name { serial: Serial, address: u128, generation: u64, shown: ShownHolder },
}

/// A network in space local that the Engine shows and whose subnet is missing from the books.
#[derive(Clone, Debug, PartialEq)]
pub struct Adoption {
    pub prefix: Prefix,
    /// The network's `--ip-range`.
    pub range: Option<Prefix>,
    /// The network's `--ipam-opt` map.
    pub options: BTreeMap<String, String>,
    /// The network's PoolID, if a person knows it: the Engine does not show it.
    pub id: Option<String>,
    /// The network's leases: the gateway first, then auxiliary addresses, then endpoints.
    pub leases: Vec<ShownLease>,
    /// When the books that lacked it were read. The adoption is refused if a subnet was granted or released
    /// there since.
    pub read: Fence,
    /// For the history.
    pub evidence: Box<str>,
}

impl Adoption {
    pub fn part(&self) -> Part {
        Part::new(Space::Local, self.prefix, self.range, &self.options)
    }

    /// A network as the Engine shows it, without its leases.
    pub fn of(network: &Network, shown: &Configured) -> Self {
        Self {
            prefix: shown.prefix,
            range: shown.range,
            options: network.options.clone(),
            id: None,
            leases: Vec::new(),
            read: Fence { generation: 0, at: 0 },
            evidence: format!("network {} has it", network.name).into(),
        }
    }
}

/// An address that the Engine shows in a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownLease {
    pub address: u128,
    pub kind: Kind,
    /// The holder's name, with which an Engine that sends names requests the address again.
    pub name: Option<SmolStr>,
    pub mac: Option<Mac>,
    /// For the history.
    pub evidence: Box<str>,
}

impl ShownLease {
    /// The lease's record for the books; `old` is what they remember about the address.
    pub(super) fn record(&self, old: Option<&Record>, since: Millis, generation: u64) -> Record {
        Record {
            leased: true,
            kind: self.kind,
            name: self.name.clone(),
            mac: self.mac,
            asked_by_number: old.is_some_and(|old| old.asked_by_number),
            withheld: false,
            since,
            generation,
        }
    }
}

/// A moment in the books: everything in them at that time had a lower generation and an earlier time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The next generation at that moment.
    pub generation: u64,
    pub at: Millis,
}
