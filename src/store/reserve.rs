//! A headroom file next to the books: it is deleted when the disk is full, so that the WAL can be checkpointed into the
//! database, which may have to grow for it. Without it, a disk that the WAL itself has filled would stay full.
//!
//! Promises: made when the books are first written, made again when the disk has ample space; failing to make it is not an
//! error. Holds no data. Does not check the disk by itself.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::sqlite::suffixed;

/// Its size in bytes: what the database grows by, at most, while the log fills up.
const SIZE: usize = 1 << 20;
/// It is made only where this many times its size is free: it must never take the last free space, not even for a moment.
const ROOM: u64 = 4;

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    there: bool,
}

impl Reserve {
    pub(super) fn of_books(books: &Path) -> Self {
        Self { path: suffixed(books, ".reserve"), there: false }
    }

    /// Makes the file, unless it is there.
    pub(super) fn keep(&mut self) {
        if self.there {
            return;
        }
        let whole = fs::metadata(&self.path).is_ok_and(|file| file.len() == SIZE as u64);
        self.there = whole || (self.has_room() && self.fill().is_ok());
        if !self.there {
            self.give();
        }
    }

    pub(super) const fn is_there(&self) -> bool {
        self.there
    }

    /// Whether the disk has ample room.
    pub(super) fn has_room(&self) -> bool {
        let directory =
            self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let free =
            rustix::fs::statvfs(directory).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        free >= ROOM * SIZE as u64
    }

    fn fill(&self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&self.path)?
            .write_all(&vec![0; SIZE])
    }

    /// Deletes it.
    pub(super) fn give(&mut self) {
        // It may not exist.
        let _ = fs::remove_file(&self.path);
        self.there = false;
    }
}
