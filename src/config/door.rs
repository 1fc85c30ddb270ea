//! Listeners: where each driver name listens, with the old gipam's rules for `-unix` and `-address`.
//!
//! Promises: `-unix` overrides an address, `-unix=false` without an address means TCP on port 9090, otherwise the setting
//! of higher precedence applies; a socket and an address of equal precedence conflict. Does not bind or read certificates.

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
    /// TCP, with or without TLS.
    Tcp {
        address: TcpAddress,
        /// The address written into the `.spec` or `.json` file instead of `address`.
        advertise: Option<TcpAddress>,
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

/// Certificates of a TCP listener, and those written into the spec for the Engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// gipam's certificate chain, PEM.
    pub cert: PathBuf,
    pub key: PathBuf,
    /// The CA that signs the Engine's certificate; if it is set, the Engine must present one.
    pub client_ca: Option<PathBuf>,
    /// `TLSConfig.CAFile` of the spec: the CA that signs our certificate, as a path that the Engine can read.
    pub engine_ca: Option<PathBuf>,
    pub engine_cert: Option<PathBuf>,
    pub engine_key: Option<PathBuf>,
}

/// `host:port`; an empty host means every address of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpAddress {
    /// Name or address without brackets; empty = all.
    pub host: String,
    pub port: u16,
}

impl TcpAddress {
    /// The default address of the old gipam.
    pub(super) fn of_old_gipam() -> Self {
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

    /// Whether only this machine can reach it, judging by its text (names are not resolved).
    pub(super) fn is_loopback(&self) -> bool {
        let parsed = self.host.parse::<std::net::IpAddr>();
        self.host == "localhost" || parsed.is_ok_and(|address| address.is_loopback())
    }

    /// The addresses to bind to, in order of preference. Calls the resolver if the host is a name.
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

/// The precedence of the place where an option was given: flags (0), variables (1), the driver's table (2), the top level (3).
pub(super) type Rank = u8;

/// Whether the first listener is TCP; `None` if a socket and an address are given at the same rank.
pub(super) fn is_tcp(
    unix: Option<(bool, Rank)>,
    socket: Option<Rank>,
    address: Option<Rank>,
) -> Option<bool> {
    let tcp = match unix {
        Some((true, _)) => return Some(false),
        Some((false, rank)) => Some(address.map_or(rank, |address| address.min(rank))),
        None => address,
    };
    match (socket, tcp) {
        (Some(socket), Some(tcp)) if socket == tcp => None,
        (socket, tcp) => Some(tcp.is_some_and(|tcp| socket.is_none_or(|socket| tcp < socket))),
    }
}

/// Longest path that fits a `sockaddr_un` with its terminating zero byte.
const LONGEST_SOCKET: usize = 107;

/// Refuses a path that the kernel would refuse.
pub(super) fn socket_path(path: &Path) -> Result<(), Problem> {
    let length = path.as_os_str().len();
    if length > LONGEST_SOCKET {
        return Err(problem!(
            "socket path {} has {length} bytes, but the kernel allows at most 107; choose a shorter path",
            path.display()
        ));
    }
    Ok(())
}

/// The default admin socket for a plugin socket whose path was given.
pub(super) fn admin_next_to(socket: &Path) -> PathBuf {
    let name = socket.file_name().unwrap_or_default().to_string_lossy();
    let name = format!("{}.admin.sock", name.strip_suffix(".sock").unwrap_or(&name));
    let directory = socket.parent().unwrap_or(Path::new("/"));
    if docker_searches(directory) { Path::new("/run/gipam").join(name) } else { directory.join(name) }
}

/// Whether Docker looks for plugin sockets in this directory.
pub(super) fn docker_searches(directory: &Path) -> bool {
    ["/run/docker/plugins", "/var/run/docker/plugins"].iter().any(|searched| directory.starts_with(searched))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_overrides_an_address_at_any_rank() {
        assert_eq!(is_tcp(Some((true, 1)), None, Some(0)), Some(false));
        assert_eq!(is_tcp(Some((true, 0)), None, Some(0)), Some(false));
    }

    #[test]
    fn unix_false_is_tcp_unless_a_setting_of_higher_rank_overrides_it() {
        assert_eq!(is_tcp(Some((false, 1)), None, None), Some(true));
        assert_eq!(is_tcp(Some((false, 1)), Some(0), None), Some(false));
    }

    #[test]
    fn otherwise_the_higher_rank_decides_and_the_default_is_a_socket() {
        assert_eq!(is_tcp(None, None, None), Some(false));
        assert_eq!(is_tcp(None, Some(0), Some(1)), Some(false));
        assert_eq!(is_tcp(None, Some(1), Some(0)), Some(true));
        assert_eq!(is_tcp(None, Some(1), Some(1)), None);
        assert_eq!(is_tcp(Some((false, 1)), Some(1), Some(3)), None);
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
    fn the_admin_socket_is_next_to_the_plugin_socket_but_never_where_docker_searches() {
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
