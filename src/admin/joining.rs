//! What a person says about this host and the plan that several hosts keep in a store: `gipam join`.
//!
//! Promises: passes the command to the task that calls the store, and returns its lines. Does not know the store.

use serde::Deserialize;

use crate::claims::handle::ClaimsHandle;
use crate::plan::error::{ErrorKind, Refusal};

/// The arguments of `gipam join`.
#[derive(Deserialize)]
pub(super) struct JoinAsked {
    #[serde(default)]
    new: bool,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    restored: bool,
}

/// Lets this host take part, or says that the store was restored; returns lines for a person, as JSON.
pub(super) async fn join(claims: &ClaimsHandle, asked: JoinAsked) -> Result<Vec<u8>, Refusal> {
    let lines = match asked.restored {
        true => claims.restored().await,
        false => claims.join(asked.new, asked.dry_run).await,
    };
    let lines = lines.map_err(|text| Refusal::new(ErrorKind::Unavailable, text))?;
    super::handler::json(&lines)
}
