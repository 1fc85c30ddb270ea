//! Messages as kernels send them, and malformed ones; `tests/host.rs` tests with the real kernel.

use super::*;

const V4: u8 = 2;
const V6: u8 = 10;
const UNICAST: u8 = 1;
const LINK: u8 = 253;

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A message with a `struct rtmsg` in the main table and these attributes.
fn message(family: u8, length: u8, scope: u8, kind: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![family, length, 0, 0, 254, 3, scope, kind, 0, 0, 0, 0];
    bytes.extend(attributes.concat());
    bytes
}

fn address(payload: &[u8], names: LinkName<'_>) -> Option<InUse> {
    Address::read(payload).map(|address| address.describe(names))
}

fn route(payload: &[u8], names: LinkName<'_>) -> Option<InUse> {
    Route::read(payload).filter(|route| route.counts).map(|route| route.describe(names))
}

fn read(message: &[u8]) -> Option<InUse> {
    let ask = |index| format!("eth{index}");
    route(message, &ask)
}

fn seen(message: &[u8]) -> Option<(InUseKind, String)> {
    read(message).map(|used| (used.kind, used.text))
}

fn dev(index: u32) -> Vec<u8> {
    attribute(RTA_OIF, &index.to_ne_bytes())
}

#[test]
fn a_link_scope_route_is_on_link_only_in_the_main_table() {
    let dst = attribute(RTA_DST, &[10, 9, 0, 0]);
    let on_link = message(V4, 22, LINK, UNICAST, &[dst.clone(), dev(0)]);
    assert_eq!(seen(&on_link), Some((InUseKind::OnLinkV4Route, "10.9.0.0/22 dev eth0 scope link".into())));
    let elsewhere = attribute(RTA_TABLE, &1000u32.to_ne_bytes());
    let other_table = message(V4, 22, LINK, UNICAST, &[dst.clone(), elsewhere, dev(0)]);
    let text = "10.9.0.0/22 dev eth0 table 1000 scope link";
    assert_eq!(seen(&other_table), Some((InUseKind::Route, text.into())));
    let via = message(V4, 22, 0, UNICAST, &[dst, attribute(RTA_GATEWAY, &[192, 0, 2, 1]), dev(1)]);
    assert_eq!(seen(&via), Some((InUseKind::Route, "10.9.0.0/22 via 192.0.2.1 dev eth1".into())));
}

#[test]
fn ipv6_on_link_is_an_ordinary_route() {
    let dst = attribute(RTA_DST, &"2001:db8::".parse::<std::net::Ipv6Addr>().unwrap().octets());
    let seen = seen(&message(V6, 64, 0, UNICAST, &[dst, dev(2)]));
    assert_eq!(seen, Some((InUseKind::Route, "2001:db8::/64 dev eth2".into())));
}

#[test]
fn routes_that_do_not_show_use_do_not_count() {
    let dst = attribute(RTA_DST, &[10, 9, 0, 0]);
    for kind in [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 77] {
        assert_eq!(read(&message(V4, 22, 0, kind, std::slice::from_ref(&dst))), None, "route type {kind}");
    }
    let local = attribute(RTA_TABLE, &LOCAL_TABLE.to_ne_bytes());
    assert_eq!(read(&message(V4, 22, LINK, UNICAST, &[dst.clone(), local])), None, "local table");
    assert_eq!(read(&message(V4, 0, LINK, UNICAST, &[dev(0)])), None, "default route");
    let mut cached = message(V4, 22, 0, UNICAST, &[dst]);
    cached[8..12].copy_from_slice(&0x200u32.to_ne_bytes());
    assert_eq!(read(&cached), None, "cloned");
    let link_local = attribute(RTA_DST, &"fe80::".parse::<std::net::Ipv6Addr>().unwrap().octets());
    assert_eq!(read(&message(V6, 64, 0, UNICAST, &[link_local])), None);
}

#[test]
fn multipath_routes_name_each_hop() {
    let hop = |index: u32, gateway: [u8; 4]| {
        let inner = attribute(RTA_GATEWAY, &gateway);
        let length = u16::try_from(NEXT_HOP_HEADER + inner.len()).unwrap();
        [&length.to_ne_bytes()[..], &[0, 0], &index.to_ne_bytes(), &inner].concat()
    };
    let hops = attribute(RTA_MULTIPATH, &[hop(1, [192, 0, 2, 1]), hop(2, [192, 0, 2, 2])].concat());
    let seen = seen(&message(V4, 16, 0, UNICAST, &[attribute(RTA_DST, &[10, 9, 0, 0]), hops]));
    let text = "10.9.0.0/16 nexthop via 192.0.2.1 dev eth1 nexthop via 192.0.2.2 dev eth2";
    assert_eq!(seen, Some((InUseKind::Route, text.into())));
}

#[test]
fn an_ipv6_hop_of_an_ipv4_route_is_named() {
    let via = [&10u16.to_ne_bytes()[..], &"fe80::7".parse::<std::net::Ipv6Addr>().unwrap().octets()].concat();
    let parts = [attribute(RTA_DST, &[10, 9, 0, 0]), attribute(RTA_VIA, &via), dev(0)];
    assert_eq!(
        seen(&message(V4, 16, 0, UNICAST, &parts)),
        Some((InUseKind::Route, "10.9.0.0/16 via fe80::7 dev eth0".into()))
    );
}

#[test]
fn unknown_attributes_are_skipped() {
    let parts = [attribute(30_000, &[1, 2, 3]), attribute(RTA_DST, &[10, 9, 0, 0]), attribute(22, &[])];
    assert!(read(&message(V4, 22, LINK, UNICAST, &parts)).is_some());
}

#[test]
fn an_interface_address_is_one_address_and_the_peer_is_not_ours() {
    let ask = |index| format!("ppp{index}");
    let header = vec![V4, 22, 0, 0, 3, 0, 0, 0];
    let own = attribute(IFA_LOCAL, &[10, 9, 0, 5]);
    let peer = attribute(IFA_ADDRESS, &[10, 9, 0, 6]);
    let used = address(&[header.clone(), peer, own].concat(), &ask).unwrap();
    assert_eq!(
        (used.prefix.to_string(), used.text.as_str()),
        ("10.9.0.5/32".into(), "address 10.9.0.5/22 on ppp3")
    );
    let loopback = attribute(IFA_LOCAL, &[127, 0, 0, 1]);
    assert_eq!(address(&[header, loopback].concat(), &ask), None);
}

proptest::proptest! {
    #[test]
    fn parsing_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let ask = |index| format!("if{index}");
        let _ = address(&bytes, &ask);
        let _ = route(&bytes, &ask);
        // also as a unicast route of each family, of which every attribute is parsed
        for family in [V4, V6] {
            let _ = route(&message(family, 24, 0, UNICAST, std::slice::from_ref(&bytes)), &ask);
            let _ = route(&message(family, 24, 0, UNICAST, &[attribute(RTA_MULTIPATH, &bytes)]), &ask);
        }
    }
}
