//! The `gipam` program.
fn main() {}
