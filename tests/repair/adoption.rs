//! Whole networks that the books lack: they are shown, adopted on request, and get the PoolID that Docker
//! uses.

use std::collections::BTreeMap;

use gipam::plan::change::Kind;
use gipam::plan::prefix::Prefix;
use gipam::plan::request::Mac;
use gipam::plan::request::*;
use gipam::reconcile::Finding;
use gipam::store::Reader;
use serde_json::json;

use crate::clock;
use crate::world::*;

const PREFIX: &str = "10.9.5.0/24";
const DOCKERS: &str = "local/10.9.5.0/24#00000000deadbeef";

impl World {
    /// Shows a network with everything that an Engine may list for it.
    fn show_all(&self, name: &str) {
        let network = Network {
            subnet: PREFIX.to_owned(),
            gateway: "10.9.5.254".to_owned(),
            range: "10.9.5.128/25".to_owned(),
            auxiliary: BTreeMap::from([("printer".to_owned(), "10.9.5.7".to_owned())]),
            endpoints: BTreeMap::from([
                ("one".to_owned(), "10.9.5.128/24".to_owned()),
                ("lb-web".to_owned(), "10.9.5.200/24".to_owned()),
            ]),
            ..Network::default()
        };
        self.shown.lock().unwrap().insert(name.to_owned(), network);
    }

    async fn apply(&self) -> Vec<Finding> {
        self.handle.look(true).await.unwrap()
    }

    /// (prefix, id) of all held subnets.
    fn held(&self) -> Vec<(String, String)> {
        let plan = self.plan();
        let held = plan.subnets().filter(|subnet| subnet.is_held());
        held.map(|subnet| (subnet.state.prefix.to_string(), subnet.state.id.clone())).collect()
    }
}

fn pair(prefix: &str, id: &str) -> Vec<(String, String)> {
    vec![(prefix.to_owned(), id.to_owned())]
}

#[tokio::test]
async fn a_network_that_the_books_lack_is_shown_and_adopted_with_all_its_live_addresses() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    world.show_all("web");
    let findings = world.look().await;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!((findings[0].what.as_str(), findings[0].holder.as_deref()), ("network", Some("web")));
    assert_eq!(findings[0].action, "can be adopted with 4 addresses");
    assert_eq!(world.held(), vec![], "a network is adopted only at a person's request");
    let findings = world.apply().await;
    assert!(findings[0].action == "adopted with 4 addresses", "{findings:?}");
    assert_eq!(world.held(), pair(PREFIX, "local/10.9.5.0/24#?"));
    let expected = [
        ("10.9.5.7", Kind::Auxiliary),
        ("10.9.5.128", Kind::Endpoint),
        ("10.9.5.200", Kind::Endpoint),
        ("10.9.5.254", Kind::Gateway),
    ];
    assert_eq!(
        world.leases(),
        expected.map(|(address, kind)| (address.to_owned(), kind)),
        "every address in use in a local network, including Swarm's sandboxes"
    );
    let plan = world.plan();
    let state = &plan.subnets().next().unwrap().state;
    assert_eq!((state.pool.as_deref(), state.dynamic), (Some("lan"), false));
    assert_eq!(state.range.unwrap().to_string(), "10.9.5.128/25");
    assert_eq!(state.options, BTreeMap::from([("com.example".to_owned(), "x".to_owned())]));
    assert_eq!(
        world.history("10.9.5.128")[0],
        ("adopted".to_owned(), Some("container one has it in network web".to_owned()))
    );
    assert_eq!(world.history(PREFIX).last().unwrap().0, "subnet adopted");
    let findings = world.look().await;
    assert_eq!(findings[0].why, "adopted; Docker's PoolID for it is not known yet", "{findings:?}");
    let given = world.lease(DOCKERS, None, 9).await.unwrap();
    assert_eq!(given.to_string(), "10.9.5.129", "the address lies in the range, after those in use");
    assert_eq!(world.held(), pair(PREFIX, DOCKERS));
    world
        .shown
        .lock()
        .unwrap()
        .get_mut("web")
        .unwrap()
        .endpoints
        .insert("two".into(), "10.9.5.129/24".into());
    assert_eq!(world.look().await, vec![], "no differences between the books and the Engine");
    world.ask(Request::Release { id: DOCKERS.to_owned(), address: None, generation: None }).await.unwrap();
    assert_eq!(world.held(), vec![]);
}

/// (event, holder) of each row that `gipam history ADDRESS` shows.
fn history(world: &World, of: &str) -> Vec<(String, Option<String>)> {
    let lines = Reader::open(&world.books).unwrap().history(Some(of), 100).unwrap();
    lines.into_iter().map(|line| (line.event, line.name)).collect()
}

#[tokio::test]
async fn adoption_keeps_names_at_once_and_a_named_restart_gets_its_address_back() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    // The whole network, and, later, a single lease that is missing from the books.
    world.show("web", PREFIX, &[("front", "10.9.5.77")]);
    world.apply().await;
    world.show("web", PREFIX, &[("front", "10.9.5.77"), ("late", "10.9.5.88")]);
    later(&CLOCK, 5_000);
    world.look().await;
    let name = |name: &str| Some(name.to_owned());
    assert_eq!(history(&world, "10.9.5.77"), [("adopted".to_owned(), name("front"))]);
    assert_eq!(history(&world, "10.9.5.88"), [("adopted".to_owned(), name("late"))]);
    for (container, text) in [("front", "10.9.5.77"), ("late", "10.9.5.88")] {
        let (id, address) = (DOCKERS.to_owned(), text.parse().unwrap());
        world.ask(Request::Release { id, address: Some(address), generation: None }).await.unwrap();
        let request = AddressRequest {
            id: DOCKERS.to_owned(),
            name: Some(container.into()),
            mac: Some(Mac([2, 9, 9, 9, 9, 9])),
            ..AddressRequest::default()
        };
        let Reply::Address { address, .. } = world.ask(Request::Address(request)).await.unwrap() else {
            panic!("an address")
        };
        assert_eq!(address.to_string(), text);
    }
}

#[tokio::test]
async fn a_prefix_that_is_shown_twice_or_overlaps_a_held_subnet_is_only_reported() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    world.show("web", PREFIX, &[]);
    world.show("copy", PREFIX, &[]);
    world.subnet(Some("10.9.6.0/24")).await.unwrap();
    world.show("held", "10.9.6.0/24", &[]);
    world.show("part", "10.9.6.0/25", &[]);
    let mut actions: Vec<String> = world.apply().await.into_iter().map(|found| found.action).collect();
    actions.sort();
    let twice = |other| format!("not adopted: network {other} overlaps it");
    assert_eq!(actions, [twice("copy"), twice("held"), twice("web")]);
    assert_eq!(world.held().len(), 1);
    world.shown.lock().unwrap().remove("held");
    let found = world.apply().await;
    let part = found.iter().find(|found| found.subnet == "10.9.6.0/25").unwrap();
    assert_eq!(part.action, "not adopted: subnet 10.9.6.0/24 in the books overlaps it");
    let by_hand = world.handle.adopt(Prefix::parse(PREFIX).unwrap(), "abcdefghijklmnop".into()).await;
    assert!(by_hand.unwrap_err().text.ends_with("network web overlaps it"));
}

#[tokio::test]
async fn fenced_a_network_whose_subnet_was_just_released_is_not_adopted() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let id = world.subnet(Some(PREFIX)).await.unwrap();
    world.ask(Request::Release { id, address: None, generation: None }).await.unwrap();
    world.show("going", PREFIX, &[]);
    let findings = world.apply().await;
    assert!(
        findings[0].action.starts_with("not adopted: not now: 10.9.5.0/24 was released at "),
        "{findings:?}"
    );
    assert_eq!(world.held(), vec![]);
    later(&CLOCK, 5_000);
    world.apply().await;
    assert_eq!(world.held().len(), 1);
}

#[tokio::test]
async fn an_opaque_id_is_set_by_hand() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let (prefix, old) = (Prefix::parse(PREFIX).unwrap(), "abcdefghijklmnop");
    let adopt = |id: &str| world.handle.adopt(prefix, id.to_owned());
    assert!(adopt(old).await.unwrap_err().text.contains("has no gipam network with the subnet 10.9.5.0/24"));
    world.show("web", PREFIX, &[("one", "10.9.5.9")]);
    let said = adopt(old).await.unwrap();
    assert_eq!(said[0].action, "adopted with 1 address under PoolID abcdefghijklmnop");
    assert_eq!(world.lease(old, None, 1).await.unwrap().to_string(), "10.9.5.2");
    let refused = adopt("qrstuvwxyzabcdef").await.unwrap_err();
    assert!(refused.text.contains("10.9.5.0/24 has been held since"), "{refused}");
    // the network is adopted first and gets its PoolID later
    world.show("other", "10.9.4.0/24", &[]);
    world.apply().await;
    let (prefix, waiting) = (Prefix::parse("10.9.4.0/24").unwrap(), "local/10.9.4.0/24#?");
    assert!(world.lease("zyxwvutsrqponmlk", None, 1).await.unwrap_err().contains("gipam gc shows"));
    let taken = world.handle.adopt(prefix, old.to_owned()).await.unwrap_err();
    assert!(taken.text.contains("belongs to 10.9.5.0/24"), "{taken}");
    assert!(world.held().iter().any(|(_, id)| id == waiting));
    let said = world.handle.adopt(prefix, "zyxwvutsrqponmlk".to_owned()).await.unwrap();
    assert_eq!(said[0].action, "its PoolID is zyxwvutsrqponmlk from now on");
    world.lease("zyxwvutsrqponmlk", None, 1).await.unwrap();
}

#[tokio::test]
async fn an_adopted_network_that_is_removed_before_its_id_is_known_leaves_nothing_behind() {
    clock!(CLOCK, now);
    let world = World::witnessed(now, false).await;
    world.show("web", PREFIX, &[("one", "10.9.5.9")]);
    world.apply().await;
    // Docker's releases use a PoolID that the books cannot match to this grant
    world.ask(Request::Release { id: DOCKERS.to_owned(), address: None, generation: None }).await.unwrap();
    assert_eq!(world.leases().len(), 1, "a late release of an earlier grant is harmless");
    world.shown.lock().unwrap().remove("web");
    for _ in 0..2 {
        later(&CLOCK, 60_000);
        world.look().await;
    }
    assert_eq!(world.held().len(), 2, "the grace period is not over");
    assert_eq!(
        world.apply().await[0].action,
        "freed",
        "the network was this Engine's, so no other Engine can own it"
    );
    assert_eq!(world.held().len(), 1);
}

#[tokio::test]
async fn an_adopted_network_is_released_by_hand_before_its_id_is_known() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    world.show("web", PREFIX, &[]);
    world.apply().await;
    world.ask(Request::Force { subnet: PREFIX.to_owned(), address: None, generation: None }).await.unwrap();
    assert_eq!(world.held(), vec![]);
}

/// A macvlan network does not leave a route on the host that would reveal its subnet.
#[tokio::test]
async fn unique_a_network_never_gets_a_subnet_that_the_engine_has_and_the_books_lack() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    world.show("lost", "10.9.0.0/24", &[("one", "10.9.0.2/24")]);
    let other = |driver: &str| {
        serde_json::from_value(json!({"IPAM": {"Driver": driver, "Config": [{"Subnet": "10.9.1.128/25"}]}}))
            .unwrap()
    };
    world.show("renamed", "10.9.1.128/25", &[]);
    world.shown.lock().unwrap().get_mut("renamed").unwrap().fields = other("gipam-before");
    world.show("lan", "10.0.0.0/8", &[]);
    world.shown.lock().unwrap().get_mut("lan").unwrap().fields =
        serde_json::from_value(json!({"IPAM": {"Driver": "default", "Config": [{"Subnet": "10.0.0.0/8"}]}}))
            .unwrap();
    world.look().await;
    let id = world.subnet(None).await.unwrap();
    assert!(id.contains("10.9.2.0/24"), "a network that covers the whole pool is ignored: {id}");
    // A request for exactly this prefix is granted: gipam cannot know that it does not come from this very
    // network.
    assert!(world.subnet(Some("10.9.0.0/24")).await.unwrap().contains("10.9.0.0/24"));
    world.shown.lock().unwrap().remove("renamed");
    world.look().await;
    assert!(world.subnet(None).await.unwrap().contains("10.9.1.0/24"), "the network is gone");
}
