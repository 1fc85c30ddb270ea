//! A check reads the ledger's plan in short steps; it does not build a copy from the books.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::clock;
use crate::world::{GRACE, World, later};

#[tokio::test]
async fn a_check_compares_the_plan_of_the_ledger_and_does_not_rebuild_it_from_the_books() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let id = world.subnet(Some("10.9.0.0/24")).await.unwrap();
    world.lease(&id, Some("10.9.0.9"), 1).await.unwrap();
    world.subnet(Some("10.9.1.0/24")).await.unwrap();
    world.show("web", "10.9.0.0/24", &[("one", "10.9.0.9")]);
    later(&CLOCK, 60_000);
    world.look().await;
    // The ledger still has the file open.
    std::fs::rename(&world.books, world.books.with_extension("away")).unwrap();
    let findings = world.handle.look(false).await;
    std::fs::rename(world.books.with_extension("away"), &world.books).unwrap();
    assert_eq!(findings.unwrap()[0].subnet, "10.9.1.0/24");
}

#[tokio::test]
async fn every_lease_is_compared_however_many_reads_it_takes() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let mut expected = BTreeSet::new();
    for n in 0..4 {
        let prefix = format!("10.9.{n}.0/24");
        let id = world.subnet(Some(&prefix)).await.unwrap();
        for address in 1..=100 {
            let address = format!("10.9.{n}.{address}");
            world.lease(&id, Some(&address), 1).await.unwrap();
            expected.insert(address);
        }
        world.show(&format!("web{n}"), &prefix, &[]);
    }
    later(&CLOCK, 60_000);
    let found: Vec<String> = world.look().await.into_iter().filter_map(|one| one.address).collect();
    assert_eq!(found.len(), 400, "each lease is reported once");
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
    for n in 0..4 {
        let lives: Vec<_> = (101..=200).map(|it| (format!("c{n}-{it}"), format!("10.9.{n}.{it}"))).collect();
        let lives: Vec<_> = lives.iter().map(|(name, at)| (name.as_str(), at.as_str())).collect();
        world.show(&format!("web{n}"), &format!("10.9.{n}.0/24"), &lives);
    }
    world.look().await;
    assert_eq!(world.leases().len(), 800, "everything that the Engine shows is adopted");
}

/// The Engine answers first and the plan is read later: an address that was granted in between is missing
/// from the lists.
#[tokio::test]
async fn a_lease_granted_while_the_engine_answers_is_not_compared() {
    clock!(CLOCK, now);
    let world = World::witnessed(now, false).await;
    let id = world.subnet(Some("10.9.0.0/24")).await.unwrap();
    world.show("web", "10.9.0.0/24", &[]);
    let address = world.lease(&id, Some("10.9.0.9"), 1).await.unwrap();
    later(&CLOCK, 120_000);
    let _ = world.look().await;
    later(&CLOCK, GRACE - 1);
    let gate: Arc<(tokio::sync::Notify, tokio::sync::Notify)> = Arc::default();
    *world.gate.lock().unwrap() = Some(gate.clone());
    let meanwhile = async {
        gate.0.notified().await;
        world.release(&id, address).await;
        world.lease(&id, Some("10.9.0.9"), 2).await.unwrap();
        let other = world.subnet(Some("10.9.1.0/24")).await.unwrap();
        world.lease(&other, Some("10.9.1.9"), 3).await.unwrap();
        later(&CLOCK, 120_000);
        gate.1.notify_one();
    };
    let (findings, ()) = tokio::join!(world.handle.look(true), meanwhile);
    let new: Vec<_> = findings.unwrap().into_iter().filter(|one| one.subnet.starts_with("10.9.")).collect();
    assert!(new.is_empty(), "{new:?}");
    let leased = world.leases();
    assert!(
        ["10.9.0.9", "10.9.1.9"].iter().all(|it| leased.iter().any(|(address, _)| address == it)),
        "{leased:?}"
    );
}

/// The lists show the old holder of an address that is granted again while the Engine answers.
#[tokio::test]
async fn a_new_lease_does_not_get_the_name_of_the_holder_that_older_lists_show() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let id = world.subnet(Some("10.9.0.0/24")).await.unwrap();
    let address = world.lease(&id, Some("10.9.0.9"), 1).await.unwrap();
    world.show("web", "10.9.0.0/24", &[("old", "10.9.0.9")]);
    let mut given = world.look().await.len();
    let gate: Arc<(tokio::sync::Notify, tokio::sync::Notify)> = Arc::default();
    *world.gate.lock().unwrap() = Some(gate.clone());
    let meanwhile = async {
        gate.0.notified().await;
        world.release(&id, address).await;
        world.lease(&id, Some("10.9.0.9"), 2).await.unwrap();
        gate.1.notify_one();
    };
    let (findings, ()) = tokio::join!(world.handle.look(false), meanwhile);
    given += findings.unwrap().len();
    assert_eq!(given, 0);
    let plan = world.plan();
    let subnet = plan.subnets().find(|subnet| subnet.state.id == id).unwrap();
    let (_, record) = subnet.addresses.leases().next().unwrap();
    let reader = gipam::store::Reader::open(&world.books).unwrap();
    let names = reader.names_of(subnet.state.serial, None).unwrap();
    assert!(names.values().all(|(generation, _)| *generation != record.generation), "{names:?}");
}
