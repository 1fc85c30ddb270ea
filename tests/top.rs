//! `gipam top` of the real daemon, on a real terminal (a pty) and on a pipe.

#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/http.rs"]
mod http;
#[path = "support/pty.rs"]
mod pty;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use daemon::{House, until};
use pty::Pty;
use rustix::process::Signal;
use rustix::termios::tcgetattr;
use serde_json::{Value, json};

const TOML: &str =
    "[gc]\nengine = \"\"\n[[pool]]\nname = \"lan\"\nv4 = { base = \"198.18.0.0/16\", size = 24 }\n";

/// `gipam top` in its own terminal.
struct Screen {
    top: Child,
    pty: Pty,
    /// The terminal's modes before the start.
    before: String,
}

fn modes(terminal: &File) -> String {
    let modes = tcgetattr(terminal).unwrap();
    format!("{:?} {:?} {:?}", modes.input_modes, modes.output_modes, modes.local_modes)
}

fn command(house: &House, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gipam"));
    command.env_clear().arg("top").arg("--admin").arg(house.admin()).args(more);
    command
}

impl Screen {
    fn new(house: &House, rows: u16, columns: u16) -> Self {
        Self::with(house, rows, columns, None)
    }

    fn with(house: &House, rows: u16, columns: u16, no_color: Option<&str>) -> Self {
        let pty = Pty::new(rows, columns);
        let before = modes(&pty.its);
        let books = house.path("gipam.db").display().to_string();
        let mut top = command(house, &["--file", &books]);
        top.envs(no_color.map(|value| ("NO_COLOR", value)));
        let top = top.stdin(pty.end()).stdout(pty.end()).stderr(pty.end()).spawn().unwrap();
        Self { top, pty, before }
    }

    fn text(&self) -> String {
        self.pty.text()
    }

    /// The lines of the last complete screen, without colours.
    fn picture(&self) -> Option<Vec<String>> {
        let text = self.text();
        let (whole, _) = text.rsplit_once("\u{1b}[H")?;
        let last = whole.rsplit("\u{1b}[H").find(|part| !part.is_empty())?;
        let mut plain = last.replace("\u{1b}[2K", "").replace("\r\n\u{1b}[J", "");
        for sgr in [0, 1, 31, 32, 33] {
            plain = plain.replace(&format!("\u{1b}[{sgr}m"), "");
        }
        Some(plain.split("\r\n").map(str::to_owned).collect())
    }

    /// Waits for a screen that contains this text.
    fn shows(&self, what: &str) -> Vec<String> {
        until(what, || self.picture().filter(|lines| lines.iter().any(|line| line.contains(what))))
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.top), signal).unwrap();
    }

    /// Waits until `gipam top` has ended; the terminal must be as it was before.
    fn ends(&mut self, how: &str) {
        let status = until("top ends", || self.top.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "{how}");
        assert_eq!(modes(&self.pty.its), self.before, "{how}: the terminal is restored");
        until("the screen is restored", || self.text().ends_with("\u{1b}[?25h\u{1b}[?1049l").then_some(()));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.top.kill();
        let _ = self.top.wait();
    }
}

#[test]
fn top_shows_events_at_once_and_follows_the_terminals_size() {
    let house = House::with_toml(TOML);
    let daemon = house.start();
    let screen = Screen::new(&house, 24, 80);
    let fits = |lines: &[String], rows: usize, columns: usize| {
        assert!(
            lines.len() <= rows && lines.iter().all(|line| line.chars().count() <= columns),
            "{lines:#?}"
        );
    };
    fits(&screen.shows("is running since"), 24, 80);
    let (id, _) = daemon.wire().subnet(false);
    daemon.wire().address(&id, "", json!({"com.docker.network.endpoint.name": "web"}));
    fits(&screen.shows("leased 198.18.0.2 web"), 24, 80);
    screen.shows("1 subnet, 1 address;");
    daemon.wire().refused("RequestPool", &json!({"AddressSpace": "local", "Options": {"pol": "x"}}));
    screen.shows("refused RequestPool invalid request: unknown option pol=x");
    screen.pty.resize(12, 40);
    screen.signal(Signal::WINCH);
    until("a smaller screen is drawn", || {
        let lines = screen.picture()?;
        (lines.len() <= 12 && lines.iter().all(|line| line.chars().count() <= 40)).then_some(())
    });
    screen.shows("LAST EVENTS");
}

#[test]
fn top_outlives_the_daemon_and_says_so() {
    let house = House::with_toml(TOML);
    let daemon = house.start();
    let screen = Screen::new(&house, 24, 80);
    screen.shows("is running since");
    daemon.stop();
    let lines = screen.shows("gipam is not running; these numbers come from its books.");
    assert!(lines.iter().any(|line| line.contains("198.18.0.0/16")), "{lines:#?}");
    let _daemon = house.start();
    screen.shows("is running since");
}

#[test]
fn the_terminal_is_restored_after_q_ctrl_c_and_signals() {
    let house = House::with_toml(TOML);
    let _daemon = house.start();
    for key in [b"q", b"\x03"] {
        let mut screen = Screen::new(&house, 24, 80);
        screen.shows("is running since");
        assert_ne!(modes(&screen.pty.its), screen.before, "keys work at once");
        screen.pty.ours.write_all(key).unwrap();
        screen.ends(&format!("{key:?}"));
    }
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let mut screen = Screen::new(&house, 24, 80);
        screen.shows("is running since");
        screen.signal(signal);
        screen.ends(&format!("{signal:?}"));
    }
}

#[test]
fn colour_is_used_on_terminals_unless_no_color_is_set() {
    let house = House::with_toml(TOML);
    let _daemon = house.start();
    for (no_color, coloured) in [(None, true), (Some("1"), false)] {
        let screen = Screen::with(&house, 24, 80, no_color);
        screen.shows("is running since");
        assert_eq!(screen.text().contains("\u{1b}[32m"), coloured, "{no_color:?}");
    }
}

/// Killed with the test, even if the test fails.
struct Top(std::process::Child);

impl Drop for Top {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn on_a_pipe_each_change_is_one_line() {
    let house = House::with_toml(TOML);
    let daemon = house.start();
    let top = |words: &[&str]| Top(command(&house, words).stdout(Stdio::piped()).spawn().unwrap());
    let (mut text, mut json) = (top(&[]), top(&["--json"]));
    let mut lines = BufReader::new(text.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut rows = BufReader::new(json.0.stdout.take().unwrap())
        .lines()
        .map(|line| -> Value { serde_json::from_str(&line.unwrap()).unwrap() });
    assert!(lines.next().unwrap().ends_with("0 subnets, 0 leased, 0 cooling  gipam is running"));
    assert_eq!(rows.next().unwrap()["running"], true);
    let (id, _) = daemon.wire().subnet(false);
    assert!(lines.next().unwrap().ends_with("subnet granted 198.18.0.0/24"));
    assert_eq!(rows.next().unwrap()["event"]["event"], "subnet granted");
    let asked = json!({"com.docker.network.endpoint.name": "web"});
    daemon.wire().address(&id, "", asked);
    assert!(lines.next().unwrap().ends_with("1 subnet, 1 leased, 0 cooling  leased 198.18.0.2 web"));
    let row = rows.next().unwrap();
    assert_eq!((&row["event"]["holder"], &row["leases"]), (&json!("web"), &json!(1)), "{row}");
    // If a reader closes the pipe, that is not a failure.
    drop((lines, rows));
    daemon.wire().release_pool(&id);
    for top in [&mut text, &mut json] {
        let status = until("top ends", || top.0.try_wait().unwrap());
        assert_eq!(status.code(), Some(0));
    }
}

#[test]
fn without_daemon_and_books_there_is_nothing_to_watch() {
    let house = House::with_toml(TOML);
    let output = command(&house, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_waiting_client_is_answered_at_a_commit_or_after_a_second() {
    let house = House::with_toml(TOML);
    let daemon = house.start();
    let moment = |admin: &std::path::Path, query: &str| -> Value {
        let event = http::Wire::unix(admin).text(&format!("/v1/events?hold=1{query}"));
        let data = event.lines().find_map(|line| line.strip_prefix("data: "));
        serde_json::from_str(data.unwrap()).unwrap()
    };
    let first = moment(&daemon.admin, "");
    let seen = format!("&seen={}", first["id"].as_str().unwrap());
    let begun = std::time::Instant::now();
    let still = moment(&daemon.admin, &seen);
    assert!(begun.elapsed().as_millis() >= 900, "{:?}", begun.elapsed());
    assert_eq!(still["id"], first["id"], "the books have not changed");
    let admin = daemon.admin.clone();
    let waiting = std::thread::spawn(move || moment(&admin, &seen));
    daemon.wire().subnet(false);
    let then = waiting.join().unwrap();
    assert_ne!(then["id"], first["id"]);
    let calls = || moment(&daemon.admin, "")["calls"]["IpamDriver.RequestPool"]["ok"].as_u64();
    until("the call is counted", || calls().filter(|calls| *calls == 1));
}
