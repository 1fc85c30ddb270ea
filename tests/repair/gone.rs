//! A dockerd that is gone: its leases are replaced at once, unless they are seen alive.

use gipam::docker::Callers;
use gipam::server::Peer;

use crate::clock;
use crate::world::World;

/// A process in place of dockerd, as the listener sees it.
struct Dockerd(std::process::Child);

impl Dockerd {
    fn start() -> Self {
        Self(std::process::Command::new("sleep").arg("600").spawn().unwrap())
    }

    fn peer(&self) -> Peer {
        let pid = i32::try_from(self.0.id()).unwrap();
        Peer::Unix { uid: 0, gid: 0, pid: Some(pid), started: gipam::processes::started(pid) }
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A dockerd that has called, and a lease that it requested.
async fn leased(now: fn() -> u64) -> (World, Dockerd, String) {
    let world = World::new(now, false);
    let first = Dockerd::start();
    world.callers.saw(first.peer()).await.unwrap();
    let id = world.subnet(None).await.unwrap();
    world.lease(&id, Some("10.9.0.9"), 1).await.unwrap();
    (world, first, id)
}

#[tokio::test]
async fn a_lease_of_a_dockerd_that_has_gone_is_replaced_at_once_unless_containers_outlive_it() {
    for (live_restore, outlived) in [(false, Some(false)), (true, Some(true)), (true, None)] {
        clock!(CLOCK, now);
        let (world, first, id) = leased(now).await;
        let refused = world.lease(&id, Some("10.9.0.9"), 2).await.unwrap_err();
        assert!(refused.contains("address already in use"), "its dockerd is alive: {refused}");
        *world.outlived.lock().unwrap() = outlived;
        world.show("web", "10.9.0.0/24", &[]);
        world.look().await;
        drop(first);
        let second = Dockerd::start();
        world.callers.saw(second.peer()).await.unwrap();
        let again = world.lease(&id, Some("10.9.0.9"), 2).await;
        assert_eq!(again.is_err(), live_restore, "{again:?}");
        let why: Vec<_> = world.history("10.9.0.9").into_iter().filter_map(|(_, why)| why).collect();
        assert_eq!(
            why.iter().any(|why| why.starts_with("the dockerd that requested it was gone at ")),
            !live_restore
        );
        let third = world.lease(&id, Some("10.9.0.9"), 3).await.unwrap_err();
        assert!(third.contains("address already in use"), "the new lease is alive: {third}");
    }
}

#[tokio::test]
async fn fenced_a_lease_that_the_engine_shows_is_not_replaced_although_its_dockerd_is_gone() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let first = Dockerd::start();
    world.callers.saw(first.peer()).await.unwrap();
    let id = world.subnet(None).await.unwrap();
    world.lease(&id, Some("10.9.0.9"), 1).await.unwrap();
    world.show("web", "10.9.0.0/24", &[("one", "10.9.0.9")]);
    world.look().await;
    drop(first);
    let second = Dockerd::start();
    world.callers.saw(second.peer()).await.unwrap();
    world.look().await;
    assert!(world.lease(&id, Some("10.9.0.9"), 2).await.unwrap_err().contains("already in use"));
    world.show("web", "10.9.0.0/24", &[]);
    world.look().await;
    world.lease(&id, Some("10.9.0.9"), 2).await.unwrap();
}

/// Restored books may name a dockerd that is gone, and gipam may adopt leases before the running dockerd has
/// called.
#[tokio::test]
async fn fenced_a_lease_adopted_before_any_dockerd_called_does_not_belong_to_a_gone_one() {
    clock!(CLOCK, now);
    let world = World::new(now, false);
    let gone = Dockerd::start();
    world.callers.saw(gone.peer()).await.unwrap();
    let id = world.subnet(None).await.unwrap();
    world.show("web", "10.9.0.0/24", &[]);
    world.look().await;
    drop(gone);
    world.show("web", "10.9.0.0/24", &[("one", "10.9.0.77")]);
    world.look().await;
    assert_eq!(world.leases().len(), 1, "the lease is adopted");
    world.look().await;
    let alive = Dockerd::start();
    world.callers.saw(alive.peer()).await.unwrap();
    let refused = world.lease(&id, Some("10.9.0.77"), 2).await.unwrap_err();
    assert!(refused.contains("address already in use"), "{refused}");
}

/// The packaged unit may hide the name of the boot: a start by hand and then by the unit, within one boot.
#[tokio::test]
async fn where_the_name_of_the_boot_cannot_be_read_a_dockerd_never_counts_as_gone() {
    for name in [Some("boot".to_owned()), None] {
        clock!(CLOCK, now);
        let (world, first, id) = leased(now).await;
        drop(first);
        let written = world.plan().callers().map(|(name, caller)| (name.into(), caller.clone())).collect();
        let hidden = name.is_none();
        let callers = Callers::new(world.ledger.clone(), written, name, Box::new(|_| Some(false)));
        let second = Dockerd::start();
        callers.saw(second.peer()).await.unwrap();
        let again = world.lease(&id, Some("10.9.0.9"), 2).await;
        assert_eq!(again.is_err(), hidden, "{again:?}");
    }
}
