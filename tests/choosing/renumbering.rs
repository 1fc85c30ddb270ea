//! Pools whose base changes: numbers of subnets and host parts of containers stay the same.

use gipam::plan::Plan;
use gipam::plan::pins::{Holder, PinRequest};
use gipam::plan::prefix::Prefix;
use gipam::plan::request::{AddressRequest, Mac};
use gipam::plan::settings::Settings;
use proptest::prelude::{ProptestConfig, prop};
use proptest::{prop_assert, prop_assert_eq, proptest};

use crate::desk::*;

/// The settings after the base of the first pool has become this one.
fn moved(settings: &Settings, base: &str) -> Settings {
    let mut after = settings.clone();
    let before = after.pools[0].clone();
    if let Some(v6) = after.pools[0].v6.as_mut() {
        v6.base = prefix(base);
    }
    after.pools[0].remember_former(&before);
    after.check().unwrap();
    after
}

fn home() -> Settings {
    pools(&[pool("home", "", "2001:db8:a::/60:64")])
}

fn held(desk: &Desk) -> Vec<String> {
    desk.plan.subnets().filter(|it| it.is_held()).map(|it| it.state.prefix.to_string()).collect()
}

fn prefix_of(desk: &Desk, id: &str) -> String {
    desk.plan.held(id).unwrap().state.prefix.to_string()
}

fn stale(plan: &Plan) -> Vec<String> {
    plan.subnets().filter(|it| plan.stale(it).is_some()).map(|it| it.state.prefix.to_string()).collect()
}

#[test]
fn a_base_that_comes_back_finds_its_subnets_and_nothing_is_lost() {
    let mut desk = Desk::new(home());
    let id = desk.subnet(any(V6));
    desk.gave(named(&id, "web"));
    let before = held(&desk);
    for base in ["2001:db8:b::/60", "2001:db8:a::/60", "2001:db8:b::/60"] {
        let settings = moved(desk.plan.settings(), base);
        desk.plan.configure(settings);
        assert_eq!(held(&desk), before, "no change of the base releases anything");
        assert_eq!(stale(&desk.plan), if base == "2001:db8:a::/60" { vec![] } else { before.clone() });
    }
    assert_eq!(desk.plan.settings().pools[0].provenance.former, [prefix("2001:db8:a::/60")]);
}

#[test]
fn a_number_kept_for_a_stale_subnet_is_given_only_when_nothing_else_is_free() {
    let mut desk = Desk::new(pools(&[pool("home", "", "2001:db8:a::/62:64")]));
    for _ in 0..2 {
        desk.subnet(any(V6));
    }
    let settings = moved(desk.plan.settings(), "2001:db8:b::/62");
    desk.plan.configure(settings);
    let given: Vec<String> = (0..4).map(|_| desk.said(any(V6))).collect();
    let numbers = ["b:2::", "b:3::", "b::", "b:1::"].map(|it| format!("2001:db8:{it}/64"));
    assert_eq!(given, numbers);
}

#[test]
fn a_smaller_base_keeps_the_numbers_that_it_has_and_pins_move_along() {
    let mut desk = Desk::new(pools(&[pool("home", "", "2001:db8:a::/60:64")]));
    let ids: Vec<String> = (0..4).map(|_| desk.subnet(any(V6))).collect();
    desk.gave(named(&ids[1], "web"));
    let holder = Holder::Name("db".into());
    let wanted = PinRequest { holder, address: ip("2001:db8:a:1::77"), subnet: None };
    let pinned = desk.plan.pin(&wanted, &Default::default()).unwrap();
    pinned.changes.iter().for_each(|change| desk.plan.apply(change));
    let settings = moved(desk.plan.settings(), "2001:db8:b::/63");
    desk.plan.configure(settings);
    let numbers: Vec<Option<Prefix>> =
        ids.iter().map(|id| desk.plan.held(id).and_then(|it| desk.plan.renumbered(it))).collect();
    assert_eq!(numbers, [Some(prefix("2001:db8:b::/64")), Some(prefix("2001:db8:b:1::/64")), None, None]);
    desk.release(&ids[1]);
    let id = desk.subnet(exact("2001:db8:b:1::/64"));
    assert_eq!(desk.host(named(&id, "db")), "2001:db8:b:1::77");
    assert_eq!(desk.host(named(&id, "web")), "2001:db8:b:1::2");
}

/// On Engines that send no names, `gipam renumber` keeps the host parts of containers with a fixed MAC.
#[test]
fn a_container_with_the_same_mac_keeps_its_host_part_in_a_network_that_moves() {
    let mut desk = Desk::new(home());
    let of = |id: &str, n: u8| AddressRequest { mac: Some(Mac([0, 0x16, 0x3e, 0, 0, n])), ..address(id) };
    let id = desk.subnet(any(V6));
    let given: Vec<String> = (0..3).map(|n| desk.host(of(&id, n))).collect();
    let settings = moved(desk.plan.settings(), "2001:db8:b::/60");
    desk.plan.configure(settings);
    given.iter().for_each(|address| desk.free(&id, address));
    desk.release(&id);
    let id = desk.subnet(exact("2001:db8:b::/64"));
    for n in [2, 0, 1] {
        let expected = given[n].replace("2001:db8:a:", "2001:db8:b:");
        assert_eq!(desk.host(of(&id, u8::try_from(n).unwrap())), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A network with a key that is removed and made again after any series of changes keeps its number, and each of its
    /// containers its host part.
    #[test]
    fn numbers_and_host_parts_survive_any_series_of_bases(
        bases in prop::collection::vec(0u8..4, 1..6),
        networks in 1usize..6,
        containers in prop::collection::vec(0u8..4, 0..6),
    ) {
        let mut desk = Desk::new(home());
        let key = |n: usize| any(V6).option("key", &format!("net{n}"));
        let number = |text: &str| prefix(text).first() & ((1 << 68) - 1);
        let host = |text: &str| gipam::plan::prefix::number(ip(text)) & ((1 << 64) - 1);
        let mut ids: Vec<String> = (0..networks).map(|n| desk.subnet(key(n))).collect();
        let numbers: Vec<u128> = ids.iter().map(|id| number(&prefix_of(&desk, id))).collect();
        let mut names: Vec<String> = containers.iter().map(|n| format!("c{n}")).collect();
        names.sort();
        names.dedup();
        let hosts: Vec<u128> = names.iter().map(|name| host(&desk.host(named(&ids[0], name)))).collect();
        for base in bases {
            let base = format!("2001:db8:{base:x}::/60");
            let settings = moved(desk.plan.settings(), &base);
            desk.plan.configure(settings);
            for n in 0..networks {
                desk.release(&ids[n]);
                ids[n] = desk.subnet(key(n));
                let given = prefix(&prefix_of(&desk, &ids[n]));
                prop_assert!(prefix(&base).contains(given));
                prop_assert_eq!(number(&given.to_string()), numbers[n]);
            }
            for (name, expected) in names.iter().zip(&hosts).rev() {
                prop_assert_eq!(host(&desk.host(named(&ids[0], name))), *expected);
            }
        }
    }
}
