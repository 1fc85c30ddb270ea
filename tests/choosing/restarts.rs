//! A restarted container keeps its address: by the time of the release if Docker does not send names (Engines
//! before 29), otherwise by its name.

use std::sync::Arc;

use gipam::plan::change::ShownHolder;
use gipam::plan::request::{AddressRequest, Dead, Half, Mac, Repair, Reply, Request};
use gipam::plan::settings::{AddressOrder, Settings};

use crate::desk::*;

/// A request with a MAC that Docker generated, a different one at each start.
fn made_up(id: &str, n: u8) -> AddressRequest {
    AddressRequest { mac: Some(Mac([0x02, 0x42, 7, 7, 7, n])), ..address(id) }
}

#[test]
fn a_restarted_container_gets_its_address_back_in_both_families() {
    let mut desk = Desk::new(lan());
    for family in [V4, V6] {
        let id = desk.subnet(any(family));
        let mut macs = 1..;
        let mut next = |id: &str| made_up(id, macs.next().unwrap());
        desk.gave(gateway(&id));
        let (web, db) = (desk.host(next(&id)), desk.host(next(&id)));
        for _ in 0..3 {
            desk.free(&id, &web);
            desk.pass(14_999);
            assert_eq!(desk.host(next(&id)), web);
            assert!(desk.warnings.is_empty());
            desk.pass(60_000);
        }
        desk.free(&id, &web);
        assert_eq!(desk.host(address(&id)), web, "a request without a MAC gets it, too");
        desk.free(&id, &db);
        desk.pass(15_000);
        assert!(![&web, &db].contains(&&desk.host(next(&id))), "the window is over");
    }
}

#[test]
fn two_addresses_released_together_cannot_be_assigned_to_their_holders() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    let (web, db) = (desk.host(made_up(&id, 1)), desk.host(made_up(&id, 2)));
    desk.free(&id, &web);
    desk.pass(10_000);
    desk.free(&id, &db);
    assert_eq!(desk.host(made_up(&id, 3)), "10.0.0.4", "the normal order applies");
    desk.pass(5_000);
    assert_eq!(desk.host(made_up(&id, 4)), db, "the other one has left the window");
}

#[test]
fn an_address_with_a_known_holder_does_not_count_and_is_not_given() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    let web = desk.host(made_up(&id, 1));
    let card = AddressRequest { mac: Some(Mac([0x00, 0x16, 0x3e, 0, 0, 1])), ..address(&id) };
    let with_card = desk.host(card.clone());
    let by_number = desk.host(AddressRequest { mac: Some(Mac([2; 6])), ..number(&id, "10.0.0.77") });
    for released in [&with_card, &by_number] {
        desk.free(&id, released);
    }
    assert_eq!(
        desk.host(made_up(&id, 2)),
        "10.0.0.4",
        "the network card's address and the one requested by number are not given"
    );
    desk.free(&id, &web);
    assert_eq!(desk.host(named(&id, "web")), "10.0.0.5", "a name identifies its holder");
    assert_eq!(
        desk.host(AddressRequest { mac: Some(Mac([0, 1, 2, 3, 4, 5])), ..address(&id) }),
        "10.0.0.6",
        "the MAC of a network card does not get the address"
    );
    assert_eq!(
        desk.host(AddressRequest { serial: true, ..address(&id) }),
        "10.0.0.7",
        "Swarm does not get the address"
    );
    assert_eq!(desk.host(card), with_card);
    assert_eq!(desk.host(made_up(&id, 3)), web);
}

#[test]
fn a_known_mac_gets_its_own_and_leaves_the_others() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    let (web, db) = (desk.host(made_up(&id, 1)), desk.host(made_up(&id, 2)));
    desk.free(&id, &web);
    desk.pass(60_000);
    desk.free(&id, &db);
    assert_eq!(desk.host(made_up(&id, 1)), web);
}

#[test]
fn a_fixed_mac_that_came_back_once_keeps_its_address_from_others() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    let fixed = desk.host(made_up(&id, 1));
    desk.free(&id, &fixed);
    assert_eq!(desk.host(made_up(&id, 1)), fixed, "a generated MAC never comes back");
    desk.free(&id, &fixed);
    assert_ne!(desk.host(made_up(&id, 2)), fixed);
    assert_eq!(desk.host(made_up(&id, 1)), fixed);
}

#[test]
fn released_by_a_person_or_by_repair_does_not_count() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    let (web, db, dead) = (desk.host(address(&id)), desk.host(address(&id)), desk.host(address(&id)));
    desk.force("10.0.0.0/24", Some(&db));
    let record = desk.record(&id, &dead).unwrap();
    let subnet = desk.plan.held(&id).unwrap();
    let number = subnet.number_of(ip(&dead)).unwrap();
    let death = crate::evidence::dead_lease(&desk.plan, subnet, number, record.generation).unwrap();
    let free = Repair::Free(death);
    assert_eq!(desk.ask(Request::Repair(Box::new(free))), Ok(Reply::Done));
    assert_eq!(desk.host(address(&id)), "10.0.0.5", "neither of the two released addresses is given");
    desk.free(&id, &web);
    assert_eq!(desk.host(address(&id)), web, "the two released addresses do not count");
}

#[test]
fn an_address_that_was_not_a_containers_does_not_count() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(exact("10.9.0.0/24"));
    desk.host(number(&id, "10.9.0.7"));
    desk.lists_as(&id, "10.9.0.7", gipam::plan::change::Kind::Auxiliary);
    let gateway = desk.host(AddressRequest { gateway: true, ..number(&id, "10.9.0.9") });
    let web = desk.host(made_up(&id, 1));
    desk.free(&id, "10.9.0.7");
    desk.free(&id, &gateway);
    desk.free(&id, &web);
    assert_eq!(
        desk.host(made_up(&id, 2)),
        web,
        "the auxiliary address and the gateway do not count, so the container gets its own"
    );
    let other = desk.subnet(exact("10.8.0.0/24"));
    let gateway = desk.host(AddressRequest { gateway: true, ..number(&other, "10.8.0.9") });
    desk.free(&other, &gateway);
    assert_ne!(desk.host(made_up(&other, 3)), gateway, "a released gateway is not a container's address");
}

#[test]
fn the_window_is_settable_and_0_turns_it_off() {
    for (window, again) in [(0, false), (1_000, true), (999, false)] {
        let mut desk = Desk::new(Settings { restart_window: window, ..lan() });
        let id = desk.subnet(any(V4));
        let web = desk.host(address(&id));
        desk.free(&id, &web);
        desk.pass(999);
        assert_eq!(desk.host(address(&id)) == web, again, "{window}");
    }
}

#[test]
fn swarms_addresses_cool() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4).global());
    let task = desk.host(address(&id));
    desk.free(&id, &task);
    assert_ne!(desk.host(address(&id)), task);
}

#[test]
fn in_an_eui64_pool_an_address_follows_from_the_mac_or_comes_with_a_warning() {
    let mut lan = pool("lan", "", "2001:db8::/48:64");
    lan.v6.as_mut().unwrap().addresses = AddressOrder::Eui64;
    let mut desk = Desk::new(pools(&[lan]));
    let id = desk.subnet(any(V6));
    let with = |name: Option<&str>, n: u8| AddressRequest { name: name.map(Into::into), ..made_up(&id, n) };
    let made = |n: u8| format!("2001:db8::42:7ff:fe07:70{n}");
    assert_eq!(desk.host(with(Some("web"), 1)), made(1));
    desk.free(&id, &made(1));
    assert_eq!(desk.host(with(Some("web"), 2)), made(2), "another MAC, another address, whatever the name");
    desk.free(&id, &made(2));
    assert_eq!(
        desk.host(with(None, 3)),
        made(3),
        "a MAC without a name does not get the released address either"
    );
    desk.free(&id, &made(3));
    assert_eq!(desk.host(with(Some("web"), 1)), made(1));
    desk.free(&id, &made(1));
    desk.gave(AddressRequest { name: Some("squatter".into()), ..number(&id, &made(4)) });
    assert_eq!(desk.host(with(Some("web"), 4)), made(1), "the address of this MAC is leased");
    assert_eq!(
        desk.warnings.concat(),
        format!(
            "2001:db8::/64: {} does not follow from the MAC 02:42:07:07:07:04: {} is held or cooling",
            made(1),
            made(4)
        )
    );
}

/// Repair has proven this lease dead.
fn proof(desk: &Desk, id: &str, text: &str) -> Arc<Dead> {
    let subnet = desk.plan.held(id).unwrap();
    let (number, generation) =
        (subnet.number_of(ip(text)).unwrap(), desk.record(id, text).unwrap().generation);
    let death = crate::evidence::dead_lease(&desk.plan, subnet, number, generation).unwrap();
    Arc::new(Dead { proven: [(death.key(), death)].into(), ..Dead::default() })
}

#[test]
fn a_holder_gets_its_own_lease_back_once_that_is_proven_dead() {
    for ask in [
        |id: &str| named(id, "web"),
        |id: &str| AddressRequest { mac: Some(Mac([2, 0x42, 0, 0, 0, 9])), ..address(id) },
    ] {
        let mut desk = Desk::new(lan());
        let id = desk.subnet(any(V4));
        let web = desk.host(ask(&id));
        assert_ne!(desk.host(ask(&id)), web, "a lease that is not proven dead is never given again");
        let dead = proof(&desk, &id, &web);
        desk.free(&id, "10.0.0.3");
        let again = AddressRequest { dead: dead.clone(), ..ask(&id) };
        assert_eq!(desk.host(again), "10.0.0.3", "its newest address is free");
        desk.free(&id, "10.0.0.3");
        desk.host(AddressRequest { name: Some("thief".into()), ..number(&id, "10.0.0.3") });
        let again = AddressRequest { dead: dead.clone(), ..ask(&id) };
        assert_eq!(desk.host(again), web);
        assert_eq!(desk.warnings.concat(), "10.0.0.2 in 10.0.0.0/24 replaces a lease that is proven dead");
        let other = AddressRequest { dead, ..named(&id, "other") };
        assert_ne!(desk.host(other), web, "the proof was about the earlier lease");
    }
}

#[test]
fn another_holder_does_not_get_a_dead_lease_by_requesting_any_address() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    let web = desk.host(named(&id, "web"));
    let dead = proof(&desk, &id, &web);
    for request in [named(&id, "db"), address(&id), made_up(&id, 9)] {
        assert_ne!(desk.host(AddressRequest { dead: dead.clone(), ..request }), web);
    }
}

/// The Engine's list shows this lease in a container with this name.
fn shown_as(desk: &mut Desk, id: &str, text: &str, container: &str) {
    let subnet = desk.plan.held(id).unwrap();
    let (serial, address) = (subnet.state.serial, subnet.number_of(ip(text)).unwrap());
    let generation = desk.record(id, text).unwrap().generation;
    let shown = ShownHolder { container: container.into(), container_id: "id".into(), network: "net".into() };
    let name = Repair::Name { serial, address, generation, shown };
    assert_eq!(desk.ask(Request::Repair(Box::new(name))), Ok(Reply::Done));
}

#[test]
fn after_a_rename_that_the_engine_shows_the_new_name_keeps_the_address() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    let old = desk.host(named(&id, "web"));
    shown_as(&mut desk, &id, &old, "web-old");
    let new = desk.host(named(&id, "web"));
    assert_ne!(old, new);
    let late = desk.gave(AddressRequest { name: Some("late".into()), ..number(&id, &old) });
    assert!(late.contains("is held by container web-old;"), "{late}");
    for address in [&old, &new] {
        desk.free(&id, address);
    }
    assert_eq!(desk.host(named(&id, "web-old")), old, "the container gets its address under its new name");
    assert_eq!(desk.host(named(&id, "web")), new);
    // If the request had no name, the Engine's name is only shown to people and does not affect the choice.
    let nameless = desk.host(address(&id));
    shown_as(&mut desk, &id, &nameless, "cache");
    assert_eq!(desk.record(&id, &nameless).unwrap().name, None);
}

#[test]
fn p20_a_retry_after_a_refused_ipv6_half_gets_its_own_lease_back() {
    let mac = |n: u8| Some(Mac([2, 0, 0, 0, 0, n]));
    let half = |desk: &Desk, name: Option<&str>, n: u8| {
        Some(Half { name: name.map(Into::into), mac: mac(n).unwrap(), at: desk.now })
    };
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    let web = |n: u8| AddressRequest { mac: mac(n), ..named(&id, "web") };
    let first = desk.host(web(1));
    desk.pass(5);
    for n in 2..9 {
        let half = half(&desk, Some("web"), n - 1);
        assert_eq!(desk.host(AddressRequest { half, ..web(n) }), first, "try {n}");
        desk.pass(900);
    }
    // A refusal has a time of day, which may differ by less than a second from the plan's clock.
    let early = half(&desk, Some("web"), 8).map(|half| Half { at: half.at - 900 - 999, ..half });
    assert_eq!(desk.host(AddressRequest { half: early, ..web(8) }), first, "the refusal was dated too early");
    let half_of_8 = half(&desk, Some("web"), 8);
    let by_number = AddressRequest { half: half_of_8, address: Some(ip(&first)), ..web(9) };
    assert_eq!(desk.host(by_number), first, "a request by number gets the lease, too");
    let taken = desk.gave(AddressRequest { address: Some(ip(&first)), ..web(10) });
    assert!(taken.starts_with("address already in use"), "{taken}");
    // A fixed MAC, with an Engine that does not send names.
    let fixed = AddressRequest { mac: mac(77), ..address(&id) };
    let second = desk.host(fixed.clone());
    let half = half(&desk, None, 77);
    assert_eq!(desk.host(AddressRequest { half, ..fixed.clone() }), second);
    assert_ne!(desk.host(fixed), second, "no request of this endpoint was refused");
}

#[test]
fn p20_a_live_container_never_shares_its_lease_whatever_was_refused() {
    let mac = |n: u8| Mac([2, 0, 0, 0, 0, n]);
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    // The container was renamed, and the Engine's list has not been read since.
    let renamed = desk.host(AddressRequest { mac: Some(mac(1)), ..named(&id, "web") });
    desk.pass(4_000);
    let half = |desk: &Desk, n: u8| Some(Half { name: Some("web".into()), mac: mac(n), at: desk.now });
    let other_endpoint = half(&desk, 2);
    let asks = |half| AddressRequest { mac: Some(mac(3)), half, ..named(&id, "web") };
    assert_ne!(desk.host(asks(other_endpoint)), renamed, "the refused request was another endpoint's");
    desk.pass(4_000);
    let late = half(&desk, 1);
    assert_ne!(desk.host(asks(late)), renamed, "the lease was granted long before the refusal");
    // Two leases with the same fixed MAC: gipam cannot know which one belongs to the refused request.
    let twins: Vec<String> =
        (0..2).map(|_| desk.host(AddressRequest { mac: Some(mac(9)), ..named(&id, "web") })).collect();
    let of_twins = half(&desk, 9);
    assert!(!twins.contains(&desk.host(asks(of_twins))));
}

/// The answer of `gipam explain` about this way; checks that the explanation ends with the actual outcome.
fn explained(desk: &mut Desk, way: &str, request: AddressRequest) -> String {
    let request = Request::Address(request);
    let explanation = desk.plan.explain(&request);
    let given = match desk.ask(request) {
        Ok(Reply::Address { address, length }) => format!("{address}/{length}"),
        other => panic!("{other:?}"),
    };
    assert_eq!(explanation.given, Some(given.clone()));
    let found = explanation.steps.iter().find(|step| step.what.ends_with(way));
    let found = found.unwrap_or_else(|| panic!("no {way}: {explanation:#?}")).found.clone();
    let address = given.split('/').next().unwrap();
    assert_eq!(found.ends_with(": it would be given"), found.starts_with(address), "{found}: {given}");
    found
}

#[test]
fn an_explanation_of_a_holders_own_address_matches_the_decision() {
    let (last, dead) = ("its own last address", "its own lease, proven dead");
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    let (web, db) = (desk.host(named(&id, "web")), desk.host(made_up(&id, 1)));
    assert_eq!(explained(&mut desk, last, named(&id, "web")), format!("{web}, but it is leased"));
    let found = "the books do not remember an address of this holder";
    assert_eq!(explained(&mut desk, last, named(&id, "new")), found);
    desk.free(&id, &db);
    let found = explained(&mut desk, "the only one released just now", made_up(&id, 2));
    assert!(
        found.starts_with(&format!("{db}, released 20")) && found.contains(", still cooling: it"),
        "{found}"
    );
    let new = desk.host(named(&id, "other"));
    desk.free(&id, &new);
    let found = explained(&mut desk, last, named(&id, "other"));
    assert!(found.starts_with(&format!("{new}, released 20")), "{found}");
    let proven = AddressRequest { dead: proof(&desk, &id, &new), ..named(&id, "other") };
    assert_eq!(explained(&mut desk, dead, proven), format!("{new}: it would be given"));
    // A network that shares the prefix leases it.
    let first = desk.subnet(exact("10.77.0.0/24").range("10.77.0.64/26"));
    let second = desk.subnet(exact("10.77.0.0/24").range("10.77.0.128/26"));
    let web = desk.host(named(&first, "web"));
    desk.free(&first, &web);
    desk.host(AddressRequest { name: Some("squatter".into()), ..number(&second, &web) });
    let found = format!("{web}, but another network that shares 10.77.0.0/24 has it");
    assert_eq!(explained(&mut desk, last, named(&first, "web")), found);
    // For a request by number the explanation names the holder.
    let asked = Request::Address(number(&first, &web));
    let steps = desk.plan.explain(&asked).steps;
    let held = steps.iter().find(|step| step.what == "held by").unwrap();
    assert!(held.found.starts_with("squatter since"), "{held:?}");
    // A different MAC gets a different address if addresses are derived from the MAC.
    let mut desk = desk_of(AddressOrder::Eui64);
    let id = desk.subnet(any(V6));
    let with = |n: u8| AddressRequest { name: Some("web".into()), ..made_up(&id, n) };
    let old = desk.host(with(1));
    desk.free(&id, &old);
    let found = explained(&mut desk, "follows from its MAC", with(2));
    assert!(!found.starts_with(&old) && found.ends_with("it would be given"), "{found}");
}

fn desk_of(order: AddressOrder) -> Desk {
    let mut lan = pool("lan", "", "2001:db8::/48:64");
    lan.v6.as_mut().unwrap().addresses = order;
    Desk::new(pools(&[lan]))
}

#[test]
fn an_explanation_names_the_missing_input_that_the_address_depends_on() {
    let mut desk = desk_of(AddressOrder::Stable);
    let id = desk.subnet(any(V6));
    let explained = |desk: &Desk, request| desk.plan.explain(&Request::Address(request));
    let depends = |desk: &Desk, request| explained(desk, request).depends.unwrap();
    let named_by = "the name or MAC of the container; add --holder NAME or --mac MAC";
    assert_eq!(depends(&desk, address(&id)), named_by);
    let (web, given) = (explained(&desk, named(&id, "web")), desk.gave(named(&id, "web")));
    assert_eq!((web.given, web.depends), (Some(given), None));
    let mut desk = desk_of(AddressOrder::Eui64);
    let id = desk.subnet(any(V6));
    assert_eq!(depends(&desk, named(&id, "web")), "the MAC of the container; add --mac MAC");
}

#[test]
fn serial_in_the_options_of_a_subnet_means_next_fit_where_addresses_follow_from_macs_too() {
    let mut desk = desk_of(AddressOrder::Eui64);
    let asked = any(V6).option("com.docker.network.ipam.serial", "true");
    let Ok(Reply::Subnet { id, .. }) = desk.ask(Request::Subnet(asked)) else { panic!() };
    assert_eq!(desk.host(made_up(&id, 1)), "2001:db8::2");
}
