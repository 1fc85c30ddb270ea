//! What the kernel shows of an IPv6 prefix that was delegated to this host.
//!
//! Two signs, in this order. An `unreachable` (or blackhole, prohibit) route of exactly the wanted length: systemd-networkd and
//! dhcpcd add one for the whole delegated prefix, so that packets to parts of it that are not in use do not loop. The kernel
//! keeps such routes on `lo`, so they do not show the interface; those with protocol `dhcp` come first. Without such a route,
//! the first bits of the interface's own global addresses: what a client assigned to an inner interface, or what a router
//! announces on the link. Deprecated addresses (preferred lifetime 0) are not signs, and neither are gipam's own routes.
//!
//! Promises: only reads; needs no privilege; a watch reports only changes of such routes and addresses.

use std::io;
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::parse_u32;
use netlink_packet_route::AddressFamily;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use rustix::io::Errno;

use super::netlink::{
    BUFFER, Netlink, RTM_GETADDR, RTM_GETROUTE, RTM_NEWADDR, RTM_NEWROUTE, messages, receive,
};
use super::routes::attributes;
use super::watch::{RTM_DELADDR, RTM_DELROUTE};
use crate::plan::prefix::{Family, Prefix};

/// `struct rtmsg`: attributes, and the types of routes that reject packets.
const RTMSG: usize = 12;
const REJECTS: std::ops::RangeInclusive<u8> = 6..=8;
const RTA_DST: u16 = 1;
const RTA_TABLE: u16 = 15;
const MAIN: u32 = 254;
const RTPROT_KERNEL: u8 = 2;
const RTPROT_DHCP: u8 = 16;
/// The protocol of gipam's own routes.
const RTPROT_GIPAM: u8 = 171;
/// `struct ifaddrmsg`, its attributes, and the flags of addresses that are not current: failed, deprecated, tentative.
const IFADDRMSG: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const NOT_CURRENT: u32 = 0x08 | 0x20 | 0x40;
/// The multicast groups of IPv6 addresses and routes.
const GROUPS: [u32; 2] = [9, 11];

/// A route that rejects packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RejectRoute {
    prefix: Prefix,
    protocol: u8,
}

/// A current global address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CurrentAddress {
    interface: u32,
    address: Ipv6Addr,
    /// Seconds for which it stays preferred.
    preferred: u32,
}

/// The prefixes of this length that may be the delegated one, the most likely first; `None` if the interface does not exist.
pub fn prefixes(interface: &str, length: u8) -> Result<Option<Vec<Prefix>>, String> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| format!("the kernel does not show {what}: {error}")
    };
    let mut netlink = Netlink::open().map_err(failed("anything"))?;
    let Some(index) = netlink.index_of(interface) else { return Ok(None) };
    let (mut routes, mut addresses) = (Vec::new(), Vec::new());
    let family = AddressFamily::Inet6.into();
    netlink
        .dump(RTM_GETROUTE, RTM_NEWROUTE, family, &mut |payload| routes.extend(reject(payload)))
        .map_err(failed("IPv6 routes"))?;
    netlink
        .dump(RTM_GETADDR, RTM_NEWADDR, family, &mut |payload| addresses.extend(address(payload)))
        .map_err(failed("IPv6 addresses"))?;
    addresses.retain(|address| address.interface == index);
    Ok(Some(likely(&routes, &addresses, length)))
}

fn likely(routes: &[RejectRoute], addresses: &[CurrentAddress], length: u8) -> Vec<Prefix> {
    let of_length = |route: &&RejectRoute| route.prefix.length() == length && is_of_a_site(route.prefix);
    let mut routes: Vec<&RejectRoute> = routes.iter().filter(of_length).collect();
    if routes.iter().any(|route| route.protocol == RTPROT_DHCP) {
        routes.retain(|route| route.protocol == RTPROT_DHCP);
    }
    let mut found: Vec<Prefix> = routes.iter().map(|route| route.prefix).collect();
    if found.is_empty() {
        let mut addresses = addresses.to_vec();
        // Global addresses before unique local ones, then what stays preferred longest.
        let unique_local = |address: Ipv6Addr| address.segments()[0] & 0xfe00 == 0xfc00;
        addresses.sort_by_key(|it| (unique_local(it.address), u32::MAX - it.preferred));
        let number = |it: &CurrentAddress| u128::from_be_bytes(it.address.octets());
        let prefixes = addresses.iter().map(|it| Prefix::new(Family::V6, number(it), length));
        found.extend(prefixes.filter(|prefix| is_of_a_site(*prefix)));
    }
    let mut known = std::collections::BTreeSet::new();
    found.retain(|prefix| known.insert(*prefix));
    found
}

/// Whether a prefix can be delegated: global unicast (2000::/3) or unique local (fc00::/7).
fn is_of_a_site(prefix: Prefix) -> bool {
    let first = prefix.first() >> 120;
    (0x20..0x40).contains(&first) || (0xfc..0xfe).contains(&first)
}

fn reject(payload: &[u8]) -> Option<RejectRoute> {
    let [family, length, _, _, table, protocol, _, kind, ..] = *payload else { return None };
    let is_ours = protocol == RTPROT_GIPAM || protocol == RTPROT_KERNEL;
    if family != u8::from(AddressFamily::Inet6) || !REJECTS.contains(&kind) || is_ours {
        return None;
    }
    let (mut destination, mut table) = (None, u32::from(table));
    for (kind, value) in attributes(payload.get(RTMSG..)?) {
        match kind {
            RTA_DST => destination = <[u8; 16]>::try_from(value).ok(),
            RTA_TABLE => table = parse_u32(value).ok()?,
            _ => {}
        }
    }
    let prefix = Prefix::new(Family::V6, u128::from_be_bytes(destination?), length);
    (table == MAIN && length <= 128).then_some(RejectRoute { prefix, protocol })
}

fn address(payload: &[u8]) -> Option<CurrentAddress> {
    let [family, _, flags, scope, ..] = *payload else { return None };
    let interface = u32::from_ne_bytes(payload.get(4..IFADDRMSG)?.try_into().ok()?);
    if family != u8::from(AddressFamily::Inet6) || scope != 0 {
        return None;
    }
    let (mut flags, mut address, mut preferred) = (u32::from(flags), None, u32::MAX);
    for (kind, value) in attributes(payload.get(IFADDRMSG..)?) {
        match kind {
            IFA_ADDRESS => address = <[u8; 16]>::try_from(value).ok().map(Ipv6Addr::from),
            IFA_CACHEINFO => preferred = parse_u32(value.get(..4)?).ok()?,
            IFA_FLAGS => flags = parse_u32(value).ok()?,
            _ => {}
        }
    }
    let address = address.filter(|_| flags & NOT_CURRENT == 0)?;
    Some(CurrentAddress { interface, address, preferred })
}

/// Is told when routes that reject packets, or global addresses, change.
#[derive(Debug)]
pub struct DelegationWatch {
    notices: Socket,
}

impl DelegationWatch {
    pub fn new() -> io::Result<Self> {
        let mut notices = Socket::new(NETLINK_ROUTE)?;
        notices.bind_auto()?;
        for group in GROUPS {
            notices.add_membership(group)?;
        }
        notices.set_non_blocking(true)?;
        Ok(Self { notices })
    }

    /// Takes all notifications; returns whether one of them matters.
    pub fn drain(&self) -> io::Result<bool> {
        let (mut buffer, mut matters) = (Vec::with_capacity(BUFFER), false);
        loop {
            match receive(&self.notices, &mut buffer) {
                Ok(()) => {
                    matters |= messages(&buffer).any(|message| {
                        message.is_ok_and(|message| is_of_interest(message.message_type(), message.payload()))
                    })
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(matters),
                // Some were lost, or one cannot be read: read everything.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => matters = true,
                Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => matters = true,
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_of_interest(kind: u16, payload: &[u8]) -> bool {
    match kind {
        RTM_NEWADDR | RTM_DELADDR => payload.get(3) == Some(&0),
        RTM_NEWROUTE | RTM_DELROUTE => payload.get(7).is_some_and(|kind| REJECTS.contains(kind)),
        _ => false,
    }
}

impl AsFd for DelegationWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notices.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::parse(text).unwrap()
    }

    fn route(text: &str, protocol: u8) -> RejectRoute {
        RejectRoute { prefix: prefix(text), protocol }
    }

    fn own(text: &str, preferred: u32) -> CurrentAddress {
        CurrentAddress { interface: 2, address: text.parse().unwrap(), preferred }
    }

    #[test]
    fn a_reject_route_of_the_wanted_length_is_the_first_sign() {
        let addresses = [own("2001:db8:c::1", 600)];
        let routes = [route("2001:db8:5::/56", 4), route("2001:db8:a::/56", RTPROT_DHCP)];
        assert_eq!(likely(&routes, &addresses, 56), [prefix("2001:db8:a::/56")]);
        assert_eq!(likely(&routes[..1], &addresses, 56), [prefix("2001:db8:5::/56")]);
        let other = [route("2001:db8:a::/60", RTPROT_DHCP), route("::/56", RTPROT_DHCP)];
        assert_eq!(likely(&other, &addresses, 56), [prefix("2001:db8:c::/56")]);
        assert!(likely(&other, &[], 56).is_empty());
    }

    #[test]
    fn of_addresses_global_ones_come_first_and_those_preferred_longest() {
        let addresses = [
            own("fd00:1:2:3::1", u32::MAX),
            own("2001:db8:a:5::1", 600),
            own("2001:db8:b:105::1", 1_200),
            own("2001:db8:b:1ff::1", 900),
            own("::1", u32::MAX),
        ];
        let expected = ["2001:db8:b:100::/56", "2001:db8:a::/56", "fd00:1:2::/56"].map(prefix);
        assert_eq!(likely(&[], &addresses, 56), expected);
    }
}
