//! Networks that Docker has and the books lack: *fenced*, *disjoint*, and which PoolID an adopted subnet
//! gets.
//!
//! P19: a PoolID names one grant, so an old one stays harmless even if the books have lost data.

use gipam::plan::change::Kind;
use gipam::plan::error::Refusal;
use gipam::plan::request::{Adoption, Fence, Mac, Repair, Reply, Request, ShownLease};

use crate::desk::*;

const PREFIX: &str = "192.0.2.0/24";
const DOCKERS: &str = "local/192.0.2.0/24#00000000deadbeef";
const LATE: &str = "local/192.0.2.0/24#0123456789abcdef";

fn seen(desk: &Desk, text: &str, leases: &[(&str, Kind)]) -> Adoption {
    let lease = |(text, kind): &(&str, Kind)| {
        let address = gipam::plan::prefix::number(ip(text));
        ShownLease { address, kind: *kind, name: None, mac: Some(Mac([2; 6])), evidence: "seen".into() }
    };
    Adoption {
        prefix: prefix(text),
        range: None,
        options: Default::default(),
        id: None,
        leases: leases.iter().map(lease).collect(),
        read: Fence { generation: desk.plan.counters().0, at: desk.now },
        evidence: "seen".into(),
    }
}

fn wish(repair: Repair) -> Request {
    Request::Repair(Box::new(repair))
}

fn adopt(desk: &mut Desk, adoption: Adoption) -> Result<Reply, Refusal> {
    desk.ask(wish(Repair::AdoptSubnets(vec![adoption])))
}

fn name(desk: &mut Desk, text: &str, id: &str) -> String {
    let (prefix, id) = (prefix(text), id.to_owned());
    desk.ask(wish(Repair::NameSubnet { prefix, id }))
        .map_or_else(|error| error.to_string(), |_| "done".into())
}

/// A desk with one adopted network: its gateway and a container.
fn adopted() -> Desk {
    let mut desk = Desk::new(lan());
    let found = seen(&desk, PREFIX, &[("192.0.2.9", Kind::Gateway), ("192.0.2.1", Kind::Endpoint)]);
    assert_eq!(adopt(&mut desk, found), Ok(Reply::Done));
    desk
}

fn ids(desk: &Desk) -> Vec<&str> {
    desk.plan.subnets().filter(|subnet| subnet.is_held()).map(|subnet| subnet.state.id.as_str()).collect()
}

#[test]
fn the_first_unknown_id_of_exactly_its_prefix_is_taken_with_the_grant() {
    let mut desk = adopted();
    assert_eq!(ids(&desk), ["local/192.0.2.0/24#?"]);
    let asked_as = desk.plan.subnets().next().unwrap().asked_as();
    assert!(desk.decide(&Request::Address(address(&asked_as))).reply.is_ok(), "gipam explain uses this id");
    assert_eq!(desk.gave(address(DOCKERS)), "192.0.2.2/24", "the live container keeps its address");
    assert_eq!(ids(&desk), [DOCKERS]);
    assert_eq!(desk.kind(DOCKERS, "192.0.2.9"), Kind::Gateway);
    assert!(
        desk.gave(address(LATE)).starts_with("address pool not found: "),
        "a second PoolID has no effect"
    );
    desk.release(DOCKERS);
    assert_eq!(ids(&desk), [""; 0]);
}

#[test]
fn adoption_keeps_names_so_that_a_named_request_gets_its_address_back() {
    let mut desk = Desk::new(lan());
    let mut found = seen(&desk, PREFIX, &[("192.0.2.9", Kind::Gateway), ("192.0.2.77", Kind::Endpoint)]);
    found.leases[1].name = Some("web".into());
    adopt(&mut desk, found).unwrap();
    let serial = desk.plan.subnets().next().unwrap().state.serial;
    let (address, name) = (gipam::plan::prefix::number(ip("192.0.2.88")), Some("db".into()));
    let (kind, mac, evidence) = (Kind::Endpoint, Some(Mac([2, 0, 0, 0, 0, 8])), "seen".into());
    let read = Fence { generation: desk.plan.counters().0, at: desk.now };
    desk.ask(wish(Repair::Adopt { serial, lease: ShownLease { address, kind, name, mac, evidence }, read }))
        .unwrap();
    // Docker assigns other MACs at the restart.
    for (name, text) in [("web", "192.0.2.77"), ("db", "192.0.2.88")] {
        desk.free(DOCKERS, text);
        desk.pass(1_000);
        assert_eq!(desk.host(named(DOCKERS, name)), text);
    }
    assert!(desk.gave(number(DOCKERS, "192.0.2.88")).contains("held by container db"));
}

#[test]
fn an_id_of_another_prefix_space_or_form_is_refused() {
    let mut desk = adopted();
    for id in [
        "local/192.0.2.0/25#00000000deadbeef",
        "local/192.0.2.1/24#00000000deadbeef",
        "local/198.51.100.0/24#00000000deadbeef",
        "global/192.0.2.0/24#00000000deadbeef",
        "/192.0.2.0/24#00000000deadbeef",
        "local/192.0.2.0/24#00000000DEADBEEF",
        "local/192.0.2.0/24#deadbeef",
        "local/192.0.2.0/24#?",
        "local/192.0.2.0/24",
        "abcdefghijklmnop",
    ] {
        assert!(desk.gave(address(id)).starts_with("address pool not found: "), "{id}");
    }
    assert_eq!(ids(&desk), ["local/192.0.2.0/24#?"]);
}

#[test]
fn p19_a_late_release_with_an_old_id_does_not_touch_an_adopted_network() {
    let mut desk = adopted();
    for id in [LATE, "local/192.0.2.0/24#?"] {
        desk.release(id);
        desk.free(id, "192.0.2.1");
    }
    assert_eq!(desk.plan.subnets().next().unwrap().addresses.leased(), 2);
    assert_eq!(ids(&desk), ["local/192.0.2.0/24#?"], "it does not reveal the PoolID either");
    desk.gave(address(DOCKERS));
    desk.release(LATE);
    assert_eq!(ids(&desk), [DOCKERS]);
}

#[test]
fn a_refused_request_still_sets_the_id_and_an_undo_keeps_it() {
    let mut desk = adopted();
    assert!(desk.gave(number(DOCKERS, "192.0.2.1")).starts_with("address already in use: "));
    assert_eq!(ids(&desk), [DOCKERS]);
    let mut desk = adopted();
    let decision = desk.decide(&Request::Address(address(DOCKERS)));
    decision.changes.iter().for_each(|change| desk.plan.apply(change));
    desk.ask(Request::Undo(Box::new(decision.undo.unwrap()))).unwrap();
    assert_eq!(ids(&desk), [DOCKERS]);
    assert_eq!(desk.plan.held(DOCKERS).unwrap().addresses.leased(), 2);
}

#[test]
fn disjoint_a_network_that_overlaps_a_held_subnet_is_not_adopted() {
    let mut desk = Desk::new(lan());
    desk.subnet(exact("192.0.2.0/25"));
    for text in [PREFIX, "192.0.2.0/25", "192.0.2.64/26"] {
        let found = seen(&desk, text, &[]);
        let refusal = adopt(&mut desk, found).unwrap_err();
        assert!(refusal.text.starts_with("pool overlaps"), "{text}: {refusal}");
    }
    let found = seen(&desk, "192.0.2.128/25", &[]);
    assert_eq!(adopt(&mut desk, found), Ok(Reply::Done));
}

#[test]
fn fenced_a_subnet_released_after_or_just_before_the_check_is_not_adopted() {
    let mut desk = Desk::new(lan());
    let before = seen(&desk, PREFIX, &[]);
    desk.pass(1);
    let id = desk.subnet(exact(PREFIX));
    let refused = |desk: &mut Desk| adopt(desk, before.clone()).unwrap_err().text;
    assert!(refused(&mut desk).starts_with("pool overlaps"), "the subnet was granted since the check");
    desk.pass(MINUTE);
    desk.release(&id);
    assert!(refused(&mut desk).starts_with("not now"), "the subnet was released since the check");
    desk.pass(4_999);
    let after = seen(&desk, PREFIX, &[]);
    let text = adopt(&mut desk, after).unwrap_err().to_string();
    assert!(text.starts_with("not now: 192.0.2.0/24 was released at "), "{text}");
    desk.pass(1);
    let after = seen(&desk, PREFIX, &[]);
    assert_eq!(adopt(&mut desk, after), Ok(Reply::Done));
}

#[test]
fn a_remembered_prefix_is_adopted_with_its_memory_and_pins() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(exact(PREFIX));
    desk.gave(named(&id, "web"));
    desk.gave(gipam::plan::request::AddressRequest {
        name: Some("fixed".into()),
        ..number(&id, "192.0.2.77")
    });
    desk.release(&id);
    desk.pass(MINUTE);
    let serial = desk.plan.subnets().next().unwrap().state.serial;
    let found = seen(&desk, PREFIX, &[("192.0.2.77", Kind::Endpoint)]);
    adopt(&mut desk, found).unwrap();
    assert_eq!(desk.plan.subnets().map(|subnet| subnet.state.serial).collect::<Vec<_>>(), [serial]);
    assert_eq!(desk.host(named(DOCKERS, "web")), "192.0.2.2", "web gets its own last address");
    assert!(desk.record(DOCKERS, "192.0.2.77").unwrap().asked_by_number);
}

#[test]
fn an_adopted_subnet_counts_as_used_and_belongs_to_the_pool_that_contains_it() {
    let mut desk = Desk::new(lan());
    let found = seen(&desk, "10.0.7.0/24", &[]);
    adopt(&mut desk, found).unwrap();
    let id = "local/10.0.7.0/24#00000000deadbeef";
    desk.gave(number(id, "10.0.7.9"));
    assert_eq!(desk.kind(id, "10.0.7.9"), Kind::Endpoint);
    assert_eq!(desk.plan.held(id).unwrap().state.pool.as_deref(), Some("lan"));
    assert_eq!(
        desk.subnet(any(V4)).split('#').next(),
        Some("local/10.0.6.0/24"),
        "best fit: the subnet next to the adopted one"
    );
}

#[test]
fn a_person_may_set_an_id_that_no_held_subnet_has() {
    let mut desk = adopted();
    let held = desk.subnet(any(V4));
    assert_eq!(
        name(&mut desk, PREFIX, &held),
        format!(
            "address pool overlaps with existing pool on this address space: PoolID {held:?} belongs to 10.0.0.0/24"
        )
    );
    for wrong in ["", "a\u{7}", "x#?", &"x".repeat(256)] {
        assert!(name(&mut desk, PREFIX, wrong).ends_with("is not a PoolID"), "{wrong:?}");
    }
    assert_eq!(
        name(&mut desk, PREFIX, "local/192.0.3.0/24#00000000deadbeef"),
        "invalid request: the PoolID names local/192.0.3.0/24, not local/192.0.2.0/24"
    );
    assert_eq!(
        name(&mut desk, "198.51.100.0/24", "abcdefghijklmnop"),
        "address pool not found: 198.51.100.0/24 is not an adopted subnet that waits for its PoolID; see: gipam gc"
    );
    assert_eq!(name(&mut desk, PREFIX, "abcdefghijklmnop"), "done");
    assert!(name(&mut desk, PREFIX, "bcdefghijklmnopq").contains("under PoolID \"abcdefghijklmnop\""));
    assert_eq!(desk.gave(address("abcdefghijklmnop")), "192.0.2.2/24");
}

#[test]
fn an_adopted_subnet_is_released_by_force_before_its_id_is_known() {
    let mut desk = adopted();
    assert_eq!(desk.force(PREFIX, Some("192.0.2.1")), "Done");
    assert_eq!(desk.force("local/192.0.2.0/24#?", None), "Done");
    assert_eq!(ids(&desk), [""; 0]);
}

#[test]
fn a_subnet_used_under_its_id_since_the_check_is_not_freed() {
    let mut desk = adopted();
    desk.subnet(exact("198.51.100.0/24")); // a network by which the Engine is recognized
    let subnet = desk.plan.subnets().next().unwrap().clone();
    let death = crate::evidence::dead_subnet(&desk.plan, &subnet, subnet.state.generation).unwrap();
    let free = wish(Repair::Free(death.while_unnamed()));
    assert_eq!(desk.decide(&free).changes.len(), 1);
    desk.gave(address(DOCKERS));
    assert!(desk.decide(&free).changes.is_empty());
}

/// A /30 that was adopted with its gateway and its only container.
fn smallest() -> Desk {
    let mut desk = Desk::new(lan());
    let found = seen(&desk, "192.0.2.0/30", &[("192.0.2.1", Kind::Gateway), ("192.0.2.2", Kind::Endpoint)]);
    assert_eq!(adopt(&mut desk, found), Ok(Reply::Done));
    desk
}

const SMALL: &str = "local/192.0.2.0/30#00000000deadbeef";

#[test]
fn a_restart_in_an_adopted_subnet_gets_the_address_that_it_gave_back_under_the_unknown_id() {
    for again in [1, 3] {
        let mut desk = smallest();
        (0..again).for_each(|_| desk.free(SMALL, "192.0.2.2"));
        assert_eq!(
            desk.plan.subnets().next().unwrap().addresses.leased(),
            2,
            "a kept release alone does not free the lease"
        );
        desk.pass(5_000);
        assert_eq!(desk.gave(address(SMALL)), "192.0.2.2/30");
        assert_eq!(ids(&desk), [SMALL]);
    }
}

#[test]
fn p19_a_kept_release_counts_for_its_own_id_and_its_own_lease_only() {
    let mut desk = smallest();
    desk.free("local/192.0.2.0/30#0123456789abcdef", "192.0.2.2");
    assert!(
        desk.gave(address(SMALL)).starts_with("no available addresses"),
        "the kept release belongs to another grant"
    );
    assert_eq!(ids(&desk), [SMALL]);

    let mut desk = smallest();
    desk.free(SMALL, "192.0.2.2");
    assert_eq!(desk.force("192.0.2.0/30", Some("192.0.2.2")), "Done");
    let mut found = seen(&desk, "192.0.2.0/30", &[]);
    found.read.at += 2 * MINUTE;
    desk.pass(2 * MINUTE);
    let serial = desk.plan.subnets().next().unwrap().state.serial;
    let (number, kind) = (gipam::plan::prefix::number(ip("192.0.2.2")), Kind::Endpoint);
    let lease = ShownLease { address: number, kind, name: None, mac: None, evidence: "seen".into() };
    let lives = Repair::Adopt { serial, lease, read: found.read };
    desk.ask(wish(lives)).unwrap();
    assert!(desk.gave(address(SMALL)).starts_with("no available addresses"), "the address is in use again");
}

#[test]
fn a_kept_release_counts_from_its_own_time_once_a_person_sets_the_id() {
    let mut desk = smallest();
    desk.free(SMALL, "192.0.2.2");
    let then = desk.now;
    desk.pass(MINUTE);
    assert_eq!(name(&mut desk, "192.0.2.0/30", SMALL), "done");
    let record = desk.record(SMALL, "192.0.2.2").unwrap();
    assert_eq!((record.leased, record.since), (false, then));
}
