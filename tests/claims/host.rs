//! A host of the simulator: a disk and a Docker Engine that survive a crash, and a machine and a ledger that do not.
//!
//! Promises: only what was committed is there after a crash; networks and containers keep running without gipam.

use std::collections::{BTreeMap, VecDeque};

use gipam::claims::machine::Machine;
use gipam::claims::machine::event::{ClaimAction, ClaimEvent, HostIdentity, Started};
use gipam::claims::machine::own_books::{BookEntry, ClaimBooks};
use gipam::plan::prefix::Prefix;
use gipam::plan::request::Want;
use gipam::plan::slices::SliceState;

use crate::docker::Docker;
use crate::ledger::{Disk, Ledger};
use crate::mutants::Faulty;

/// What runs until the next crash.
pub struct Running {
    pub machine: Machine,
    pub ledger: Ledger,
    /// Writes of the machine that the ledger has not received yet.
    pub writes: VecDeque<(u64, Vec<BookEntry>)>,
    /// The machine's wants, with those of the ledger behind them.
    pub wants: BTreeMap<u64, Option<Want>>,
}

pub struct Host {
    pub id: String,
    pub running: Option<Running>,
    pub run: String,
    pub disk: Disk,
    /// The machine's part of the disk.
    pub books: ClaimBooks,
    /// Older copies of the disk.
    pub copies: Vec<Disk>,
    pub docker: Docker,
    /// The host's calls are never answered.
    pub cut: bool,
    /// The host never comes back.
    pub gone: bool,
    /// A person said that the host is gone.
    pub forgotten: bool,
    /// The disk was set back, and it was not yet compared with the store and with Docker.
    pub stale: bool,
}

/// A machine that was just woken is not due again at once: whoever waits for [`Machine::wakes_at`] would never rest.
pub fn wakes_later(machine: &Machine, now: u64) {
    let rests = machine.is_under_way() || machine.retries() || machine.wakes_at() > now;
    assert!(rests, "the machine is due at {} at {now}", machine.wakes_at());
}

impl Host {
    pub fn new(id: String) -> Self {
        Self {
            id,
            running: None,
            run: String::new(),
            disk: Disk::default(),
            books: ClaimBooks::default(),
            copies: Vec::new(),
            docker: Docker::default(),
            cut: false,
            gone: false,
            forgotten: false,
            stale: false,
        }
    }

    /// Starts from what is on disk.
    pub fn start(&mut self, number: u64, now: u64, faulty: Faulty) -> Vec<ClaimAction> {
        let host = HostIdentity {
            id: self.id.clone(),
            name: format!("host-{}", self.id),
            via: vec!["192.0.2.1".to_owned()],
            machine: self.id.clone(),
        };
        self.run = format!("r{number}");
        let plan = self.disk.plan(now);
        self.books = self.disk.books(&plan);
        let (books, run) = (self.books.clone(), self.run.clone());
        let mut machine = Machine::new(Started { host, books, run, now });
        machine.mutate(faulty.mutant);
        let ledger = Ledger::new(plan, number, faulty.broken);
        self.running = Some(Running { machine, ledger, writes: VecDeque::new(), wants: BTreeMap::new() });
        self.step(ClaimEvent::Tick { now })
    }

    pub fn step(&mut self, event: ClaimEvent) -> Vec<ClaimAction> {
        let now = if let ClaimEvent::Tick { now } = event { Some(now) } else { None };
        let Some(running) = &mut self.running else { return Vec::new() };
        let actions = running.machine.step(event);
        if let Some(now) = now {
            wakes_later(&running.machine, now);
        }
        actions
    }

    /// The process ends at once. If the disk had the batch already, nobody was notified.
    pub fn kill(&mut self, committed: bool) {
        let Some(mut running) = self.running.take() else { return };
        if committed {
            running.ledger.commit(&mut self.disk);
        }
        self.docker.asked.clear();
        let plan = self.disk.plan(running.ledger.plan.now());
        self.books = self.disk.books(&plan);
    }

    /// The books were committed.
    pub fn read_books(&mut self) {
        if let Some(running) = &self.running {
            self.books = self.disk.books(&running.ledger.plan);
        }
    }

    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whether its ledger or its machine has something to do.
    pub fn is_busy(&self) -> bool {
        let busy =
            |it: &Running| it.ledger.is_dirty() || !it.writes.is_empty() || !it.ledger.wants.is_empty();
        self.running.as_ref().is_some_and(busy)
    }

    /// What this host must not share with another: the slices that its books hold, and what Docker has of each pool. If books and
    /// store are set back, what this host says of a slice that another one has is no claim to it.
    pub fn owns(&self, contests: bool) -> Vec<Prefix> {
        if self.forgotten {
            return Vec::new();
        }
        let held = self.books.with(SliceState::Held).filter(|_| !self.stale);
        let lost = |taken: &Prefix| self.books.with(SliceState::Lost).any(|slice| slice.overlaps(*taken));
        let taken = self.docker.taken().filter(|taken| !contests || !(self.stale || lost(taken)));
        held.chain(taken).collect()
    }

    pub fn stopped(&self) -> Option<&str> {
        self.running.as_ref().and_then(|running| running.machine.stopped())
    }

    pub fn agrees(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.machine.agrees())
    }
}
