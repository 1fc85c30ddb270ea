//! The gipam daemon under test, running inside an engine's namespaces with its default paths, and its own
//! views.

use crate::engine::{Engine, Said};
use crate::wait::until;
use crate::world::Launch;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

/// The path of the books inside the engine.
pub const BOOKS: &str = "/var/lib/gipam";
const LOG: &str = "/var/log/gipam.log";

/// A row of `gipam subnets --json`, with the fields that these tests use.
#[derive(Debug, Clone, Deserialize)]
pub struct Subnet {
    pub id: String,
    pub prefix: String,
    pub pool: Option<String>,
    pub space: String,
    pub range: Option<String>,
    pub gateway: Option<IpAddr>,
    pub leases: u64,
}

/// A row of `gipam leases --json`, with the fields that these tests use.
#[derive(Debug, Clone, Deserialize)]
pub struct Lease {
    pub subnet: String,
    pub address: IpAddr,
    pub kind: Option<String>,
    pub holder: Option<String>,
    pub mac: Option<String>,
    pub state: String,
}

/// A running daemon. Dropping it kills it.
pub struct Gipam {
    child: Child,
    /// The daemon itself; `child` is the nsenter that waits for it.
    pid: Pid,
}

impl Gipam {
    /// Starts gipam inside the engine and waits until it answers at its socket.
    pub fn start(engine: &Engine, launch: &Launch) -> Self {
        let Launch { directory, variables, words, socket } = launch;
        let script = format!("mkdir -p {directory} && cd {directory} && exec gipam \"$@\" >>{LOG} 2>&1");
        let mut command = engine.command(&["sh", "-c", &script, "sh"]);
        command.args(words);
        let child = command.envs(variables.iter().copied()).stdout(Stdio::null()).spawn().unwrap();
        let mut gipam = Self { pid: Pid::from_child(&child), child };
        let socket = engine.run.join(socket.strip_prefix("/run/").unwrap());
        until("gipam answers at its socket", Duration::from_secs(20), || {
            if let Some(status) = gipam.child.try_wait().unwrap() {
                panic!("gipam {words:?} exited during startup with {status}: {}", engine.log_tail(LOG, "3"));
            }
            UnixStream::connect(&socket).is_ok()
        });
        let nsenter = gipam.child.id();
        let children = std::fs::read_to_string(format!("/proc/{nsenter}/task/{nsenter}/children")).unwrap();
        gipam.pid = Pid::from_raw(children.trim().parse().unwrap()).unwrap();
        gipam
    }

    /// Sends a signal and waits until the process has ended.
    pub fn end(mut self, engine: &Engine, signal: Signal) -> ExitStatus {
        let sent = kill_process(self.pid, signal);
        assert!(sent.is_ok(), "gipam ended before the test stopped it: {}", engine.log_tail(LOG, "3"));
        let mut status = None;
        until("gipam ends", Duration::from_secs(20), || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Whether the process still exists.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Gipam {
    fn drop(&mut self) {
        if self.runs() {
            let _ = kill_process(self.pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// Kills every gipam that still runs in the engine and deletes its books, sockets and log.
pub fn forget(engine: &Engine) {
    let clear = format!(
        "for pid in $(busybox pidof gipam); do busybox kill -9 $pid; done; while busybox pidof gipam >/dev/null; do sleep 0.02; done
         rm -rf {BOOKS} /opt/gipam /etc/gipam /run/gipam /run/docker/plugins /etc/docker/plugins {LOG}"
    );
    let said = engine.inside(&["sh", "-c", &clear]);
    assert!(said.ok, "cannot clean up after gipam: {}", said.err);
}

/// Runs a client command inside the engine, as a user would type it.
pub fn cli(engine: &Engine, words: &[&str]) -> Said {
    engine.inside(&[&["gipam"], words].concat())
}

/// A `--json` view.
pub fn view<T: for<'a> Deserialize<'a>>(engine: &Engine, words: &[&str]) -> Vec<T> {
    let said = cli(engine, &[words, &["--json"]].concat());
    assert!(said.ok, "gipam {words:?} --json failed: {}", said.err);
    serde_json::from_str(&said.out)
        .unwrap_or_else(|e| panic!("gipam {words:?} --json printed {:?}: {e}", said.out))
}

/// The end of the daemon's log, for the report of a failure.
pub fn log_tail(engine: &Engine) -> String {
    engine.log_tail(LOG, "60")
}
