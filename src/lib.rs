//! gipam, a Docker IPAM driver: every network its own subnet, every container an address that survives anything, is
//! never given twice, and can be explained.
//!
//! # A tour in reading order
//!
//! One idea carries the house: **decide, commit, answer**.
//!
//! ```text
//!  docker/ ──▶ ledger ──▶ plan.decide(request, context)   pure: no clock, no lock, no log, no I/O, no async
//!  (wire)        │  ▲            │ reply + changes
//!                │  │            ▼
//!                │  └──── store: write, commit (all changes of a batch, one sync) ; plan.apply
//!                ▼
//!             answers leave only now
//! ```
//!
//! 1. [`plan`] is the purpose of gipam: which subnets and addresses are held, and which to give next. Begin with
//!    `plan/mod.rs` (the invariants), `plan/request.rs` and `plan/change.rs` (what comes in, what is committed), then
//!    `plan/choose_address.rs` and `plan/choose_subnet.rs`: the order of choice, a list each.
//! 2. [`store`] keeps it on disk: SQLite, one durable transaction a batch; `store/old_gipam` reads the files of the
//!    program that came before.
//! 3. [`ledger`] is the only writer: a task that drains its queue, decides, commits once, answers all.
//! 4. [`docker`] turns dockerd's calls into requests and replies into JSON, and announces the driver to the Engine.
//! 5. [`server`] is listeners and connections; it does not know addresses, but it knows when an answer did not leave.
//! 6. [`host`] looks at this machine's routes, addresses and nameservers.
//! 7. [`config`] makes one `Config` of flags, variables and a TOML file; [`settle`] says which pools hold when lease
//!    files, books and configuration differ.
//! 8. [`reconcile`] compares the books with the Engine's lists and repairs what Docker lost.
//! 9. [`admin`] is the daemon as people see it: views, what they change by hand, import and export.
//! 10. [`web`] shows it to browsers and Prometheus: the page, metrics, health.
//! 11. [`hooks`] sends events to programs and web addresses, from the books.
//! 12. [`view`] is what people see, looked up in the ledger's plan; [`watch`] warns when something fills up.
//! 13. [`daemon`] puts all of it together; [`clock`] is its only clock, [`processes`] identifies processes; [`json`] reads
//!     and [`text`] makes what others wrote fit to be shown; [`cli`] has the commands.

pub mod admin;

pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod docker;
pub mod doctor;
pub mod hooks;
pub mod host;
pub mod json;
pub mod ledger;
pub mod plan;
pub mod processes;
pub mod reconcile;
pub mod server;
pub mod settle;
pub mod store;
pub mod text;
pub mod view;
pub mod watch;
pub mod web;
