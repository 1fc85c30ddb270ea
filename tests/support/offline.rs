//! Views from books without a daemon.

use std::path::Path;

/// The answer of a view from these books, in one piece.
pub fn whole_answer(books: &Path, path: &str) -> Result<Vec<u8>, gipam::view::Refusal> {
    let mut whole = Vec::new();
    let last = gipam::admin::offline::answer(books, None, path, &mut |piece| {
        whole.extend(piece);
        Ok(())
    })?;
    whole.extend(last);
    Ok(whole)
}
