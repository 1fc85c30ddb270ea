//! The row about probes in the status.
//!
//! Promises: like all rows, this is a contract with programs.

use serde::{Deserialize, Serialize};

/// Probes of addresses on LANs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProbesRow {
    /// The pools that are probed, once they have a network.
    pub pools: Vec<ProbedPool>,
    /// How many addresses strangers have now.
    pub quarantined: u64,
    /// How many packets were sent since the start.
    pub sent: u64,
    /// How many strangers were found since the start.
    pub found: u64,
    /// How many requests were answered without a probe since the start, because it was not possible or there was no time for it.
    pub unprobed: u64,
}

/// A pool that is probed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProbedPool {
    pub pool: String,
    /// The interface.
    pub interface: Option<String>,
    /// Why its addresses are given without a probe.
    pub error: Option<String>,
}
