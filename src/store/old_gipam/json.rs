//! JSON as the old program reads it: objects whose keys match in any case, `null` as good as absent.
//!
//! Unlike a common JSON tree it keeps keys that stand twice, so that they can be refused instead of losing one. Every
//! [`Place`] knows its path (`allocated[3].idx`), which the errors name.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::Error;

/// A JSON value with the keys of objects as they stand, also those that stand twice.
#[derive(Debug)]
pub(super) enum Node {
    Null,
    Bool,
    /// Not a whole number from 0 to 2^64-1.
    Odd(f64),
    Number(u64),
    Text(String),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Node {
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "a truth value",
            Self::Odd(_) | Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

/// A value and where it stands; `null` and absent values have none.
#[derive(Debug, Clone)]
pub(super) struct Place<'a> {
    node: Option<&'a Node>,
    /// The path from the top.
    pub at: String,
}

impl<'a> Place<'a> {
    pub(super) fn top(node: &'a Node) -> Self {
        Self { node: Some(node), at: String::new() }
    }

    pub(super) fn is_set(&self) -> bool {
        !matches!(self.node, None | Some(Node::Null))
    }

    /// The value under one of the spellings of a key, in any case.
    pub(super) fn key(&self, spellings: &[&str]) -> Result<Self, Error> {
        let entries = match self.node {
            Some(Node::Object(entries)) => entries.as_slice(),
            Some(_) => return Err(self.wrong_kind("an object")),
            None => &[],
        };
        let mut found =
            entries.iter().filter(|(key, _)| spellings.iter().any(|s| key.eq_ignore_ascii_case(s)));
        let name = spellings.first().copied().unwrap_or_default();
        let at = if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) };
        let node = found.next().map(|(_, node)| node);
        match found.next() {
            Some(_) => Err(Error::KeyTwice { at }),
            None => Ok(Self { node, at }),
        }
    }

    /// The elements of a list; none if it is `null` or absent.
    pub(super) fn list(&self) -> Result<Vec<Self>, Error> {
        match self.node {
            None | Some(Node::Null) => Ok(Vec::new()),
            Some(Node::List(nodes)) => Ok(nodes
                .iter()
                .enumerate()
                .map(|(i, node)| Self { node: Some(node), at: format!("{}[{i}]", self.at) })
                .collect()),
            Some(_) => Err(self.wrong_kind("a list")),
        }
    }

    /// The text without blanks around it; empty if it is `null` or absent.
    pub(super) fn text(&self) -> Result<&'a str, Error> {
        match self.node {
            None | Some(Node::Null) => Ok(""),
            Some(Node::Text(text)) => Ok(text.trim()),
            Some(_) => Err(self.wrong_kind("a text")),
        }
    }

    /// The number; 0 if it is `null` or absent.
    pub(super) fn number(&self) -> Result<u64, Error> {
        match self.node {
            None | Some(Node::Null) => Ok(0),
            Some(Node::Number(number)) => Ok(*number),
            Some(Node::Odd(number)) => {
                Err(self.wrong(&number.to_string(), "not a whole number from 0 to 18446744073709551615"))
            }
            Some(_) => Err(self.wrong_kind("a number")),
        }
    }

    /// The error that what stands here is of the wrong kind.
    pub(super) fn wrong_kind(&self, expected: &'static str) -> Error {
        let at = if self.at.is_empty() { "the top".to_owned() } else { self.at.clone() };
        Error::Kind { at, found: self.node.map_or("nothing", Node::kind), expected }
    }

    /// The error that `text`, which stands here, means nothing.
    pub(super) fn wrong(&self, text: &str, why: impl Into<String>) -> Error {
        Error::Value { at: self.at.clone(), text: text.chars().take(100).collect(), why: why.into() }
    }
}

/// Reads the text; a truncated text is distinguished from an invalid one.
pub(super) fn read(bytes: &[u8]) -> Result<Node, Error> {
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Eof => Error::Truncated { line: error.line() },
        _ => Error::Syntax { text: error.to_string() },
    })
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Nodes)
    }
}

struct Nodes;

impl<'de> Visitor<'de> for Nodes {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Bool)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Number(number))
    }

    #[expect(clippy::cast_precision_loss, reason = "the number is refused and only printed")]
    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Odd(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
        Ok(Node::Odd(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = entries.next_element()? {
            list.push(node);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut object = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            object.push(entry);
        }
        Ok(Node::Object(object))
    }
}
