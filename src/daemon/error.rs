//! Why the daemon did not start, or stopped: a text for people, its cause, and the exit code.
//!
//! Promises: the text says what could not be done, and the cause says why. Errors have no kinds, because no
//! caller distinguishes them.

use std::error::Error;

use crate::store::{CommitError, StoreError};

#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct DaemonError {
    text: String,
    source: Option<Box<dyn Error + Send + Sync>>,
    exit_code: u8,
}

impl DaemonError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), source: None, exit_code: 1 }
    }

    /// Adds the cause.
    pub(super) fn because(self, source: impl Error + Send + Sync + 'static) -> Self {
        Self { source: Some(Box::new(source)), ..self }
    }

    /// Marks the error as a usage error.
    pub(super) fn of_usage(self) -> Self {
        Self { exit_code: 2, ..self }
    }

    /// The system could not provide a thread, runtime or signal handler.
    pub(super) fn start(source: std::io::Error) -> Self {
        Self::new("gipam cannot start").because(source)
    }

    /// The exit code of the process.
    pub const fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

impl From<StoreError> for DaemonError {
    fn from(error: StoreError) -> Self {
        Self::new(error.to_string()).because(error)
    }
}

impl From<CommitError> for DaemonError {
    fn from(error: CommitError) -> Self {
        Self::new("the books could not be written").because(error)
    }
}
