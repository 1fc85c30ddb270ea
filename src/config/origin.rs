//! Values with the place where each was set: in the file, with an option, or nowhere (the default).
//!
//! Promises: every value of the configuration is read by its type, once, and keeps its place; an origin is shown in the
//! user's terms. Does not know the keys; `document.rs` decides which of several places applies.

use std::fmt;
use std::ops::{Deref, Range};
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error};
use toml::Spanned;

use super::error::Problem;

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// On the command line, with this flag.
    Flag(&'static str),
    /// In the environment, with this variable.
    Variable(&'static str),
    /// In the configuration file, on this line.
    Document {
        path: PathBuf,
        /// From 1.
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

/// A key and its resolved value, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The key as the configuration file spells it.
    pub key: String,
    pub value: String,
    pub origin: Origin,
}

/// The bytes of the file that contain a value; beyond the end of the file, a number that represents an option or a default.
pub(super) type Spot = Range<usize>;

/// The place of every default.
pub(super) const DEFAULT: Spot = usize::MAX..usize::MAX;

/// A value with its place, which comparisons ignore.
#[derive(Clone)]
pub struct At<T> {
    value: T,
    pub(super) place: Spot,
}

impl<T> At<T> {
    pub(super) const fn new(value: T, place: Spot) -> Self {
        Self { value, place }
    }
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for At<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(formatter)
    }
}

impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for At<T> {}

/// A type that a value in the file can have.
pub trait Value: Sized {
    /// Its type in TOML.
    type Raw: DeserializeOwned;

    fn read(raw: Self::Raw) -> Result<Self, Problem>;
}

impl<'de, T: Value> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// This wrapper gives an error the place of the value, even inside a list.
        #[derive(Deserialize)]
        #[serde(bound = "T: Value")]
        struct Inner<T>(#[serde(deserialize_with = "read")] T);
        fn read<'de, T: Value, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
            T::read(T::Raw::deserialize(deserializer)?).map_err(D::Error::custom)
        }
        let spanned = Spanned::<Inner<T>>::deserialize(deserializer)?;
        let place = spanned.span();
        Ok(Self { value: spanned.into_inner().0, place })
    }
}
