//! THIS MACHINE: which prefixes it already uses, so that gipam does not offer subnets that Docker would
//! refuse (P12).
//!
//! Four kinds are reported ([`InUseKind`]): the addresses of the interfaces, the nameservers of resolv.conf,
//! the IPv4 on-link routes, with which dockerd compares, and all other unicast routes. Not reported, because
//! they do not show whether an address is used: default routes, blackhole, unreachable, prohibit and throw
//! routes, multicast and broadcast, anycast and the kernel's local table, loopback, and link-local IPv6.
//!
//! Promises: only reads; ends within seconds (it waits at most two seconds for each answer from the kernel);
//! does not panic on unknown attributes; needs no privilege. It does not know pools: whether a route that
//! contains a whole pool counts is for the plan to decide.
//!
//! Read in this order: `routes` (parses the kernel's messages), `netlink` (requests them), `kept` and `watch`
//! (follow changes), [`nameservers`].

pub mod delegated;
mod kept;
pub(crate) mod links;
pub mod nameservers;
pub(crate) mod netlink;
pub mod prefix_file;
pub(crate) mod routes;
pub(crate) mod watch;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

pub use self::kept::RouteChange;
pub use self::watch::{CHANGES, RouteWatch};
pub use crate::plan::request::{InUse, InUseKind};

/// Why part of a survey failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct HostError(String);

impl HostError {
    /// The kernel did not answer a request for this, or refused it.
    pub fn netlink(what: &str) -> impl Fn(std::io::Error) -> Self {
        move |error| {
            Self(format!(
                "cannot read the {what} of this machine by netlink: {error}; gipam does not choose a subnet without them: \
                 allow AF_NETLINK, or give --subnet"
            ))
        }
    }
}

/// The result of a survey: the prefixes in use, and the parts that failed.
#[derive(Debug, Default)]
pub struct HostSurvey {
    /// Every prefix found in use, sorted, without duplicates.
    pub in_use: Vec<InUse>,
    /// The parts that failed; empty when the survey is complete.
    pub errors: Vec<HostError>,
}

/// Reads everything; if a part fails, keeps the rest. Blocking; takes a few milliseconds on a typical
/// machine.
pub fn survey() -> HostSurvey {
    survey_with(Path::new(nameservers::RESOLV_CONF), Path::new(nameservers::SYSTEMD_RESOLV_CONF))
}

/// Like [`survey`], with the paths of resolv.conf and of the copy that systemd-resolved writes.
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

/// Addresses on every machine or every link, which therefore do not show what is in use: loopback,
/// unspecified, multicast, broadcast, link-local IPv6. A wider prefix (`0.0.0.0/1 dev tun0`) is not one of
/// them.
const EVERYWHERE_V4: [Ipv4Net; 4] = [
    Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 8),
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4),
    Ipv4Net::new_assert(Ipv4Addr::BROADCAST, 32),
];
/// The IPv6 equivalents.
const EVERYWHERE_V6: [Ipv6Net; 4] = [
    Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128),
    Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128),
    Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
];

/// Whether the whole prefix lies within such addresses.
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
    fn a_part_that_cannot_be_read_is_reported() {
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
