//! A host of the simulator: books that survive a crash, a machine that does not, and the networks that it has in slices.
//!
//! Promises: an entry is in the books completely or not at all; a crash loses what was not committed. As in
//! gipam, the ledger refuses to give up a slice that is in use.

use std::collections::{BTreeMap, BTreeSet};

use gipam::claims::machine::Machine;
use gipam::claims::machine::event::{ClaimAction, ClaimEvent, HostIdentity, Need, Started};
use gipam::claims::machine::mutants::Mutant;
use gipam::claims::machine::own_books::{BookEntry, ClaimBooks};
use gipam::plan::prefix::Prefix;
use gipam::plan::slices::SliceState;

pub struct Host {
    pub id: String,
    pub machine: Option<Machine>,
    pub run: String,
    pub books: ClaimBooks,
    /// Older copies of the books.
    pub copies: Vec<ClaimBooks>,
    /// Slices with networks in them, whatever the books say.
    pub used: BTreeSet<Prefix>,
    /// Writes that are not committed yet.
    pub writes: Vec<(u64, Vec<BookEntry>)>,
    pub wants: BTreeMap<u64, Need>,
    /// The host's calls are never answered.
    pub cut: bool,
    /// The host never comes back.
    pub gone: bool,
    /// A person said that the host is gone.
    pub forgotten: bool,
    /// The host's books were set back, and it has not compared them with the store yet.
    pub stale: bool,
}

impl Host {
    pub fn new(id: String) -> Self {
        Self {
            id,
            machine: None,
            run: String::new(),
            books: ClaimBooks::default(),
            copies: Vec::new(),
            used: BTreeSet::new(),
            writes: Vec::new(),
            wants: BTreeMap::new(),
            cut: false,
            gone: false,
            forgotten: false,
            stale: false,
        }
    }

    /// Starts the machine from the books.
    pub fn start(&mut self, run: String, now: u64, mutant: Option<Mutant>) -> Vec<ClaimAction> {
        let host = HostIdentity {
            id: self.id.clone(),
            name: format!("host-{}", self.id),
            via: vec!["192.0.2.1".to_owned()],
            machine: self.id.clone(),
        };
        self.run.clone_from(&run);
        let mut machine = Machine::new(Started { host, books: self.books.clone(), run, now });
        machine.mutate(mutant);
        self.machine = Some(machine);
        self.step(ClaimEvent::Tick { now })
    }

    pub fn step(&mut self, event: ClaimEvent) -> Vec<ClaimAction> {
        let actions = self.machine.as_mut().map_or_else(Vec::new, |machine| machine.step(event));
        if self.machine.as_ref().is_some_and(Machine::agrees) {
            self.stale = false;
        }
        actions
    }

    /// Whether the ledger refuses these entries, because a slice that would be given up is in use.
    pub fn refuses(&self, entries: &[BookEntry]) -> bool {
        entries.iter().any(|entry| match entry {
            BookEntry::Slice { prefix, state: SliceState::Leaving, .. } | BookEntry::SliceGone { prefix } => {
                self.used.contains(prefix)
            }
            _ => false,
        })
    }

    pub fn commit(&mut self, entries: Vec<BookEntry>) {
        entries.into_iter().for_each(|entry| self.books.apply(entry));
    }

    /// The process ends at once; `committed` writes had reached the disk, and the machine was not notified.
    pub fn kill(&mut self, committed: usize) {
        self.machine = None;
        for (_, entries) in std::mem::take(&mut self.writes).into_iter().take(committed) {
            if !self.refuses(&entries) {
                self.commit(entries);
            }
        }
        self.wants.clear();
    }

    /// The slices that this host counts as its own, and may not share with another host.
    pub fn owns(&self) -> impl Iterator<Item = Prefix> {
        let held = self.books.with(SliceState::Held).filter(|_| !self.stale);
        held.chain(self.used.iter().copied()).filter(|_| !self.forgotten)
    }

    pub fn stopped(&self) -> Option<&str> {
        self.machine.as_ref().and_then(Machine::stopped)
    }
}
