//! One real Docker Engine, started by `scripts/engine.sh` in namespaces of its own.
//!
//! The script ends the engine when the pipe that this process holds is closed, so that a killed test run
//! leaves nothing behind. Commands run inside through `nsenter`; sockets are reached from outside by path,
//! because the engine's /run is a plain directory of this machine.

use crate::gipam;
use crate::wait::until;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Seconds after which a command inside an engine counts as hung. dockerd gives up on a plugin call after 15
/// s.
const COMMAND_LIMIT: &str = "150";

/// The Debian suites, and the version of the Engine that each should contain.
pub const SUITES: [(&str, &str); 3] = [("bookworm", "20.10"), ("trixie", "26.1"), ("forky", "28.5")];

/// Engines that scenarios start themselves have numbers from here on, above those of every fleet.
static ADDED: AtomicUsize = AtomicUsize::new(101);

/// What a command printed, and whether it succeeded.
#[derive(Debug)]
pub struct Said {
    pub ok: bool,
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

pub struct Engine {
    pub suite: &'static str,
    /// Two numbers, as in "26.1".
    pub version: (u32, u32),
    /// Whether `docker network create` knows `--ipv4=false`.
    pub v6_only: bool,
    /// The path of the engine's /run on this machine.
    pub run: PathBuf,
    name: String,
    first: u32,
    holder: Child,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/engine.sh")
}

fn var(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The program under test: the one that cargo built, or another build.
fn program() -> PathBuf {
    var("GIPAM_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_gipam").into())
}

fn base() -> PathBuf {
    var("GIPAM_ENGINES").unwrap_or_else(|| {
        let cache = var("XDG_CACHE_HOME").or_else(|| var("HOME").map(|home| home.join(".cache")));
        cache.unwrap_or_else(|| "/tmp".into()).join("gipam-engines")
    })
}

/// Stops engines that a killed run may have left.
pub fn sweep() {
    let _ = Command::new(script()).arg("sweep").stdin(Stdio::null()).status();
}

impl Engine {
    /// Starts one of several Engines of a suite; the error is a sentence for a person.
    pub fn start(suite: &'static str, number: usize) -> Result<Self, String> {
        let name = format!("{suite}-{}-{number}", std::process::id());
        let home = base().join("e").join(&name);
        std::fs::create_dir_all(base()).map_err(|e| format!("{}: {e}", base().display()))?;
        let log = base().join(format!("{suite}-{number}.start.log"));
        let mut holder = Command::new(script())
            .args(["hold", &name, suite])
            .env("GIPAM_OWNER", std::process::id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?)
            .spawn()
            .map_err(|e| format!("{}: {e}", script().display()))?;
        let mut line = String::new();
        let read = BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line);
        let first = read.ok().and_then(|_| line.strip_prefix("ready ")?.trim().parse().ok());
        let Some(first) = first else {
            let _ = holder.wait();
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            return Err(format!("the {suite} engine did not start: {}", said.trim()));
        };
        let mut engine =
            Self { suite, version: (0, 0), v6_only: false, run: home.join("run"), name, first, holder };
        let version = engine.docker(&["version", "--format", "{{.Server.Version}}"]);
        let mut numbers = version.out.split(['.', '+', '-']).map(str::parse);
        engine.version = match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
            _ => return Err(format!("the {suite} engine does not report its version: {version:?}")),
        };
        engine.v6_only = engine.docker(&["network", "create", "--help"]).out.contains("--ipv4");
        let binary = engine.root().join("usr/local/bin/gipam");
        // By another process: a child that a thread starts meanwhile would inherit the open file, and an open file cannot be executed.
        let copied = Command::new("cp").arg(program()).arg(&binary).status();
        if !copied.is_ok_and(|status| status.success()) {
            return Err(format!("cannot copy gipam to {}", binary.display()));
        }
        let works = engine.inside(&["gipam", "--version"]);
        if !works.ok {
            return Err(format!(
                "gipam does not run in the {suite} root (a newer C library?): {}",
                works.err
            ));
        }
        Ok(engine)
    }

    /// Starts one more Engine of the same suite.
    pub fn another(&self) -> Result<Self, String> {
        Self::start(self.suite, ADDED.fetch_add(1, Relaxed))
    }

    /// The process id of the engine's first process.
    pub fn first(&self) -> u32 {
        self.first
    }

    /// "26.1", for progress lines and the table.
    pub fn title(&self) -> String {
        format!("{}.{}", self.version.0, self.version.1)
    }

    /// The engine's root directory, seen from this machine.
    pub fn root(&self) -> PathBuf {
        format!("/proc/{}/root", self.first).into()
    }

    /// A command that will run inside the engine's namespaces.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.first.to_string(), "-m", "-n", "-p", "-u", "-i", "-r", "-w", "--"]);
        command.args(words).env_clear().env("HOME", "/tmp").stdin(Stdio::null());
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// Runs a command inside, to its end, or to the limit.
    pub fn inside(&self, words: &[&str]) -> Said {
        let limited: Vec<&str> = ["timeout", "-k", "1", COMMAND_LIMIT].iter().chain(words).copied().collect();
        let output = self.command(&limited).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
        let mut said = Said {
            ok: output.status.success(),
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        };
        if said.code == Some(124) {
            said.err += &format!(" (not done after {COMMAND_LIMIT} s)");
        }
        said
    }

    pub fn docker(&self, words: &[&str]) -> Said {
        self.inside(&[&["docker"], words].concat())
    }

    /// Stops only dockerd; containerd and the containers' shims keep running.
    pub fn dockerd_down(&self, signal: &str) {
        self.script(&["down", &self.name, signal]);
    }

    /// Starts dockerd again; returns once its API answers.
    pub fn dockerd_up(&self, flags: &[&str]) {
        self.script(&[&["up", &self.name], flags].concat());
    }

    /// Kills everything in the engine at once and empties /run, as a reboot does; `power_on` starts it again.
    pub fn power_off(&self) {
        // kills all except the two processes that hold the namespaces; dockerd goes first, so that it cannot
        // react
        let kill = "kill -9 $(busybox pidof dockerd containerd); for dir in /proc/[0-9]*; do pid=${dir#/proc/}
            [ $pid = 1 ] || [ $pid = $$ ] || grep -q infinity $dir/cmdline || kill -9 $pid; done; rm -rf /run/*
            cd /sys/class/net; for bridge in br-* docker0; do ip link del $bridge; done; : >/run/off";
        self.inside(&["setsid", "sh", "-c", kill]);
        // the script also kills `docker` commands that still wait for dockerd
        until("the power is off", Duration::from_secs(10), || self.run.join("off").exists());
        std::fs::remove_file(self.run.join("off")).unwrap();
    }

    pub fn power_on(&self) {
        self.script(&["start", &self.name, self.suite]);
    }

    /// Leftovers that no scenario should meet: an API that does not answer, containers, networks, or a bridge
    /// that does not belong to any network. dockerd creates such a bridge for a record in its bridge driver's
    /// store that its own list lacks (P32).
    pub fn leftover(&self) -> Option<String> {
        let ask = "docker version >/dev/null && docker ps -aq && docker network ls -q --filter type=custom &&
            cd /sys/class/net && for bridge in br-*; do [ ! -d $bridge ] || echo $bridge; done";
        let said = self.inside(&["sh", "-c", ask]);
        (!said.ok || !said.out.is_empty()).then(|| said.out.replace('\n', " ") + &said.err)
    }

    /// Recreates the Engine without its data; only the program under test stays in place.
    pub fn recreate(&self) {
        self.power_off();
        // dockerd's own mounts ended with it, except those that belong to containers
        let forget =
            "busybox umount -l $(busybox awk '$2 ~ \"^/var/lib/docker/\" { print $2 }' /proc/mounts) 2>/dev/null
            rm -rf /var/lib/docker/* /var/lib/containerd/*; ls -A /var/lib/docker /var/lib/containerd";
        let said = self.inside(&["sh", "-c", forget]);
        self.power_on();
        let left = self.leftover();
        assert!(
            left.is_none(),
            "the Engine still has {} after its data was deleted ({said:?})",
            left.unwrap_or_default()
        );
    }

    fn script(&self, words: &[&str]) {
        let output = Command::new(script()).args(words).stdin(Stdio::null()).output().unwrap();
        assert!(
            output.status.success(),
            "engine.sh {words:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }

    /// Output that helps to understand a failure.
    pub fn logs(&self) -> String {
        let errors = "grep -E 'level=(warn|error)' /var/log/dockerd.log | tail -n 40 | cut -c 1-400";
        let (gipam, dockerd) = (gipam::log_tail(self), self.inside(&["sh", "-c", errors]).out);
        format!("--- gipam's log\n{gipam}\n--- dockerd's last warnings\n{dockerd}\n")
    }

    /// The last lines of a log file inside the engine.
    pub fn log_tail(&self, path: &str, lines: &str) -> String {
        self.inside(&["tail", "-n", lines, path]).out
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.holder.stdin.take()); // the script reads the end of its input and cleans up
        let _ = self.holder.wait();
    }
}
