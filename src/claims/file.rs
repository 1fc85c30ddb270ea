//! The plan file: which host has which slices. People write it, and it is the same on all hosts.
//!
//! Promises: a [`Division`] that was read is sound: each slice has the length of its pool and lies in it, no two slices or pools
//! overlap, and each host has an address at which the others reach it. Does not say which of this is already in the books.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::division::Division;
use super::parse;

/// The largest plan file that is read, in bytes: about 200,000 slices.
pub const MOST_BYTES: u64 = 4 << 20;

impl Division {
    /// Reads a plan file.
    pub fn read(path: &Path) -> Result<Self, PlanFileError> {
        let unreadable = |source| PlanFileError::Unreadable { path: path.to_owned(), source };
        let unusable = |why| PlanFileError::Unusable { path: path.to_owned(), why };
        let is_file = std::fs::metadata(path).map_err(unreadable)?.is_file();
        if !is_file {
            return Err(unusable("is not a regular file"));
        }
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(unusable("is larger than 4 MiB"));
        }
        let text = String::from_utf8(bytes).map_err(|_| unusable("is not UTF-8 text"))?;
        Self::parse(&text, path)
    }

    /// Reads the text of a plan file; `path` is for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, PlanFileError> {
        let unusable = |why| Err(PlanFileError::Unusable { path: path.to_owned(), why });
        if text.starts_with('\u{feff}') {
            return unusable("begins with a byte order mark; save it as UTF-8 without one");
        }
        if text.trim().is_empty() {
            return unusable("is empty; write a [[pool]] for each shared pool and a [[host]] for each host");
        }
        parse::parse(text).map_err(|mistakes| PlanFileError::Wrong { path: path.to_owned(), mistakes })
    }
}

/// Why a plan file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanFileError {
    #[error("plan file {} cannot be read; check its path and its permissions", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The file as a whole.
    #[error("plan file {} {why}", path.display())]
    Unusable { path: PathBuf, why: &'static str },
    /// Mistakes in its text; never empty.
    #[error("{}", first(path, mistakes))]
    Wrong { path: PathBuf, mistakes: Vec<Mistake> },
}

impl PlanFileError {
    /// Each mistake as a line of its own.
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Wrong { path, mistakes } => {
                mistakes.iter().map(|mistake| format!("{}, {mistake}", path.display())).collect()
            }
            Self::Unreadable { source, .. } => vec![format!("{self}: {source}")],
            Self::Unusable { .. } => vec![self.to_string()],
        }
    }
}

/// The first mistake, and how many more there are.
fn first(path: &Path, mistakes: &[Mistake]) -> String {
    let path = path.display();
    let Some((first, others)) = mistakes.split_first() else { return format!("{path} has mistakes") };
    match others.len() {
        0 => format!("{path}, {first}"),
        more => format!("{path}, {first} (and {more} more; list them with gipam plan check {path})"),
    }
}

/// A mistake in the text of a plan file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The dotted key; `None` if the text is not valid TOML.
    pub key: Option<String>,
    /// What is wrong, and what to write instead.
    pub text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}, column {}", self.line, self.column)?;
        if let Some(key) = &self.key {
            write!(formatter, ", key {key}")?;
        }
        write!(formatter, ": {}", self.text)
    }
}
