//! Errors in a configuration: what is wrong, and where.
//!
//! Promises: every error names, in the user's terms, the place of the mistake, the value, and what to write instead. All
//! of them are usage errors (exit code 2). Does not print.

use std::io;
use std::path::PathBuf;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("configuration file {} cannot be read; check its path and its permissions", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{}, line {line}, column {column}{}: {problem}", path.display(), in_key(key.as_deref()))]
    Document {
        path: PathBuf,
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// The dotted key; `None` if the text is not valid TOML.
        key: Option<String>,
        problem: Problem,
    },
    /// A mistake in a flag or a variable.
    #[error("{name}: {problem}")]
    Option { name: &'static str, problem: Problem },
    /// Settings that are valid on their own but conflict with each other.
    #[error("{0}")]
    Together(Problem),
}

fn in_key(key: Option<&str>) -> String {
    key.map(|key| format!(", key {key}")).unwrap_or_default()
}

/// What is wrong with one value, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The value itself is wrong.
    #[error("{0}")]
    Value(String),
    /// The file that the value names is missing or has the wrong content.
    #[error("{0}")]
    File(String),
}

/// A [`Problem::Value`] with this formatted message.
macro_rules! problem {
    ($($words:tt)*) => { $crate::config::error::Problem::Value(format!($($words)*)) };
}
pub(super) use problem;
