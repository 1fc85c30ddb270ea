//! The errors of the command line, their exit codes, and how they are printed.
//!
//! Promises: one table maps kinds to exit codes; a printed error contains its whole chain of causes, each once.

use std::path::PathBuf;

use crate::config::Surroundings;
use crate::text::counted;
use crate::view::Refusal;
use crate::{config, daemon};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line is invalid.
    #[error("{0}")]
    Usage(String),
    /// The configuration is invalid.
    #[error("the configuration cannot be used")]
    Configuration(#[source] config::ConfigError),
    /// The driver ended with an error.
    #[error("the driver stopped")]
    Daemon(#[source] daemon::DaemonError),
    /// The daemon, or the command that reads its books, refused.
    #[error(transparent)]
    Admin(Refusal),
    /// The filters of a list matched nothing.
    #[error("no {what} matches {filters}")]
    NoMatch { what: String, filters: String },
    /// An answer could not be parsed.
    #[error("cannot parse the answer to {path}; the daemon may be another version of gipam")]
    Answer {
        path: String,
        #[source]
        source: serde_json::Error,
    },
    /// A file could not be read.
    #[error("{} cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The doctor found problems, and has printed them.
    #[error("found {} on this host; see above", counted(.0, "problem"))]
    Unfit(usize),
    /// Standard output could not be written.
    #[error("standard output cannot be written")]
    Write(#[source] std::io::Error),
    /// The reader of our output closed it (`gipam leases | head`); this is not an error.
    #[error("the reader of standard output has closed it")]
    ReaderLeft,
}

impl CliError {
    /// The exit code: 1 failed, 2 usage, 3 not found, 4 in use, 5 exhausted, 6 daemon not reachable.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Configuration(_) => 2,
            Self::NoMatch { .. } => 3,
            Self::Daemon(error) => error.exit_code(),
            Self::Admin(error) => error.kind.exit_code(),
            Self::Answer { .. } | Self::Read { .. } | Self::Write(_) | Self::Unfit(_) => 1,
            Self::ReaderLeft => 0,
        }
    }
}

/// The error and its causes, separated by colons; a cause that the previous text already quotes is omitted.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}

/// Prints the error to standard error, with a level prefix if standard error goes to the journal.
pub(super) fn print(error: &CliError, surroundings: &Surroundings) {
    let prefix = if super::logging::to_journal(surroundings) { "<3>" } else { "" };
    eprintln!("{prefix}gipam: {}", crate::text::lines(&chain(error)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::ErrorKind;

    #[test]
    fn every_kind_has_the_exit_code_that_scripts_rely_on() {
        let code = |kind| CliError::Admin(Refusal { kind, text: String::new() }).exit_code();
        let kinds = [
            ErrorKind::Failed,
            ErrorKind::Invalid,
            ErrorKind::Missing,
            ErrorKind::Taken,
            ErrorKind::Exhausted,
            ErrorKind::Unreachable,
        ];
        assert_eq!(kinds.map(code), [1, 2, 3, 4, 5, 6]);
        assert_eq!(code(ErrorKind::Unavailable), 1);
    }

    #[test]
    fn a_chain_names_every_cause_once() {
        let source = std::io::Error::other("the disk is gone");
        let error = CliError::Read { path: "/x".into(), source };
        assert_eq!(chain(&error), "/x cannot be read: the disk is gone");
    }
}
