//! An etcd on the LAN of a scenario, from `scripts/etcd.sh`: one member, in a network namespace of its own.
//!
//! Promises: it answers at [`ENDPOINT`] when `start` returns, and ends with the scenario, also if it fails or the test run is
//! killed. Its data ends with it.

use crate::lan::Lan;
use crate::wait::until;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Where it answers, for `[plan] etcd`.
pub const ENDPOINT: &str = "http://198.51.100.21:2379";

/// Waits until the LAN is connected, and becomes etcd, with its data in memory: a busy disk may be slower than an answer may be.
const BECOME: &str = r#"mount -t tmpfs tmpfs "$1"; echo ready; read -r _; ip link set lo up; ip link set lan0 up; ip addr add 198.51.100.21/24 dev lan0
    exec setpriv --pdeathsig KILL etcd --data-dir "$1" --advertise-client-urls "$2" --listen-client-urls "$2" \
    --listen-peer-urls http://127.0.0.1:2380"#;

pub struct Etcd {
    member: Child,
    /// The directory of etcd and etcdctl.
    programs: PathBuf,
    _data: tempfile::TempDir,
}

impl Etcd {
    pub fn start(lan: &Lan) -> Self {
        let data = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/etcd.sh");
        let programs = Command::new(script).output().unwrap();
        assert!(programs.status.success(), "{}", String::from_utf8_lossy(&programs.stderr));
        let path = String::from_utf8(programs.stdout).unwrap().trim().to_owned();
        let mut member = Command::new("unshare")
            .args(["-n", "-m", "sh", "-euc", BECOME, "sh"])
            .arg(data.path())
            .arg(ENDPOINT)
            .env("PATH", format!("{path}:{}", std::env::var("PATH").unwrap()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(member.stdout.take().unwrap()).read_line(&mut line).unwrap();
        lan.link("etcd1", member.id());
        member.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let etcd = Self { member, programs: path.into(), _data: data };
        until("etcd answers", Duration::from_secs(20), || etcd.answers());
        etcd
    }

    fn answers(&self) -> bool {
        let words = ["--endpoints", ENDPOINT, "--command-timeout", "1s", "endpoint", "health"];
        let mut command = Command::new("nsenter");
        command
            .args(["-n", "-t", &self.member.id().to_string()])
            .arg(self.programs.join("etcdctl"))
            .args(words);
        command.env("ETCDCTL_API", "3").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().unwrap().success()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.member.kill();
        let _ = self.member.wait();
    }
}
