//! The order of dynamic addresses: the holder's own, never used, longest cooled, cooling, pinned, the
//! gateway's slot.
//!
//! Rules R29 to R38.

use gipam::plan::change::{Change, Marks, SubnetState};
use gipam::plan::request::{AddressRequest, Mac};

use crate::desk::*;

/// A /29: .1 is the slot, .2 to .6 are for endpoints.
fn small() -> (Desk, String) {
    let mut desk = Desk::new(pools(&[pool("lan", "10.0.0.0/29:29", "")]));
    let id = desk.subnet(any(V4));
    (desk, id)
}

#[test]
fn p11_an_answer_has_the_length_of_its_subnet() {
    let (mut desk, id) = small();
    assert_eq!(desk.gave(gateway(&id)), "10.0.0.1/29");
    assert_eq!(desk.gave(address(&id)), "10.0.0.2/29");
    assert_eq!(desk.gave(number(&id, "10.0.0.5")), "10.0.0.5/29");
    let six = desk.subnet(exact("2001:db8:7::/64"));
    assert_eq!(desk.gave(address(&six)), "2001:db8:7::2/64");
}

#[test]
fn the_order_is_own_never_used_cooled_cooling_pinned_slot() {
    let (mut desk, id) = small();
    desk.gave(AddressRequest { name: Some("static".into()), ..number(&id, "10.0.0.2") });
    desk.free(&id, "10.0.0.2");
    assert_eq!(desk.host(named(&id, "a")), "10.0.0.3");
    assert_eq!(desk.host(named(&id, "b")), "10.0.0.4");
    desk.free(&id, "10.0.0.3");
    desk.pass(10 * MINUTE);
    desk.free(&id, "10.0.0.4");
    assert_eq!(desk.host(named(&id, "b")), "10.0.0.4", "b gets its own address back, although it is cooling");
    desk.free(&id, "10.0.0.4");
    desk.pass(15_000); // A restarted container would be back by now.
    let expected = [
        ("10.0.0.5", ""),
        ("10.0.0.6", ""),
        ("10.0.0.3", ""),
        ("10.0.0.4", "10.0.0.0/29: 10.0.0.4 is given again while still cooling; nothing else is free"),
        (
            "10.0.0.2",
            "10.0.0.0/29: 10.0.0.2 is given although it is pinned (once requested by number); nothing else is free",
        ),
        (
            "10.0.0.1",
            "10.0.0.0/29: 10.0.0.1 is given although it is the gateway's address; nothing else is free",
        ),
    ];
    for (expected, warning) in expected {
        assert_eq!(desk.host(address(&id)), expected);
        assert_eq!(desk.warnings.concat(), warning);
    }
    assert_eq!(
        desk.gave(address(&id)),
        "no available addresses on this pool: all of 10.0.0.0/29 is leased or reserved (leases: 6); stop containers, or recreate \
         the network with a larger subnet; see: gipam leases --all"
    );
}

#[test]
fn never_network_broadcast_reservation_or_slot() {
    let mut desk = Desk::new(reserve(lan(), &["10.0.0.2", "10.0.0.4-10.0.0.251", "10.9.9.9"]));
    let id = desk.subnet(any(V4));
    let given: Vec<String> = (0..4).map(|_| desk.host(address(&id))).collect();
    assert_eq!(given, ["10.0.0.3", "10.0.0.252", "10.0.0.253", "10.0.0.254"]);
    assert_eq!(desk.host(address(&id)), "10.0.0.1", "the gateway's place comes last");
    assert!(desk.gave(address(&id)).starts_with("no available addresses"));
}

#[test]
fn the_slot_is_the_first_usable_address_that_is_not_reserved() {
    let mut desk = Desk::new(reserve(lan(), &["10.0.0.0/28", "2001:db8::1-2001:db8::f"]));
    let (four, six) = (desk.subnet(any(V4)), desk.subnet(any(V6)));
    assert_eq!(desk.host(address(&four)), "10.0.0.17");
    assert_eq!(desk.host(gateway(&four)), "10.0.0.16");
    assert_eq!(desk.host(address(&six)), "2001:db8::11");
    assert_eq!(desk.host(gateway(&six)), "2001:db8::10");
}

#[test]
fn the_slot_is_the_gateway_that_was_requested() {
    let (mut desk, id) = small();
    desk.gave(AddressRequest { gateway: true, ..number(&id, "10.0.0.6") });
    let given: Vec<String> = (0..5).map(|_| desk.host(address(&id))).collect();
    assert_eq!(given, ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]);
    desk.free(&id, "10.0.0.6");
    assert_eq!(desk.host(gateway(&id)), "10.0.0.6", "that address remains the gateway's place");
}

#[test]
fn p10_dynamic_addresses_come_from_the_range_and_the_gateway_need_not() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(exact("10.9.0.0/24").range("10.9.0.128/30"));
    assert_eq!(desk.host(AddressRequest { gateway: true, ..number(&id, "10.9.0.1") }), "10.9.0.1");
    let given: Vec<String> = (0..4).map(|_| desk.host(address(&id))).collect();
    assert_eq!(given, ["10.9.0.128", "10.9.0.129", "10.9.0.130", "10.9.0.131"]);
    assert_eq!(
        desk.gave(address(&id)),
        "no available addresses on this pool: all of range 10.9.0.128/30 of 10.9.0.0/24 is leased or reserved (leases: 4); \
         stop containers, or recreate the network with a larger --ip-range; see: gipam leases --all"
    );
    assert_eq!(
        desk.host(number(&id, "10.9.0.77")),
        "10.9.0.77",
        "a request by number may lie outside the range"
    );
}

#[test]
fn a_gateway_whose_place_is_taken_gets_another_one_anywhere() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(exact("10.9.0.0/29").range("10.9.0.4/31"));
    assert_eq!(desk.host(named(&id, "a")), "10.9.0.5");
    desk.gave(AddressRequest { name: Some("squatter".into()), ..number(&id, "10.9.0.4") });
    assert_eq!(desk.host(gateway(&id)), "10.9.0.1", "every address of the range was used");
    desk.free(&id, "10.9.0.1");
    for last in [1, 2, 3, 6] {
        desk.gave(AddressRequest {
            name: Some(format!("n{last}").into()),
            ..number(&id, &format!("10.9.0.{last}"))
        });
    }
    assert!(
        desk.gave(gateway(&id)).starts_with("no available addresses"),
        "not the address of n1, which was the gateway's"
    );
    desk.free(&id, "10.9.0.3");
    desk.free(&id, "10.9.0.5");
    let unpinned = desk.host(gateway(&id));
    assert_eq!(unpinned, "10.9.0.5");
}

#[test]
fn own_address_by_name_else_by_mac() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    let mac = |n| AddressRequest { mac: Some(Mac([2, 0, 0, 0, 0, n])), ..address(&id) };
    assert_eq!(
        desk.host(AddressRequest { mac: Some(Mac([2, 0, 0, 0, 0, 1])), ..named(&id, "web") }),
        "10.0.0.2"
    );
    assert_eq!(desk.host(mac(2)), "10.0.0.3");
    desk.free(&id, "10.0.0.2");
    desk.free(&id, "10.0.0.3");
    assert_eq!(
        desk.host(AddressRequest { mac: Some(Mac([2, 0, 0, 0, 0, 7])), ..named(&id, "web") }),
        "10.0.0.2",
        "the name counts first"
    );
    assert_eq!(
        desk.host(AddressRequest { mac: Some(Mac([2, 0, 0, 0, 0, 2])), ..named(&id, "new") }),
        "10.0.0.3",
        "the MAC counts if there is no name"
    );
    assert_eq!(desk.host(mac(9)), "10.0.0.4");
}

#[test]
fn a_renamed_containers_live_lease_is_not_given_to_its_old_names_new_owner() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    assert_eq!(desk.host(named(&id, "web")), "10.0.0.2");
    assert_eq!(desk.host(named(&id, "web")), "10.0.0.3");
}

#[test]
fn own_address_is_lost_if_another_holder_got_it() {
    let (mut desk, id) = small();
    for name in ["a", "b", "c", "d", "e"] {
        desk.gave(named(&id, name));
    }
    desk.free(&id, "10.0.0.2");
    desk.pass(10 * MINUTE);
    assert_eq!(desk.host(named(&id, "new")), "10.0.0.2");
    desk.free(&id, "10.0.0.2");
    desk.free(&id, "10.0.0.3");
    assert_eq!(desk.host(named(&id, "new")), "10.0.0.2");
    assert_eq!(desk.host(named(&id, "a")), "10.0.0.3");
}

#[test]
fn own_address_outside_the_range_or_reserved_is_not_given_dynamically() {
    let mut desk = Desk::new(reserve(lan(), &["10.9.0.7"]));
    let id = desk.subnet(exact("10.9.0.0/24").range("10.9.0.128/25"));
    for asked in ["10.9.0.5", "10.9.0.7"] {
        desk.gave(AddressRequest { name: Some("web".into()), ..number(&id, asked) });
        desk.free(&id, asked);
    }
    assert_eq!(desk.host(named(&id, "web")), "10.9.0.129");
}

#[test]
fn a_reservation_over_a_whole_subnet_has_no_effect_inside_one_requested_by_number() {
    for reserved in ["10.9.0.0/16", "10.9.0.0/29", "10.9.0.1-10.9.0.6"] {
        let mut desk = Desk::new(reserve(lan(), &[reserved]));
        let id = desk.subnet(exact("10.9.0.0/29"));
        let given: Vec<String> = (0..6).map(|_| desk.host(address(&id))).collect();
        assert_eq!(given[..5], ["10.9.0.2", "10.9.0.3", "10.9.0.4", "10.9.0.5", "10.9.0.6"], "{reserved}");
        assert_eq!(given[5], "10.9.0.1", "{reserved}: the gateway's place comes last");
    }
}

#[test]
fn a_reserved_gateways_place_is_not_given_even_as_the_last_address() {
    let mut desk = Desk::new(reserve(lan(), &["10.9.0.6"]));
    let id = desk.subnet(exact("10.9.0.0/29"));
    desk.gave(AddressRequest { gateway: true, ..number(&id, "10.9.0.6") });
    desk.free(&id, "10.9.0.6");
    let given: Vec<String> = (0..5).map(|_| desk.host(address(&id))).collect();
    assert_eq!(given, ["10.9.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.4", "10.9.0.5"]);
    assert!(desk.gave(address(&id)).starts_with("no available addresses"));
    assert_eq!(desk.host(gateway(&id)), "10.9.0.6", "a gateway gets it");
}

/// A subnet as an old lease file contained it, with its counter at `beyond`.
fn taken_over(desk: &mut Desk, text: &str, beyond: u128) -> String {
    let asked = prefix(text);
    let (generation, serial) = desk.plan.counters();
    desk.plan.apply(&Change::SubnetGranted(Box::new(SubnetState {
        serial,
        id: "0123456789abcdef".into(),
        space: gipam::plan::request::Space::Local,
        prefix: asked,
        range: None,
        pool: None,
        options: Default::default(),
        dynamic: true,
        granted_at: desk.now,
        generation,
        start_beyond: Some(asked.first() + beyond),
        marks: Marks { addressed: true, had_endpoint: true, set_up_at: desk.now, ..Marks::default() },
        released_at: None,
        cool_until: 0,
    })));
    "0123456789abcdef".into()
}

#[test]
fn in_a_taken_over_subnet_choice_starts_beyond_its_counter_while_addresses_remain() {
    let mut desk = Desk::new(lan());
    let id = taken_over(&mut desk, "10.9.0.0/24", 252);
    let given: Vec<String> = (0..4).map(|_| desk.host(address(&id))).collect();
    assert_eq!(given, ["10.9.0.253", "10.9.0.254", "10.9.0.2", "10.9.0.3"]);
    for beyond in [254, 255] {
        let mut desk = Desk::new(lan());
        let id = taken_over(&mut desk, "10.9.0.0/24", beyond);
        assert_eq!(desk.host(address(&id)), "10.9.0.2", "no address beyond .{beyond}");
    }
    let six = taken_over(&mut Desk::new(lan()), "2001:db8:9::/64", 66);
    let mut desk = Desk::new(lan());
    taken_over(&mut desk, "2001:db8:9::/64", 66);
    assert_eq!(desk.host(address(&six)), "2001:db8:9::43");
}

#[test]
fn a_taken_over_subnet_counts_as_one_that_had_an_endpoint() {
    let mut desk = Desk::new(lan());
    let id = taken_over(&mut desk, "10.9.0.0/24", 66);
    desk.gave(number(&id, "10.9.0.9"));
    assert_eq!(desk.kind(&id, "10.9.0.9"), gipam::plan::change::Kind::Endpoint);
}
