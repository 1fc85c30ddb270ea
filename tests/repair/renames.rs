//! `docker rename` sends nothing to a driver (P30): the new name is read from the Engine's list, and
//! overrides the one in the request.

use gipam::plan::change::ShownHolder;
use gipam::plan::request::{AddressRequest, Mac, Repair, Reply, Request};
use gipam::store::Reader;

use crate::clock;
use crate::world::{World, later};

/// An endpoint with this name requests an address, as on Engine 29.
async fn asks(world: &World, id: &str, name: &str) -> std::net::IpAddr {
    let request = AddressRequest { id: id.to_owned(), name: Some(name.into()), ..AddressRequest::default() };
    match world.ask(Request::Address(request)).await.unwrap() {
        Reply::Address { address, .. } => address,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn p30_a_rename_is_followed_and_the_renamed_container_keeps_its_address() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let id = world.subnet(None).await.unwrap();
    let old = asks(&world, &id, "web").await;
    let shown = old.to_string();
    world.show("front", "10.9.0.0/24", &[("web", &shown)]);
    world.look().await;
    world.show("front", "10.9.0.0/24", &[("web-old", &shown)]);
    for _ in 0..2 {
        later(&CLOCK, 60_001);
        world.look().await;
    }
    let new = asks(&world, &id, "web").await;
    assert_ne!(old, new, "the live lease is not given to others");
    let taken = AddressRequest {
        id: id.clone(),
        address: Some(old),
        name: Some("late".into()),
        ..Default::default()
    };
    let refused = world.ask(Request::Address(taken)).await.unwrap_err();
    assert!(refused.contains("is held by container web-old"), "{refused}");
    for address in [old, new] {
        world
            .ask(Request::Release { id: id.clone(), address: Some(address), generation: None })
            .await
            .unwrap();
    }
    assert_eq!(asks(&world, &id, "web-old").await, old);
    assert_eq!(asks(&world, &id, "web").await, new);
    // Hooks get the new name once, and the books still have it when they are opened again.
    let lines = Reader::open(&world.books).unwrap().lines_after(0, 100).unwrap();
    let named: Vec<_> = lines.iter().filter(|line| line.event == "named").collect();
    let [line] = named[..] else { panic!("{named:?}") };
    assert_eq!(line.name.as_deref(), Some("web-old"));
    assert_eq!(line.why.as_deref(), Some("the Engine shows web-old in front; it was web"));
    let plan = world.plan();
    let subnet = plan.held(&id).unwrap();
    let record = subnet.addresses.get(subnet.number_of(old).unwrap()).unwrap();
    assert_eq!(record.name.as_deref(), Some("web-old"));
}

#[tokio::test]
async fn a_name_is_written_once_although_a_list_lacked_it_in_between() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let id = world.subnet(None).await.unwrap();
    let request = AddressRequest { id, mac: Mac::parse("02:42:0a:09:00:02"), ..Default::default() };
    let Reply::Address { address, .. } = world.ask(Request::Address(request)).await.unwrap() else {
        panic!("no address")
    };
    let shown = address.to_string();
    for containers in [&[("web", &*shown)][..], &[], &[("web", &*shown)]] {
        world.show("front", "10.9.0.0/24", containers);
        world.look().await;
        later(&CLOCK, 10_000);
    }
    let lines = Reader::open(&world.books).unwrap().lines_after(0, 100).unwrap();
    let named = lines.iter().filter(|line| line.event == "named").count();
    assert_eq!(named, 1, "{lines:?}");
}

/// While a container starts, the Engine shows the endpoint's ID in place of the container's: the history
/// names it only once.
#[tokio::test]
async fn p26_a_container_that_gets_its_id_later_is_named_once() {
    clock!(CLOCK, now);
    let world = World::witnessed(now, false).await;
    let id = world.subnet(Some("10.9.0.0/24")).await.unwrap();
    world.lease(&id, Some("10.9.0.9"), 1).await.unwrap();
    let plan = world.plan();
    let subnet = plan.held(&id).unwrap();
    let address = subnet.number_of("10.9.0.9".parse().unwrap()).unwrap();
    let generation = subnet.addresses.get(address).unwrap().generation;
    for container_id in ["ep-0123456789ab", "fedcba987654"] {
        let shown = ShownHolder {
            container: "db".into(),
            container_id: container_id.into(),
            network: "front".into(),
        };
        let name = Repair::Name { serial: subnet.state.serial, address, generation, shown };
        world.ask(Request::Repair(Box::new(name))).await.unwrap();
    }
    let named = world.history("10.9.0.9").into_iter().filter(|(event, _)| event == "named").count();
    assert_eq!(named, 1);
    let names = Reader::open(&world.books).unwrap().names_of(subnet.state.serial, None).unwrap();
    assert_eq!(&*names[&address].1.container_id, "fedcba987654");
}
