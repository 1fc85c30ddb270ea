//! Requests by number: subnets inside and outside pools, addresses, gateways, auxiliary addresses, and kinds.
//!
//! Rules R22 to R24 and R40 to R43.

use gipam::plan::change::Kind;
use gipam::plan::request::{AddressRequest, Mac};

use crate::desk::*;

#[test]
fn a_requested_subnet_lies_inside_or_outside_the_pools_and_its_host_bits_are_masked() {
    for (asked, expected) in [
        ("10.0.7.0/24", "10.0.7.0/24"),
        ("10.0.7.77/24", "10.0.7.0/24"),
        ("192.0.2.0/28", "192.0.2.0/28"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("2001:db8:ffff::1/112", "2001:db8:ffff::/112"),
        ("192.0.2.7/32", "192.0.2.7/32"),
    ] {
        assert_eq!(Desk::new(lan()).said(exact(asked)), expected);
    }
}

#[test]
fn p19_a_second_request_for_a_held_subnet_is_refused_and_the_first_one_named() {
    let mut desk = Desk::new(lan());
    desk.subnet(exact("10.0.7.0/24"));
    for asked in ["10.0.7.0/24", "10.0.7.128/25", "10.0.0.0/16"] {
        assert_eq!(
            desk.said(exact(asked)),
            format!(
                "pool overlaps with other one on this address space: {asked} overlaps 10.0.7.0/24, granted to a network in \
                 space local since 2027-01-15T08:00:00Z; use another subnet, or find its network with: docker network \
                 inspect; if none has it: gipam release 10.0.7.0/24 --force"
            )
        );
    }
    assert_eq!(desk.said(exact("10.0.8.0/24")), "10.0.8.0/24");
}

#[test]
fn a_dynamic_subnet_keeps_away_from_requested_ones() {
    let mut desk = Desk::new(lan());
    desk.subnet(exact("10.0.0.64/26"));
    assert_eq!(desk.said(any(V4)), "10.0.1.0/24");
    assert_eq!(desk.said(sized(V4, 26)), "10.0.0.0/26", "best fit: the subnet next to the requested one");
    let mut desk = Desk::new(lan());
    desk.subnet(exact("10.0.0.0/8"));
    assert!(
        desk.said(any(V4)).starts_with("no available pool"),
        "the requested subnet covers the whole pool"
    );
}

#[test]
fn a_sub_pool_needs_a_pool_and_lies_inside_it() {
    for (request, expected) in [
        (any(V4).range("10.0.0.0/25"), "invalid address sub-pool: 10.0.0.0/25 also needs --subnet PREFIX"),
        (
            exact("10.9.0.0/24").range("10.9.1.0/25"),
            "invalid address sub-pool: 10.9.1.0/25 does not lie in 10.9.0.0/24; choose an --ip-range inside the --subnet",
        ),
        (
            exact("10.9.0.0/24").range("10.9.0.0/23"),
            "invalid address sub-pool: 10.9.0.0/23 does not lie in 10.9.0.0/24; choose an --ip-range inside the --subnet",
        ),
        (
            exact("10.9.0.0/24").range("2001:db8::/80"),
            "invalid address sub-pool: 2001:db8::/80 does not lie in 10.9.0.0/24; choose an --ip-range inside the --subnet",
        ),
        (
            sized(V4, 25).range("10.0.0.0/26"),
            "invalid address sub-pool: 10.0.0.0/26 also needs --subnet PREFIX: a prefix, not only a \
             size",
        ),
        (exact("10.9.0.0/24").range("10.9.0.0/24"), "10.9.0.0/24"),
    ] {
        assert_eq!(Desk::new(lan()).said(request), expected);
    }
}

#[test]
fn overlap_true_grants_a_second_separate_copy_on_purpose() {
    let mut desk = Desk::new(lan());
    let first = desk.subnet(exact("10.9.0.0/24"));
    let copy = desk.subnet(exact("10.9.0.0/24").option("overlap", "true"));
    assert_ne!(first, copy);
    for id in [&first, &copy] {
        assert_eq!(desk.host(number(id, "10.9.0.9")), "10.9.0.9");
    }
    assert!(
        desk.said(exact("10.9.0.0/24")).contains(&format!("gipam release {first} --force")),
        "the command now names the PoolID"
    );
    assert_eq!(
        desk.force("10.9.0.0/24", None),
        format!("invalid request: 10.9.0.0/24 names several subnets; name one by PoolID: {first}, {copy}")
    );
    desk.release(&copy);
    assert!(desk.plan.held(&first).is_some());
    assert_eq!(desk.force("10.9.0.0/24", None), "Done");
}

#[test]
fn requested_addresses_may_be_anywhere_in_the_subnet_except_those_never_given() {
    let mut desk = Desk::new(reserve(lan(), &["10.9.0.5"]));
    let id = desk.subnet(exact("10.9.0.0/24").range("10.9.0.128/25"));
    for (asked, expected) in [
        ("10.9.0.5", "10.9.0.5/24"), // reserved
        ("10.9.0.1", "10.9.0.1/24"), // the slot
        ("10.9.0.77", "10.9.0.77/24"),
        (
            "10.9.0.0",
            "requested address is out of range: 10.9.0.0 is the network address of 10.9.0.0/24; choose another one",
        ),
        (
            "10.9.0.255",
            "requested address is out of range: 10.9.0.255 is the broadcast address of 10.9.0.0/24; choose another one",
        ),
        (
            "10.9.1.1",
            "requested address is out of range: 10.9.1.1 is outside 10.9.0.0/24; choose an address of that subnet",
        ),
        (
            "2001:db8::1",
            "requested address is out of range: 2001:db8::1 is outside 10.9.0.0/24; choose an address of that subnet",
        ),
    ] {
        assert_eq!(desk.gave(number(&id, asked)), expected);
    }
    let six = desk.subnet(exact("2001:db8:9::/64"));
    assert_eq!(
        desk.gave(number(&six, "2001:db8:9::")),
        "requested address is out of range: 2001:db8:9:: is the subnet-router anycast address of 2001:db8:9::/64; choose another one"
    );
    assert_eq!(
        desk.host(number(&six, "2001:db8:9::ffff:ffff:ffff:ffff")),
        "2001:db8:9:0:ffff:ffff:ffff:ffff"
    );
}

#[test]
fn cooling_and_pins_do_not_affect_a_request_by_number() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    for name in ["a", "b"] {
        assert_eq!(
            desk.host(AddressRequest { name: Some(name.into()), ..number(&id, "10.0.0.9") }),
            "10.0.0.9"
        );
        desk.free(&id, "10.0.0.9");
    }
}

#[test]
fn a_leased_address_is_refused_naming_holder_and_command() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    desk.gave(gateway(&id));
    desk.gave(number(&id, "10.0.0.5"));
    desk.gave(named(&id, "web"));
    desk.gave(AddressRequest { mac: Some(Mac([2, 0x42, 0, 0, 0, 9])), ..address(&id) });
    desk.gave(address(&id));
    let late = |desk: &mut Desk, asked: &str| {
        desk.gave(AddressRequest { name: Some("late".into()), ..number(&id, asked) })
    };
    let inspect = "find its container with: docker network inspect; if none has it";
    for (asked, holder, remedy) in [
        ("10.0.0.1", "the gateway", None),
        ("10.0.0.5", "an endpoint without a name since 2027-01-15T08:00:00Z", Some(inspect)),
        (
            "10.0.0.2",
            "container web",
            Some("free it with: docker rm -f web; if that container does not exist"),
        ),
        ("10.0.0.3", "an endpoint with MAC 02:42:00:00:00:09", Some(inspect)),
        ("10.0.0.4", "an endpoint without a name since 2027-01-15T08:00:00Z", Some(inspect)),
    ] {
        let remedy = match remedy {
            Some(remedy) => format!("{remedy}: gipam release 10.0.0.0/24 {asked} --force"),
            None => "choose another address".to_owned(),
        };
        let expected = format!("address already in use: {asked} is held by {holder}; {remedy}");
        assert_eq!(late(&mut desk, asked), expected);
    }
    assert_eq!(desk.force("10.0.0.0/24", Some("10.0.0.2")), "Done");
    assert_eq!(late(&mut desk, "10.0.0.2"), "10.0.0.2/24");
}

#[test]
fn the_kind_is_gateway_by_type_else_endpoint_at_any_time() {
    for wait in [0, 10_000, 10_001, 90_000] {
        let mut desk = Desk::new(lan());
        let id = desk.subnet(any(V4));
        desk.pass(wait);
        desk.gave(number(&id, "10.0.0.9"));
        assert_eq!(desk.kind(&id, "10.0.0.9"), Kind::Endpoint, "{wait} ms after the grant");
        assert!(desk.record(&id, "10.0.0.9").unwrap().asked_by_number, "{wait}");
    }
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    desk.gave(AddressRequest { gateway: true, ..number(&id, "10.0.0.254") });
    assert_eq!(desk.kind(&id, "10.0.0.254"), Kind::Gateway);
    desk.gave(AddressRequest { mac: Some(Mac([2; 6])), ..number(&id, "10.0.0.9") });
    assert_eq!(desk.kind(&id, "10.0.0.9"), Kind::Endpoint, "the request has a MAC");
}

#[test]
fn a_second_gateway_request_without_an_address_changes_nothing() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    assert_eq!(desk.gave(gateway(&id)), "10.0.0.1/24");
    let again = gipam::plan::request::Request::Address(gateway(&id));
    assert!(desk.decide(&again).changes.is_empty());
    assert_eq!(desk.gave(gateway(&id)), "10.0.0.1/24");
    assert!(
        desk.gave(AddressRequest { gateway: true, ..number(&id, "10.0.0.1") })
            .starts_with("address already in use")
    );
}

#[test]
fn one_auxiliary_request_for_the_gateways_address_succeeds_and_so_do_both_releases() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    desk.gave(AddressRequest { gateway: true, ..number(&id, "10.0.0.5") });
    assert_eq!(desk.gave(number(&id, "10.0.0.5")), "10.0.0.5/24");
    assert_eq!(desk.kind(&id, "10.0.0.5"), Kind::Gateway);
    assert!(
        desk.gave(number(&id, "10.0.0.5"))
            .starts_with("address already in use: 10.0.0.5 is held by the gateway")
    );
    desk.free(&id, "10.0.0.5");
    desk.free(&id, "10.0.0.5");
}

#[test]
fn a_request_under_an_id_without_a_grant_is_refused_with_the_remedy() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    desk.release(&id);
    assert_eq!(
        desk.gave(address(&id)),
        format!(
            "address pool not found: no subnet is granted under PoolID \"{id}\"; if its network still exists, gipam gc shows how to adopt it, or recreate the network"
        )
    );
}

#[test]
fn two_sizes_are_refused_unless_they_are_the_same() {
    for (family, size, option, other) in [(V4, 26, "v4.size", "28"), (V6, 80, "v6.size", "/72")] {
        let asked = sized(family, size).option(option, other);
        let other = other.trim_start_matches('/');
        let expected = format!(
            "invalid request: the request has two sizes, /{size} (--subnet) and /{other} ({option}); give one of them"
        );
        assert_eq!(Desk::new(lan()).said(asked), expected);
        let same = sized(family, size).option(option, &size.to_string());
        assert!(Desk::new(lan()).said(same).ends_with(&format!("/{size}")));
    }
    assert_eq!(
        Desk::new(lan()).said(sized(V4, 26).option("v6.size", "80")),
        "10.0.0.0/26",
        "the option map goes to both families"
    );
}
