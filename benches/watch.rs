//! A PROCESS FROM OUTSIDE: its CPU time, its memory, how often it wakes; and which process listens on a
//! socket.
//!
//! Promises: reads only /proc. CPU time is that of all threads, user and system.

use std::fs;
use std::io;
use std::time::Duration;

use crate::wire::Door;

/// Longer than gipam waits before it tidies its books.
const LULL: Duration = Duration::from_millis(350);
/// A process that uses less CPU time than this in a lull is idle.
const NOTHING: Duration = Duration::from_micros(300);
/// How many lulls to wait for at most.
const LOOKS: usize = 60;

/// A process to observe.
#[derive(Clone, Copy, Debug)]
pub struct Process(pub u32);

impl Process {
    /// The process that listens on this socket; the kernel knows it only for UNIX sockets.
    pub fn behind(door: &Door) -> Option<Self> {
        let Door::Unix(_) = door else { return None };
        let stream = door.connect().ok()?;
        let credentials = rustix::net::sockopt::socket_peercred(&stream).ok()?;
        u32::try_from(credentials.pid.as_raw_nonzero().get()).ok().map(Self)
    }

    fn tasks(self, file: &str) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(format!("/proc/{}/task", self.0))?;
        entries.map(|entry| fs::read_to_string(entry?.path().join(file))).collect()
    }

    /// CPU time so far: to the nanosecond where the kernel counts it, else in ticks of 10 ms.
    pub fn cpu(self) -> io::Result<Duration> {
        let precise = self.tasks("schedstat").unwrap_or_default();
        let nanos: Vec<u64> = precise.iter().filter_map(|text| first_number(text)).collect();
        if nanos.iter().any(|nanos| *nanos > 0) {
            return Ok(Duration::from_nanos(nanos.iter().sum()));
        }
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(first_number).sum();
        Ok(Duration::from_millis(10 * ticks))
    }

    /// Waits until the process has been idle for a while; returns the CPU time that it used meanwhile.
    pub fn settle(self) -> io::Result<Duration> {
        let begun = self.cpu()?;
        let mut before = begun;
        for _ in 0..LOOKS {
            std::thread::sleep(LULL);
            let now = self.cpu()?;
            if now.saturating_sub(before) < NOTHING {
                return Ok(now.saturating_sub(begun));
            }
            before = now;
        }
        Err(io::Error::other("the server does not become idle"))
    }

    fn status(self, key: &str) -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        text.lines().find_map(|line| first_number(line.strip_prefix(key)?.strip_prefix(':')?))
    }

    /// Resident memory in KiB.
    pub fn resident(self) -> Option<u64> {
        self.status("VmRSS")
    }

    /// Peak resident memory, in KiB.
    pub fn peak(self) -> Option<u64> {
        self.status("VmHWM")
    }

    /// How often its threads yielded the processor or were preempted: each switch ends one run of a thread.
    pub fn switches(self) -> io::Result<u64> {
        let tasks = self.tasks("status")?;
        let lines = tasks.iter().flat_map(|text| text.lines());
        let counts = lines.filter_map(|line| line.split_once("_ctxt_switches:"));
        Ok(counts.filter_map(|(_, count)| first_number(count)).sum())
    }
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}
