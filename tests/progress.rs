//! The progress line of a long operation, on a real terminal (a pty), with files and a daemon as slow as the
//! test wants.
//!
//! Promises: commands take long because their input does not arrive; no test waits for a fixed time.

#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/http.rs"]
mod http;
#[path = "support/pty.rs"]
mod pty;

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use daemon::{PATIENCE, until};
use pty::Pty;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

/// The sequence that erases the line.
const GONE: &str = "\r\u{1b}[K";

/// An admin socket that receives requests and answers when the test says so.
struct Slow {
    directory: tempfile::TempDir,
    socket: PathBuf,
    callers: Receiver<UnixStream>,
}

impl Slow {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (tell, callers) = channel();
        std::thread::spawn(move || while tell.send(listener.accept().unwrap().0).is_ok() {});
        Self { directory, socket, callers }
    }

    /// A command that uses this socket, with this environment.
    fn command(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gipam"));
        command.env_clear().envs(variables.iter().copied()).current_dir(self.directory.path());
        command.args(arguments).arg("--admin").arg(&self.socket).stdin(Stdio::null());
        command
    }

    /// The next connection.
    fn caller(&self) -> UnixStream {
        self.callers.recv_timeout(PATIENCE).unwrap()
    }
}

/// Answers after the whole request has arrived.
fn answer(caller: &mut UnixStream, body: &str) {
    let mut asked = String::new();
    let whole = |asked: &str| {
        let (head, body) = asked.split_once("\r\n\r\n")?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        Some(body.len() >= length.map_or(0, |length| length.parse().unwrap()))
    };
    while whole(&asked) != Some(true) {
        let mut some = [0; 4096];
        let length = caller.read(&mut some).unwrap();
        asked += std::str::from_utf8(&some[..length]).unwrap();
    }
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    caller.write_all((head + body).as_bytes()).unwrap();
}

fn ends(mut child: Child) -> i32 {
    until("the command ends", || child.try_wait().unwrap()).code().unwrap()
}

/// A pipe that `gipam import` reads; opened once the command opens it.
fn pipe(path: &Path) -> File {
    until("the list is read", || {
        OpenOptions::new().write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path).ok()
    })
}

#[test]
fn a_long_command_shows_its_time_and_step_and_leaves_no_line() {
    let slow = Slow::new();
    let list = slow.directory.path().join("list.csv");
    mknodat(CWD, &list, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let pty = Pty::new(24, 50);
    let mut command = slow.command(&["import", "list.csv"], &[("TERM", "xterm")]);
    let child = command.stdout(pty.end()).stderr(pty.end()).spawn().unwrap();
    let shows = |what: &str| until(what, || pty.text().contains(what).then_some(()));
    shows(" s: opening /");
    let mut pipe = pipe(&list);
    shows(" s: 0 B: reading /");
    pipe.write_all(format!("subnet\n{}\n", " ".repeat(4096)).as_bytes()).unwrap();
    shows(" s: 4 KiB: reading /");
    drop(pipe);
    let mut caller = slow.caller();
    shows("..\u{1b}[K\rgipam: ");
    shows(" s: waiting for the daemon to import");
    pty.resize(24, 80);
    shows(" s: waiting for the daemon to import the list");
    let text = pty.text();
    answer(&mut caller, r#"{"applied": false, "rows": [], "subnets": 0, "leases": 0}"#);
    assert_eq!(ends(child), 0, "{}", pty.text());
    until("the line is gone", || pty.text().contains("nothing to import").then_some(()));
    let all = pty.text();
    let (lines, output) = all.rsplit_once(GONE).unwrap();
    assert!(output.starts_with("WHERE"), "{output:?}");
    assert!(!output.contains("gipam: "), "{output:?}");
    assert!(lines.starts_with("\rgipam: 1 s: opening /"), "{lines:?}");
    assert!(!lines.contains('\n'), "one line is redrawn: {lines:?}");
    for line in text.split('\r').take_while(|line| !line.ends_with("to import the list\u{1b}[K")) {
        assert!(
            line.trim_end_matches("\u{1b}[K").chars().count() < 50,
            "{line:?} is as wide as the terminal"
        );
    }
}

#[test]
fn no_line_is_shown_to_programs_or_before_a_pager() {
    let slow = Slow::new();
    let silent = [Pty::new(24, 80), Pty::new(24, 80), Pty::new(24, 80)];
    let json = slow.command(&["gc", "--json"], &[]).stdout(silent[0].end()).stderr(silent[0].end()).spawn();
    let dumb =
        slow.command(&["gc"], &[("TERM", "dumb")]).stdout(silent[1].end()).stderr(silent[1].end()).spawn();
    let paged = slow.command(&["gc"], &[]).stdout(Stdio::piped()).stderr(silent[2].end()).spawn();
    let mut piped =
        slow.command(&["gc"], &[]).stdout(silent[2].end()).stderr(Stdio::piped()).spawn().unwrap();
    let mut callers: Vec<UnixStream> = (0..4).map(|_| slow.caller()).collect();
    // The other commands are already waiting when this one begins, so their lines would appear before its
    // line.
    let pty = Pty::new(24, 80);
    let shown = slow.command(&["gc"], &[]).stdout(pty.end()).stderr(pty.end()).spawn().unwrap();
    callers.push(slow.caller());
    let line = "gipam: 2 s: waiting for the daemon to compare the books with the Engine's lists";
    until(line, || pty.text().contains(line).then_some(()));
    callers.iter_mut().for_each(|caller| answer(caller, "[]"));
    let mut said = String::new();
    piped.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    for child in [json.unwrap(), dumb.unwrap(), paged.unwrap(), piped, shown] {
        assert_eq!(ends(child), 0);
    }
    let agree = "books and Engine agree: no differences\r\n";
    until("the answer is shown", || pty.text().ends_with(&format!("{GONE}{agree}")).then_some(()));
    assert_eq!(said, "");
    for (pty, text) in silent.iter().zip(["[]\r\n", agree, agree]) {
        until("the answer is shown", || (!pty.text().is_empty()).then_some(()));
        assert_eq!(pty.text(), text);
    }
}

#[test]
fn a_quick_command_shows_no_line() {
    let slow = Slow::new();
    let text = until("a run takes less than a second", || {
        let (begun, pty) = (Instant::now(), Pty::new(24, 80));
        let child = slow.command(&["gc"], &[]).stdout(pty.end()).stderr(pty.end()).spawn().unwrap();
        answer(&mut slow.caller(), "[]");
        assert_eq!(ends(child), 0);
        let quick = begun.elapsed() < Duration::from_secs(1);
        until("the answer is shown", || pty.text().contains("no differences").then_some(()));
        quick.then(|| pty.text())
    });
    assert_eq!(text, "books and Engine agree: no differences\r\n");
}
