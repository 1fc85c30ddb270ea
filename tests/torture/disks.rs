//! FAULTY DISKS: full, read-only, failing and slow ones. The daemon says why, exits where it must, loses
//! nothing, and works normally again once the disk does.
//!
//! Promises: the daemon recovers from a full disk without a restart and carries out what it postponed; after
//! a failed write or sync no client gets a success, and the process exits with an error.

use std::fs;
use std::io::Write;
use std::time::Instant;

use serde_json::json;

use crate::Counts;
use crate::books::compare;
use crate::crew::{Client, Crew, Outcome, POOLS, SHARED, meeting_place};
use crate::daemon::{House, until};
use crate::http::Wire;
use crate::journal::{Journal, State};
use crate::trace;
use crate::volume::Volume;

/// A file system in memory is repeatedly filled up under load and emptied.
pub fn full(long: bool) -> Counts {
    let rounds = if long { 20 } else { 4 };
    // A file system that is too small for a reserve, and one with enough space for it.
    let (small, large) = (fill_and_empty(2_048, rounds / 2), fill_and_empty(8_192, rounds / 2));
    let sum = |at: usize| small[at] + large[at];
    vec![
        ("times full", rounds),
        ("requests refused with the reason", sum(0)),
        ("releases kept and carried out", sum(1)),
        ("!acknowledged lost", 0),
    ]
}

/// Runs rounds on a file system of this size in KiB; returns requests refused and releases kept.
fn fill_and_empty(kibibytes: u32, rounds: u64) -> [u64; 2] {
    let mut house = House::with_toml(POOLS);
    let volume = Volume::memory(house.directory.path(), kibibytes);
    let (books, ballast) = (volume.path("gipam.db"), volume.path("ballast"));
    house.set("--file", &books);
    let journal = Journal::default();
    let daemon = house.start();
    meeting_place(&house.socket(), &journal);
    let (mut refused, mut kept) = (0, 0);
    for round in 0..rounds {
        let crew = Crew::start(8, &house.socket(), &journal, round);
        crew.work(20);
        fill(&ballast);
        let before = journal.book().unavailable;
        until("gipam notices the full disk", || {
            // Space freed by the WAL is filled at once.
            fill(&ballast);
            (journal.book().unavailable >= before + 50).then_some(())
        });
        let reasons = crew.stop();
        assert!(
            reasons.iter().all(|text| text.contains("full") && text.contains("nothing was changed")),
            "{reasons:?}"
        );
        refused += reasons.len() as u64;
        // Views still work and show the leases.
        let leases = Wire::unix(&daemon.admin).get("/v1/leases");
        assert!(!leases.as_array().unwrap().is_empty());
        // A release is kept, and carried out as soon as there is room, without another request.
        let mut client = Client::new(&house.socket(), &journal, 0);
        let held = |it: &crate::journal::Lease| it.owner == 0 && it.state == State::Held && !it.gateway;
        let word = journal.book().leases.iter().find(|(_, it)| held(it)).map(|(word, _)| word.clone());
        let released = word.is_some_and(|word| client.release(&word) == Outcome::Unknown);
        assert!(!released || client.reasons[0].contains("keeps the release"), "{:?}", client.reasons);
        fs::remove_file(&ballast).unwrap();
        until("kept releases are carried out", || {
            let found = crate::books::plan(&books).ok()?;
            let leaving: Vec<String> = {
                let book = journal.book();
                let leases = book.leases.iter().filter(|(_, it)| it.state == State::Leaving);
                leases.map(|(word, _)| word.clone()).collect()
            };
            let there = |word: &String| {
                found.subnets().filter(|subnet| subnet.is_held()).any(|subnet| {
                    subnet.addresses.records().any(|(_, it)| it.leased && it.name.as_deref() == Some(word))
                })
            };
            let done = !leaving.iter().any(there);
            kept += if done { leaving.len() as u64 } else { 0 };
            done.then_some(())
        });
        compare(&books, &journal).assert_clean(&format!("round {round}"));
    }
    assert!(daemon.stop().success(), "{}", house.log());
    compare(&books, &journal).assert_clean("at the end");
    [refused, kept]
}

/// Writes until the disk is full.
pub fn fill(ballast: &std::path::Path) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(ballast).unwrap();
    for size in [65_536, 4_096, 1] {
        while file.write(&vec![0; size]).is_ok() {}
    }
}

/// The kernel makes the disk read-only under the daemon, as it does after errors; then a start with a
/// read-only disk.
pub fn read_only(long: bool) -> Counts {
    let rounds = if long { 10 } else { 2 };
    let mut refusals = 0;
    for round in 0..rounds {
        let mut house = House::with_toml(POOLS);
        let mut volume = Volume::ext4(house.directory.path());
        let books = volume.path("gipam.db");
        house.set("--file", &books);
        let journal = Journal::default();
        let mut daemon = house.start();
        meeting_place(&house.socket(), &journal);
        let crew = Crew::start(8, &house.socket(), &journal, round);
        crew.work(50);
        // From here on the kernel refuses all writes, including those that are still in its cache.
        journal.blind(true);
        volume.remount("abort");
        let status = daemon.wait();
        assert_eq!(status.code(), Some(1), "{}", house.log());
        assert!(house.log().contains("writing the books failed"), "{}", house.log());
        crew.stop();
        volume.unmount();
        volume.mount();
        volume.remount("ro");
        let (code, said) = house.refuse();
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("Read-only file system"), "{said}");
        refusals += 1;
        volume.remount("rw");
        let daemon = house.start();
        compare(&books, &journal).assert_clean("after a read-only disk");
        assert!(daemon.stop().success());
    }
    vec![("disks made read-only under load", rounds), ("starts refused with the reason", refusals)]
}

/// A sync fails while 32 clients wait for it: each gets 503 or no answer, and the daemon exits with an error.
pub fn failed_sync(long: bool) -> Counts {
    let rounds = if long { 30 } else { 5 };
    let (mut unanswered, mut uncertain, mut harmless) = (0, 0, 0);
    for n in 1..=rounds {
        let house = House::with_toml(POOLS);
        let journal = Journal::default();
        let daemon = house.start();
        meeting_place(&house.socket(), &journal);
        assert!(daemon.stop().success());
        // The sync is also slow, so that many wait; the thread that opens the books makes fewer than five
        // syncs.
        let inject = format!("inject=fdatasync:error=EIO:delay_enter=20000:when={}", n + 5);
        let mut daemon = trace::spawn(&house, &["-e", "trace=fdatasync", "-e", &inject]);
        until("the daemon serves", || Wire::try_unix(&daemon.socket)?.try_call("Plugin.Activate", ""));
        let crew = Crew::start(32, &house.socket(), &journal, n);
        let is_harmless = until("a sync fails", || {
            let ended = daemon.child.try_wait().unwrap().map(|_| false);
            ended.or_else(|| trace::has_failed_elsewhere(&house, "fdatasync").then_some(true))
        });
        if is_harmless {
            // The failed call only prepared space in the WAL's file, which SQLite can do itself.
            crew.work(64);
            crew.stop();
            assert!(daemon.stop().success(), "{}", house.log());
            harmless += 1;
        } else {
            let status = daemon.wait();
            assert_eq!(status.code(), Some(1), "{}", house.log());
            assert!(house.log().contains("writing the books failed"), "{}", house.log());
            until("every client got an answer or a closed connection", || crew.idle().then_some(()));
            let reasons = crew.stop();
            let said = |text: &String| text.contains("writing the books failed") || text.contains("stopping");
            assert!(reasons.iter().all(said), "{reasons:?}");
        }
        let book = journal.book();
        unanswered += book.unavailable + book.dropped;
        drop(book);
        let daemon = house.start();
        let found = compare(&house.path("gipam.db"), &journal);
        found.assert_clean(&format!("sync {n}"));
        uncertain += found.uncertain;
        assert!(daemon.stop().success());
    }
    // After a failed sync the disk may hold none, some or all of the changes.
    let _ = uncertain;
    assert!(harmless < rounds / 2, "{harmless} of {rounds} failed syncs only prepared space");
    vec![
        ("failed syncs", rounds),
        ("requests answered 503 or dropped", unanswered),
        ("!acknowledged lost", 0),
    ]
}

/// Every sync takes 50 ms: the waiting clients share it, and no request is refused.
pub fn slow_sync(long: bool) -> Counts {
    let (clients, requests) = (32, if long { 20 } else { 5 });
    let house = House::with_toml(POOLS);
    let journal = Journal::default();
    let daemon = trace::spawn(&house, &["-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_exit=50000"]);
    until("the daemon serves", || Wire::try_unix(&daemon.socket)?.try_call("Plugin.Activate", ""));
    let mut client = Client::new(&house.socket(), &journal, SHARED);
    let (outcome, subnet) = client.subnet(true, "");
    assert_eq!(outcome, Outcome::Done);
    let before = trace::all(&house, "fdatasync");
    let began = Instant::now();
    std::thread::scope(|scope| {
        for owner in 0..clients {
            let (house, journal, subnet) = (&house, &journal, &subnet);
            scope.spawn(move || {
                let mut client = Client::new(&house.socket(), journal, owner);
                for _ in 0..requests {
                    assert_eq!(client.lease(subnet, false), Outcome::Done);
                }
            });
        }
    });
    let took = began.elapsed();
    let syncs = trace::all(&house, "fdatasync") - before;
    let answers = clients as u64 * requests;
    assert!(answers >= syncs * 8, "{answers} answers took {syncs} syncs of 50 ms, {took:?}");
    let rows = Wire::unix(&daemon.admin).get("/v1/leases");
    assert_eq!(rows.as_array().unwrap().len() as u64, answers, "{}", json!(rows));
    assert!(daemon.stop().success());
    compare(&house.path("gipam.db"), &journal).assert_clean("slow syncs");
    vec![("answers", answers), ("syncs of 50 ms", syncs)]
}
