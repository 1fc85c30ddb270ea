//! Parses the kernel's messages: interface addresses and routes of both families, as prefixes in use.
//!
//! The rules are those of [`super`]; message bodies are read attribute by attribute, and an attribute that is
//! unknown, too short or malformed is skipped. A route without a destination is the default route, which does
//! not count.
//!
//! `text` has the format of `ip route` and `ip address`, so that a person can search their output for it.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NlasIterator, parse_ip, parse_u32};
use netlink_packet_route::address::AddressHeader;
use netlink_packet_route::route::{RouteFlags, RouteHeader, RouteScope, RouteType};

use super::{InUse, InUseKind, is_everywhere};
use crate::plan::host_use::ROUTE_PROTOCOL;
use crate::plan::prefix::Prefix;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTA_NH_ID: u16 = 30;

const ADDRESS_HEADER: usize = 8;
const ROUTE_HEADER: usize = 12;
const NEXT_HOP_HEADER: usize = 8;

const MAIN_TABLE: u32 = 254;
const LOCAL_TABLE: u32 = 255;

/// The name of an interface, by its number.
pub(super) type LinkName<'a> = &'a dyn Fn(u32) -> String;

/// One address of an interface. The peer's address of a point-to-point link is not ours, and is reported as a
/// route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address {
    address: IpAddr,
    length: u8,
    pub(super) interface: u32,
}

impl Address {
    /// Parses a message; `None` if the address does not count.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let header = AddressHeader::parse(payload).ok()?;
        let (mut local, mut given) = (None, None);
        for (kind, value) in attributes(payload.get(ADDRESS_HEADER..)?) {
            match kind {
                IFA_LOCAL => local = parse_ip(value).ok(),
                IFA_ADDRESS => given = parse_ip(value).ok(),
                _ => {}
            }
        }
        let address = local.or(given)?;
        let known = Self { address, length: header.prefix_len, interface: header.index };
        (!is_everywhere(&known.prefix())).then_some(known)
    }

    /// The address as a prefix of full length.
    pub(super) fn prefix(self) -> IpNet {
        IpNet::from(self.address)
    }

    /// Describes the address as a prefix in use.
    pub(super) fn describe(self, names: LinkName<'_>) -> InUse {
        let text = format!("address {}/{} on {}", self.address, self.length, names(self.interface));
        InUse { prefix: Prefix::from_net(self.prefix()), kind: InUseKind::InterfaceAddress, text }
    }
}

/// The key by which the kernel identifies a route: a new route replaces an old one with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) prefix: IpNet,
    table: u32,
    tos: u8,
    priority: u32,
}

/// One route to a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) place: Place,
    /// Whether it shows that its prefix is in use.
    pub(super) counts: bool,
    /// The nexthop object that it uses, if any.
    pub(super) object: Option<u32>,
    scope: RouteScope,
    hops: Vec<Hop>,
}

impl Route {
    /// Parses a message; `None` if it can never count (default routes, the local table, prefixes that are
    /// everywhere).
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let header = RouteHeader::parse(payload).ok()?;
        let found = Found::read(&header, payload.get(ROUTE_HEADER..)?);
        if found.table == LOCAL_TABLE || header.destination_prefix_length == 0 {
            return None;
        }
        let prefix = IpNet::new(found.destination?, header.destination_prefix_length).ok()?.trunc();
        if is_everywhere(&prefix) {
            return None;
        }
        let is_of_gipam = u8::from(header.protocol) == ROUTE_PROTOCOL;
        let is_whole = !header.flags.contains(RouteFlags::Cloned);
        let counts = header.kind == RouteType::Unicast && is_whole && !is_of_gipam;
        let place = Place { prefix, table: found.table, tos: header.tos, priority: found.priority };
        Some(Self { place, counts, object: found.object, scope: header.scope, hops: found.hops })
    }

    /// The interface that it leads to, if there is only one.
    pub(super) fn only_interface(&self) -> Option<u32> {
        match self.hops.as_slice() {
            [hop] => hop.interface,
            _ => None,
        }
    }

    /// Describes the route as a prefix in use.
    pub(super) fn describe(&self, names: LinkName<'_>) -> InUse {
        let Place { prefix, table, .. } = self.place;
        let on_link = matches!(prefix, IpNet::V4(_)) && self.scope == RouteScope::Link && table == MAIN_TABLE;
        let kind = if on_link { InUseKind::OnLinkV4Route } else { InUseKind::Route };
        InUse { prefix: Prefix::from_net(prefix), kind, text: self.text(names) }
    }

    /// The route as `ip route` would print it: `10.9.0.0/22 via 192.0.2.1 dev eth0 table 100`.
    fn text(&self, names: LinkName<'_>) -> String {
        let mut text = self.place.prefix.to_string();
        for hop in &self.hops {
            if self.hops.len() > 1 {
                text.push_str(" nexthop");
            }
            if let Some(via) = hop.via {
                let _ = write!(text, " via {via}"); // writing to a String cannot fail
            }
            if let Some(index) = hop.interface {
                text.push_str(" dev ");
                text.push_str(&names(index));
            }
        }
        if self.place.table != MAIN_TABLE {
            let _ = write!(text, " table {}", self.place.table);
        }
        if self.scope == RouteScope::Link {
            text.push_str(" scope link");
        }
        text
    }
}

/// The attributes of a route that are of interest.
struct Found {
    destination: Option<IpAddr>,
    table: u32,
    priority: u32,
    object: Option<u32>,
    hops: Vec<Hop>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Hop {
    via: Option<IpAddr>,
    interface: Option<u32>,
}

impl Hop {
    fn take(&mut self, kind: u16, value: &[u8]) {
        match kind {
            RTA_GATEWAY => self.via = parse_ip(value).ok(),
            RTA_VIA => self.via = value.get(2..).and_then(|address| parse_ip(address).ok()),
            RTA_OIF => self.interface = parse_u32(value).ok(),
            _ => {}
        }
    }
}

impl Found {
    fn read(header: &RouteHeader, rest: &[u8]) -> Self {
        let table = header.table.into();
        let mut found = Self { destination: None, table, priority: 0, object: None, hops: Vec::new() };
        let mut only = Hop::default();
        for (kind, value) in attributes(rest) {
            match kind {
                RTA_DST => found.destination = parse_ip(value).ok(),
                RTA_TABLE => found.table = parse_u32(value).unwrap_or(found.table),
                RTA_PRIORITY => found.priority = parse_u32(value).unwrap_or_default(),
                RTA_NH_ID => found.object = parse_u32(value).ok(),
                RTA_MULTIPATH => found.hops = next_hops(value),
                _ => only.take(kind, value),
            }
        }
        if found.hops.is_empty() {
            found.hops.push(only);
        }
        found
    }
}

/// The attributes up to the first malformed one.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(Result::ok).map(|attribute| {
        let kind = attribute.kind();
        let value = attribute.into_inner();
        let length = usize::from(u16::from_ne_bytes([value[0], value[1]]));
        (kind, value.get(4..length).unwrap_or_default())
    })
}

/// The hops of a multipath route: `struct rtnexthop` (its length first, the interface at byte 4), then
/// attributes.
fn next_hops(mut bytes: &[u8]) -> Vec<Hop> {
    let mut hops = Vec::new();
    while let Some((header, _)) = bytes.split_at_checked(NEXT_HOP_HEADER) {
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let Some(body) = bytes.get(NEXT_HOP_HEADER..length) else { break };
        let mut hop = Hop { via: None, interface: parse_u32(&header[4..8]).ok() };
        for (kind, value) in attributes(body) {
            hop.take(kind, value);
        }
        hops.push(hop);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    hops
}

#[cfg(test)]
mod tests;
