//! To be built.
pub mod old_gipam;
