//! Orders of IPv6 addresses: next-fit, EUI-64 and stable opaque identifiers, per pool.
//!
//! RFC 4291 appendix A, RFC 7217; `com.docker.network.ipam.serial=true` means next-fit (P24).

use gipam::plan::change::Change;
use gipam::plan::request::{AddressRequest, Mac, Reply, Request};
use gipam::plan::settings::{AddressOrder, PoolSettings, Settings};

use crate::desk::*;

fn desk(addresses: AddressOrder, secret: u8) -> (Desk, String) {
    let mut lan = pool("lan", "10.0.0.0/16:24", "2001:db8::/48:64");
    lan.v6.as_mut().unwrap().addresses = addresses;
    let mut desk =
        Desk::new(Settings { secret: [secret; 32], ..pools(&[PoolSettings { cooling: 0, ..lan }]) });
    let id = desk.subnet(any(V6));
    (desk, id)
}

fn mac(id: &str, last: u8) -> AddressRequest {
    AddressRequest { mac: Some(Mac([0x34, 0x56, 0x78, 0x9a, 0xbc, last])), ..address(id) }
}

#[test]
fn eui64_comes_from_the_mac_and_without_one_is_next_fit() {
    let (mut desk, id) = desk(AddressOrder::Eui64, 1);
    assert_eq!(desk.host(mac(&id, 0xde)), "2001:db8::3656:78ff:fe9a:bcde");
    assert_eq!(desk.host(mac(&id, 0xde)), "2001:db8::2", "the derived address is taken, so next-fit applies");
    assert_eq!(desk.host(named(&id, "web")), "2001:db8::3");
    assert_eq!(desk.host(AddressRequest { serial: true, ..mac(&id, 1) }), "2001:db8::4");
}

#[test]
fn eui64_needs_64_host_bits_and_respects_the_range() {
    for request in [exact("2001:db8:0:1::/65"), exact("2001:db8:0:1::/64").range("2001:db8:0:1::/96")] {
        let (mut desk, _) = desk(AddressOrder::Eui64, 1);
        let id = desk.subnet(request);
        assert_eq!(desk.host(mac(&id, 0xde)), "2001:db8:0:1::2");
    }
}

#[test]
fn stable_is_the_same_for_the_same_holder_subnet_and_secret() {
    let first = |secret, name: &str| {
        let (mut desk, id) = desk(AddressOrder::Stable, secret);
        desk.host(named(&id, name))
    };
    assert_eq!(first(1, "web"), first(1, "web"));
    assert_ne!(first(1, "web"), first(1, "db"));
    assert_ne!(first(1, "web"), first(2, "web"));
    assert!(!first(1, "web").ends_with("::2"));
}

#[test]
fn stable_uses_the_name_else_the_mac_else_next_fit() {
    let (mut desk, id) = desk(AddressOrder::Stable, 1);
    let by_mac = desk.host(mac(&id, 1));
    assert!(by_mac.starts_with("2001:db8::") && by_mac != "2001:db8::2");
    assert_eq!(desk.host(address(&id)), "2001:db8::2");
    assert_eq!(desk.host(AddressRequest { serial: true, ..named(&id, "web") }), "2001:db8::3");
}

#[test]
fn stable_stays_in_the_range_and_ends_when_it_is_full() {
    let (mut desk, _) = desk(AddressOrder::Stable, 1);
    let id = desk.subnet(exact("2001:db8:0:9::/64").range("2001:db8:0:9::ff00/126"));
    let mut given: Vec<String> = (0..4).map(|n| desk.host(named(&id, &format!("n{n}")))).collect();
    given.sort();
    assert_eq!(
        given,
        ["2001:db8:0:9::ff00", "2001:db8:0:9::ff01", "2001:db8:0:9::ff02", "2001:db8:0:9::ff03"]
    );
    assert!(desk.gave(named(&id, "late")).starts_with("no available addresses"));
}

#[test]
fn orders_apply_only_to_ipv6_and_own_addresses_come_before_them() {
    let (mut desk, id) = desk(AddressOrder::Stable, 1);
    let four = desk.subnet(any(V4));
    assert_eq!(desk.host(named(&four, "web")), "10.0.0.2");
    let given = desk.host(AddressRequest { name: Some("web".into()), ..number(&id, "2001:db8::77") });
    desk.free(&id, &given);
    assert_eq!(desk.host(named(&id, "web")), "2001:db8::77");
}

#[test]
fn serial_in_the_options_of_a_subnet_means_next_fit_too() {
    let (mut desk, _) = desk(AddressOrder::Stable, 1);
    let asked = any(V6).option("com.docker.network.ipam.serial", "true");
    let Ok(Reply::Subnet { id, .. }) = desk.ask(Request::Subnet(asked)) else { panic!() };
    assert_eq!(desk.host(named(&id, "web")), "2001:db8:0:1::2");
}

#[test]
fn derived_addresses_of_a_taken_over_subnet_also_lie_beyond_its_counter() {
    let (mut desk, id) = desk(AddressOrder::Stable, 1);
    let mut state = desk.plan.held(&id).unwrap().state.clone();
    state.range = Some(prefix("2001:db8::/124"));
    state.start_beyond = Some(state.prefix.first() + 11);
    desk.plan.apply(&Change::SubnetGranted(Box::new(state)));
    let mut given: Vec<String> = (0..4).map(|n| desk.host(named(&id, &format!("n{n}")))).collect();
    given.sort();
    assert_eq!(given, ["2001:db8::c", "2001:db8::d", "2001:db8::e", "2001:db8::f"]);
    assert_ne!(
        desk.host(named(&id, "late")),
        "2001:db8::1",
        "beyond the counter nothing is free, so any address of the range"
    );
}
