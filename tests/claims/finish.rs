//! The end of a history, when faults no longer happen: every host continues, and books, store and Docker must agree.

use gipam::claims::machine::records::{SliceRecord, read, slice_key, slice_of};
use gipam::plan::slices::SliceState;

use crate::docker::create;
use crate::host::Host;
use crate::world::{HOSTS, World};

/// Ends the faults, waits, and compares; then Docker on every host requests something once more.
pub fn finish(world: &mut World) {
    world.calm = true;
    settle(world, 12, 150);
    settle(world, 60, 7_000);
    compare(world);
    world.rested = true;
    let before = world.tally.grants + world.tally.refusals;
    for host in 0..world.hosts.len() {
        world.want(host);
        for _ in 0..3 {
            let network = create(&mut world.chance);
            world.ask(host, Some(network));
            let container = world.hosts[host].docker.start_container(&mut world.chance);
            world.ask(host, container);
        }
    }
    settle(world, 12, 150);
    settle(world, 30, 7_000);
    compare(world);
    if world.tally.grants + world.tally.refusals < before + world.hosts.iter().filter(|it| !it.gone).count() {
        world.fail("Docker got no answers at the end".to_owned());
    }
}

/// Lets everything that is under way finish, for a limited number of rounds.
fn settle(world: &mut World, rounds: usize, passing: u64) {
    for _ in 0..rounds {
        world.now += passing;
        for host in 0..HOSTS {
            world.hosts[host].cut = false;
            world.start(host);
            world.tick(host);
        }
        world.forget();
        (0..HOSTS).for_each(|host| world.mend(host));
        for _ in 0..200 {
            if world.flights.is_empty() && !world.hosts.iter().any(Host::is_busy) {
                break;
            }
            for _ in 0..4 {
                world.fly();
            }
            (0..HOSTS).for_each(|host| world.serve(host));
            world.check();
        }
    }
}

/// Checks that no host is stuck, that every request is answered, and that the store has exactly the slices in
/// the books, and the books what Docker has.
fn compare(world: &mut World) {
    let mut wrong = Vec::new();
    if !world.plan.is_settled() {
        wrong.push(format!("epoch {} is not settled", world.plan.epoch));
    }
    for host in world.hosts.iter().filter(|host| !host.gone) {
        if let Some(text) = host.stopped() {
            wrong.push(format!("{} stopped: {text}", host.id));
        }
        if let Some(slice) = host.books.with(SliceState::Leaving).next() {
            wrong.push(format!("{} has not given back {slice}", host.id));
        }
        if let Some(running) = &host.running {
            let plan = &running.ledger.plan;
            if !running.wants.is_empty() || running.ledger.waiting() > 0 || !host.docker.asked.is_empty() {
                let asked = &host.docker.asked;
                wrong.push(format!("{} has no answer to {:?} and {asked:?}", host.id, running.wants));
            }
            if let Some(request) = host.docker.repair(plan) {
                wrong.push(format!("the books of {} and Docker differ: {request:?}", host.id));
            }
            if host.stale || host.disk.plan(plan.now()) != *plan {
                wrong.push(format!("the plan of {} is not the one of its books", host.id));
            }
        }
        let slices = world.store.iter().filter_map(|(key, value)| Some((slice_of(key)?, value)));
        let record = |value: &str| read::<SliceRecord>(value).unwrap();
        let in_store: Vec<_> = slices
            .filter(|(_, value)| record(value).host == host.id)
            .map(|(slice, _)| slice_key(slice))
            .collect();
        let mut held: Vec<_> = host.books.with(SliceState::Held).map(slice_key).collect();
        held.sort_unstable();
        if held != in_store {
            wrong.push(format!("{} holds {held:?}, the store says {in_store:?}", host.id));
        }
    }
    if !wrong.is_empty() {
        world.fail(wrong.join("; "));
    }
}
