//! PROOF OF DEATH: whatever is not proven dead is alive. Except for the complete view, each view here lacks
//! the lease and still must not prove anything.
//!
//! Checks *fenced*; a [`Death`](gipam::plan::evidence::Death) needs two complete views of the Engine that the
//! books know.

use gipam::plan::change::{Change, Kind, ShownHolder};
use gipam::plan::evidence::{CompleteView, Death, Doubt, IndexedLists, Sight};
use gipam::plan::pins::{Holder, PinRequest};
use gipam::plan::prefix::Family;
use gipam::plan::request::{AddressRequest, Dead, Gone, Mac, Repair, Request, ShownLease};
use gipam::plan::settings::Moment;
use gipam::plan::shown::{Configured, Endpoint, EngineIdentity, Lists, Network};

use crate::desk::*;
use crate::evidence::{dead_lease, dead_subnet, lists, twice};

const WEB: &str = "192.0.2.0/24";
const OTHER: &str = "198.51.100.0/24";

/// Two networks; in the first one, `.7` is alive.
fn books() -> (Desk, String) {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(exact(WEB));
    desk.gave(number(&id, "192.0.2.7"));
    desk.subnet(exact(OTHER));
    (desk, id)
}

fn complete() -> Lists {
    lists([prefix(WEB), prefix(OTHER)])
}

/// Whether two such views prove that `.7` is dead.
fn proves(desk: &Desk, lists: &Lists) -> bool {
    let subnet = desk.plan.subnets().next().unwrap();
    let (address, record) = subnet.addresses.records().find(|(_, record)| record.leased).unwrap();
    twice(&desk.plan, lists, |view| view.lease_absent(subnet, address, record)).is_some()
}

/// Whether two such views prove that the whole of the first network is dead.
fn proves_subnet(desk: &Desk, lists: &Lists) -> bool {
    let subnet = desk.plan.subnets().next().unwrap();
    twice(&desk.plan, lists, |view| view.subnet_absent(subnet)).is_some()
}

fn endpoint(container: &str, addresses: &[&str]) -> Endpoint {
    let addresses = addresses.iter().map(|text| ip(text)).collect();
    Endpoint { container: container.into(), container_id: format!("id-{container}"), addresses, mac: None }
}

#[test]
fn a_lease_missing_from_two_complete_views_is_dead() {
    let (desk, _) = books();
    assert!(proves(&desk, &complete()));
    assert!(proves_subnet(&desk, &lists([prefix(OTHER)])));
}

#[test]
fn everything_that_a_view_shows_is_alive() {
    let (desk, _) = books();
    let mut shown = complete();
    shown.networks[0].endpoints.push(endpoint("web", &["192.0.2.7"]));
    assert!(!proves(&desk, &shown));
    let mut shown = complete();
    shown.networks[0].subnets[0].auxiliary.push(ip("192.0.2.7"));
    assert!(!proves(&desk, &shown), "an auxiliary address that the Engine lists is held");
    let mut shown = complete();
    shown.networks[0].subnets[0].gateway = Some(ip("192.0.2.7"));
    assert!(!proves(&desk, &shown));
    assert!(!proves_subnet(&desk, &complete()));
}

#[test]
fn a_partial_unreadable_or_nameless_view_does_not_prove_anything() {
    let (desk, _) = books();
    let mut shown = complete();
    shown.unclear.push("network x shows \"?\" for a subnet".into());
    assert!(!proves(&desk, &shown) && !proves_subnet(&desk, &Lists { networks: vec![], ..shown }));
    let mut shown = complete();
    shown.networks[0].complete = false;
    assert!(!proves(&desk, &shown), "the network was not inspected, or not read completely");
    let mut shown = complete();
    shown.engine = None;
    assert!(!proves(&desk, &shown));
}

#[test]
fn another_engine_or_another_data_root_does_not_prove_anything() {
    let (mut desk, _) = books();
    let mine = complete().engine.unwrap();
    desk.ask(Request::Repair(Box::new(Repair::Engine(Box::new(mine.clone()))))).unwrap();
    assert!(proves(&desk, &complete()));
    for other in [
        EngineIdentity { id: "another".into(), ..mine.clone() },
        EngineIdentity { root: "/mnt/docker".into(), ..mine },
    ] {
        let shown = Lists { engine: Some(other), ..complete() };
        assert!(!proves(&desk, &shown));
        let drivers = ["gipam".to_owned()];
        let shown = IndexedLists::new(shown, &drivers);
        let doubt = CompleteView::of(Sight::new(&desk.plan, &shown), Moment { steady: 1, wall: 1 }, u64::MAX)
            .unwrap_err();
        assert!(matches!(doubt, Doubt::Another { .. }), "{doubt}");
    }
}

#[test]
fn a_view_in_which_everything_is_dead_does_not_prove_anything() {
    let (desk, _) = books();
    for shown in [lists([]), lists([prefix("203.0.113.0/24")])] {
        assert!(!proves(&desk, &shown) && !proves_subnet(&desk, &shown));
    }
    let mut foreign = lists([prefix(OTHER)]);
    foreign.networks[0].ipam = "default".into();
    assert!(!proves_subnet(&desk, &foreign), "the network of another driver is not gipam's");
}

#[test]
fn a_network_whose_driver_is_not_configured_here_keeps_its_prefix_alive() {
    let (desk, _) = books();
    for driver in ["renamed", "default", ""] {
        let mut shown = complete();
        shown.networks[0].ipam = driver.into();
        assert!(!proves(&desk, &shown), "{driver:?}");
        assert!(!proves_subnet(&desk, &shown), "{driver:?}");
    }
    let mut wider = lists([prefix(OTHER), prefix("192.0.0.0/16")]);
    wider.networks[1].ipam = "default".into();
    assert!(!proves_subnet(&desk, &wider), "nor does one that overlaps the prefix prove anything");
}

#[test]
fn a_prefix_held_twice_and_shown_once_has_no_suspects() {
    let (mut desk, _) = books();
    desk.subnet(exact(WEB).option("overlap", "true"));
    assert!(!proves(&desk, &complete()), "a network is missing from the list");
    assert!(proves(&desk, &lists([prefix(WEB), prefix(WEB), prefix(OTHER)])));
    assert!(!proves_subnet(&desk, &lists([prefix(OTHER)])));
}

#[test]
fn a_copy_is_recognized_however_the_overlap_option_is_written() {
    for word in ["true", "1"] {
        let mut desk = Desk::new(lan());
        desk.subnet(exact(WEB));
        let shown = IndexedLists::new(lists([prefix(WEB)]), &["gipam".to_owned()]);
        assert!(!Sight::new(&desk.plan, &shown).is_copied(prefix(WEB)));
        desk.subnet(exact(WEB).option("overlap", word));
        assert!(Sight::new(&desk.plan, &shown).is_copied(prefix(WEB)), "overlap={word}");
    }
}

#[test]
fn p28_a_size_in_the_place_of_a_prefix_may_be_any_subnet_of_that_size() {
    let (desk, _) = books();
    let mut shown = lists([prefix(OTHER)]);
    shown.networks.push(Network { unlocated: vec![(Family::V4, 24)], ..shown.networks[0].clone() });
    shown.networks[1].subnets.clear();
    assert!(!proves_subnet(&desk, &shown));
    shown.networks[1].unlocated = vec![(Family::V4, 25), (Family::V6, 24)];
    assert!(proves_subnet(&desk, &shown), "another size or family is another subnet");
    // identified by an endpoint in it
    let size = Configured { prefix: prefix("0.0.0.0/24"), range: None, gateway: None, auxiliary: vec![] };
    let mut located = lists([prefix(OTHER)]);
    located.networks.push(Network { subnets: vec![], ..located.networks[0].clone() });
    located.networks[1].endpoints.push(endpoint("web", &["192.0.2.9"]));
    located.networks[1].locate(Family::V4, 24, &size);
    assert!(!proves_subnet(&desk, &located));
    assert!(proves(&desk, &located), "its list is complete: .7 is not in it");
}

#[test]
fn a_new_grant_is_alive_and_one_view_never_counts_as_two() {
    let (desk, _) = books();
    let shown = IndexedLists::new(complete(), &["gipam".to_owned()]);
    let sight = Sight::new(&desk.plan, &shown);
    let subnet = desk.plan.subnets().next().unwrap();
    let (address, record) = subnet.addresses.records().find(|(_, record)| record.leased).unwrap();
    let seen = |steady, settled| {
        let view = CompleteView::of(sight, Moment { steady, wall: 9 }, settled).unwrap();
        view.lease_absent(subnet, address, record)
    };
    assert!(seen(5, record.generation).is_none(), "the lease was granted less than a minute ago");
    let [first, again, later] = [5, 5, 9].map(|at| seen(at, record.generation + 1).unwrap());
    assert!(Death::of(&first, &again, 0).is_none());
    assert!(Death::of(&later, &first, 0).is_none(), "the views must be in the order of the checks");
    assert!(Death::of(&first, &later, 5).is_none() && Death::of(&first, &later, 4).is_some());
}

#[test]
fn only_endpoints_and_subnets_of_space_local_die() {
    let mut desk = Desk::new(lan());
    desk.subnet(exact(OTHER));
    let id = desk.subnet(exact(WEB));
    desk.gave(gateway(&id));
    let global = desk.subnet(exact("203.0.113.0/24").global());
    desk.gave(number(&global, "203.0.113.9"));
    for subnet in desk.plan.subnets() {
        for (address, record) in subnet.addresses.records() {
            assert!(dead_lease(&desk.plan, subnet, address, record.generation).is_none(), "{address}");
        }
        let local = subnet.is_held_locally();
        assert_eq!(dead_subnet(&desk.plan, subnet, subnet.state.generation).is_some(), local);
    }
}

#[test]
fn an_address_without_an_owner_is_an_endpoints_until_the_engine_lists_it_as_auxiliary() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(exact(WEB));
    desk.gave(gateway(&id));
    desk.gave(number(&id, "192.0.2.7"));
    assert_eq!(
        desk.kind(&id, "192.0.2.7"),
        Kind::Endpoint,
        "the kind is not guessed from the age of the network"
    );
    let record = desk.record(&id, "192.0.2.7").unwrap();
    let serial = desk.plan.subnets().next().unwrap().state.serial;
    let address = gipam::plan::prefix::number(ip("192.0.2.7"));
    let mut identify = |kind| {
        let (generation, evidence) = (record.generation, "seen".into());
        let wish = Repair::Identify { serial, address, generation, kind, evidence };
        desk.ask(Request::Repair(Box::new(wish))).unwrap();
        desk.record(&id, "192.0.2.7").map(|record| (record.kind, record.asked_by_number)).unwrap()
    };
    assert_eq!(identify(Kind::Auxiliary), (Kind::Auxiliary, false), "no container requested it by number");
    assert_eq!(identify(Kind::Endpoint).0, Kind::Endpoint, "older books may have guessed");
    assert_eq!(identify(Kind::Gateway).0, Kind::Endpoint, "a gateway request is marked as such");
}

#[test]
fn an_address_with_a_mac_is_never_auxiliary() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(exact(WEB));
    let mut request = number(&id, "192.0.2.7");
    request.mac = Some(Mac([2; 6]));
    desk.gave(request);
    let (serial, record) =
        (desk.plan.subnets().next().unwrap().state.serial, desk.record(&id, "192.0.2.7").unwrap());
    let address = gipam::plan::prefix::number(ip("192.0.2.7"));
    let (generation, evidence) = (record.generation, "seen".into());
    let wish = Repair::Identify { serial, address, generation, kind: Kind::Auxiliary, evidence };
    assert!(desk.decide(&Request::Repair(Box::new(wish))).changes.is_empty());
}

#[test]
fn a_released_address_is_not_adopted_for_seconds_and_says_so() {
    let (mut desk, id) = books();
    desk.free(&id, "192.0.2.7");
    let serial = desk.plan.subnets().next().unwrap().state.serial;
    let address = gipam::plan::prefix::number(ip("192.0.2.7"));
    let adopt = |desk: &mut Desk| {
        let read = gipam::plan::request::Fence { generation: desk.plan.counters().0, at: desk.now };
        let (kind, mac, evidence) = (Kind::Endpoint, None, "seen".into());
        let wish =
            Repair::Adopt { serial, lease: ShownLease { address, kind, name: None, mac, evidence }, read };
        desk.ask(Request::Repair(Box::new(wish))).is_ok()
    };
    assert!(!adopt(&mut desk));
    desk.pass(5_000);
    assert!(adopt(&mut desk));
    assert!(desk.record(&id, "192.0.2.7").unwrap().leased);
}

#[test]
fn a_refusal_names_container_and_network_and_dockers_command_first() {
    let (mut desk, id) = books();
    let subnet = desk.plan.subnets().next().unwrap().state.clone();
    let generation = desk.record(&id, "192.0.2.7").unwrap().generation;
    let shown = gipam::plan::change::ShownHolder {
        container: "web".into(),
        container_id: "4f".into(),
        network: "front".into(),
    };
    let address = gipam::plan::prefix::number(ip("192.0.2.7"));
    let mut known = Dead::default();
    known.holders.insert((subnet.serial, address), (generation, shown));
    known.networks.insert(subnet.serial, (subnet.generation, "front".into()));
    let mut asked = number(&id, "192.0.2.7");
    asked.mac = Some(Mac([2; 6]));
    let unknown = desk.ask(Request::Address(asked.clone())).unwrap_err().to_string();
    assert!(
        unknown.contains("find its container with: docker network inspect; if none has it: gipam release"),
        "{unknown}"
    );
    asked.dead = known.clone().into();
    let text = desk.ask(Request::Address(asked)).unwrap_err().to_string();
    assert_eq!(
        text,
        "address already in use: 192.0.2.7 is held by container web in network front; free it with: docker rm -f web"
    );
    let mut overlap = exact(WEB);
    overlap.dead = known.into();
    let text = desk.ask(Request::Subnet(overlap)).unwrap_err().to_string();
    assert!(text.contains("granted to network front in space local"), "{text}");
    assert!(text.ends_with("use another subnet, or free it with: docker network rm front"), "{text}");
}

#[test]
fn a_pin_that_is_refused_names_the_container_as_the_engine_calls_it() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(exact(WEB));
    let mac = Some(Mac([2, 0, 0, 0, 0, 7]));
    desk.gave(AddressRequest { mac, ..address(&id) });
    let (generation, held) = (desk.record(&id, "192.0.2.2").unwrap().generation, ip("192.0.2.2"));
    let refused = |name: &str, known: &Dead| {
        let wanted = PinRequest { holder: Holder::Name(name.into()), address: held, subnet: None };
        desk.plan.pin(&wanted, known).unwrap_err().to_string()
    };
    let unsent = "and Engines before 29 do not send container names";
    assert_eq!(
        refused("web", &Dead::default()),
        format!(
            "invalid request: 192.0.2.2 is held by an endpoint with MAC 02:00:00:00:00:07, {unsent}; if that is web, \
             give it a fixed --mac-address and pin that: gipam pin MAC 192.0.2.2"
        )
    );
    let shown = ShownHolder { container: "web".into(), container_id: "4f".into(), network: "front".into() };
    let mut known = Dead::default();
    let serial = desk.plan.subnets().next().unwrap().state.serial;
    known.holders.insert((serial, gipam::plan::prefix::number(held)), (generation, shown));
    assert_eq!(
        refused("web", &known),
        format!(
            "invalid request: 192.0.2.2 is held by container web, {unsent}; give it a fixed --mac-address and pin \
             that: gipam pin MAC 192.0.2.2"
        )
    );
    assert_eq!(
        refused("db", &known),
        "address already in use: 192.0.2.2 is held by container web in network front; free it with: docker rm -f web"
    );
}

#[test]
fn a_caller_whose_containers_may_have_outlived_it_is_not_gone() {
    for (how, replaced) in [(Gone::Itself, false), (Gone::WithItsContainers, true)] {
        let mut desk = Desk::new(lan());
        let arrival = |arrived: &str, gone| {
            let repair = Repair::Arrival { boot: "b".into(), arrived: arrived.into(), gone };
            Request::Repair(Box::new(repair))
        };
        desk.ask(arrival("b/1/1", vec![])).unwrap();
        let id = desk.subnet(exact(WEB));
        desk.gave(number(&id, "192.0.2.7"));
        let decision = desk.decide(&arrival("b/2/2", vec![("b/1/1".into(), how)]));
        let forgotten = |change: &Change| matches!(change, Change::CallerForgotten { .. });
        assert!(decision.changes.iter().any(forgotten));
        desk.ask(arrival("b/2/2", vec![("b/1/1".into(), how)])).unwrap();
        let again = desk.ask(Request::Address(number(&id, "192.0.2.7")));
        assert_eq!(again.is_ok(), replaced, "{how:?}: {again:?}");
    }
}
