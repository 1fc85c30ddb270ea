//! Neighbour proxy entries in the kernel (`ip neigh show proxy`): reads gipam's own, adds and removes single ones.
//!
//! Promises: an entry belongs to gipam if it has gipam's protocol number and its address lies in a place where gipam makes entries; no
//! other one is ever read as gipam's, replaced or removed. The kernel would overwrite an entry instead of refusing the new one, so gipam asks for it first. Needs
//! Linux 5.0, which stores the protocol number.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, parse_ip};
use rustix::io::Errno;

use super::difference::KernelObject;
use super::kernel::{KernelSockets, is};
use crate::host::routes::attributes;
use crate::plan::prefix::Prefix;
use crate::view::routes::PROTOCOL;

const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;
const NDA_DST: u16 = 1;
const NDA_PROTOCOL: u16 = 12;
/// `NTF_PROXY`.
const PROXY: u8 = 8;
/// `struct ndmsg`: family at byte 0, interface at 4, state at 8, flags at 10.
const HEADER: usize = 12;
/// How often an interrupted dump is repeated at most.
const TRIES: u32 = 5;

/// The host answers on an interface for an address that is elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProxyEntry {
    pub(super) interface: u32,
    pub(super) address: IpAddr,
}

/// To whom an entry belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Nobody,
    Gipam,
    Other,
}

impl KernelSockets {
    /// The entries of gipam for addresses in these places.
    pub(super) fn proxies(&mut self, places: &BTreeSet<Prefix>) -> io::Result<Vec<KernelObject<ProxyEntry>>> {
        let mut header = [0; HEADER];
        header[10] = PROXY;
        let mut found = Vec::new();
        for _ in 0..TRIES {
            found.clear();
            let mut each = |_, payload: &[u8]| found.extend(own(payload, places));
            if !self.netlink.ask(RTM_GETNEIGH, NLM_F_DUMP, &header, &mut each)? {
                break;
            }
        }
        Ok(found)
    }

    /// To whom the entry at this place belongs.
    pub(super) fn proxy_owner(&mut self, entry: &ProxyEntry) -> io::Result<Owner> {
        let mut owner = Owner::Nobody;
        let mut each = |_, payload: &[u8]| {
            owner = match read(payload) {
                Some((_, PROTOCOL)) => Owner::Gipam,
                _ => Owner::Other,
            };
        };
        match self.netlink.ask(RTM_GETNEIGH, 0, &message(entry, None), &mut each) {
            Err(error) if is(&error, Errno::NOENT) => Ok(Owner::Nobody),
            done => done.map(|_| owner),
        }
    }

    /// Adds an entry, if its place is free.
    pub(super) fn add_proxy(&mut self, entry: &ProxyEntry) -> io::Result<()> {
        match self.proxy_owner(entry)? {
            Owner::Gipam => Ok(()),
            Owner::Other => Err(Errno::EXIST.into()),
            Owner::Nobody => {
                let body = message(entry, Some(PROTOCOL));
                self.netlink.ask(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_EXCL, &body, &mut |_, _| {}).map(drop)
            }
        }
    }

    /// Removes the entry at this place if it is gipam's; returns whether it was.
    pub(super) fn remove_proxy(&mut self, entry: &ProxyEntry) -> io::Result<bool> {
        if self.proxy_owner(entry)? != Owner::Gipam {
            return Ok(false);
        }
        match self.netlink.ask(RTM_DELNEIGH, 0, &message(entry, None), &mut |_, _| {}) {
            Err(error) if is(&error, Errno::NOENT) || is(&error, Errno::NODEV) => Ok(false),
            done => done.map(|_| true),
        }
    }
}

/// The body of a request about an entry.
pub(super) fn message(entry: &ProxyEntry, protocol: Option<u8>) -> Vec<u8> {
    let mut body = vec![0; HEADER];
    body[0] = family(entry.address);
    body[4..8].copy_from_slice(&entry.interface.to_ne_bytes());
    body[10] = PROXY;
    match entry.address {
        IpAddr::V4(address) => push(&mut body, NDA_DST, &address.octets()),
        IpAddr::V6(address) => push(&mut body, NDA_DST, &address.octets()),
    }
    if let Some(protocol) = protocol {
        push(&mut body, NDA_PROTOCOL, &[protocol]);
    }
    body
}

const fn family(address: IpAddr) -> u8 {
    // AF_INET and AF_INET6.
    if address.is_ipv6() { 10 } else { 2 }
}

/// Appends an attribute, filled up to a multiple of four bytes.
fn push(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// A proxy entry and its protocol number.
pub(super) fn read(payload: &[u8]) -> Option<(ProxyEntry, u8)> {
    let header = payload.get(..HEADER)?;
    let interface = u32::from_ne_bytes(header[4..8].try_into().ok()?);
    if header[10] & PROXY == 0 {
        return None;
    }
    let (mut address, mut protocol) = (None, 0);
    for (kind, value) in attributes(payload.get(HEADER..)?) {
        match kind {
            NDA_DST => address = parse_ip(value).ok(),
            NDA_PROTOCOL => protocol = value.first().copied().unwrap_or_default(),
            _ => {}
        }
    }
    Some((ProxyEntry { interface, address: address? }, protocol))
}

/// An entry of gipam in these places; `None` for all others.
fn own(payload: &[u8], places: &BTreeSet<Prefix>) -> Option<KernelObject<ProxyEntry>> {
    let (entry, protocol) = read(payload)?;
    let host = Prefix::host(entry.address);
    let is_own = protocol == PROTOCOL && places.iter().any(|place| place.contains(host));
    is_own.then(|| KernelObject { is: Some(entry), raw: message(&entry, None) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(address: &str) -> ProxyEntry {
        ProxyEntry { interface: 7, address: address.parse().unwrap() }
    }

    fn pools() -> BTreeSet<Prefix> {
        ["10.8.0.0/16", "2001:db8:8::/64"].map(|text| Prefix::parse(text).unwrap()).into()
    }

    #[test]
    fn an_entry_that_gipam_sends_is_read_as_the_same_entry() {
        for address in ["10.8.0.2", "2001:db8:8::1:2"] {
            let found = own(&message(&entry(address), Some(PROTOCOL)), &pools()).unwrap();
            assert_eq!(found.is, Some(entry(address)));
        }
    }

    #[test]
    fn entries_of_others_or_outside_of_the_pools_are_not_read() {
        assert_eq!(own(&message(&entry("10.8.0.2"), None), &pools()), None);
        assert_eq!(own(&message(&entry("10.8.0.2"), Some(4)), &pools()), None);
        assert_eq!(own(&message(&entry("10.9.0.2"), Some(PROTOCOL)), &pools()), None);
        let mut neighbour = message(&entry("10.8.0.2"), Some(PROTOCOL));
        neighbour[10] = 0;
        assert_eq!(own(&neighbour, &pools()), None, "an entry of the neighbour table itself");
    }

    proptest::proptest! {
        #[test]
        fn reading_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            let _ = own(&bytes, &pools());
        }
    }
}
