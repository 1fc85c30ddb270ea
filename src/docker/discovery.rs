//! How the Engine finds a driver: through files named after it (fact P1).
//!
//! `/run/docker/plugins/NAME.sock` is the socket itself, which the listener creates; it takes precedence over
//! all others. `/etc/docker/plugins/NAME.spec` contains `tcp://HOST:PORT`; `NAME.json` in the same directory
//! contains an `https://` address and the TLS files, in the Engine's own format. The Engine uses TLS only for
//! `https://`; with `tcp://` or any other scheme in that file it would use plain HTTP.
//!
//! Promises: a file is either complete or absent (written under another name, then renamed); stale files of
//! the other kinds are removed, because they would take precedence over ours or mislead people; a live driver
//! of another program is never displaced; on exit a file is removed only if it is still as we wrote it. Does
//! not create sockets, remove live ones, or open listeners. Call [`announce`] once the listeners are open,
//! and before serving.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::config::{PluginDirs, Tls};
use crate::server::knock;

/// How long to wait for a process to answer at an address found in a leftover file.
const KNOCK: Duration = Duration::from_millis(500);
/// How long the lookup of a host name in such a file may take.
const LOOKUP: Duration = Duration::from_secs(2);
/// How many bytes of a leftover file are read, and how many of its addresses are tried.
const LONGEST_FILE: u64 = 64 << 10;
const MOST_ADDRESSES: usize = 4;

/// How a driver is served.
#[derive(Debug)]
pub enum Served<'a> {
    /// Over this UNIX socket, ours or inherited. The Engine finds it only in [`PluginDirs::sockets`]; for a
    /// socket elsewhere, no files are written or removed.
    Socket(PathBuf),
    /// Over plain TCP, at this address.
    Tcp(SocketAddr),
    /// Over TLS.
    Tls {
        /// The address of the listener.
        address: SocketAddr,
        /// The host name that the Engine should use, which must be in the server's certificate; if absent,
        /// the address is used.
        host: Option<&'a str>,
        /// The files that the Engine reads when it connects. Without `engine_ca` it does not verify the
        /// server.
        files: &'a Tls,
    },
}

/// Why a driver cannot be announced to the Engine: another program serves that name, or a file is in the way.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DiscoveryError(String);

/// The file that announces us to the Engine; `None` for a socket, which does not need a file.
#[derive(Debug)]
#[must_use = "withdraw it at the end, or the file stays"]
pub struct Announcement {
    written: Option<(PathBuf, Vec<u8>)>,
}

/// Announces to the Engine that `name` is `served`, and removes stale files for that name. `ours` are the
/// addresses at which this process itself listens, so that a file pointing there is not attributed to another
/// process.
///
/// # Errors
/// If another program serves that name (then no file was changed), or if a file cannot be read, written or
/// removed.
pub fn announce(
    dirs: &PluginDirs,
    name: &str,
    served: &Served<'_>,
    ours: &[SocketAddr],
) -> Result<Announcement, DiscoveryError> {
    if let Served::Socket(path) = served
        && !same_directory(path, &dirs.sockets)
    {
        return Ok(Announcement { written: None });
    }
    let target = match served {
        Served::Socket(_) => None,
        Served::Tcp(address) => {
            let content = format!("tcp://{}\n", reachable(*address)).into_bytes();
            Some((file(&dirs.specs, name, "spec"), content))
        }
        Served::Tls { address, host, files } => {
            Some((file(&dirs.specs, name, "json"), json(name, *address, *host, files)))
        }
    };
    // The Engine would also find the name through these files: of each kind, in the directory itself and in a
    // subdirectory of that name.
    let mut stale = Vec::new();
    for (base, kind) in [(&dirs.sockets, "sock"), (&dirs.specs, "spec"), (&dirs.specs, "json")] {
        for path in [file(base, name, kind), file(&base.join(name), name, kind)] {
            let is_ours = match &target {
                None => kind == "sock",
                Some((target, _)) => path == *target,
            };
            if !is_ours && is_stale(name, &path, ours)? {
                stale.push(path);
            }
        }
    }
    if let Some((path, content)) = &target {
        is_stale(name, path, ours)?;
        write(path, content).map_err(failed("write", path))?;
    }
    for path in stale {
        tracing::info!(path = %path.display(), "removing stale plugin file");
        remove(&path)?;
    }
    Ok(Announcement { written: target })
}

impl Announcement {
    /// The file that was written, if one was needed.
    #[cfg(test)]
    pub fn path(&self) -> Option<&Path> {
        self.written.as_ref().map(|(path, _)| path.as_path())
    }

    /// Removes the file, unless it has been changed since it was written.
    ///
    /// # Errors
    /// If the file is still as we wrote it and cannot be removed.
    pub fn withdraw(self) -> Result<(), DiscoveryError> {
        match self.written {
            Some((path, content)) if fs::read(&path).is_ok_and(|found| found == content) => remove(&path),
            _ => Ok(()),
        }
    }
}

fn file(directory: &Path, name: &str, kind: &str) -> PathBuf {
    directory.join(format!("{name}.{kind}"))
}

/// Checks a file through which the Engine would find `name`: false if it does not exist, true if it exists
/// and no process other than this one answers there.
fn is_stale(name: &str, path: &Path, ours: &[SocketAddr]) -> Result<bool, DiscoveryError> {
    let live = |address: String| {
        DiscoveryError(format!(
            "driver {name} is already served at {address} by another program (according to {}); stop that program, \
             or remove the file if it does not belong to that program",
            path.display()
        ))
    };
    match fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(false);
        }
        Err(error) => return Err(failed("inspect", path)(error)),
        Ok(found) if found.file_type().is_socket() => {
            return if socket_lives(path) { Err(live(path.display().to_string())) } else { Ok(true) };
        }
        // The Engine ignores a `.sock` file that is not a socket.
        Ok(_) if path.extension().is_some_and(|kind| kind == "sock") => return Ok(false),
        Ok(_) => {}
    }
    let text = read(path).map_err(failed("read", path))?;
    let text = String::from_utf8_lossy(&text);
    let address = address_in(&text);
    if let Some(socket) = address.strip_prefix("unix://") {
        return if socket_lives(Path::new(socket)) { Err(live(address)) } else { Ok(true) };
    }
    let authority = address.split_once("://").map_or(address.as_str(), |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    if addresses(authority).into_iter().any(|found| answers_for_another(found, ours)) {
        Err(live(address))
    } else {
        Ok(true)
    }
}

/// Reads regular files only, because reading anything else might never end.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    if fs::metadata(path)?.is_file() {
        fs::File::open(path)?.take(LONGEST_FILE).read_to_end(&mut text)?;
    }
    Ok(text)
}

/// The addresses of `HOST:PORT`. The resolver may be down while the host starts, so the wait is bounded.
fn addresses(authority: &str) -> Vec<SocketAddr> {
    if let Ok(address) = authority.parse() {
        return vec![address];
    }
    let (name, (sender, found)) = (authority.to_owned(), mpsc::channel());
    thread::spawn(move || {
        let addresses = name.to_socket_addrs().map(|found| found.take(MOST_ADDRESSES).collect());
        // Sending fails if the receiver has given up.
        let _ = sender.send(addresses.unwrap_or_default());
    });
    found.recv_timeout(LOOKUP).unwrap_or_default()
}

/// The address in a `.spec` or `.json` file; empty if the file has no address, so that no process answers
/// there.
fn address_in(text: &str) -> String {
    let text = text.trim();
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(json) => json.get("Addr").and_then(|address| address.as_str()).unwrap_or_default().to_owned(),
        Err(_) => text.to_owned(),
    }
}

fn socket_lives(path: &Path) -> bool {
    match knock(path) {
        Ok(()) => true,
        // A full backlog, or a file that we may not open, means that another process is there.
        Err(error) => !matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound),
    }
}

/// Whether another process answers at `found`.
fn answers_for_another(found: SocketAddr, ours: &[SocketAddr]) -> bool {
    if ours.contains(&found) {
        return false;
    }
    let stream = match TcpStream::connect_timeout(&found, KNOCK) {
        Ok(stream) => stream,
        // No packet is lost on loopback, so a timeout means that a process listens there and its backlog is
        // full.
        Err(error) => return error.kind() == io::ErrorKind::TimedOut && found.ip().is_loopback(),
    };
    // A connection to an address of this machine has that same address as its source.
    let (Ok(from), Ok(to)) = (stream.local_addr(), stream.peer_addr()) else { return false };
    let at_home = from.ip() == to.ip();
    let any = |ours: &SocketAddr| ours.ip().is_unspecified() && ours.port() == to.port();
    !(ours.contains(&to) || at_home && ours.iter().any(any))
}

/// The address at which the Engine reaches a listener; for a wildcard address, that is loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port());
    let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), address.port());
    match address.ip() {
        ip if !ip.is_unspecified() => address,
        IpAddr::V4(_) => v4,
        // The listener accepts both families unless the system disables that; then only one of these
        // addresses works.
        IpAddr::V6(_) if TcpStream::connect_timeout(&v4, KNOCK).is_ok() => v4,
        IpAddr::V6(_) => v6,
    }
}

fn json(name: &str, address: SocketAddr, host: Option<&str>, files: &Tls) -> Vec<u8> {
    let addr = match host {
        Some(host) if host.parse::<Ipv6Addr>().is_ok() => format!("https://[{host}]:{}", address.port()),
        Some(host) => format!("https://{host}:{}", address.port()),
        None => format!("https://{}", reachable(address)),
    };
    // Paths must be absolute, because the Engine has a different working directory.
    let absolute = |path: &Option<PathBuf>| {
        let path = path.clone().unwrap_or_default();
        // The Engine could not read a path that is not UTF-8 either.
        std::path::absolute(&path).unwrap_or(path).to_string_lossy().into_owned()
    };
    let json = serde_json::json!({
        "Name": name,
        "Addr": addr,
        "TLSConfig": {
            "InsecureSkipVerify": false,
            "CAFile": absolute(&files.engine_ca),
            "CertFile": absolute(&files.engine_cert),
            "KeyFile": absolute(&files.engine_key),
        },
    });
    let mut bytes = serde_json::to_vec_pretty(&json).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// Writes a world-readable file, completely or not at all.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = directory.join(format!(".{file}.{}", std::process::id()));
    let written = (|| {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&aside)?;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written
}

fn remove(path: &Path) -> Result<(), DiscoveryError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

fn same_directory(path: &Path, directory: &Path) -> bool {
    let parent = path.parent().unwrap_or(Path::new(""));
    match (fs::canonicalize(parent), fs::canonicalize(directory)) {
        (Ok(one), Ok(other)) => one == other,
        _ => parent == directory,
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiscoveryError {
    move |error| DiscoveryError(format!("cannot {doing} {}: {error}", path.display()))
}

#[cfg(test)]
#[path = "discovery_tests.rs"]
mod tests;
