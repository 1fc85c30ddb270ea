//! The views from the books, when no daemon answers.

use std::path::Path;

use super::error::{AdminError, Kind};

/// Answers what `GET path_and_query` would, from the books.
pub fn answer(books: &Path, _path_and_query: &str) -> Result<Vec<u8>, AdminError> {
    Err(AdminError::new(
        Kind::Failed,
        format!("the books {} cannot be read without the daemon", books.display()),
    ))
}

/// Takes a lease file over into the books.
pub fn import(books: &Path, _name: &str, _content: &str, _replace: bool) -> Result<Vec<u8>, AdminError> {
    Err(AdminError::new(
        Kind::Failed,
        format!("the books {} cannot be changed without the daemon", books.display()),
    ))
}
