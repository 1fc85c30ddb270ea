//! Repair: books, ledger and a fake Engine, with a clock that the test advances.
//!
//! Checks: *fenced*, patience, freeing only the provably dead, adoption of live leases, explicit requests
//! over dead ones. The Engine here is a socket that answers as Docker does; real Engines are used in
//! `tests/engines`.

#![cfg(test)]

mod adoption;
mod calls;
mod gone;
#[path = "../support/ledger.rs"]
mod ledger;
#[path = "../support/offline.rs"]
mod offline;
mod one_plan;
mod patience;
mod proofs;
mod released;
mod renames;
mod seconds;
mod sharing;
mod world;

use gipam::plan::change::Kind;
use gipam::plan::request::{AddressRequest, Request};
use gipam::reconcile::{self, Reconciler};
use gipam::store::Reader;

use crate::offline::whole_answer;
use crate::world::{GRACE, World, clock_of, later};

#[tokio::test]
async fn p20_a_leaked_endpoint_is_freed_after_two_checks_a_grace_time_apart() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let id = world.subnet(None).await.unwrap();
    world.gateway(&id).await;
    let live = world.lease(&id, None, 1).await.unwrap().to_string();
    let leaked = world.lease(&id, None, 2).await.unwrap().to_string();
    world.show("web", "10.9.0.0/24", &[("one", &live)]);
    later(&CLOCK, 60_000);
    let findings = world.look().await;
    assert_eq!(
        findings.iter().map(|found| found.address.clone().unwrap()).collect::<Vec<_>>(),
        std::slice::from_ref(&leaked)
    );
    later(&CLOCK, GRACE - 1);
    world.look().await;
    assert_eq!(world.leases().len(), 3, "one millisecond early, repair must not free anything");
    later(&CLOCK, 1);
    // The task's own check is due at this very moment, too: whichever comes first frees the lease, and the
    // books show it.
    world.look().await;
    let expected = vec![("10.9.0.1".to_owned(), Kind::Gateway), (live, Kind::Endpoint)];
    assert_eq!(world.leases(), expected, "the gateway that the Engine hides (P26) and live leases stay");
    let (event, why) = world.history(&leaked).remove(0);
    assert_eq!(event, "released");
    assert!(
        why.unwrap().starts_with("no running container of network web has it at "),
        "the evidence is in the history"
    );
}

#[tokio::test]
async fn fenced_a_lease_granted_again_between_two_checks_is_left_alone() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let id = world.subnet(None).await.unwrap();
    let address = world.lease(&id, Some("10.9.0.9"), 1).await.unwrap();
    world.show("web", "10.9.0.0/24", &[]);
    later(&CLOCK, 60_000);
    world.look().await;
    world.ask(Request::Release { id: id.clone(), address: Some(address), generation: None }).await.unwrap();
    world.lease(&id, Some("10.9.0.9"), 2).await.unwrap();
    later(&CLOCK, GRACE);
    world.look().await;
    assert_eq!(world.leases().len(), 1, "only one check has found the new lease dead");
}

const ANOTHERS: &str = "only reported: another Engine may own it";

#[tokio::test]
async fn gc_apply_frees_an_unknown_subnet_where_there_is_one_engine() {
    clock!(CLOCK, now);
    let world = World::witnessed(now, true).await;
    world.subnet(Some("10.9.8.0/24")).await.unwrap();
    for _ in 0..2 {
        later(&CLOCK, 60_000);
        world.look().await;
    }
    assert_eq!(
        world.plan().subnets().filter(|subnet| subnet.is_held()).count(),
        2,
        "the grace time is not over"
    );
    assert_eq!(world.handle.look(true).await.unwrap()[0].action, "freed");
    assert_eq!(world.plan().subnets().filter(|subnet| subnet.is_held()).count(), 1);
}

#[tokio::test]
async fn auxiliary_and_unknown_networks_are_reported_never_freed() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let id = world.subnet(Some("10.9.7.0/24")).await.unwrap();
    let auxiliary =
        AddressRequest { id: id.clone(), address: Some("10.9.7.5".parse().unwrap()), ..Default::default() };
    world.ask(Request::Address(auxiliary)).await.unwrap();
    world.show("aux", "10.9.7.0/24", &[]);
    let printer = ("printer".to_owned(), "10.9.7.5".to_owned());
    world.shown.lock().unwrap().get_mut("aux").unwrap().auxiliary.extend([printer]);
    world.subnet(Some("10.9.8.0/24")).await.unwrap();
    for _ in 0..3 {
        later(&CLOCK, GRACE);
        world.look().await;
    }
    assert_eq!(world.leases(), vec![("10.9.7.5".to_owned(), Kind::Auxiliary)]);
    let findings = world.look().await;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!((findings[0].what.as_str(), findings[0].subnet.as_str()), ("subnet", "10.9.8.0/24"));
    assert!(world.plan().subnets().filter(|subnet| subnet.is_held()).count() == 2);
    assert_eq!(world.handle.look(true).await.unwrap()[0].action, ANOTHERS);
    let held = world.plan().subnets().filter(|subnet| subnet.is_held()).count();
    assert_eq!(held, 2, "another Engine may own it, so gc --apply leaves it as well");
}

#[tokio::test]
async fn an_address_that_the_engine_shows_live_is_adopted_at_once() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let id = world.subnet(None).await.unwrap();
    world.show("web", "10.9.0.0/24", &[("one", "10.9.0.77")]);
    world.look().await;
    assert_eq!(world.leases(), vec![("10.9.0.77".to_owned(), Kind::Endpoint)]);
    assert!(world.lease(&id, Some("10.9.0.77"), 1).await.unwrap_err().contains("already in use"));
    world.look().await;
    let reader = Reader::open(&world.books).unwrap();
    let names = reader.names_of(world.plan().subnets().next().unwrap().state.serial, None).unwrap();
    let (_, shown) = names.values().next().unwrap();
    assert_eq!((shown.container.as_ref(), shown.network.as_ref()), ("one", "web"));
}

#[tokio::test]
async fn the_engines_name_for_a_nameless_holder_is_an_event_and_changes_nothing_else() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let id = world.subnet(None).await.unwrap();
    let address = world.lease(&id, None, 1).await.unwrap();
    let before = world.plan();
    let of = |plan: &gipam::plan::Plan| {
        let all =
            plan.subnets().flat_map(|subnet| subnet.addresses.records().map(|(_, record)| record.clone()));
        all.collect::<Vec<_>>()
    };
    world.show("front", "10.9.0.0/24", &[("web", &address.to_string())]);
    for _ in 0..2 {
        later(&CLOCK, 60_001);
        world.look().await;
    }
    assert_eq!(of(&world.plan()), of(&before), "the rows of the plan have not changed");
    world.ask(Request::Release { id, address: Some(address), generation: None }).await.unwrap();
    let lines = Reader::open(&world.books).unwrap().lines_after(0, 100).unwrap();
    let rows: Vec<_> = lines
        .iter()
        .map(|line| (line.event.as_str(), line.container.as_deref(), line.network.as_deref()))
        .collect();
    let web = (Some("web"), Some("front"));
    let expected = [
        ("subnet granted", None, web.1),
        ("leased", web.0, web.1),
        ("named", web.0, web.1),
        ("released", web.0, web.1),
    ];
    assert_eq!(rows, expected);
    assert_eq!(lines[2].why.as_deref(), Some("the Engine shows web in front"));
}

#[tokio::test]
async fn the_name_of_a_network_is_recorded_once_with_and_without_containers() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let views = |path: &str| -> Vec<serde_json::Value> {
        serde_json::from_slice(&whole_answer(&world.books, path).unwrap()).unwrap()
    };
    for prefix in ["10.9.1.0/24", "10.9.2.0/24", "10.9.3.0/24"] {
        world.subnet(Some(prefix)).await.unwrap();
    }
    world.show("empty", "10.9.1.0/24", &[]);
    world.show("front", "10.9.2.0/24", &[("web", "10.9.2.7")]);
    // Two networks with one prefix: a missing name is better than a wrong one.
    world.show("one", "10.9.3.0/24", &[]);
    world.show("two", "10.9.3.0/24", &[]);
    world.look().await;
    let of = |row: &serde_json::Value| (row["prefix"].to_string(), row["network"].to_string());
    let shown: Vec<_> = views("/v1/subnets").iter().map(of).collect();
    let expected = [("10.9.1.0/24", "\"empty\""), ("10.9.2.0/24", "\"front\""), ("10.9.3.0/24", "null")];
    assert_eq!(shown, expected.map(|(prefix, name)| (format!("{prefix:?}"), name.to_owned())));
    assert_eq!(views("/v1/history?of=empty").len(), 1, "the grant of its subnet");
    // The subnet is granted again to another network: the old name is forgotten with the old grant.
    let id = world.plan().subnets().next().unwrap().state.id.clone();
    world.ask(Request::Release { id, address: None, generation: None }).await.unwrap();
    world.shown.lock().unwrap().remove("empty");
    later(&CLOCK, 60_001);
    world.subnet(Some("10.9.1.0/24")).await.unwrap();
    assert_eq!(views("/v1/subnets")[0]["network"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_swarm_network_gets_its_name_unless_it_may_belong_to_another() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let scope = |network: &str, scope: &str| {
        let mut shown = world.shown.lock().unwrap();
        shown.get_mut(network).unwrap().fields.insert("Scope".to_owned(), scope.into());
    };
    for (prefix, networks) in [("10.8.1.0/24", &["overlay"][..]), ("10.8.2.0/24", &["one", "two"])] {
        world.global(prefix).await;
        for network in networks {
            world.show(network, prefix, &[]);
            scope(network, "swarm");
        }
    }
    // A node has the manager's subnet in a separate network.
    world.global("10.8.3.0/24").await;
    world.show("local", "10.8.3.0/24", &[]);
    world.look().await;
    let answer = whole_answer(&world.books, "/v1/subnets").unwrap();
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&answer).unwrap();
    let of = |row: &serde_json::Value| (row["space"].to_string(), row["network"].clone());
    let global = |name: serde_json::Value| ("\"global\"".to_owned(), name);
    let expected = ["overlay".into(), serde_json::Value::Null, serde_json::Value::Null].map(global);
    assert_eq!(rows.iter().map(of).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn history_and_who_find_a_container_by_the_name_that_the_engine_showed() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let id = world.subnet(None).await.unwrap();
    let address = world.lease(&id, None, 1).await.unwrap();
    world.show("front", "10.9.0.0/24", &[("web", &address.to_string())]);
    later(&CLOCK, 60_001);
    world.look().await;
    let books = world.books.clone();
    let views = move |path: &str| -> Vec<serde_json::Value> {
        serde_json::from_slice(&whole_answer(&books, path).unwrap()).unwrap()
    };
    let who = views("/v1/who?address=web");
    assert_eq!((who.len(), &who[0]["address"]), (1, &serde_json::json!(address)));
    assert_eq!(views("/v1/who?address=front").len(), 1, "the lease in the network of that name");
    assert_eq!(who, views("/v1/who?address=02:00:00:00:00:01"));
    let missing = whole_answer(&world.books, "/v1/who?address=nobody").unwrap_err();
    assert_eq!(missing.kind, gipam::plan::error::ErrorKind::Missing);
    // Another container has the address now: events of web are still found, and those of the other are not
    // listed as web's.
    world.ask(Request::Release { id: id.clone(), address: Some(address), generation: None }).await.unwrap();
    world.shown.lock().unwrap().clear();
    later(&CLOCK, 60_001);
    world.lease(&id, Some(&address.to_string()), 2).await.unwrap();
    world.show("front", "10.9.0.0/24", &[("db", &address.to_string())]);
    world.look().await;
    let events = |of: &str| -> Vec<String> {
        let rows = views(&format!("/v1/history?of={of}"));
        rows.iter().map(|row| format!("{} {}", row["event"], row["holder"])).collect()
    };
    assert_eq!(events("web"), ["\"released\" \"web\"", "\"named\" \"web\"", "\"leased\" \"web\""]);
    assert_eq!(events("db"), ["\"named\" \"db\"", "\"leased\" \"db\""]);
    assert_eq!(events("front").len(), 6, "the events of the containers and of the subnet");
    assert!(events("we").is_empty() && events("eb").is_empty());
}

#[tokio::test]
async fn fenced_an_address_just_released_is_not_adopted() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let id = world.subnet(None).await.unwrap();
    let address = world.lease(&id, None, 1).await.unwrap();
    world.show("web", "10.9.0.0/24", &[("stopping", &address.to_string())]);
    world.ask(Request::Release { id, address: Some(address), generation: None }).await.unwrap();
    world.look().await;
    assert_eq!(world.leases(), vec![], "the Engine's list lags behind its releases");
    later(&CLOCK, 5_001);
    world.look().await;
    assert_eq!(world.leases().len(), 1, "seconds later it counts as alive");
}

#[tokio::test]
async fn a_dead_holder_does_not_block_an_explicit_request() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let id = world.subnet(None).await.unwrap();
    world.lease(&id, Some("10.9.0.9"), 1).await.unwrap();
    world.show("web", "10.9.0.0/24", &[]);
    later(&CLOCK, 60_000);
    world.look().await;
    assert!(world.lease(&id, Some("10.9.0.9"), 2).await.is_err(), "one check is not a proof");
    later(&CLOCK, 60_000);
    world.look().await;
    world.lease(&id, Some("10.9.0.9"), 2).await.unwrap();
    let events: Vec<String> = world.history("10.9.0.9").into_iter().map(|(event, _)| event).collect();
    assert_eq!(events, ["leased", "released", "leased"], "newest first: the replacement is recorded");
    assert!(world.lease(&id, Some("10.9.0.9"), 3).await.is_err(), "the proof was about the old generation");
}

#[tokio::test]
async fn a_dead_subnet_does_not_block_where_there_is_one_engine() {
    for only_engine in [false, true] {
        clock!(CLOCK, now);
        let world = World::witnessed(now, only_engine).await;
        let old = world.subnet(Some("10.9.3.0/24")).await.unwrap();
        for _ in 0..2 {
            later(&CLOCK, 60_000);
            world.look().await;
        }
        let again = world.subnet(Some("10.9.3.0/24")).await;
        if only_engine {
            assert_ne!(again.unwrap(), old, "the old PoolID stays harmless");
            world.ask(Request::Release { id: old, address: None, generation: None }).await.unwrap();
            assert_eq!(world.plan().subnets().filter(|subnet| subnet.is_held()).count(), 2);
        } else {
            assert!(again.unwrap_err().contains("pool overlaps"));
        }
    }
}

#[tokio::test]
async fn an_engine_that_does_not_answer_changes_nothing() {
    clock!(CLOCK, now);
    let world = World::new(now, true);
    let id = world.subnet(None).await.unwrap();
    world.lease(&id, None, 1).await.unwrap();
    let settings = reconcile::RepairSettings {
        engine: Some(world.books.with_file_name("nobody.sock")),
        grace: GRACE,
        only_engine: true,
    };
    let drivers = vec!["gipam".to_owned()];
    let (handle, task) = Reconciler::new(
        settings,
        drivers,
        world.ledger.clone(),
        world.books.clone(),
        world.callers.clone(),
        clock_of(now),
    );
    let task = tokio::spawn(task.unwrap().run());
    later(&CLOCK, GRACE * 2);
    assert!(handle.look(true).await.unwrap_err().contains("nobody.sock"));
    assert_eq!(world.leases().len(), 1);
    task.abort();
}

#[tokio::test]
async fn a_stopped_container_that_still_names_an_address_does_not_hold_it() {
    clock!(CLOCK, now);
    let world = World::patient(now, false, 1_000);
    let id = world.subnet(None).await.unwrap();
    let address = |n| format!("10.9.0.{n}");
    for (n, state) in [(2, "exited"), (3, "created"), (4, "dead"), (5, "running"), (6, "paused")] {
        world.lease(&id, Some(&address(n)), n).await.unwrap();
        world.say(state, state, "web", &address(n));
    }
    // an address that a stopped container names, but that is not leased, is not added to the books either
    world.say("old", "exited", "web", "10.9.0.9");
    world.show("web", "10.9.0.0/24", &[]);
    for _ in 0..2 {
        later(&CLOCK, 60_000);
        world.look().await;
    }
    let left: Vec<String> = world.leases().into_iter().map(|(address, _)| address).collect();
    assert_eq!(left, [address(5), address(6)]);
}
