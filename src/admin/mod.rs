//! The daemon as people and programs see it from outside: the rows of its views, and how a command asks for them.
//!
//! ```text
//!   cli ──▶ client ──admin socket──▶ daemon          rows: the JSON of both sides
//!     └───▶ offline ──▶ books                        when no daemon answers
//! ```

pub mod asked;
mod changing;
pub mod client;
mod handler;
mod import;
pub mod listed;
pub mod offline;
mod pools;
mod readers;
mod running;
mod wait;

pub use handler::{Admin, Reload};
pub use readers::Readers;
pub use wait::WaitMoment;
