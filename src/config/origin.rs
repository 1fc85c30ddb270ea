//! Where a value came from, for messages and `gipam config show`.
//!
//! Promises: an origin is shown the way the user wrote it. Does not rank origins; `resolve.rs` does that.

use std::fmt;
use std::path::PathBuf;

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was not set: the default.
    Default,
    /// On the command line, with this flag.
    Flag(&'static str),
    /// In the environment, with this variable.
    Variable(&'static str),
    /// In the configuration file, on this line.
    Document {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
    },
    /// Found in the working directory, or derived from another setting.
    Found(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::Flag(name) | Self::Variable(name) | Self::Found(name) => formatter.write_str(name),
            Self::Document { path, line } => write!(formatter, "{}, line {line}", path.display()),
        }
    }
}

/// A value with its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sourced<T> {
    pub(super) value: T,
    /// Where it was set.
    pub(super) origin: Origin,
    /// Its byte range in the configuration file, if it was set there.
    pub(super) span: Option<std::ops::Range<usize>>,
}

/// A key and its resolved value, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The key as the configuration file spells it.
    pub key: String,
    /// Its value as text.
    pub value: String,
    /// Where it was set.
    pub origin: Origin,
}
