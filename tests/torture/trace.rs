//! The daemon with faults injected into its system calls by strace.
//!
//! Promises: affects only the daemon's own calls, the n-th of each thread; a tracer from the start is the
//! daemon's grandchild (-D), so that a signal to the child reaches the daemon itself; every tracer ends with
//! its daemon.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};

use crate::daemon::{Daemon, House, until};

/// Starts the daemon of a house under strace with these arguments, without waiting for anything.
pub fn spawn(house: &House, words: &[&str]) -> Daemon {
    let log = File::create(house.path("log")).unwrap();
    // Stopping only at the relevant calls is quick, but a signal injected at such a stop is lost.
    let quick = (!words.iter().any(|word| word.contains(":signal="))).then_some("--seccomp-bpf");
    let child = Command::new("strace")
        .args(["-D", "-f", "-q"])
        .args(quick)
        .arg("-o")
        .arg(output(house))
        .args(words)
        .arg(env!("CARGO_BIN_EXE_gipam"))
        .args(&house.arguments)
        .current_dir(house.directory.path())
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .envs(house.variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("strace: {error}"));
    house.adopt(child)
}

/// A tracer of a running daemon; it ends with the daemon.
pub struct Tracer {
    child: Child,
    /// Stays open: otherwise strace would end with SIGPIPE when it reports later threads.
    _said: BufReader<ChildStderr>,
}

/// Injects faults into a running daemon: the calls of every thread are counted from now on.
pub fn attach(house: &House, daemon: &Daemon, words: &[&str]) -> Tracer {
    attach_to(house, daemon.child.id(), &[&["-f"][..], words].concat())
}

/// Injects faults into one thread of a running daemon.
pub fn attach_to_thread(house: &House, daemon: &Daemon, name: &str, words: &[&str]) -> Tracer {
    let tasks = PathBuf::from(format!("/proc/{}/task", daemon.child.id()));
    let is_named =
        |task: &PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|text| text.trim() == name);
    let mut tasks = fs::read_dir(tasks).unwrap().map(|task| task.unwrap().path());
    let thread = tasks.find(is_named).unwrap_or_else(|| panic!("the daemon has no thread {name}"));
    attach_to(house, thread.file_name().unwrap().to_string_lossy().parse().unwrap(), words)
}

fn attach_to(house: &House, id: u32, words: &[&str]) -> Tracer {
    let mut child = Command::new("strace")
        .arg("-o")
        .arg(output(house))
        .args(words)
        .args(["-p", &id.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("strace: {error}"));
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut first = String::new();
    said.read_line(&mut first).unwrap();
    assert!(first.contains("attached"), "strace: {first}");
    Tracer { child, _said: said }
}

impl Tracer {
    /// Ends the tracer; returns how often the only thread that was traced made this call.
    pub fn stop(mut self, house: &House, call: &str) -> u64 {
        // The tracer may have ended with the daemon.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        self.child.wait().unwrap();
        let begin = format!("{call}(");
        let text = fs::read_to_string(output(house)).unwrap();
        text.lines().filter(|line| line.starts_with(&begin)).count() as u64
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn output(house: &House) -> PathBuf {
    house.path("strace")
}

/// How often each thread made each call.
fn counted(house: &House) -> BTreeMap<(String, String), u64> {
    let mut counts = BTreeMap::new();
    for line in fs::read_to_string(output(house)).unwrap().lines() {
        let mut words = line.split_whitespace();
        let (Some(thread), Some(rest)) = (words.next(), words.next()) else { continue };
        if let Some((call, _)) = rest.split_once('(') {
            *counts.entry((call.to_owned(), thread.to_owned())).or_default() += 1;
        }
    }
    counts
}

/// The count of a call in the thread that made it most often.
pub fn most(house: &House, call: &str) -> u64 {
    counted(house).iter().filter(|((name, _), _)| name == call).map(|(_, count)| *count).max().unwrap_or(0)
}

/// The count of a call in all threads together.
pub fn all(house: &House, call: &str) -> u64 {
    counted(house).iter().filter(|((name, _), _)| name == call).map(|(_, count)| count).sum()
}

/// Waits until the tracer has recorded the end of the daemon, too; returns whether a fault was injected.
pub fn injected(house: &House, daemon: &Daemon) -> bool {
    let pid = daemon.child.id().to_string();
    let last = |line: &str| line.split_whitespace().take(2).eq([pid.as_str(), "+++"]);
    until("the tracer has ended", || {
        let text = fs::read_to_string(output(house)).unwrap_or_default();
        let ended = text.lines().any(last);
        ended.then(|| text.contains("(INJECTED)") || text.contains("killed by SIGKILL"))
    })
}

/// Whether the call that failed was on another descriptor than most such calls, which are on the one that SQLite opened.
pub fn has_failed_elsewhere(house: &House, call: &str) -> bool {
    let text = fs::read_to_string(output(house)).unwrap();
    let begin = format!("{call}(");
    let descriptor = |line: &str| line.split_once(&begin)?.1.split_once(')').map(|(one, _)| one.to_owned());
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    text.lines().filter_map(descriptor).for_each(|one| *counts.entry(one).or_default() += 1);
    let usual = counts.into_iter().max_by_key(|(_, count)| *count).map(|(one, _)| one);
    let failed = text.lines().find(|line| line.contains("(INJECTED)")).and_then(descriptor);
    failed.is_some() && failed != usual
}
