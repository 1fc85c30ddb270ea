//! What people see of the books, measured and named in one way: for the terminal, the page, metrics, alerts and hooks alike.
//!
//! Promises: pure, like the plan that it looks at. Reads no books and draws nothing.

pub mod census;
mod count;
mod explain;
mod fold;
mod fullness;
mod leases;
mod listing;
pub mod map;
mod maps;
pub mod meant;
mod named;
pub mod query;
pub mod rows;
pub mod sink;
pub mod source;
mod status;
mod subnets;
mod usage;
pub mod views;
mod who;

pub use self::count::{Count, digits};
pub use self::fold::Size;
pub use self::fullness::{COUNTABLE, Fullness};
pub use crate::plan::error::{ErrorKind, Refusal};
