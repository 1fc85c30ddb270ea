//! The environment of a scenario: one engine, a gipam with fresh books, and functions to use them.
//!
//! `finish` ends every scenario: the books must equal the Engine's own report except for the expected leaks,
//! which it frees with `gipam release`; then it removes everything, and the books must be empty.

use crate::books::{self, Held, Leak};
use crate::engine::{Engine, Said};
use crate::gipam::{self, Gipam, Lease, Subnet};
use crate::wait::until;
use rustix::process::Signal;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

/// The pools of most scenarios.
pub const POOLS: [&str; 4] = ["-v4", "10.77.0.0/16", "-v6", "fd77:77::/48"];
/// Where Docker looks for the driver.
pub const SOCKET: &str = "/run/docker/plugins/gipam.sock";
const FILE: &str = "/var/lib/gipam/gipam.db";

/// How gipam is started, as in a unit file.
#[derive(Default)]
pub struct Launch {
    pub directory: String,
    pub variables: Vec<(&'static str, &'static str)>,
    pub words: Vec<String>,
    pub socket: String,
}

impl Launch {
    fn with(words: &[&str]) -> Self {
        let words = words.iter().chain(&["--file", FILE]).map(|word| (*word).to_owned()).collect();
        Self { directory: gipam::BOOKS.into(), variables: Vec::new(), words, socket: SOCKET.into() }
    }
}

pub struct World<'a> {
    pub engine: &'a Engine,
    pub gipam: Option<Gipam>,
    /// How gipam is started in this scenario.
    pub launch: Launch,
    /// The IPAM drivers whose networks belong to these books.
    drivers: Vec<&'static str>,
    leaks: Vec<Leak>,
    /// Commands that undo the scenario's changes to the engine's namespaces.
    undo: Vec<String>,
    default_dockerd: bool,
}

impl<'a> World<'a> {
    pub fn new(engine: &'a Engine) -> Self {
        gipam::forget(engine);
        let mut world = Self {
            engine,
            gipam: None,
            launch: Launch::default(),
            drivers: vec!["gipam"],
            leaks: Vec::new(),
            undo: Vec::new(),
            default_dockerd: true,
        };
        world.restart_with(&POOLS);
        world
    }

    // --- gipam
    // -------------------------------------------------------------------------------------------------------

    /// Deletes the books and starts gipam with these arguments.
    pub fn restart_with(&mut self, words: &[&str]) {
        self.restart_as(Launch::with(words));
    }

    /// Deletes the books and starts gipam with the usual pools on a socket other than the one that Docker
    /// uses.
    pub fn restart_at(&mut self, socket: &str) {
        let words = [POOLS.as_slice(), &["--socket", socket, "--admin", "/run/gipam/admin.sock"]].concat();
        self.restart_as(Launch { socket: socket.into(), ..Launch::with(&words) });
    }

    fn restart_as(&mut self, launch: Launch) {
        self.gipam = None;
        gipam::forget(self.engine);
        self.launch = launch;
        self.start();
    }

    /// Writes a configuration file, and starts gipam with fresh books and only this file.
    pub fn configure(&mut self, toml: &str) {
        self.configure_as(toml, Launch::with(&[]));
    }

    /// Like [`Self::configure`], on a socket other than the one that Docker uses.
    pub fn configure_at(&mut self, socket: &str, toml: &str) {
        let words = ["--socket", socket, "--admin", "/run/gipam/admin.sock"];
        self.configure_as(toml, Launch { socket: socket.into(), ..Launch::with(&words) });
    }

    fn configure_as(&mut self, toml: &str, launch: Launch) {
        self.gipam = None;
        gipam::forget(self.engine);
        self.write("/etc/gipam/gipam.toml", toml);
        self.launch = launch;
        self.start();
    }

    /// Starts gipam with the existing books.
    pub fn start(&mut self) {
        assert!(self.gipam.is_none(), "gipam is already running");
        self.gipam = Some(Gipam::start(self.engine, &self.launch));
    }

    /// Stops gipam cleanly, and checks that it exits cleanly.
    pub fn stop(&mut self) {
        let status = self.gipam.take().expect("gipam is running").end(self.engine, Signal::TERM);
        assert!(status.success(), "gipam ended with {status} on SIGTERM: {}", gipam::log_tail(self.engine));
        let socket = self.engine.run.join(self.launch.socket.trim_start_matches("/run/"));
        assert!(!socket.exists(), "gipam left its socket behind on SIGTERM");
    }

    pub fn kill(&mut self) {
        self.gipam.take().expect("gipam is running").end(self.engine, Signal::KILL);
    }

    pub fn subnets(&self) -> Vec<Subnet> {
        gipam::view(self.engine, &["subnets"])
    }

    pub fn leases(&self) -> Vec<Lease> {
        gipam::view(self.engine, &["leases"])
    }

    /// The subnet of the books with this prefix.
    pub fn subnet(&self, prefix: &str) -> Subnet {
        let found: Vec<Subnet> =
            self.subnets().into_iter().filter(|subnet| subnet.prefix == prefix).collect();
        assert_eq!(found.len(), 1, "the books have {} subnets {prefix}: {:?}", found.len(), self.subnets());
        found.into_iter().next().unwrap()
    }

    /// Also compares networks of this driver name.
    pub fn also_driver(&mut self, name: &'static str) {
        self.drivers.push(name);
    }

    // --- the Engine
    // --------------------------------------------------------------------------------------------------

    /// Runs a docker command that must succeed; spaces separate its arguments.
    pub fn docker(&self, line: &str) -> String {
        let said = self.engine.docker(&line.split_whitespace().collect::<Vec<_>>());
        assert!(said.ok, "docker {line}: {}{}", said.out, said.err);
        said.out
    }

    /// Runs a docker command that must fail; returns what the user sees.
    pub fn refused(&self, line: &str) -> String {
        let said = self.engine.docker(&line.split_whitespace().collect::<Vec<_>>());
        assert!(!said.ok, "docker {line} should have been refused, but: {}", said.out);
        assert_ne!(said.code, Some(124), "docker {line} hung");
        said.err
    }

    /// Runs docker commands at the same time, each of which must succeed.
    pub fn at_once(&self, lines: impl Iterator<Item = String>) {
        let engine = self.engine;
        std::thread::scope(|scope| {
            let run = |line: String| engine.docker(&line.split_whitespace().collect::<Vec<_>>());
            let all: Vec<_> = lines.map(|line| (line.clone(), scope.spawn(move || run(line)))).collect();
            for (line, one) in all {
                let said = one.join().unwrap();
                assert!(said.ok, "docker {line}: {}", said.err);
            }
        });
    }

    /// `docker network create` with gipam as IPAM driver.
    pub fn network(&self, line: &str) {
        self.docker(&format!("network create --ipam-driver gipam {line}"));
    }

    /// Runs `docker run` for a container that sleeps and exits at once on SIGTERM.
    pub fn run(&self, line: &str) {
        self.docker(&format!("run -d --init {line} bb sleep 3600"));
    }

    /// Runs a command that must succeed, inside the engine's namespaces.
    pub fn inside(&self, line: &str) -> String {
        let said: Said = self.engine.inside(&["sh", "-euc", line]);
        assert!(said.ok, "{line}: {}{}", said.out, said.err);
        said.out
    }

    /// Runs such a command, and at the end of the scenario another one that undoes it.
    pub fn change_host(&mut self, line: &str, undo: &str) {
        self.inside(line);
        self.undo.push(undo.into());
    }

    /// Restarts dockerd with other flags, until the end of the scenario.
    pub fn dockerd(&mut self, signal: &str, flags: &[&str]) {
        self.default_dockerd = flags.is_empty();
        self.engine.dockerd_down(signal);
        self.engine.dockerd_up(flags);
    }

    pub fn write(&self, path: &str, content: &str) {
        let there = self.engine.root().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(there.parent().unwrap()).unwrap();
        std::fs::write(there, content).unwrap();
    }

    /// The prefixes that Docker shows for a network, in its order.
    pub fn prefixes(&self, network: &str) -> Vec<String> {
        let format = "{{range .IPAM.Config}}{{.Subnet}} {{end}}";
        let said = self.engine.docker(&["network", "inspect", "--format", format, network]);
        assert!(said.ok, "{}", said.err);
        said.out.split_whitespace().map(str::to_owned).collect()
    }

    /// The addresses (IPv4, IPv6) that Docker shows for a running container on a network.
    pub fn addresses(&self, container: &str, network: &str) -> (Option<IpAddr>, Option<IpAddr>) {
        let one = format!("with index .NetworkSettings.Networks \"{network}\"");
        let format = format!("{{{{{one}}}}}{{{{.IPAddress}}}} {{{{.GlobalIPv6Address}}}}{{{{end}}}}");
        let said = self.engine.docker(&["inspect", "--format", &format, container]);
        assert!(said.ok, "{}", said.err);
        let mut both: Vec<Option<IpAddr>> = said.out.split(' ').map(|word| word.parse().ok()).collect();
        both.resize(2, None);
        // without IPv4 an Engine prints only the IPv6 address
        match both[0] {
            Some(IpAddr::V6(_)) => (None, both[0]),
            _ => (both[0], both[1]),
        }
    }

    pub fn v4(&self, container: &str, network: &str) -> String {
        self.addresses(container, network).0.map(|address| address.to_string()).unwrap_or_default()
    }

    pub fn v6(&self, container: &str, network: &str) -> String {
        self.addresses(container, network).1.map(|address| address.to_string()).unwrap_or_default()
    }

    /// Waits until a container is in this state, as `docker inspect` calls it.
    pub fn until_state(&self, container: &str, state: &str) {
        until(&format!("{container} is {state}"), Duration::from_secs(30), || {
            self.engine.docker(&["inspect", "--format", "{{.State.Status}}", container]).out == state
        });
    }

    /// Checks that a container reaches this address.
    pub fn ping(&self, from: &str, address: &str) {
        // the first packet may meet an address that is still being checked for duplicates
        self.docker(&format!("exec {from} ping -c 1 -w 10 {address}"));
    }

    // --- the end
    // -----------------------------------------------------------------------------------------------------

    /// Declares what Docker will have leaked by the end of the scenario.
    pub fn expect_leak(&mut self, leak: Leak) {
        self.leaks.push(leak);
    }

    /// Checks that books and Engine agree now: no duplicates, no leaks.
    pub fn agree(&self) {
        let (books, engine) = self.settle(|books, engine| books.is_empty() && engine.is_empty());
        assert!(
            books.is_empty() && engine.is_empty(),
            "only in the books: {books:#?}; only at the Engine: {engine:#?}"
        );
    }

    /// Waits until books and Engine agree; returns how long it took.
    pub fn until_agree(&self, limit: Duration) -> Duration {
        let start = Instant::now();
        let mut last = self.compare();
        while !(last.0.is_empty() && last.1.is_empty()) {
            assert!(
                start.elapsed() < limit,
                "after {} s only in the books: {:#?}; only at the Engine: {:#?}",
                limit.as_secs(),
                last.0,
                last.1
            );
            std::thread::sleep(Duration::from_millis(500));
            last = self.compare();
        }
        start.elapsed()
    }

    /// What only the books have and what only the Engine has, except addresses that the Engine never
    /// releases.
    pub fn compare(&self) -> (Vec<Held>, Vec<Held>) {
        let (mut books, engine) = books::compare(self.engine, &self.drivers);
        books.retain(|held| !self.never_returned(held));
        (books, engine)
    }

    /// Engine 20.10 releases IPv6 addresses of endpoints only if they are global unicast: link-local ones, of
    /// which the old gipam's example pool is made, stay in the books until their subnet is released.
    fn never_returned(&self, held: &Held) -> bool {
        let link_local = |address| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        self.engine.version.0 <= 20
            && matches!(held.kind.as_str(), "endpoint" | "unknown")
            && held.address.is_some_and(link_local)
    }

    /// Waits at most 20 seconds for books and Engine to agree: releases come shortly after Docker's answer to
    /// its user, and only the check that follows a change within seconds shows whether a requested address is
    /// an endpoint's or auxiliary.
    fn settle(&self, good: impl Fn(&[Held], &[Held]) -> bool) -> (Vec<Held>, Vec<Held>) {
        let start = Instant::now();
        loop {
            let (books, engine) = self.compare();
            if good(&books, &engine) || start.elapsed() > Duration::from_secs(20) {
                return (books, engine);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The end of every scenario.
    pub fn finish(&mut self) {
        let leaks = std::mem::take(&mut self.leaks);
        self.free_leaks(&leaks);
        self.agree();
        for held in books::compare(self.engine, &self.drivers).0 {
            // expected by `never_returned`; otherwise `agree` would have failed
            self.release(&Leak::Address(held.subnet, held.address.unwrap().to_string()));
        }
        self.remove_all();
        self.until_empty();
        assert!(self.gipam.as_mut().is_some_and(Gipam::runs), "gipam died: {}", gipam::log_tail(self.engine));
    }

    /// Frees a leak by hand without asking the Engine, because the grant may be less than a minute old.
    fn release(&self, leak: &Leak) {
        let said = match leak {
            Leak::Subnet(prefix) => {
                gipam::cli(self.engine, &["release", prefix, "--force", "--without-engine"])
            }
            Leak::Address(prefix, address) => {
                gipam::cli(self.engine, &["release", prefix, address, "--force", "--without-engine"])
            }
        };
        assert!(said.ok, "gipam release of {leak:?} failed: {}", said.err);
    }

    fn free_leaks(&self, leaks: &[Leak]) {
        let foretold = |held: &Held| {
            leaks.iter().any(|leak| match leak {
                Leak::Subnet(prefix) => held.subnet == *prefix,
                Leak::Address(prefix, address) => {
                    held.subnet == *prefix && held.address.is_some_and(|found| found.to_string() == *address)
                }
            })
        };
        let things = |held: &[Held]| {
            let whole =
                |held: &&Held| leaks.iter().any(|l| matches!(l, Leak::Subnet(p) if *p == held.subnet));
            held.iter().filter(|held| !whole(held) || held.address.is_none()).count()
        };
        let exact = |held: &[Held]| held.iter().all(foretold) && things(held) == leaks.len();
        let (books, engine) = self.settle(|books, engine| exact(books) && engine.is_empty());
        assert!(engine.is_empty(), "only at the Engine: {engine:#?}");
        assert!(exact(&books), "expected leaks: {leaks:#?}; only in the books: {books:#?}");
        leaks.iter().for_each(|leak| self.release(leak));
    }

    /// Removes every container and every network of the scenario.
    pub fn remove_all(&self) {
        self.inside("docker ps -aq | xargs -r docker rm -f -v >/dev/null");
        self.until_removed("docker network ls -q --filter type=custom | xargs -r docker network rm");
    }

    /// Runs a command that removes networks until Docker has let them go: right after the end of a container, dockerd may
    /// still count its endpoint.
    pub fn until_removed(&self, line: &str) {
        let is_removed = || {
            let said = self.engine.inside(&["sh", "-euc", line]);
            let counted =
                said.err.contains("has active endpoints") || said.out.contains("has active endpoints");
            assert!(said.ok || counted, "{line}: {}{}", said.out, said.err);
            said.ok
        };
        if self.engine.version.0 <= 20 && !is_removed() && self.default_dockerd {
            // dockerd 20.10 may count an endpoint that is gone, and counts anew only when it starts.
            self.engine.dockerd_down("TERM");
            self.engine.dockerd_up(&[]);
        }
        until(&format!("{line} removes the networks"), Duration::from_secs(30), is_removed);
    }

    /// Waits until Docker has released everything.
    pub fn until_empty(&self) {
        let start = Instant::now();
        loop {
            let (subnets, leases) = (self.subnets(), self.leases());
            if subnets.is_empty() && leases.is_empty() {
                return;
            }
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "still in the books after everything was removed: {subnets:#?} {leases:#?}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Cleans the engine for the next scenario, whatever happened. If Docker itself cannot remove something,
    /// all of its data is deleted.
    pub fn reset(&mut self) {
        let tidied = catch_unwind(AssertUnwindSafe(|| self.tidy()));
        self.gipam = None;
        if let Some(left) = self.engine.leftover() {
            println!("        Engine {} starts without its data: it kept {left}", self.engine.title());
            self.engine.recreate();
        }
        gipam::forget(self.engine);
        if let Err(why) = tidied {
            resume_unwind(why);
        }
    }

    /// Undoes the scenario's changes with ordinary commands.
    fn tidy(&mut self) {
        self.gipam = None;
        gipam::forget(self.engine);
        // A new gipam answers the releases; otherwise each of them would wait 15 s for a driver that is gone.
        self.launch = Launch::with(&POOLS);
        self.start();
        for line in self.undo.iter().rev() {
            self.engine.inside(&["sh", "-c", line]);
        }
        if !self.default_dockerd || !self.engine.docker(&["version"]).ok {
            self.engine.dockerd_down("TERM");
            self.engine.dockerd_up(&[]);
        }
        self.remove_all();
    }
}
