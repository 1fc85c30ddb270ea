//! Who has which slices of the pools that several hosts share, and how this host gets its own.
//!
//! Promises: a slice is in the books before a network is cut from it; nothing here is called within a request to Docker.
//! Does not choose subnets or addresses: that is the plan's work, inside the slices of this host.

pub mod file;
pub mod machine;
mod parse;
