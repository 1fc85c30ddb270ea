//! What gipam keeps in the kernel of this host, for the status: one row for each kind of objects.
//!
//! Promises: the names are a contract with programs; the words for people are the same in the log, the status and `gipam doctor`.
//! Does not read the kernel.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A kind of objects that gipam keeps in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KindName {
    /// The routes to the slices of a plan of several hosts.
    #[default]
    Routes,
    /// The prefixes of pools that are translated.
    Translations,
    /// The routes that discard packets to addresses of a pool that no network has.
    Discards,
    /// The addresses for which the host answers on an uplink.
    Proxies,
}

impl KindName {
    /// As it is written in rows and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Routes => "routes",
            Self::Translations => "translations",
            Self::Discards => "discards",
            Self::Proxies => "proxies",
        }
    }

    /// What one object is, to be counted.
    pub const fn one(self) -> &'static str {
        match self {
            Self::Routes => "route",
            Self::Translations => "translation",
            Self::Discards => "discard route",
            Self::Proxies => "proxy entry",
        }
    }

    /// All of them.
    pub const fn all(self) -> &'static str {
        match self {
            Self::Routes => "routes of the plan",
            Self::Translations => "translations of prefixes",
            Self::Discards => "discard routes",
            Self::Proxies => "proxy entries",
        }
    }

    /// How a line about a missing object begins, before its prefix.
    pub const fn lacking(self) -> &'static str {
        match self {
            Self::Routes => "no route to",
            Self::Translations => "no translation of",
            Self::Discards => "no discard route for",
            Self::Proxies => "no proxy entry for",
        }
    }

    /// What a person can do about a missing object.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Routes => {
                "mend the addresses of this host, or via in the plan; gipam then makes the route by itself"
            }
            Self::Translations => {
                "mend outer of the pool, or get a prefix from the provider; gipam then translates by itself"
            }
            Self::Discards => "remove the other route; gipam then makes its own by itself",
            Self::Proxies => "remove the other entry, then run gipam reload",
        }
    }

    /// Where the documentation of the kind is.
    pub const fn page(self) -> &'static str {
        match self {
            Self::Routes => "docs/many-hosts.md, section Routes",
            Self::Translations => "docs/ipv6.md",
            Self::Discards | Self::Proxies => "docs/ipv6.md",
        }
    }
}

/// The objects of one kind that gipam keeps in the kernel of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KernelRow {
    pub kind: KindName,
    /// How many there are to be.
    pub wanted: u64,
    /// How many of them are in place.
    pub kept: u64,
    /// Those that the kernel did not accept; at most [`UNMADE`] of them.
    pub unmade: Vec<UnmadeObject>,
    /// Why gipam cannot keep some or all of them.
    pub error: Option<String>,
}

/// How many refused objects a row lists at most.
pub const UNMADE: usize = 1_000;

impl KernelRow {
    /// The state if nothing can be changed.
    pub fn failed(kind: KindName, wanted: usize, error: &str) -> Self {
        Self { kind, wanted: wanted as u64, error: Some(error.to_owned()), ..Self::default() }
    }
}

/// An object that the kernel did not accept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnmadeObject {
    /// Its prefix or address.
    pub prefix: String,
    /// The host to which a route leads; empty for other objects.
    pub host: String,
    /// The next hop of a route; `null` for other objects.
    pub via: Option<IpAddr>,
    pub why: String,
}
