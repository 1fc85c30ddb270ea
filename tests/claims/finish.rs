//! The end of a history, when faults no longer happen: every host continues, and books and store must agree.

use gipam::claims::machine::records::{SliceRecord, read, slice_key, slice_of};
use gipam::plan::slices::SliceState;

use crate::world::World;

/// Ends the faults, waits, and compares; then every host wants something once more.
pub fn finish(world: &mut World) {
    world.calm = true;
    world.settle(60, 7_000);
    compare(world);
    (0..world.hosts.len()).for_each(|host| world.want(host));
    world.settle(12, 150);
    world.settle(30, 7_000);
    compare(world);
}

/// Checks that no host is stuck, that every want is answered, and that the store has exactly the slices in
/// the books.
fn compare(world: &mut World) {
    let mut wrong = Vec::new();
    if !world.plan().is_settled() {
        wrong.push(format!("epoch {} is not settled", world.plan().epoch));
    }
    for host in world.hosts.iter().filter(|host| !host.gone) {
        if let Some(text) = host.stopped() {
            wrong.push(format!("{} stopped: {text}", host.id));
        }
        if !host.wants.is_empty() {
            wrong.push(format!("{} has no answer to {:?}", host.id, host.wants));
        }
        if let Some(slice) = host.books.with(SliceState::Leaving).next() {
            wrong.push(format!("{} has not given back {slice}", host.id));
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
