//! The packets of a probe: an ARP probe (RFC 5227) or a neighbour solicitation (RFC 4862), and their answers.
//!
//! Promises: pure; nothing that a packet contains makes it panic; only a well-formed answer for exactly one address counts. A
//! probe never claims an address: its sender is 0.0.0.0 or `::`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use socket2::SockFilter;

use crate::plan::request::Mac;

const ARP: [u8; 2] = [0x08, 0x06];
pub(super) const IPV6: [u8; 2] = [0x86, 0xdd];
pub(super) const ETHERNET_HEADER: usize = 14;
const ARP_LENGTH: usize = ETHERNET_HEADER + 28;
pub(super) const IPV6_HEADER: usize = 40;
/// Type and code, checksum, reserved, target.
const NEIGHBOUR: u8 = 24;
pub(super) const ICMPV6: u8 = 58;
pub(super) const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Ethernet, IPv4, and the lengths of their addresses.
const ARP_HEAD: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// The frame that asks the LAN who has this address.
pub fn probe(own: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp_probe(own, address),
        IpAddr::V6(address) => solicitation(own, address),
    }
}

fn ethernet(destination: [u8; 6], own: Mac, kind: [u8; 2]) -> Vec<u8> {
    [&destination[..], &own.0, &kind].concat()
}

fn arp_probe(own: Mac, address: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet([0xff; 6], own, ARP);
    let request = [0, 1];
    for part in [&ARP_HEAD[..], &request, &own.0, &[0; 4], &[0; 6], &address.octets()] {
        frame.extend_from_slice(part);
    }
    frame
}

/// The multicast group in which neighbours look for an address (RFC 4291).
pub(super) fn solicited_group(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c].into()
}

fn solicitation(own: Mac, address: Ipv6Addr) -> Vec<u8> {
    let target = address.octets();
    let [.., a, b, c] = target;
    let group = solicited_group(address).octets();
    let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&target);
    let sum = checksum([0; 16], group, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = ethernet([0x33, 0x33, 0xff, a, b, c], own, IPV6);
    // Version 6, the length, and the hop limit that a router never lets through.
    frame.extend_from_slice(&[0x60, 0, 0, 0, 0, NEIGHBOUR, ICMPV6, 255]);
    for part in [&[0; 16][..], &group, &message] {
        frame.extend_from_slice(part);
    }
    frame
}

/// The checksum of an ICMPv6 message, whose own field is 0 (or, to check it, the received one: then the result is 0).
pub(super) fn checksum(source: [u8; 16], destination: [u8; 16], message: &[u8]) -> u16 {
    let length = u32::try_from(message.len()).unwrap_or_default().to_be_bytes();
    let all = [&source[..], &destination, &length, &[0, 0, 0, ICMPV6], message].concat();
    let words = all.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

/// The address that a frame shows to be in use, and by which MAC. Besides answers, these are probes and announcements of
/// another machine that is about to use the address.
pub fn user(frame: &[u8]) -> Option<(IpAddr, Mac)> {
    match frame.get(12..ETHERNET_HEADER)? {
        kind if kind == ARP => arp_user(frame.get(ETHERNET_HEADER..ARP_LENGTH)?),
        kind if kind == IPV6 => advertised(frame),
        _ => None,
    }
}

fn arp_user(arp: &[u8]) -> Option<(IpAddr, Mac)> {
    let (head, rest) = arp.split_at_checked(8)?;
    let is_arp = head.starts_with(&ARP_HEAD) && matches!(head[6..], [0, 1 | 2]);
    let mac = Mac(rest.get(..6)?.try_into().ok()?);
    let sender = Ipv4Addr::from(<[u8; 4]>::try_from(rest.get(6..10)?).ok()?);
    (is_arp && !sender.is_unspecified()).then_some((sender.into(), mac))
}

fn advertised(frame: &[u8]) -> Option<(IpAddr, Mac)> {
    let packet = IcmpPacket::parse(frame)?;
    let target = packet.neighbour(ADVERTISEMENT)?;
    let source = || Some(Mac(frame.get(6..12)?.try_into().ok()?));
    let mac = link_layer(packet.message.get(usize::from(NEIGHBOUR)..)?).or_else(source)?;
    Some((target.into(), mac))
}

/// A whole ICMPv6 message whose checksum is right, and what its IPv6 header says.
#[derive(Clone, Copy, Debug)]
pub(super) struct IcmpPacket<'a> {
    pub(super) from: Ipv6Addr,
    pub(super) to: Ipv6Addr,
    hop_limit: u8,
    pub(super) message: &'a [u8],
}

impl<'a> IcmpPacket<'a> {
    /// The message in an Ethernet frame, if there is one.
    pub(super) fn parse(frame: &'a [u8]) -> Option<Self> {
        let (ethernet, packet) = frame.split_at_checked(ETHERNET_HEADER)?;
        let (header, message) = packet.split_at_checked(IPV6_HEADER)?;
        let is_icmp = ethernet.ends_with(&IPV6) && header[0] >> 4 == 6 && header[6] == ICMPV6;
        let message = message.get(..usize::from(u16::from_be_bytes([header[4], header[5]])))?;
        let [from, to] = [&header[8..24], &header[24..40]].map(|part| <[u8; 16]>::try_from(part).ok());
        let (from, to) = from.zip(to)?;
        let is_right = is_icmp && checksum(from, to, message) == 0;
        is_right.then(|| Self { from: from.into(), to: to.into(), hop_limit: header[7], message })
    }

    /// The target, if this is a neighbour solicitation or advertisement (whichever `kind` says) from the link itself.
    pub(super) fn neighbour(&self, kind: u8) -> Option<Ipv6Addr> {
        let is_from_here = self.hop_limit == 255 && self.message.starts_with(&[kind, 0]);
        let target = <[u8; 16]>::try_from(self.message.get(8..usize::from(NEIGHBOUR))?).ok()?;
        is_from_here.then(|| target.into())
    }
}

/// The MAC in the options of an advertisement: type, length in units of 8 bytes, value.
fn link_layer(mut options: &[u8]) -> Option<Mac> {
    const TARGET: u8 = 2;
    while let [kind, units, ..] = *options {
        let (option, rest) = options.split_at_checked(usize::from(units) * 8).filter(|_| units > 0)?;
        if kind == TARGET {
            return Some(Mac(option.get(2..8)?.try_into().ok()?));
        }
        options = rest;
    }
    None
}

/// A program for the kernel that passes only ARP and neighbour advertisements to the socket.
pub fn filter() -> [SockFilter; 9] {
    const HALF_AT: u16 = 0x28;
    const BYTE_AT: u16 = 0x30;
    const IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ALL: u32 = 0xffff;
    let ethertype = |kind: [u8; 2]| u32::from(u16::from_be_bytes(kind));
    [
        SockFilter::new(HALF_AT, 0, 0, 12),
        SockFilter::new(IF_EQUAL, 5, 0, ethertype(ARP)),
        SockFilter::new(IF_EQUAL, 0, 5, ethertype(IPV6)),
        SockFilter::new(BYTE_AT, 0, 0, 20),
        SockFilter::new(IF_EQUAL, 0, 3, u32::from(ICMPV6)),
        SockFilter::new(BYTE_AT, 0, 0, 54),
        SockFilter::new(IF_EQUAL, 0, 1, u32::from(ADVERTISEMENT)),
        SockFilter::new(RETURN, 0, 0, ALL),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const OTHER: Mac = Mac([2, 0, 0, 0, 0, 9]);

    #[test]
    fn an_arp_probe_has_42_bytes_and_claims_nothing() {
        let frame = probe(OWN, "192.0.2.7".parse().unwrap());
        assert_eq!(frame.len(), 42);
        assert_eq!(frame[..14], [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6]);
        assert_eq!(frame[20..22], [0, 1], "a request");
        assert_eq!(frame[28..32], [0; 4], "the sender has no address");
        assert_eq!(frame[38..], [192, 0, 2, 7]);
        assert_eq!(user(&frame), None, "a probe of another machine is not a use");
    }

    fn arp_reply(frame: &[u8]) -> Vec<u8> {
        let mut reply = frame.to_vec();
        reply[21] = 2;
        reply[22..28].copy_from_slice(&OTHER.0);
        let asked = frame[38..42].to_vec();
        reply[28..32].copy_from_slice(&asked);
        reply
    }

    #[test]
    fn the_answer_of_a_stranger_names_its_mac() {
        let address: IpAddr = "192.0.2.7".parse().unwrap();
        let reply = arp_reply(&probe(OWN, address));
        assert_eq!(user(&reply), Some((address, OTHER)));
        for cut in 0..reply.len() {
            assert_eq!(user(&reply[..cut]), None, "cut after {cut} bytes");
        }
    }

    #[test]
    fn a_solicitation_is_the_one_of_duplicate_address_detection() {
        let frame = probe(OWN, "2001:db8::1:2:3".parse().unwrap());
        assert_eq!(frame.len(), 78);
        assert_eq!(frame[..6], [0x33, 0x33, 0xff, 2, 0, 3]);
        assert_eq!(frame[21], 255);
        assert_eq!(frame[22..38], [0; 16], "the sender has no address");
        let group: Ipv6Addr = <[u8; 16]>::try_from(&frame[38..54]).unwrap().into();
        assert_eq!(group.to_string(), "ff02::1:ff02:3");
        let source = [0; 16];
        assert_eq!(checksum(source, group.octets(), &frame[54..]), 0, "the checksum is right");
    }

    fn advertisement(target: Ipv6Addr, option: &[u8]) -> Vec<u8> {
        let (from, to) = (target.octets(), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets());
        let mut message = vec![ADVERTISEMENT, 0, 0, 0, 0x20, 0, 0, 0];
        message.extend_from_slice(&target.octets());
        message.extend_from_slice(option);
        let sum = checksum(from, to, &message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut frame = ethernet([0x33, 0x33, 0, 0, 0, 1], OTHER, IPV6);
        frame.extend_from_slice(&[0x60, 0, 0, 0, 0, message.len() as u8, ICMPV6, 255]);
        [frame, from.to_vec(), to.to_vec(), message].concat()
    }

    #[test]
    fn an_advertisement_names_the_target_and_its_mac() {
        let target: Ipv6Addr = "2001:db8::7".parse().unwrap();
        assert_eq!(user(&advertisement(target, &[])), Some((target.into(), OTHER)));
        let option = [2, 1, 2, 0, 0, 0, 0, 8];
        let frame = advertisement(target, &option);
        assert_eq!(user(&frame), Some((target.into(), Mac([2, 0, 0, 0, 0, 8]))));
        for cut in 0..frame.len() {
            assert_eq!(user(&frame[..cut]), None, "cut after {cut} bytes");
        }
        for at in 14..frame.len() {
            let mut flipped = frame.clone();
            flipped[at] ^= 1;
            assert!(user(&flipped).is_none_or(|(address, _)| address == target || at < 54), "byte {at}");
        }
        assert_eq!(
            user(&advertisement(target, &[2, 0, 0])),
            Some((target.into(), OTHER)),
            "an option without a length"
        );
    }
}
