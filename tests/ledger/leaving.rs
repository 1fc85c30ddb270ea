//! Callers that leave: before the decision, after it, after the commit. Their grants leave no trace, and no
//! release is lost.
//!
//! Promises: R50 for callers that are gone. The server's tests cover the first byte on the wire.

use gipam::plan::request::{AddressRequest, Request, Space};

use crate::support::*;

fn by_number(id: &str, address: &str) -> Request {
    let address = Some(address.parse().unwrap());
    Request::Address(AddressRequest {
        id: id.to_owned(),
        address,
        name: Some("web".to_owned().into()),
        ..Default::default()
    })
}

/// Checks that an undone lease leaves neither a lease nor cooling, a pin or a memory.
fn no_trace(house: &House, id: &str) {
    let plan = house.look();
    let records: Vec<_> =
        plan.held(id).unwrap().addresses.records().map(|(_, record)| record.clone()).collect();
    assert!(records.is_empty(), "{records:?}");
}

#[test]
fn a_request_whose_caller_has_gone_is_dropped_undecided() {
    let house = House::new(&settings("10.0.0.0/16", 24));
    let (id, _) = house.subnet();
    let counters = house.look().counters();
    let gate = house.gate();
    gate.reached();
    drop(house.begin(by_number(&id, "10.0.0.9")));
    drop(house.begin(any_subnet()));
    gate.open();
    assert_eq!(house.look().counters(), counters, "the request was not decided");
}

#[test]
fn a_caller_that_leaves_between_decision_and_commit_leaves_no_trace() {
    let house = House::new(&settings("10.0.0.0/16", 24));
    let (id, _) = house.subnet();
    let first = house.gate();
    first.reached();
    let (address, subnet) = (house.begin(by_number(&id, "10.0.0.9")), house.begin(any_subnet()));
    let second = house.gate();
    first.let_go();
    second.reached();
    // Both are decided now, and their batch is not committed yet.
    drop((address, subnet));
    second.open();
    no_trace(&house, &id);
    assert_eq!(house.look().subnets().count(), 1, "the undone subnet is neither held nor cooling");
}

#[test]
fn a_caller_that_leaves_with_the_answer_in_the_channel_leaves_no_trace() {
    let house = House::new(&settings("10.0.0.0/16", 24));
    let (id, _) = house.subnet();
    let (address, subnet) = (house.begin(by_number(&id, "10.0.0.9")), house.begin(any_subnet()));
    assert_eq!(house.look().subnets().count(), 2, "both subnets are granted and committed");
    drop((address, subnet));
    no_trace(&house, &id);
    assert_eq!(house.look().subnets().count(), 1);
    assert_eq!(house.subnet().1, prefix("10.0.1.0/24"), "the undone subnet does not cool");
}

#[test]
fn an_answer_that_could_not_be_delivered_is_undone_by_its_ticket() {
    let house = House::new(&settings("10.0.0.0/16", 24));
    let (id, _) = house.subnet();
    house.ask(by_number(&id, "10.0.0.9")).unwrap().ticket.unwrap().undo();
    no_trace(&house, &id);
    let granted = house.ask(any_subnet()).unwrap();
    granted.ticket.unwrap().undo();
    assert_eq!(house.look().subnets().count(), 1);
}

#[test]
fn an_undo_reverts_only_the_changes_of_its_own_request() {
    let house = House::new(&settings("10.0.0.0/16", 24));
    let (id, _) = house.subnet();
    let mine = house.ask(by_number(&id, "10.0.0.9")).unwrap();
    house.ask(release_address(&id, "10.0.0.9".parse().unwrap())).unwrap();
    house.ask(by_number(&id, "10.0.0.9")).unwrap();
    mine.ticket.unwrap().undo();
    assert_eq!(house.look().held(&id).unwrap().addresses.leased(), 1, "another holder's lease stays");
    let (used, ticket) = {
        let granted = house.ask(any_subnet()).unwrap();
        let ticket = granted.ticket.unwrap();
        let gipam::plan::request::Reply::Subnet { id, .. } = granted.reply else { panic!() };
        (id, ticket)
    };
    house.address(&used);
    ticket.undo();
    assert!(house.look().held(&used).is_some(), "a subnet with a lease stays");
}

#[test]
fn an_undo_restores_the_memory() {
    let house = House::new(&settings("10.0.0.0/16", 24));
    let (id, _) = house.subnet();
    house.ask(by_number(&id, "10.0.0.9")).unwrap();
    house.ask(release_address(&id, "10.0.0.9".parse().unwrap())).unwrap();
    let before = house.look();
    house.pass(1_000);
    house.ask(by_number(&id, "10.0.0.9")).unwrap().ticket.unwrap().undo();
    let after = house.look();
    let record =
        |plan: &gipam::plan::Plan| plan.held(&id).unwrap().addresses.records().next().unwrap().1.clone();
    assert_eq!(record(&after), record(&before));
}

#[test]
fn a_complete_release_is_carried_out_although_its_caller_has_gone() {
    let house = House::new(&settings("10.0.0.0/16", 24));
    let (id, _) = house.subnet();
    let address = house.address(&id);
    let (other, _) = house.subnet();
    let gate = house.gate();
    gate.reached();
    drop(house.begin(release_address(&id, address)));
    drop(house.begin(release_subnet(&other)));
    gate.open();
    let plan = house.look();
    assert_eq!(plan.held(&id).unwrap().addresses.leased(), 0);
    assert!(plan.held(&other).is_none());
}

#[test]
fn repeatable_a_repeat_that_was_answered_stays_when_the_first_answer_is_undone() {
    let house = House::new(&settings("10.0.0.0/16", 24));
    // At each change of the leader, Swarm managers request a subnet of space global again (P27).
    let global = |wanted: Request| match wanted {
        Request::Subnet(request) => {
            Request::Subnet(gipam::plan::request::SubnetRequest { space: Space::Global, ..request })
        }
        other => other,
    };
    let first = house.ask(global(exact_subnet("10.9.0.0/24")));
    let again = house.ask(global(exact_subnet("10.9.0.0/24")));
    let (id, _) = subnet_of(&again).unwrap();
    assert_eq!(subnet_of(&first), subnet_of(&again));
    first.unwrap().ticket.unwrap().undo();
    assert!(house.look().held(&id).is_some(), "the second network has the subnet");
    let address = house.ask(by_number(&id, "10.9.0.7"));
    let again = house.ask(by_number(&id, "10.9.0.7"));
    assert_eq!(address_of(&address), address_of(&again));
    address.unwrap().ticket.unwrap().undo();
    assert_eq!(house.look().held(&id).unwrap().addresses.leased(), 1, "the lease in space global stays");
    // Docker requests a gateway that is also an auxiliary address twice, and requests a gateway without
    // naming an address.
    let (id, _) = house.subnet();
    let gateway = |address: Option<&str>, gateway| {
        let address = address.map(|text| text.parse().unwrap());
        Request::Address(AddressRequest { id: id.clone(), address, gateway, ..Default::default() })
    };
    for repeat in [gateway(None, true), gateway(Some("10.0.0.1"), false)] {
        let first = house.ask(gateway(None, true));
        let again = house.ask(repeat);
        assert_eq!(address_of(&first), address_of(&again));
        first.unwrap().ticket.unwrap().undo();
        assert_eq!(house.look().held(&id).unwrap().addresses.leased(), 1);
        house.ask(release_address(&id, "10.0.0.1".parse().unwrap())).unwrap();
    }
}

#[test]
fn a_grant_that_was_answered_to_no_other_caller_is_undone_after_repeats_of_others() {
    let house = House::new(&settings("10.0.0.0/16", 24));
    let (id, _) = house.subnet();
    let gateway = || Request::Address(AddressRequest { id: id.clone(), gateway: true, ..Default::default() });
    house.ask(gateway()).unwrap();
    house.ask(gateway()).unwrap();
    house.ask(by_number(&id, "10.0.0.9")).unwrap().ticket.unwrap().undo();
    assert_eq!(house.look().held(&id).unwrap().addresses.leased(), 1);
}
