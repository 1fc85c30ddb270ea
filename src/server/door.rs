//! Opens listeners: sockets, their files, and TLS.
//!
//! Promises: opening a [`Listener`] either succeeds or leaves everything as it was, and the error names the
//! path or address. A listener does not serve connections: see [`super::Server`].

use super::{tls, unix};
use rustix::net::SocketAddrUnix;
use std::ffi::OsStr;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a listener could not be opened; the text names the path or the address.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DoorError(pub(super) String);

/// An open listener: clients can connect, and wait in the kernel until it is served.
#[derive(Debug)]
pub struct Listener {
    /// A socket of either family, listening and non-blocking.
    pub(super) socket: OwnedFd,
    /// The socket file to remove at the end; `None` for TCP and for inherited sockets.
    pub(super) file: Option<unix::SocketFile>,
    /// systemd created the socket and may go on using it after we exit.
    pub(super) inherited: bool,
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
}

/// Where a [`Listener`] can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalAddress {
    /// At this socket file; empty for a socket without a name.
    Unix(PathBuf),
    /// At this address, with the port that the kernel chose if port 0 was requested.
    Tcp(SocketAddr),
}

impl Listener {
    /// Listens on a UNIX socket, and creates its directory if it is missing. The socket file gets exactly
    /// this mode, whatever the umask; without `owner` or `group`, it gets those of this process. A stale
    /// socket file is replaced.
    ///
    /// # Errors
    /// The first obstacle; no socket file is left behind.
    pub fn unix(
        path: &Path,
        mode: u32,
        owner: Option<u32>,
        group: Option<u32>,
    ) -> Result<Listener, DoorError> {
        let (socket, file) = unix::bind(path, mode, owner, group)?;
        Ok(Listener { socket, file: Some(file), inherited: false, tls: None })
    }

    /// Listens on plain TCP. Port 0 lets the kernel choose.
    ///
    /// # Errors
    /// If the address cannot be used.
    pub fn tcp(address: SocketAddr) -> Result<Listener, DoorError> {
        let socket = TcpListener::bind(address)
            // The standard library's backlog is 128; the kernel drops packets of further clients, which retry
            // after a second.
            .and_then(|socket| Ok(rustix::net::listen(&socket, unix::BACKLOG).map(|()| socket)?))
            .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
            .map_err(|error| DoorError(format!("cannot listen on {address}: {error}")))?;
        Ok(Listener { socket: socket.into(), file: None, inherited: false, tls: None })
    }

    /// Adds TLS (1.2 and 1.3) with this certificate chain and private key. If `client_authority` is set, one
    /// of the authorities in it must have signed each client's certificate. All files are PEM.
    ///
    /// # Errors
    /// If the files cannot be used, or the listener is a UNIX socket.
    pub fn with_tls(
        mut self,
        certificate: &Path,
        key: &Path,
        client_authority: Option<&Path>,
    ) -> Result<Listener, DoorError> {
        if matches!(self.local_address(), LocalAddress::Unix(_)) {
            return Err(DoorError(
                "cannot serve TLS: TLS works over TCP only, and this is a UNIX socket".to_owned(),
            ));
        }
        self.tls = Some(tls::configure(certificate, key, client_authority)?);
        Ok(self)
    }

    /// The address at which clients reach this listener.
    pub fn local_address(&self) -> LocalAddress {
        let address = rustix::net::getsockname(&self.socket).ok();
        if let Some(Ok(address)) = address.clone().map(SocketAddr::try_from) {
            return LocalAddress::Tcp(address);
        }
        let named = address.and_then(|address| SocketAddrUnix::try_from(address).ok());
        let path = named.as_ref().and_then(SocketAddrUnix::path);
        LocalAddress::Unix(path.map(|path| OsStr::from_bytes(path.to_bytes()).into()).unwrap_or_default())
    }
}

impl Drop for Listener {
    /// A closed listener leaves no socket file behind.
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            file.remove();
        }
    }
}
