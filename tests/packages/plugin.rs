//! The managed plugin that `make plugin` builds, on Engines that are both Swarm managers and nodes.
//!
//! Checks P24 (manager and node request the same subnet in two spaces) and P25 (the name has a tag, the
//! socket is ready within half a second).

use crate::machine::SOON;
use crate::wait::until;
use crate::{packages, page};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The name that docs/install.md uses.
const NAME: &str = "gipam:local";
const SECTION: &str = "Install the managed plugin";

/// An Engine of `scripts/engine.sh`.
struct Engine {
    name: String,
    holder: Child,
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/engine.sh")
}

impl Engine {
    fn start(suite: &str) -> Self {
        let name = format!("p-{suite}-{}", std::process::id());
        let mut holder = Command::new(script())
            .args(["hold", &name, suite])
            .env("GIPAM_OWNER", std::process::id().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let engine = Self { name, holder };
        assert!(line.starts_with("ready "), "the Engine of {suite} did not start");
        engine
    }

    fn run(&self) -> PathBuf {
        crate::base().join("e").join(&self.name).join("run")
    }

    fn try_sh(&self, lines: &str) -> (bool, String) {
        let inside = ["exec", &self.name, "timeout", "90", "sh", "-euc", lines];
        let output = Command::new(script()).args(inside).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text.trim_end().to_owned())
    }

    fn sh(&self, lines: &str) -> String {
        let (ok, text) = self.try_sh(lines);
        assert!(ok, "{lines}: {text}");
        text
    }

    /// A view, read from outside over the socket in the plugin's own directory.
    fn view(&self, view: &str) -> Vec<Value> {
        let id = self.sh(&format!("docker plugin inspect -f '{{{{.Id}}}}' {NAME}"));
        let said = self.sh(&format!(
            "/run/target/package/plugin/rootfs/gipam {view} --json --admin /run/docker/plugins/{id}/admin.sock"
        ));
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// The spaces in which a prefix is held.
    fn spaces(&self, prefix: &str) -> Vec<String> {
        let rows = self.view("subnets");
        let mut spaces: Vec<String> = rows
            .iter()
            .filter(|row| row["prefix"] == prefix)
            .map(|row| row["space"].as_str().unwrap().to_owned())
            .collect();
        spaces.sort();
        spaces
    }

    /// Running tasks of the service.
    fn tasks(&self) -> Vec<String> {
        let said = self.sh("docker ps -q --filter label=com.docker.swarm.service.name=web");
        said.lines().map(str::to_owned).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

pub fn bookworm() {
    swarm("bookworm");
}

pub fn trixie() {
    swarm("trixie");
}

pub fn forky() {
    swarm("forky");
}

fn swarm(suite: &str) {
    let engine = Engine::start(suite);
    let there = engine.run().join("target/package");
    std::fs::create_dir_all(&there).unwrap();
    let copied = Command::new("cp").arg("-r").args([packages().join("plugin"), there]).status().unwrap();
    assert!(copied.success());
    engine.sh(&format!("cd /run; {}", page::without(&page::block(SECTION, 0), "make plugin")));
    let (ok, said) = engine.try_sh("docker network create --ipam-driver gipam none");
    assert!(!ok, "without its tag the plugin is not found: {said}");

    engine.sh("docker swarm init --advertise-addr 192.0.2.1");
    engine.sh(&page::block(SECTION, 1));
    engine.sh("docker service create --name web --replicas 2 --network over --detach --no-resolve-image bb sleep 3600");
    let prefix = engine.sh("docker network inspect -f '{{(index .IPAM.Config 0).Subnet}}' over");
    until("two tasks run", Duration::from_secs(60), || engine.tasks().len() == 2);
    assert_eq!(engine.spaces(&prefix), ["global", "local"], "the manager and the node each hold the prefix");
    let address = |task: &str| {
        engine.sh(&format!("docker inspect -f '{{{{.NetworkSettings.Networks.over.IPAddress}}}}' {task}"))
    };
    let addresses: Vec<String> = engine.tasks().iter().map(|task| address(task)).collect();
    let leases = engine.view("leases");
    for wanted in &addresses {
        let held =
            leases.iter().filter(|lease| lease["address"] == wanted.as_str() && lease["state"] == "leased");
        assert_eq!(held.count(), 2, "{wanted} is held in both spaces: {leases:?}");
    }
    engine.sh(&format!(
        "docker run -d --init --name by-hand --network over bb sleep 3600
        docker exec by-hand ping -c 1 -w 10 {}",
        addresses[0]
    ));

    // after a restart, an Engine has the same plugin, books and network, and its tasks have their subnet
    let restart = |word: &[&str]| assert!(Command::new(script()).args(word).status().unwrap().success());
    restart(&["down", &engine.name, "TERM"]);
    restart(&["up", &engine.name]);
    until("two tasks run again", Duration::from_secs(60), || engine.tasks().len() == 2);
    assert_eq!(engine.sh("docker network inspect -f '{{(index .IPAM.Config 0).Subnet}}' over"), prefix);
    assert_eq!(engine.spaces(&prefix), ["global", "local"]);

    engine.sh("docker service rm web; docker rm -f by-hand");
    until("the network can be removed", SOON, || engine.try_sh("docker network rm over").0);
    engine.sh("docker network rm web");
    until("the books hold no subnet", SOON, || engine.view("subnets").is_empty());
    assert!(engine.view("leases").is_empty());
    engine.sh(&format!("docker plugin disable {NAME}; docker plugin rm {NAME}; docker swarm leave --force"));
}

/// dockerd checks for the socket of a managed plugin after half a second; if it is missing, dockerd waits
/// three more seconds.
pub fn ready() {
    let place = tempfile::tempdir().unwrap();
    let start = || {
        let socket = place.path().join("gipam.sock");
        let begun = Instant::now();
        let mut program = Command::new(packages().join("plugin/rootfs/gipam"))
            .args(["serve", "-v4", "198.51.100.0/24", "-v4ab", "28", "--config", "/dev/null"])
            .args(["--file".as_ref(), place.path().join("gipam.db").as_os_str()])
            .args(["--socket".as_ref(), socket.as_os_str()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("the socket is up", SOON, || socket.exists());
        let took = begun.elapsed();
        program.kill().unwrap();
        program.wait().unwrap();
        std::fs::remove_file(socket).unwrap();
        took
    };
    // the machine may be busy during one attempt, but not during ten
    let best = (0..10).map(|_| start()).min().unwrap();
    assert!(best < Duration::from_millis(500), "{best:?}");
}
