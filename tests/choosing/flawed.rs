//! PROOF OF DEATH tested at random: random networks and containers, seen completely or through a random flaw.
//!
//! Checks: a live lease or subnet is never considered dead, whatever is missing from the Engine's lists; and
//! the complete view finds everything that is gone, because otherwise this test would not prove anything.
//! `make torture` runs it for longer.

use std::cell::Cell;

use gipam::plan::request::{Repair, Request};
use gipam::plan::shown::{Endpoint, EngineIdentity, Lists};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::desk::{Desk, exact, lan, number, prefix};
use crate::evidence::{lists, twice};

/// What is wrong with the view of one network, or of all.
#[derive(Clone, Copy, Debug)]
enum Flaw {
    None,
    /// Its endpoints are not shown, and it was not inspected.
    NotInspected,
    /// Its endpoints are not shown: gipam does not serve its driver.
    Foreign,
    /// Its endpoints belong to a Swarm.
    Swarm,
    /// Its subnet is shown as a length without a prefix.
    Unlocated,
    /// Fewer containers are listed than exist, or something cannot be read.
    Unclear,
    Nameless,
    AnotherEngine,
    AnotherRoot,
    /// The view does not show any network of gipam.
    Stranger,
}

const FLAWS: [Flaw; 10] = [
    Flaw::None,
    Flaw::NotInspected,
    Flaw::Foreign,
    Flaw::Swarm,
    Flaw::Unlocated,
    Flaw::Unclear,
    Flaw::Nameless,
    Flaw::AnotherEngine,
    Flaw::AnotherRoot,
    Flaw::Stranger,
];

const NETWORKS: [&str; 4] = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/64"];

/// The books: each network with the addresses 10 to 15; and the truth: the live addresses of each network.
fn scene(living: &[u8; 4]) -> (Desk, Lists) {
    let mut desk = Desk::new(lan());
    let mut truth = lists(NETWORKS.map(prefix));
    for (n, text) in NETWORKS.iter().enumerate() {
        let id = desk.subnet(exact(text));
        for offset in 0..6u128 {
            let address = prefix(text).address(prefix(text).first() + 10 + offset);
            desk.gave(number(&id, &address.to_string()));
            if living[n] >> offset & 1 == 1 {
                let container = format!("c{n}-{offset}");
                let endpoint = Endpoint {
                    container_id: container.clone(),
                    container,
                    addresses: vec![address],
                    mac: None,
                };
                truth.networks[n].endpoints.push(endpoint);
            }
        }
    }
    let engine = truth.engine.clone().unwrap();
    desk.ask(Request::Repair(Box::new(Repair::Engine(Box::new(engine))))).unwrap();
    (desk, truth)
}

/// The view of the truth through this flaw.
fn through(truth: &Lists, flaw: Flaw, at: usize) -> Lists {
    let mut seen = truth.clone();
    let engine = seen.engine.clone().unwrap();
    let network = &mut seen.networks[at];
    if !matches!(flaw, Flaw::None) {
        network.endpoints.clear();
    }
    match flaw {
        Flaw::None => {}
        Flaw::NotInspected => network.complete = false,
        Flaw::Foreign => network.ipam = "renamed".into(),
        Flaw::Swarm => network.scope = "swarm".into(),
        Flaw::Unlocated => {
            let shown = network.subnets.remove(0).prefix;
            network.unlocated.push((shown.family(), shown.length()));
        }
        Flaw::Unclear => seen.unclear.push("/info counts 3 containers, but 1 are listed".into()),
        Flaw::Nameless => seen.engine = None,
        Flaw::AnotherEngine => seen.engine = Some(EngineIdentity { id: "another".into(), ..engine }),
        Flaw::AnotherRoot => seen.engine = Some(EngineIdentity { root: "/mnt".into(), ..engine }),
        Flaw::Stranger => seen.networks.clear(),
    }
    seen
}

#[test]
fn a_flawed_view_never_proves_a_live_lease_dead() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(300);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let (judged, dead) = (Cell::new(0), Cell::new(0));
    let strategy = (any::<[u8; 4]>(), prop::sample::select(&FLAWS[..]), 0..NETWORKS.len());
    let outcome = TestRunner::new(config).run(&strategy, |(living, flaw, at)| {
        let (desk, truth) = scene(&living);
        let seen = through(&truth, flaw, at);
        for (n, subnet) in desk.plan.subnets().enumerate() {
            let gone = twice(&desk.plan, &seen, |view| view.subnet_absent(subnet));
            prop_assert!(
                gone.is_none(),
                "{flaw:?} at {at}: proves that subnet {} is dead",
                subnet.state.prefix
            );
            for (address, record) in subnet.addresses.records().filter(|(_, record)| record.leased) {
                let here = subnet.state.prefix.address(address);
                let lives = truth.networks[n].endpoints.iter().any(|it| it.addresses.contains(&here));
                let death = twice(&desk.plan, &seen, |view| view.lease_absent(subnet, address, record));
                prop_assert!(
                    !(lives && death.is_some()),
                    "{flaw:?} at {at}: proves that {address} is dead, which is alive"
                );
                if matches!(flaw, Flaw::None) {
                    prop_assert_eq!(
                        death.is_some(),
                        !lives,
                        "the complete list distinguishes dead from live"
                    );
                }
                judged.set(judged.get() + 1);
                dead.set(dead.get() + u64::from(death.is_some()));
            }
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    assert!(dead.get() > 0, "some leases are proven dead");
    println!("{} leases judged, {} proven dead, none of them alive", judged.get(), dead.get());
}
