//! Subnets that share a prefix, each with its own range, and what a range implies for the gateway (R23, R30,
//! P31).
//!
//! Docker's own driver allows this; two macvlan networks on one LAN need it.

use gipam::plan::change::Kind;
use gipam::plan::pins::{Holder, PinRequest};
use gipam::plan::request::{AddressRequest, Dead, Fence, Mac, Repair, Request, ShownLease};
use gipam::plan::settings::AddressOrder;

use crate::desk::*;

fn by_number(id: &str, text: &str, gateway: bool) -> AddressRequest {
    AddressRequest { gateway, name: (!gateway).then(|| "c".into()), ..number(id, text) }
}

#[test]
fn p31_with_a_range_and_no_gateway_the_gateway_is_the_first_address_of_the_range() {
    for (subnet, range, expected) in [
        ("10.9.0.0/24", "10.9.0.128/25", "10.9.0.128"),
        ("10.9.0.0/24", "10.9.0.0/25", "10.9.0.1"), // not the network address
        ("10.9.0.0/24", "10.9.0.0/24", "10.9.0.1"),
        ("10.9.0.0/24", "10.9.0.77/32", "10.9.0.77"),
        ("10.9.0.0/24", "10.9.0.0/32", "10.9.0.1"), // the range has no usable address
        ("10.9.0.0/24", "10.9.0.254/31", "10.9.0.254"),
        ("10.9.0.0/24", "10.9.0.16/28", "10.9.0.20"), // reserved below
        ("10.9.0.0/24", "10.9.0.16/30", "10.9.0.1"),  // all of the range is reserved
        ("2001:db8:9::/64", "2001:db8:9::8000:0:0:0/66", "2001:db8:9:0:8000::"),
        ("2001:db8:9::/64", "2001:db8:9::/66", "2001:db8:9::1"),
        ("2001:db8:9::/64", "2001:db8:9::77/128", "2001:db8:9::77"),
    ] {
        let mut desk = Desk::new(reserve(lan(), &["10.9.0.16-10.9.0.19"]));
        let id = desk.subnet(exact(subnet).range(range));
        assert_eq!(desk.host(gateway(&id)), expected, "{range}");
        let free = if subnet.contains(':') { "2001:db8:9::1" } else { "10.9.0.1" };
        if free != expected {
            assert_eq!(desk.host(by_number(&id, free, false)), free, "{range}: .1 is an ordinary address");
        }
    }
}

#[test]
fn p31_the_first_of_the_range_is_the_gateways_place_even_if_it_is_not_requested() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(exact("10.9.0.0/24").range("10.9.0.128/30"));
    let given: Vec<String> = (0..4).map(|_| desk.host(address(&id))).collect();
    assert_eq!(
        given,
        ["10.9.0.129", "10.9.0.130", "10.9.0.131", "10.9.0.128"],
        "the gateway's place comes last"
    );
}

#[test]
fn p31_a_range_without_addresses_for_containers_is_reported_at_creation_and_at_a_start() {
    let filled = "recreate the network with a larger --ip-range, or with a --gateway outside it, or start containers with --ip";
    for (subnet, range, gateway_at, why) in [
        ("10.9.0.0/24", "10.9.0.77/32", "10.9.0.77", "only the gateway's, 10.9.0.77"),
        ("10.9.0.0/24", "10.9.0.0/31", "10.9.0.1", "only the gateway's, 10.9.0.1"), // .0 is the network address
        ("10.9.0.0/24", "10.9.0.20/30", "10.9.0.23", "only the gateway's, 10.9.0.23"), // the others are reserved
        ("10.9.0.0/24", "10.9.0.16/30", "10.9.0.1", "none"),
        ("10.9.0.0/24", "10.9.0.0/32", "10.9.0.1", "none"),
        ("2001:db8:9::/64", "2001:db8:9::77/128", "2001:db8:9::77", "only the gateway's, 2001:db8:9::77"),
    ] {
        let mut desk = Desk::new(reserve(lan(), &["10.9.0.16-10.9.0.22"]));
        let id = desk.subnet(exact(subnet).range(range));
        assert_eq!(desk.host(gateway(&id)), gateway_at, "Docker's own driver chooses the same gateway");
        let left = if why == "none" { "since all are reserved or never given" } else { why };
        let next = if why == "none" {
            filled.replace(", or with a --gateway outside it", "")
        } else {
            filled.to_owned()
        };
        let expected = format!("range {range} of {subnet} has no address for containers, {left}; {next}");
        assert_eq!(desk.warnings, std::slice::from_ref(&expected), "in the log, when the network is created");
        assert_eq!(desk.gave(address(&id)), format!("no available addresses on this pool: {expected}"));
        let outside = if subnet.contains(':') { "2001:db8:9::9" } else { "10.9.0.9" };
        assert_eq!(desk.host(by_number(&id, outside, false)), outside, "containers with --ip can use it");
    }
    for (subnet, range, router) in [
        ("10.9.0.0/24", "10.9.0.76/31", None),
        ("10.9.0.0/24", "10.9.0.77/32", Some("10.9.0.1")),
        ("2001:db8:9::/64", "2001:db8:9::77/128", Some("2001:db8:9::1")),
    ] {
        let mut desk = Desk::new(lan());
        let id = desk.subnet(exact(subnet).range(range));
        desk.host(router.map_or_else(|| gateway(&id), |at| by_number(&id, at, true)));
        assert_eq!(desk.warnings, Vec::<String>::new(), "{range} has room");
        assert!(desk.host(address(&id)).parse::<std::net::IpAddr>().is_ok(), "{range} has room");
        let said = desk.gave(address(&id));
        assert!(said.contains("is leased or reserved") && said.contains("stop containers"), "{said}");
        assert!(said.contains("recreate the network with a larger --ip-range;"), "{said}");
    }
}

/// Two subnets that share the LAN, each with a quarter of it as its range.
fn pair(desk: &mut Desk) -> (String, String) {
    let first = desk.subnet(exact("10.77.0.0/24").range("10.77.0.64/26"));
    let second = desk.subnet(exact("10.77.0.0/24").range("10.77.0.128/26"));
    (first, second)
}

#[test]
fn p31_two_subnets_of_one_prefix_are_granted_where_their_ranges_are_disjoint() {
    for (first, second, granted) in [
        (Some("10.77.0.64/26"), Some("10.77.0.128/26"), true),
        (Some("10.77.0.64/26"), Some("10.77.0.64/26"), false),
        (Some("10.77.0.64/26"), Some("10.77.0.96/27"), false),
        (Some("10.77.0.64/26"), None, false),
        (None, Some("10.77.0.64/26"), false),
    ] {
        let ask = |range: Option<&str>| {
            range.map_or_else(|| exact("10.77.0.0/24"), |range| exact("10.77.0.0/24").range(range))
        };
        let mut desk = Desk::new(lan());
        desk.subnet(ask(first));
        let said = desk.said(ask(second));
        assert_eq!(said == "10.77.0.0/24", granted, "{first:?} {second:?}: {said}");
    }
    let mut desk = Desk::new(lan());
    pair(&mut desk);
    for other in ["10.77.0.0/25", "10.77.0.0/23"] {
        let said = desk.said(exact(other).range("10.77.0.0/27"));
        assert!(said.starts_with("pool overlaps"), "another prefix: {said}");
    }
    let copy = exact("10.77.0.0/24").range("10.77.0.0/27").option("overlap", "true");
    desk.subnet(copy);
    let said = desk.said(exact("10.77.0.0/24").range("10.77.0.192/27"));
    assert!(said.starts_with("pool overlaps"), "a copy was made on purpose: {said}");
}

#[test]
fn unique_over_both_dynamic_by_number_and_gateways() {
    let mut desk = Desk::new(lan());
    let (first, second) = pair(&mut desk);
    assert_eq!([desk.host(gateway(&first)), desk.host(gateway(&second))], ["10.77.0.64", "10.77.0.128"]);
    // An address by number in the other subnet's range, and one outside both ranges.
    assert_eq!(desk.host(by_number(&first, "10.77.0.129", false)), "10.77.0.129");
    assert_eq!(desk.host(by_number(&first, "10.77.0.5", false)), "10.77.0.5");
    assert_eq!(desk.host(address(&second)), "10.77.0.130", "the other network's address is not given");
    for taken in ["10.77.0.129", "10.77.0.5", "10.77.0.64"] {
        for as_gateway in [false, true].into_iter().filter(|gateway| !gateway || taken != "10.77.0.64") {
            let said = desk.gave(by_number(&second, taken, as_gateway));
            assert!(said.starts_with(&format!("address already in use: {taken} is held by ")), "{said}");
            let named = said.contains(&first) || said.ends_with("choose another address");
            assert!(named, "the message names the other network by PoolID: {said}");
        }
    }
    desk.free(&first, "10.77.0.129");
    assert_eq!(
        desk.host(by_number(&second, "10.77.0.129", false)),
        "10.77.0.129",
        "the address is free again"
    );
}

#[test]
fn a_router_is_the_gateway_of_both_and_a_release_in_one_does_not_affect_the_other() {
    let mut desk = Desk::new(lan());
    let (first, second) = pair(&mut desk);
    for id in [&first, &second] {
        assert_eq!(desk.host(by_number(id, "10.77.0.1", true)), "10.77.0.1");
    }
    let web = desk.host(address(&first));
    desk.free(&second, "10.77.0.1");
    desk.release(&second);
    assert!(desk.record(&first, "10.77.0.1").unwrap().leased && desk.record(&first, &web).unwrap().leased);
    let second = desk.subnet(exact("10.77.0.0/24").range("10.77.0.128/26"));
    let said = desk.gave(by_number(&second, "10.77.0.1", false));
    assert!(said.starts_with("address already in use: 10.77.0.1 is held by the gateway"), "{said}");
}

#[test]
fn each_network_keeps_its_own_memory() {
    let mut desk = Desk::new(lan());
    let (first, second) = pair(&mut desk);
    for (id, name) in [(&first, "other"), (&first, "web"), (&second, "other"), (&second, "db")] {
        desk.gave(named(id, name));
    }
    desk.release(&first);
    desk.release(&second);
    let second = desk.subnet(exact("10.77.0.0/24").range("10.77.0.128/26"));
    let first = desk.subnet(exact("10.77.0.0/24").range("10.77.0.64/26"));
    assert_eq!(desk.host(named(&first, "web")), "10.77.0.66");
    assert_eq!(desk.host(named(&second, "db")), "10.77.0.130");
    assert_eq!(desk.plan.subnets().count(), 2);
}

#[test]
fn a_pin_by_hand_applies_in_the_subnet_whose_range_contains_it() {
    let mut desk = Desk::new(lan());
    let (first, second) = pair(&mut desk);
    let pin = |subnet: &str, text: &str| PinRequest {
        holder: Holder::Name("web".into()),
        address: ip(text),
        subnet: Some(subnet.to_owned()),
    };
    let pinned = desk.plan.pin(&pin(&first, "10.77.0.70"), &Dead::default()).unwrap();
    for change in &pinned.changes {
        desk.plan.apply(change);
    }
    assert_eq!(desk.host(named(&second, "web")), "10.77.0.129");
    assert_eq!(desk.host(named(&first, "web")), "10.77.0.70");
    desk.host(by_number(&second, "10.77.0.71", false));
    let refused = desk.plan.pin(&pin(&first, "10.77.0.71"), &Dead::default()).unwrap_err().to_string();
    assert!(refused.starts_with("address already in use: 10.77.0.71 is held by c"), "{refused}");
}

#[test]
fn unique_an_address_that_the_other_network_has_is_not_given_as_the_holders_own() {
    let mut desk = Desk::new(lan());
    let (first, second) = pair(&mut desk);
    let made_up = |n: u8| AddressRequest { mac: Some(Mac([2, 0x42, 0, 0, 0, n])), ..address(&first) };
    let (web, anonymous) = (desk.host(named(&first, "web")), desk.host(made_up(1)));
    for taken in [&web, &anonymous] {
        desk.free(&first, taken);
        assert_eq!(&desk.host(by_number(&second, taken, false)), taken);
    }
    assert_ne!(
        desk.host(named(&first, "web")),
        web,
        "the address of this name is leased in the other network"
    );
    assert_ne!(
        desk.host(made_up(2)),
        anonymous,
        "the address that was just released is leased in the other network"
    );
}

#[test]
fn unique_a_gateway_gets_another_address_if_the_other_network_has_its_place() {
    let mut desk = Desk::new(lan());
    let (first, second) = pair(&mut desk);
    assert_eq!(desk.host(by_number(&first, "10.77.0.128", false)), "10.77.0.128");
    assert_eq!(desk.host(gateway(&second)), "10.77.0.129");
}

#[test]
fn unique_a_pin_never_gives_an_address_that_the_other_network_has() {
    let mut desk = Desk::new(lan());
    let first = desk.subnet(exact("10.77.0.0/24").range("10.77.0.64/30"));
    let second = desk.subnet(exact("10.77.0.0/24").range("10.77.0.128/26"));
    let wanted = PinRequest {
        holder: Holder::Name("web".into()),
        address: ip("10.77.0.66"),
        subnet: Some(first.clone()),
    };
    for change in desk.plan.pin(&wanted, &Dead::default()).unwrap().changes {
        desk.plan.apply(&change);
    }
    assert_eq!(desk.host(by_number(&second, "10.77.0.66", false)), "10.77.0.66");
    let others: Vec<String> = ["web", "a", "b"].map(|name| desk.host(named(&first, name))).into();
    assert_eq!(others, ["10.77.0.65", "10.77.0.67", "10.77.0.64"]);
    let said = desk.gave(named(&first, "c"));
    assert!(
        said.starts_with("no available addresses"),
        "it is not given even as the last free address: {said}"
    );
}

#[test]
fn unique_an_address_derived_from_a_mac_or_a_secret_is_not_one_that_the_other_network_has() {
    let (card, made) = (Mac([2, 0x42, 0, 0, 0, 7]), "2001:db8::42:ff:fe00:7");
    for order in [AddressOrder::Eui64, AddressOrder::Stable] {
        let mut lan = pool("lan", "", "2001:db8::/48:64");
        lan.v6.as_mut().unwrap().addresses = order;
        let ask = |desk: &mut Desk, range: &str| desk.subnet(exact("2001:db8::/64").range(range));
        let request = |id: &str| AddressRequest { name: Some("web".into()), mac: Some(card), ..address(id) };
        let mut alone = Desk::new(pools(std::slice::from_ref(&lan)));
        let first = ask(&mut alone, "2001:db8::/66");
        let expected = alone.host(request(&first));
        assert!(order == AddressOrder::Stable || expected == made, "{expected}");
        let mut desk = Desk::new(pools(&[lan]));
        let (first, second) = (ask(&mut desk, "2001:db8::/66"), ask(&mut desk, "2001:db8:0:0:8000::/66"));
        assert_eq!(desk.host(by_number(&second, &expected, false)), expected);
        assert_ne!(desk.host(request(&first)), expected, "{order:?}");
    }
}

#[test]
fn unique_an_address_that_the_other_network_has_is_not_adopted() {
    let mut desk = Desk::new(lan());
    let (first, second) = pair(&mut desk);
    desk.host(by_number(&second, "10.77.0.70", false));
    let serial = desk.plan.held(&first).unwrap().state.serial;
    for (text, adopted) in [("10.77.0.70", false), ("10.77.0.71", true)] {
        let (address, evidence) = (gipam::plan::prefix::number(ip(text)), "seen".into());
        let (kind, mac, name) = (Kind::Endpoint, None, Some("web".into()));
        let read = Fence { generation: desk.plan.counters().0, at: desk.now };
        let wish = Repair::Adopt { serial, lease: ShownLease { address, kind, name, mac, evidence }, read };
        desk.ask(Request::Repair(Box::new(wish))).unwrap();
        assert_eq!(desk.record(&first, text).is_some_and(|record| record.leased), adopted, "{text}");
    }
}
