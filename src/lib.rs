//! gipam, a Docker IPAM driver: every network gets its own subnet, and every container an address that
//! survives restarts and crashes, is never granted twice, and can be explained.
//!
//! # A tour in reading order
//!
//! The whole design follows one idea: **decide, commit, answer**.
//!
//! ```text
//!  docker/ ──▶ ledger ──▶ plan.decide(request)   pure: no clock, no lock, no log, no I/O, no async
//!  (wire)        │  ▲            │ reply + changes
//!                │  │            ▼
//!                │  └──── store: write, commit (all changes of a batch, one sync) ; plan.apply
//!                ▼
//!             only now, the answers are sent
//! ```
//!
//! 1. [`plan`] is the core of gipam: which subnets and addresses are held, and which to grant next. Begin
//!    with `plan/mod.rs` (the invariants), `plan/request.rs` and `plan/change.rs` (the input and the
//!    committed changes), then `plan/choose_address.rs` and `plan/choose_subnet.rs`, each an ordered list of
//!    choices.
//! 2. [`store`] keeps the plan on disk: SQLite, one durable transaction per batch; `store/old_gipam` reads
//!    the lease files of the program that preceded gipam.
//! 3. [`ledger`] is the only writer: a task that drains its queue, decides, commits once and answers all
//!    requests.
//! 4. [`docker`] turns dockerd's calls into requests and replies into JSON, and announces the driver to the
//!    Engine.
//! 5. [`server`] runs listeners and connections; it knows nothing about addresses, but it knows when an
//!    answer was not sent.
//! 6. [`host`] reads this machine's routes, addresses and nameservers.
//! 7. [`config`] builds one `Config` from flags, variables and a TOML file; [`settle`] decides which pools
//!    apply when lease files, books and configuration differ.
//! 8. [`reconcile`] compares the books with the Engine's lists and repairs what Docker lost.
//! 9. [`admin`] is the daemon's interface for people: views, changes by hand, import and export.
//! 10. [`web`] serves browsers and Prometheus: the page, metrics, health.
//! 11. [`hooks`] sends events from the books to programs and web addresses.
//! 12. [`claims`] knows which slices of shared pools belong to this host, and reports them to the ledger.
//!     [`edge`] keeps the routes to the slices of other hosts in the kernel.
//!     [`probe`] asks LANs whether strangers have the addresses that come next.
//! 13. [`view`] prepares what people see from the ledger's plan; [`watch`] warns when a pool or subnet fills
//!     up.
//! 14. [`daemon`] assembles all of it; [`clock`] is its only clock; [`processes`] identifies processes;
//!     [`json`] parses JSON, and [`text`] makes texts from outside safe to display; [`cli`] contains the
//!     commands.

pub mod admin;
pub mod claims;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod docker;
pub mod doctor;
pub mod edge;
pub mod hooks;
pub mod host;
pub mod json;
pub mod ledger;
pub mod plan;
pub mod probe;
pub mod processes;
pub mod reconcile;
pub mod renumber;
pub mod server;
pub mod settle;
pub mod store;
pub mod text;
pub mod view;
pub mod watch;
pub mod web;
