//! The plan's refusals: their kind, the standard phrase, and what to do next.
//!
//! Promises: every message of the plan is lower case, begins with the phrase known from libnetwork's ipamapi, contains the
//! values, and ends with what a person can do. Docker prints them after `Error response from daemon: IpamDriver.X: `.

use std::fmt::Display;
use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::change::SubnetState;
use super::prefix::Prefix;
use super::settings::rfc3339;

/// The class of a refusal: what its recipient can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request can never succeed as it stands.
    Invalid,
    /// The request names something that does not exist.
    Missing,
    /// Already held.
    Taken,
    /// No free address or subnet is left.
    Exhausted,
    /// Not possible now.
    Unavailable,
    /// Can be decided only in a few seconds, as the data may be older than the books. In all other respects,
    /// this is `Unavailable`.
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

/// Why something was not done, used in every module: the plan refused it, the disk does not accept writes, or
/// a person requested something impossible. On the wire of the admin socket: `{"Err": text, "kind": kind}`.
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

/// The plan's refusals, named after the errors of ipamapi whose phrases they begin with.
impl Refusal {
    pub fn invalid_space(why: impl Display) -> Self {
        Self::new(ErrorKind::Invalid, format!("invalid address space: {why}"))
    }

    pub fn invalid_pool(why: impl Display) -> Self {
        Self::new(ErrorKind::Invalid, format!("invalid address pool: {why}"))
    }

    pub fn invalid_sub_pool(why: impl Display) -> Self {
        Self::new(ErrorKind::Invalid, format!("invalid address sub-pool: {why}"))
    }

    pub fn invalid_request(why: impl Display) -> Self {
        Self::new(ErrorKind::Invalid, format!("invalid request: {why}"))
    }

    /// `why`: `is outside 192.0.2.0/24`, `is the network address of ...`.
    pub fn out_of_range(address: IpAddr, why: impl Display) -> Self {
        Self::new(ErrorKind::Invalid, format!("requested address is out of range: {address} {why}"))
    }

    pub fn outside(address: IpAddr, prefix: Prefix) -> Self {
        Self::out_of_range(address, format!("is outside {prefix}; choose an address of that subnet"))
    }

    /// No grant has this PoolID.
    pub fn pool_not_found(id: &str) -> Self {
        let text = format!(
            "address pool not found: no subnet is granted under PoolID {id:?}; if its network still exists, gipam gc shows how to adopt it, or recreate the network"
        );
        Self::new(ErrorKind::Missing, text)
    }

    /// A subnet or lease that does not exist.
    pub fn not_found(what: impl Display) -> Self {
        Self::new(ErrorKind::Missing, format!("address pool not found: {what}"))
    }

    /// The view of the Engine is older than the books.
    pub fn out_of_date(why: impl Display) -> Self {
        Self::new(ErrorKind::TooEarly, format!("not now: {why}"))
    }

    /// A requested prefix overlaps this held subnet. `remedy`: a Docker command comes first.
    pub fn pool_overlap(
        asked: Prefix,
        held: &SubnetState,
        holder: impl Display,
        remedy: impl Display,
    ) -> Self {
        let SubnetState { prefix, space, granted_at, .. } = held;
        let since = rfc3339(*granted_at);
        let text = format!(
            "pool overlaps with other one on this address space: {asked} overlaps {prefix}, granted {holder} in space {space} since {since}; {remedy}"
        );
        Self::new(ErrorKind::Taken, text)
    }

    /// A subnet to adopt or import overlaps one in the books.
    pub fn overlap_pool(what: impl Display) -> Self {
        let text = format!("address pool overlaps with existing pool on this address space: {what}");
        Self::new(ErrorKind::Taken, text)
    }

    /// `remedy`: a Docker command comes first.
    pub fn in_use(address: IpAddr, holder: &str, remedy: &str) -> Self {
        let text = format!("address already in use: {address} is held by {holder}; {remedy}");
        Self::new(ErrorKind::Taken, text)
    }

    /// A person pinned the address to another holder.
    pub fn pinned(address: IpAddr, holder: impl Display) -> Self {
        let text = format!(
            "address already in use: {address} is pinned to {holder}; remove the pin with: gipam unpin {address}"
        );
        Self::new(ErrorKind::Taken, text)
    }

    pub fn no_available_pool(why: impl Display) -> Self {
        Self::new(ErrorKind::Exhausted, format!("no available pool: {why}"))
    }

    pub fn no_available_addresses(why: impl Display) -> Self {
        Self::new(ErrorKind::Exhausted, format!("no available addresses on this pool: {why}"))
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
