//! EDGE: what gipam keeps in the kernel for the networks of the plan. Today: the routes to the slices of other hosts.
//!
//! ```text
//!   plan of all hosts, books ──▶ routes      the wanted set (pure)
//!              kernel ─────────▶ difference  compared with what the kernel has (pure)
//!                                  └───────▶ kernel      removed and added by netlink, one by one
//! ```
//!
//! Promises: `keeper` makes the kernel's set equal to the wanted one at the start, after each change of the plan, and after each
//! notification that one may be gone or changed; it does not poll. What gipam did not make is never changed. Everything runs on a
//! thread of its own, so that no answer to Docker waits for it. At the end gipam removes what it made; after a crash it stays, and the
//! next start corrects it. Without the right to change the kernel, gipam says so and everything else goes on.

pub mod difference;
mod keeper;
mod kernel;
pub mod routes;
mod state;

pub use self::keeper::{Edge, EdgeCourse, start};
