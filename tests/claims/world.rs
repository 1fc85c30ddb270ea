//! THE SIMULATOR: four hosts, one store, and everything that goes wrong between them. One seed is one run.
//!
//! Promises: no threads, no time, no I/O: a seed always gives the same run. Calls arrive late or twice, are
//! lost, or are not answered; hosts are killed at any step, cut off, forgotten while dead or alive; books are
//! set back to an older copy, the store to a snapshot.

use std::collections::BTreeMap;
use std::fmt;

use gipam::claims::machine::calls::{Pairs, StoreCall, StoreReply};
use gipam::claims::machine::event::{ClaimAction, ClaimEvent, Geometry};
use gipam::claims::machine::mutants::Mutant;
use gipam::claims::machine::records::{HostRecord, PLAN, PlanRecord, host_key, read, written};
use gipam::plan::prefix::Prefix;
use gipam::plan::slices::SliceState;

use crate::chance::Chance;
use crate::host::Host;

pub const HOSTS: usize = 4;

/// How the store is set back to a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restores {
    Never,
    /// A person announces the restore with `gipam join --restored` before any host sees it.
    Announced,
    Silent,
}

/// What happens in a run.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    pub steps: usize,
    pub restores: Restores,
    pub books_back: bool,
    pub forget_living: bool,
    pub mutant: Option<Mutant>,
}

/// What happened in one run or several.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub claims: usize,
    pub given_back: usize,
    pub unknown: usize,
    pub kills: usize,
    pub forgotten: usize,
    pub restores: usize,
    pub books_back: usize,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.claims += other.claims;
        self.given_back += other.given_back;
        self.unknown += other.unknown;
        self.kills += other.kills;
        self.forgotten += other.forgotten;
        self.restores += other.restores;
        self.books_back += other.books_back;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { claims, given_back, unknown, kills, forgotten, restores, books_back } = self;
        write!(
            formatter,
            "{claims} claims, {given_back} given back, {unknown} unknown outcomes, {kills} kills, {forgotten} forgotten, \
             {restores} restores, {books_back} books set back"
        )
    }
}

/// A call on its way to the store, or its answer on the way back.
pub struct Flight {
    pub host: usize,
    pub run: String,
    pub call: u64,
    pub what: StoreCall,
    pub reply: Option<StoreReply>,
    /// The caller gave up on this call, and it does not continue before this step.
    pub late: bool,
    pub wakes: usize,
}

pub struct World {
    pub script: Script,
    pub chance: Chance,
    pub hosts: Vec<Host>,
    pub store: Pairs,
    pub plan: PlanRecord,
    pub flights: Vec<Flight>,
    pub snapshots: Vec<Pairs>,
    /// Hosts that never come back, with the ids that they had.
    pub buried: Vec<String>,
    pub now: u64,
    steps: usize,
    numbers: u64,
    pub tally: Tally,
    /// The store was restored, and not all hosts have arrived since.
    pub restored: bool,
    /// Faults no longer happen.
    pub calm: bool,
    pub story: Option<Vec<String>>,
    pub bad: Option<String>,
}

/// Eight slices of networks.
pub fn private() -> Geometry {
    let base = Prefix::parse("203.0.113.0/24").unwrap();
    Geometry { base, slice: 27, shared: false, by_number: None }
}

/// Three slices of addresses, and a part that is claimed by number.
pub fn shared() -> Geometry {
    let base = Prefix::parse("198.51.100.0/26").unwrap();
    Geometry { base, slice: 28, shared: true, by_number: Prefix::parse("198.51.100.48/28") }
}

impl World {
    pub fn new(seed: u64, script: Script) -> Self {
        let mut store = Pairs::new();
        let plan = PlanRecord::first("plan-1", "m");
        store.insert(PLAN.to_owned(), written(&plan));
        let hosts = (0..HOSTS).map(|number| Host::new(format!("h{number}"))).collect();
        Self {
            script,
            chance: Chance::new(seed),
            hosts,
            store,
            plan,
            flights: Vec::new(),
            snapshots: Vec::new(),
            buried: Vec::new(),
            now: 1_000_000,
            steps: 0,
            numbers: HOSTS as u64,
            tally: Tally::default(),
            restored: false,
            calm: false,
            story: None,
            bad: None,
        }
    }

    pub fn tell(&mut self, text: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(text());
        }
    }

    pub const fn plan(&self) -> &PlanRecord {
        &self.plan
    }

    pub fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Makes one thing happen.
    pub fn happen(&mut self) {
        self.steps += 1;
        let host = self.chance.below(HOSTS);
        match self.chance.below(1_000) {
            0..=449 => self.fly(),
            450..=669 => self.write(host),
            670..=779 => {
                let passed = if self.chance.in_1000(60) { 61_000 } else { self.chance.below(400) as u64 };
                let passed = if self.chance.in_1000(15) { 700_000 } else { passed };
                self.now += passed;
                self.step(host, ClaimEvent::Tick { now: self.now });
            }
            780..=849 => self.want(host),
            850..=899 => self.use_or_leave(host),
            900..=949 => self.give_back(host),
            950..=957 => self.kill(host),
            958..=979 => self.start(host),
            980..=982 => self.hosts[host].cut ^= true,
            983..=984 => self.bury(host),
            985 => self.forget(),
            986..=987 => self.set_books_back(host),
            988..=990 => self.copy(host),
            _ => self.restore(),
        }
    }

    pub fn step(&mut self, host: usize, event: ClaimEvent) {
        let actions = self.hosts[host].step(event);
        self.act(host, actions);
    }

    /// Carries out the actions that a machine requested.
    pub fn act(&mut self, host: usize, actions: Vec<ClaimAction>) {
        for action in actions {
            let id = self.hosts[host].id.clone();
            self.tell(|| format!("{id} {action:?}"));
            match action {
                ClaimAction::Call { call, what } => {
                    let run = self.hosts[host].run.clone();
                    self.flights.push(Flight { host, run, call, what, reply: None, late: false, wakes: 0 });
                }
                ClaimAction::Write { write, entries } => self.hosts[host].writes.push((write, entries)),
                ClaimAction::Owned { want, slice } => {
                    self.hosts[host].wants.remove(&want);
                    if self.chance.in_1000(700) && !self.hosts[host].stale {
                        self.hosts[host].used.insert(slice);
                    }
                }
                ClaimAction::Cannot { want, .. } => {
                    self.hosts[host].wants.remove(&want);
                }
                ClaimAction::Forgotten { .. } | ClaimAction::Note(_) => {}
            }
        }
    }

    /// Moves one call or answer on its way.
    pub fn fly(&mut self) {
        if self.flights.is_empty() {
            return;
        }
        let index = self.chance.below(self.flights.len());
        if self.flights[index].late && self.flights[index].wakes > self.steps && !self.calm {
            return;
        }
        let mut flight = self.flights.swap_remove(index);
        if let Some(reply) = flight.reply {
            if self.hosts[flight.host].run == flight.run {
                self.step(flight.host, ClaimEvent::Replied { call: flight.call, reply });
            }
            return;
        }
        let fate = if self.calm { 1_000 } else { self.chance.below(1_000) };
        let cut = self.hosts[flight.host].cut && !flight.late;
        match fate {
            // Late: the caller gives up, but the call continues.
            0..=29 if !flight.late => {
                flight.late = true;
                flight.wakes = self.later();
                let (host, run, call) = (flight.host, flight.run.clone(), flight.call);
                self.flights.push(flight);
                self.unknown(host, &run, call);
            }
            // Lost.
            30..=49 => self.unknown(flight.host, &flight.run, flight.call),
            _ if cut && fate % 2 == 0 => self.unknown(flight.host, &flight.run, flight.call),
            _ => {
                let reply = flight.what.apply(&mut self.store);
                let id = self.hosts[flight.host].id.clone();
                self.tell(|| format!("store: {id} call {} of {}: {reply:?}", flight.call, flight.run));
                if reply == StoreReply::Done {
                    self.noticed();
                }
                // Doubled.
                if (50..=79).contains(&fate) {
                    let (run, what, wakes) = (flight.run.clone(), flight.what.clone(), self.later());
                    self.flights.push(Flight { run, what, reply: None, late: true, wakes, ..flight });
                }
                if cut || (80..=109).contains(&fate) {
                    self.unknown(flight.host, &flight.run, flight.call);
                } else if !flight.late {
                    self.flights.push(Flight { reply: Some(reply), ..flight });
                }
            }
        }
    }

    /// When a late call goes on: mostly soon, sometimes when nobody thinks of it any more.
    pub fn later(&mut self) -> usize {
        let most = if self.chance.in_1000(300) { 500 } else { 30 };
        self.steps + self.chance.below(most)
    }

    fn unknown(&mut self, host: usize, run: &str, call: u64) {
        if self.hosts[host].run == run {
            self.tally.unknown += 1;
            self.step(host, ClaimEvent::Unknown { call, why: "cut".to_owned() });
        }
    }

    /// Records the changes by a call that concern all hosts.
    fn noticed(&mut self) {
        let plan: PlanRecord = read(&self.store[PLAN]).unwrap();
        if plan.epoch() != self.plan.epoch() && !self.restored {
            self.fail(format!("epoch {} began without a restore", plan.epoch));
        }
        self.plan = plan;
        let fenced = |id: &str| {
            let host: Option<HostRecord> = self.store.get(&host_key(id)).and_then(|value| read(value));
            host.is_some_and(|host| host.fenced.is_some())
        };
        let newly: Vec<usize> =
            (0..HOSTS).filter(|it| !self.hosts[*it].forgotten && fenced(&self.hosts[*it].id)).collect();
        for host in newly {
            self.hosts[host].forgotten = true;
            self.tally.forgotten += 1;
        }
    }

    /// A write reaches the disk, or is refused.
    pub fn write(&mut self, host: usize) {
        if self.hosts[host].writes.is_empty() || self.hosts[host].machine.is_none() {
            return;
        }
        let (write, entries) = self.hosts[host].writes.remove(0);
        let full = !self.calm && self.chance.in_1000(10);
        if full || self.hosts[host].refuses(&entries) {
            self.step(host, ClaimEvent::Refused { write, why: "in use".to_owned() });
            return;
        }
        let before = self.hosts[host].books.clone();
        self.hosts[host].commit(entries);
        self.count(host, &before);
        self.step(host, ClaimEvent::Committed { write });
    }

    pub fn count(&mut self, host: usize, before: &gipam::claims::machine::own_books::ClaimBooks) {
        let it = &self.hosts[host];
        let held =
            |books: &gipam::claims::machine::own_books::ClaimBooks| books.with(SliceState::Held).count();
        self.tally.claims += held(&it.books).saturating_sub(held(before));
        self.tally.given_back += before.slices.len().saturating_sub(it.books.slices.len());
        let lost = it.books.with(SliceState::Lost).find(|slice| before.holds(*slice));
        if let Some(slice) = lost.filter(|_| !it.stale && !it.forgotten) {
            self.fail(format!("host {} lost {slice}", self.hosts[host].id));
        }
    }

    pub fn fail(&mut self, text: String) {
        self.tell(|| format!("BAD: {text}"));
        self.bad.get_or_insert(text);
    }

    /// Whether all hosts have arrived where the store is.
    pub fn note_arrivals(&mut self) {
        if !self.restored {
            return;
        }
        let plan = &self.plan;
        let there = self.hosts.iter().all(|host| {
            let arrived = host.books.epoch == plan.epoch() && !host.stale;
            host.forgotten || host.gone || host.books.plan.is_empty() || arrived
        });
        if there && plan.is_settled() && self.script.restores != Restores::Silent {
            self.restored = false;
        }
    }

    /// Every slice has at most one host, and everything that is used is in the books.
    pub fn check(&mut self) {
        let mut owners: BTreeMap<Prefix, &str> = BTreeMap::new();
        let mut bad = None;
        for host in &self.hosts {
            for slice in host.owns() {
                if let Some(other) = owners.insert(slice, &host.id).filter(|other| *other != host.id) {
                    bad = Some(format!("{slice} belongs to {other} and {}", host.id));
                }
            }
            let unknown = host.used.iter().find(|slice| !host.books.holds(**slice));
            if let Some(slice) = unknown.filter(|_| !host.stale && !host.forgotten) {
                bad = Some(format!("{} uses {slice} without books", host.id));
            }
        }
        if let Some(text) = bad {
            self.fail(text);
        }
    }

    /// Lets everything that is under way finish, for a limited number of rounds.
    pub fn settle(&mut self, rounds: usize, passing: u64) {
        for _ in 0..rounds {
            self.now += passing;
            for host in 0..HOSTS {
                self.hosts[host].cut = false;
                self.start(host);
                self.step(host, ClaimEvent::Tick { now: self.now });
            }
            self.forget();
            for _ in 0..200 {
                let writing = self.hosts.iter().any(|host| !host.writes.is_empty());
                if self.flights.is_empty() && !writing {
                    break;
                }
                for _ in 0..4 {
                    self.fly();
                }
                (0..HOSTS).for_each(|host| self.write(host));
                self.check();
            }
        }
    }
}
