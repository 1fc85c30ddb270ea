//! How much of the WAL is in use: what SQLite would have to read, not how large the file has become.
//!
//! Promises: opens only the file of the WAL, which SQLite does not lock. (A process that has the books open must not close
//! another descriptor of the books or of their index.) Needs only a few reads, however large the WAL is. Changes nothing.
//!
//! The file has a header of 32 bytes, then frames of 24 bytes and a page each. A restarted WAL gets a new salt, and the
//! frames after its end keep the old one, so a binary search finds the end.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::lock::real;
use super::sqlite::suffixed;

const HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;

/// A reader keeps a WAL larger than this from being reset: gipam checkpoints it at a quarter of this size.
pub const LONG: u64 = 64 << 20;

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
