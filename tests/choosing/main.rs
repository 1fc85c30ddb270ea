//! THE RULES R9 to R48, one test per sentence, and every refusal word by word.
//!
//! Names state the rule, or begin with the number of the fact about Docker behind it (P10 to P27). Everything
//! is pure: no disk, no clock, no Engine.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod addresses;
mod adopted;
mod cooling;
mod desk;
mod errors;
#[path = "../support/evidence.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod evidence;
#[path = "../support/explained.rs"]
mod explained;
mod flawed;
mod interface_ids;
mod memory;
mod orders;
mod pools;
mod proofs;
mod releases;
mod renumbering;
mod requested;
mod restarts;
mod routers;
mod routes;
mod shapes;
mod sharing;
mod siblings;
mod slices;
mod spaces;
mod storms;
