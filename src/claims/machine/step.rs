//! The machine: what a host does next, from what it knows. One call or one write is under way at a time.
//!
//! Promises: pure and deterministic: [`Machine::step`] takes an event and returns actions; no I/O, no clock, no randomness. What
//! comes next depends on what is known, not on what came before: after any answer, and after a crash, `next` looks again.
//! The contract is in `mod.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;

use crate::plan::prefix::Prefix;
use crate::plan::settings::Millis;
use crate::plan::slices::SliceState;

use super::calls::{StoreCall, StoreReply};
use super::event::{ClaimAction, ClaimEvent, Geometry, HostIdentity, Need, Started};
use super::listing::{Glimpse, PlanListing};
use super::mutants::Mutant;
use super::outlook::Outlook;
use super::own_books::{BookEntry, ClaimBooks};
use super::stage::Stage;

/// How long a want waits for the store.
pub const PATIENCE: Millis = 2_000;
/// How often a host gives a sign.
pub(super) const BEAT: Millis = 600_000;
/// A mutant's time after which a silent host counts as gone.
const TTL: Millis = 1_200_000;

/// What the machine waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Awaits {
    Nothing,
    Reply(u64),
    /// The same call is made again at the next tick: its outcome is unknown.
    Retry,
    Write(u64),
    /// A write was refused: nothing is begun before the next tick.
    Tick,
}

/// A want that is not answered yet.
#[derive(Clone, Debug)]
pub(super) struct Wanting {
    pub want: u64,
    pub pool: Geometry,
    pub need: Need,
    pub until: Millis,
    /// The number of the last call or write before it.
    pub after: u64,
}

/// The machine of one run of one host.
#[derive(Debug)]
pub struct Machine {
    pub(super) me: HostIdentity,
    pub(super) run: String,
    pub(super) books: ClaimBooks,
    pub(super) now: Millis,
    /// The plan's record and this host's own; `None`: to be read.
    pub(super) glimpse: Option<Glimpse>,
    /// Everything else in the store; `None`: to be read. This host's own slices change only by its own calls.
    pub(super) listing: Option<PlanListing>,
    pub(super) readings: u64,
    /// When each host's latest beat was first seen.
    pub(super) silent: BTreeMap<String, (u64, Millis)>,
    /// This run's own beat is acknowledged: no call of an earlier run can change anything any more.
    pub(super) beaten: bool,
    /// A claim was refused while a doubled copy of it may still be under way: a beat comes before the next list.
    pub(super) unsure: bool,
    /// Books and store were compared in this run, and nothing was left to do.
    agreed: bool,
    pub(super) beat_at: Millis,
    pub(super) looked_at: Millis,
    pub(super) marks: u64,
    pub(super) wants: Vec<Wanting>,
    pub(super) giving: BTreeSet<Prefix>,
    /// Leaving slices with a beat since the books say so.
    pub(super) cleared: BTreeSet<Prefix>,
    /// Hosts that a person wants to forget, each with the end of that person's patience.
    pub(super) forgetting: Vec<(String, Millis)>,
    /// Why nothing goes on until the daemon is restarted.
    pub(super) stopped: Option<String>,
    pub(super) stage: Stage,
    awaits: Awaits,
    call: Option<StoreCall>,
    write: Vec<BookEntry>,
    numbers: u64,
    /// What kept the last call from being answered.
    trouble: Option<String>,
    pub(super) out: Vec<ClaimAction>,
    mutant: Option<Mutant>,
}

impl Machine {
    /// A machine that has to look at everything; its first actions come with the first event.
    pub fn new(started: Started) -> Self {
        Self {
            me: started.host,
            run: started.run,
            books: started.books,
            now: started.now,
            glimpse: None,
            listing: None,
            readings: 0,
            silent: BTreeMap::new(),
            beaten: false,
            unsure: false,
            agreed: false,
            beat_at: started.now,
            looked_at: started.now,
            marks: 0,
            wants: Vec::new(),
            giving: BTreeSet::new(),
            cleared: BTreeSet::new(),
            forgetting: Vec::new(),
            stopped: None,
            stage: Stage::Idle,
            awaits: Awaits::Nothing,
            call: None,
            write: Vec::new(),
            numbers: 0,
            trouble: None,
            out: Vec::new(),
            mutant: None,
        }
    }

    /// Leaves a rule out. Only for tests.
    pub const fn mutate(&mut self, mutant: Option<Mutant>) {
        self.mutant = mutant;
    }

    pub(super) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Why this machine does nothing any more.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// Whether books and store were compared in this run, and agree.
    pub fn agrees(&self) -> bool {
        let plan = self.glimpse.as_ref().and_then(|glimpse| glimpse.plan.as_ref());
        self.agreed && !self.books.older && plan.is_some_and(|(_, plan)| plan.epoch() == self.books.epoch)
    }

    /// Takes an event; returns what is to be done.
    pub fn step(&mut self, event: ClaimEvent) -> Vec<ClaimAction> {
        match event {
            ClaimEvent::Tick { now } => self.tick(now),
            ClaimEvent::Want { want, pool, need } => {
                let (until, after) = (self.now + PATIENCE, self.numbers);
                self.wants.push(Wanting { want, pool, need, until, after });
                // A claim needs a list that is younger than the want.
                if matches!(self.awaits, Awaits::Nothing) {
                    self.listing = None;
                }
            }
            ClaimEvent::GiveBack { prefix } => {
                self.giving.insert(prefix);
            }
            ClaimEvent::Forget { host } => {
                self.forgetting.push((host, self.now + PATIENCE));
                self.listing = self.listing.take().filter(|_| !matches!(self.awaits, Awaits::Nothing));
            }
            ClaimEvent::Replied { call, reply } if self.awaits == Awaits::Reply(call) => {
                self.awaits = Awaits::Nothing;
                self.trouble = None;
                self.call = None;
                let stage = take(&mut self.stage);
                self.replied(stage, reply);
            }
            ClaimEvent::Unknown { call, why } if self.awaits == Awaits::Reply(call) => {
                self.awaits = Awaits::Retry;
                self.trouble = Some(why);
            }
            ClaimEvent::Committed { write } if self.awaits == Awaits::Write(write) => {
                self.awaits = Awaits::Nothing;
                for entry in take(&mut self.write) {
                    self.books.apply(entry);
                }
                let stage = take(&mut self.stage);
                self.committed(stage, write);
            }
            ClaimEvent::Refused { write, why } if self.awaits == Awaits::Write(write) => {
                self.awaits = Awaits::Tick;
                self.write.clear();
                let stage = take(&mut self.stage);
                self.refused(&stage, &why);
            }
            // Answers to calls of which another attempt was made.
            ClaimEvent::Replied { .. }
            | ClaimEvent::Unknown { .. }
            | ClaimEvent::Committed { .. }
            | ClaimEvent::Refused { .. } => {}
        }
        while self.awaits == Awaits::Nothing && self.next() {}
        take(&mut self.out)
    }

    fn tick(&mut self, now: Millis) {
        self.now = self.now.max(now);
        match self.awaits {
            Awaits::Tick => self.awaits = Awaits::Nothing,
            Awaits::Retry => {
                if let Some(call) = self.call.clone() {
                    self.send(call);
                }
            }
            _ => {}
        }
        let now = self.now;
        let (late, wants): (Vec<_>, Vec<_>) =
            take(&mut self.wants).into_iter().partition(|it| it.until <= now);
        self.wants = wants;
        for wanting in late {
            let text = self.why_not_yet();
            self.out.push(ClaimAction::Cannot { want: wanting.want, text });
        }
        let (late, forgetting) = take(&mut self.forgetting).into_iter().partition(|(_, until)| *until <= now);
        self.forgetting = forgetting;
        for (host, _) in late {
            let result = Err(match self.trouble {
                Some(_) => self.why_not_yet(),
                None => {
                    "the plan's store did not confirm it in time; see gipam hosts, then try again".to_owned()
                }
            });
            self.out.push(ClaimAction::Forgotten { host, result });
        }
    }

    /// Begins what comes next; says whether anything was begun or answered.
    fn next(&mut self) -> bool {
        if self.stopped.is_some() {
            return self.answer_stopped();
        }
        if self.look_is_due() {
            self.looked_at = self.now;
            return self.look();
        }
        let Some(outlook) = self.glimpse.as_ref().map(|glimpse| self.outlook(glimpse)) else {
            return self.look();
        };
        match outlook {
            Outlook::Good => {}
            Outlook::NoPlan => return self.answer_no_plan(),
            Outlook::Stop(text) => return self.stop(text),
            Outlook::Forgotten => return self.forgotten(),
            Outlook::Join => return self.join(),
            Outlook::PutBack => return self.put_back_own(),
            Outlook::Older => return self.older(),
            Outlook::Restored => return self.begin_epoch(None),
        }
        if !self.beaten || self.unsure {
            return self.beat(None);
        }
        if self.listing.is_none() {
            return self.list();
        }
        if self.note_hosts() || self.arrive() || self.agree() {
            return true;
        }
        self.agreed = true;
        self.settle()
            || self.give_back()
            || self.forget()
            || self.claim()
            || (self.now.saturating_sub(self.beat_at) >= BEAT && self.beat(None))
    }

    /// Whether a call or a write is under way.
    pub const fn is_under_way(&self) -> bool {
        matches!(self.awaits, Awaits::Reply(_) | Awaits::Write(_))
    }

    /// Whether a call or a write that failed is begun again at the next tick.
    pub const fn retries(&self) -> bool {
        matches!(self.awaits, Awaits::Retry | Awaits::Tick)
    }

    /// Whether a host gave no sign for so long that a mutant takes it for dead.
    pub(super) fn is_silent(&self, host: &str) -> bool {
        self.is(Mutant::Ttl) && self.silent.get(host).is_some_and(|(_, since)| self.now - since >= TTL)
    }

    /// Calls the store, and goes on at this stage when it has answered.
    pub(super) fn call(&mut self, what: StoreCall, stage: Stage) -> bool {
        self.stage = stage;
        self.send(what);
        true
    }

    fn send(&mut self, what: StoreCall) {
        self.numbers += 1;
        self.awaits = Awaits::Reply(self.numbers);
        self.call = Some(what.clone());
        self.out.push(ClaimAction::Call { call: self.numbers, what });
    }

    /// Writes into the books, and goes on at this stage when that is durable.
    pub(super) fn write(&mut self, entries: Vec<BookEntry>, stage: Stage) -> bool {
        self.stage = stage;
        self.numbers += 1;
        self.awaits = Awaits::Write(self.numbers);
        self.write.clone_from(&entries);
        self.out.push(ClaimAction::Write { write: self.numbers, entries });
        true
    }

    pub(super) fn note(&mut self, text: String) {
        self.out.push(ClaimAction::Note(text));
    }

    pub(super) fn stop(&mut self, text: String) -> bool {
        self.note(text.clone());
        self.stopped = Some(text);
        true
    }

    /// Everything is read again, if nothing is under way; otherwise what is under way goes on with what was read.
    pub fn list_soon(&mut self) {
        if matches!(self.awaits, Awaits::Nothing) {
            self.listing = None;
            self.looked_at = 0;
        }
    }

    /// A person changed something in the store: the next look comes now, and whether all agrees is known after it.
    pub const fn look_soon(&mut self) {
        self.looked_at = 0;
        self.agreed = false;
    }

    /// Something in the store is not as it was: read it again.
    pub(super) fn look_again(&mut self) {
        self.glimpse = None;
        self.listing = None;
    }

    fn replied(&mut self, stage: Stage, reply: StoreReply) {
        match (stage, reply) {
            (Stage::Look, StoreReply::Pairs(pairs)) => {
                let glimpse = Glimpse::of(&pairs, &self.me.id);
                let unsettled = glimpse.plan.as_ref().is_some_and(|(_, plan)| !plan.is_settled());
                if unsettled || self.glimpse.as_ref().is_some_and(|before| before.plan != glimpse.plan) {
                    self.listing = None;
                }
                self.glimpse = Some(glimpse);
            }
            (Stage::List, StoreReply::Pairs(pairs)) => {
                self.glimpse = Some(Glimpse::of(&pairs, &self.me.id));
                let listing = PlanListing::of(&pairs);
                self.readings += 1;
                for (id, (_, host)) in &listing.hosts {
                    let beat = host.as_ref().map_or(0, |host| host.beat);
                    if self.silent.get(id).is_none_or(|(seen, _)| *seen != beat) {
                        self.silent.insert(id.clone(), (beat, self.now));
                    }
                }
                self.listing = Some(listing);
            }
            (stage, StoreReply::Done) => self.done(stage),
            (stage, StoreReply::Differs(pairs)) => {
                // An earlier attempt of the same call happened if everything is as it would be afterwards.
                if stage.happened(&pairs, self.glimpse.as_ref()) {
                    self.done(stage);
                } else {
                    self.differs(&stage);
                    self.look_again();
                }
            }
            (_, StoreReply::Pairs(_)) => self.look_again(),
        }
    }

    /// The text for a want whose time is over.
    fn why_not_yet(&self) -> String {
        if let Some(why) = &self.trouble {
            return format!(
                "the plan's store did not answer within {} s ({why}); networks in this host's slices go on; check etcd, then try again",
                PATIENCE / 1_000
            );
        }
        let absent = self.absent_hosts();
        if absent.is_empty() {
            return "no slice could be claimed in time; other hosts claim at the same moment, repeat"
                .to_owned();
        }
        format!(
            "the plan's store was restored, and hosts have not confirmed their slices yet: {}; start them, or for a \
             host that is gone for good: gipam hosts forget NAME",
            absent.join(", ")
        )
    }

    fn answer_stopped(&mut self) -> bool {
        let text = self.stopped.clone().unwrap_or_default();
        self.answer_all(&text)
    }

    fn answer_no_plan(&mut self) -> bool {
        self.answer_all("the plan's store has no plan; create it: gipam join --new")
    }

    fn answer_all(&mut self, text: &str) -> bool {
        let mut any = false;
        for wanting in take(&mut self.wants) {
            any = true;
            self.out.push(ClaimAction::Cannot { want: wanting.want, text: text.to_owned() });
        }
        for (host, _) in take(&mut self.forgetting) {
            any = true;
            self.out.push(ClaimAction::Forgotten { host, result: Err(text.to_owned()) });
        }
        any
    }

    /// An operator has forgotten this host, so its slices may go to others.
    fn forgotten(&mut self) -> bool {
        let held = self.books.with(SliceState::Held).chain(self.books.with(SliceState::Leaving));
        let entries: Vec<_> = held.map(|prefix| self.books.lost(prefix)).collect();
        if entries.is_empty() {
            let name = &self.me.name;
            return self.stop(format!(
                "host {name} was forgotten by a person and owns no slices; join again: gipam join"
            ));
        }
        self.write(entries, Stage::Written)
    }
}
