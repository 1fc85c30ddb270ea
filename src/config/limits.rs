//! How much there may be of something: numbers that only the file sets.
//!
//! Promises: a further one is a line in `keys.rs` and two here.

use super::error::ConfigError;
use super::resolve::{Resolver, field};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// Connections at a time per listener; further ones wait.
    pub max_connections: usize,
    /// Entries of the history that the books keep; 0 = none.
    pub history: u64,
}

/// What was written.
pub(super) fn resolve(resolver: &mut Resolver<'_>) -> Result<LimitSettings, ConfigError> {
    Ok(LimitSettings {
        history: resolver.plain(field!(history))?.into(),
        max_connections: resolver.plain(field!(max_connections))?.get().into(),
    })
}
