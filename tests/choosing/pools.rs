//! Which pool and which size: open pools in order, requested names and sizes, best fit and coalescing.
//!
//! Rules R9 to R15.

use gipam::plan::prefix::AddressRange;
use gipam::plan::settings::{PoolSettings, Settings};

use crate::desk::*;

fn three() -> Desk {
    Desk::new(pools(&[
        pool("a", "192.0.2.0/29:30", "2001:db8:a::/126:127"),
        pool("b", "198.51.100.0/29:30", ""),
        pool("c", "", "2001:db8:c::/64:80"),
    ]))
}

#[test]
fn pools_open_to_the_driver_come_in_order_with_spill_over() {
    let mut desk = three();
    let order: Vec<String> = (0..4).map(|_| desk.said(any(V4).from(&["b", "a"]))).collect();
    assert_eq!(order, ["198.51.100.0/30", "198.51.100.4/30", "192.0.2.0/30", "192.0.2.4/30"]);
    assert_eq!(desk.said(any(V6).from(&["b", "c"])), "2001:db8:c::/80");
}

#[test]
fn a_driver_without_a_list_has_all_pools() {
    let mut desk = three();
    assert_eq!(desk.said(any(V4)), "192.0.2.0/30");
}

#[test]
fn a_named_pool_applies_to_the_families_that_it_has() {
    for (option, family, expected) in [
        ("b", V4, "198.51.100.0/30"),
        ("b,a", V4, "198.51.100.0/30"),
        ("b,a", V6, "2001:db8:a::/127"),
        ("b", V6, "2001:db8:a::/127"), // b has no IPv6: the driver's own pools are used
        ("c", V6, "2001:db8:c::/80"),
        ("c", V4, "192.0.2.0/30"),
    ] {
        assert_eq!(three().said(any(family).option("pool", option)), expected, "pool={option} {family}");
    }
}

#[test]
fn a_named_pool_may_be_one_that_is_not_open_to_the_driver() {
    assert_eq!(three().said(any(V4).from(&["a"]).option("pool", "b")), "198.51.100.0/30");
}

#[test]
fn the_size_comes_from_the_request_then_the_option_then_the_pool() {
    for (request, expected) in [
        (any(V4), "192.0.2.0/30"),
        (any(V4).option("v4.size", "31"), "192.0.2.0/31"),
        (any(V4).option("v4.size", "/31"), "192.0.2.0/31"),
        (any(V4).option("v6.size", "128"), "192.0.2.0/30"),
        (sized(V4, 32).option("v6.size", "127"), "192.0.2.0/32"),
        (sized(V6, 128), "2001:db8:a::/128"),
        (any(V6).option("v6.size", "126"), "2001:db8:a::/126"),
    ] {
        assert_eq!(three().said(request.clone()), expected, "{request:?}");
    }
}

#[test]
fn a_size_too_large_for_one_pool_comes_from_the_next() {
    let mut desk =
        Desk::new(pools(&[pool("small", "192.0.2.0/29:30", ""), pool("large", "10.0.0.0/16:24", "")]));
    assert_eq!(desk.said(sized(V4, 24)), "10.0.0.0/24");
    assert_eq!(
        desk.said(sized(V4, 8)),
        "no available pool: no free IPv4 subnet: pool small (192.0.2.0/29) has no room for a /8; pool large (10.0.0.0/16) \
         has no room for a /8; remove unused networks (gipam subnets shows them), request a smaller size, or add a pool"
    );
}

#[test]
fn options_are_known_or_refused_where_gipam_chooses() {
    let known = "known options are pool=NAME[,NAME], v4.size=N, v6.size=N, key=WORD, overlap=true";
    for (key, value, expected) in [
        ("colour", "red", format!("invalid request: unknown option colour=red; {known}")),
        ("POOL", "a", format!("invalid request: unknown option POOL=a; {known}")),
        (
            "pool",
            "z",
            "invalid request: option pool=z: this pool does not exist; the pools are a, b, c".to_owned(),
        ),
        (
            "pool",
            "",
            "invalid request: option pool=: this pool does not exist; the pools are a, b, c".to_owned(),
        ),
        ("v4.size", "33", "invalid request: option v4.size=33: give a prefix length from 0 to 32".to_owned()),
        (
            "v4.size",
            "+30",
            "invalid request: option v4.size=+30: give a prefix length from 0 to 32".to_owned(),
        ),
        (
            "v6.size",
            "big",
            "invalid request: option v6.size=big: give a prefix length from 0 to 128".to_owned(),
        ),
        ("key", "", "invalid request: option key=: give a word of 1 to 255 bytes".to_owned()),
        ("overlap", "maybe", "invalid request: option overlap=maybe: give true or false".to_owned()),
        ("com.docker.network.anything", "x", "192.0.2.0/30".to_owned()),
        ("RequestAddressType", "com.docker.network.gateway", "192.0.2.0/30".to_owned()),
        ("overlap", "true", "192.0.2.0/30".to_owned()),
        ("key", "blog", "192.0.2.0/30".to_owned()),
    ] {
        assert_eq!(three().said(any(V4).option(key, value)), expected, "{key}={value}");
        let size_request = three().said(sized(V4, 30).option(key, value));
        assert_eq!(size_request, expected, "size request with {key}={value}");
    }
}

#[test]
fn p10_one_option_map_goes_to_both_families_so_explicit_requests_ignore_options() {
    for (key, value) in [("colour", "red"), ("pool", "z"), ("v4.size", "99"), ("key", "")] {
        assert_eq!(
            three().said(exact("203.0.113.0/24").option(key, value)),
            "203.0.113.0/24",
            "{key}={value}"
        );
    }
}

#[test]
fn best_fit_leaves_large_blocks_whole_and_releases_coalesce() {
    let mut desk = Desk::new(pools(&[PoolSettings { subnet_cooling: 0, ..pool("a", "10.0.0.0/24:28", "") }]));
    let small: Vec<String> = (0..3).map(|_| desk.subnet(sized(V4, 28))).collect();
    assert_eq!(desk.said(sized(V4, 25)), "10.0.0.128/25");
    assert_eq!(desk.said(sized(V4, 28)), "10.0.0.48/28", "the subnet fills the gap after the small ones");
    assert_eq!(desk.said(sized(V4, 27)), "10.0.0.64/27");
    desk.release(&small[1]);
    assert_eq!(desk.said(sized(V4, 27)), "10.0.0.96/27");
    assert!(desk.said(sized(V4, 27)).starts_with("no available pool"));
    desk.release(&small[0]);
    assert_eq!(desk.said(sized(V4, 27)), "10.0.0.0/27", "two free halves are merged");
}

#[test]
fn a_closed_pool_gives_no_new_subnets_and_keeps_its_held_ones() {
    let mut desk = three();
    let id = desk.subnet(any(V4));
    let closed = PoolSettings { closed: true, ..pool("a", "192.0.2.0/29:30", "") };
    desk.plan.configure(pools(&[closed, pool("b", "198.51.100.0/29:30", "")]));
    assert_eq!(desk.said(any(V4)), "198.51.100.0/30");
    assert_eq!(desk.gave(address(&id)), "192.0.2.2/30");
    assert_eq!(desk.said(exact("192.0.2.4/30")), "192.0.2.4/30", "--subnet may use it");
}

#[test]
fn ids_name_one_grant_and_carry_space_and_prefix() {
    let mut desk = three();
    let id = desk.subnet(any(V4));
    assert_eq!(id, "local/192.0.2.0/30#0000000000000001");
    desk.release(&id);
    let again = desk.subnet(exact("192.0.2.0/30").global());
    assert_eq!(again, "global/192.0.2.0/30#0000000000000003");
    assert!(desk.plan.held(&id).is_none());
}

#[test]
fn exhaustion_says_what_is_full_and_what_to_do() {
    let mut desk = three();
    for _ in 0..2 {
        desk.subnet(any(V4).from(&["b"]));
    }
    assert_eq!(
        desk.said(any(V4).from(&["b", "c"])),
        "no available pool: no free IPv4 subnet: pool b (198.51.100.0/29) has no free /30 (subnets held: 2); remove unused \
         networks (gipam subnets shows them), request a smaller size, or add a pool"
    );
    assert_eq!(
        desk.said(any(V4).from(&["c"])),
        "no available pool: no pool open to this driver has IPv4; add one to the configuration, or give --subnet"
    );
}

#[test]
fn reservations_over_a_whole_subnet_keep_dynamic_subnets_away() {
    for (reserved, expected) in [
        ("10.0.0.0/24", "10.0.1.0/24"),
        ("10.0.0.0-10.0.1.255", "10.0.2.0/24"),
        ("10.0.0.1-10.0.0.254", "10.0.1.0/24"), // network and broadcast addresses alone are not usable
        ("10.0.0.1-10.0.0.253", "10.0.0.0/24"), // only partly reserved
        ("10.0.0.0-10.0.0.127", "10.0.0.0/24"),
    ] {
        let mut desk = Desk::new(reserve(lan(), &[reserved]));
        assert_eq!(desk.said(any(V4)), expected, "{reserved}");
    }
    let mut desk = Desk::new(reserve(lan(), &["2001:db8::/63"]));
    assert_eq!(desk.said(any(V6)), "2001:db8:0:2::/64");
}

#[test]
fn the_count_of_further_subnets_considers_held_subnets_and_reservations() {
    let mut desk =
        Desk::new(reserve(lan(), &["10.0.2.0/23", "10.0.5.1-10.0.5.254", "10.0.6.7", "2001:db8:0:1::/64"]));
    let base = |desk: &Desk, family| *desk.plan.settings().pools[0].base(family).unwrap();
    let free = |desk: &Desk, family| desk.plan.count_subnets(&base(desk, family)).free;
    assert_eq!((free(&desk, V4), free(&desk, V6)), (253, 65_535));
    let id = desk.subnet(any(V4));
    desk.subnet(sized(V4, 23));
    assert_eq!(free(&desk, V4), 251, "10.0.0.0/24 and 10.0.4.0/23, of which 10.0.5.0/24 did not count");
    desk.release(&id);
    let counts = desk.plan.count_subnets(&base(&desk, V4));
    assert_eq!((counts.held, counts.cooling, counts.free), (1, 1, 251));
    desk.pass(MINUTE);
    let counts = desk.plan.count_subnets(&base(&desk, V4));
    assert_eq!((counts.held, counts.cooling, counts.free), (1, 0, 252));
}

#[test]
fn a_partly_reserved_subnet_is_given_for_its_other_addresses() {
    let settings = Settings {
        reserved: vec![AddressRange::parse("192.0.2.0-192.0.2.5").unwrap()],
        ..pools(&[pool("a", "192.0.2.0/28:30", "")])
    };
    assert_eq!(Desk::new(settings).said(any(V4)), "192.0.2.4/30");
}
