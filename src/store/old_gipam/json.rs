//! JSON as the old program reads it: keys of objects match in any case, and `null` means absent.
//!
//! A duplicate key is refused, so that no value is lost. Every [`JsonPlace`] has a path (`allocated[3].idx`)
//! for the errors.

use std::fmt::Display;

use super::LeaseFileError;
use crate::json::Json;

/// A value and its place; the value is `None` if it is `null` or absent.
#[derive(Debug, Clone)]
pub(super) struct JsonPlace<'a> {
    node: Option<&'a Json<'a>>,
    /// The path from the top of the file.
    pub at: String,
}

impl<'a> JsonPlace<'a> {
    pub(super) fn top(node: &'a Json<'a>) -> Self {
        Self { node: Some(node), at: String::new() }
    }

    pub(super) fn is_set(&self) -> bool {
        !matches!(self.node, None | Some(Json::Null))
    }

    /// The value of a key under any of its spellings, in any case.
    pub(super) fn key(&self, spellings: &[&str]) -> Result<Self, LeaseFileError> {
        let entries = match self.node {
            Some(Json::Object(entries)) => entries.as_slice(),
            Some(_) => return Err(self.wrong_kind("an object")),
            None => &[],
        };
        let mut found =
            entries.iter().filter(|(key, _)| spellings.iter().any(|s| key.eq_ignore_ascii_case(s)));
        let name = spellings.first().copied().unwrap_or_default();
        let at = if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) };
        let node = found.next().map(|(_, node)| node);
        match found.next() {
            Some(_) => {
                Err(LeaseFileError(format!("the lease file has the key {at} twice; merge the two by hand")))
            }
            None => Ok(Self { node, at }),
        }
    }

    /// The elements of a list; empty if it is `null` or absent.
    pub(super) fn list(&self) -> Result<Vec<Self>, LeaseFileError> {
        match self.node {
            None | Some(Json::Null) => Ok(Vec::new()),
            Some(Json::List(nodes)) => Ok(nodes
                .iter()
                .enumerate()
                .map(|(i, node)| Self { node: Some(node), at: format!("{}[{i}]", self.at) })
                .collect()),
            Some(_) => Err(self.wrong_kind("a list")),
        }
    }

    /// The text, trimmed; empty if it is `null` or absent.
    pub(super) fn text(&self) -> Result<&'a str, LeaseFileError> {
        match self.node {
            None | Some(Json::Null) => Ok(""),
            Some(Json::Text(text)) => Ok(text.trim()),
            Some(_) => Err(self.wrong_kind("a string")),
        }
    }

    /// The number; 0 if it is `null` or absent.
    pub(super) fn number(&self) -> Result<u64, LeaseFileError> {
        match self.node {
            None | Some(Json::Null) => Ok(0),
            Some(Json::Number(number)) => number.as_u64().ok_or_else(|| {
                self.wrong(&number.to_string(), "not a whole number from 0 to 18446744073709551615")
            }),
            Some(_) => Err(self.wrong_kind("a number")),
        }
    }

    /// The error for a value of the wrong kind.
    pub(super) fn wrong_kind(&self, expected: &'static str) -> LeaseFileError {
        let at = if self.at.is_empty() { "the top level".to_owned() } else { self.at.clone() };
        let found = self.node.map_or("nothing", Json::kind);
        LeaseFileError(format!(
            "the lease file has {found} at {at} where {expected} is needed; correct it by hand"
        ))
    }

    /// The error for a `text` that is not valid here.
    pub(super) fn wrong(&self, text: &str, why: impl Display) -> LeaseFileError {
        let (at, text) = (&self.at, text.chars().take(100).collect::<String>());
        LeaseFileError(format!("the lease file has \"{text}\" at {at}: {why}; correct it by hand"))
    }
}

/// Reads the text. The error distinguishes truncated text from invalid text.
pub(super) fn read(bytes: &[u8]) -> Result<Json<'_>, LeaseFileError> {
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Eof => LeaseFileError(format!(
            "the lease file is truncated at line {}; replace it with a complete copy, or start with another \
             --file and empty books",
            error.line()
        )),
        _ => LeaseFileError(format!(
            "the lease file is not JSON: {error}; correct it, or replace it with a complete copy"
        )),
    })
}
