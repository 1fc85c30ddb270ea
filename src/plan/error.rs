//! The plan's refusals: their kind, the standard phrase, and what to do next.
//!
//! Promises: every message is lower case, begins with the phrase known from libnetwork's ipamapi, contains the
//! values, and ends with what a person can do. Docker prints them after `Error response from daemon: IpamDriver.X: `.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::prefix::Prefix;
use super::request::Space;

/// The class of a refusal: what its recipient can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request can never succeed as it stands.
    Invalid,
    /// The request names something that does not exist.
    Missing,
    /// Already held.
    Taken,
    /// Nothing is left to give.
    Exhausted,
    /// Not possible now.
    Unavailable,
    /// Can be decided only in a few seconds, as the data may be older than the books. Otherwise the same as `Unavailable`.
    TooEarly,
    /// The daemon does not answer. Never sent: the client sets it.
    Unreachable,
    /// A bug or failure in gipam.
    Failed,
}

impl ErrorKind {
    /// For each kind: its name, Docker's HTTP status (classed as in ipamapi), the HTTP status of the admin socket, and the exit
    /// code of a command.
    const fn row(self) -> (&'static str, u16, u16, u8) {
        match self {
            Self::Invalid => ("invalid", 400, 400, 2),
            Self::Missing => ("missing", 400, 404, 3),
            Self::Taken => ("taken", 403, 409, 4),
            Self::Exhausted => ("exhausted", 503, 503, 5),
            Self::Unavailable | Self::TooEarly => ("unavailable", 503, 503, 1),
            Self::Unreachable => ("unreachable", 503, 503, 6),
            Self::Failed => ("failed", 500, 500, 1),
        }
    }

    /// The kind's name, in metrics and on the wire of the admin socket.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The kind for a received name; any unknown name is a failure.
    pub fn named(name: &str) -> Self {
        let sent = [Self::Invalid, Self::Missing, Self::Taken, Self::Exhausted, Self::Unavailable];
        sent.into_iter().find(|kind| kind.name() == name).unwrap_or(Self::Failed)
    }

    /// The HTTP status sent to Docker.
    pub const fn status(self) -> u16 {
        self.row().1
    }

    /// The HTTP status on the admin socket.
    pub const fn admin_status(self) -> u16 {
        self.row().2
    }

    /// The exit code of a command.
    pub const fn exit_code(self) -> u8 {
        self.row().3
    }
}

impl Serialize for ErrorKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for ErrorKind {
    /// A kind added by a later version counts as a failure.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|name| Self::named(&name))
    }
}

/// Why something was not done, used in every room: the plan refused it, the disk does not accept writes, or a person requested
/// something impossible. On the wire of the admin socket it is `{"Err": text, "kind": kind}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// For people: what is wrong and what to do.
    #[serde(rename = "Err")]
    pub text: String,
    /// The class of the refusal.
    pub kind: ErrorKind,
}

impl Refusal {
    /// A refusal of this kind.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { text: text.into(), kind }
    }
}

impl From<PlanError> for Refusal {
    fn from(error: PlanError) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

/// What the plan refuses. Variants are named after ipamapi's errors, which Docker developers know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// ipamapi ErrIpamInternalError.
    #[error("IPAM internal error: {0}")]
    Internal(String),
    /// ipamapi ErrInvalidAddressSpace.
    #[error("invalid address space: {0}")]
    InvalidAddressSpace(String),
    /// ipamapi ErrInvalidPool.
    #[error("invalid address pool: {0}")]
    InvalidPool(String),
    /// ipamapi ErrInvalidSubPool.
    #[error("invalid address sub-pool: {0}")]
    InvalidSubPool(String),
    /// ipamapi ErrInvalidRequest.
    #[error("invalid request: {0}")]
    InvalidRequest(String),
    /// ipamapi ErrPoolNotFound, for a PoolID without a grant.
    #[error(
        "address pool not found: no subnet is granted under PoolID {0:?}; if its network still exists, gipam gc shows how to adopt it, or recreate the network"
    )]
    PoolNotFound(String),
    /// A person named a subnet or lease that does not exist.
    #[error("address pool not found: {0}")]
    NotFound(String),
    /// Repair's view of the Engine is outdated.
    #[error("not now: {0}")]
    OutOfDate(String),
    /// ipamapi ErrIPOutOfRange.
    #[error("requested address is out of range: {address} {why}")]
    OutOfRange {
        address: IpAddr,
        /// `is outside of 192.0.2.0/24`, `is the network address of ...`.
        why: String,
    },
    /// ipamapi ErrPoolOverlap: the requested prefix overlaps a held subnet.
    #[error(
        "pool overlaps with other one on this address space: {asked} overlaps {existing}, granted {holder} in space {space} since {since}; {remedy}"
    )]
    PoolOverlap {
        asked: Prefix,
        existing: Prefix,
        /// `to network web`, or `to a network`.
        holder: String,
        space: Space,
        /// RFC 3339, UTC; filled in where times are formatted.
        since: String,
        /// What a person can do; a Docker command comes first.
        remedy: String,
    },
    /// ipamapi ErrOverlapPool: the imported books would overlap the existing ones.
    #[error("address pool overlaps with existing pool on this address space: {0}")]
    OverlapPool(String),
    /// ipamapi ErrIPAlreadyAllocated.
    #[error("address already in use: {address} is held by {holder}; {remedy}")]
    AddressInUse {
        address: IpAddr,
        holder: String,
        /// What a person can do; a Docker command comes first.
        remedy: String,
    },
    /// A person pinned the address to another holder.
    #[error(
        "address already in use: {address} is pinned to {holder}; remove the pin with: gipam unpin {address}"
    )]
    Pinned { address: IpAddr, holder: String },
    /// ipamapi ErrNoAvailablePool.
    #[error("no available pool: {0}")]
    NoAvailablePool(String),
    /// ipamapi ErrNoAvailableIPs.
    #[error("no available addresses on this pool: {0}")]
    NoAvailableAddresses(String),
}

impl PlanError {
    /// The class of this refusal.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Internal(_) => ErrorKind::Failed,
            Self::InvalidAddressSpace(_)
            | Self::InvalidPool(_)
            | Self::InvalidSubPool(_)
            | Self::InvalidRequest(_)
            | Self::OutOfRange { .. } => ErrorKind::Invalid,
            Self::PoolNotFound(_) | Self::NotFound(_) => ErrorKind::Missing,
            Self::PoolOverlap { .. }
            | Self::OverlapPool(_)
            | Self::AddressInUse { .. }
            | Self::Pinned { .. } => ErrorKind::Taken,
            Self::NoAvailablePool(_) | Self::NoAvailableAddresses(_) => ErrorKind::Exhausted,
            Self::OutOfDate(_) => ErrorKind::TooEarly,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_on_the_wire_has_err_and_kind() {
        let wire = serde_json::to_string(&Refusal::new(ErrorKind::Taken, "in use")).unwrap();
        assert_eq!(wire, r#"{"Err":"in use","kind":"taken"}"#);
        let read: Refusal = serde_json::from_str(r#"{"Err":"x","kind":"new","more":1}"#).unwrap();
        assert_eq!(read, Refusal::new(ErrorKind::Failed, "x"));
    }
}
