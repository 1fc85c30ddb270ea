//! The task of claims: drives the machine with the ledger, the plan's store and time.
//!
//! Promises: never waits for the store within a request: what a request wants arrives over a channel, and its answer leaves through
//! the ledger; one call of the store is under way at a time; what the machine writes is durable before it goes on. An idle task
//! wakes every ten seconds. Decides nothing about slices: the machine does.

mod join;
mod loner;
mod pace;
mod refresh;
mod upkeep;

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::around::geometry;
use super::books;
use super::etcd::EtcdStore;
use super::from_store::Signs;
use super::handle::ClaimCommand;
use super::known::{PlanPlace, SharedPlan, StoreHealth};
use super::machine::Machine;
use super::machine::calls::{StoreCall, StoreReply};
use super::machine::event::{ClaimAction, ClaimEvent, Geometry, HostIdentity, Need, Started};
use super::machine::own_books::{BookEntry, ClaimBooks};
use crate::clock;
use crate::config::{EtcdSettings, PlanSource};
use crate::ledger::Ledger;
use crate::plan::prefix::Prefix;
use crate::plan::request::Want;
use crate::plan::settings::Millis;

use self::join::Joining;
use self::pace::{Retries, SteadyTime};
use self::refresh::Refresh;
use self::upkeep::Upkeep;

/// How long a start waits for the store, so that a host that was forgotten gives nothing from slices that others have by now. Then it
/// serves what its books say.
const FIRST_LOOK: Millis = 2_000;

/// What the books contained at the start: the id of this host, and what it knew; or why that cannot be read.
pub type ClaimsAtStart = Result<(String, ClaimBooks), String>;

/// Whether repair has compared the books with the Engine since the start, or is off. Before that, the books may lack networks.
pub type Compared = Box<dyn Fn() -> bool + Send + Sync>;

/// For whom a slice is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanter {
    /// Parked requests of the ledger.
    Ledger(Want),
    /// A spare slice, before it is needed.
    Upkeep,
    /// A host that joins, for its networks.
    Join,
    /// A network that is there already, because repair adopted it.
    Around,
}

/// What work that was begun came to.
enum Outcome {
    Called {
        call: u64,
        reply: Result<StoreReply, String>,
    },
    Wrote {
        write: u64,
        result: Result<(), String>,
    },
    /// A person changed the plan in the store.
    Changed,
}

/// Everything that the task keeps.
pub struct ClaimsTask {
    ledger: Ledger,
    known: SharedPlan,
    source: PlanSource,
    settings: EtcdSettings,
    /// The id of this host, empty if it never had one; or why the books do not say it.
    id: Result<String, String>,
    /// Tells this machine from another one with the same books.
    at_machine: String,
    /// Runs once this host has joined.
    machine: Option<Machine>,
    calls: mpsc::UnboundedSender<(u64, StoreCall)>,
    outcomes: (mpsc::UnboundedSender<Outcome>, mpsc::UnboundedReceiver<Outcome>),
    steps: SteadyTime,
    retries: Retries,
    wanted: BTreeMap<u64, Wanter>,
    numbers: u64,
    joining: Option<Joining>,
    forgetting: Vec<(String, oneshot::Sender<Result<(), String>>)>,
    upkeep: Upkeep,
    refresh: Refresh,
    compared: Compared,
    signs: Signs,
    /// Answers of the store since the start.
    replies: u64,
    /// What views have seen.
    published: Option<(u64, StoreHealth)>,
    answered: Option<Millis>,
    trouble_since: Option<Millis>,
}

impl ClaimsTask {
    /// A task for a plan in etcd; `None` if people decide about the slices.
    pub fn new(
        ledger: Ledger,
        known: SharedPlan,
        source: PlanSource,
        at_machine: String,
        compared: Compared,
    ) -> Option<Self> {
        let settings = source.etcd()?.clone();
        let outcomes = mpsc::unbounded_channel();
        let calls = call_one_by_one(EtcdStore::new(settings.clone()), outcomes.0.clone());
        Some(Self {
            ledger,
            known,
            retries: Retries::new(settings.endpoints.len()),
            source,
            settings,
            id: Ok(String::new()),
            at_machine,
            machine: None,
            calls,
            outcomes,
            steps: SteadyTime::begin(),
            wanted: BTreeMap::new(),
            numbers: 0,
            joining: None,
            forgetting: Vec::new(),
            upkeep: Upkeep::default(),
            refresh: Refresh::default(),
            compared,
            signs: Signs::default(),
            replies: 0,
            published: None,
            answered: None,
            trouble_since: None,
        })
    }

    /// Runs until the ledger ends. Says when it knows from the store which slices are this host's, or that it has looked for
    /// [`FIRST_LOOK`].
    pub async fn run(
        mut self,
        kept: ClaimsAtStart,
        mut wants: mpsc::UnboundedReceiver<Want>,
        mut commands: mpsc::Receiver<ClaimCommand>,
        ready: oneshot::Sender<()>,
    ) {
        let (mut ready, looks_until) = (Some(ready), self.steps.now() + FIRST_LOOK);
        let mut commits = self.ledger.meters().follow();
        self.id = kept.as_ref().map(|(id, _)| id.clone()).map_err(String::clone);
        match kept {
            Ok((id, books)) if !books.plan.is_empty() => {
                self.show_books(&id, &books).await;
                self.begin(id, books).await;
            }
            Ok(_) => tracing::warn!("this host has not joined the plan of all hosts; type: gipam join"),
            Err(error) => tracing::error!("the plan of all hosts: {error}"),
        }
        self.publish().await;
        loop {
            let knows = self.machine.as_ref().is_none_or(|it| it.agrees() || it.stopped().is_some());
            if (knows || looks_until <= self.steps.now())
                && let Some(ready) = ready.take()
            {
                let _ = ready.send(());
            }
            let wake =
                self.wake().min(self.steps.instant(if ready.is_some() { looks_until } else { Millis::MAX }));
            tokio::select! {
                want = wants.recv() => match want {
                    Some(want) => self.want(want).await,
                    None => return,
                },
                Some(outcome) = self.outcomes.1.recv() => self.outcome(outcome).await,
                Some(command) = commands.recv() => self.command(command).await,
                Ok(()) = commits.changed() => self.upkeep.note_commit(self.steps.now()),
                () = sleep_until(wake) => {}
            }
            self.pass().await;
        }
    }

    /// When the task has to go on without an event.
    fn wake(&self) -> Instant {
        let upkeep = self.machine.is_some().then(|| self.upkeep.due()).flatten();
        let machine = self.machine.as_ref().map(|machine| {
            let next = match () {
                () if machine.is_under_way() => Millis::MAX,
                () if machine.retries() => self.retries.at(machine.patience_ends_at().is_some()),
                () => machine.wakes_at(),
            };
            machine.patience_ends_at().map_or(next, |ends| ends.min(next))
        });
        let join = self.joining.as_ref().map(Joining::until);
        let due =
            [upkeep, machine, join, self.refresh_at()].into_iter().flatten().min().unwrap_or(Millis::MAX);
        self.steps.instant(due)
    }

    /// Does what is due.
    async fn pass(&mut self) {
        let now = self.steps.now();
        if let Some(machine) = &self.machine {
            let patience = machine.patience_ends_at().is_some_and(|ends| ends <= now);
            let retry = machine.retries() && self.retries.at(machine.patience_ends_at().is_some()) <= now;
            let look = !machine.is_under_way() && !machine.retries() && machine.wakes_at() <= now;
            if patience || retry || look {
                self.feed(ClaimEvent::Tick { now }).await;
            }
        }
        if self.upkeep.due().is_some_and(|due| due <= now) {
            self.keep_up().await;
        }
        self.go_on_joining().await;
        self.refresh(now);
        self.publish().await;
    }

    /// Starts the machine of a host that takes part.
    async fn begin(&mut self, id: String, kept: ClaimBooks) {
        let books = self.ledger.look(move |plan| kept.with_slices(plan)).await;
        let Ok(books) = books else { return };
        let host = HostIdentity {
            id,
            name: self.source.host.clone(),
            via: self.settings.via.iter().map(ToString::to_string).collect(),
            machine: self.at_machine.clone(),
        };
        let (run, now) = (random(), self.steps.now());
        self.machine = Some(Machine::new(Started { host, books, run, now }));
        self.upkeep.note_commit(now);
        self.feed(ClaimEvent::Tick { now }).await;
    }

    /// A request of Docker needs a slice.
    async fn want(&mut self, want: Want) {
        if let Err(why) = self.takes_part() {
            return self.ledger.cannot(want, &why);
        }
        let (Want::Room { base: prefix } | Want::These(prefix)) = want;
        let need = match want {
            Want::Room { base: part } => Need::Room { part },
            Want::These(prefix) => Need::These(prefix),
        };
        let Some(pool) = self.pool_around(prefix).await else {
            let why = format!("no pool in slices contains {prefix} any more; try again");
            return self.ledger.cannot(want, &why);
        };
        if let Err(why) = self.upkeep.admit(pool.base, need, self.steps.now()) {
            return self.ledger.cannot(want, &why);
        }
        self.ask(Wanter::Ledger(want), pool, need).await;
    }

    /// Why this host claims nothing, if it does not.
    fn takes_part(&self) -> Result<(), String> {
        match (&self.id, &self.machine) {
            (Err(error), _) => Err(error.clone()),
            (Ok(_), None) => Err(format!(
                "host {} has not joined the plan in {}; type: gipam join",
                self.source.host,
                PlanPlace::of(&self.source.keeper)
            )),
            (Ok(_), Some(_)) => Ok(()),
        }
    }

    async fn ask(&mut self, wanter: Wanter, pool: Geometry, need: Need) {
        self.numbers += 1;
        let want = self.numbers;
        self.wanted.insert(want, wanter);
        self.tell_time().await;
        self.feed(ClaimEvent::Want { want, pool, need }).await;
    }

    /// The machine's clock stands where the last event left it: the patience with a call begins now, and a call that pauses is made
    /// again at once.
    async fn tell_time(&mut self) {
        let now = self.steps.now();
        self.feed(ClaimEvent::Tick { now }).await;
    }

    /// How the pool around this prefix is cut, if its base is in slices.
    async fn pool_around(&self, prefix: Prefix) -> Option<Geometry> {
        self.ledger.look(move |plan| geometry(plan.settings(), prefix)).await.ok().flatten()
    }

    async fn outcome(&mut self, outcome: Outcome) {
        let event = match outcome {
            Outcome::Called { call: refresh::CALL, reply: Ok(reply) } => return self.refreshed(reply),
            // The machine finds out what it means, and people see it before the minute is over.
            Outcome::Called { call: refresh::CALL, reply: Err(_) } => {
                self.not_refreshed();
                return self.look_now().await;
            }
            Outcome::Changed => return self.look_now().await,
            Outcome::Called { call, reply: Ok(reply) } => {
                self.retries.answered();
                self.replies += 1;
                self.answered = Some(clock::now());
                self.trouble_since = None;
                ClaimEvent::Replied { call, reply }
            }
            Outcome::Called { call, reply: Err(why) } => {
                let now = self.steps.now();
                if self.trouble_since.is_none() {
                    self.trouble_since = Some(clock::now());
                    tracing::warn!("the plan's store does not answer: {why}");
                }
                ClaimEvent::Unknown { call, why: self.retries.failed(why, now) }
            }
            Outcome::Wrote { write, result: Ok(()) } => ClaimEvent::Committed { write },
            Outcome::Wrote { write, result: Err(why) } => {
                self.retries.wait(self.steps.now());
                ClaimEvent::Refused { write, why }
            }
        };
        self.feed(event).await;
    }

    /// Gives the machine an event, and does what it says.
    async fn feed(&mut self, event: ClaimEvent) {
        let Some(machine) = &mut self.machine else { return };
        let actions = machine.step(event);
        for action in actions {
            match action {
                ClaimAction::Call { call, what } => drop(self.calls.send((call, what))),
                ClaimAction::Write { write, entries } => self.write(write, entries),
                ClaimAction::Owned { want, slice } => self.owned(want, slice),
                ClaimAction::Cannot { want, text } => self.cannot(want, text),
                ClaimAction::Forgotten { host, result } => self.forgotten(&host, &result),
                ClaimAction::Note(text) => tracing::warn!("the plan of all hosts: {text}"),
            }
        }
    }

    /// Makes entries durable, without waiting here.
    fn write(&self, write: u64, entries: Vec<BookEntry>) {
        let (Some(machine), Ok(id)) = (&self.machine, &self.id) else { return };
        let (id, before, ledger, done) =
            (id.clone(), machine.books().clone(), self.ledger.clone(), self.outcomes.0.clone());
        tokio::spawn(async move {
            let altered =
                ledger.alter(move |plan| Ok((books::altered(plan, &id, &before, &entries)?, ()))).await;
            let _ = done.send(Outcome::Wrote { write, result: altered.map_err(|refusal| refusal.text) });
        });
    }

    fn owned(&mut self, want: u64, slice: Prefix) {
        match self.wanted.remove(&want) {
            // The commit of the slice has met the parked requests already.
            Some(Wanter::Ledger(_) | Wanter::Upkeep) | None => {}
            Some(Wanter::Around) => {
                tracing::info!("slice {slice} around networks of this host belongs to it now");
            }
            Some(Wanter::Join) => self.note_joined(Ok(slice)),
        }
    }

    fn cannot(&mut self, want: u64, text: String) {
        match self.wanted.remove(&want) {
            Some(Wanter::Ledger(want)) => self.ledger.cannot(want, &text),
            Some(Wanter::Upkeep) => tracing::info!("no spare slice was claimed: {text}"),
            Some(Wanter::Around) => {
                tracing::info!("a slice around networks of this host was not claimed: {text}");
            }
            Some(Wanter::Join) => self.note_joined(Err(text)),
            None => {}
        }
    }

    fn forgotten(&mut self, host: &str, result: &Result<(), String>) {
        let (told, waiting) =
            std::mem::take(&mut self.forgetting).into_iter().partition(|(id, _)| id == host);
        self.forgetting = waiting;
        let told: Vec<(String, oneshot::Sender<_>)> = told;
        told.into_iter().for_each(|(_, answer)| drop(answer.send(result.clone())));
    }

    /// Looks at the plan in the store before the minute is over.
    async fn look_now(&mut self) {
        if let Some(machine) = &mut self.machine {
            machine.look_soon();
            let now = self.steps.now();
            self.feed(ClaimEvent::Tick { now }).await;
        }
    }
}

/// Calls the store one call after the other, in a task of its own.
fn call_one_by_one(
    mut store: EtcdStore,
    done: mpsc::UnboundedSender<Outcome>,
) -> mpsc::UnboundedSender<(u64, StoreCall)> {
    let (calls, mut waiting) = mpsc::unbounded_channel::<(u64, StoreCall)>();
    tokio::spawn(async move {
        while let Some((call, what)) = waiting.recv().await {
            let reply = store.call(&what).await;
            if done.send(Outcome::Called { call, reply }).is_err() {
                return;
            }
        }
    });
    calls
}

/// Random text, different at each call.
fn random() -> String {
    let mut bytes = [0_u8; 12];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
