//! Releases: *repeatable*, one grant per PoolID (P19), forced, and undone.
//!
//! Rules R6, R50 and R77; duties D7 and D8.

use gipam::plan::change::Change;
use gipam::plan::request::{AddressRequest, Reply, Request};

use crate::desk::*;

fn unchanged(desk: &mut Desk, request: Request) {
    let decision = desk.decide(&request);
    assert_eq!(decision.reply, Ok(Reply::Done), "{request:?}");
    assert!(decision.changes.is_empty(), "{request:?}: {decision:?}");
}

fn release_address(id: &str, text: &str, generation: Option<u64>) -> Request {
    Request::Release { id: id.into(), address: Some(ip(text)), generation }
}

#[test]
fn repeatable_releasing_something_free_succeeds_and_changes_nothing() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    desk.gave(address(&id));
    desk.free(&id, "10.0.0.2");
    for text in ["10.0.0.2", "10.0.0.99", "10.0.0.0", "10.0.0.255", "192.0.2.1", "2001:db8::1"] {
        unchanged(&mut desk, release_address(&id, text, None));
    }
    desk.release(&id);
    unchanged(&mut desk, Request::Release { id: id.clone(), address: None, generation: None });
    unchanged(&mut desk, release_address(&id, "10.0.0.2", None));
    unchanged(&mut desk, Request::Release { id: "anything at all".into(), address: None, generation: None });
}

#[test]
fn p19_a_pool_id_names_one_grant() {
    let mut desk = Desk::new(lan());
    let old = desk.subnet(exact("10.0.0.0/24"));
    desk.release(&old);
    let new = desk.subnet(exact("10.0.0.0/24"));
    desk.gave(number(&new, "10.0.0.9"));
    assert_ne!(old, new);
    unchanged(&mut desk, Request::Release { id: old.clone(), address: None, generation: None });
    unchanged(&mut desk, release_address(&old, "10.0.0.9", None));
    assert!(desk.record(&new, "10.0.0.9").unwrap().leased);
}

#[test]
fn p17_release_pool_ends_every_lease_in_it() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    desk.gave(gateway(&id));
    desk.gave(number(&id, "10.0.0.9"));
    desk.gave(named(&id, "web"));
    desk.release(&id);
    assert!(desk.plan.subnets().all(|subnet| subnet.addresses.leased() == 0));
    let id = desk.subnet(exact("10.0.0.0/24"));
    assert_eq!(desk.host(number(&id, "10.0.0.9")), "10.0.0.9");
}

#[test]
fn p11_releasing_a_gateway_that_was_never_requested_succeeds() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    unchanged(&mut desk, release_address(&id, "10.0.0.1", None));
    desk.release(&id);
}

#[test]
fn a_release_meant_for_one_generation_does_not_affect_another() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    desk.gave(address(&id));
    let generation = desk.record(&id, "10.0.0.2").unwrap().generation;
    unchanged(&mut desk, release_address(&id, "10.0.0.2", Some(generation + 1)));
    let held = desk.plan.held(&id).unwrap().state.generation;
    unchanged(&mut desk, Request::Release { id: id.clone(), address: None, generation: Some(held + 9) });
    assert_eq!(desk.decide(&release_address(&id, "10.0.0.2", Some(generation))).changes.len(), 1);
    assert_eq!(desk.decide(&Request::Release { id, address: None, generation: Some(held) }).changes.len(), 1);
}

#[test]
fn by_force_a_person_frees_a_subnet_or_an_address_by_prefix_or_id() {
    let mut desk = Desk::new(lan());
    let id = desk.subnet(any(V4));
    desk.gave(address(&id));
    for (subnet, address, expected) in [
        (
            "10.0.0.0/24",
            Some("10.0.0.9"),
            "address pool not found: 10.0.0.9 is not leased in 10.0.0.0/24; see: gipam leases",
        ),
        (
            "10.0.0.0/24",
            Some("2001:db8::1"),
            "address pool not found: 2001:db8::1 is not leased in 10.0.0.0/24; see: gipam leases",
        ),
        (
            "10.0.9.0/24",
            None,
            "address pool not found: no subnet \"10.0.9.0/24\" is held; see: gipam subnets",
        ),
        ("web", None, "address pool not found: no subnet \"web\" is held; see: gipam subnets"),
        (id.as_str(), Some("10.0.0.2"), "Done"),
        (
            id.as_str(),
            Some("10.0.0.2"),
            "address pool not found: 10.0.0.2 is not leased in 10.0.0.0/24; see: gipam leases",
        ),
        ("10.0.0.7/24", None, "Done"), // host bits are masked
        (id.as_str(), None, "address pool not found: no subnet "),
    ] {
        let said = desk.force(subnet, address);
        assert!(said.starts_with(expected), "{subnet} {address:?}: {said}");
    }
}

#[test]
fn by_force_a_prefix_held_in_two_spaces_must_be_named_by_id() {
    let mut desk = Desk::new(lan());
    let (global, local) = (desk.subnet(exact("10.0.0.0/24").global()), desk.subnet(exact("10.0.0.0/24")));
    let said = desk.force("10.0.0.0/24", None);
    assert_eq!(
        said,
        format!("invalid request: 10.0.0.0/24 names several subnets; name one by PoolID: {local}, {global}")
    );
    desk.gave(named(&local, "web"));
    let refused = desk.gave(AddressRequest { name: Some("db".into()), ..number(&local, "10.0.0.2") });
    assert!(refused.ends_with(&format!(": gipam release {local} 10.0.0.2 --force")), "{refused}");
    assert_eq!(desk.force(&global, None), "Done");
    assert!(desk.plan.held(&local).is_some());
}

/// Decides and applies a request, then undoes it and applies the undo.
fn undone(desk: &mut Desk, request: Request) -> Vec<Change> {
    let decision = desk.decide(&request);
    for change in &decision.changes {
        desk.plan.apply(change);
    }
    desk.pass(1);
    let undo = Request::Undo(Box::new(decision.undo.unwrap()));
    let changes = desk.decide(&undo).changes;
    desk.ask(undo).unwrap();
    changes
}

/// Compares the plans without counters and time, which an undo does not reset.
fn same_but_counters(before: &Desk, after: &Desk) {
    let state = |desk: &Desk| {
        let subnets: Vec<_> = desk.plan.subnets().cloned().collect();
        let keys: Vec<_> = desk
            .plan
            .keys()
            .map(|(space, family, word, prefix, at)| (space, family, word.to_owned(), prefix, at))
            .collect();
        (subnets, keys)
    };
    assert_eq!(state(before), state(after));
}

fn twin(build: impl Fn(&mut Desk)) -> (Desk, Desk) {
    let mut desks = (Desk::new(lan()), Desk::new(lan()));
    build(&mut desks.0);
    build(&mut desks.1);
    (desks.0, desks.1)
}

#[test]
fn an_undone_grant_leaves_no_cooling_no_pin_and_no_memory() {
    let requests: [fn(&str) -> Request; 4] = [
        |id| Request::Address(AddressRequest { name: Some("web".into()), ..number(id, "10.0.0.9") }),
        |id| Request::Address(AddressRequest { gateway: true, ..number(id, "10.0.0.9") }),
        |_| Request::Subnet(any(V4).option("key", "blog")),
        |_| Request::Subnet(exact("10.0.5.0/24")),
    ];
    for request in requests {
        let build = |desk: &mut Desk| {
            let id = desk.subnet(any(V4));
            desk.gave(address(&id)); // so that the marks of a subnet in use are set
            let old = desk.subnet(exact("10.0.5.0/24"));
            desk.gave(named(&old, "web"));
            desk.release(&old);
            let keyed = desk.subnet(any(V4).option("key", "blog"));
            desk.release(&keyed);
            desk.pass(30_000);
        };
        let (before, mut after) = twin(build);
        let id = after.plan.subnets().find(|subnet| subnet.is_held()).unwrap().state.id.clone();
        let set_up_at = |desk: &Desk| desk.plan.held(&id).unwrap().state.marks.set_up_at;
        let asked = request(&id);
        assert!(!undone(&mut after, asked.clone()).is_empty());
        if set_up_at(&after) == set_up_at(&before) {
            same_but_counters(&before, &after);
        } else {
            assert_eq!(after.plan.held(&id).unwrap().state.marks.gateway, None, "{asked:?}");
        }
    }
}

#[test]
fn an_undo_has_no_effect_after_a_later_change() {
    let mut desk = Desk::new(lan());
    let decision = desk.decide(&Request::Subnet(any(V4)));
    for change in &decision.changes {
        desk.plan.apply(change);
    }
    let id = desk.plan.subnets().next().unwrap().state.id.clone();
    desk.gave(address(&id));
    unchanged(&mut desk, Request::Undo(Box::new(decision.undo.clone().unwrap())));
    desk.release(&id);
    unchanged(&mut desk, Request::Undo(Box::new(decision.undo.unwrap())));
}
