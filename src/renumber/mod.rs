//! `gipam renumber`: moves networks from an earlier prefix of their pool to the current one, as far as Docker allows.
//!
//! Docker cannot change the subnet of a network. So for each stale network, gipam writes down what it has read, disconnects the
//! containers, removes the network, creates it with the same name, options and labels and the same subnet number, and
//! connects the containers again. Containers keep running; they are without this network meanwhile.
//!
//! Promises: nothing is removed before everything that is needed to make it again is on disk; a run that was cut off at any
//! step is finished by the next one, also if the prefix has changed again; what Docker cannot do is refused before anything
//! changes.
//!
//! `moves`, `containers`, `host_parts` and `obstacles` are pure and decide; `state` is the file; `run` calls the Engine.

pub mod containers;
mod host_parts;
pub mod moves;
mod obstacles;
pub mod run;
pub mod state;

/// Why networks cannot be moved.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RenumberError(pub String);

impl From<crate::docker::control::ControlError> for RenumberError {
    fn from(error: crate::docker::control::ControlError) -> Self {
        Self(error.text)
    }
}

impl From<crate::server::client::ClientError> for RenumberError {
    fn from(error: crate::server::client::ClientError) -> Self {
        Self(error.to_string())
    }
}
