//! The gateway that a pool's configuration names: the router of a LAN, for macvlan and ipvlan networks.
//!
//! Promises: every subnet that contains it has it as its gateway, whether the Engine asks for one or not, and no container
//! gets it. Examples only; `tests/plan.rs` compares the rule with the naive model.

use gipam::plan::change::Kind;
use gipam::plan::prefix::Family;
use gipam::plan::request::{AddressRequest, Mac, Reply, Request};
use gipam::plan::settings::{Base, PoolSettings, Settings};

use crate::desk::*;

/// A LAN whose router is at .254 and at ::ffff.
fn routed() -> Settings {
    let lan = pool("lan", "192.0.2.0/24:24", "2001:db8::/64:64");
    let at = |base: Option<Base>, text: &str| {
        base.map(|base| Base { gateway: Some(prefix(text).first()), ..base })
    };
    let (v4, v6) = (at(lan.v4, "192.0.2.254/32"), at(lan.v6, "2001:db8::ffff/128"));
    pools(&[PoolSettings { v4, v6, ..lan }])
}

/// The gateway in the answer to RequestPool, and the PoolID.
fn answered(desk: &mut Desk, request: gipam::plan::request::SubnetRequest) -> (Option<String>, String) {
    match desk.ask(Request::Subnet(request)) {
        Ok(Reply::Subnet { id, gateway, .. }) => (gateway.map(|it| it.to_string()), id),
        other => panic!("{other:?}"),
    }
}

fn of_container(id: &str, text: &str) -> AddressRequest {
    AddressRequest { mac: Some(Mac([2, 0, 0, 0, 0, 7])), ..number(id, text) }
}

#[test]
fn p11_the_gateway_of_the_pool_comes_with_the_subnet_and_answers_a_gateway_request() {
    let mut desk = Desk::new(routed());
    for (request, router, length) in
        [(any(Family::V4), "192.0.2.254", 24), (exact("2001:db8::/64"), "2001:db8::ffff", 64)]
    {
        let (said, id) = answered(&mut desk, request);
        assert_eq!(said.as_deref(), Some(router));
        assert_eq!(desk.kind(&id, router), Kind::Gateway, "the books have it as Docker lists it");
        let before = desk.plan.clone();
        assert_eq!(desk.gave(gateway(&id)), format!("{router}/{length}"));
        let by_number = AddressRequest { gateway: true, ..number(&id, router) };
        assert_eq!(desk.host(by_number), router, "--gateway names the same one");
        assert_eq!(desk.plan, before);
    }
}

#[test]
fn no_container_gets_the_gateway_of_the_pool_although_the_engine_never_asked_for_one() {
    let mut desk = Desk::new(routed());
    // The range leaves three addresses for containers, and the router's.
    let id = desk.subnet(exact("192.0.2.0/24").range("192.0.2.252/30"));
    let given: Vec<String> = (0..2).map(|_| desk.host(address(&id))).collect();
    assert_eq!(given, ["192.0.2.252", "192.0.2.253"]);
    let refusal = desk.gave(address(&id));
    assert!(refusal.starts_with("no available addresses on this pool"), "{refusal}");
    let asked = desk.gave(of_container(&id, "192.0.2.254"));
    let text =
        "address already in use: 192.0.2.254 is held by the gateway of pool lan; choose another address";
    assert_eq!(asked, text);
    let named = AddressRequest { name: Some("web".into()), ..number(&id, "192.0.2.254") };
    assert_eq!(desk.gave(named), text, "Engine 29 sends a name instead of a MAC");
}

#[test]
fn another_gateway_of_a_network_does_not_make_the_gateway_of_the_pool_free() {
    let mut desk = Desk::new(routed());
    let id = desk.subnet(exact("192.0.2.0/24"));
    assert_eq!(desk.host(AddressRequest { gateway: true, ..number(&id, "192.0.2.1") }), "192.0.2.1");
    assert!(desk.gave(of_container(&id, "192.0.2.254")).contains("the gateway of pool lan"));
    let subnet = desk.plan.held(&id).unwrap();
    let counts = desk.plan.count_addresses(subnet);
    assert_eq!((counts.leased, counts.reserved, counts.slot, counts.free), (1, 1, 0, 252));
    assert_eq!(subnet.gateway_lease().map(|(address, _)| address), Some(prefix("192.0.2.1/32").first()));
}

#[test]
fn networks_that_share_the_lan_share_the_gateway_of_the_pool() {
    let mut desk = Desk::new(routed());
    let ids = ["192.0.2.0/26", "192.0.2.64/26"].map(|range| {
        let (gateway, id) = answered(&mut desk, exact("192.0.2.0/24").range(range));
        assert_eq!(gateway.as_deref(), Some("192.0.2.254"));
        id
    });
    desk.release(&ids[0]);
    assert_eq!(desk.kind(&ids[1], "192.0.2.254"), Kind::Gateway);
}

#[test]
fn an_undone_grant_leaves_nothing_of_the_gateway_of_the_pool() {
    let mut desk = Desk::new(routed());
    let id = desk.subnet(exact("192.0.2.0/24"));
    assert_eq!(desk.host(of_container(&id, "192.0.2.9")), "192.0.2.9");
    desk.free(&id, "192.0.2.9");
    desk.release(&id);
    let before: Vec<_> = desk.plan.subnets().cloned().collect();
    let decision = desk.decide(&Request::Subnet(exact("192.0.2.0/24")));
    decision.changes.iter().for_each(|change| desk.plan.apply(change));
    assert_eq!(desk.ask(Request::Undo(Box::new(decision.undo.unwrap()))), Ok(Reply::Done));
    assert_eq!(desk.plan.subnets().cloned().collect::<Vec<_>>(), before);
}

#[test]
fn a_container_that_had_the_address_before_it_became_the_gateway_of_the_pool_keeps_it() {
    let mut settings = routed();
    let routers = [settings.pools[0].v4, settings.pools[0].v6];
    settings.pools[0].v4 = routers[0].map(|base| Base { gateway: None, ..base });
    let mut desk = Desk::new(settings.clone());
    let id = desk.subnet(exact("192.0.2.0/24").range("192.0.2.128/25"));
    assert_eq!(desk.host(of_container(&id, "192.0.2.254")), "192.0.2.254");
    settings.pools[0].v4 = routers[0];
    desk.plan.configure(settings);
    let (gateway, other) = answered(&mut desk, exact("192.0.2.0/24").range("192.0.2.0/25"));
    assert_eq!(gateway, None, "unique: it is still that container's");
    assert_eq!(desk.host(address(&other)), "192.0.2.1", "the place of the gateway is elsewhere");
    let refusal = desk.gave(of_container(&other, "192.0.2.254"));
    assert!(refusal.contains("02:00:00:00:00:07"), "{refusal}");
}

#[test]
fn only_subnets_that_contain_the_gateway_of_the_pool_have_it() {
    let cut = pool("cut", "192.0.2.0/24:26", "");
    let v4 = cut.v4.map(|base| Base { gateway: Some(prefix("192.0.2.65/32").first()), ..base });
    let mut desk = Desk::new(pools(&[PoolSettings { v4, ..cut }]));
    assert_eq!(answered(&mut desk, exact("192.0.2.0/26")).0, None);
    assert_eq!(answered(&mut desk, exact("192.0.2.64/26")).0.as_deref(), Some("192.0.2.65"));
    assert_eq!(answered(&mut desk, exact("192.0.2.64/26").global()).0, None, "not in a Swarm");
}

#[test]
fn d9_an_auxiliary_address_may_repeat_the_gateway_of_the_pool() {
    let mut desk = Desk::new(routed());
    let id = desk.subnet(exact("192.0.2.0/24"));
    assert_eq!(desk.host(number(&id, "192.0.2.254")), "192.0.2.254", "--aux-address router=192.0.2.254");
    assert!(desk.gave(of_container(&id, "192.0.2.254")).starts_with("address already in use"));
}
