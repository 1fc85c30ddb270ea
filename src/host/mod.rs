//! THIS MACHINE: which prefixes it uses already, so that no subnet is offered which Docker would refuse (P12).
//!
//! Four kinds are reported ([`InUseKind`]): the addresses of the interfaces, the nameservers of resolv.conf, the
//! IPv4 on-link routes which dockerd compares with, and every other unicast route. Left out, because they say
//! nothing about the use of an address: default routes, blackhole, unreachable, prohibit and throw routes,
//! multicast and broadcast, anycast and the kernel's local table, loopback, and link-local IPv6.
//!
//! It promises to look and never to change anything; to end within seconds (each answer of the kernel is waited for two at most); not
//! to panic on attributes it has never seen; and to need no privilege. It does not know pools: whether a route
//! that contains a whole pool counts is the plan's business.
//!
//! In reading order: `routes` (what the kernel says), `netlink` (how it is asked), `kept` and `watch` (how it is followed),
//! [`nameservers`].

mod kept;
pub mod nameservers;
mod netlink;
mod routes;
mod watch;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

pub use self::kept::RouteChange;
pub use self::watch::RouteWatch;
pub use crate::plan::request::{InUse, InUseKind};

/// A look at the machine that failed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The kernel did not answer a netlink dump, or refused it.
    #[error(
        "cannot read the {what} of this machine by netlink: {source}; gipam chooses no subnet without them: allow AF_NETLINK, or \
         give --subnet"
    )]
    Netlink {
        /// What was asked for: `IPv4 routes`, `IPv6 addresses`.
        what: &'static str,
        /// What the kernel or the socket said.
        source: std::io::Error,
    },
    /// resolv.conf is there and cannot be read.
    #[error("cannot read the nameservers in {}: {source}; check that the file is readable", path.display())]
    ResolvConf { path: PathBuf, source: std::io::Error },
}

/// What was seen, and what could not be looked at.
#[derive(Debug, Default)]
pub struct HostSurvey {
    /// Every prefix in use that was seen, sorted, each once.
    pub in_use: Vec<InUse>,
    /// The looks that failed; empty when the survey is complete.
    pub errors: Vec<HostError>,
}

/// Looks at everything, and keeps what it saw when a part fails. Blocking; some milliseconds on a usual machine.
pub fn survey() -> HostSurvey {
    survey_with(Path::new(nameservers::RESOLV_CONF), Path::new(nameservers::SYSTEMD_RESOLV_CONF))
}

/// As [`survey`], with the paths of resolv.conf and of the file that systemd-resolved keeps next to it.
pub fn survey_with(resolv_conf: &Path, systemd_resolv_conf: &Path) -> HostSurvey {
    let mut survey = HostSurvey::default();
    let seen = RouteWatch::begin(&|_| true).map(|mut watch| watch.begun());
    let seen = seen.map(|seen| seen.into_iter().map(RouteChange::into_inner).collect());
    for looked in [seen, nameservers::in_use(resolv_conf, systemd_resolv_conf)] {
        match looked {
            Ok(seen) => survey.in_use.extend(seen),
            Err(error) => survey.errors.push(error),
        }
    }
    survey.in_use.sort_unstable();
    survey.in_use.dedup();
    survey
}

/// Addresses that are on every machine or on every link, and so say nothing about use: loopback, unspecified,
/// multicast, broadcast, link-local IPv6. A wider prefix (`0.0.0.0/1 dev tun0`) is not one of them.
const EVERYWHERE_V4: [Ipv4Net; 4] = [
    Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 8),
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4),
    Ipv4Net::new_assert(Ipv4Addr::BROADCAST, 32),
];
/// Likewise for IPv6.
const EVERYWHERE_V6: [Ipv6Net; 4] = [
    Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128),
    Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128),
    Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
];

/// Whether the whole prefix lies in addresses that say nothing about use.
fn is_everywhere(prefix: &IpNet) -> bool {
    match prefix {
        IpNet::V4(prefix) => EVERYWHERE_V4.iter().any(|every| every.contains(prefix)),
        IpNet::V6(prefix) => EVERYWHERE_V6.iter().any(|every| every.contains(prefix)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_link_local_and_multicast_are_everywhere() {
        for text in
            ["127.0.0.1/32", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "0.0.0.0/32", "::1/128"]
        {
            assert!(is_everywhere(&text.parse().unwrap()), "{text}");
        }
        for text in ["::/128", "fe80::/64", "fe80::1/128", "ff00::/8", "ff02::1/128"] {
            assert!(is_everywhere(&text.parse().unwrap()), "{text}");
        }
        for text in [
            "10.0.0.0/8",
            "0.0.0.0/1",
            "128.0.0.0/1",
            "8000::/1",
            "169.254.0.0/16",
            "2001:db8::/32",
            "fd00::1/128",
            "198.51.100.1/32",
        ] {
            assert!(!is_everywhere(&text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_failed_look_keeps_what_the_others_saw() {
        let dir = tempfile::tempdir().unwrap();
        let survey = survey_with(dir.path(), dir.path()); // a directory cannot be read as a file
        assert_eq!(survey.errors.len(), 1, "{:?}", survey.errors);
        assert!(survey.errors[0].to_string().starts_with("cannot read the nameservers in /"));
    }

    #[test]
    fn this_machine_answers_without_error() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("resolv.conf");
        let survey = survey_with(&missing, &missing);
        assert!(survey.errors.is_empty(), "{:?}", survey.errors);
        assert!(survey.in_use.iter().all(|used| used.kind != InUseKind::Nameserver));
    }
}
