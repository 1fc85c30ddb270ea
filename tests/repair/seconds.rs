//! How soon a check follows: within seconds of the event that made it necessary.
//!
//! Checks: a live lease that is missing from the books is adopted without a command after an event of the
//! Engine, after a change by hand, and once a released address can no longer be shown. An Engine that does
//! not send events is checked once an hour.

use std::time::{Duration, Instant};

use gipam::clock::{Clock, Moment};

use crate::clock;
use crate::world::{GRACE, START, World, later};

/// Far less than a minute, and more than a busy machine needs.
const SECONDS: Duration = Duration::from_secs(20);

/// An address that the Engine shows as alive and that is missing from the books, after the first check.
async fn behind(now: fn() -> u64) -> (World, String) {
    let world = World::witnessed(now, false).await;
    let id = world.subnet(Some("10.9.0.0/24")).await.unwrap();
    world.show("web", "10.9.0.0/24", &[]);
    world.look().await;
    (world, id)
}

/// Whether the address is adopted soon, without a requested check.
async fn adopted(world: &World) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < SECONDS {
        if world.leases().iter().any(|(address, _)| address == "10.9.0.9") {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

#[tokio::test]
async fn a_live_lease_that_the_books_lack_is_adopted_seconds_after_the_event_that_reports_it() {
    clock!(CLOCK, now);
    let (world, _) = behind(now).await;
    world.show("web", "10.9.0.0/24", &[("one", "10.9.0.9")]);
    world.happens.notify_one();
    assert!(adopted(&world).await);
}

#[tokio::test]
async fn a_live_lease_that_was_released_by_hand_is_adopted_seconds_later() {
    clock!(CLOCK, now);
    let (world, _) = behind(now).await;
    world.show("web", "10.9.0.0/24", &[("one", "10.9.0.9")]);
    world.handle.changed();
    assert!(adopted(&world).await);
}

#[tokio::test]
async fn an_address_released_too_recently_to_be_adopted_is_checked_again_seconds_later() {
    clock!(CLOCK, now);
    let (world, id) = behind(now).await;
    let address = world.lease(&id, Some("10.9.0.9"), 1).await.unwrap();
    world.release(&id, address).await;
    world.show("web", "10.9.0.0/24", &[("one", "10.9.0.9")]);
    world.look().await;
    assert!(world.leases().is_empty(), "the Engine updates its list after the release");
    later(&CLOCK, 5_000);
    assert!(adopted(&world).await);
}

#[tokio::test]
async fn two_containers_with_one_address_are_found_seconds_after_it_was_granted() {
    clock!(CLOCK, now);
    let (world, id) = behind(now).await;
    world.lease(&id, Some("10.9.0.9"), 1).await.unwrap();
    world.show("web", "10.9.0.0/24", &[("one", "10.9.0.9"), ("two", "10.9.0.9")]);
    world.look().await;
    assert_eq!(
        world.handle.meters().last().found[0],
        0,
        "the address may only have passed from one container to the other"
    );
    later(&CLOCK, 5_001);
    let begun = Instant::now();
    while world.handle.meters().last().found[0] == 0 {
        assert!(begun.elapsed() < SECONDS, "the duplicate is found without a requested check");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// `gipam gc` immediately after the second container was started.
#[tokio::test]
async fn two_containers_with_one_address_are_shown_even_before_the_duplicate_is_certain() {
    let begun = Instant::now();
    let world = World::by(running(begun), false, GRACE);
    let id = world.subnet(Some("10.9.0.0/24")).await.unwrap();
    world.lease(&id, Some("10.9.0.9"), 1).await.unwrap();
    world.show("web", "10.9.0.0/24", &[("one", "10.9.0.9"), ("two", "10.9.0.9")]);
    let findings = world.look().await;
    assert!(findings.iter().any(|it| it.what == "duplicate"), "{findings:?}");
    assert!(begun.elapsed() < SECONDS);
}

fn running(begun: Instant) -> Clock {
    Clock::new(move || {
        let now = START + u64::try_from(begun.elapsed().as_millis()).unwrap();
        Moment { wall: now, steady: now }
    })
}
