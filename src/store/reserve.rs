//! A file beside the books that only takes up room: it is given away when the disk is full, so that the log can be moved
//! into the database, which may have to grow for it. Without it a disk that the log itself has filled stays full for ever.
//!
//! Promises: made when the books are first written, made again when the disk has ample room; that it cannot be made is
//! no error. Holds no data. Does not look at the disk by itself.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::sqlite::beside;

/// Its size in bytes: what the database grows by, at most, while the log fills up.
const SIZE: usize = 1 << 20;
/// It is made only where so many times its size is free: never does it take the last room, not even for a moment.
const ROOM: u64 = 4;

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    there: bool,
}

impl Reserve {
    pub(super) fn beside(books: &Path) -> Self {
        Self { path: beside(books, ".reserve"), there: false }
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

    /// Gives its room away.
    pub(super) fn give(&mut self) {
        // One that is not there cannot be given.
        let _ = fs::remove_file(&self.path);
        self.there = false;
    }
}
