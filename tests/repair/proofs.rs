//! PROOF OF DEATH, end to end: what an Engine lists, and what is still leased after repeated checks, ten
//! minutes apart.
//!
//! Checks: whatever is unreadable, filtered, unspecified, duplicated, foreign, partial or new counts as
//! alive; gipam asks the Engine before a forced release by a person; one address at two endpoints is
//! reported.

use gipam::plan::change::Kind;
use gipam::plan::request::{AddressRequest, Request};
use serde_json::{Value, json};

use crate::clock;
use crate::world::{GRACE, Network, World, later};

/// A lease of `10.9.0.9` in network `web`, which the Engine shows without that address, and another network
/// that is alive.
async fn leaked(now: fn() -> u64) -> World {
    let world = World::witnessed(now, true).await;
    let id = world.subnet(Some("10.9.0.0/24")).await.unwrap();
    world.lease(&id, Some("10.9.0.9"), 1).await.unwrap();
    world.show("web", "10.9.0.0/24", &[]);
    world
}

/// Checks often enough that everything dead is freed; returns whether the lease is still held.
async fn stands(world: &World, clock: &std::sync::atomic::AtomicU64) -> bool {
    for _ in 0..4 {
        later(clock, GRACE);
        world.handle.look(true).await.unwrap();
    }
    world.leases().iter().any(|(address, _)| address == "10.9.0.9")
}

fn change(world: &World, network: &str, change: impl FnOnce(&mut Network)) {
    change(world.shown.lock().unwrap().get_mut(network).unwrap());
}

fn field(world: &World, network: &str, key: &str, value: Value) {
    change(world, network, |network| drop(network.fields.insert(key.to_owned(), value)));
}

#[tokio::test]
async fn a_lease_that_a_complete_view_lacks_is_freed() {
    clock!(CLOCK, now);
    let world = leaked(now).await;
    assert!(!stands(&world, &CLOCK).await, "otherwise the other tests would not prove anything");
}

#[tokio::test]
async fn unreadable_filtered_foreign_and_partial_views_do_not_free_anything() {
    type Change = fn(&World);
    let cases: [(&str, Change); 15] = [
        ("no id", |world| world.info.lock().unwrap()["ID"] = json!("")),
        ("no data root", |world| world.info.lock().unwrap()["DockerRootDir"] = Value::Null),
        ("the list contains fewer containers than exist", |world| {
            world.info.lock().unwrap()["Containers"] = json!(3);
        }),
        ("a subnet that is not a prefix", |world| {
            let config = json!({"Driver": "gipam", "Config": [{"Subnet": "10.9.0.0/33"}]});
            field(world, "witness", "IPAM", config);
        }),
        ("a network of a driver whose name has changed since", |world| {
            let config = json!({"Driver": "renamed", "Config": [{"Subnet": "10.9.0.0/24"}]});
            field(world, "web", "IPAM", config);
        }),
        ("a network of Docker's own driver", |world| {
            let config = json!({"Driver": "default", "Config": [{"Subnet": "10.9.0.0/24"}]});
            field(world, "web", "IPAM", config);
        }),
        ("without a list of endpoints", |world| field(world, "web", "Containers", Value::Null)),
        ("an endpoint that cannot be read", |world| {
            field(world, "web", "Containers", json!({"id": {"Name": "one", "IPv4Address": "10.9.0.x/24"}}));
        }),
        ("an auxiliary address", |world| {
            change(world, "web", |network| drop(network.auxiliary.insert("a".into(), "10.9.0.9".into())));
        }),
        ("of a Swarm", |world| field(world, "web", "Scope", json!("swarm"))),
        ("a container in the network that has no further fields", |world| {
            world.say("one", "running", "web", "not an address");
        }),
        ("a container that does not show its networks", |world| {
            world.say_all(json!({"Id": "one", "State": "running", "Names": ["/one"]}));
        }),
        ("a network that disappears during the check", |world| field(world, "web", "Leaving", json!(true))),
        ("an Engine whose /info is forbidden", |world| *world.info.lock().unwrap() = Value::Null),
        ("the ingress of a Swarm, which is not a container", |world| {
            change(world, "web", |network| {
                drop(network.endpoints.insert("ingress-sbox".into(), "10.9.0.9/24".into()))
            });
        }),
    ];
    for (what, change) in cases {
        clock!(CLOCK, now);
        let world = leaked(now).await;
        change(&world);
        assert!(stands(&world, &CLOCK).await, "{what}");
    }
}

#[tokio::test]
async fn another_data_root_another_engine_and_everything_dead_are_reported_and_do_not_free_anything() {
    for (key, value) in [("ID", "another"), ("DockerRootDir", "/mnt/docker")] {
        clock!(CLOCK, now);
        let world = leaked(now).await;
        world.look().await; // records this Engine as the one of the books
        world.info.lock().unwrap()[key] = json!(value);
        assert!(stands(&world, &CLOCK).await, "{key}");
        let findings = world.look().await;
        let engine = findings.iter().find(|found| found.what == "engine").unwrap();
        assert!(
            engine.why.contains(value) && engine.why.contains("and the books know Engine engine"),
            "{}",
            engine.why
        );
        assert_eq!(engine.action, "nothing is freed");
        assert!(engine.advice.as_ref().unwrap().contains("gipam gc --new-engine"));
        // a person may trust the new Engine
        world.handle.trust().await.unwrap();
        assert!(!stands(&world, &CLOCK).await);
    }
    clock!(CLOCK, now);
    let world = leaked(now).await;
    world.look().await;
    world.shown.lock().unwrap().clear();
    assert!(stands(&world, &CLOCK).await, "even with unknown_subnets = \"free\"");
    let held = world.plan().subnets().filter(|subnet| subnet.is_held()).count();
    assert_eq!(held, 2);
    let findings = world.look().await;
    let engine = findings.iter().find(|found| found.what == "engine").unwrap();
    assert!(engine.why.ends_with("it shows none of the networks in the books (2 subnets)"), "{}", engine.why);
}

#[tokio::test]
async fn p28_a_subnet_shown_as_a_size_is_identified_by_its_endpoints() {
    clock!(CLOCK, now);
    let world = leaked(now).await;
    change(&world, "web", |network| {
        network.subnet = "0.0.0.0/24".into();
        network.endpoints.insert("two".into(), "10.9.0.44/24".into());
    });
    let findings = world.look().await;
    let about = |text: &str| findings.iter().filter(|found| found.subnet.starts_with(text)).count();
    assert_eq!((about("0.0.0.0"), about("10.9.0.0")), (0, 1), "{findings:?}");
    assert!(world.leases().iter().any(|(address, _)| address == "10.9.0.44"), "live containers are adopted");
    assert!(!stands(&world, &CLOCK).await, "the unused lease is found");
    let held = |world: &World| world.plan().subnets().filter(|subnet| subnet.is_held()).count();
    assert_eq!(held(&world), 2, "the subnet is alive");
    change(&world, "web", |network| network.endpoints.clear());
    stands(&world, &CLOCK).await;
    assert_eq!(held(&world), 2, "the subnet is alive even without containers");
}

#[tokio::test]
async fn p28_a_template_and_a_family_that_is_off_do_not_hold_a_prefix() {
    clock!(CLOCK, now);
    let world = World::witnessed(now, true).await;
    world.show("template", "10.9.5.0/24", &[]);
    field(&world, "template", "ConfigOnly", json!(true));
    world.show("v4", "2001:db8:5::/64", &[]);
    field(&world, "v4", "EnableIPv6", json!(false));
    assert_eq!(world.handle.look(true).await.unwrap(), vec![], "nothing to adopt");
    // the live network that was created from the template is adopted
    world.show("live", "10.9.5.0/24", &[("one", "10.9.5.7")]);
    let findings = world.handle.look(true).await.unwrap();
    assert_eq!(findings[0].action, "adopted with 1 address", "{findings:?}");
    // and a template alone does not prevent a subnet from being dead
    world.shown.lock().unwrap().remove("live");
    for _ in 0..3 {
        later(&CLOCK, GRACE);
        world.handle.look(true).await.unwrap();
    }
    assert_eq!(world.plan().subnets().filter(|subnet| subnet.is_held()).count(), 1);
}

#[tokio::test]
async fn a_fixed_address_requested_at_once_is_an_endpoint_and_is_found_dead() {
    clock!(CLOCK, now);
    let world = World::witnessed(now, true).await;
    let id = world.subnet(Some("10.9.0.0/24")).await.unwrap();
    for text in ["10.9.0.9", "10.9.0.5", "10.9.0.6"] {
        let address = Some(text.parse().unwrap());
        let request = AddressRequest { id: id.clone(), address, ..AddressRequest::default() };
        world.ask(Request::Address(request)).await.unwrap();
    }
    world.show("web", "10.9.0.0/24", &[("one", "10.9.0.6")]);
    change(&world, "web", |network| drop(network.auxiliary.insert("printer".into(), "10.9.0.5".into())));
    world.look().await;
    assert_eq!(
        world.leases(),
        [("10.9.0.5", Kind::Auxiliary), ("10.9.0.6", Kind::Endpoint), ("10.9.0.9", Kind::Endpoint)]
            .map(|(address, kind)| (address.to_owned(), kind))
    );
    assert!(!stands(&world, &CLOCK).await);
    assert_eq!(world.leases().len(), 2);
}

/// Older versions guessed an address's kind from the time of the request, and their books are still in use.
#[tokio::test]
async fn an_address_taken_for_auxiliary_but_not_listed_as_such_is_an_endpoints() {
    clock!(CLOCK, now);
    let world = World::witnessed(now, true).await;
    let id = world.subnet(Some("10.9.0.0/24")).await.unwrap();
    let address = Some("10.9.0.9".parse().unwrap());
    world.ask(Request::Address(AddressRequest { id, address, ..AddressRequest::default() })).await.unwrap();
    world.show("web", "10.9.0.0/24", &[]);
    change(&world, "web", |network| drop(network.auxiliary.insert("printer".into(), "10.9.0.9".into())));
    world.look().await;
    assert_eq!(world.leases(), [("10.9.0.9".to_owned(), Kind::Auxiliary)]);
    change(&world, "web", |network| network.auxiliary.clear());
    world.look().await;
    assert_eq!(world.leases(), [("10.9.0.9".to_owned(), Kind::Endpoint)]);
    assert!(!stands(&world, &CLOCK).await);
}

#[tokio::test]
async fn auxiliary_addresses_that_the_engine_lists_are_held() {
    clock!(CLOCK, now);
    let world = World::witnessed(now, false).await;
    let id = world.subnet(Some("10.9.0.0/24")).await.unwrap();
    world.show("web", "10.9.0.0/24", &[]);
    change(&world, "web", |network| drop(network.auxiliary.insert("printer".into(), "10.9.0.5".into())));
    world.look().await;
    assert_eq!(world.leases(), [("10.9.0.5".to_owned(), Kind::Auxiliary)]);
    let refused = world.lease(&id, Some("10.9.0.5"), 1).await.unwrap_err();
    assert!(refused.contains("an auxiliary address of the network"), "{refused}");
}

fn doubled(findings: &[gipam::reconcile::Finding]) -> bool {
    findings.iter().any(|it| it.what == "duplicate")
}

/// The networks are read first and the containers later, so a container that was stopped meanwhile may still
/// be shown with an address that another container has received since. A container that restarts gets just
/// such an address.
#[tokio::test]
async fn an_address_that_passes_from_one_container_to_another_during_a_check_is_not_a_duplicate() {
    clock!(CLOCK, now);
    let world = World::witnessed(now, false).await;
    let id = world.subnet(Some("10.9.0.0/24")).await.unwrap();
    let address = world.lease(&id, Some("10.9.0.9"), 1).await.unwrap();
    later(&CLOCK, 3_600_000);
    world.release(&id, address).await;
    world.lease(&id, Some("10.9.0.9"), 2).await.unwrap();
    world.show("front", "10.9.0.0/24", &[("web", "10.9.0.9")]);
    let attached = serde_json::json!({"front": {"NetworkID": "front", "IPAddress": "10.9.0.9"}});
    world.say_all(serde_json::json!({"Id": "id-db", "State": "running", "Names": ["/db"],
        "NetworkSettings": {"Networks": attached}}));
    assert!(!doubled(&world.look().await), "the list may show the earlier holder");
    assert!(world.history("10.9.0.9").iter().all(|(event, _)| event != "duplicate"));
    later(&CLOCK, 5_001);
    assert!(doubled(&world.look().await), "seconds later the list is newer than the grant");
}

#[tokio::test]
async fn one_address_at_two_live_endpoints_is_a_finding_and_an_event() {
    clock!(CLOCK, now);
    let world = World::witnessed(now, false).await;
    let id = world.subnet(Some("10.9.0.0/24")).await.unwrap();
    world.lease(&id, Some("10.9.0.9"), 1).await.unwrap();
    later(&CLOCK, 5_001);
    world.show("web", "10.9.0.0/24", &[("one", "10.9.0.9"), ("two", "10.9.0.9")]);
    for _ in 0..2 {
        let findings = world.look().await;
        assert_eq!(findings[0].what, "duplicate", "the most serious finding comes first: {findings:?}");
        assert_eq!(findings[0].holder.as_deref(), Some("one, two"));
        assert!(findings[0].why.contains("container one in network web and container two in network web"));
    }
    assert_eq!(world.handle.meters().last().found[0], 1);
    let events = world.history("10.9.0.9").into_iter().filter(|(event, _)| event == "duplicate").count();
    assert_eq!(events, 1, "a duplicate causes only one event");
    world.show("web", "10.9.0.0/24", &[("one", "10.9.0.9")]);
    world.look().await;
    assert_eq!(world.handle.meters().last().found[0], 0);
}

/// A check may see the network before the books have its subnet: the event follows once the books have the
/// subnet.
#[tokio::test]
async fn one_address_at_two_endpoints_is_an_event_even_if_the_books_get_the_subnet_later() {
    clock!(CLOCK, now);
    let world = World::witnessed(now, false).await;
    world.show("web", "10.9.0.0/24", &[("one", "10.9.0.9"), ("two", "10.9.0.9")]);
    assert_eq!(world.look().await[0].what, "duplicate");
    let id = world.subnet(Some("10.9.0.0/24")).await.unwrap();
    world.lease(&id, Some("10.9.0.9"), 1).await.unwrap();
    later(&CLOCK, 5_001);
    for _ in 0..2 {
        assert_eq!(world.look().await[0].what, "duplicate");
    }
    let events = world.history("10.9.0.9").into_iter().filter(|(event, _)| event == "duplicate").count();
    assert_eq!(events, 1);
}

/// A duplicate is also found at an address that the books lacked, and in a subnet that they lack altogether.
#[tokio::test]
async fn one_address_at_two_live_endpoints_is_found_whatever_the_books_hold() {
    clock!(CLOCK, now);
    let world = World::witnessed(now, false).await;
    world.subnet(Some("10.9.0.0/24")).await.unwrap();
    for subnet in ["10.9.0", "10.9.1"] {
        let (network, address) = (format!("net-{subnet}"), format!("{subnet}.9"));
        world.show(&network, &format!("{subnet}.0/24"), &[("one", &address), ("two", &address)]);
    }
    world.look().await;
    later(&CLOCK, 5_001);
    let found = world.look().await.into_iter().filter(|it| it.what == "duplicate");
    let found: Vec<_> = found.map(|it| it.address.unwrap()).collect();
    assert_eq!(found, ["10.9.0.9", "10.9.1.9"]);
}

#[tokio::test]
async fn copies_of_a_prefix_may_have_one_address_each() {
    clock!(CLOCK, now);
    let world = World::witnessed(now, false).await;
    for copies in [false, true] {
        if copies {
            world.copy("10.9.0.0/24").await;
        } else {
            world.subnet(Some("10.9.0.0/24")).await.unwrap();
        }
        for (network, container) in [("web", "one"), ("copy", "two")] {
            world.show(network, "10.9.0.0/24", &[(container, "10.9.0.9")]);
        }
        world.look().await; // adopts them
        later(&CLOCK, 5_001);
        let findings = world.look().await;
        assert_eq!(doubled(&findings), !copies, "copies {copies}: {findings:?}");
    }
}

#[tokio::test]
async fn a_release_by_hand_asks_the_engine_first_and_names_the_holder() {
    clock!(CLOCK, now);
    let world = leaked(now).await;
    let id = world.plan().subnets().last().unwrap().state.id.clone();
    world.lease(&id, Some("10.9.0.10"), 2).await.unwrap();
    world.show("web", "10.9.0.0/24", &[("one", "10.9.0.10")]);
    let release = |subnet: &str, address: Option<&str>| {
        world.handle.release(subnet.to_owned(), address.map(|text| text.parse().unwrap()))
    };
    let young = release("10.9.0.0/24", Some("10.9.0.9")).await.unwrap_err();
    assert!(young.text.contains("granted less than a minute ago"), "{young}");
    later(&CLOCK, 60_000);
    let alive = release("10.9.0.0/24", Some("10.9.0.10")).await.unwrap_err();
    assert_eq!(
        alive.text,
        "address 10.9.0.10 is in use by container one in network web; free it with: docker rm -f one, or: docker \
         network disconnect web one"
    );
    assert_eq!(alive.kind, gipam::plan::error::ErrorKind::Taken);
    let network = release(&id, None).await.unwrap_err();
    assert!(
        network.text.ends_with("network web; remove the network with: docker network rm web"),
        "{network}"
    );
    world.gateway(&id).await;
    later(&CLOCK, 60_000);
    let gateway = release("10.9.0.0/24", Some("10.9.0.1")).await.unwrap_err();
    assert_eq!(
        gateway.text,
        "address 10.9.0.1 is in use: it is the gateway of network web; remove the network with: docker network rm web",
        "the Engine may hide it (P26)"
    );
    release("10.9.0.0/24", Some("10.9.0.9")).await.unwrap();
    let missing = release("10.9.0.0/24", Some("10.9.0.9")).await.unwrap_err();
    assert!(missing.text.contains("is not leased in"), "{missing}");
    world.info.lock().unwrap()["ID"] = json!("another");
    world.show("web", "10.9.0.0/24", &[]);
    let other = release("10.9.0.0/24", Some("10.9.0.10")).await.unwrap_err();
    assert!(other.text.starts_with("10.9.0.10 of 10.9.0.0/24 is not released: "), "{other}");
    assert!(other.text.ends_with("repeat with --without-engine"), "{other}");
    world.shown.lock().unwrap().remove("web");
    let whole = release("10.9.0.0/24", None).await.unwrap_err();
    assert!(whole.text.starts_with("10.9.0.0/24 is not released: "), "{whole}");
}

#[tokio::test]
async fn the_name_follows_the_mac_and_not_the_address_alone() {
    clock!(CLOCK, now);
    let world = World::witnessed(now, false).await;
    let id = world.subnet(Some("10.9.0.0/24")).await.unwrap();
    world.lease(&id, Some("10.9.0.9"), 1).await.unwrap();
    world.show("web", "10.9.0.0/24", &[]);
    for (mac, names) in [("02:00:00:00:00:02", 0), ("02:00:00:00:00:01", 1)] {
        let one = json!({"id-one": {"Name": "one", "IPv4Address": "10.9.0.9/24", "MacAddress": mac}});
        field(&world, "web", "Containers", one);
        world.look().await;
        let reader = gipam::store::Reader::open(&world.books).unwrap();
        let serial = world.plan().subnets().find(|it| it.state.id == id).unwrap().state.serial;
        assert_eq!(reader.names_of(serial, None).unwrap().len(), names, "{mac}");
    }
}
