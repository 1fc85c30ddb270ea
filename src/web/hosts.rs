//! Under which names the page may be asked for.
//!
//! A foreign page may have a name that points at this machine for a moment, so that a browser would hand our answers to
//! it (DNS rebinding). Such a request still carries the foreign name.
//!
//! Promises: where only this machine can reach the door, a name must be `localhost`, a loopback address or configured;
//! elsewhere an address, `localhost` or configured, once any name is configured, and anything before.

use std::net::IpAddr;

/// The names.
#[derive(Clone, Debug)]
pub struct Hosts {
    local: bool,
    names: Vec<String>,
}

/// A `Host` without its port.
fn bare(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.contains(':') => name,
        _ => host,
    }
}

impl Hosts {
    /// With these names beside the others, in lower case.
    pub fn new(local: bool, names: &[String]) -> Self {
        Self { local, names: names.to_vec() }
    }

    /// Whether what stands in a request's `Host` is allowed.
    pub fn allows(&self, host: Option<&str>) -> bool {
        // No browser leaves it out.
        let Some(host) = host.map(bare).filter(|host| !host.is_empty()) else { return true };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok();
        if host == "localhost"
            || self.names.contains(&host)
            || address.is_some_and(|address| address.is_loopback())
        {
            return true;
        }
        !self.local && (self.names.is_empty() || address.is_some())
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
            assert!(hosts.allows(Some(host)), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9468",
            "192.0.2.1:9468",
            "localhost.evil.example",
            "[2001:db8::1]:1",
        ] {
            assert!(!hosts.allows(Some(host)), "{host}");
        }
        assert!(hosts.allows(None));
    }

    #[test]
    fn elsewhere_names_count_once_some_are_configured() {
        assert!(Hosts::new(false, &[]).allows(Some("any.example")));
        let named = Hosts::new(false, &["gipam.example".to_owned()]);
        assert!(named.allows(Some("192.0.2.1:9468")) && named.allows(Some("gipam.example")));
        assert!(!named.allows(Some("evil.example")));
    }
}
