//! A headroom file next to the books. It is deleted when the disk is full, so that the WAL can be
//! checkpointed into the database, which may have to grow for that. Without it, a disk that the WAL itself
//! has filled would stay full.
//!
//! Promises: the file is created when the books are first written, and again when the disk has plenty of
//! space. A failure to create it is ignored. The file contains no data. This module checks the disk only when
//! it is called.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::sqlite::{directory, suffixed};

/// The size of the file in bytes: the most by which the database can grow while the WAL fills up.
const SIZE: usize = 1 << 20;
/// The file is created only if this many times its size is free: it must never take the last free space, not
/// even briefly.
const ROOM: u64 = 4;

/// The headroom file; see the top of this file.
#[derive(Debug)]
pub(super) struct Headroom {
    path: PathBuf,
    there: bool,
}

impl Headroom {
    pub(super) fn of_books(books: &Path) -> Self {
        Self { path: suffixed(books, ".reserve"), there: false }
    }

    /// Creates the file if it does not exist.
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

    /// Whether the disk has plenty of free space.
    pub(super) fn has_room(&self) -> bool {
        let free = rustix::fs::statvfs(directory(&self.path))
            .map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
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

    /// Deletes the file.
    pub(super) fn give(&mut self) {
        // The file may not exist.
        let _ = fs::remove_file(&self.path);
        self.there = false;
    }
}
