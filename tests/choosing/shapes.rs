//! Subnets of unusual shape: /31, /32, /127 and /128 completely, a whole /64, and the ends of both families.
//!
//! RFC 3021 (/31), RFC 6164 (/127), RFC 4291 (all-zero host part).

use gipam::plan::request::AddressRequest;
use gipam::plan::settings::Settings;

use crate::desk::*;

#[test]
fn the_smallest_subnets_are_usable_as_their_rfcs_say() {
    for (subnet, gateway_is, endpoints) in [
        ("192.0.2.4/30", "192.0.2.5", vec!["192.0.2.6"]),
        ("192.0.2.4/31", "192.0.2.4", vec!["192.0.2.5"]),
        ("2001:db8::4/126", "2001:db8::5", vec!["2001:db8::6", "2001:db8::7"]),
        ("2001:db8::4/127", "2001:db8::4", vec!["2001:db8::5"]),
    ] {
        let mut desk = Desk::new(lan());
        let id = desk.subnet(exact(subnet));
        assert_eq!(desk.host(gateway(&id)), gateway_is, "{subnet}");
        let mut given = Vec::new();
        while let Some(address) = Some(desk.host(address(&id))).filter(|host| !host.contains(' ')) {
            given.push(address);
        }
        assert_eq!(given, endpoints, "{subnet}");
        let counts = desk.plan.count_addresses(desk.plan.held(&id).unwrap());
        assert_eq!((counts.free, counts.leased), (0, 1 + endpoints.len() as u128), "{subnet}");
    }
}

#[test]
fn without_a_gateway_every_address_is_given() {
    for (subnet, count) in [
        ("192.0.2.4/32", 1),
        ("192.0.2.4/31", 2),
        ("192.0.2.4/30", 2),
        ("2001:db8::/126", 3),
        ("2001:db8::/128", 1),
    ] {
        let mut desk = Desk::new(lan());
        let id = desk.subnet(exact(subnet));
        let given = (0..count + 1).filter(|_| !desk.host(address(&id)).contains(' ')).count();
        assert_eq!(given, count, "{subnet}");
    }
}

#[test]
fn all_of_a_64_is_reachable() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V6));
    let high = "2001:db8::ffff:ffff:ffff:fffe";
    assert_eq!(desk.host(number(&id, high)), high);
    let id = desk.subnet(exact("2001:db8:7::/64").range("2001:db8:7::8000:0:0:0/66"));
    assert_eq!(
        desk.host(address(&id)),
        "2001:db8:7:0:8000::1",
        "the first address after the gateway's place"
    );
    let id = desk.subnet(exact("2001:db8:8::/64").range("2001:db8:8:0:ffff:ffff:ffff:fffe/127"));
    let given: Vec<String> = (0..2).map(|_| desk.host(address(&id))).collect();
    assert_eq!(given, ["2001:db8:8:0:ffff:ffff:ffff:ffff", "2001:db8:8:0:ffff:ffff:ffff:fffe"]);
}

#[test]
fn the_ends_of_both_families_do_not_overflow() {
    let last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let mut desk = Desk::new(lan());
    for (subnet, asked) in
        [("255.255.255.252/30", "255.255.255.254"), ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffc/126", last)]
    {
        let id = desk.subnet(exact(subnet));
        assert_eq!(desk.host(number(&id, asked)), asked);
        while !desk.host(address(&id)).contains(' ') {}
        desk.free(&id, asked);
        assert_eq!(desk.host(address(&id)), asked);
    }
    // The configuration refuses such pools; the arithmetic must still be correct.
    let all = vec![pool("all", "0.0.0.0/0:8", "::/0:1")];
    let mut desk = Desk::new(Settings { pools: all, secret: [7; 32], ..Settings::default() });
    assert_eq!(desk.said(any(V4)), "0.0.0.0/8");
    assert_eq!([desk.said(any(V6)), desk.said(any(V6))], ["::/1", "8000::/1"]);
    let mut desk = Desk::new(lan());
    let id = desk.subnet(exact("::/0"));
    assert_eq!(desk.host(AddressRequest { gateway: true, ..number(&id, last) }), last);
    assert_eq!(desk.host(address(&id)), "::1");
    let counts = desk.plan.count_addresses(desk.plan.held(&id).unwrap());
    assert_eq!((counts.leased, counts.free), (2, u128::MAX - 3));
}

#[test]
fn a_gateway_in_a_subnet_of_one_address_is_refused_because_a_container_could_not_start() {
    for (family, size, prefix) in [(V4, 32, "10.0.0.0/32"), (V6, 128, "2001:db8::/128")] {
        let mut desk = Desk::new(lan());
        let id = desk.subnet(sized(family, size));
        let asked = prefix.rsplit_once('/').unwrap().0;
        let refused = format!(
            "no available addresses on this pool: {prefix} has one address, which the gateway would take; request a larger \
             subnet, or a network without a gateway"
        );
        for request in [gateway(&id), AddressRequest { gateway: true, ..number(&id, asked) }] {
            assert_eq!(desk.gave(request), refused);
        }
        assert_eq!(
            desk.host(address(&id)),
            asked,
            "a network that does not request a gateway gives the address to a container"
        );
    }
}
