//! The interfaces of this machine and their addresses, by netlink.
//!
//! Promises: only reads; needs no privilege. Does not follow changes: the caller reads again when it needs to.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::parse_u32;

use super::netlink::{Netlink, RTM_GETADDR, RTM_NEWADDR};
use super::routes::attributes;
use crate::plan::prefix::Prefix;
use crate::plan::request::Mac;

/// The request to dump all interfaces (rtnetlink's number), and an interface in the answer.
const RTM_GETLINK: u16 = 18;
const RTM_NEWLINK: u16 = 16;
/// `struct ifinfomsg`: the hardware type is at byte 2, the index at byte 4.
const LINK_HEADER: usize = 16;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
/// `struct ifaddrmsg`: the length is at byte 1, the index at byte 4.
const ADDRESS_HEADER: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const ETHERNET: u16 = 1;

/// An Ethernet interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EthernetLink {
    pub name: String,
    pub mac: Mac,
    /// Its addresses, and the prefixes that are on link with them.
    pub addresses: Vec<(IpAddr, Prefix)>,
}

/// All Ethernet interfaces.
pub fn ethernet_links() -> io::Result<Vec<EthernetLink>> {
    let mut netlink = Netlink::open()?;
    let mut links: Vec<(u32, EthernetLink)> = Vec::new();
    netlink.dump(RTM_GETLINK, RTM_NEWLINK, 0, &mut |body| {
        let Some((index, link)) = link(body) else { return };
        links.retain(|(known, _)| *known != index);
        links.push((index, link));
    })?;
    netlink.dump(RTM_GETADDR, RTM_NEWADDR, 0, &mut |body| {
        let Some((index, address, prefix)) = address(body) else { return };
        let of_link = links.iter_mut().find(|(known, _)| *known == index);
        if let Some((_, link)) = of_link.filter(|(_, link)| !link.addresses.contains(&(address, prefix))) {
            link.addresses.push((address, prefix));
        }
    })?;
    Ok(links.into_iter().map(|(_, link)| link).collect())
}

fn link(body: &[u8]) -> Option<(u32, EthernetLink)> {
    let header = body.get(..LINK_HEADER)?;
    let kind = u16::from_ne_bytes([header[2], header[3]]);
    let index = parse_u32(&header[4..8]).ok()?;
    let (mut name, mut mac) = (None, None);
    for (kind, value) in attributes(body.get(LINK_HEADER..)?) {
        match kind {
            IFLA_ADDRESS => mac = <[u8; 6]>::try_from(value).ok().map(Mac),
            IFLA_IFNAME => {
                let text = value.strip_suffix(&[0]).unwrap_or(value);
                name = std::str::from_utf8(text).ok().map(str::to_owned);
            }
            _ => {}
        }
    }
    let link = EthernetLink { name: name?, mac: mac?, addresses: Vec::new() };
    (kind == ETHERNET).then_some((index, link))
}

fn address(body: &[u8]) -> Option<(u32, IpAddr, Prefix)> {
    let header = body.get(..ADDRESS_HEADER)?;
    let (length, index) = (header[1], parse_u32(&header[4..8]).ok()?);
    let (mut local, mut peer) = (None, None);
    for (kind, value) in attributes(body.get(ADDRESS_HEADER..)?) {
        let address = match *value {
            [a, b, c, d] => Some(IpAddr::from([a, b, c, d])),
            _ => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
        };
        match kind {
            IFA_LOCAL => local = address,
            IFA_ADDRESS => peer = address,
            _ => {}
        }
    }
    // On a link to one other machine, the prefix is that of the other end.
    let address = local.or(peer)?;
    let host = Prefix::host(peer.unwrap_or(address));
    let bits = host.family().bits();
    (length <= bits).then(|| (index, address, Prefix::new(host.family(), host.first(), length)))
}
