//! gipam, a Docker IPAM driver.
pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod docker;
pub mod host;
pub mod ledger;
pub mod plan;
pub mod server;
pub mod settle;
pub mod store;
