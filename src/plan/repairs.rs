//! Repair's input to the plan: what it has proven, and what it wants changed.
//!
//! Promises: plain values; everything is named by serial and generation, and is refused if it has changed since.
//! Does not decide.

use std::collections::{BTreeMap, BTreeSet};

use smol_str::SmolStr;

use super::change::{Kind, Serial, ShownHolder};
use super::evidence::Death;
use super::prefix::Prefix;
use super::request::Mac;
use super::settings::Millis;
use super::shown::EngineIdentity;
use super::strangers::Strangers;

/// What repair knows: what is proven dead (in two views at least a minute apart, both a minute after its grant), what is
/// seen alive, and what the Engine calls it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dead {
    /// Leases: serial, address, generation.
    pub leases: BTreeMap<(Serial, u128, u64), Death>,
    /// Subnets: serial, generation.
    pub subnets: BTreeMap<(Serial, u64), Death>,
    /// Subnets that are dead only if their PoolID is still unknown.
    pub unnamed: BTreeMap<(Serial, u64), Death>,
    /// Leases that the Engine shows alive although every caller that can have requested them has ended.
    pub alive_all_the_same: BTreeSet<(Serial, u128, u64)>,
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

/// Repair's requests, off the request path. Each names what it saw and is refused if that has changed since.
#[derive(Clone, Debug, PartialEq)]
pub enum Repair {
    /// Frees a lease or a subnet that is proven dead.
    Free {
        /// The proof, which names what is dead.
        death: Death,
        /// A subnet: only while its PoolID is unknown.
        unnamed: bool,
    },
    /// This Engine is the one whose networks the books hold.
    Engine(Box<EngineIdentity>),
    /// One address is at two living endpoints: for the history and its followers. Refused while the address may only have
    /// changed its holder.
    Doubled {
        /// In this subnet.
        serial: Serial,
        /// Its number.
        address: u128,
        /// When the books were read; the Engine was asked afterwards.
        read: Fence,
        /// Its holders.
        evidence: Box<str>,
    },
    /// Adopts whole networks with all that lives in them: all or none, as some may share a prefix.
    AdoptSubnets(Vec<Adoption>),
    /// Sets the PoolID that Docker has for an adopted subnet.
    NameSubnet {
        /// Its prefix, in space local; its range where several share the prefix.
        prefix: Prefix,
        /// The PoolID.
        id: String,
    },
    /// Takes a lease into the books that the Engine shows live.
    Adopt {
        /// In this subnet.
        serial: Serial,
        /// Its number.
        address: u128,
        /// What it is.
        kind: Kind,
        /// What the Engine calls the holder: by this name an Engine that sends names asks for it again.
        name: Option<SmolStr>,
        /// The holder's MAC.
        mac: Option<Mac>,
        /// When the books were read that lacked it: nothing granted or released since may be there.
        read: Fence,
        /// For the history.
        evidence: Box<str>,
    },
    /// Sets the kind of a lease whose kind was unknown.
    Identify {
        /// In this subnet.
        serial: Serial,
        /// Its number.
        address: u128,
        /// Of this lease.
        generation: u64,
        /// What it is.
        kind: Kind,
        /// For the history.
        evidence: Box<str>,
    },
    /// The Engine's list of a subnet was read.
    Listed {
        /// Which.
        serial: Serial,
        /// Of this grant.
        generation: u64,
    },
    /// A request from a caller that is not recorded.
    Arrival {
        /// The name of this boot, for callers that cannot be distinguished.
        boot: Box<str>,
        /// The new caller.
        arrived: Box<str>,
        /// Recorded callers that have ended.
        gone: Vec<(Box<str>, Gone)>,
    },
    /// What the Engine calls the network of a subnet.
    NameNetwork {
        /// Which.
        serial: Serial,
        /// Of this grant.
        generation: u64,
        /// The network's name.
        network: Box<str>,
    },
    /// What the Engine calls a holder.
    Name {
        /// In this subnet.
        serial: Serial,
        /// Its number.
        address: u128,
        /// Of this lease.
        generation: u64,
        /// The container and its network.
        shown: ShownHolder,
    },
}

/// A network of space local that the Engine shows and whose subnet the books do not hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Adoption {
    /// Its subnet.
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

/// An address that the Engine shows in a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownLease {
    /// Its number.
    pub address: u128,
    /// What it is.
    pub kind: Kind,
    /// The holder's name, by which an Engine that sends names asks for it again.
    pub name: Option<SmolStr>,
    /// The holder's MAC.
    pub mac: Option<Mac>,
    /// For the history.
    pub evidence: Box<str>,
}

/// A moment in the books: everything in them then had a lower generation and an earlier time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The next generation then.
    pub generation: u64,
    /// Milliseconds since the UNIX epoch.
    pub at: Millis,
}
