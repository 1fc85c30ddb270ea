//! Requests that need another slice: they wait for its claim, while the ledger serves all other requests.
//!
//! Promises: the invariant *owned*, seen through the ledger. The tests themselves decide the outcome of each
//! claim.

use gipam::plan::error::ErrorKind;
use gipam::plan::request::{Reply, Request, SliceRequest, Want};
use gipam::plan::settings::{Base, Settings};
use gipam::store::{Books, Reader};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::support::*;

/// A pool of /28 subnets in slices of /26.
fn sliced() -> Settings {
    let mut settings = settings("192.0.2.0/24", 28);
    settings.pools[0].v4 = settings.pools[0].v4.map(|base| Base { slice: Some(26), ..base });
    settings.check().unwrap();
    settings
}

fn room() -> Want {
    Want::Room { base: prefix("192.0.2.0/24") }
}

fn owned(text: &str) -> Request {
    Request::Slice(Box::new(SliceRequest::Owned { prefix: prefix(text), claim: "mine".into() }))
}

/// The wants that the ledger has passed on so far.
fn passed_on(house: &House, wants: &mut UnboundedReceiver<Want>) -> Vec<Want> {
    house.look();
    std::iter::from_fn(|| wants.try_recv().ok()).collect()
}

#[test]
fn a_request_waits_for_its_claim_and_other_requests_do_not() {
    let mut house = House::new(&sliced());
    let mut wants = house.ledger.wants();
    let mut first = house.begin(any_subnet());
    let mut second = house.begin(any_subnet());
    assert_eq!(passed_on(&house, &mut wants), [room()], "both requests share one want");
    assert!(first.is_pending() && second.is_pending());
    let id = house.exact("203.0.113.0/24");
    house.address(&id);
    assert!(house.ask(owned("192.0.2.64/26")).is_ok());
    assert_eq!(subnet_of(&first.finish()).unwrap().1, prefix("192.0.2.64/28"));
    assert_eq!(subnet_of(&second.finish()).unwrap().1, prefix("192.0.2.80/28"));
    house.stop();
    let books = Books::open(&house.path).unwrap();
    let plan = load(&books, START);
    assert_eq!(plan.slices().iter().count(), 1, "durable");
    drop(books);
    let events: Vec<_> = Reader::open(&house.path).unwrap().history(Some("192.0.2.64/26"), 9).unwrap();
    assert_eq!(events.iter().map(|line| line.event.as_str()).collect::<Vec<_>>(), ["slice held"]);
}

#[test]
fn a_claim_that_is_impossible_is_refused_with_its_reason() {
    let house = House::new(&sliced());
    let mut wants = house.ledger.wants();
    let by_room = house.begin(any_subnet());
    let by_number = house.begin(exact_subnet("192.0.2.0/28"));
    let these = Want::These(prefix("192.0.2.0/28"));
    assert_eq!(passed_on(&house, &mut wants), [room(), these]);
    house.ledger.cannot(room(), "all slices have owners");
    house.ledger.cannot(these, "192.0.2.0/26 belongs to host b");
    let refused = [by_room, by_number].map(|pending| pending.finish().unwrap_err());
    assert_eq!(refused.each_ref().map(|refusal| refusal.kind), [ErrorKind::Exhausted; 2]);
    assert!(refused[0].text.contains("all slices have owners"), "{}", refused[0].text);
    assert!(refused[1].text.contains("192.0.2.0/26 belongs to host b"), "{}", refused[1].text);
}

#[test]
fn without_a_claimer_a_request_is_refused_at_once() {
    let house = House::new(&sliced());
    let refusal = house.ask(any_subnet()).unwrap_err();
    assert!(refusal.text.contains("this host has no [plan]"), "{}", refusal.text);
}

#[test]
fn an_unanswered_claim_holds_a_request_for_five_seconds() {
    let house = House::new(&sliced());
    let mut wants = house.ledger.wants();
    let mut pending = house.begin(any_subnet());
    assert_eq!(passed_on(&house, &mut wants), [room()]);
    house.pass(4_999);
    let _ = house.ask(release_subnet("unknown"));
    assert!(pending.is_pending());
    house.pass(1);
    let _ = house.ask(release_subnet("unknown"));
    let refusal = pending.finish().unwrap_err();
    assert!(refusal.text.contains("not answered within 5 s"), "{}", refusal.text);
}

#[test]
fn a_caller_that_left_does_not_get_a_subnet_when_the_claim_succeeds() {
    let house = House::new(&sliced());
    let mut wants = house.ledger.wants();
    drop(house.begin(any_subnet()));
    let mut stays = house.begin(any_subnet());
    assert_eq!(passed_on(&house, &mut wants), [room()]);
    assert!(stays.is_pending());
    house.ask(owned("192.0.2.0/26")).unwrap();
    assert_eq!(subnet_of(&stays.finish()).unwrap().1, prefix("192.0.2.0/28"));
    assert_eq!(house.look().subnets().count(), 1);
}

#[test]
fn a_slice_with_a_network_is_not_given_back() {
    let house = House::new(&sliced());
    let _wants = house.ledger.wants();
    house.ask(owned("192.0.2.0/26")).unwrap();
    let (id, _) = house.subnet();
    let leave = || Request::Slice(Box::new(SliceRequest::Leave { prefix: prefix("192.0.2.0/26") }));
    let refusal = house.ask(leave()).unwrap_err();
    assert!(refusal.text.contains("subnet 192.0.2.0/28 is in it"), "{}", refusal.text);
    house.ask(release_subnet(&id)).unwrap();
    assert!(house.ask(leave()).unwrap_err().text.contains("is still cooling"));
    house.pass(60_000);
    assert_eq!(house.ask(leave()).unwrap().reply, Reply::Done);
    let mut later = house.begin(any_subnet());
    assert!(later.is_pending(), "a slice that leaves must not give subnets");
}
