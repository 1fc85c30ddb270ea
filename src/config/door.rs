//! Listeners: where each driver name listens, with the old gipam's rules for `-unix` and `-address`.
//!
//! Promises: `-unix` wins over an address, `-unix=false` without an address is TCP on port 9090, otherwise the place
//! with the higher precedence decides; no two listeners at one place. Does not bind, and does not read certificates.

use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use super::error::{Problem, problem};

/// Where a driver listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DoorSettings {
    /// A UNIX socket.
    Unix { path: PathBuf },
    /// TCP, perhaps with TLS.
    Tcp {
        /// Where to listen.
        address: TcpAddress,
        /// What is written into the `.spec` or `.json` file instead of `address`.
        advertise: Option<TcpAddress>,
        /// TLS, if wanted.
        tls: Option<Tls>,
    },
}

impl fmt::Display for DoorSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { path } => write!(formatter, "unix://{}", path.display()),
            Self::Tcp { address, tls: None, .. } => write!(formatter, "tcp://{address}"),
            Self::Tcp { address, tls: Some(_), .. } => write!(formatter, "tcp://{address} with TLS"),
        }
    }
}

/// Certificates of a TCP listener, and those announced to the Engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Our certificate chain, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Who signs the Engine's certificate; given = the Engine must show one.
    pub client_ca: Option<PathBuf>,
    /// `TLSConfig.CAFile` of the spec: who signs our certificate, seen from the Engine.
    pub engine_ca: Option<PathBuf>,
    /// `TLSConfig.CertFile`.
    pub engine_cert: Option<PathBuf>,
    /// `TLSConfig.KeyFile`.
    pub engine_key: Option<PathBuf>,
}

/// `host:port`; an empty host is every address of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpAddress {
    /// Name or address without brackets; empty = all.
    pub host: String,
    pub port: u16,
}

impl TcpAddress {
    /// The first generation's address.
    pub(super) fn first_generation() -> Self {
        Self { host: String::new(), port: 9090 }
    }

    /// Parses `HOST:PORT`, `[IPV6]:PORT` or `:PORT`.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let refuse = || problem!("{text:?} is not a TCP address; write HOST:PORT, [IPV6]:PORT or :PORT");
        let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits).ok_or_else(refuse)?;
        let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let good = match inner {
            Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
            None => {
                host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
            }
        };
        if good { Ok(Self { host: inner.unwrap_or(host).to_owned(), port }) } else { Err(refuse()) }
    }

    /// Where to bind, in order of preference. Asks the resolver where the host is a name.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        if self.host.is_empty() {
            let all = [SocketAddr::from(([0_u16; 8], self.port)), SocketAddr::from(([0_u8; 4], self.port))];
            return Ok(all.to_vec());
        }
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }
}

impl fmt::Display for TcpAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

/// What one place (flags, variables, driver table, top of the file) says about the first listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Says {
    /// It names a socket.
    pub(super) socket: bool,
    /// It names an address.
    pub(super) address: bool,
    /// It says `unix`, yes or no.
    pub(super) unix: Option<bool>,
}

/// Which kind of listener was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DoorKind {
    /// A UNIX socket.
    Unix,
    Tcp,
}

/// Chooses from the places, highest precedence first; the error is the index of the place that contradicts itself.
pub(super) fn choose(places: &[Says]) -> Result<DoorKind, usize> {
    let unix = places.iter().position(|place| place.unix.is_some());
    let no = match unix.map(|index| (index, places[index].unix)) {
        Some((_, Some(true))) => return Ok(DoorKind::Unix),
        Some((index, _)) => Some(index),
        None => None,
    };
    for (index, place) in places.iter().enumerate() {
        let tcp = place.address || no == Some(index);
        match (place.socket, tcp) {
            (true, true) => return Err(index),
            (true, false) => return Ok(DoorKind::Unix),
            (false, true) => return Ok(DoorKind::Tcp),
            (false, false) => {}
        }
    }
    Ok(DoorKind::Unix)
}

/// Longest path that fits a `sockaddr_un` with its closing zero.
const LONGEST_SOCKET: usize = 107;

/// Refuses what the kernel would refuse.
pub(super) fn socket_path(path: &Path) -> Result<(), Problem> {
    let length = path.as_os_str().len();
    if length > LONGEST_SOCKET {
        return Err(problem!(
            "socket path {} has {length} bytes, the kernel takes at most 107; choose a shorter one",
            path.display()
        ));
    }
    Ok(())
}

/// The admin socket for a plugin socket that was named.
pub(super) fn admin_next_to(socket: &Path) -> PathBuf {
    let name = socket.file_name().unwrap_or_default().to_string_lossy();
    let name = format!("{}.admin.sock", name.strip_suffix(".sock").unwrap_or(&name));
    let directory = socket.parent().unwrap_or(Path::new("/"));
    if docker_searches(directory) { Path::new("/run/gipam").join(name) } else { directory.join(name) }
}

/// Whether Docker takes sockets of this directory for plugins.
pub(super) fn docker_searches(directory: &Path) -> bool {
    ["/run/docker/plugins", "/var/run/docker/plugins"].iter().any(|searched| directory.starts_with(searched))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Says = Says { socket: false, address: false, unix: None };
    const SOCKET: Says = Says { socket: true, ..NOTHING };
    const ADDRESS: Says = Says { address: true, ..NOTHING };
    const YES: Says = Says { unix: Some(true), ..NOTHING };
    const NO: Says = Says { unix: Some(false), ..NOTHING };

    #[test]
    fn unix_wins_over_an_address_wherever_it_stands() {
        assert_eq!(choose(&[ADDRESS, YES]), Ok(DoorKind::Unix));
        assert_eq!(choose(&[Says { unix: Some(true), ..ADDRESS }]), Ok(DoorKind::Unix));
    }

    #[test]
    fn unix_false_is_tcp_unless_a_higher_place_says_otherwise() {
        assert_eq!(choose(&[NOTHING, NO]), Ok(DoorKind::Tcp));
        assert_eq!(choose(&[NO, YES]), Ok(DoorKind::Tcp));
        assert_eq!(choose(&[SOCKET, NO]), Ok(DoorKind::Unix));
    }

    #[test]
    fn otherwise_the_higher_place_decides_and_the_default_is_a_socket() {
        assert_eq!(choose(&[NOTHING, NOTHING]), Ok(DoorKind::Unix));
        assert_eq!(choose(&[SOCKET, ADDRESS]), Ok(DoorKind::Unix));
        assert_eq!(choose(&[ADDRESS, SOCKET]), Ok(DoorKind::Tcp));
        assert_eq!(choose(&[NOTHING, Says { socket: true, ..ADDRESS }]), Err(1));
    }

    #[test]
    fn addresses_are_host_and_port() {
        for text in [":9090", "0.0.0.0:1", "[::]:1", "[::1]:80", "localhost:9090"] {
            assert_eq!(TcpAddress::parse(text).unwrap().to_string(), text);
        }
        for text in
            ["", "9090", "host", "::1:80", "[::1]", "host:", "host:+1", "host:70000", "tcp://h:1", "[h]:1"]
        {
            assert!(TcpAddress::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_admin_socket_lies_next_to_the_plugins_but_never_where_docker_searches() {
        for (socket, admin) in [
            ("/tmp/x/demo.sock", "/tmp/x/demo.admin.sock"),
            ("/tmp/x/demo", "/tmp/x/demo.admin.sock"),
            ("/run/docker/plugins/demo.sock", "/run/gipam/demo.admin.sock"),
            ("/run/docker/plugins/demo/demo.sock", "/run/gipam/demo.admin.sock"),
        ] {
            assert_eq!(admin_next_to(Path::new(socket)), Path::new(admin));
        }
    }
}
