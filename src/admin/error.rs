//! What an admin request was refused with, on both sides of the admin socket.
//!
//! Promises: on the wire it is `{"Err": text, "kind": kind}`; the text is for people and says what to do.
//! Exit codes are the command line's.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use crate::plan::error::ErrorKind;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct AdminError {
    /// The text for people.
    #[serde(rename = "Err")]
    pub text: String,
    #[serde(serialize_with = "write_kind", deserialize_with = "read_kind")]
    pub kind: ErrorKind,
}

fn write_kind<S: Serializer>(kind: &ErrorKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}

/// A kind that a later version adds counts as a failure.
fn read_kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ErrorKind, D::Error> {
    String::deserialize(deserializer).map(|name| ErrorKind::named(&name))
}

impl AdminError {
    /// A refusal of this kind.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { text: text.into(), kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_on_the_wire_has_err_and_kind() {
        let wire = serde_json::to_string(&AdminError::new(ErrorKind::Taken, "in use")).unwrap();
        assert_eq!(wire, r#"{"Err":"in use","kind":"taken"}"#);
        let read: AdminError = serde_json::from_str(r#"{"Err":"x","kind":"new","more":1}"#).unwrap();
        assert_eq!(read, AdminError::new(ErrorKind::Failed, "x"));
    }
}
