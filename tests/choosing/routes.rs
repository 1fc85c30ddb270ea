//! Subnets that Docker would refuse are not offered (P12): addresses, nameservers, on-link routes, routes
//! inside the pool.
//!
//! Rules R16 to R18.

use gipam::plan::request::InUseKind::{InterfaceAddress, Nameserver, OnLinkV4Route, Route};

use crate::desk::*;

fn desk() -> Desk {
    Desk::new(pools(&[pool("lan", "10.0.0.0/16:24", "2001:db8::/62:64")]))
}

#[test]
fn p12_subnets_that_overlap_prefixes_of_the_host_are_skipped() {
    for (kind, used, expected) in [
        (InterfaceAddress, "10.0.0.5/32", "10.0.1.0/24"),
        (Nameserver, "10.0.0.53/32", "10.0.1.0/24"),
        (OnLinkV4Route, "10.0.0.0/22", "10.0.4.0/24"),
        (Route, "10.0.0.0/23", "10.0.2.0/24"),
        (Route, "10.0.1.0/24", "10.0.0.0/24"),
        (Route, "10.0.0.128/25", "10.0.1.0/24"),
        (InterfaceAddress, "192.0.2.1/32", "10.0.0.0/24"),
    ] {
        assert_eq!(desk().said(any(V4).seeing(kind, &[used])), expected, "{kind:?} {used}");
    }
    for (kind, used, expected) in [
        (InterfaceAddress, "2001:db8::1/128", "2001:db8:0:1::/64"),
        (Nameserver, "2001:db8::53/128", "2001:db8:0:1::/64"),
        (Route, "2001:db8::/63", "2001:db8:0:2::/64"),
    ] {
        assert_eq!(desk().said(any(V6).seeing(kind, &[used])), expected, "{kind:?} {used}");
    }
}

#[test]
fn p12_a_route_that_contains_the_whole_pool_does_not_count() {
    for used in ["10.0.0.0/16", "10.0.0.0/8", "0.0.0.0/1"] {
        assert_eq!(desk().said(any(V4).seeing(Route, &[used])), "10.0.0.0/24", "{used}");
    }
    for used in ["2001:db8::/62", "2001:db8::/32"] {
        assert_eq!(desk().said(any(V6).seeing(Route, &[used])), "2001:db8::/64", "{used}");
    }
}

#[test]
fn p12_an_on_link_route_over_a_whole_pool_makes_it_full_and_the_error_names_it() {
    for used in ["10.0.0.0/16", "10.0.0.0/8"] {
        let said = desk().said(any(V4).seeing(OnLinkV4Route, &[used]));
        let expected = format!(
            "no available pool: no free IPv4 subnet: pool lan (10.0.0.0/16) lies in the on-link route {used} dev eth0, so \
             Docker would refuse all of it; remove unused networks (gipam subnets shows them), request a smaller size, or add a pool"
        );
        assert_eq!(said, expected);
    }
    let mut two = Desk::new(pools(&[pool("lan", "10.0.0.0/16:24", ""), pool("dmz", "192.0.2.0/24:28", "")]));
    assert_eq!(
        two.said(any(V4).seeing(OnLinkV4Route, &["10.0.0.0/8"])),
        "192.0.2.0/28",
        "the other pool still gives a subnet"
    );
}

#[test]
fn an_address_or_nameserver_counts_even_if_it_is_the_whole_pool() {
    let mut desk = Desk::new(pools(&[pool("one", "10.0.0.0/32:32", "")]));
    for kind in [InterfaceAddress, Nameserver] {
        assert!(
            desk.said(any(V4).seeing(kind, &["10.0.0.0/32"])).starts_with("no available pool"),
            "{kind:?}"
        );
    }
}

#[test]
fn a_full_pool_names_the_prefixes_that_the_host_uses_in_it() {
    let mut desk = Desk::new(pools(&[pool("lan", "10.0.0.0/23:24", "")]));
    let ours = desk.subnet(any(V4));
    assert_eq!(ours, "local/10.0.0.0/24#0000000000000001");
    let said = desk.said(any(V4).seeing(OnLinkV4Route, &["10.0.0.0/24", "10.0.1.0/25"]));
    assert!(said.contains("(subnets held: 1, in use here: 10.0.1.0/25 dev eth0)"), "{said}");
}

#[test]
fn explicit_requests_ignore_routes() {
    assert_eq!(desk().said(exact("10.0.0.0/24").seeing(OnLinkV4Route, &["10.0.0.0/8"])), "10.0.0.0/24");
}

#[test]
fn a_key_does_not_return_a_subnet_that_docker_refuses() {
    let mut desk = desk();
    let id = desk.subnet(any(V4).option("key", "blog"));
    desk.release(&id);
    assert_eq!(
        desk.said(any(V4).option("key", "blog").seeing(OnLinkV4Route, &["10.0.0.0/25"])),
        "10.0.1.0/24"
    );
}

#[test]
fn p12_skipping_many_routes_terminates() {
    let all: Vec<String> = (0..256).map(|n| format!("10.0.{n}.77/32")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    assert_eq!(desk().said(any(V4).seeing(InterfaceAddress, &all[..255])), "10.0.255.0/24");
    assert!(desk().said(any(V4).seeing(InterfaceAddress, &all)).starts_with("no available pool"));
}
