//! The parsed TOML configuration file: typed values, each with its position in the file.
//!
//! Promises: unknown keys, wrong types and broken TOML are refused with file, line, column and key; every later error
//! about a value of the file goes through [`Document::refuse`] and reports the same. Does not interpret values.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;
use toml::de::DeTable;

use super::error::{ConfigError, Problem, problem};
use super::keys::{BaseTable, Top};
use super::locate;
use super::origin::{Origin, Sourced};
use super::value;
use crate::plan::settings::AddressOrder;

/// One family of a pool: either a table, or only its base as a string.
#[derive(Debug)]
pub(super) struct BaseEntry(pub(super) BaseTable);

impl<'de> Deserialize<'de> for BaseEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// A visitor that accepts a base as a string, or a table.
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Result<String, BaseTable>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a prefix, or a table with base and size")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Ok(text.to_owned()))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                BaseTable::deserialize(de::value::MapAccessDeserializer::new(map)).map(Err)
            }
        }
        /// A wrapper with which `Spanned` can record the position of the string.
        struct Placed(Result<String, BaseTable>);
        impl<'de> Deserialize<'de> for Placed {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Either).map(Self)
            }
        }
        let placed = Spanned::<Placed>::deserialize(deserializer)?;
        let span = placed.span();
        Ok(Self(match placed.into_inner().0 {
            Ok(text) => BaseTable { base: Spanned::new(span, text), size: None, addresses: None },
            Err(table) => table,
        }))
    }
}

/// The names of [`AddressOrder`] in the file.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum OrderName {
    Sequential,
    Eui64,
    Stable,
}

impl From<OrderName> for AddressOrder {
    fn from(name: OrderName) -> Self {
        match name {
            OrderName::Sequential => Self::Sequential,
            OrderName::Eui64 => Self::Eui64,
            OrderName::Stable => Self::Stable,
        }
    }
}

/// What to do with subnets that the Engine does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum UnknownSubnets {
    Report,
    Free,
}

/// At which event a new hook starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum FromName {
    Now,
    Start,
}

/// Removes the quoted value, which may be a password, from a message of the TOML library.
fn unquoted(message: &str) -> String {
    match (message.find("string \""), message.rfind('"')) {
        (Some(from), Some(to)) if from + 8 <= to => {
            format!("{}a string{}", &message[..from], &message[to + 1..])
        }
        _ => message.to_owned(),
    }
}

/// A configuration file that was read, or an empty one.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// Its path, if there is a file.
    pub(super) path: Option<PathBuf>,
    text: String,
    lines: locate::Lines,
    /// Its content.
    pub(super) top: Top,
}

impl Document {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(path, text)
    }

    /// Parses the text of a configuration file.
    pub(super) fn parse(path: &Path, text: String) -> Result<Self, ConfigError> {
        // If the text is not valid TOML, report the first mistake.
        let (_, broken) = DeTable::parse_recoverable(&text);
        let first = broken.into_iter().min_by_key(|error| error.span().map_or(0, |span| span.start));
        let lines = locate::Lines::of(&text);
        let error = match first.map_or_else(|| toml::from_str(&text), Err) {
            Ok(top) => return Ok(Self { path: Some(path.to_owned()), text, lines, top }),
            Err(error) => error,
        };
        let document = Self { path: Some(path.to_owned()), text, lines, top: Top::default() };
        let span = error.span().unwrap_or(0..0);
        let key = locate::key(&document.text, &span).unwrap_or_default();
        let is_hook = key.starts_with("hook");
        let said = if is_hook { unquoted(error.message()) } else { error.message().to_owned() };
        Err(document.refuse(&span, problem(&said, &key)))
    }

    /// The error for the text in this byte range.
    pub(super) fn refuse(&self, span: &Range<usize>, problem: Problem) -> ConfigError {
        let (line, column) = self.lines.position(&self.text, span.start);
        let path = self.path.clone().unwrap_or_default();
        ConfigError::Document { path, line, column, key: locate::key(&self.text, span), problem }
    }

    /// Interprets a value with `read`; an error gets the position of the value.
    pub(super) fn value<T, R>(
        &self,
        written: &Spanned<T>,
        read: impl FnOnce(&T) -> Result<R, Problem>,
    ) -> Result<R, ConfigError> {
        read(written.get_ref()).map_err(|problem| self.refuse(&written.span(), problem))
    }

    /// The origin (path and line) of a position in the file.
    pub(super) fn origin(&self, span: &Range<usize>) -> Origin {
        let (line, _) = self.lines.position(&self.text, span.start);
        Origin::Document { path: self.path.clone().unwrap_or_default(), line }
    }

    /// A value with its origin.
    pub(super) fn sourced<T: Clone>(&self, written: &Spanned<T>) -> Sourced<T> {
        let span = written.span();
        Sourced { value: written.get_ref().clone(), origin: self.origin(&span), span: Some(span) }
    }

    /// A path in the file: a relative path is relative to the file's directory.
    pub(super) fn path(&self, text: &str) -> Result<PathBuf, Problem> {
        if text.is_empty() {
            return Err(problem!("must not be empty"));
        }
        Ok(self.path.as_deref().and_then(Path::parent).unwrap_or(Path::new("/")).join(text))
    }
}

/// The parser's message, reworded if a key is unknown or a value has the wrong type.
fn problem(message: &str, key: &str) -> Problem {
    if let Some((start, known)) = message.split_once("`, expected ")
        && start.starts_with("unknown field")
    {
        let known = known.trim_start_matches("one of ").replace('`', "");
        return problem!("unknown key; the keys here are: {known}");
    }
    mistyped(message, key).unwrap_or_else(|| Problem::Value(message.replace('\n', "; ")))
}

/// How to write the value, if it is a number instead of a string, or a string instead of a number or boolean.
fn mistyped(message: &str, key: &str) -> Option<Problem> {
    let found = message.strip_prefix("invalid type: ")?;
    if let Some(text) = found.strip_prefix("string \"") {
        let (text, wanted) = text.split_once("\", expected ")?;
        let number = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty();
        let fits = number && !wanted.contains("bool") || matches!(text, "true" | "false");
        return fits.then(|| problem!("write {text} without quotes"));
    }
    let (number, wanted) = found.strip_prefix("integer `")?.split_once("`, expected ")?;
    if !wanted.contains("string") {
        return None;
    }
    let key = key.rsplit('.').next().unwrap_or_default();
    let seconds = matches!(key, "cooling" | "subnet_cooling" | "restart_window" | "grace" | "timeout");
    let wanted = match number.parse::<u64>() {
        Ok(number) if seconds => format!(
            "{:?} for {number} seconds",
            value::duration_text(number.checked_mul(1_000).unwrap_or_default())
        ),
        Ok(number) if key.ends_with("_mode") => format!("\"{number:04}\""),
        _ => format!("{number:?}"),
    };
    Some(problem!("expected a string, found a number; write {wanted}"))
}
