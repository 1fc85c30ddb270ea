//! To be built.
pub mod discovery;
