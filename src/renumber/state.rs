//! The file with what was read before a network is removed, so that a run that was cut off can be finished.
//!
//! Promises: the file is complete or absent (written under another name, synced, renamed); a file that cannot be read is
//! never overwritten or removed. One run at a time: the file's lock is held until the run ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::RenumberError;
use super::moves::NetworkMove;

/// The name of the file, next to the books.
const NAME: &str = "renumber.json";

/// The state of a run, with the lock that keeps other runs away.
#[derive(Debug)]
pub struct RunState {
    path: PathBuf,
    _lock: File,
}

impl RunState {
    /// The state next to these books.
    pub fn open(books: &Path) -> Result<Self, RenumberError> {
        let path = books.with_file_name(NAME);
        let failed = |what: &str, error: &io::Error| {
            RenumberError(format!("{what} {} failed: {error}; nothing was changed", path.display()))
        };
        let lock = path.with_extension("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(lock);
        let lock = lock.map_err(|error| failed("creating the lock of", &error))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => {
                RenumberError("another gipam renumber is at work; wait until it has ended".to_owned())
            }
            error => failed("locking", &error.into()),
        })?;
        Ok(Self { path, _lock: lock })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The move that an earlier run did not finish.
    pub fn unfinished(&self) -> Result<Option<NetworkMove>, RenumberError> {
        unfinished(&self.path)
    }

    /// Writes down a move; it is on disk when this returns.
    pub fn write(&self, network: &NetworkMove) -> Result<(), RenumberError> {
        let written = || -> io::Result<()> {
            let new = self.path.with_extension("new");
            let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&new)?;
            file.write_all(serde_json::to_string_pretty(network)?.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)?;
            self.sync()
        };
        written().map_err(|error| {
            RenumberError(format!(
                "{} cannot be written: {error}; nothing more was changed",
                self.path.display()
            ))
        })
    }

    /// Removes the file: the move is finished.
    pub fn finish(&self) -> Result<(), RenumberError> {
        let removed = std::fs::remove_file(&self.path).and_then(|()| self.sync());
        removed.map_err(|error| RenumberError(format!("{} cannot be removed: {error}", self.path.display())))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(self.path.parent().unwrap_or(Path::new("/")))?.sync_all()
    }
}

/// The move that a run next to these books did not finish, for a dry run.
pub fn unfinished_at(books: &Path) -> Result<Option<NetworkMove>, RenumberError> {
    unfinished(&books.with_file_name(NAME))
}

fn unfinished(path: &Path) -> Result<Option<NetworkMove>, RenumberError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RenumberError(format!("{} cannot be read: {error}", path.display()))),
    };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        RenumberError(format!(
            "{} cannot be read ({error}); it says what an earlier run removed: look at it, then move it away",
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_state_is_whole_or_absent_and_a_damaged_one_is_kept() {
        let house = tempfile::tempdir().unwrap();
        let books = house.path().join("gipam.db");
        let state = RunState::open(&books).unwrap();
        assert!(RunState::open(&books).unwrap_err().to_string().contains("another gipam renumber"));
        assert_eq!(state.unfinished().unwrap(), None);
        let network = NetworkMove {
            name: "web".to_owned(),
            id: "n1".to_owned(),
            project: None,
            subnets: Vec::new(),
            create: json!({}),
            containers: Vec::new(),
        };
        state.write(&network).unwrap();
        assert_eq!(unfinished_at(&books).unwrap(), Some(network));
        state.finish().unwrap();
        assert_eq!(state.unfinished().unwrap(), None);
        let file = house.path().join(NAME);
        std::fs::write(&file, "{\"name\":").unwrap();
        assert!(state.unfinished().unwrap_err().to_string().contains("then move it away"));
        assert!(file.exists());
    }
}
