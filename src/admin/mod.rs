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
pub mod listed;
mod look;
mod meant;
mod named;
pub mod offline;
mod pools;
pub mod query;
mod readers;
pub mod rows;
mod running;
mod status;
pub mod views;
mod wait;

pub use error::{AdminError, ErrorKind};
pub use handler::{Admin, Reload};
pub use readers::Readers;
pub use wait::WaitMoment;
