//! The rows of a map, and the one list of states.
//!
//! Promises: a contract with programs, like all rows. Draws nothing.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::plan::stretch::Shade;
use crate::view::{Count, Fullness};

/// Every state: its name in rows, its sign on a terminal, and what it is called.
pub(super) const STATES: [(Shade, &str, char, &str); 9] = [
    (Shade::Used, "used", '#', "used"),
    (Shade::Gateway, "gateway", 'G', "gateway"),
    (Shade::Auxiliary, "auxiliary", 'A', "auxiliary"),
    (Shade::Cooling, "cooling", '~', "cooling"),
    (Shade::Pinned, "pinned", 'p', "pinned"),
    (Shade::Slot, "slot", 'o', "kept for the gateway"),
    (Shade::Reserved, "reserved", '=', "reserved"),
    (Shade::Never, "never", 'x', "never given"),
    (Shade::Free, "free", '.', "free"),
];

/// The sign of a state on a terminal, and what it is called; an unknown one is shown as free.
pub fn sign_of(state: &str) -> (char, &'static str) {
    let found = STATES.iter().find(|(_, name, ..)| *name == state);
    found.map_or(('.', "free"), |(_, _, sign, words)| (*sign, words))
}

/// The picture of a pool's family, of a part of it, of a subnet, or of what lies outside of all pools.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MapRow {
    /// `pool`, `subnet` or `outside`.
    pub of: String,
    /// The pool's name; of a subnet, the pool that it lies in.
    pub pool: Option<String>,
    /// `v4` or `v6`; empty outside.
    pub family: String,
    /// What is shown; empty outside.
    pub prefix: String,
    /// The length of what is counted: of the pool's subnets, or of an address.
    pub unit: u8,
    /// What is not free, from first to last; empty where a size is wanted.
    pub segments: Vec<SegmentRow>,
    /// Of a pool: why this host's own use leaves no part of it free.
    #[serde(default)]
    pub unusable: Option<String>,
    /// The PoolID of a subnet.
    #[serde(default)]
    pub id: Option<String>,
    /// What the Engine calls its network.
    #[serde(default)]
    pub network: Option<String>,
    /// A pool that gives no new subnets.
    #[serde(default)]
    pub closed: bool,
    /// The prefixes around what is shown, the widest first.
    #[serde(default)]
    pub within: Vec<String>,
    /// The length of what a place shows.
    #[serde(default)]
    pub scale: u8,
    /// The picture, where a size is wanted.
    #[serde(default)]
    pub lines: Vec<LineRow>,
    /// The states that occur.
    #[serde(default)]
    pub legend: Vec<LegendRow>,
}

/// A stretch of addresses in one state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRow {
    /// Its first address.
    pub first: IpAddr,
    /// Its last address.
    pub last: IpAddr,
    /// `used`, `gateway`, `auxiliary`, `cooling`, `pinned`, `slot`, `reserved` or `never`.
    pub state: String,
}

/// A line of the picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LineRow {
    /// Its first address.
    pub first: IpAddr,
    /// How many lines it stands for: several of one state are folded.
    pub lines: Count,
    pub cells: Vec<CellRow>,
}

/// Places next to each other that show one thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellRow {
    /// The first address of what it shows.
    pub first: IpAddr,
    /// The last one.
    pub last: IpAddr,
    /// As in a segment, or `free`; of several things the foremost.
    pub state: String,
    /// How many places wide it is; a folded line is one cell as wide as a line.
    pub span: u16,
    /// How many things share it.
    pub things: u64,
    /// Its prefix, address or range.
    pub label: String,
    /// Its network or holder.
    pub name: Option<String>,
    /// What it is, in words.
    pub text: String,
    /// What can be looked into.
    pub of: Option<String>,
    /// How full it is.
    pub share: Option<Fullness>,
}

/// A state and how often it occurs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegendRow {
    pub state: String,
    /// What it is called.
    pub words: String,
    /// Subnets, addresses, or as many as there would be room for.
    pub count: Count,
}

/// The name of a state in rows.
pub(super) const fn name(shade: Shade) -> &'static str {
    STATES[shade as usize].1
}
