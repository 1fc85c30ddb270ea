//! Memory and pins: they survive releases, and ReleasePool as long as their prefix is remembered; they are
//! bounded.
//!
//! Rules R33, R38, R45 and R46.

use gipam::plan::change::Kind;
use gipam::plan::request::AddressRequest;
use gipam::plan::settings::PoolSettings;

use crate::desk::*;

fn still() -> Desk {
    Desk::new(pools(&[PoolSettings { cooling: 0, subnet_cooling: 0, ..pool("lan", "10.0.0.0/8:16", "") }]))
}

#[test]
fn memory_outlives_release_pool_with_the_prefix() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    desk.gave(named(&id, "other"));
    assert_eq!(desk.host(named(&id, "web")), "10.0.0.3");
    desk.release(&id);
    let id = desk.subnet(exact("10.0.0.0/24"));
    assert_eq!(desk.host(named(&id, "new")), "10.0.0.4");
    assert_eq!(desk.host(named(&id, "web")), "10.0.0.3");
}

#[test]
fn a_name_with_a_live_lease_gets_back_only_free_addresses() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    let (first, second) = (desk.host(named(&id, "web")), desk.host(named(&id, "web")));
    assert_ne!(first, second, "a live lease is not given again, not even to its own name");
    desk.free(&id, &first);
    assert_eq!(desk.host(named(&id, "web")), first);
    desk.free(&id, &second);
    desk.free(&id, &first);
    assert_eq!(desk.host(named(&id, "web")), first, "web gets the newer of its two addresses");
}

#[test]
fn memory_belongs_to_exactly_that_prefix_in_that_space() {
    for again in [exact("10.0.0.0/24").global(), exact("10.0.0.0/25"), exact("10.0.0.0/23")] {
        let mut desk = Desk::new(lan());
        let id = desk.subnet(any(V4));
        desk.gave(named(&id, "other"));
        desk.gave(named(&id, "web"));
        desk.release(&id);
        let id = desk.subnet(again.clone());
        assert_eq!(desk.host(named(&id, "web")), "10.0.0.2", "{again:?}");
    }
}

#[test]
fn pins_outlive_release_pool_and_are_withheld_while_anything_else_is_free() {
    let mut desk = Desk::new(pools(&[pool("lan", "10.0.0.0/29:29", "")]));
    let id = desk.subnet(any(V4));
    desk.gave(named(&id, "first"));
    desk.gave(AddressRequest { name: Some("pinned".into()), ..number(&id, "10.0.0.3") });
    desk.release(&id);
    let id = desk.subnet(exact("10.0.0.0/29"));
    desk.pass(15_000); // All restarts would be over by now.
    let given: Vec<String> = (0..5).map(|_| desk.host(address(&id))).collect();
    assert_eq!(given, ["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2", "10.0.0.3"]);
}

#[test]
fn gateways_and_auxiliary_addresses_leave_no_memory() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    desk.gave(AddressRequest { gateway: true, ..number(&id, "10.0.0.2") });
    desk.gave(number(&id, "10.0.0.3"));
    desk.lists_as(&id, "10.0.0.3", Kind::Auxiliary);
    desk.release(&id);
    let id = desk.subnet(exact("10.0.0.0/24"));
    assert_eq!(desk.host(address(&id)), "10.0.0.2");
    assert_eq!(desk.host(address(&id)), "10.0.0.3");
}

#[test]
fn a_copys_memory_replaces_the_older_one() {
    let mut desk = Desk::new(lan());
    let first = desk.subnet(exact("10.9.0.0/24"));
    let copy = desk.subnet(exact("10.9.0.0/24").option("overlap", "true"));
    desk.gave(named(&first, "web"));
    desk.gave(named(&copy, "db"));
    desk.gave(named(&copy, "web"));
    desk.release(&first);
    desk.release(&copy);
    let id = desk.subnet(exact("10.9.0.0/24"));
    assert_eq!(desk.host(named(&id, "web")), "10.9.0.3");
    assert_eq!(desk.plan.subnets().count(), 1);
}

#[test]
fn memory_of_addresses_is_bounded_to_a_thousand_oldest_first() {
    let mut desk = still();
    let id = desk.subnet(any(V4));
    for n in 0..1_100 {
        desk.pass(1);
        let given = desk.host(named(&id, &format!("n{n}")));
        desk.free(&id, &given);
    }
    // Addresses that were never used come first, so that every name got a different one.
    let subnet = desk.plan.held(&id).unwrap();
    assert_eq!(subnet.addresses.remembered(), 1_000);
    assert!(
        subnet
            .addresses
            .records()
            .all(|(_, record)| { record.name.as_deref().unwrap()[1..].parse::<u32>().unwrap() >= 100 })
    );
}

#[test]
fn memory_of_addresses_may_be_four_times_the_leases() {
    let mut desk = still();
    let id = desk.subnet(any(V4));
    let given: Vec<String> = (0..1_700).map(|n| desk.host(named(&id, &format!("n{n}")))).collect();
    for address in &given[300..] {
        desk.free(&id, address);
    }
    assert_eq!(desk.plan.held(&id).unwrap().addresses.remembered(), 1_200);
}

#[test]
fn memory_of_addresses_is_not_cut_while_they_cool() {
    let mut desk = Desk::new(pools(&[pool("lan", "10.0.0.0/8:16", "")]));
    let id = desk.subnet(any(V4));
    for n in 0..1_100 {
        let given = desk.host(named(&id, &format!("n{n}")));
        desk.free(&id, &given);
    }
    let remembered = |desk: &Desk| desk.plan.held(&id).unwrap().addresses.remembered();
    assert_eq!(remembered(&desk), 1_100);
    desk.pass(10 * MINUTE);
    for n in 0..20 {
        desk.gave(named(&id, &format!("later{n}")));
    }
    assert_eq!(remembered(&desk), 1_000);
}

#[test]
fn memory_of_addresses_ends_after_90_days() {
    let mut desk = still();
    let id = desk.subnet(any(V4));
    let given = desk.host(named(&id, "old"));
    desk.free(&id, &given);
    desk.pass(90 * DAY);
    desk.gave(named(&id, "a"));
    assert!(desk.record(&id, &given).is_some());
    desk.pass(1);
    desk.gave(named(&id, "b"));
    assert!(desk.record(&id, &given).is_none());
}

#[test]
fn memory_of_subnets_is_bounded_too_and_never_while_they_cool() {
    let mut desk = still();
    for n in 0..1_100u32 {
        let id = desk.subnet(exact(&format!("172.{}.{}.0/24", 16 + n / 256, n % 256)));
        desk.pass(1);
        desk.release(&id);
    }
    let released = desk.plan.subnets().count();
    assert!((1_000..1_110).contains(&released), "{released}: outside the pools they cool for a minute");
    desk.pass(MINUTE);
    for _ in 0..150 {
        let id = desk.subnet(exact("192.0.2.0/24"));
        desk.release(&id);
    }
    assert_eq!(desk.plan.subnets().count(), 1_000);
    desk.pass(90 * DAY);
    for _ in 0..1_100 {
        let id = desk.subnet(exact("192.0.2.0/24"));
        desk.release(&id);
    }
    assert_eq!(desk.plan.subnets().count(), 1, "after 90 days");
}
