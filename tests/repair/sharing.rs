//! Networks that share a prefix, like two macvlan networks on one LAN, while the books lack one of them or
//! some leases.
//!
//! Checks *unique* over all of them: an address in use is never given away, whichever network it belongs to.

use gipam::plan::prefix::Prefix;
use gipam::plan::request::Request;

use crate::clock;
use crate::world::*;

const LAN: &str = "10.9.5.0/24";
const FIRST: &str = "local/10.9.5.0/24#00000000deadbeef";
const SECOND: &str = "local/10.9.5.0/24#0123456789abcdef";

impl World {
    /// A network of the LAN with this range.
    fn share(&self, name: &str, range: &str, endpoints: &[(&str, &str)]) {
        self.show(name, LAN, endpoints);
        self.shown.lock().unwrap().get_mut(name).unwrap().range = range.to_owned();
    }

    /// The leases in the subnet with this range.
    fn in_range(&self, range: &str) -> Vec<String> {
        let (plan, range) = (self.plan(), Prefix::parse(range));
        let subnet = plan.subnets().find(|subnet| subnet.is_held() && subnet.state.range == range).unwrap();
        let leased = subnet.addresses.records().filter(|(_, record)| record.leased);
        leased.map(|(address, _)| subnet.state.prefix.address(address).to_string()).collect()
    }

    async fn actions(&self, apply: bool) -> Vec<String> {
        self.handle.look(apply).await.unwrap().into_iter().map(|found| found.action).collect()
    }
}

#[tokio::test]
async fn after_lost_books_networks_that_share_a_prefix_are_adopted_and_an_address_is_never_given_twice() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    // One of the second's addresses is in the first's range, as --ip allows.
    world.share("one", "10.9.5.64/26", &[("a", "10.9.5.65")]);
    world.share("two", "10.9.5.128/26", &[("b", "10.9.5.129"), ("x", "10.9.5.66")]);
    assert_eq!(
        world.actions(false).await,
        ["can be adopted with 1 address", "can be adopted with 2 addresses"]
    );
    assert_eq!(world.actions(true).await, ["adopted with 1 address", "adopted with 2 addresses"]);
    assert_eq!(world.in_range("10.9.5.64/26"), ["10.9.5.65"]);
    assert_eq!(world.in_range("10.9.5.128/26"), ["10.9.5.66", "10.9.5.129"]);
    // PoolIDs of earlier versions do not contain the range: gc lists both networks, their ranges and the
    // command to run.
    let waiting = world.handle.look(false).await.unwrap();
    let said = |at: usize| (waiting[at].holder.as_deref(), waiting[at].why.as_str());
    let why =
        |range: &str| format!("adopted with the range {range}; Docker's PoolID for it is not known yet");
    assert_eq!(said(0), (Some("one"), why("10.9.5.64/26").as_str()));
    assert_eq!(said(1), (Some("two"), why("10.9.5.128/26").as_str()));
    let advice = waiting[0].advice.as_deref().unwrap();
    assert!(advice.contains("gipam adopt RANGE POOLID") && advice.contains("docker restart"), "{advice}");
    let refused = world.lease(FIRST, None, 9).await.unwrap_err();
    assert!(refused.contains(&format!("gipam adopt 10.9.5.64/26 {FIRST:?} (or 10.9.5.128/26)")), "{refused}");
    // A restarted container shows to which subnet the PoolID belongs, and gets its address back.
    let (id, address) = (SECOND.to_owned(), "10.9.5.129".parse().unwrap());
    world.ask(Request::Release { id, address: Some(address), generation: None }).await.unwrap();
    assert_eq!(world.lease(SECOND, None, 1).await.unwrap().to_string(), "10.9.5.129");
    assert_eq!(
        world.lease(FIRST, None, 2).await.unwrap().to_string(),
        "10.9.5.67",
        "the addresses follow the live ones of both networks"
    );
    let refused = world.lease(SECOND, Some("10.9.5.65"), 3).await.unwrap_err();
    assert!(refused.starts_with("address already in use"), "{refused}");
    world.share("one", "10.9.5.64/26", &[("a", "10.9.5.65"), ("c", "10.9.5.67")]);
    for _ in 0..3 {
        later(&CLOCK, 60_001);
        assert_eq!(world.actions(false).await, [""; 0], "books and Engine agree: no lease is suspect");
    }
    let reader = gipam::store::Reader::open(&world.books).unwrap();
    let name = |subnet: &gipam::plan::Subnet| {
        reader.network_of(subnet.state.serial, subnet.state.generation).unwrap().unwrap()
    };
    let names: Vec<String> = world.plan().subnets().map(name).collect();
    assert_eq!(names, ["one", "two"]);
}

#[tokio::test]
async fn a_lease_that_the_books_lack_is_adopted_into_the_range_of_its_network() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    world.share("one", "10.9.5.64/26", &[]);
    world.share("two", "10.9.5.128/26", &[]);
    world.actions(true).await;
    later(&CLOCK, 5_000);
    world.share("one", "10.9.5.64/26", &[("a", "10.9.5.65")]);
    world.share("two", "10.9.5.128/26", &[("b", "10.9.5.129"), ("x", "10.9.5.66")]);
    world.actions(false).await;
    assert_eq!(world.in_range("10.9.5.64/26"), ["10.9.5.65"]);
    assert_eq!(world.in_range("10.9.5.128/26"), ["10.9.5.66", "10.9.5.129"]);
}

#[tokio::test]
async fn live_addresses_of_a_network_that_the_books_lack_are_not_given_to_its_sibling() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    world.share("one", "10.9.5.64/26", &[]);
    world.actions(true).await;
    later(&CLOCK, 5_000);
    // As from an older backup: the second network was created later.
    world.share("two", "10.9.5.128/26", &[("b", "10.9.5.129"), ("x", "10.9.5.66")]);
    world.actions(false).await;
    let given = [world.lease(FIRST, None, 1).await.unwrap(), world.lease(FIRST, None, 2).await.unwrap()];
    assert_eq!(given.map(|it| it.to_string()), ["10.9.5.65", "10.9.5.67"], "a live address is never given");
    let refused = world.lease(FIRST, Some("10.9.5.129"), 3).await.unwrap_err();
    assert!(refused.starts_with("address already in use"), "{refused}");
    world.share("one", "10.9.5.64/26", &[("a", "10.9.5.65"), ("c", "10.9.5.67")]);
    let adopted = world.actions(true).await;
    assert_eq!(adopted, ["adopted with 2 addresses"]);
    assert_eq!(world.in_range("10.9.5.64/26"), ["10.9.5.65", "10.9.5.67"]);
    assert_eq!(
        world.in_range("10.9.5.128/26"),
        ["10.9.5.66", "10.9.5.129"],
        "each network gets its own addresses"
    );
}

#[tokio::test]
async fn a_third_network_without_its_own_range_prevents_the_adoption_of_the_whole_prefix() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    world.share("one", "10.9.5.64/26", &[]);
    world.share("two", "10.9.5.128/26", &[]);
    world.show("three", LAN, &[]);
    let actions = world.actions(true).await;
    assert!(actions.len() == 3 && actions.iter().all(|action| action.starts_with("not adopted: network ")));
    assert!(world.leases().is_empty());
    world.shown.lock().unwrap().remove("three");
    let by_hand = |text: &str| world.handle.adopt(Prefix::parse(text).unwrap(), SECOND.to_owned());
    let refused = by_hand(LAN).await.unwrap_err().text;
    assert!(
        refused.contains("give the --ip-range of the one that you mean: gipam adopt 10.9.5.64/26"),
        "{refused}"
    );
    by_hand("10.9.5.128/26").await.unwrap();
    assert_eq!(world.lease(SECOND, None, 1).await.unwrap().to_string(), "10.9.5.129");
    assert_eq!(
        world.lease(FIRST, None, 2).await.unwrap().to_string(),
        "10.9.5.65",
        "the container was adopted with its network"
    );
}
