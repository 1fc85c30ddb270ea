//! The plan's input and output: requests, replies and the circumstances of a decision.
//!
//! Promises: plain values, already parsed (no wire text, no JSON). Does not decide.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use smol_str::SmolStr;

use super::change::{Change, Kind, Record, Serial, Shown, SubnetState};
use super::error::Error;
use super::evidence::Death;
use super::prefix::{Family, Prefix};
use super::settings::Millis;
use super::shown::EngineIdentity;

/// An address space has its own table of subnets (P24: a Swarm manager requests the same subnet in both).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Networks of this host; the empty string on the wire means this one too.
    Local,
    /// Networks of a whole Swarm.
    Global,
}

impl Space {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Global => "global",
        }
    }

    /// The space of this name; `""` means local.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "local" => Some(Self::Local),
            "global" => Some(Self::Global),
            _ => None,
        }
    }
}

impl fmt::Display for Space {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A MAC address.
pub type Mac = [u8; 6];

/// The time and random bits; both come from outside.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Milliseconds since the UNIX epoch; never goes backwards between two decisions.
    pub now: Millis,
    /// 64 random bits for a PoolID.
    pub random: u64,
}

/// Why a prefix on this host must not be offered to Docker (P12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InUseKind {
    /// The address of an interface, as a host prefix.
    InterfaceAddress,
    /// A nameserver of resolv.conf.
    Nameserver,
    /// An IPv4 route of scope link in the main table: dockerd refuses whatever overlaps it.
    OnLinkV4Route,
    /// Any other unicast route.
    Route,
}

/// One prefix in use on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse {
    /// The prefix.
    pub prefix: Prefix,
    /// What uses it.
    pub kind: InUseKind,
    /// As text for people: `10.9.0.0/22 dev eth0 scope link`.
    pub text: String,
}

/// Which subnet is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Any; of this size if one was named (`0.0.0.0/N`, `::/N`).
    Any {
        /// Prefix length from a size request.
        size: Option<u8>,
    },
    /// Exactly this one.
    Exact(Prefix),
}

/// RequestPool.
#[derive(Clone, Debug, PartialEq)]
pub struct SubnetRequest {
    /// In this address space.
    pub space: Space,
    /// Of this family.
    pub family: Family,
    /// Which one.
    pub wanted: Wanted,
    /// The range dynamic addresses shall come from (`SubPool`).
    pub range: Option<Prefix>,
    /// The `--ipam-opt` map.
    pub options: BTreeMap<String, String>,
    /// Names of the pools open to the driver that was asked, in order; all pools if absent.
    pub pools: Option<Arc<[String]>>,
    /// What the host uses; empty for an explicit request.
    pub in_use: Arc<[InUse]>,
    /// Proven dead: an explicit request may replace it.
    pub dead: Arc<Dead>,
}

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
    pub holders: BTreeMap<(Serial, u128), (u64, Shown)>,
    /// What the Engine calls the networks, by serial, with the generation of the grant.
    pub networks: BTreeMap<Serial, (u64, Box<str>)>,
}

impl Dead {
    /// What the Engine called the holder of a lease when repair last looked.
    pub fn holder(&self, serial: Serial, address: u128, generation: u64) -> Option<&Shown> {
        self.holders.get(&(serial, address)).filter(|(of, _)| *of == generation).map(|(_, shown)| shown)
    }

    /// What the Engine called the network of a subnet when repair last looked.
    pub fn network(&self, serial: Serial, generation: u64) -> Option<&str> {
        self.networks.get(&serial).filter(|(of, _)| *of == generation).map(|(_, name)| name.as_ref())
    }
}

/// How certainly nothing of a caller is left.
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
        /// The proof, which says of what.
        death: Death,
        /// A subnet: only while its PoolID is unknown.
        unnamed: bool,
    },
    /// This Engine is the one whose networks the books hold.
    Engine(Box<EngineIdentity>),
    /// One address is at two living endpoints: for the history and its followers.
    Doubled {
        /// In this subnet.
        serial: Serial,
        /// Its number.
        address: u128,
        /// Of this lease.
        generation: u64,
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
        shown: Shown,
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

/// RequestAddress.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AddressRequest {
    /// The PoolID.
    pub id: String,
    /// The address asked for by number.
    pub address: Option<IpAddr>,
    /// `RequestAddressType` = `com.docker.network.gateway`.
    pub gateway: bool,
    /// `com.docker.network.endpoint.name` (Engine 29+).
    pub name: Option<SmolStr>,
    /// `com.docker.network.endpoint.macaddress`.
    pub mac: Option<Mac>,
    /// `com.docker.network.ipam.serial=true`: next-fit, whatever the pool's order.
    pub serial: bool,
    /// What is proven dead and may be replaced: by an explicit request, or by its own holder.
    pub dead: Arc<Dead>,
    /// The endpoint's IPv6 request was refused a moment ago.
    pub half: Option<Half>,
}

impl AddressRequest {
    /// Whether it names an address or its holder.
    pub const fn names_somebody(&self) -> bool {
        self.address.is_some() || (!self.gateway && (self.name.is_some() || self.mac.is_some()))
    }
}

/// A refused IPv6 address, after which Docker abandoned the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Half {
    /// The endpoint's name, where Docker sends it.
    pub name: Option<SmolStr>,
    /// Its MAC: invented by Docker for each endpoint, or fixed by a person.
    pub mac: Mac,
    /// When it was refused.
    pub at: Millis,
}

impl Half {
    /// Whether this may be the same endpoint trying again: by name, or by MAC where names are not sent.
    pub fn is_of(&self, request: &AddressRequest) -> bool {
        self.name == request.name && (self.name.is_some() || request.mac == Some(self.mac))
    }
}

/// Everything that can be asked of the plan.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A subnet for a network.
    Subnet(SubnetRequest),
    /// An address in a subnet.
    Address(AddressRequest),
    /// ReleasePool: unknown ids succeed.
    ReleaseSubnet {
        /// The PoolID.
        id: String,
        /// Only if the grant still has this generation (a release kept back on a full disk).
        generation: Option<u64>,
    },
    /// ReleaseAddress: unknown ids and free addresses succeed.
    ReleaseAddress {
        /// The PoolID.
        id: String,
        /// The address.
        address: IpAddr,
        /// Only if the lease still has this generation.
        generation: Option<u64>,
    },
    /// `gipam release --force`.
    Force {
        /// A prefix or a PoolID.
        subnet: String,
        /// One address of it; none for the whole subnet.
        address: Option<IpAddr>,
        /// Only if the lease, or the grant, still has this generation.
        generation: Option<u64>,
    },
    /// Undoes a grant whose answer could not be delivered.
    Undo(Box<Undo>),
    /// Repairs what Docker lost.
    Repair(Box<Repair>),
}

/// A word of `key=`, where it pointed and since when.
pub type KeyBefore = (String, Option<(Prefix, Millis)>);

/// How to undo a grant: only what this request changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Undo {
    /// A subnet.
    Subnet {
        /// Which.
        serial: Serial,
        /// Of this grant.
        generation: u64,
        /// What was remembered of the prefix before.
        previous: Option<Box<SubnetState>>,
        /// Where the key pointed before.
        key: Option<KeyBefore>,
    },
    /// An address.
    Address {
        /// In this subnet.
        serial: Serial,
        /// Its number.
        address: u128,
        /// Of this lease.
        generation: u64,
        /// What was there before.
        previous: Option<Box<Record>>,
        /// Where the gateway was before, should this have been a gateway.
        gateway: Option<u128>,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A subnet.
    Subnet {
        /// The PoolID.
        id: String,
        /// Its prefix.
        prefix: Prefix,
    },
    /// An address and the length of its subnet (P11: never another length).
    Address {
        /// The address.
        address: IpAddr,
        /// Prefix length of the subnet.
        length: u8,
    },
    /// Done.
    Done,
    /// Not before this time; ask again then.
    Wait(Millis),
}

/// One decision: the answer, and what must be durable before it leaves.
#[derive(Debug)]
pub struct Decision {
    /// The answer or the refusal.
    pub reply: Result<Reply, Error>,
    /// To commit, then apply, in this order. A refusal may carry some (the storm guard marks what it saw).
    pub changes: Vec<Change>,
    /// For the log: what the operator should know about this choice.
    pub warnings: Vec<String>,
    /// How to undo the grant if it cannot be delivered.
    pub undo: Option<Undo>,
}

impl Decision {
    /// An answer that changes nothing.
    pub const fn unchanged(reply: Reply) -> Self {
        Self { reply: Ok(reply), changes: Vec::new(), warnings: Vec::new(), undo: None }
    }

    /// A refusal that changes nothing.
    pub const fn refused(error: Error) -> Self {
        Self { reply: Err(error), changes: Vec::new(), warnings: Vec::new(), undo: None }
    }
}
