//! HOSTS AND ONE STORE: the machine of `gipam::claims` and the plan in simulated histories, under every fault that a
//! host, a network, a disk and a store can have. Checked after each change: no slice, subnet or address of a LAN has two
//! hosts; what Docker has is in the books, in slices of its host; an epoch begins only after a restore. After each
//! crash: everything that was answered is on disk. At the end: no host is stuck, every request is answered, the plan
//! equals the one that a start would rebuild, and Docker, books and store agree.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs, reason = "a test")]

mod cases;
mod chance;
mod docker;
mod faults;
mod finish;
mod flight;
mod host;
mod ledger;
mod mutants;
mod pools;
#[path = "../support/rows.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod rows;
mod world;

use std::ops::Range;

use finish::finish;
use mutants::NONE;
use world::{Restores, Script, Tally, World};

/// The base of all histories: books are set back, hosts are forgotten while dead and while alive.
const BOOKS_BACK: Script =
    Script { steps: 2_000, restores: Restores::Never, books_back: true, forget_living: true, faulty: NONE };
/// The store is restored, and a person says so.
const ANNOUNCED: Script = Script { restores: Restores::Announced, books_back: false, ..BOOKS_BACK };
/// The same, and books are set back, too: what neither knows any more may get a second host.
const BOTH: Script = Script { restores: Restores::Announced, ..BOOKS_BACK };
/// The store is restored, and the restore is not announced.
const SILENT: Script = Script { restores: Restores::Silent, ..ANNOUNCED };

/// With `GIPAM_LONG` set (`make torture`) there are as many seeds as the page about reliability says.
fn long() -> bool {
    std::env::var_os("GIPAM_LONG").is_some()
}

/// One history. Two with the same seed and script are equal.
fn history(seed: u64, script: Script, told: bool) -> World {
    let mut world = World::new(seed, script);
    world.story = told.then(Vec::new);
    for _ in 0..script.steps {
        world.happen();
        world.note_arrivals();
        world.check();
        if world.bad.is_some() {
            return world;
        }
    }
    finish(&mut world);
    world
}

/// Runs the histories of these seeds; returns what happened in all of them, and the bad ones.
fn histories(seeds: Range<u64>, script: Script) -> (Tally, Vec<(u64, String)>) {
    let workers = if long() { std::thread::available_parallelism().map_or(1, usize::from) } else { 1 };
    let one = |first: usize| {
        let (mut sum, mut bad) = (Tally::default(), Vec::new());
        for seed in seeds.clone().skip(first).step_by(workers) {
            let world = history(seed, script, false);
            sum.add(&world.tally);
            bad.extend(world.bad.map(|text| (seed, text)));
        }
        (sum, bad)
    };
    let parts: Vec<_> = std::thread::scope(|scope| {
        let one = &one;
        let workers: Vec<_> = (0..workers).map(|first| scope.spawn(move || one(first))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let (mut sum, mut bad) = (Tally::default(), Vec::new());
    for (tally, worse) in parts {
        sum.add(&tally);
        bad.extend(worse);
    }
    bad.sort();
    (sum, bad)
}

/// Prints the end of the story of the first bad seed.
fn tell(bad: &[(u64, String)], script: Script) {
    for (seed, text) in bad.iter().take(5) {
        println!("seed {seed}: {text}");
    }
    if let Some((seed, _)) = bad.first() {
        let story = history(*seed, script, true).story.unwrap();
        let lines = std::env::var("GIPAM_STORY").map_or(60, |lines| lines.parse().unwrap());
        story.iter().skip(story.len().saturating_sub(lines)).for_each(|line| println!("{line}"));
    }
}

/// How many seeds: a few, or all of them.
fn seeds(few: u64) -> Range<u64> {
    let count = std::env::var("GIPAM_SEEDS").ok().and_then(|count| count.parse().ok());
    0..count.unwrap_or(if long() { 10_000 } else { few })
}

#[test]
fn a_slice_never_has_two_hosts_when_books_are_set_back_and_hosts_are_forgotten() {
    let (tally, bad) = histories(seeds(200), BOOKS_BACK);
    println!("{} seeds with older books and forgotten hosts: {tally}, {} bad", seeds(200).end, bad.len());
    tell(&bad, BOOKS_BACK);
    assert!(bad.is_empty());
    assert!(tally.claims > 500 && tally.given_back > 100 && tally.books_back > 30 && tally.forgotten > 30);
}

#[test]
fn a_slice_never_has_two_hosts_when_an_announced_restore_sets_the_store_back() {
    let (tally, bad) = histories(seeds(200), ANNOUNCED);
    println!("{} seeds with announced restores: {tally}, {} bad", seeds(200).end, bad.len());
    tell(&bad, ANNOUNCED);
    assert!(bad.is_empty());
    assert!(tally.claims > 500 && tally.restores > 50);
}

/// Books and store may both lack a slice with a network in it. The host claims it when it finds the network, or says that another
/// host has it. In one history of a thousand a host takes its own former beat for that of a copy of its books, and stops until a
/// person lets it join as a new one.
#[test]
fn no_network_stays_outside_of_slices_when_books_and_store_are_set_back() {
    let (tally, bad) = histories(seeds(200), BOTH);
    let is_stopped = |(_, text): &(u64, String)| text.contains("another copy of the books of host");
    let (stopped, bad): (Vec<_>, Vec<_>) = bad.into_iter().partition(is_stopped);
    println!("{} seeds with older books and announced restores: {tally}, {} bad", seeds(200).end, bad.len());
    tell(&bad, BOTH);
    assert!(bad.is_empty());
    assert!(stopped.len() as u64 * 200 <= seeds(200).end, "{stopped:?}");
    assert!(tally.claims > 500 && tally.restores > 50 && tally.books_back > 30);
}

/// A restore that is not announced may give a slice two owners; the command with which a person announces it
/// prevents that.
#[test]
fn hosts_mostly_notice_that_the_store_was_restored() {
    let (tally, bad) = histories(seeds(20), SILENT);
    println!("{} seeds with silent restores: {tally}, {} bad", seeds(20).end, bad.len());
    if std::env::var_os("GIPAM_STORY").is_some() {
        tell(&bad, SILENT);
    }
    assert!(tally.restores > 10 && bad.len() * 20 <= tally.restores, "{bad:?}");
}
