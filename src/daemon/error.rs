//! Why the daemon does not start, or stopped: a text for people, its cause, and the exit code.
//!
//! Promises: the text names what could not be done, the cause why. Knows no kinds: nobody asks for them.

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

    /// The same, for this reason.
    pub(super) fn because(self, source: impl Error + Send + Sync + 'static) -> Self {
        Self { source: Some(Box::new(source)), ..self }
    }

    /// The same, as a mistake of what was written.
    pub(super) fn of_usage(self) -> Self {
        Self { exit_code: 2, ..self }
    }

    /// The system gave no thread, runtime or signal.
    pub(super) fn start(source: std::io::Error) -> Self {
        Self::new("gipam cannot be started").because(source)
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
