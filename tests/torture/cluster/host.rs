//! A HOST OF THE CLUSTER: a real daemon on a machine of the LAN, with its books on a small file system in memory.
//!
//! Promises: the daemon keeps its books over kills and restarts; all its runs write one log. Its clients are in `load`.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use gipam::claims::books::{CLAIMS, read_rows};
use gipam::plan::Plan;
use serde_json::Value;

use super::history::{History, Observer};
use super::lan::{Lan, Machine};
use crate::daemon::{Daemon, House, until};
use crate::http::Wire;
use crate::journal::Journal;
use crate::volume::Volume;

/// The machine of the first host.
const FIRST: u8 = 11;
/// The size of the disk of a host's books and of its log, in KiB.
const DISK: u32 = 64 << 10;
/// The log of a daemon when its store does not answer.
const TROUBLE: &str = "the plan's store does not answer";

/// One network address plan for all hosts: networks of both families from two pools in slices, and a LAN of both families.
pub const POOLS: &str = r#"
history = 20000
[[pool]]
name = "four"
v4 = { base = "198.18.0.0/19", size = 26, slice = 23 }
cooling = "0"
subnet_cooling = "0"
[[pool]]
name = "six"
v6 = { base = "2001:db8:77::/50", size = 64, slice = 60 }
cooling = "0"
subnet_cooling = "0"
[[pool]]
name = "lan"
v4 = { base = "198.18.64.0/24", slice = 28, shared = true, gateway = "198.18.64.1", by_number = "198.18.64.240/28" }
v6 = { base = "2001:db8:99::/64", slice = 124, shared = true, gateway = "2001:db8:99::1", by_number = "2001:db8:99::f0/124" }
cooling = "0"
subnet_cooling = "0"
"#;

/// One host.
pub struct Host {
    pub name: String,
    pub machine: Machine,
    pub house: House,
    pub journal: Journal,
    pub observer: Observer,
    daemon: Option<Daemon>,
    volume: Volume,
    /// Counts the lives of the host: it may come back with new books.
    life: u32,
}

impl Host {
    /// A host that is not started; `index` counts from 0.
    pub fn new(lan: &Lan, index: usize, endpoints: &[String], history: &History) -> Host {
        let name = char::from(b'a' + u8::try_from(index).unwrap()).to_string();
        let machine = lan.machine(FIRST + u8::try_from(index).unwrap());
        // Each host tries another member first.
        let mut endpoints = endpoints.to_vec();
        let first = index % endpoints.len();
        endpoints.rotate_left(first);
        let toml = format!(
            "[plan]\nhost = {name:?}\nvia = [{:?}]\netcd = {endpoints:?}\ntimeout = \"600ms\"\n[gc]\nengine = \"\"\n{POOLS}",
            machine.address()
        );
        // Keys of the top level come before the first table.
        let (plan, pools) = toml.split_once("\nhistory = 20000\n").unwrap();
        let house = House::with_toml(&format!("history = 20000\n{plan}\n{pools}"));
        let volume = Volume::memory(house.directory.path(), DISK);
        let observer = Observer { history: history.clone(), host: index };
        let mut host = Host {
            name,
            machine,
            house,
            journal: Journal::default(),
            observer,
            daemon: None,
            volume,
            life: 0,
        };
        host.begin_life();
        host
    }

    /// New books, and clients that know of nothing.
    pub fn begin_life(&mut self) {
        assert!(self.daemon.is_none());
        // The old ones would fill the disk after a few lives.
        for entry in fs::read_dir(self.volume.path("")).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        self.life += 1;
        self.journal = Journal::default();
        self.journal.book().observer = Some(self.observer.clone());
        let books = self.books();
        self.house.set("--file", &books);
    }

    pub fn books(&self) -> PathBuf {
        self.volume.path(&format!("gipam{}.db", self.life))
    }

    pub fn ballast(&self) -> PathBuf {
        self.volume.path("ballast")
    }

    /// Starts the daemon, and waits until it serves.
    pub fn start(&mut self) {
        assert!(self.daemon.is_none());
        let log = OpenOptions::new().create(true).append(true).open(self.house.path("log")).unwrap();
        let mut command = self.machine.command(env!("CARGO_BIN_EXE_gipam"));
        command.args(&self.house.arguments).current_dir(self.house.directory.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut daemon = self.house.adopt(child);
        until("the daemon serves", || {
            if let Some(status) = daemon.child.try_wait().unwrap() {
                panic!("the daemon of host {} ended with {status}: {}", self.name, self.house.log());
            }
            let mut wire = Wire::try_unix(&daemon.socket)?;
            wire.try_call("Plugin.Activate", "").filter(|answer| answer.status == 200)
        });
        self.daemon = Some(daemon);
        self.observer.happens("the daemon serves");
    }

    pub fn is_running(&self) -> bool {
        self.daemon.is_some()
    }

    pub fn kill(&mut self) {
        self.daemon.take().unwrap().kill();
        self.observer.happens("the daemon was killed");
    }

    /// Ends the daemon in an orderly way, so that its books have no WAL.
    pub fn stop(&mut self) {
        assert!(self.daemon.take().unwrap().stop().success());
        self.observer.happens("the daemon has ended");
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        self.observer.happens(&format!("the daemon gets signal {signal:?}"));
        self.daemon.as_ref().unwrap().signal(signal);
    }

    /// Stops every thread of the daemon; each of them stops only when the kernel next runs it.
    pub fn pause(&self) {
        self.signal(rustix::process::Signal::STOP);
        let tasks = format!("/proc/{}/task", self.daemon.as_ref().unwrap().child.id());
        until("every thread of the daemon has stopped", || {
            let mut threads = fs::read_dir(&tasks).unwrap().flatten();
            let is_stopped = |thread: fs::DirEntry| {
                let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
                stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
            };
            threads.all(is_stopped).then_some(())
        });
    }

    /// Whether the daemon has not ended by itself.
    pub fn assert_alive(&mut self) {
        let daemon = self.daemon.as_mut().unwrap();
        let ended = daemon.child.try_wait().unwrap();
        assert!(ended.is_none(), "host {}: {ended:?}: {}", self.name, self.house.log());
    }

    /// A command of a person, which must succeed.
    pub fn told(&self, arguments: &[&str]) -> String {
        let output = self.house.gipam(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "host {}: gipam {arguments:?}: {}{}",
            self.name,
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// The store, as `gipam status --json` shows it.
    pub fn store(&self) -> Value {
        Wire::unix(&self.house.admin()).get("/v1/status")["plan"]["store"].clone()
    }

    /// How often this host noticed that its store does not answer: begun outages and refused requests.
    pub fn noticed(&self) -> u64 {
        let outages = self.house.log().matches(TROUBLE).count() as u64;
        outages + self.journal.book().storeless
    }

    /// The machine of the member to which the daemon is connected.
    pub fn member(&self) -> Option<u8> {
        let path = format!("/proc/{}/net/tcp", self.daemon.as_ref()?.child.id());
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().skip(1).find_map(|line| {
            let mut words = line.split_whitespace();
            let (remote, state) = (words.nth(2)?, words.next()?);
            // The port of etcd, and an established connection; addresses are in the byte order of this machine.
            let address = remote.strip_suffix(":094B").filter(|_| state == "01")?;
            Some(u32::from_str_radix(address, 16).ok()?.to_ne_bytes()[3])
        })
    }

    /// What the books say happened to this subnet or address, newest first.
    pub fn history_of(&self, of: &str) -> String {
        let Ok(reader) = gipam::store::Reader::open(&self.books()) else { return String::new() };
        let lines = reader.history(Some(of), 200).unwrap_or_default();
        let text = |line: &gipam::store::history::HistoryLine| {
            let (name, why) = (line.name.clone().unwrap_or_default(), line.why.clone().unwrap_or_default());
            format!("{} {} {} {} {name} {why}\n", line.at, line.event, line.subnet, line.id)
        };
        lines.iter().map(text).collect()
    }

    /// Copies its log and its books.
    pub fn keep(&self, directory: &std::path::Path) {
        let books = self.books();
        let wal = format!("{}-wal", books.display());
        for (from, to) in [(self.house.path("log"), "log"), (books, "db"), (wal.into(), "db-wal")] {
            let _ = fs::copy(from, directory.join(format!("{}.{to}", self.name)));
        }
    }

    /// Whether its books accept writes, so that it has carried out every release that it kept for a full disk. A request that
    /// changes nothing lets it try.
    pub fn accepts_writes(&self) -> bool {
        let nothing = serde_json::json!({"PoolID": "nothing"}).to_string();
        Wire::unix(&self.house.socket()).call("IpamDriver.ReleasePool", &nothing);
        Wire::unix(&self.house.admin()).get("/v1/status")["writable"] == true
    }

    /// The plan that a start would rebuild from the books.
    pub fn plan(&self) -> Plan {
        crate::books::plan(&self.books()).unwrap_or_else(|error| panic!("host {}: {error}", self.name))
    }

    /// Compares the books with what clients were answered; nobody may be asking meanwhile.
    pub fn compare(&self, when: &str) -> u64 {
        // A client that gave up does not know what its request will still do.
        let slowest = self.journal.book().slowest;
        assert!(
            slowest < Duration::from_secs(15),
            "host {}, {when}: a request took {} ms",
            self.name,
            slowest.as_millis()
        );
        let found = crate::books::compare(&self.books(), &self.journal);
        found.assert_clean(&format!("host {}, {when}", self.name));
        found.recovered
    }
}

impl Host {
    /// How many claims of slices this host began, as its books count them.
    pub fn claims(&self) -> u64 {
        let reader = gipam::store::Reader::open(&self.books()).unwrap();
        let row = reader.meta(CLAIMS).unwrap();
        read_rows(row.as_deref(), None).unwrap().1.seq
    }
}
