//! A release by hand frees what the person saw, and never a grant made meanwhile.

use std::sync::Arc;

use gipam::ledger::Refusal;
use gipam::plan::error::ErrorKind;
use gipam::plan::request::Request;

use crate::clock;
use crate::world::{World, later};

/// Blocks the Engine's list while the lease goes to another holder. Returns the refusal and the number of
/// leases left.
async fn held_up(now: fn() -> u64, pass: impl FnOnce(), whole: bool) -> (Refusal, usize) {
    let world = World::witnessed(now, false).await;
    let id = world.subnet(Some("10.9.0.0/24")).await.unwrap();
    let address = world.lease(&id, Some("10.9.0.9"), 1).await.unwrap();
    pass();
    let gate: Arc<(tokio::sync::Notify, tokio::sync::Notify)> = Arc::default();
    *world.gate.lock().unwrap() = Some(gate.clone());
    let release = world.handle.release("10.9.0.0/24".to_owned(), (!whole).then_some(address));
    let meanwhile = async {
        gate.0.notified().await;
        world.release(&id, address).await;
        if whole {
            world.ask(Request::Release { id: id.clone(), address: None, generation: None }).await.unwrap();
            let id = world.subnet(Some("10.9.0.0/24")).await.unwrap();
            world.lease(&id, Some("10.9.0.9"), 2).await.unwrap();
        } else {
            world.lease(&id, Some("10.9.0.9"), 2).await.unwrap();
        }
        gate.1.notify_one();
    };
    let (released, ()) = tokio::join!(release, meanwhile);
    (released.unwrap_err(), world.leases().len())
}

/// The books are read first, then the Engine's lists: a grant made in between was not checked.
#[tokio::test]
async fn fenced_a_release_by_hand_frees_only_what_was_checked() {
    for whole in [false, true] {
        for attempt in 0.. {
            clock!(CLOCK, now);
            let (refused, left) = held_up(now, || later(&CLOCK, 120_000), whole).await;
            assert_eq!(left, 1, "whole: {whole}: the new holder keeps the address");
            // A periodic check was blocked instead of the release, which then saw the new grant.
            if refused.text.contains("granted less than a minute ago") && attempt < 50 {
                continue;
            }
            assert!(
                refused.text.contains("has been given to another holder since"),
                "whole: {whole}: {refused}"
            );
            assert_eq!(refused.kind, ErrorKind::TooEarly);
            break;
        }
    }
}
