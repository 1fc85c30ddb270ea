//! The plan's input and output: requests, replies and decisions.
//!
//! Promises: plain values, already parsed (no wire text, no JSON). Makes no decisions.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use smol_str::SmolStr;

use super::change::{Change, Record, Serial, SubnetState};
use super::error::Refusal;
use super::host_use::HostUse;
pub use super::mac::Mac;
use super::prefix::{Family, Prefix};
pub use super::quarantine::{ProbeResult, Probed};
pub use super::repairs::{Adoption, Dead, Fence, Gone, Repair, ShownLease};
use super::settings::Millis;
pub use super::slices::{Cannot, SliceRequest, Want};

/// An address space, with its own table of subnets (P24: a Swarm manager requests the same subnet in both).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Networks of this host; the empty string on the wire also means this one.
    Local,
    /// Networks of a whole Swarm.
    Global,
}

impl Space {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Global => "global",
        }
    }

    /// The space with this name; `""` means local.
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

/// Why a prefix on this host must not be offered to Docker (P12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InUseKind {
    /// The address of an interface, as a host prefix.
    InterfaceAddress,
    /// A nameserver in resolv.conf, as a host prefix. dockerd compares subnets of both families with these.
    Nameserver,
    /// An IPv4 unicast route of scope link in the main table: dockerd refuses everything that overlaps it.
    OnLinkV4Route,
    /// Any other unicast route of either family, in any table but the kernel's local one.
    Route,
}

/// One prefix in use on this host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InUse {
    pub prefix: Prefix,
    pub kind: InUseKind,
    /// As text for people: `10.9.0.0/22 dev eth0 scope link`, `address 10.9.0.5/22 on eth0`, `nameserver 10.0.0.53`.
    pub text: String,
}

/// Which subnet is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Any subnet; of this size if the request has one (`0.0.0.0/N`, `::/N`).
    Any { size: Option<u8> },
    /// Exactly this subnet.
    Exact(Prefix),
}

/// RequestPool.
#[derive(Clone, Debug, PartialEq)]
pub struct SubnetRequest {
    pub space: Space,
    pub family: Family,
    pub wanted: Wanted,
    /// The range from which dynamic addresses must come (`SubPool`).
    pub range: Option<Prefix>,
    /// The `--ipam-opt` map.
    pub options: BTreeMap<String, String>,
    /// Names of the pools that the requested driver may use, in order; all pools if `None`.
    pub pools: Option<Arc<[String]>>,
    /// The prefixes in use on the host; empty for an explicit request.
    pub in_use: HostUse,
    /// How many requests of the same kind came directly before this one, each as soon as the previous one was answered.
    pub in_a_row: u32,
    /// Subnets that are proven dead; an explicit request may replace them.
    pub dead: Arc<Dead>,
    /// The wants that cannot be claimed, and why. The search goes on without them.
    pub cannot: Cannot,
}

/// RequestAddress.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AddressRequest {
    /// The PoolID.
    pub id: String,
    pub address: Option<IpAddr>,
    /// `RequestAddressType` = `com.docker.network.gateway`.
    pub gateway: bool,
    /// `com.docker.network.endpoint.name` (Engine 29+).
    pub name: Option<SmolStr>,
    /// `com.docker.network.endpoint.macaddress`.
    pub mac: Option<Mac>,
    /// `com.docker.network.ipam.serial=true`: next-fit instead of the pool's order.
    pub serial: bool,
    /// Leases that are proven dead; an explicit request, or a request from the lease's own holder, may replace them.
    pub dead: Arc<Dead>,
    /// Set if the IPv6 request of this endpoint was refused a moment ago.
    pub half: Option<Half>,
    /// What cannot be claimed, and why: the search goes on without it.
    pub cannot: Cannot,
    /// Which addresses did not answer when they were probed; only for pools that are probed. Allocates nothing for others.
    pub probed: Option<Arc<Probed>>,
}

impl AddressRequest {
    /// Whether this record belongs to the caller: by name, or by MAC where names are not sent.
    pub(super) fn is_of_caller(&self, record: &Record) -> bool {
        match &self.name {
            Some(name) => record.name.as_ref() == Some(name),
            None => self.mac.is_some() && record.mac == self.mac,
        }
    }
}

/// A refused IPv6 address, after which Docker abandoned the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Half {
    /// The endpoint's name, where Docker sends it.
    pub name: Option<SmolStr>,
    /// The endpoint's MAC: generated by Docker for each endpoint, or fixed by a person.
    pub mac: Mac,
    pub at: Millis,
}

impl Half {
    /// Whether this may be the same endpoint trying again: by name, or by MAC where names are not sent.
    pub fn is_of(&self, request: &AddressRequest) -> bool {
        self.name == request.name && (self.name.is_some() || request.mac == Some(self.mac))
    }
}

/// Every request that the plan accepts. With a `generation`, a release is carried out only if the grant or lease still has
/// it: it was deferred because the disk was full, or is based on an earlier survey of the Engine.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// A subnet for a network.
    Subnet(SubnetRequest),
    /// An address in a subnet.
    Address(AddressRequest),
    /// ReleasePool, or ReleaseAddress if there is an address: succeeds for unknown PoolIDs and free addresses too.
    Release { id: String, address: Option<IpAddr>, generation: Option<u64> },
    /// `gipam release --force` of a subnet, named by prefix or PoolID, or of one address in it.
    Force { subnet: String, address: Option<IpAddr>, generation: Option<u64> },
    /// Undoes a grant whose answer could not be delivered.
    Undo(Box<Undo>),
    /// Repairs what Docker lost.
    Repair(Box<Repair>),
    /// Records the outcome of a claim of a slice.
    Slice(Box<SliceRequest>),
    /// Records the outcome of a probe.
    Probed(ProbeResult),
}

impl Request {
    /// Records that this want cannot be claimed for this request, and why.
    pub fn note_cannot(&mut self, want: Want, why: &str) {
        let (Self::Subnet(SubnetRequest { cannot, .. }) | Self::Address(AddressRequest { cannot, .. })) =
            self
        else {
            return;
        };
        cannot.note(want, why);
    }
}

/// A value of the option `key=`, with the prefix to which it pointed before and since when.
pub type KeyBefore = (String, Option<(Prefix, Millis)>);

/// How to undo a grant that still has this generation: it reverts only what the request changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Undo {
    /// The previous memory of the prefix, and the previous target of the key.
    Subnet { serial: Serial, generation: u64, previous: Option<Box<SubnetState>>, key: Option<KeyBefore> },
    /// The previous record of the address, and the previous gateway if this grant was a gateway.
    Address {
        serial: Serial,
        address: u128,
        generation: u64,
        previous: Option<Box<Record>>,
        gateway: Option<u128>,
    },
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A subnet: its PoolID, its prefix, and the gateway that the configuration names (Docker then requests none).
    Subnet {
        id: String,
        prefix: Prefix,
        gateway: Option<IpAddr>,
    },
    /// An address and the length of its subnet (P11: never another length).
    Address {
        address: IpAddr,
        length: u8,
    },
    Done,
    /// Not possible before this time; repeat the request then.
    Wait(Millis),
    /// The request lacks the prefixes that the host uses in some pool. Survey the host for these prefixes,
    /// the bases of all pools, and repeat the request.
    Look(Box<[Prefix]>),
    /// The address would be given next, but it is not known whether a stranger has it. Probe it, and repeat the request with the
    /// result.
    Probe(IpAddr),
    /// The request needs space that no slice of this host contains. Claim the space, or record in `cannot`
    /// why the claim is impossible, and repeat the request.
    Claim(Want),
}

/// One decision: the answer, and the changes that must be durable before it is sent.
#[derive(Debug)]
pub struct Decision {
    pub reply: Result<Reply, Refusal>,
    /// To commit, then apply, in this order. A refusal may carry some (the storm guard marks the subnets that it saw).
    pub changes: Vec<Change>,
    /// Warnings about this choice, for the log.
    pub warnings: Vec<String>,
    /// How to undo the grant if its answer cannot be delivered.
    pub undo: Option<Undo>,
}

impl Decision {
    /// An answer that changes nothing.
    pub const fn unchanged(reply: Reply) -> Self {
        Self { reply: Ok(reply), changes: Vec::new(), warnings: Vec::new(), undo: None }
    }

    /// The decision for a request that returns no value: these changes, or a refusal.
    pub fn done(outcome: Result<Vec<Change>, Refusal>) -> Self {
        match outcome {
            Ok(changes) => Self { changes, ..Self::unchanged(Reply::Done) },
            Err(error) => Self::refused(error),
        }
    }

    /// A refusal that changes nothing.
    pub const fn refused(error: Refusal) -> Self {
        Self { reply: Err(error), changes: Vec::new(), warnings: Vec::new(), undo: None }
    }
}
