//! THE CLUSTER: three members of etcd and three hosts with a gipam each, all on machines that are network namespaces, under the load of
//! their clients while things fail.
//!
//! Promises: everything is made and removed here; every kind of fault is seen to bite before it is repaired; afterwards the
//! histories of all hosts are judged (`history`), every host's books are compared with its clients' journal, and the slices in
//! the store with the books. The Docker Engine is missing: the clients speak its protocol.

pub mod history;
mod host;
pub mod lan;
mod load;
mod member;
mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gipam::claims::machine::records::{HostRecord, SliceRecord, host_of, read, slice_key, slice_of};
use gipam::plan::slices::SliceState;
use tempfile::TempDir;

use self::history::History;
use self::host::Host;
use self::lan::Lan;
use self::load::Crew;
use self::member::Store;
use crate::Counts;
use crate::wait::{until, until_every};

pub use self::rows::{contract, cuts, daemons, forget, members, mixed, restore};

pub const HOSTS: usize = 3;
/// What the keys of the plan begin with.
const PREFIX: &str = "/gipam/";
/// How long a fault may take to show, and everything to be as it should after it.
const PATIENCE: Duration = Duration::from_secs(90);

/// See the top of this file.
pub struct Scene {
    // Dropped in this order: daemons, members, LAN.
    pub hosts: Vec<Host>,
    pub store: Store,
    pub lan: Lan,
    history: History,
    directory: TempDir,
    crew: Option<Crew>,
    rounds: u64,
    /// Leases and subnets that were compared with the answers.
    compared: u64,
    /// Packets that a fault took.
    pub packets: u64,
}

impl Scene {
    /// Three hosts that have joined one plan, and their clients at work.
    pub fn new() -> Scene {
        history::control();
        let directory = tempfile::tempdir().unwrap();
        let lan = Lan::new();
        let store = Store::start(&lan, directory.path());
        let history = History::default();
        let hosts = (0..HOSTS).map(|index| Host::new(&lan, index, &store.endpoints(), &history)).collect();
        let mut scene =
            Scene { hosts, store, lan, history, directory, crew: None, rounds: 0, compared: 0, packets: 0 };
        for index in 0..HOSTS {
            scene.hosts[index].start();
            scene.hosts[index].told(if index == 0 { &["join", "--new"] } else { &["join"] });
            load::meet(&scene.hosts[index]);
        }
        scene.work();
        scene
    }

    /// Lets the clients of all running hosts work.
    pub fn work(&mut self) {
        assert!(self.crew.is_none());
        self.rounds += 1;
        let before = self.answers();
        self.crew = Some(Crew::start(self.hosts.iter().filter(|host| host.is_running()), self.rounds));
        self.wait("the clients are answered", |scene| scene.answers() >= before + 100);
    }

    /// Answers that granted or released something.
    pub fn answers(&self) -> u64 {
        self.hosts.iter().map(|host| host.journal.acknowledged()).sum()
    }

    pub fn wait(&self, what: &str, mut holds: impl FnMut(&Scene) -> bool) {
        until(what, PATIENCE, || holds(self));
    }

    /// Stops the clients.
    pub fn rest(&mut self) {
        if let Some(crew) = self.crew.take() {
            crew.stop();
        }
    }

    /// Repairs everything, stops the clients, waits until store and books agree, and compares the books with the answers.
    pub fn settle(&mut self, when: &str) {
        self.history.happens(when);
        self.heal();
        self.rest();
        for host in &mut self.hosts {
            if !host.is_running() {
                host.start();
            }
            host.assert_alive();
        }
        self.agree(when);
        self.history.happens("store and books agree");
        // A release that waits for the disk would be carried out after the books were compared, and the journal would call its
        // subnet held until somebody else gets it.
        self.wait("no release waits for a disk", |scene| scene.hosts.iter().all(Host::accepts_writes));
        self.compared += self.hosts.iter().map(|host| host.compare(when)).sum::<u64>();
    }

    /// Repairs all links, and starts the members that do not run.
    pub fn heal(&mut self) {
        let hosts = self.hosts.iter().map(|host| host.machine.heal());
        let members = self.store.members.iter().map(|member| member.machine.heal());
        self.packets += hosts.chain(members).sum::<u64>();
        self.store.revive(&self.lan);
    }

    /// Waits until the store has exactly the slices that the books hold.
    pub fn agree(&self, when: &str) {
        let mut differences = Vec::new();
        let limit = std::time::Instant::now() + PATIENCE;
        until_every(
            Duration::from_millis(100),
            &format!("store and books agree {when}"),
            PATIENCE * 2,
            || {
                differences = self.differences();
                assert!(
                    differences.is_empty() || std::time::Instant::now() < limit,
                    "{when}: {} differences: {:#?}\n{}",
                    differences.len(),
                    differences.iter().take(5).collect::<Vec<_>>(),
                    self.logs()
                );
                differences.is_empty()
            },
        );
    }

    /// What the store has and the books lack, and the other way round.
    fn differences(&self) -> Vec<String> {
        let pairs = self.store.pairs(&self.lan, PREFIX);
        let hosts: BTreeMap<String, HostRecord> = pairs
            .iter()
            .filter_map(|(key, value)| Some((host_of(key)?.to_owned(), read::<HostRecord>(value)?)))
            .collect();
        let mut in_store: BTreeMap<&str, BTreeSet<(String, String)>> = BTreeMap::new();
        for (key, value) in pairs.iter().filter(|(key, _)| slice_of(key).is_some()) {
            let record: SliceRecord = read(value).unwrap();
            // The slices of a forgotten host are anybody's.
            if let Some(host) = hosts.get(&record.host).filter(|host| host.fenced.is_none()) {
                in_store.entry(&host.name).or_default().insert((key.clone(), value.clone()));
            }
        }
        let mut differences = Vec::new();
        for host in self.hosts.iter().filter(|host| host.is_running()) {
            let stored = in_store.remove(host.name.as_str()).unwrap_or_default();
            let mut booked = BTreeSet::new();
            for slice in host.plan().slices().iter() {
                let pair = (slice_key(slice.prefix), slice.claim.to_string());
                if slice.state == SliceState::Held {
                    booked.insert(pair);
                } else {
                    differences.push(format!("host {}: {} is {:?}", host.name, slice.prefix, slice.state));
                }
            }
            differences.extend(
                stored.difference(&booked).map(|(key, _)| format!("{} of host {} leaks", key, host.name)),
            );
            differences.extend(
                booked
                    .difference(&stored)
                    .map(|(key, _)| format!("{} of host {} is not its", key, host.name)),
            );
        }
        differences.extend(in_store.keys().map(|name| format!("host {name} has slices, and does not run")));
        differences
    }

    /// The last lines of all daemons, for a failed test.
    fn logs(&self) -> String {
        let tail = |host: &Host| {
            let log = host.house.log();
            let lines: Vec<&str> = log.lines().collect();
            format!(
                "host {}: {}\n{}\n",
                host.name,
                host.store(),
                lines[lines.len().saturating_sub(12)..].join("\n")
            )
        };
        self.hosts.iter().filter(|host| host.is_running()).map(tail).collect()
    }

    /// Releases everything, and judges the histories.
    pub fn finish(mut self, mut counts: Counts) -> Counts {
        self.settle("at the end");
        self.hosts.iter().for_each(load::release_all);
        let alone =
            |key: &String| slice_of(key).is_some_and(|prefix| prefix.length() == prefix.family().bits());
        self.wait("the slices of single addresses are given back", |scene| {
            !scene.store.pairs(&scene.lan, PREFIX).keys().any(alone)
        });
        self.agree("when everything is released");
        let leaks: usize =
            self.hosts.iter().map(|host| host.plan().subnets().filter(|it| it.is_held()).count()).sum();
        let judged = self.history.judge();
        assert!(judged.twice.is_empty(), "{:#?}", judged.twice.iter().take(5).collect::<Vec<_>>());
        let claims = self.hosts.iter().map(|host| host.claims()).sum();
        counts.extend([
            ("answers", self.answers()),
            ("slices claimed", claims),
            ("holds judged", judged.holds),
            ("grants compared", self.compared),
            ("!held twice", judged.twice.len() as u64),
            ("!answered and lost", 0),
            ("!leaks after repair", leaks as u64),
        ]);
        counts
    }
}

/// Stories that are told of one failure.
const STORIES: usize = 3;

impl Drop for Scene {
    /// One failure has to be enough to find its cause: what is suspect is told from all sides, and logs and books are kept.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for (host, hold) in self.history.suspects().into_iter().take(STORIES) {
            let name = history::shown(hold);
            eprintln!(
                "THE STORY OF {name}, suspect at host {}:\n{}",
                self.hosts[host].name,
                self.history.story(hold)
            );
            for host in &self.hosts {
                eprintln!("in the books of host {}, newest first:\n{}", host.name, host.history_of(&name));
            }
        }
        let kept = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster");
        let _ = std::fs::remove_dir_all(&kept);
        if std::fs::create_dir_all(&kept).is_ok() {
            self.hosts.iter().for_each(|host| host.keep(&kept));
            eprintln!("logs and books of all hosts are in {}", kept.display());
        }
    }
}

/// What faults show, and to whom.
impl Scene {
    /// How often hosts noticed that the store, or one of its members, did not answer.
    pub fn noticed(&self) -> u64 {
        self.hosts.iter().map(Host::noticed).sum()
    }

    /// How many requests each host refused because the store did not answer.
    pub fn refused(&self) -> Vec<u64> {
        self.hosts.iter().map(|host| host.journal.book().storeless).collect()
    }

    /// A member that a host is connected to.
    pub fn used_member(&self) -> usize {
        let mut found = None;
        self.wait("a host is connected to a member", |scene| {
            let number = scene.hosts.iter().find_map(Host::member);
            found = number.and_then(|number| {
                scene.store.members.iter().position(|member| member.machine.number == number)
            });
            found.is_some()
        });
        found.unwrap()
    }

    /// Waits until the hosts have given many more answers.
    pub fn go_on(&self) {
        let answers = self.answers();
        self.wait("the clients are answered", |scene| scene.answers() >= answers + 300);
    }
}
