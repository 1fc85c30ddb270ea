//! THE LOCK: allows only one writer per database file, whatever path it is opened by.
//!
//! Promises: locks the file itself (with `flock`, which does not interact with SQLite's POSIX locks) and a
//! lock file next to it, which also covers the moments when the database does not exist yet or is being
//! replaced. Symbolic links are followed to the file. A file that has several names (hard links) or is a
//! mount of its own is refused: SQLite keeps the WAL next to the name, so changes written under one name are
//! missing under another. Within a process, a list of held files is checked first, since closing a second
//! descriptor of a file drops SQLite's own locks on it.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

use super::sqlite::{StoreError, directory, io, suffixed, sync_directory};

/// Device and inode.
type Identity = (u64, u64);

/// The files that this process holds.
static HELD: Mutex<BTreeSet<Identity>> = Mutex::new(BTreeSet::new());

/// `restore` keeps the books that it replaced under names with this suffix and a number: NAME.replaced-1 and
/// so on.
pub(super) const REPLACED: &str = ".replaced-";

/// The lock is held until this is dropped, which must happen after the connection to the books is closed.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    /// Closed only when this lock is dropped; the module documentation explains why.
    file: Option<(File, Identity)>,
    _lock_file: File,
}

fn held() -> MutexGuard<'static, BTreeSet<Identity>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

fn identity(file: &Metadata) -> Identity {
    (file.dev(), file.ino())
}

/// The real path of the file. Symbolic links are followed, so that the WAL and the lock file are next to the
/// file itself.
pub(super) fn real(path: &Path) -> Result<PathBuf, StoreError> {
    match fs::symlink_metadata(path) {
        Ok(file) if file.is_symlink() => {}
        _ => return Ok(path.to_owned()),
    }
    fs::canonicalize(path).map_err(|source| match fs::read_link(path) {
        Ok(target) if source.kind() == io::ErrorKind::NotFound => {
            let why = format!("it is a symbolic link to {}, which does not exist", target.display());
            StoreError::Foreign { path: path.to_owned(), why }
        }
        _ => io(path, "following the symbolic link")(source),
    })
}

/// Refuses a path whose directory does not exist: a mistyped path must not lead to new, empty books.
pub(super) fn check_directory(path: &Path) -> Result<(), StoreError> {
    let directory = directory(path).to_owned();
    if directory.is_dir() {
        return Ok(());
    }
    Err(StoreError::NoDirectory { path: path.to_owned(), directory })
}

impl Lock {
    /// Locks these books, whether or not they exist yet.
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let lock = options.open(suffixed(path, ".lock")).map_err(io(path, "opening the lock file"))?;
        try_lock(path, &lock)?;
        let mut lock = Self { path: path.to_owned(), file: None, _lock_file: lock };
        lock.hold_file()?;
        Ok(lock)
    }

    /// Locks the file itself, if it exists.
    pub(super) fn hold_file(&mut self) -> Result<(), StoreError> {
        let path = self.path.clone();
        let found = match fs::metadata(&path) {
            Ok(found) if found.is_file() && self.file.is_none() => found,
            Ok(found) if found.is_file() => return Ok(()),
            Ok(_) => {
                return Err(StoreError::Foreign { path, why: "it is not a regular file".to_owned() });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io(&path, "checking the file")(error)),
        };
        let wanted = identity(&found);
        if !held().insert(wanted) {
            return Err(StoreError::Locked(path));
        }
        let opened = File::open(&path).map_err(io(&path, "opening")).and_then(|file| {
            try_lock(&path, &file)?;
            let opened = file.metadata().map_err(io(&path, "opening"))?;
            // If the identity differs, another file was moved here in the meantime.
            if identity(&opened) == wanted { Ok(file) } else { Err(StoreError::Locked(path.clone())) }
        });
        match opened {
            Ok(file) => self.file = Some((file, wanted)),
            Err(error) => {
                held().remove(&wanted);
                return Err(error);
            }
        }
        forget_interrupted(&path)?;
        check_names(&path)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some((file, identity)) = self.file.take() {
            drop(file);
            held().remove(&identity);
        }
    }
}

fn try_lock(path: &Path, file: &File) -> Result<(), StoreError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked(path.to_owned())),
        Err(TryLockError::Error(source)) => {
            Err(StoreError::Io { path: path.to_owned(), doing: "locking", source })
        }
    }
}

/// Other names of this file next to the books. `restore` created them to keep the replaced books and was
/// interrupted before the new file took over the original name.
fn interrupted(path: &Path, file: &Metadata) -> Vec<PathBuf> {
    let Some(name) = path.file_name() else { return Vec::new() };
    let start = suffixed(Path::new(name), REPLACED).into_os_string();
    let entries = fs::read_dir(directory(path)).into_iter().flatten().flatten();
    let ours =
        entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(start.as_encoded_bytes()));
    let same = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|it| identity(&it) == identity(file));
    ours.map(|entry| entry.path()).filter(same).collect()
}

/// Removes the names that an interrupted restore left; the books keep their original name.
fn forget_interrupted(path: &Path) -> Result<(), StoreError> {
    let file = fs::metadata(path).map_err(io(path, "checking the file"))?;
    let names = if file.nlink() > 1 { interrupted(path, &file) } else { Vec::new() };
    for name in &names {
        fs::remove_file(name).map_err(io(path, "removing the leftover of an interrupted restore"))?;
    }
    if names.is_empty() { Ok(()) } else { sync_directory(path) }
}

/// The check for readers. A name that has the WAL next to it is accepted: readers see everything through it.
pub(super) fn check_name(path: &Path) -> Result<(), StoreError> {
    let log = real(path).is_ok_and(|path| suffixed(&path, "-wal").exists());
    if log { Ok(()) } else { check_names(path) }
}

/// Refuses a file whose WAL may lie next to another of its names.
fn check_names(path: &Path) -> Result<(), StoreError> {
    let file = fs::metadata(path).map_err(io(path, "checking the file"))?;
    if file.nlink() > 1 && file.nlink() > 1 + interrupted(path, &file).len() as u64 {
        return Err(StoreError::Names { path: path.to_owned(), names: file.nlink() });
    }
    let alone = statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS)
        .is_ok_and(|file| file.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    if alone { Err(StoreError::Mounted(path.to_owned())) } else { Ok(()) }
}
