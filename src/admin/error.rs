//! What an admin request was refused with, on both sides of the admin socket.
//!
//! Promises: on the wire it is `{"Err": text, "kind": kind}`; the text is for people and says what to do.
//! Exit codes are the command line's.

use serde::{Deserialize, Serialize};

/// The kind of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminErrorKind {
    /// The request can never succeed as it is.
    Invalid,
    /// It does not exist.
    Missing,
    /// It is in use.
    Taken,
    /// Nothing is left.
    Exhausted,
    /// Not now.
    Unavailable,
    /// The daemon does not answer. Never sent: made by the client.
    #[serde(skip)]
    Unreachable,
    /// It failed; also any kind that a later version may add.
    #[serde(other)]
    Failed,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct AdminError {
    /// The text for people.
    #[serde(rename = "Err")]
    pub text: String,
    pub kind: AdminErrorKind,
}

impl AdminError {
    /// A refusal of this kind.
    pub fn new(kind: AdminErrorKind, text: impl Into<String>) -> Self {
        Self { text: text.into(), kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_on_the_wire_has_err_and_kind() {
        let wire = serde_json::to_string(&AdminError::new(AdminErrorKind::Taken, "in use")).unwrap();
        assert_eq!(wire, r#"{"Err":"in use","kind":"taken"}"#);
        let read: AdminError = serde_json::from_str(r#"{"Err":"x","kind":"new","more":1}"#).unwrap();
        assert_eq!(read, AdminError::new(AdminErrorKind::Failed, "x"));
    }
}
