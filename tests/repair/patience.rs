//! When repair checks the Engine and when it frees: never too early, and not endlessly if the Engine does not
//! answer.

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use crate::ledger;
use gipam::clock::{Clock, Moment};
use gipam::docker::Callers;
use gipam::plan::Plan;
use gipam::reconcile::{self, Reconciler};
use gipam::store::Books;

use crate::clock;
use crate::world::*;

#[tokio::test(start_paused = true)]
async fn without_an_engine_repair_sleeps_until_a_request_comes() {
    clock!(CLOCK, now);
    let directory = tempfile::tempdir().unwrap();
    let books = directory.path().join("books.db");
    let (ledger, _thread) =
        ledger::start(Plan::new(pool()), Books::open(&books).unwrap(), clock_of(now), drop);
    let socket = directory.path().join("engine.sock");
    let settings =
        reconcile::RepairSettings { engine: Some(socket.clone()), grace: GRACE, only_engine: false };
    let callers = Arc::new(Callers::new(ledger.clone(), Vec::new(), None, Box::new(|_| None)));
    let drivers = vec!["gipam".to_owned()];
    let (handle, task) = Reconciler::new(settings, drivers, ledger.clone(), books, callers, clock_of(now));
    let task = tokio::spawn(task.unwrap().run());
    // The paused clock jumps from timer to timer.
    tokio::time::sleep(Duration::from_secs(900)).await;
    let engine = UnixListener::bind(&socket).unwrap();
    engine.set_nonblocking(true).unwrap();
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    assert!(engine.accept().is_err(), "there was no request for a day, although the Engine is back");
    tokio::time::resume();
    handle.asked().notify_one();
    let engine = tokio::net::UnixListener::from_std(engine).unwrap();
    let came = tokio::time::timeout(Duration::from_secs(20), engine.accept()).await;
    assert!(came.is_ok(), "a request came, so gipam asks the Engine");
    task.abort();
    ledger.stop();
}

#[tokio::test]
async fn a_grace_time_of_a_second_frees_a_second_after_the_first_check_that_counts() {
    clock!(CLOCK, now);
    let world = World::patient(now, true, 1_000);
    let id = world.subnet(None).await.unwrap();
    world.lease(&id, None, 1).await.unwrap();
    world.show("web", "10.9.0.0/24", &[]);
    let held = || world.leases().len();
    for _ in 0..3 {
        later(&CLOCK, 19_000);
        world.handle.look(true).await.unwrap();
        assert_eq!(held(), 1, "within a minute of the grant no check counts, even at a person's request");
    }
    later(&CLOCK, 3_000);
    world.handle.look(true).await.unwrap();
    later(&CLOCK, 999);
    let findings = world.handle.look(true).await.unwrap();
    assert!(findings[0].action.starts_with("wait: checked again after "), "{findings:?}");
    assert_eq!(held(), 1, "one millisecond early, repair must not free anything");
    later(&CLOCK, 1);
    // the task's own check is due at this moment, too
    world.look().await;
    assert_eq!(held(), 0);
}

/// If a lease is seconds old, no observation may free it, whatever the time of day.
#[tokio::test]
async fn a_clock_step_ahead_does_not_make_a_grant_old_enough_to_be_freed() {
    clock!(STEADY, steady);
    clock!(AHEAD, ahead);
    let moment = || Moment { wall: steady() + ahead() - START, steady: steady() };
    let world = World::by(Clock::new(moment), true, 1_000);
    let id = world.subnet(None).await.unwrap();
    world.lease(&id, None, 1).await.unwrap();
    world.show("web", "10.9.0.0/24", &[]);
    for step in [1, 7_200_000, 86_400_000, 31_536_000_000] {
        later(&AHEAD, step);
        later(&STEADY, 2_000);
        world.handle.look(true).await.unwrap();
        assert_eq!(world.leases().len(), 1, "{step} ms ahead");
    }
    later(&STEADY, 60_000);
    world.handle.look(true).await.unwrap();
    later(&STEADY, 2_000);
    world.look().await;
    assert_eq!(world.leases().len(), 0, "a minute later two checks are enough");
}
