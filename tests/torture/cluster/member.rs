//! THE STORE OF THE CLUSTER: three members of a real etcd, each on a machine of its own, and how they fail.
//!
//! Promises: a member's files are on a small file system in memory, which can be filled; a member that was killed is started again
//! with its files; every process is ended. Reads the store with etcdctl, which shares no code with gipam.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::lan::{Lan, Machine};
use crate::volume::Volume;
use crate::wait::until;

pub const MEMBERS: usize = 3;
/// The machine of the first member.
const FIRST: u8 = 21;
/// How long a member may take to start, and the members to agree.
const PATIENCE: Duration = Duration::from_secs(60);
/// The size of a member's disk in KiB: its write-ahead log takes 64 MB at once, twice.
const DISK: u32 = 200 << 10;

/// One member.
pub struct Member {
    pub machine: Machine,
    volume: Volume,
    child: Option<Child>,
    log: PathBuf,
    /// Counts the restores; each has its own directory.
    life: u32,
    binaries: PathBuf,
}

impl Member {
    fn new(lan: &Lan, index: usize, directory: &Path, binaries: &Path) -> Member {
        let directory = directory.join(format!("m{index}"));
        fs::create_dir(&directory).unwrap();
        let machine = lan.machine(FIRST + u8::try_from(index).unwrap());
        let volume = Volume::memory(&directory, DISK);
        let (log, binaries) = (directory.join("log"), binaries.to_owned());
        Member { machine, volume, child: None, log, life: 0, binaries }
    }

    fn name(&self) -> String {
        format!("m{}", self.machine.number)
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}:2379", self.machine.address())
    }

    fn peer(&self) -> String {
        format!("http://{}:2380", self.machine.address())
    }

    fn data(&self) -> PathBuf {
        self.volume.path(&format!("life{}", self.life))
    }

    fn start(&mut self, peers: &str) {
        let log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = self.machine.command(&self.binaries.join("etcd").display().to_string());
        command.arg("--data-dir").arg(self.data()).args(["--name", &self.name()]);
        for (flag, value) in [
            ("--listen-client-urls", self.endpoint().as_str()),
            ("--advertise-client-urls", &self.endpoint()),
            ("--listen-peer-urls", &self.peer()),
            ("--initial-advertise-peer-urls", &self.peer()),
            ("--initial-cluster", peers),
            ("--logger", "zap"),
            ("--log-level", "warn"),
        ] {
            command.args([flag, value]);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.child = Some(child);
    }

    fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().unwrap())
    }

    /// Ends the member as a crash of its machine would, but keeps what it wrote.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub fn pause(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
    }

    pub fn resume(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    /// Fills its disk until the member ends, and makes room again.
    pub fn fill_until_it_ends(&mut self) {
        let ballast = self.volume.path("ballast");
        let mut child = self.child.take().unwrap();
        until("a member with a full disk ends", PATIENCE, || {
            crate::disks::fill(&ballast);
            child.try_wait().unwrap().is_some()
        });
        fs::remove_file(&ballast).unwrap();
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The store.
pub struct Store {
    pub members: Vec<Member>,
    peers: String,
    binaries: PathBuf,
}

impl Store {
    pub fn start(lan: &Lan, directory: &Path) -> Store {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/etcd.sh");
        let said = Command::new(script).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let binaries = PathBuf::from(String::from_utf8_lossy(&said.stdout).trim());
        let mut members: Vec<Member> =
            (0..MEMBERS).map(|index| Member::new(lan, index, directory, &binaries)).collect();
        let peers: Vec<String> =
            members.iter().map(|member| format!("{}={}", member.name(), member.peer())).collect();
        let peers = peers.join(",");
        members.iter_mut().for_each(|member| member.start(&peers));
        let store = Store { members, peers, binaries };
        store.wait(lan);
        store
    }

    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(Member::endpoint).collect()
    }

    /// Starts every member that does not run.
    pub fn revive(&mut self, lan: &Lan) {
        let peers = self.peers.clone();
        self.members.iter_mut().filter(|member| member.child.is_none()).for_each(|it| it.start(&peers));
        self.wait(lan);
    }

    /// Waits until every member takes part.
    fn wait(&self, lan: &Lan) {
        for member in &self.members {
            until(&format!("etcd {} answers: {}", member.name(), tail(&member.log())), PATIENCE, || {
                let health = self.ctl(lan, &[&member.endpoint()], &["endpoint", "health"]);
                health.status.success()
            });
        }
    }

    /// etcdctl, at these endpoints.
    pub fn ctl(&self, lan: &Lan, endpoints: &[&str], arguments: &[&str]) -> Output {
        let mut command = lan.command(&self.binaries.join("etcdctl").display().to_string());
        command.env("ETCDCTL_API", "3").arg(format!("--endpoints={}", endpoints.join(",")));
        command.arg("--command-timeout=3s").args(arguments).output().unwrap()
    }

    /// etcdctl at the first member that answers; must succeed.
    pub fn told(&self, lan: &Lan, arguments: &[&str]) -> String {
        let mut said = String::new();
        until(&format!("etcdctl {arguments:?} succeeds"), PATIENCE, || {
            self.members.iter().filter(|member| member.child.is_some()).any(|member| {
                let output = self.ctl(lan, &[&member.endpoint()], arguments);
                said = String::from_utf8_lossy(&output.stdout).into_owned();
                output.status.success()
            })
        });
        said
    }

    /// Waits until a member leads a majority: it answers a read that a majority confirms.
    pub fn leads(&self, lan: &Lan) {
        self.told(lan, &["get", "none"]);
    }

    /// Everything in the store under this prefix, which is left out of the keys.
    pub fn pairs(&self, lan: &Lan, prefix: &str) -> BTreeMap<String, String> {
        let text = self.told(lan, &["get", "--prefix", prefix]);
        let lines: Vec<&str> = text.lines().collect();
        lines.chunks_exact(2).map(|pair| (pair[0].replacen(prefix, "", 1), pair[1].to_owned())).collect()
    }

    /// The member that leads.
    pub fn leader(&self, lan: &Lan) -> usize {
        let all = self.endpoints();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let mut found = None;
        until("a member leads", PATIENCE, || {
            let output = self.ctl(lan, &all, &["endpoint", "status"]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            // ENDPOINT, ID, VERSION, DB SIZE, IS LEADER, ...
            let line = text.lines().find(|line| line.split(", ").nth(4) == Some("true")).map(str::to_owned);
            found = line.and_then(|line| all.iter().position(|it| line.starts_with(&format!("{it},"))));
            found.is_some()
        });
        found.unwrap()
    }

    /// Writes a snapshot of the store.
    pub fn save(&self, lan: &Lan, file: &Path) {
        self.told(lan, &["snapshot", "save", &file.display().to_string()]);
    }

    /// Sets the whole store back to a snapshot; the members do not run yet.
    pub fn set_back(&mut self, lan: &Lan, file: &Path) {
        let peers = self.peers.clone();
        for member in &mut self.members {
            if member.child.is_some() {
                member.kill();
            }
            fs::remove_dir_all(member.data()).unwrap();
            member.life += 1;
            let mut command = lan.command(&self.binaries.join("etcdctl").display().to_string());
            command.env("ETCDCTL_API", "3").args(["snapshot", "restore"]).arg(file);
            command.arg("--data-dir").arg(member.data()).args(["--name", &member.name()]);
            command.args(["--initial-cluster", &peers, "--initial-advertise-peer-urls", &member.peer()]);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }

    /// Forgets the history of all keys, and gives the space back, member by member.
    pub fn compact(&self, lan: &Lan) {
        let status = self.told(lan, &["get", "--write-out=fields", "none"]);
        let revision =
            status.lines().find_map(|line| line.strip_prefix("\"Revision\" : ")).unwrap().to_owned();
        self.told(lan, &["compact", &revision]);
        for member in &self.members {
            let output = self.ctl(lan, &[&member.endpoint()], &["defrag"]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(3)..].join("\n")
}
