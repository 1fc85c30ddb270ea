//! The simulator's ledger: the real plan, and books that forget what was not committed.
//!
//! Promises: works as `src/ledger` does. Requests are decided one after another, and their changes are applied in memory; a commit
//! makes all of them durable and then answers all callers; a failed commit takes all of them back. A request that needs
//! a slice waits, is decided again when a slice is in the books or cannot be claimed, and waits for five seconds at most.

use std::collections::VecDeque;
use std::mem::take;

use gipam::claims::books::{CLAIMS, HOSTS, altered, read_rows};
use gipam::claims::machine::own_books::{BookEntry, ClaimBooks};
use gipam::plan::Plan;
use gipam::plan::change::Change;
use gipam::plan::error::{ErrorKind, Refusal};
use gipam::plan::request::{Reply, Request, Undo, Want};
use gipam::plan::settings::Millis;

use crate::mutants::Broken;
use crate::pools::settings;
use crate::rows::Rows;

/// How long a request waits for a claim, as in `src/ledger/parked.rs`.
const LONGEST: Millis = 5_000;
/// Why a request that waited for so long is refused.
pub const BACKSTOP: &str = "the claim of a slice was not answered within 5 s; try again";

/// What is on disk.
#[derive(Clone, Default)]
pub struct Disk {
    rows: Rows,
    claims: Option<String>,
    hosts: Option<String>,
}

impl Disk {
    /// The plan that a starting daemon rebuilds.
    pub fn plan(&self, now: Millis) -> Plan {
        self.rows.rebuild(&settings(), now)
    }

    /// What the machine starts with.
    pub fn books(&self, plan: &Plan) -> ClaimBooks {
        let (_, books) = read_rows(self.claims.as_deref(), self.hosts.as_deref()).unwrap();
        books.with_slices(plan)
    }

    /// Makes a batch durable.
    fn keep(&mut self, plan: &Plan, batch: &Batch) {
        batch.changes.iter().for_each(|change| self.rows.keep(change));
        for (row, value) in &batch.meta {
            match row.as_str() {
                CLAIMS => self.claims = Some(value.clone()),
                HOSTS => self.hosts = Some(value.clone()),
                other => panic!("{other}"),
            }
        }
        self.rows.count(plan);
    }
}

/// Who gets an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Docker, for a call with this number.
    Docker(u64),
    /// The machine, for a write.
    Machine(u64),
    /// Nobody: an undo, a deferred release, or repair.
    Nobody,
}

/// An answer that is durable.
pub struct Answer {
    pub caller: Caller,
    pub outcome: Result<Reply, Refusal>,
    pub undo: Option<Undo>,
}

struct Parked {
    due: Millis,
    request: Request,
    caller: Caller,
    want: Option<Want>,
}

/// What one commit makes durable, and whom it answers.
#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    meta: Vec<(String, String)>,
    answers: Vec<Answer>,
    releases: Vec<Request>,
}

/// The ledger of one run of a host.
pub struct Ledger {
    /// The plan in memory: what is durable, and the batch.
    pub plan: Plan,
    batch: Batch,
    parked: Vec<Parked>,
    deferred: Vec<Request>,
    /// The wants that were passed on and that the machine has not received yet.
    pub wants: VecDeque<Want>,
    broken: Option<Broken>,
    randoms: u64,
}

impl Ledger {
    /// `randoms` is different for each run.
    pub fn new(plan: Plan, randoms: u64, broken: Option<Broken>) -> Self {
        Self {
            plan,
            batch: Batch::default(),
            parked: Vec::new(),
            deferred: Vec::new(),
            wants: VecDeque::new(),
            broken,
            randoms: randoms << 32,
        }
    }

    /// Begins what follows at this time: decides again what is due.
    pub fn begin(&mut self, now: Millis) {
        self.plan.advance(now.max(self.plan.now()));
        for release in take(&mut self.deferred) {
            self.decide(release, Caller::Nobody);
        }
        self.retry(|parked| parked.due <= now, Some(BACKSTOP));
    }

    /// Decides a request.
    pub fn ask(&mut self, now: Millis, request: Request, caller: Caller) {
        self.begin(now);
        self.decide(request, caller);
    }

    fn decide(&mut self, request: Request, caller: Caller) {
        self.randoms += 1;
        let decision = self.plan.decide(&request, self.randoms);
        match (decision.reply, caller) {
            (Ok(Reply::Wait(due)), Caller::Docker(_)) => {
                self.parked.push(Parked { due, request, caller, want: None });
            }
            (Ok(Reply::Claim(want)), Caller::Docker(_)) => {
                let known = self.parked.iter().any(|parked| parked.want == Some(want));
                if !known && self.broken != Some(Broken::ForgetsWants) {
                    self.wants.push_back(want);
                }
                let due = self.plan.now() + LONGEST;
                self.parked.push(Parked { due, request, caller, want: Some(want) });
            }
            (outcome, caller) => {
                self.change(decision.changes);
                if matches!(request, Request::Release { .. } | Request::Undo(_)) {
                    self.batch.releases.push(request);
                }
                self.batch.answers.push(Answer { caller, outcome, undo: decision.undo });
            }
        }
    }

    fn change(&mut self, changes: Vec<Change>) {
        for change in changes {
            self.plan.apply(&change);
            self.batch.changes.push(change);
        }
    }

    /// Writes what the machine requests, or says why the books refuse it.
    pub fn alter(
        &mut self,
        now: Millis,
        books: &ClaimBooks,
        write: u64,
        entries: &[BookEntry],
    ) -> Option<String> {
        self.begin(now);
        let from = self.batch.changes.len();
        let made = match altered(&self.plan, "id", books, entries) {
            Ok(made) => made,
            Err(_) if self.broken == Some(Broken::GivesBackInUse) => unrefused(&self.plan, entries),
            Err(refusal) => return Some(refusal.text),
        };
        self.change(made.changes);
        self.batch.meta.extend(made.meta);
        let (outcome, undo) = (Ok(Reply::Done), None);
        self.batch.answers.push(Answer { caller: Caller::Machine(write), outcome, undo });
        self.retry_met(from);
        None
    }

    /// The machine says that this cannot be claimed.
    pub fn cannot(&mut self, now: Millis, want: Want, why: &str) {
        self.begin(now);
        self.retry(|parked| parked.want == Some(want), Some(why));
    }

    fn retry_met(&mut self, from: usize) {
        let slice = |change: &Change| match change {
            Change::SlicePut(slice) => Some(slice.prefix),
            _ => None,
        };
        let put: Vec<_> = self.batch.changes[from..].iter().filter_map(slice).collect();
        for prefix in put {
            let is_met = |parked: &Parked| match parked.want {
                Some(Want::Room { base }) => base.contains(prefix),
                Some(Want::These(wanted)) => wanted.overlaps(prefix),
                None => false,
            };
            self.retry(is_met, None);
        }
    }

    fn retry(&mut self, is_due: impl Fn(&Parked) -> bool, why: Option<&str>) {
        let (due, later) = take(&mut self.parked).into_iter().partition(is_due);
        self.parked = later;
        for Parked { mut request, caller, want, .. } in due {
            if let Some((want, why)) = want.zip(why) {
                request.note_cannot(want, why);
            }
            self.decide(request, caller);
        }
    }

    /// Makes the batch durable; returns whom it answers.
    pub fn commit(&mut self, disk: &mut Disk) -> Vec<Answer> {
        let batch = take(&mut self.batch);
        disk.keep(&self.plan, &batch);
        batch.answers
    }

    /// The disk is full: nothing of the batch happened, and everybody is refused. Releases are kept.
    pub fn fail(&mut self, disk: &Disk) -> Vec<Answer> {
        let batch = take(&mut self.batch);
        self.plan = disk.plan(self.plan.now());
        let kept: Vec<_> = batch.releases.into_iter().filter_map(|release| self.bound(release)).collect();
        self.deferred.extend(kept);
        let refusal = || Refusal::new(ErrorKind::Unavailable, "the disk is full");
        batch.answers.into_iter().map(|it| Answer { outcome: Err(refusal()), undo: None, ..it }).collect()
    }

    /// A release, bound to the grant that it was meant for.
    fn bound(&self, release: Request) -> Option<Request> {
        let Request::Release { id, address, .. } = release else { return Some(release) };
        let subnet = self.plan.held(&id)?;
        let generation = match address {
            None => subnet.state.generation,
            Some(address) => subnet.addresses.lease(subnet.number_of(address)?)?.generation,
        };
        Some(Request::Release { id, address, generation: Some(generation) })
    }

    /// Whether anything waits for a commit.
    pub fn is_dirty(&self) -> bool {
        !self.batch.changes.is_empty() || !self.batch.meta.is_empty() || !self.batch.answers.is_empty()
    }

    /// How many requests wait for a claim or for a young subnet.
    pub fn waiting(&self) -> usize {
        self.parked.len()
    }

    /// The answers that a broken ledger sends before they are durable.
    pub fn too_early(&mut self) -> Vec<Answer> {
        match self.broken {
            Some(Broken::AnswersBeforeCommit) => take(&mut self.batch.answers),
            _ => Vec::new(),
        }
    }
}

/// What a broken ledger writes when the plan refuses to give up a slice.
fn unrefused(plan: &Plan, entries: &[BookEntry]) -> gipam::ledger::Altered {
    let changes = entries.iter().filter_map(|entry| match entry {
        BookEntry::Slice { prefix, state, .. } => {
            let slice = plan.slices().get(*prefix)?.clone();
            Some(Change::SlicePut(gipam::plan::slices::Slice { state: *state, ..slice }))
        }
        BookEntry::SliceGone { prefix } => Some(Change::SliceGone { prefix: *prefix }),
        _ => None,
    });
    gipam::ledger::Altered { changes: changes.collect(), ..Default::default() }
}
