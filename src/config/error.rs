//! What is wrong with a configuration, and where.
//!
//! Promises: every error names the place as its writer knows it, the value, and what to write instead. All of them
//! are mistakes of usage (exit code 2). Does not print.

use std::io;
use std::path::PathBuf;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file cannot be read.
    #[error("configuration file {} cannot be read; check its path and who may read it", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Something in the configuration file.
    #[error("{}, line {line}, column {column}{}: {problem}", path.display(), in_key(key.as_deref()))]
    Document {
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// The key, dotted; `None` where the text is not TOML at all.
        key: Option<String>,
        problem: Problem,
    },
    /// A flag or a variable.
    #[error("{name}: {problem}")]
    Option {
        /// The flag or variable as it is spelled.
        name: &'static str,
        problem: Problem,
    },
    /// Settings that are each right but do not go together.
    #[error("{0}")]
    Together(Problem),
}

impl ConfigError {
    pub(super) fn option(name: &'static str, problem: Problem) -> Self {
        Self::Option { name, problem }
    }

    pub(super) fn together(problem: Problem) -> Self {
        Self::Together(problem)
    }
}

fn in_key(key: Option<&str>) -> String {
    key.map(|key| format!(", key {key}")).unwrap_or_default()
}

/// What is wrong with one value, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The value itself.
    #[error("{0}")]
    Value(String),
    /// The content of a file that it names, or that the file is missing.
    #[error("{0}")]
    File(String),
}

/// A [`Problem`] of these words.
macro_rules! problem {
    ($($words:tt)*) => { $crate::config::error::Problem::Value(format!($($words)*)) };
}
pub(super) use problem;
