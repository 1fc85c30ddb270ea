//! The views of the books. The terminal, the web page, metrics, alerts and hooks share their measures and names.
//!
//! Promises: reads the plan and, for names and history, the books; changes neither. Draws nothing.

pub mod census;
mod count;
mod explain;
mod fold;
mod fullness;
pub mod hosts;
pub mod kernel;
mod leases;
mod listing;
pub mod map;
mod maps;
pub mod meant;
mod named;
mod places;
mod probes;
pub mod query;
pub mod routes;
pub mod rows;
pub mod sink;
pub mod slices;
pub mod source;
pub mod sources;
mod status;
mod subnets;
mod usage;
pub mod views;
mod who;

pub use self::count::{Count, digits};
pub use self::fold::Size;
pub use self::fullness::{COUNTABLE, Fullness};
pub use crate::plan::error::{ErrorKind, Refusal};
