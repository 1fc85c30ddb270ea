//! The nameservers in resolv.conf, IPv4 and IPv6, which dockerd avoids when it chooses dynamic subnets (P12).
//!
//! As in dockerd, the file of systemd-resolved is read instead if the only nameserver in `/etc/resolv.conf`
//! is its local stub, 127.0.0.53, because that file lists the real servers. Skips loopback and link-local
//! servers, and lines that do not name a nameserver or do not parse; a missing file counts as empty. Does not
//! read `/etc/hosts` or dockerd's DNS configuration, and does not query a resolver.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use ipnet::IpNet;

use super::{HostError, InUse, InUseKind, is_everywhere};
use crate::plan::prefix::Prefix;

/// The file that lists the machine's nameservers.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Where systemd-resolved lists the upstream servers.
pub const SYSTEMD_RESOLV_CONF: &str = "/run/systemd/resolve/resolv.conf";

const SYSTEMD_STUB: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53));

/// The nameservers as prefixes in use. A missing file is not an error.
pub fn in_use(resolv_conf: &Path, systemd_resolv_conf: &Path) -> Result<Vec<InUse>, HostError> {
    let mut servers = read(resolv_conf)?;
    if servers == [SYSTEMD_STUB] {
        servers = read(systemd_resolv_conf)?;
    }
    Ok(servers
        .into_iter()
        .map(|server| (IpNet::from(server), server))
        .filter(|(prefix, _)| !is_everywhere(prefix))
        .map(|(prefix, server)| InUse {
            prefix: Prefix::from_net(prefix),
            kind: InUseKind::Nameserver,
            text: format!("nameserver {server}"),
        })
        .collect())
}

fn read(path: &Path) -> Result<Vec<IpAddr>, HostError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(parse(&String::from_utf8_lossy(&bytes))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(HostError(format!(
            "cannot read the nameservers in {}: {error}; check that the file is readable",
            path.display()
        ))),
    }
}

/// The addresses in the `nameserver` lines, in order; an IPv6 zone (`fe80::1%eth0`) is removed.
fn parse(text: &str) -> Vec<IpAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            if words.next()? != "nameserver" {
                return None;
            }
            let address = words.next()?;
            address.split('%').next()?.parse().ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(first: &str, systemd: Option<&str>) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("resolv.conf"), dir.path().join("systemd"));
        std::fs::write(&a, first).unwrap();
        if let Some(text) = systemd {
            std::fs::write(&b, text).unwrap();
        }
        in_use(&a, &b).unwrap().into_iter().map(|used| format!("{} {}", used.prefix, used.text)).collect()
    }

    #[test]
    fn nameservers_of_both_families_are_host_prefixes() {
        let text = "# made by hand\nsearch example.org\n nameserver\t10.0.0.53 # the office\n\
                    nameserver 2001:db8::53\nnameserver fe80::1%eth0\nnameserver nonsense\nnameserver\n";
        assert_eq!(
            seen(text, None),
            ["10.0.0.53/32 nameserver 10.0.0.53", "2001:db8::53/128 nameserver 2001:db8::53"]
        );
    }

    #[test]
    fn if_the_stub_is_the_only_server_the_file_of_systemd_is_read() {
        let systemd = Some("nameserver 192.0.2.53\n");
        assert_eq!(seen("nameserver 127.0.0.53\n", systemd), ["192.0.2.53/32 nameserver 192.0.2.53"]);
        assert_eq!(seen("nameserver 127.0.0.53\n", None), [""; 0], "its file may be missing");
    }

    #[test]
    fn if_the_stub_is_not_the_only_server_the_file_of_systemd_is_not_read() {
        let systemd = Some("nameserver 192.0.2.53\n");
        assert_eq!(
            seen("nameserver 127.0.0.53\nnameserver 10.0.0.53\n", systemd),
            ["10.0.0.53/32 nameserver 10.0.0.53"]
        );
    }

    #[test]
    fn a_missing_file_and_odd_bytes_name_no_server() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        assert_eq!(in_use(&path, &path).unwrap(), []);
        std::fs::write(&path, b"\xff\xfe\0nameserver \xff\nnameserver 10.0.0.1\xff\n").unwrap();
        assert_eq!(in_use(&path, &path).unwrap(), []);
    }
}
