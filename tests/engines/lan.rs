//! Several Engines with a gipam each on one LAN: a bridge in a network namespace of its own, to which every Engine has a
//! link.
//!
//! Promises: the LAN and the added Engines end with the scenario, also if it fails or the test run is killed. On every host the
//! link is called `lan0`; host number N (from 1) has the addresses 198.51.100.1N and 2001:db8::1N.
//!
//! The bridge is not in the namespace of an Engine because dockerd makes the firewall filter what bridges forward.

use crate::engine::Engine;
use crate::world::World;
use std::process::{Child, Command, Stdio};

/// The number of hosts.
pub const HOSTS: usize = 3;

/// The Engines that a scenario starts in addition to its own one.
pub struct Added(Vec<Engine>);

impl Added {
    pub fn to(engine: &Engine) -> Self {
        Self((1..HOSTS).map(|_| engine.another().unwrap()).collect())
    }

    /// The environments of the added Engines.
    pub fn worlds(&self) -> Vec<World<'_>> {
        self.0.iter().map(World::new).collect()
    }
}

/// The bridge.
pub struct Lan {
    /// Holds the bridge's namespace, and ends when its standard input is closed.
    holder: Child,
}

impl Lan {
    pub fn new() -> Self {
        let ready = "ip link add lan type bridge && ip link set lan up && echo ready && exec cat";
        let mut holder = Command::new("unshare")
            .args(["-n", "sh", "-euc", ready])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = holder.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
        assert_eq!(line.trim(), "ready", "the LAN's bridge could not be created");
        Self { holder }
    }

    /// Connects a network namespace, of the process with this id.
    pub fn link(&self, port: &str, namespace: u32) {
        let line = format!(
            "ip link add {port} type veth peer name lan0 netns {namespace}; ip link set {port} master lan up"
        );
        let said = Command::new("nsenter")
            .args(["-n", "-t", &self.holder.id().to_string(), "sh", "-euc", &line])
            .output()
            .unwrap();
        assert!(said.status.success(), "{line}: {}", String::from_utf8_lossy(&said.stderr));
    }

    /// Connects a host.
    pub fn connect(&self, number: usize, world: &mut World) {
        self.link(&format!("port{number}"), world.engine.first());
        world.change_host(
            &format!(
                "ip link set lan0 up; ip addr add 198.51.100.1{number}/24 dev lan0
                 ip addr add 2001:db8::1{number}/64 dev lan0 nodad"
            ),
            "ip link del lan0",
        );
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// Does the same on every host at the same time; `number` is the host's, from 1.
pub fn everywhere(worlds: &[&World], work: impl Fn(usize, &World) + Sync) {
    std::thread::scope(|scope| {
        let (work, mut hosts) = (&work, Vec::new());
        for (number, world) in worlds.iter().enumerate() {
            hosts.push(scope.spawn(move || work(number + 1, world)));
        }
        hosts.into_iter().for_each(|host| host.join().unwrap());
    });
}
