//! CRASH AT EVERY WRITE: a recorded workload is run repeatedly, and each time a different one of its calls
//! that write, sync, create, rename or remove files kills the daemon, fails, or finds the disk full: the n-th
//! call, for every n.
//!
//! Promises: covers every call, even in the short run; always the same workload, from the first start with
//! empty books to the clean shutdown; then the daemon starts without faults and its books are compared. A
//! call that kills is not carried out.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::Counts;
use crate::books::compare;
use crate::crew::{Client, Outcome, POOLS};
use crate::daemon::{Daemon, House, until};
use crate::http::Wire;
use crate::journal::Journal;
use crate::trace;

/// Calls that change files. If the n-th `openat` fails, the file may also be a library or the configuration.
pub const CALLS: [&str; 8] =
    ["pwrite64", "fdatasync", "fsync", "ftruncate", "openat", "unlink", "rename", "mkdir"];

/// The workload: every kind of request, for IPv4 and then for IPv6; stops after IPv4 if a request was not
/// answered.
fn workload(client: &mut Client) -> Outcome {
    for v6 in [false, true] {
        let (outcome, subnet) = client.subnet(v6, "");
        let mut outcomes = vec![outcome];
        if outcome == Outcome::Done {
            outcomes.extend([true, false, false].map(|gateway| client.lease(&subnet, gateway)));
            let first =
                client.journal.book().leases_of(&subnet).into_iter().find(|word| word.starts_with('w'));
            outcomes.extend(first.map(|word| client.release(&word)));
            let (outcome, other) = client.subnet(v6, "");
            outcomes.extend([outcome, client.release_subnet(&other)]);
        }
        if outcomes.contains(&Outcome::Unknown) {
            return Outcome::Unknown;
        }
    }
    Outcome::Done
}

/// The result of one run.
struct Run {
    injected: bool,
    /// Whether the daemon started and answered every request, without a 503.
    whole: bool,
    /// The exit code; `None` after a signal.
    exit: Option<i32>,
    said: Vec<String>,
    house: House,
    journal: Journal,
}

/// When faults are injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// From the first call on: new books are created, then the workload runs.
    Start,
    /// While the daemon runs: the calls of the workload and of the clean shutdown, counted separately in each
    /// thread.
    Work,
}

/// Runs the workload with an injected fault, until the daemon has ended.
fn run(when: When, words: &[&str]) -> Run {
    let house = House::with_toml(POOLS);
    let journal = Journal::default();
    let mut tracer = None;
    let mut daemon = match when {
        When::Start => trace::spawn(&house, words),
        When::Work => {
            let daemon = house.start();
            settle(&house, &daemon);
            tracer = Some(trace::attach(&house, &daemon, words));
            daemon
        }
    };
    let mut client = Client::new(&daemon.socket, &journal, 0);
    let up = until("the daemon serves or ends", || match daemon.child.try_wait().unwrap() {
        Some(_) => Some(false),
        None => Wire::try_unix(&daemon.socket)?.try_call("Plugin.Activate", "").map(|_| true),
    });
    let whole = up && workload(&mut client) == Outcome::Done;
    if daemon.child.try_wait().unwrap().is_none() && (whole || !stops(&house)) {
        daemon.signal(rustix::process::Signal::TERM);
    }
    let exit = daemon.wait().code();
    let injected = trace::injected(&house, &daemon);
    drop(tracer);
    Run { injected, whole, exit, said: client.reasons, house, journal }
}

/// Waits until the start's own work is over. After its first batch the daemon extends the WAL and syncs it;
/// if a tracer sees that sync in one run and not in the next, the n-th sync is not the same one. The answer
/// comes from the thread that extends the WAL, and therefore after the sync.
pub fn settle(house: &House, daemon: &Daemon) {
    let log = house.path("gipam.db-wal");
    until("the WAL has been extended", || {
        std::fs::metadata(&log).is_ok_and(|log| log.len() >= 1 << 20).then_some(())
    });
    assert_eq!(daemon.wire().call("Plugin.Activate", "").status, 200);
}

/// Whether the daemon has announced that it stops.
fn stops(house: &House) -> bool {
    house.log().contains("gipam stops")
}

/// Starts the daemon again without faults, and compares the books.
fn recover(run: &Run, what: &str) {
    let daemon = run.house.start();
    compare(&run.house.path("gipam.db"), &run.journal).assert_clean(what);
    let mut client = Client::new(&daemon.socket, &run.journal, 1);
    assert_eq!(workload(&mut client), Outcome::Done, "{what}: the restarted daemon answers every request");
    assert!(daemon.stop().success(), "{what}");
    compare(&run.house.path("gipam.db"), &run.journal).assert_clean(what);
}

/// How many runs are active at the same time; each spends most of its time waiting.
pub const WORKERS: usize = 4;

/// Injects the fault at every call of each kind, one in each run. `judge` checks a run and returns whether it
/// was cut short.
fn sweep(fault: &str, calls: &[&str], judge: impl Fn(&Run, &str) -> bool + Sync) -> Counts {
    let trace = format!("trace={}", CALLS.join(","));
    let mut points = Vec::new();
    for when in [When::Start, When::Work] {
        let recorded = run(when, &["-e", &trace]);
        assert!(recorded.whole && recorded.exit == Some(0), "{}", recorded.house.log());
        for call in calls {
            points.extend((1..=trace::most(&recorded.house, call)).map(|n| (when, call, n)));
        }
    }
    let (next, cut_short) = (AtomicUsize::new(0), AtomicU64::new(0));
    let work = || {
        while let Some((when, call, n)) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
            let what = format!("{fault} at {call} number {n} ({when:?})");
            let run = run(*when, &["-e", &trace, "-e", &format!("inject={call}:{fault}:when={n}")]);
            assert!(run.injected, "{what} did not happen");
            cut_short.fetch_add(u64::from(judge(&run, &what)), Ordering::Relaxed);
            recover(&run, &what);
        }
    };
    std::thread::scope(|scope| (0..WORKERS).for_each(|_| drop(scope.spawn(work))));
    let cut_short = cut_short.into_inner();
    vec![("calls struck", points.len() as u64), ("runs cut short", cut_short), ("!acknowledged lost", 0)]
}

/// The n-th call kills the process before it is carried out.
pub fn kill(_long: bool) -> Counts {
    sweep("signal=SIGKILL", &CALLS, |run, what| {
        assert_eq!(run.exit, None, "{what}: {}", run.house.log());
        true
    })
}

/// The n-th call fails with an I/O error.
pub fn fail(_long: bool) -> Counts {
    sweep("error=EIO", &CALLS, |run, what| {
        let log = run.house.log();
        match run.exit {
            // Not a write of the books, or a harmless one: a checkpoint, an old file that cannot be removed.
            Some(0) => {
                assert!(run.whole && run.said.is_empty(), "{what}: exit 0 after {:?}: {log}", run.said)
            }
            Some(_) => {
                assert!(log.contains("failed") || log.contains("cannot"), "{what}: no reason in {log:?}")
            }
            None => panic!("{what}: ended by a signal: {log}"),
        }
        run.exit != Some(0)
    })
}

/// The n-th write finds the disk full, once: the daemon refuses that request and serves the next one, or it
/// ends and its log says that the disk is full.
pub fn full(_long: bool) -> Counts {
    sweep("error=ENOSPC", &["pwrite64", "ftruncate"], |run, what| {
        let log = run.house.log();
        let full = |text: &String| text.contains("full") && text.contains("nothing was changed");
        assert!(run.said.iter().all(full), "{what}: {:?}", run.said);
        match run.exit {
            Some(0) => {}
            Some(_) => assert!(log.contains("full") || log.contains("No space"), "{what}: {log:?}"),
            None => panic!("{what}: ended by a signal: {log}"),
        }
        !run.whole
    })
}
