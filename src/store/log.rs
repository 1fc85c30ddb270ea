//! The WAL's file is lengthened ahead of its end: a sync that only overwrites costs less than one that
//! makes a file longer.
//!
//! Promises: adds only zeros after the end of the WAL, which SQLite ignores (so it does with what a
//! former round left there); only between batches; never more than one round of the log, and only where the disk has
//! ample room; failing to do it is not an error. Holds no data.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::sqlite::suffixed;

/// Added at a time.
const STEP: u64 = 1 << 20;
/// Added when less than this is left.
const LEAST: u64 = STEP / 4;
/// A page in the log, with its header.
const PAGE: u64 = 4_096 + 24;

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    /// Its length, as far as it is known; nothing while it must be looked at.
    length: Option<u64>,
    most: u64,
}

impl Log {
    /// `pages`: of one round, after which it is overwritten from its beginning.
    pub(super) fn of_books(books: &Path, pages: i32) -> Self {
        Self { path: suffixed(books, "-wal"), length: None, most: end(pages) }
    }

    /// Whether there is nearly nothing left behind the WAL's pages.
    pub(super) fn is_short(&self, pages: i32) -> bool {
        let end = end(pages);
        end != 0 && self.length.is_none_or(|length| length < self.most.min(end + LEAST))
    }

    /// The WAL has this many pages: writes zeros behind them, if the disk has space.
    pub(super) fn lengthen(&mut self, pages: i32, has_room: impl FnOnce() -> bool) {
        if !self.is_short(pages) {
            return;
        }
        let end = end(pages);
        let grown = if has_room() { self.grow(end) } else { Err(io::ErrorKind::StorageFull.into()) };
        // After a failure it is not tried again before the WAL is truncated.
        self.length = Some(grown.unwrap_or(u64::MAX));
    }

    /// It was truncated.
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

/// Bytes of this many pages.
fn end(pages: i32) -> u64 {
    u64::try_from(pages).unwrap_or(0).saturating_mul(PAGE)
}
