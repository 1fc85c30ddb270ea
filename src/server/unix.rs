//! The file of a UNIX socket: created with its final mode, replaced if stale, removed if still ours.
//!
//! Promises: the file never has a wider mode than requested, and clients cannot connect before owner and mode
//! are final; a live socket is never taken away from its process; two gipam processes that start at the same
//! time take turns; only the file that was created here is removed, not a later one; waits are bounded. Does
//! not accept connections.

use super::door::DoorError;
use rustix::fs::{AtFlags, CWD, FlockOperation, Gid, Mode, OFlags, Uid};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How many connections may wait in the kernel, which limits this to `net.core.somaxconn`.
pub(super) const BACKLOG: i32 = 1024;

/// How long to wait for another process that starts in the same directory: it needs only milliseconds.
const TURN: Duration = Duration::from_secs(2);

/// A socket file that was created here.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// Removes the file if it is still the one that was created here.
    pub(super) fn remove(&self) {
        let _turn = lock_directory(&self.path);
        match std::fs::symlink_metadata(&self.path) {
            Ok(found) if found.dev() == self.device && found.ino() == self.inode => {
                if let Err(error) = std::fs::remove_file(&self.path) {
                    tracing::warn!(path = %self.path.display(), %error, "the socket file could not be removed");
                }
            }
            _ => {
                tracing::info!(path = %self.path.display(), "the socket file now belongs to another process; left alone")
            }
        }
    }
}

/// Binds and listens. If `owner` or `group` is absent, that of this process is used.
pub(super) fn bind(
    path: &Path,
    mode: u32,
    owner: Option<u32>,
    group: Option<u32>,
) -> Result<(OwnedFd, SocketFile), DoorError> {
    let fail = |doing| failed(doing, path);
    let address = SocketAddrUnix::new(path).map_err(|error| fail("name")(error.into()))?;
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)
            .map_err(fail("create the directory of"))?;
    }
    let _turn = lock_directory(path);
    clear(path)?;
    let socket = bind_narrow(&address, mode).map_err(fail("bind"))?;
    let file = identify(path).map_err(fail("inspect"))?;
    // From here on, a failure removes the file again.
    let finished = widen(path, mode, owner, group)
        .map_err(fail("set owner and mode of"))
        .and_then(|()| rustix::net::listen(&socket, BACKLOG).map_err(|e| fail("listen on")(e.into())));
    if let Err(error) = finished {
        file.remove();
        return Err(error);
    }
    Ok((socket, file))
}

/// Binds with at most the owner's part of `mode`: Linux gives the file the mode of the socket.
fn bind_narrow(address: &SocketAddrUnix, mode: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode & 0o700))?;
    rustix::net::bind(&socket, address)?;
    Ok(socket)
}

fn identify(path: &Path) -> io::Result<SocketFile> {
    let found = std::fs::symlink_metadata(path)?;
    Ok(SocketFile { path: path.to_owned(), device: found.dev(), inode: found.ino() })
}

fn widen(path: &Path, mode: u32, owner: Option<u32>, group: Option<u32>) -> io::Result<()> {
    if owner.is_some() || group.is_some() {
        let (owner, group) = (owner.map(Uid::from_raw), group.map(Gid::from_raw));
        rustix::fs::chownat(CWD, path, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    rustix::fs::chmod(path, Mode::from_raw_mode(mode & 0o777))?;
    Ok(())
}

/// Removes a stale socket file; refuses a live socket and everything that is not a socket.
fn clear(path: &Path) -> Result<(), DoorError> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("inspect", path)(error)),
    };
    if !found.file_type().is_socket() {
        let shown = path.display();
        return Err(DoorError(format!(
            "{shown} exists and is not a socket; move it away, or choose another path"
        )));
    }
    match knock(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "replacing the socket file of a process that is gone");
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("replace", path)(error)),
                _ => Ok(()),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A socket of another type, and a listener whose queue is full, are alive too.
        _ => Err(DoorError(format!(
            "a process is already listening on {}; stop it, or choose another path",
            path.display()
        ))),
    }
}

fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> DoorError {
    move |error| DoorError(format!("cannot {doing} the socket {}: {error}", path.display()))
}

/// Connects to a socket and closes the connection again. Never blocks: if the listener's queue is full, a
/// blocking connect could wait forever; this returns [`io::ErrorKind::WouldBlock`] instead, which means that
/// the listener is alive.
///
/// # Errors
/// Those of `connect`; [`io::ErrorKind::ConnectionRefused`] if the socket has no listener.
pub fn knock(path: &Path) -> io::Result<()> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok(rustix::net::connect(&socket, &address)?)
}

/// Locks the directory, so that starting processes take turns. `None` if that fails or takes too long: go on
/// without it.
fn lock_directory(path: &Path) -> Option<OwnedFd> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(parent, flags, Mode::empty()).ok()?;
    let end = Instant::now() + TURN;
    loop {
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(directory),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < end => std::thread::sleep(TURN / 100),
            Err(_) => return None,
        }
    }
}
