//! Extends the file of the WAL before SQLite needs the space: a sync that only overwrites costs less than one that
//! makes a file longer.
//!
//! Promises: appends only zeros after the end of the WAL, which SQLite ignores, as it ignores what an earlier round
//! left there. Does so only between batches, never beyond one round of the WAL, and only if the disk has
//! plenty of free space. A failure is not an error. Holds no data.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::sqlite::suffixed;

/// How much is added at a time.
const STEP: u64 = 1 << 20;
/// More is added when less than this is left.
const LEAST: u64 = STEP / 4;
/// Size of a page in the WAL, including its header.
const PAGE: u64 = 4_096 + 24;

/// Extends the WAL; see the top of this file.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    /// Length of the file; `None` if it has to be read first.
    length: Option<u64>,
    most: u64,
}

impl Log {
    /// `pages` is the length of one round, after which the WAL is overwritten from its beginning.
    pub(super) fn of_books(books: &Path, pages: i32) -> Self {
        Self { path: suffixed(books, "-wal"), length: None, most: end(pages) }
    }

    /// Whether the file has almost no space left after the WAL's pages.
    pub(super) fn is_short(&self, pages: i32) -> bool {
        let end = end(pages);
        end != 0 && self.length.is_none_or(|length| length < self.most.min(end + LEAST))
    }

    /// The WAL has this many pages now: appends zeros to the file if it is short and the disk has space.
    pub(super) fn lengthen(&mut self, pages: i32, has_room: impl FnOnce() -> bool) {
        if !self.is_short(pages) {
            return;
        }
        let end = end(pages);
        let grown = if has_room() { self.grow(end) } else { Err(io::ErrorKind::StorageFull.into()) };
        // After a failure, wait until the WAL has been truncated before trying again.
        self.length = Some(grown.unwrap_or(u64::MAX));
    }

    /// The file was truncated, so its length is not known.
    pub(super) fn forget(&mut self) {
        self.length = None;
    }

    fn grow(&self, end: u64) -> io::Result<u64> {
        let mut file = OpenOptions::new().append(true).open(&self.path)?;
        let length = file.metadata()?.len();
        if length >= self.most.min(end + LEAST) {
            return Ok(length);
        }
        file.write_all(&vec![0; usize::try_from(STEP).unwrap_or(0)])?;
        file.sync_data()?;
        Ok(length + STEP)
    }
}

/// Number of bytes that this many pages take.
fn end(pages: i32) -> u64 {
    u64::try_from(pages).unwrap_or(0).saturating_mul(PAGE)
}
