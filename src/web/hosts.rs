//! The host names under which a browser may request the page.
//!
//! A foreign page can make its name point at this machine for a moment, so that a browser would give it our answers (DNS
//! rebinding). Such a request still carries the foreign name.
//!
//! Promises: the whole `Host` must be `NAME`, `ADDRESS` or `[ADDRESS]`, optionally with a port; anything else is refused, and
//! so is a missing or duplicate `Host`, except that health checks may omit it. A name must always be `localhost` or
//! configured; an address must be a loopback address if only this machine can reach the listener.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::server::HttpRequest;

/// Paths that a health check may request without a `Host`: their answers do not contain addresses.
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// The hosts that are allowed.
#[derive(Clone, Debug)]
pub struct Hosts {
    local: bool,
    names: Vec<String>,
}

/// The part of a `Host` header before its port.
#[derive(Debug, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    Name(String),
}

impl Host {
    /// Parses the whole text; `None` if any part of it is invalid.
    fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix('[') {
            let (address, port) = rest.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            return is_port(port).then(|| Self::Address(IpAddr::V6(address).to_canonical()));
        }
        let (name, port) = text.find(':').map_or((text, ""), |at| text.split_at(at));
        let name = name.strip_suffix('.').unwrap_or(name);
        let letters =
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
        if !is_port(port) || !letters || name.split('.').any(str::is_empty) {
            return None;
        }
        match name.parse::<Ipv4Addr>() {
            Ok(address) => Some(Self::Address(address.into())),
            Err(_) => Some(Self::Name(name.to_ascii_lowercase())),
        }
    }
}

/// Whether the text is empty, a colon alone, or a colon and a port.
fn is_port(text: &str) -> bool {
    text.is_empty()
        || text.strip_prefix(':').is_some_and(|port| {
            port.bytes().all(|byte| byte.is_ascii_digit()) && (port.is_empty() || port.parse::<u16>().is_ok())
        })
}

impl Hosts {
    /// Allows these additional names, in lower case; `local` means that only this machine can reach the listener.
    pub fn new(local: bool, names: &[String]) -> Self {
        Self { local, names: names.to_vec() }
    }

    /// Whether the host of a request is allowed.
    pub fn allow(&self, request: &HttpRequest) -> bool {
        match request.values("host").next() {
            None => HEALTH.contains(&request.path()),
            Some(_) => request.value("host").is_some_and(|host| self.allows(&host)),
        }
    }

    /// Whether this value of `Host` is allowed.
    fn allows(&self, host: &str) -> bool {
        match Host::parse(host) {
            Some(Host::Address(address)) => !self.local || address.is_loopback(),
            Some(Host::Name(name)) => name == "localhost" || self.names.contains(&name),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_loopback_a_foreign_name_is_refused() {
        let hosts = Hosts::new(true, &["gipam.example".to_owned()]);
        for host in
            ["localhost", "LOCALHOST:80", "127.0.0.1:9468", "[::1]:9468", "gipam.example:443", "localhost."]
        {
            assert!(hosts.allows(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9468",
            "192.0.2.1:9468",
            "localhost.evil.example",
            "[2001:db8::1]:1",
            "[::1].evil.example",
            "",
        ] {
            assert!(!hosts.allows(host), "{host}");
        }
    }

    #[test]
    fn beyond_loopback_a_name_must_be_configured_and_every_address_is_allowed() {
        let hosts = Hosts::new(false, &["gipam.example".to_owned()]);
        for host in ["192.0.2.1:9468", "[2001:db8::1]", "gipam.example", "localhost:1", "127.0.0.1"] {
            assert!(hosts.allows(host), "{host}");
        }
        for host in ["evil.example", "any", "192.0.2.1.evil.example", "[2001:db8::1]x", "192.0.2.1:1:1"] {
            assert!(!hosts.allows(host), "{host}");
            assert!(!Hosts::new(false, &[]).allows(host), "{host}");
        }
    }
}
