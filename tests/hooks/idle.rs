//! While nothing happens, no thread wakes up.

use std::fs;
use std::time::{Duration, Instant};

use super::daemon::{Daemon, until};
use super::support::{HOOK, WRITES, house, leases, script, until_delivered};

/// How often the threads of a process were scheduled, all together.
fn switches(daemon: &Daemon) -> u64 {
    let threads = fs::read_dir(format!("/proc/{}/task", daemon.child.id())).unwrap();
    let of = |thread: fs::DirEntry| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        count.trim().parse::<u64>().ok()
    };
    threads.filter_map(|thread| of(thread.unwrap())).sum()
}

#[test]
fn idle_daemon_with_hooks_does_not_wake() {
    let house = house(HOOK);
    script(&house, "hook.sh", WRITES);
    let daemon = house.start();
    leases(&mut daemon.wire(), 3);
    until_delivered(&house, 4);
    // Remaining work ends at some point; from then on no thread runs for a while.
    let mut quiet = (switches(&daemon), Instant::now());
    until("no thread has run for three seconds", || {
        let now = switches(&daemon);
        if now != quiet.0 {
            quiet = (now, Instant::now());
        }
        (quiet.1.elapsed() > Duration::from_secs(3)).then_some(())
    });
    daemon.stop();
}
