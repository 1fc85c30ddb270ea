//! A file with prefixes, one per line, that a DHCP client's hook writes; and a watch over such files.
//!
//! Promises: only a complete file counts: each line ends with a newline and is a prefix, a comment (`#`) or empty. The watch
//! polls nothing: it is told of changes in the file's directory, or in the nearest directory above that exists. Symbolic
//! links are followed when the file is read, but only the directory in the path is watched.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use crate::plan::prefix::Prefix;
use crate::plan::written;

/// No list of prefixes is longer.
const LONGEST: usize = 64 << 10;

/// The prefixes in the file, in order; empty if the file does not exist. The error says why the file does not count.
pub fn read(path: &Path) -> Result<Vec<Prefix>, String> {
    match std::fs::read(path) {
        Ok(bytes) => prefixes(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.to_string()),
    }
}

fn prefixes(bytes: &[u8]) -> Result<Vec<Prefix>, String> {
    if bytes.len() > LONGEST {
        return Err(format!("it has {} bytes; at most {LONGEST} are read", bytes.len()));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("its last line does not end with a newline, so it may not be complete".to_owned());
    }
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let lines = lines.enumerate().filter(|(_, line)| !line.is_empty());
    lines
        .map(|(n, line)| match written::prefix(line) {
            Ok((prefix, false)) => Ok(prefix),
            Ok((prefix, true)) => Err(format!("line {}: {line} has host bits set; write {prefix}", n + 1)),
            Err(error) => Err(format!("line {}: {error}", n + 1)),
        })
        .collect()
}

/// Is told of changes of files, whether they exist or not.
#[derive(Debug)]
pub struct FileWatch(OwnedFd);

impl FileWatch {
    pub fn new() -> io::Result<Self> {
        Ok(Self(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?))
    }

    /// Watches this file, too, or again after something above it changed.
    pub fn cover(&self, path: &Path) -> io::Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        let what = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let deepest = || parent.ancestors().find(|directory| directory.is_dir());
        let mut watched = None;
        // A directory that appears before the one above it is watched would not be noticed.
        while let Some(directory) = deepest().filter(|it| watched != Some(*it)) {
            match inotify::add_watch(&self.0, directory, what) {
                Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => watched = Some(directory),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes all notifications; returns whether there were any.
    pub fn drain(&self) -> io::Result<bool> {
        let (mut buffer, mut any) = ([0; 4096], false);
        loop {
            match rustix::io::read(&self.0, &mut buffer) {
                Ok(_) => any = true,
                Err(Errno::AGAIN) => return Ok(any),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for FileWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_complete_file_counts() {
        let read = |text: &str| prefixes(text.as_bytes());
        let known = |texts: &[&str]| Ok(texts.iter().map(|text| Prefix::parse(text).unwrap()).collect());
        assert_eq!(read(""), known(&[]));
        assert_eq!(read("# nothing yet\n\n"), known(&[]));
        assert_eq!(
            read("2001:db8:a::/56 # from the provider\n10.0.0.0/8\n"),
            known(&["2001:db8:a::/56", "10.0.0.0/8"])
        );
        for (text, why) in [
            ("2001:db8:a::/5", "newline"),
            ("2001:db8:a::/56\n2001:db8:b::/5", "newline"),
            ("2001:db8:a::1/56\n", "line 1: 2001:db8:a::1/56 has host bits set; write 2001:db8:a::/56"),
            ("\n2001:db8:a::\n", "line 2: "),
            ("unset\n", "is not a prefix"),
            ("2001:db8:a::/129\n", "length /129"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text:?}: {error}");
        }
        assert!(prefixes(&[0xff, b'\n']).is_err());
    }

    #[test]
    fn a_watch_sees_a_file_that_appears_with_its_directories_and_is_replaced() {
        let house = tempfile::tempdir().unwrap();
        let directory = house.path().join("a/b");
        let path = directory.join("prefix");
        let watch = FileWatch::new().unwrap();
        watch.cover(&path).unwrap();
        assert!(!watch.drain().unwrap(), "nothing has happened");
        std::fs::create_dir_all(&directory).unwrap();
        assert!(watch.drain().unwrap(), "a directory above it appeared");
        watch.cover(&path).unwrap();
        watch.drain().unwrap();
        std::fs::write(&path, "2001:db8::/56\n").unwrap();
        assert!(watch.drain().unwrap(), "it was written");
        assert!(!watch.drain().unwrap());
        let new = directory.join("prefix.new");
        std::fs::write(&new, "2001:db8:1::/56\n").unwrap();
        watch.drain().unwrap();
        std::fs::rename(&new, &path).unwrap();
        assert!(watch.drain().unwrap(), "it was replaced");
        std::fs::remove_dir_all(house.path().join("a")).unwrap();
        assert!(watch.drain().unwrap(), "it was removed");
        watch.cover(&path).unwrap();
        watch.drain().unwrap();
        std::fs::create_dir(house.path().join("a")).unwrap();
        assert!(watch.drain().unwrap(), "the directory is back");
    }
}
