//! The WAL file: extends it before SQLite needs the space, since syncing an overwrite costs less than syncing
//! an append, and measures how much of the file is in use.
//!
//! Promises: appends only zeros after the end of the WAL, which SQLite ignores, as it ignores frames that an
//! earlier round left there. Extends the file only between batches, never beyond one round of the WAL, and
//! only if the disk has plenty of free space. If extending fails, SQLite extends the file itself. Opens only
//! this file, which SQLite does not lock. (A process that has the books open must not close another
//! descriptor of the books or of their index.)
//!
//! The file has a header of 32 bytes, then frames of 24 bytes and a page each. A restarted WAL gets a new
//! salt, and the frames after its end keep the old one, so a binary search finds the end in a few reads.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::lock::real;
use super::sqlite::suffixed;

/// Number of bytes added at a time.
const STEP: u64 = 1 << 20;
/// The file is extended when less than this is left.
const LEAST: u64 = STEP / 4;
/// Size of a page of the books.
const PAGE: u64 = 4_096;
const HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;

/// If the WAL is larger than this, a reader keeps it from being reset: gipam checkpoints at a quarter of this
/// size.
pub const LONG: u64 = 64 << 20;

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

    /// Appends zeros to the file if `pages` nearly fill it and the disk has space.
    pub(super) fn lengthen(&mut self, pages: i32, has_room: impl FnOnce() -> bool) {
        if !self.is_short(pages) {
            return;
        }
        let end = end(pages);
        let grown = if has_room() { self.grow(end) } else { Err(io::ErrorKind::StorageFull.into()) };
        // After a failure, wait until the WAL has been truncated before trying again.
        self.length = Some(grown.unwrap_or(u64::MAX));
    }

    /// Forgets the length, because the file was truncated.
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
    u64::try_from(pages).unwrap_or(0).saturating_mul(PAGE + FRAME_HEADER)
}

/// How many bytes of the WAL are in use; `None` if there is no WAL.
pub fn log_in_use(books: &Path) -> Option<u64> {
    let file = File::open(suffixed(&real(books).ok()?, "-wal")).ok()?;
    let length = file.metadata().ok()?.len();
    let mut header = [0; HEADER as usize];
    file.read_exact_at(&mut header, 0).ok()?;
    let page = u32::from_be_bytes(header[8..12].try_into().ok()?);
    let frame = FRAME_HEADER + u64::from(page);
    let salt = &header[16..24];
    let is_ours = |number: u64| {
        let mut found = [0; 8];
        file.read_exact_at(&mut found, HEADER + number * frame + 8).is_ok() && found == salt
    };
    let (mut low, mut high) = (0, length.saturating_sub(HEADER) / frame);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_ours(middle) { low = middle + 1 } else { high = middle }
    }
    Some(HEADER + low * frame)
}
