//! THE SIMULATOR: four hosts, one store, and everything that goes wrong between them. One seed is one run.
//!
//! Each host has the real plan, the real machine, books that forget what was not committed, and a Docker Engine.
//! Promises: no threads, no time, no I/O: a seed always gives the same run. Calls arrive late or twice, are
//! lost, or are not answered; hosts are killed at any step, cut off, forgotten while dead or alive; books are
//! set back to an older copy, the store to a snapshot.

use std::fmt;

use gipam::claims::around::unclaimed;
use gipam::claims::machine::calls::{Pairs, StoreCall, StoreReply};
use gipam::claims::machine::event::{ClaimAction, ClaimEvent, Geometry, Need};
use gipam::claims::machine::own_books::ClaimBooks;
use gipam::claims::machine::records::{PLAN, PlanRecord, written};
use gipam::plan::error::Refusal;
use gipam::plan::prefix::Family;
use gipam::plan::request::{Reply, Request, Undo, Want};
use gipam::plan::slices::SliceState;

use crate::chance::Chance;
use crate::docker::Asked;
use crate::host::Host;
use crate::ledger::{Answer, BACKSTOP, Caller};
use crate::mutants::Faulty;
use crate::pools::asked;

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
    pub faulty: Faulty,
}

/// What happened in one run or several.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Subnets and addresses for which Docker got an answer.
    pub grants: usize,
    pub refusals: usize,
    /// Requests that were refused because the machine did not answer within five seconds.
    pub backstops: usize,
    pub claims: usize,
    pub given_back: usize,
    pub unknown: usize,
    pub kills: usize,
    pub forgotten: usize,
    pub restores: usize,
    pub books_back: usize,
}

impl Script {
    /// Whether two hosts may get one slice, so that only what they say about it is compared: books and store are set back.
    pub fn contests(&self) -> bool {
        self.books_back && self.restores != Restores::Never
    }
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.grants += other.grants;
        self.refusals += other.refusals;
        self.backstops += other.backstops;
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
        let Self { grants, claims, given_back, unknown, kills, forgotten, restores, books_back, .. } = self;
        write!(
            formatter,
            "{grants} grants, {claims} claims, {given_back} given back, {unknown} unknown outcomes, {kills} kills, \
             {forgotten} forgotten, {restores} restores, {books_back} books set back"
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
    pub steps: usize,
    numbers: u64,
    pub tally: Tally,
    /// The store was restored, and not all hosts have arrived since.
    pub restored: bool,
    /// Faults no longer happen.
    pub calm: bool,
    /// They have not happened for a while: every request is answered by the machine.
    pub rested: bool,
    pub story: Option<Vec<String>>,
    pub bad: Option<String>,
    /// Something changed that is to be checked.
    dirty: bool,
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
            rested: false,
            story: None,
            bad: None,
            dirty: false,
        }
    }

    pub fn tell(&mut self, text: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(text());
        }
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
            0..=369 => self.fly(),
            370..=629 => self.serve_one(host),
            630..=709 => {
                let passed = if self.chance.in_1000(40) { 61_000 } else { self.chance.below(400) as u64 };
                let passed = if self.chance.in_1000(8) { 700_000 } else { passed };
                self.now += passed;
                self.tick(host);
            }
            710..=809 => self.docker_acts(host),
            810..=864 => self.want(host),
            865..=879 => self.mend(host),
            880..=939 => self.give_back(host),
            940..=947 => self.kill(host),
            948..=979 => self.start(host),
            980..=981 => self.hosts[host].cut ^= true,
            982..=983 => self.bury(host),
            984..=985 => self.forget(),
            986..=987 => self.set_books_back(host),
            988..=990 => self.copy(host),
            _ => self.restore(),
        }
    }

    pub fn tick(&mut self, host: usize) {
        if let Some(running) = &mut self.hosts[host].running {
            running.ledger.begin(self.now);
        }
        self.step(host, ClaimEvent::Tick { now: self.now });
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
            let run = self.hosts[host].run.clone();
            let Some(running) = &mut self.hosts[host].running else { continue };
            match action {
                ClaimAction::Call { call, what } => {
                    self.flights.push(Flight { host, run, call, what, reply: None, late: false, wakes: 0 });
                }
                ClaimAction::Write { write, entries } => running.writes.push_back((write, entries)),
                // The slice is in the books, so the ledger has decided the requests already that waited for it.
                ClaimAction::Owned { want, .. } => drop(running.wants.remove(&want)),
                ClaimAction::Cannot { want, text } => {
                    if let Some(want) = running.wants.remove(&want).flatten() {
                        running.ledger.cannot(self.now, want, &text);
                    }
                }
                ClaimAction::Forgotten { .. } | ClaimAction::Note(_) => {}
            }
        }
    }

    /// Docker does something on this host.
    fn docker_acts(&mut self, host: usize) {
        let it = &mut self.hosts[host];
        if it.is_running() && !it.stale && it.docker.asked.len() < 8 {
            let asked = it.docker.acts(&mut self.chance);
            self.ask(host, asked);
        }
    }

    /// Docker sends a request.
    pub fn ask(&mut self, host: usize, request: Option<(Option<Asked>, Request)>) {
        let Some((asked, request)) = request else { return };
        let number = self.number();
        let id = self.hosts[host].id.clone();
        self.tell(|| format!("{id} Docker {number}: {request:?}"));
        let it = &mut self.hosts[host];
        let Some(running) = &mut it.running else { return };
        let caller = asked.as_ref().map_or(Caller::Nobody, |_| Caller::Docker(number));
        it.docker.asked.extend(asked.map(|asked| (number, asked)));
        running.ledger.ask(self.now, request, caller);
        let early = running.ledger.too_early();
        self.answer(host, early);
    }

    /// The ledger of a host that has something to do takes a message or commits, or the machine receives a want.
    fn serve_one(&mut self, from: usize) {
        let mut hosts = (from..from + HOSTS).map(|host| host % HOSTS);
        if let Some(host) = hosts.find(|host| self.hosts[*host].is_busy()) {
            self.serve(host);
        }
    }

    /// What one host has to do next.
    pub fn serve(&mut self, host: usize) {
        let Some(running) = &mut self.hosts[host].running else { return };
        let choice = if self.calm { 0 } else { self.chance.below(3) };
        if choice == 0
            && let Some(want) = running.ledger.wants.pop_front()
        {
            let (pool, need) = asked(want);
            self.want_of(host, Some(want), pool, need);
        } else if choice < 2
            && let Some((write, entries)) = running.writes.pop_front()
        {
            let it = &mut self.hosts[host];
            let Some(running) = &mut it.running else { return };
            let refused = running.ledger.alter(self.now, &it.books, write, &entries);
            if let Some(why) = refused {
                self.step(host, ClaimEvent::Refused { write, why });
            }
        } else {
            self.commit(host);
        }
    }

    /// The machine receives a want, under a number of its own.
    pub fn want_of(&mut self, host: usize, of_ledger: Option<Want>, pool: Geometry, need: Need) {
        let want = self.number();
        let Some(running) = &mut self.hosts[host].running else { return };
        running.wants.insert(want, of_ledger);
        self.step(host, ClaimEvent::Want { want, pool, need });
    }

    /// The batch of a host reaches the disk, or the disk is full.
    fn commit(&mut self, host: usize) {
        let full = !self.calm && self.chance.in_1000(10);
        let it = &mut self.hosts[host];
        let Some(running) = it.running.as_mut().filter(|it| it.ledger.is_dirty()) else { return };
        let before = it.books.clone();
        let answers = match full {
            true => running.ledger.fail(&it.disk),
            false => running.ledger.commit(&mut it.disk),
        };
        it.read_books();
        self.count(host, &before);
        self.answer(host, answers);
    }

    /// Callers get their answers, unless they have gone.
    fn answer(&mut self, host: usize, answers: Vec<Answer>) {
        self.dirty = true;
        for Answer { caller, outcome, undo } in answers {
            match (caller, outcome) {
                (Caller::Machine(write), Ok(_)) => self.step(host, ClaimEvent::Committed { write }),
                (Caller::Machine(write), Err(refusal)) => {
                    self.step(host, ClaimEvent::Refused { write, why: refusal.text });
                }
                (Caller::Nobody, _) => {}
                (Caller::Docker(number), outcome) => {
                    let it = &mut self.hosts[host];
                    let Some(asked) = it.docker.asked.remove(&number) else { continue };
                    let id = it.id.clone();
                    self.tell(|| format!("{id} Docker {number} gets {outcome:?}"));
                    self.answer_docker(host, asked, outcome, undo.filter(|_| !self.calm));
                }
            }
        }
    }

    fn answer_docker(
        &mut self,
        host: usize,
        asked: Asked,
        outcome: Result<Reply, Refusal>,
        undo: Option<Undo>,
    ) {
        let now = self.now;
        let gone = self.chance.in_1000(20);
        match outcome {
            Ok(_) if gone && undo.is_some() => {
                let (Some(running), Some(undo)) = (&mut self.hosts[host].running, undo) else { return };
                running.ledger.ask(now, Request::Undo(Box::new(undo)), Caller::Nobody);
            }
            Ok(reply) => {
                self.tally.grants += 1;
                let next = self.hosts[host].docker.answered(asked, reply);
                self.ask(host, next);
            }
            Err(refusal) => {
                self.tally.refusals += 1;
                if refusal.text.contains(BACKSTOP) {
                    self.tally.backstops += 1;
                    if self.rested {
                        self.fail(format!("{} was not answered: {asked:?}", self.hosts[host].id));
                    }
                }
            }
        }
    }

    /// Repair compares the books with Docker, if nothing is under way.
    pub fn mend(&mut self, host: usize) {
        let it = &mut self.hosts[host];
        let agrees = it.agrees();
        let Some(running) = &mut it.running else { return };
        if running.ledger.is_dirty() || !it.docker.asked.is_empty() || (it.stale && !agrees) {
            return;
        }
        running.ledger.begin(self.now);
        match it.docker.repair(&running.ledger.plan) {
            Some(request) => running.ledger.ask(self.now, request, Caller::Nobody),
            None => self.claim_around(host),
        }
    }

    /// As the task does after repair: claims the slices around what Docker has and the books did not know. Then nothing is stale.
    fn claim_around(&mut self, host: usize) {
        let it = &mut self.hosts[host];
        let Some(running) = &it.running else { return };
        match unclaimed(&running.ledger.plan).into_iter().next() {
            None => it.stale = false,
            Some(_) if running.wants.values().any(Option::is_none) => {}
            Some((pool, slice)) => self.want_of(host, None, pool, Need::Around(slice)),
        }
    }

    pub fn count(&mut self, host: usize, before: &ClaimBooks) {
        let it = &self.hosts[host];
        let held = |books: &ClaimBooks| books.with(SliceState::Held).count();
        self.tally.claims += held(&it.books).saturating_sub(held(before));
        self.tally.given_back += before.slices.len().saturating_sub(it.books.slices.len());
        let lost = it.books.with(SliceState::Lost).find(|slice| before.holds(*slice));
        if let Some(slice) = lost.filter(|_| !it.stale && !it.forgotten && !self.script.contests()) {
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

    /// Nothing has two hosts; everything that Docker has is in the books, in slices of its host.
    pub fn check(&mut self) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        let mut bad = None;
        let contests = self.script.contests();
        let owned = self
            .hosts
            .iter()
            .flat_map(|host| host.owns(contests).into_iter().map(move |prefix| (prefix, host)));
        let mut owned: Vec<_> = owned.collect();
        owned.sort_unstable_by_key(|(prefix, _)| (prefix.family(), prefix.first()));
        let mut furthest: Option<(Family, u128, &Host)> = None;
        for (prefix, host) in owned {
            if let Some((family, last, other)) = furthest
                && family == prefix.family()
                && prefix.first() <= last
            {
                if other.id != host.id {
                    bad = Some(format!("{prefix} belongs to {} and {}", other.id, host.id));
                }
                if prefix.last() <= last {
                    continue;
                }
            }
            furthest = Some((prefix.family(), prefix.last(), host));
        }
        for host in self.hosts.iter().filter(|host| !host.stale && !host.forgotten) {
            let Some(running) = &host.running else { continue };
            let plan = &running.ledger.plan;
            if let Some(what) = host.docker.missing_in(plan) {
                bad = Some(format!("{} has {what} without books", host.id));
            }
            if let Some(what) = host.docker.unowned_in(plan, self.script.contests()) {
                bad = Some(format!("{} has {what} outside of its slices", host.id));
            }
        }
        if let Some(text) = bad {
            self.fail(text);
        }
    }
}
