//! Listeners: where to listen, and what is needed for that.
//!
//! Promises: [`Door::open`] either listens, with everything in place, or changes nothing and says which
//! path or address prevented it. It does not serve connections: see [`super::Server`].

use super::{tls, unix};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A place to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Door {
    /// A UNIX socket. Its directory is created if it is missing.
    Unix {
        path: PathBuf,
        /// The exact permissions of the socket file; the umask does not matter.
        mode: u32,
        /// The owner of the socket file; our user if absent.
        owner: Option<u32>,
        /// The group of the socket file; our group if absent.
        group: Option<u32>,
    },
    /// Plain TCP. Port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// TLS over TCP (1.2 and 1.3).
    Tls {
        address: SocketAddr,
        /// The server's certificate chain, PEM.
        certificate: PathBuf,
        /// Its private key, PEM.
        key: PathBuf,
        /// If present, clients must present a certificate signed by one of these authorities (PEM).
        client_authority: Option<PathBuf>,
    },
}

/// Why a listener could not be opened. Every message names the path or the address.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    #[error("a process is already listening on {}; stop it, or choose another path", path.display())]
    Live { path: PathBuf },
    /// A file that is not a socket has that name.
    #[error("{} exists and is not a socket; move it away, or choose another path", path.display())]
    NotASocket { path: PathBuf },
    #[error("cannot {doing} the socket {}: {error}", path.display())]
    Socket {
        doing: &'static str,
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    #[error("cannot listen on {address}: {error}")]
    Address {
        address: String,
        #[source]
        error: io::Error,
    },
    /// A certificate or key is unusable.
    #[error("cannot use {}: {why}", path.display())]
    Pem {
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The certificate and the key cannot be used together for a TLS server.
    #[error("cannot serve TLS: {0}")]
    Tls(String),
    /// systemd passed something that cannot be used.
    #[error("cannot use the socket {name:?} that systemd passed: {why}")]
    Inherited {
        /// Its `FileDescriptorName=`, or `unknown`.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

/// An open listener: clients can connect, and wait in the kernel until it is served.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: Socket,
    /// The socket file to remove at the end; `None` for TCP and for inherited sockets.
    pub(super) file: Option<unix::SocketFile>,
    /// systemd created the socket and may go on using it after we exit.
    pub(super) inherited: bool,
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
}

/// The kernel's side of a [`Listener`].
#[derive(Debug)]
pub(super) enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// Where a [`Listener`] can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalAddress {
    /// At this socket file; empty for a socket without a name.
    Unix(PathBuf),
    /// At this address, with the port that the kernel chose if port 0 was requested.
    Tcp(SocketAddr),
}

impl Door {
    /// A UNIX socket that only its owner, this process's user, may use (mode 0600).
    pub fn unix(path: impl Into<PathBuf>) -> Door {
        Door::Unix { path: path.into(), mode: 0o600, owner: None, group: None }
    }

    /// Binds and listens. Does not need a runtime.
    ///
    /// # Errors
    /// The first obstacle found; a stale socket file is not an obstacle.
    pub fn open(&self) -> Result<Listener, DoorError> {
        match self {
            Door::Unix { path, mode, owner, group } => {
                let (socket, file) = unix::bind(path, *mode, *owner, *group)?;
                Ok(Listener { socket: Socket::Unix(socket), file: Some(file), inherited: false, tls: None })
            }
            Door::Tcp(address) => tcp(*address, None),
            Door::Tls { address, certificate, key, client_authority } => {
                let tls = tls::configure(certificate, key, client_authority.as_deref())?;
                tcp(*address, Some(tls))
            }
        }
    }
}

impl Listener {
    /// The address at which clients reach it.
    pub fn local_address(&self) -> LocalAddress {
        match &self.socket {
            Socket::Unix(socket) => {
                let path =
                    socket.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned));
                LocalAddress::Unix(path.unwrap_or_default())
            }
            // The address of a bound socket can always be read.
            Socket::Tcp(socket) => {
                LocalAddress::Tcp(socket.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0))))
            }
        }
    }

    /// The socket file that was created for it, if any.
    pub fn socket_file(&self) -> Option<&Path> {
        self.file.as_ref().map(unix::SocketFile::path)
    }

    /// The same listener with TLS; for an inherited TCP socket.
    ///
    /// # Errors
    /// If the files cannot be used, or the listener is a UNIX socket.
    pub fn with_tls(
        mut self,
        certificate: &Path,
        key: &Path,
        client_authority: Option<&Path>,
    ) -> Result<Listener, DoorError> {
        if matches!(self.socket, Socket::Unix(_)) {
            return Err(DoorError::Tls("TLS works over TCP only, and this is a UNIX socket".to_owned()));
        }
        self.tls = Some(tls::configure(certificate, key, client_authority)?);
        Ok(self)
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

fn tcp(address: SocketAddr, tls: Option<Arc<rustls::ServerConfig>>) -> Result<Listener, DoorError> {
    let socket = TcpListener::bind(address)
        // The standard library's backlog is 128; the kernel drops packets of further clients, which retry after a second.
        .and_then(|socket| Ok(rustix::net::listen(&socket, unix::BACKLOG).map(|()| socket)?))
        .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
        .map_err(|error| DoorError::Address { address: address.to_string(), error })?;
    Ok(Listener { socket: Socket::Tcp(socket), file: None, inherited: false, tls })
}
