//! Where a value came from, so that messages and `gipam config show` can say it.
//!
//! Promises: an origin is spelled the way its writer spelled it. Does not rank origins; `resolve.rs` does.

use std::fmt;
use std::path::PathBuf;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: the default.
    Default,
    /// On the command line, under this flag.
    Flag(&'static str),
    /// In the environment, under this name.
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
    /// Where it was written.
    pub(super) origin: Origin,
    /// Its bytes in the configuration file, if it was written there.
    pub(super) span: Option<std::ops::Range<usize>>,
}

/// A key as it was resolved, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The key as the configuration file spells it.
    pub key: String,
    /// Its value as text.
    pub value: String,
    /// Where it was written.
    pub origin: Origin,
}
