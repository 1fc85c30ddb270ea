//! The real program, started in a temporary directory that is removed afterwards.
//!
//! Promises: all files, including plugin files, stay inside the directory; if a daemon does not start, the
//! test fails and shows its log; every process is ended. Shared by several test programs; each uses a part of
//! it.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::http::Wire;

/// A timeout that only a bug reaches.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The pools of most tests: benchmark and documentation prefixes, which no host routes.
pub const POOLS: [&str; 4] = ["-v4", "198.18.0.0/16", "-v6", "2001:db8:77::/48"];

/// Calls `look` repeatedly until it returns something; fails the test if it never does.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "timed out waiting until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A directory with a daemon's files in it, and how to start that daemon.
pub struct House {
    /// The directory.
    pub directory: Arc<TempDir>,
    /// The arguments after `gipam` on the command line.
    pub arguments: Vec<String>,
    /// Its environment; nothing is inherited.
    pub variables: Vec<(String, String)>,
}

impl House {
    /// A daemon with these pools (as flags) and a configuration that only sets the directories of plugin
    /// files.
    pub fn new(pools: &[&str]) -> House {
        let mut house = House::with_toml("");
        house.arguments.extend(pools.iter().map(ToString::to_string));
        house
    }

    /// A daemon whose configuration ends with this text.
    pub fn with_toml(toml: &str) -> House {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let house = House { directory, arguments: Vec::new(), variables: Vec::new() };
        house.configure(toml);
        let mut arguments: Vec<String> = Vec::new();
        for (flag, path) in [
            ("--config", house.path("gipam.toml")),
            ("--file", house.path("gipam.db")),
            ("--socket", house.socket()),
        ] {
            arguments.extend([flag.to_owned(), path.display().to_string()]);
        }
        House { arguments, ..house }
    }

    /// Rewrites the configuration.
    pub fn configure(&self, toml: &str) {
        let directories = ["sockets", "specs"].map(|name| self.path(name).display().to_string());
        let head = format!("socket_dir = {:?}\nspec_dir = {:?}\n", directories[0], directories[1]);
        fs::write(self.path("gipam.toml"), head + toml).unwrap();
    }

    /// Replaces the value of a flag that is already set.
    pub fn set(&mut self, flag: &str, value: &Path) {
        let at = self.arguments.iter().position(|argument| argument == flag).unwrap();
        self.arguments[at + 1] = value.display().to_string();
    }

    /// Removes this flag and its value.
    pub fn unset(&mut self, flag: &str) {
        let at = self.arguments.iter().position(|argument| argument == flag).unwrap();
        self.arguments.drain(at..at + 2);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn socket(&self) -> PathBuf {
        self.path("d.sock")
    }

    pub fn admin(&self) -> PathBuf {
        self.path("d.admin.sock")
    }

    /// What the last daemon wrote to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gipam"));
        command.current_dir(self.directory.path()).env_clear().stdin(Stdio::null());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the daemon without waiting for anything.
    pub fn spawn(&self) -> Daemon {
        let log = File::create(self.path("log")).unwrap();
        let child = self.command().args(&self.arguments).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.adopt(child)
    }

    /// Wraps a daemon of this house that the test started in another way.
    pub fn adopt(&self, child: Child) -> Daemon {
        Daemon { child, socket: self.socket(), admin: self.admin(), _directory: self.directory.clone() }
    }

    /// Starts the daemon and waits until it serves.
    pub fn start(&self) -> Daemon {
        let mut daemon = self.spawn();
        until("the daemon serves", || {
            if let Some(status) = daemon.child.try_wait().unwrap() {
                panic!("the daemon ended with {status}: {}", self.log());
            }
            let mut wire = Wire::try_unix(&daemon.socket)?;
            wire.try_call("Plugin.Activate", "").map(|answer| assert_eq!(answer.status, 200))
        });
        daemon
    }

    /// Starts the daemon, which must refuse to run; returns its exit code and its output.
    pub fn refuse(&self) -> (i32, String) {
        let mut daemon = self.spawn();
        let status = daemon.wait();
        (status.code().unwrap_or(-1), self.log())
    }

    /// Runs a client command.
    pub fn gipam(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).arg("--admin").arg(self.admin()).output().unwrap()
    }

    /// Runs a command exactly as it is written.
    pub fn plain(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    /// Runs a view with `--json`.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.gipam(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// A running daemon. It is killed when dropped.
pub struct Daemon {
    pub child: Child,
    pub socket: PathBuf,
    pub admin: PathBuf,
    _directory: Arc<TempDir>,
}

impl Daemon {
    /// A connection to the daemon's driver socket.
    pub fn wire(&self) -> Wire {
        Wire::unix(&self.socket)
    }

    /// The answer of the admin socket for this path.
    pub fn view(&self, path: &str) -> Value {
        Wire::unix(&self.admin).get(path)
    }

    /// Everything that the views of the books show.
    pub fn books(&self) -> [Value; 2] {
        ["/v1/subnets", "/v1/leases?all=true"].map(|path| self.view(path))
    }

    /// Fails the test if the books hold a subnet or a lease.
    pub fn assert_empty(&self, when: &str) {
        for path in ["/v1/subnets", "/v1/leases"] {
            assert_eq!(self.view(path), Value::Array(Vec::new()), "{when}: {path}");
        }
    }

    /// A number from the process's `/proc` status: memory in KiB, or a count.
    pub fn proc_status(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits until the daemon has ended.
    pub fn wait(&mut self) -> ExitStatus {
        until("the daemon ends", || self.child.try_wait().unwrap())
    }

    /// Kills the daemon, as a power failure would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops the daemon, as systemd would.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.wait()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
