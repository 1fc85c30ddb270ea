//! The daemon as people and programs see it from outside: the rows of its views, and how a command asks for them.
//!
//! ```text
//!   cli ──▶ client ──admin socket──▶ daemon          rows: the JSON of both sides
//!     └───▶ offline ──▶ books                        when no daemon answers
//! ```

mod changing;
pub mod client;
mod error;
mod handler;
mod import;
mod leases;
mod look;
pub mod offline;
mod pools;
pub mod query;
pub mod rows;
pub mod views;

pub use error::{AdminError, Kind};
pub use handler::{Admin, Reload};
