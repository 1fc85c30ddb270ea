//! What people see of the books, measured and named in one way: for the terminal, the page, metrics, alerts and hooks alike.
//!
//! Promises: pure, like the plan that it looks at. Reads no books and draws nothing.

pub mod census;
mod count;
mod fold;
mod fullness;
mod leases;
pub mod look;
pub mod map;
pub mod meant;
mod named;
pub mod query;
pub mod rows;
mod status;
pub mod views;

pub use self::count::{Count, digits};
pub use self::fold::Size;
pub use self::fullness::{COUNTABLE, Fullness};
pub use crate::plan::error::{ErrorKind, Refusal};
