//! Repair's input to the plan: what it has proven, and what it wants changed.
//!
//! Promises: plain values; everything is named by serial and generation, and is refused if it has changed since.
//! Does not decide.

use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;

use super::change::{Kind, Record, Serial, ShownHolder};
use super::evidence::{Death, ProofKey};
use super::prefix::Prefix;
use super::request::Mac;
use super::settings::Millis;
use super::shown::{Configured, EngineIdentity, Network};
use super::strangers::Strangers;

/// What repair knows: what is proven dead (in two views at least a minute apart, both a minute after its grant), what is
/// seen alive, and what the Engine calls it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dead {
    /// Leases and subnets.
    pub proven: BTreeMap<ProofKey, Death>,
    /// Leases that the Engine shows alive although every caller that can have requested them has ended.
    pub alive_all_the_same: BTreeSet<ProofKey>,
    /// What the Engine calls the holders, by serial and address, with the generation of the lease.
    pub holders: BTreeMap<(Serial, u128), (u64, ShownHolder)>,
    /// What the Engine calls the networks, by serial, with the generation of the grant.
    pub networks: BTreeMap<Serial, (u64, Box<str>)>,
    /// Subnets of networks that the Engine has and the books do not hold: of lost books, or of other IPAM drivers.
    pub strangers: Strangers,
}

impl Dead {
    /// What the Engine called the holder of a lease when repair last looked.
    pub fn holder(&self, serial: Serial, address: u128, generation: u64) -> Option<&ShownHolder> {
        self.holders.get(&(serial, address)).filter(|(of, _)| *of == generation).map(|(_, shown)| shown)
    }

    /// What the Engine called the network of a subnet when repair last looked.
    pub fn network(&self, serial: Serial, generation: u64) -> Option<&str> {
        self.networks.get(&serial).filter(|(of, _)| *of == generation).map(|(_, name)| name.as_ref())
    }
}

/// How certain it is that a caller and its containers are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// Its process has ended; containers of it may live on (`live-restore`).
    Itself,
    /// It has ended, and no container outlived it.
    WithItsContainers,
}

/// Repair's requests, off the request path. Each names what it saw, by serial, address and generation, or the moment at which
/// the books were read (the Engine was asked afterwards), and is refused if that has changed since. Evidence is for the history.
#[derive(Clone, Debug, PartialEq)]
pub enum Repair {
    /// Frees the lease or subnet that is proven dead.
    Free(Death),
    /// This Engine is the one whose networks the books hold.
    Engine(Box<EngineIdentity>),
    /// One address is at two living endpoints: for the history and its followers. Refused while the address may only have
    /// changed its holder.
    Doubled { serial: Serial, address: u128, read: Fence, evidence: Box<str> },
    /// Adopts whole networks with all that lives in them: all or none, as some may share a prefix.
    AdoptSubnets(Vec<Adoption>),
    /// Sets the PoolID that Docker has for the adopted subnet of this prefix in space local; of this range where several
    /// share the prefix.
    NameSubnet { prefix: Prefix, id: String },
    /// Takes a lease into a subnet that the Engine shows live there: nothing granted or released since may be there.
    Adopt { serial: Serial, lease: ShownLease, read: Fence },
    /// Sets the kind of a lease whose kind was unknown.
    Identify { serial: Serial, address: u128, generation: u64, kind: Kind, evidence: Box<str> },
    /// The Engine's list of a subnet was read.
    Listed { serial: Serial, generation: u64 },
    /// A request from a caller that is not recorded; `boot` is the name of this boot, for callers that cannot be distinguished,
    /// and `gone` are recorded callers that have ended.
    Arrival { boot: Box<str>, arrived: Box<str>, gone: Vec<(Box<str>, Gone)> },
    /// What the Engine calls the network of a subnet.
    NameNetwork { serial: Serial, generation: u64, network: Box<str> },
    /// What the Engine calls a holder.
    Name { serial: Serial, address: u128, generation: u64, shown: ShownHolder },
}

/// A network of space local that the Engine shows and whose subnet the books do not hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Adoption {
    pub prefix: Prefix,
    /// Its `--ip-range`.
    pub range: Option<Prefix>,
    /// Its `--ipam-opt` map.
    pub options: BTreeMap<String, String>,
    /// Its PoolID, where a person knows it: the Engine does not show it.
    pub id: Option<String>,
    /// What lives in it: the gateway first, then auxiliary addresses, then endpoints.
    pub leases: Vec<ShownLease>,
    /// When the books were read that lacked it: nothing granted or released since may be there.
    pub read: Fence,
    /// For the history.
    pub evidence: Box<str>,
}

impl Adoption {
    /// A network as the Engine shows it, without what lives in it.
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
    /// The holder's name, by which an Engine that sends names asks for it again.
    pub name: Option<SmolStr>,
    pub mac: Option<Mac>,
    /// For the history.
    pub evidence: Box<str>,
}

impl ShownLease {
    /// As it comes into the books; `old` is what they remember of the address.
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

/// A moment in the books: everything in them then had a lower generation and an earlier time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The next generation then.
    pub generation: u64,
    pub at: Millis,
}
