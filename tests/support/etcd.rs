//! A real etcd with one member on loopback, with its data in memory; it is ended and removed with the value.
//!
//! Promises: listens only on 127.0.0.1; can be stopped and started again with its data. Shared by several test programs; each
//! uses a part of it.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

/// One member.
pub struct Etcd {
    pub directory: TempDir,
    programs: PathBuf,
    /// `127.0.0.1:PORT` for clients.
    pub address: String,
    peer: String,
    /// Further arguments.
    pub arguments: Vec<String>,
    scheme: &'static str,
    child: Option<Child>,
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

impl Etcd {
    pub fn start() -> Etcd {
        let mut etcd = Etcd::stopped("http");
        etcd.go_on();
        etcd
    }

    /// A member that has not started yet.
    pub fn stopped(scheme: &'static str) -> Etcd {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/etcd.sh");
        let found = Command::new(script).output().unwrap();
        assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
        let programs = PathBuf::from(String::from_utf8_lossy(&found.stdout).trim());
        // fdatasync costs nothing there, and no test here is about etcd's disk.
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Etcd {
            directory: directory.unwrap(),
            programs,
            address: free_address(),
            peer: free_address(),
            arguments: Vec::new(),
            scheme,
            child: None,
        }
    }

    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Starts it, and waits until it serves.
    pub fn go_on(&mut self) {
        let log = std::fs::File::create(self.directory.path().join("log")).unwrap();
        let (endpoint, peer) = (self.endpoint(), format!("http://{}", self.peer));
        let mut command = Command::new(self.programs.join("etcd"));
        command.env_clear().arg("--data-dir").arg(self.data()).args(["--listen-client-urls", &endpoint]);
        command.args(["--advertise-client-urls", &endpoint, "--listen-peer-urls", &peer]);
        command.args([
            "--initial-advertise-peer-urls",
            &peer,
            "--initial-cluster",
            &format!("default={peer}"),
        ]);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        // With certificates only the connection is seen; otherwise that it has a leader.
        super::daemon::until("etcd serves", || {
            std::net::TcpStream::connect(&self.address).ok()?;
            let health = self.etcdctl(&["endpoint", "health"]).status.success();
            (health || self.scheme == "https").then_some(())
        });
    }

    /// Kills it; its data stay.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn etcdctl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.programs.join("etcdctl"));
        command.env_clear().env("ETCDCTL_API", "3").args(["--endpoints", &self.endpoint()]).args(arguments);
        command.output().unwrap()
    }

    /// Runs etcdctl, and returns what it prints.
    pub fn control(&self, arguments: &[&str]) -> String {
        let output = self.etcdctl(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
