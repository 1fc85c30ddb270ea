//! How people and programs use the daemon: the rows of its views, the changes by hand, and how a command requests both.
//!
//! ```text
//!   cli ──▶ client ──admin socket──▶ daemon          rows: the JSON of both sides
//!     └───▶ offline ──▶ books                        when no daemon answers
//! ```

pub mod asked;
mod asker;
mod changing;
pub mod client;
mod handler;
mod hosts;
mod import;
mod joining;
pub mod listed;
mod moments;
pub mod offline;
mod pools;
mod readers;
mod running;

pub use asker::Asker;
pub use handler::{Admin, Reload};
pub use moments::Moments;
pub use readers::Readers;
pub use running::RunningDaemon;
