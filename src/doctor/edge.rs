//! `gipam doctor --edge`: in which way the provider gives IPv6 prefixes to this host, and the lines of a pool that suit it.
//!
//! Promises: only reads addresses and routes; what they do not show is said, not guessed. Whether the router really asks for each
//! address is not probed.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{parse_ip, parse_u32};
use netlink_packet_route::address::AddressHeader;
use netlink_packet_route::route::{RouteHeader, RouteType};
use serde::{Deserialize, Serialize};

use crate::host::netlink::{Netlink, RTM_GETADDR, RTM_GETROUTE, RTM_NEWADDR, RTM_NEWROUTE};
use crate::host::routes::attributes;
use crate::plan::host_use::ROUTE_PROTOCOL;
use crate::plan::prefix::Prefix;

/// `AF_INET6`.
const V6: u8 = 10;
const IFA_ADDRESS: u16 = 1;
const IFA_CACHEINFO: u16 = 6;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
/// Protocol numbers of routes that come with a lifetime: router advertisements, DHCP.
const DYNAMIC: [u8; 2] = [9, 16];
/// The tables for addresses of this host, and the default one of a namespace.
const LOCAL_TABLE: u8 = 255;
/// The size of the subnets in a part of an on-link /64.
const SMALL: u8 = 80;

/// In which way a prefix leads to this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EdgeCase {
    /// Its packets arrive at this host.
    Routed,
    /// The router looks for each address on the link.
    OnLink,
    /// It arrives at this host for a limited time, and may change.
    Changing,
}

/// A prefix, how it leads to this host, and a pool that suits it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeFinding {
    pub case: EdgeCase,
    pub prefix: String,
    /// The interface to the router.
    pub uplink: String,
    /// What shows this.
    pub why: String,
    /// The lines for the configuration file.
    pub lines: String,
}

/// An IPv6 address of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OwnAddress {
    address: Ipv6Addr,
    length: u8,
    interface: String,
    /// It has a lifetime.
    expires: bool,
}

/// An IPv6 route of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OwnRoute {
    prefix: Prefix,
    /// It discards packets, as programs make it for a prefix that was delegated to the host.
    discards: bool,
    interface: Option<String>,
    via: Option<IpAddr>,
    dynamic: bool,
}

/// Finds out the cases of this host.
pub fn edge_cases() -> io::Result<Vec<EdgeFinding>> {
    let (mut netlink, names) = (Netlink::open()?, Netlink::open()?);
    let (mut addresses, mut routes) = (Vec::new(), Vec::new());
    netlink.dump(RTM_GETADDR, RTM_NEWADDR, V6, &mut |payload| {
        addresses.extend(address(payload, &|index| names.interface(index)));
    })?;
    netlink.dump(RTM_GETROUTE, RTM_NEWROUTE, V6, &mut |payload| {
        routes.extend(route(payload, &|index| names.interface(index)));
    })?;
    let mut inner = [0; 5];
    // Without random bits, the person gets a prefix that is less likely to be unique.
    let _ = rustix::rand::getrandom(&mut inner, rustix::rand::GetRandomFlags::empty());
    Ok(cases(&addresses, &routes, inner))
}

fn address(payload: &[u8], names: &dyn Fn(u32) -> String) -> Option<OwnAddress> {
    let header = AddressHeader::parse(payload).ok()?;
    let (mut found, mut expires) = (None, false);
    for (kind, value) in attributes(payload.get(8..)?) {
        match kind {
            IFA_ADDRESS => found = parse_ip(value).ok(),
            // `struct ifa_cacheinfo`: preferred and valid lifetime.
            IFA_CACHEINFO => expires = parse_u32(value.get(4..8)?).ok()? != u32::MAX,
            _ => {}
        }
    }
    let Some(IpAddr::V6(address)) = found else { return None };
    let interface = names(header.index);
    is_global(address).then_some(OwnAddress { address, length: header.prefix_len, interface, expires })
}

fn route(payload: &[u8], names: &dyn Fn(u32) -> String) -> Option<OwnRoute> {
    let header = RouteHeader::parse(payload).ok()?;
    let (mut destination, mut interface, mut via) = (IpAddr::V6(Ipv6Addr::UNSPECIFIED), None, None);
    for (kind, value) in attributes(payload.get(12..)?) {
        match kind {
            RTA_DST => destination = parse_ip(value).ok()?,
            RTA_OIF => interface = parse_u32(value).ok().map(names),
            RTA_GATEWAY => via = parse_ip(value).ok(),
            _ => {}
        }
    }
    let protocol = u8::from(header.protocol);
    if header.table == LOCAL_TABLE || protocol == ROUTE_PROTOCOL {
        return None;
    }
    let prefix = Prefix::from_net(IpNet::new(destination, header.destination_prefix_length).ok()?.trunc());
    let discards = matches!(header.kind, RouteType::Unreachable | RouteType::BlackHole | RouteType::Prohibit);
    Some(OwnRoute { prefix, discards, interface, via, dynamic: DYNAMIC.contains(&protocol) })
}

/// Whether an address can be reached from everywhere (2000::/3).
const fn is_global(address: Ipv6Addr) -> bool {
    address.octets()[0] >> 5 == 1
}

/// The cases that these addresses and routes show; `inner` are random bits for a unique local prefix.
fn cases(addresses: &[OwnAddress], routes: &[OwnRoute], inner: [u8; 5]) -> Vec<EdgeFinding> {
    let default = routes.iter().find(|route| route.prefix.length() == 0 && !route.discards);
    let Some(uplink) = default.and_then(|route| route.interface.clone()) else { return Vec::new() };
    let mut found = Vec::new();
    let is_whole = |prefix: Prefix| (16..=64).contains(&prefix.length());
    let is_public = |prefix: Prefix| match prefix.address(prefix.first()) {
        IpAddr::V6(address) => is_global(address),
        IpAddr::V4(_) => false,
    };
    for route in
        routes.iter().filter(|route| route.discards && is_whole(route.prefix) && is_public(route.prefix))
    {
        let (case, why) = match route.dynamic {
            true => (
                EdgeCase::Changing,
                "a route of DHCP says that it was delegated to this host for a limited time",
            ),
            false => (EdgeCase::Routed, "a route of this host discards packets to its unused parts"),
        };
        found.push(EdgeFinding::new(
            case,
            route.prefix,
            &uplink,
            why,
            &lines(case, route.prefix, &uplink, &[], inner),
        ));
    }
    let prefix_of = |own: &OwnAddress| {
        IpNet::new(IpAddr::V6(own.address), own.length).ok().map(|net| Prefix::from_net(net.trunc()))
    };
    let mut seen = BTreeSet::new();
    for own in addresses.iter().filter(|own| own.interface == uplink) {
        let Some(prefix) = prefix_of(own).filter(|prefix| is_whole(*prefix)) else { continue };
        if !seen.insert(prefix) || found.iter().any(|known| known.contains(prefix)) {
            continue;
        }
        let routers = routes.iter().filter_map(|route| route.via);
        let taken: Vec<IpAddr> = addresses.iter().map(|own| IpAddr::V6(own.address)).chain(routers).collect();
        let why = match own.expires {
            true => "this host has an address of it with a limited lifetime: the prefix may change",
            false => {
                "this host has an address of it; if the provider routes it to this host instead, leave ndp_proxy out"
            }
        };
        let lines = lines(EdgeCase::OnLink, prefix, &uplink, &taken, inner);
        found.push(EdgeFinding::new(EdgeCase::OnLink, prefix, &uplink, why, &lines));
    }
    found
}

/// The lines of a pool for this case. Parts of an on-link prefix with these addresses are left out.
fn lines(case: EdgeCase, prefix: Prefix, uplink: &str, taken: &[IpAddr], inner: [u8; 5]) -> String {
    let pool = "[[pool]]\nname = \"public\"\n";
    match case {
        EdgeCase::Routed => format!("{pool}v6 = {{ base = \"{prefix}\", size = 64 }}\ndiscard = true\n"),
        EdgeCase::OnLink => match free_part(prefix, taken) {
            Some(part) => {
                let size = SMALL.max(part.length());
                format!("{pool}v6 = {{ base = \"{part}\", size = {size} }}\nndp_proxy = \"{uplink}\"\n")
            }
            None => String::new(),
        },
        EdgeCase::Changing => {
            let [a, b, c, d, e] = inner;
            let length = prefix.length().max(48);
            format!(
                "{pool}v6 = {{ base = \"fd{a:02x}:{b:02x}{c:02x}:{d:02x}{e:02x}::/{length}\", size = 64 }}\n\
                 translate = \"nptv6\"\nouter = \"pd:{uplink}/{}\"\n",
                prefix.length()
            )
        }
    }
}

/// The largest part of a prefix, from its end, in which none of these addresses lies.
fn free_part(prefix: Prefix, taken: &[IpAddr]) -> Option<Prefix> {
    let last = prefix.address(prefix.last());
    let part = |length| IpNet::new(last, length).ok().map(|net| Prefix::from_net(net.trunc()));
    let is_free = |part: &Prefix| !taken.iter().any(|address| part.contains(Prefix::host(*address)));
    (prefix.length() + 1..=SMALL).filter_map(part).find(is_free)
}

impl EdgeFinding {
    fn new(case: EdgeCase, prefix: Prefix, uplink: &str, why: &str, lines: &str) -> Self {
        let [prefix, uplink] = [prefix.to_string(), uplink.to_owned()];
        Self { case, prefix, uplink, why: why.to_owned(), lines: lines.to_owned() }
    }

    fn contains(&self, prefix: Prefix) -> bool {
        Prefix::parse(&self.prefix).is_some_and(|known| known.contains(prefix))
    }

    /// The finding as lines of a configuration file, with comments.
    pub fn text(&self) -> String {
        let Self { case, prefix, uplink, why, lines } = self;
        let said = match case {
            EdgeCase::Routed => format!("{prefix} is routed to this host, by {uplink}"),
            EdgeCase::OnLink => {
                format!(
                    "{prefix} is on the link of {uplink}: the router looks for each of its addresses there"
                )
            }
            EdgeCase::Changing => format!("{prefix} leads to this host by {uplink}, and may change"),
        };
        format!("# {said}.\n# {why}. See docs/ipv6.md.\n{lines}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(text: &str, interface: &str, expires: bool) -> OwnAddress {
        let (address, length) = text.split_once('/').unwrap();
        let (address, length) = (address.parse().unwrap(), length.parse().unwrap());
        OwnAddress { address, length, interface: interface.to_owned(), expires }
    }

    fn route(prefix: &str, discards: bool, interface: &str, via: Option<&str>, dynamic: bool) -> OwnRoute {
        let (prefix, interface) = (Prefix::parse(prefix).unwrap(), Some(interface.to_owned()));
        OwnRoute { prefix, discards, interface, via: via.map(|via| via.parse().unwrap()), dynamic }
    }

    fn shown(addresses: &[OwnAddress], routes: &[OwnRoute]) -> Vec<(EdgeCase, String)> {
        cases(addresses, routes, [1, 2, 3, 4, 5]).into_iter().map(|found| (found.case, found.lines)).collect()
    }

    #[test]
    fn a_part_of_an_on_link_prefix_is_free_of_the_hosts_and_the_routers_addresses() {
        let default = route("::/0", false, "eth0", Some("2001:db8:1::1"), false);
        let low = own("2001:db8:1::2/64", "eth0", false);
        let pool = |base: &str| {
            format!(
                "[[pool]]\nname = \"public\"\nv6 = {{ base = \"{base}\", size = 80 }}\nndp_proxy = \"eth0\"\n"
            )
        };
        let found = shown(std::slice::from_ref(&low), std::slice::from_ref(&default));
        assert_eq!(found, [(EdgeCase::OnLink, pool("2001:db8:1:0:8000::/65"))]);
        let high = own("2001:db8:1:0:9000::2/64", "eth0", false);
        assert_eq!(shown(&[low, high], &[default]), [(EdgeCase::OnLink, pool("2001:db8:1:0:c000::/66"))]);
    }

    #[test]
    fn a_discard_route_shows_a_routed_prefix_and_one_of_dhcp_a_changing_one() {
        let default = route("::/0", false, "eth0", Some("fe80::1"), true);
        let link = own("2001:db8:9::2/128", "eth0", true);
        let fixed = route("2001:db8:8::/56", true, "lo", None, false);
        let lines =
            "[[pool]]\nname = \"public\"\nv6 = { base = \"2001:db8:8::/56\", size = 64 }\ndiscard = true\n";
        let found = shown(std::slice::from_ref(&link), &[default.clone(), fixed]);
        assert_eq!(found, [(EdgeCase::Routed, lines.to_owned())]);
        let delegated = route("2001:db8:c1::/56", true, "lo", None, true);
        let lines = "[[pool]]\nname = \"public\"\nv6 = { base = \"fd01:0203:0405::/56\", size = 64 }\ntranslate = \"nptv6\"\n\
                     outer = \"pd:eth0/56\"\n";
        assert_eq!(shown(&[link], &[default, delegated]), [(EdgeCase::Changing, lines.to_owned())]);
        assert_eq!(shown(&[own("2001:db8:1::2/64", "eth0", false)], &[]), [], "without a default route");
    }
}
