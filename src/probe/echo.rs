//! The packets by which a router shows how it sends to an address that nobody has: echo requests from that address, and what
//! follows from them.
//!
//! Promises: pure; nothing that a packet contains makes it panic. A solicitation of the kind that duplicate address detection
//! sends does not count, as a router does not send it to find an address.

use std::net::Ipv6Addr;

use socket2::SockFilter;

use super::packets::{ETHERNET_HEADER, ICMPV6, IPV6, IPV6_HEADER, IcmpPacket, SOLICITATION, checksum};
use crate::plan::request::Mac;

const UNREACHABLE: u8 = 1;
const TIME_EXCEEDED: u8 = 3;
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
/// Where an echo message has its identifier.
const IDENTIFIER: usize = 4;
/// The type, code, checksum and unused part of an error, before the packet that caused it.
const ERROR_HEADER: usize = 8;

/// What a frame from the link shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EchoSign {
    /// Another machine looks for this address.
    Solicitation(Ipv6Addr),
    /// An answer to an echo request from this address has reached this host.
    Answer(Ipv6Addr),
}

/// An echo request, as an IPv6 packet. Its answers have the same identifier.
pub(super) fn echo_request(from: Ipv6Addr, to: Ipv6Addr, hop_limit: u8, identifier: [u8; 2]) -> Vec<u8> {
    let [a, b] = identifier;
    let mut message = [ECHO_REQUEST, 0, 0, 0, a, b, 0, 1];
    let sum = checksum(from.octets(), to.octets(), &message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    let header = [0x60, 0, 0, 0, 0, 8, ICMPV6, hop_limit];
    [&header[..], &from.octets(), &to.octets(), &message].concat()
}

/// What a frame shows to the host that has this MAC and sends requests with this identifier.
pub(super) fn sign(frame: &[u8], own: Mac, identifier: [u8; 2]) -> Option<EchoSign> {
    let (to, rest) = frame.split_at_checked(6)?;
    if rest.starts_with(&own.0) {
        return None;
    }
    let packet = IcmpPacket::parse(frame)?;
    match packet.neighbour(SOLICITATION) {
        Some(target) if !packet.from.is_unspecified() => Some(EchoSign::Solicitation(target)),
        _ => (to == own.0 && answered(packet.message)? == identifier).then_some(EchoSign::Answer(packet.to)),
    }
}

/// The identifier of the echo request that a reply or an error belongs to.
fn answered(message: &[u8]) -> Option<[u8; 2]> {
    let of_echo = |echo: &[u8]| -> Option<[u8; 2]> { echo.get(IDENTIFIER..IDENTIFIER + 2)?.try_into().ok() };
    match *message.first()? {
        ECHO_REPLY => of_echo(message),
        UNREACHABLE | TIME_EXCEEDED => {
            let echo = message.get(ERROR_HEADER + IPV6_HEADER..)?;
            (echo.first() == Some(&ECHO_REQUEST)).then(|| of_echo(echo))?
        }
        _ => None,
    }
}

/// A program for the kernel that passes only what [`sign`] can use.
pub(super) fn filter() -> [SockFilter; 11] {
    const HALF_AT: u16 = 0x28;
    const BYTE_AT: u16 = 0x30;
    const IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ALL: u32 = 0xffff;
    let at = |place: usize| u32::try_from(place).unwrap_or_default();
    let is = |kind: u8, pass: u8| SockFilter::new(IF_EQUAL, pass, 0, u32::from(kind));
    [
        SockFilter::new(HALF_AT, 0, 0, at(12)),
        SockFilter::new(IF_EQUAL, 0, 8, u32::from(u16::from_be_bytes(IPV6))),
        SockFilter::new(BYTE_AT, 0, 0, at(ETHERNET_HEADER + 6)),
        SockFilter::new(IF_EQUAL, 0, 6, u32::from(ICMPV6)),
        SockFilter::new(BYTE_AT, 0, 0, at(ETHERNET_HEADER + IPV6_HEADER)),
        is(SOLICITATION, 3),
        is(ECHO_REPLY, 2),
        is(UNREACHABLE, 1),
        SockFilter::new(IF_EQUAL, 0, 1, u32::from(TIME_EXCEEDED)),
        SockFilter::new(RETURN, 0, 0, ALL),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::packets;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 9]);
    const MARK: [u8; 2] = [0x67, 0x70];

    fn addresses() -> [Ipv6Addr; 2] {
        ["2001:db8:1::1234:5678", "fe80::1"].map(|text| text.parse().unwrap())
    }

    /// A frame with a message from the router.
    fn frame(to_mac: Mac, from_mac: Mac, to: Ipv6Addr, mut message: Vec<u8>) -> Vec<u8> {
        let [_, from] = addresses();
        let sum = checksum(from.octets(), to.octets(), &message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let header = [0x60, 0, 0, 0, 0, u8::try_from(message.len()).unwrap(), ICMPV6, 64];
        [&to_mac.0[..], &from_mac.0, &IPV6, &header, &from.octets(), &to.octets(), &message].concat()
    }

    #[test]
    fn an_echo_request_has_the_unused_address_as_its_source_and_a_right_checksum() {
        let [unused, router] = addresses();
        let packet = echo_request(unused, router, 1, MARK);
        assert_eq!((packet.len(), packet[7], &packet[40..42]), (48, 1, &[128, 0][..]));
        let frame = [&ROUTER.0[..], &OWN.0, &IPV6, &packet].concat();
        let parsed = IcmpPacket::parse(&frame).expect("its checksum is right");
        assert_eq!((parsed.from, parsed.to), (unused, router));
        assert_eq!(sign(&frame, OWN, MARK), None, "what the host itself sends shows nothing");
    }

    #[test]
    fn replies_and_errors_for_this_host_are_answers_and_nothing_else_is() {
        let [unused, router] = addresses();
        let reply = vec![ECHO_REPLY, 0, 0, 0, MARK[0], MARK[1], 0, 1];
        let inner = echo_request(unused, router, 1, MARK);
        let error = |kind: u8| [&[kind, 0, 0, 0, 0, 0, 0, 0][..], &inner].concat();
        for message in [reply.clone(), error(UNREACHABLE), error(TIME_EXCEEDED)] {
            let whole = frame(OWN, ROUTER, unused, message.clone());
            assert_eq!(sign(&whole, OWN, MARK), Some(EchoSign::Answer(unused)));
            assert_eq!(sign(&whole, OWN, [0, 1]), None, "an answer to another program");
            assert_eq!(
                sign(&frame(ROUTER, ROUTER, unused, message.clone()), OWN, MARK),
                None,
                "not for this host"
            );
            assert_eq!(sign(&frame(OWN, OWN, unused, message), OWN, MARK), None, "from this host");
            for cut in 0..whole.len() {
                assert_eq!(sign(&whole[..cut], OWN, MARK), None, "cut after {cut} bytes");
            }
        }
        assert_eq!(sign(&frame(OWN, ROUTER, unused, error(2)), OWN, MARK), None, "another error");
    }

    #[test]
    fn a_solicitation_of_a_router_counts_and_one_of_duplicate_address_detection_does_not() {
        let [unused, router] = addresses();
        let mut whole = packets::probe(ROUTER, unused.into());
        assert_eq!(sign(&whole, OWN, MARK), None, "its sender has no address");
        whole[22..38].copy_from_slice(&router.octets());
        whole[56..58].copy_from_slice(&[0, 0]);
        let sum = checksum(router.octets(), packets::solicited_group(unused).octets(), &whole[54..]);
        whole[56..58].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(sign(&whole, OWN, MARK), Some(EchoSign::Solicitation(unused)));
        assert_eq!(sign(&whole, ROUTER, MARK), None, "from this host");
        whole[21] = 254;
        assert_eq!(sign(&whole, OWN, MARK), None, "not from this link");
    }
}
