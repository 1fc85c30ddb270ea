//! What the addresses and routes of this host show about the IPv6 prefixes that lead to it.
//!
//! Promises: only reads; a sign is what the kernel shows, and no more: how the router sends packets does not follow from it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{parse_ip, parse_u32};
use netlink_packet_route::address::AddressHeader;
use netlink_packet_route::route::{RouteHeader, RouteType};

use crate::host::netlink::{Netlink, RTM_GETADDR, RTM_GETROUTE, RTM_NEWADDR, RTM_NEWROUTE};
use crate::host::routes::attributes;
use crate::plan::host_use::ROUTE_PROTOCOL;
use crate::plan::prefix::{Family, Prefix};

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
pub(super) const SMALL: u8 = 80;

/// An IPv6 address of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnAddress {
    pub(super) address: Ipv6Addr,
    pub(super) length: u8,
    pub(super) interface: String,
    /// It has a lifetime.
    pub(super) expires: bool,
}

/// An IPv6 route of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnRoute {
    pub(super) prefix: Prefix,
    /// It discards packets, as programs make it for a prefix that was delegated to the host.
    pub(super) discards: bool,
    pub(super) interface: Option<String>,
    pub(super) via: Option<IpAddr>,
    pub(super) dynamic: bool,
}

/// What a host shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct EdgeSigns {
    pub(super) addresses: Vec<OwnAddress>,
    pub(super) routes: Vec<OwnRoute>,
}

/// What shows that a prefix leads to this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EdgeSign {
    /// A route that discards packets to its unused parts.
    Discard,
    /// Such a route of DHCP.
    Delegated,
    /// This address of the uplink, which may have a lifetime.
    Address { own: Ipv6Addr, expires: bool },
}

impl EdgeSigns {
    /// Reads them from the kernel.
    pub(super) fn read() -> io::Result<Self> {
        let (mut netlink, names) = (Netlink::open()?, Netlink::open()?);
        let mut signs = Self::default();
        netlink.dump(RTM_GETADDR, RTM_NEWADDR, V6, &mut |payload| {
            signs.addresses.extend(address(payload, &|index| names.interface(index)));
        })?;
        netlink.dump(RTM_GETROUTE, RTM_NEWROUTE, V6, &mut |payload| {
            signs.routes.extend(route(payload, &|index| names.interface(index)));
        })?;
        Ok(signs)
    }

    /// The interface of the default route, and the router.
    pub(super) fn uplink(&self) -> Option<(&str, Option<Ipv6Addr>)> {
        let default = self.routes.iter().find(|route| route.prefix.length() == 0 && !route.discards)?;
        let router = match default.via {
            Some(IpAddr::V6(router)) => Some(router),
            _ => None,
        };
        Some((default.interface.as_deref()?, router))
    }

    /// The prefixes that lead to this host by this interface, and what shows that.
    pub(super) fn prefixes(&self, uplink: &str) -> Vec<(Prefix, EdgeSign)> {
        let is_whole = |prefix: Prefix| (16..=64).contains(&prefix.length());
        let is_public = |prefix: Prefix| match prefix.address(prefix.first()) {
            IpAddr::V6(address) => is_global(address),
            IpAddr::V4(_) => false,
        };
        let discards = self.routes.iter().filter(|route| route.discards);
        let mut found: Vec<(Prefix, EdgeSign)> = discards
            .filter(|route| is_whole(route.prefix) && is_public(route.prefix))
            .map(|route| (route.prefix, if route.dynamic { EdgeSign::Delegated } else { EdgeSign::Discard }))
            .collect();
        let mut seen = BTreeSet::new();
        for own in self.addresses.iter().filter(|own| own.interface == uplink) {
            let prefix = Prefix::new(Family::V6, own.address.to_bits(), own.length);
            let is_known = found.iter().any(|(known, _)| known.contains(prefix));
            if is_whole(prefix) && !is_known && seen.insert(prefix) {
                found.push((prefix, EdgeSign::Address { own: own.address, expires: own.expires }));
            }
        }
        found
    }

    /// The largest part of a prefix that is smaller than it, from its end, in which no address of this host or of a router lies.
    pub(super) fn free_part(&self, prefix: Prefix) -> Option<Prefix> {
        let own = self.addresses.iter().map(|own| IpAddr::V6(own.address));
        let taken: Vec<IpAddr> = own.chain(self.routes.iter().filter_map(|route| route.via)).collect();
        let part = |length| Prefix::new(prefix.family(), prefix.last(), length);
        let is_free = |part: &Prefix| !taken.iter().any(|address| part.contains_address(*address));
        (prefix.length() + 1..=SMALL).map(part).find(is_free)
    }
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
