//! WHAT GIPAM KEEPS IN THE KERNEL: a daemon in its own network namespace, while the plan, the leases, the links and other programs
//! change.
//!
//! Promises: compares the kernel's objects with what gipam prints; packets between hosts, routers and containers are real. The machine
//! itself is not changed, and each namespace ends with its processes. Without the tools, or the right to create namespaces, a test
//! prints NOT RUN; if `CI` is set, it fails.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs, reason = "a test")]

#[path = "../support/daemon.rs"]
mod daemon;
#[path = "../support/etcd.rs"]
mod etcd;
#[path = "../support/http.rs"]
mod http;

mod cases;
mod changes;
mod delegated;
mod discards;
mod hosts;
mod metrics;
mod proxies;
mod router;
mod routes;
mod strangers;
mod support;
mod translate;
mod world;
