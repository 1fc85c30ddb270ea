//! What people see of the books, measured and named in one way: for the terminal, the page, metrics, alerts and hooks alike.
//!
//! Promises: pure, like the plan that it looks at. Reads no books and draws nothing.

pub mod census;
mod fullness;
mod leases;
mod look;
pub mod meant;
mod named;
pub mod query;
pub mod rows;
mod status;
pub mod views;

pub use self::fullness::{COUNTABLE, Fullness};
pub use crate::plan::error::{ErrorKind, Refusal};
