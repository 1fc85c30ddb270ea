//! THE FLOOR OF DURABILITY: a bare loop of append and fdatasync on the file system of the books.
//!
//! Promises: one write of a small record and one `fdatasync` at a time, nothing else; the file is removed.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// About the size of a lease as text.
const RECORD: [u8; 128] = [b'x'; 128];

/// The time of each append with its sync, in nanoseconds.
pub fn append_and_sync(directory: &Path, time: Duration) -> io::Result<Vec<u32>> {
    let path = directory.join("append");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let (began, mut nanos) = (Instant::now(), Vec::new());
    let mut last = began;
    while last - began < time {
        file.write_all(&RECORD)?;
        file.sync_data()?;
        let now = Instant::now();
        nanos.push(u32::try_from((now - last).as_nanos()).unwrap_or(u32::MAX));
        last = now;
    }
    fs::remove_file(path)?;
    Ok(nanos)
}
