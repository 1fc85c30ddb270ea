//! What people see of the books, measured and named in one way: for the terminal, the page, metrics, alerts and hooks alike.
//!
//! Promises: pure, like the plan that it looks at. Reads no books and draws nothing.

mod fullness;

pub use self::fullness::{COUNTABLE, Fullness};
