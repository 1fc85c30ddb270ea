//! The rows of a map, and the one list of states.
//!
//! Promises: like all rows, these are a contract with programs. Draws nothing.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::plan::stretch::Shade;
use crate::view::{Count, Fullness};

/// Every state: its name in rows, its sign on a terminal, and its description.
pub(super) const STATES: [(Shade, &str, char, &str); 12] = [
    (Shade::Used, "used", '#', "used"),
    (Shade::Gateway, "gateway", 'G', "gateway"),
    (Shade::Auxiliary, "auxiliary", 'A', "auxiliary"),
    (Shade::Stranger, "quarantined", '!', "in quarantine"),
    (Shade::Cooling, "cooling", '~', "cooling"),
    (Shade::Pinned, "pinned", 'p', "pinned"),
    (Shade::Slot, "slot", 'o', "kept for the gateway"),
    (Shade::Reserved, "reserved", '=', "reserved"),
    (Shade::Others, "others", '%', "of another host"),
    (Shade::Never, "never", 'x', "never given"),
    (Shade::Unclaimed, "unclaimed", '-', "of no host yet"),
    (Shade::Free, "free", '.', "free"),
];

/// The sign of a state on a terminal, and its description; an unknown state is shown as free.
pub fn sign_of(state: &str) -> (char, &'static str) {
    let found = STATES.iter().find(|(_, name, ..)| *name == state);
    found.map_or(('.', "free"), |(_, _, sign, words)| (*sign, words))
}

/// The map of one family of a pool, of a part of it, of a subnet, or of everything outside all pools.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MapRow {
    /// `pool`, `subnet` or `outside`.
    pub of: String,
    /// The pool's name; for a subnet, the name of the pool that contains it.
    pub pool: Option<String>,
    /// `v4` or `v6`; empty for `outside`.
    pub family: String,
    /// The prefix that is shown; empty for `outside`.
    pub prefix: String,
    /// The prefix length of one counted unit: of the pool's subnets, or of an address.
    pub unit: u8,
    /// Everything that is not free, from first to last; empty if a size was requested.
    pub segments: Vec<SegmentRow>,
    /// For a pool: why this host's own use makes all of it unusable.
    pub unusable: Option<String>,
    /// The PoolID of a subnet.
    pub id: Option<String>,
    /// The Engine's name for its network.
    pub network: Option<String>,
    /// Whether this is a pool that is closed and gives no new subnets.
    pub closed: bool,
    /// The prefixes that contain what is shown, widest first.
    pub within: Vec<String>,
    /// The prefix length of one place.
    pub scale: u8,
    /// The lines of the map, if a size was requested.
    pub lines: Vec<LineRow>,
    /// The states that occur.
    pub legend: Vec<LegendRow>,
}

/// A stretch of addresses in one state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRow {
    pub first: IpAddr,
    pub last: IpAddr,
    /// `used`, `gateway`, `auxiliary`, `quarantined` (a machine that gipam does not know has it), `cooling`, `pinned`, `slot`, `reserved`, `others` (of another host), `never` or `unclaimed` (of no host yet).
    pub state: String,
    /// The other host to which it belongs, if that is known.
    #[serde(default)]
    pub host: Option<String>,
}

/// A line of the map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LineRow {
    pub first: IpAddr,
    /// How many lines it represents: several lines in one state are folded into one.
    pub lines: Count,
    pub cells: Vec<CellRow>,
}

/// Adjacent places that show one thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellRow {
    /// The first address of what it shows.
    pub first: IpAddr,
    /// The last address of what it shows.
    pub last: IpAddr,
    /// As in a segment, or `free`; for several things, the state that comes first in `STATES`.
    pub state: String,
    /// How many places wide it is; a folded line is one cell that is as wide as the line.
    pub span: u16,
    /// How many things share it.
    pub things: u64,
    /// Its prefix, address or range.
    pub label: String,
    /// The name of its network or holder.
    pub name: Option<String>,
    /// Its description.
    pub text: String,
    /// The prefix that can be shown in more detail, if any.
    pub of: Option<String>,
    pub share: Option<Fullness>,
    /// Whether it shows a subnet that lies outside the current base of its pool.
    #[serde(default)]
    pub stale: bool,
}

/// A state and how often it occurs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegendRow {
    pub state: String,
    /// The description of the state.
    pub words: String,
    /// Number of subnets or addresses, or how many there would be room for.
    pub count: Count,
}

/// The name of a state in rows.
pub(super) const fn name(shade: Shade) -> &'static str {
    STATES[shade as usize].1
}
