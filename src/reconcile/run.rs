//! The task: when to look, one look, and what follows from it.
//!
//! Promises: one look at a time; the books are read on a thread of their own; every change goes through the ledger,
//! which decides again by generation.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::compare::{Look, compare};
use super::suspects::{Key, Suspects};
use super::{Command, Finding, Handle, Settings};
use crate::docker::{Callers, Proofs, engine};
use crate::ledger::Ledger;
use crate::plan::Plan;
use crate::plan::change::{Serial, Shown};
use crate::plan::request::{Dead, Fence, Repair, Request};
use crate::plan::settings::{Millis, rfc3339};
use crate::store::Reader;

/// A look an hour, whatever happens.
const SELDOM: Duration = Duration::from_secs(3_600);
/// After an Engine that does not answer; doubled up to [`LAST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(5);
/// The longest wait for an Engine that does not answer.
const LAST_RETRY: Duration = Duration::from_secs(300);
/// Looks take at most one part in so many of the time, however much happens.
const DUTY: u32 = 20;
/// Events within this time are one look.
const DEBOUNCE: Duration = Duration::from_secs(1);

/// Names that were noted already, by serial and address.
type Noted = BTreeMap<(Serial, u128), (u64, Shown)>;

/// A task that ends with who holds this.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Follows the Engine's events; says so once more when they end.
fn watch(engine: PathBuf, happens: mpsc::Sender<()>) -> AbortOnDrop {
    AbortOnDrop(tokio::spawn(async move {
        let told = happens.clone();
        // A full channel means that a look is due anyway.
        let end = engine::follow_events(&engine, || {
            let _ = told.try_send(());
        })
        .await;
        tracing::debug!("repair: the Engine's events ended: {end:?}");
        let _ = happens.send(()).await;
    }))
}

/// Compares books and Engine, as long as the daemon lives.
pub struct Reconciler {
    settings: Settings,
    engine: PathBuf,
    drivers: Vec<String>,
    ledger: Ledger,
    books: PathBuf,
    commands: mpsc::Receiver<Command>,
    proofs: Proofs,
    callers: Arc<Callers>,
    suspects: Suspects,
    noted: Noted,
    clock: fn() -> Millis,
    retry: Duration,
    /// The last look changed something at once.
    learned: bool,
    /// The last look succeeded.
    answers: bool,
    /// Events cause no look before.
    not_before: Instant,
}

/// The books as they were read.
struct Known {
    plan: Plan,
    read: Fence,
}

impl Reconciler {
    /// For these drivers; `None` where the configuration names no Engine. The handle works either way.
    pub fn new(
        settings: Settings,
        drivers: Vec<String>,
        ledger: Ledger,
        books: PathBuf,
        callers: Arc<Callers>,
        clock: fn() -> Millis,
    ) -> (Handle, Option<Self>) {
        let (sender, commands) = mpsc::channel(1);
        let proofs = Proofs::default();
        let handle = Handle { commands: sender, proofs: proofs.clone() };
        let reconciler = settings.engine.clone().map(|engine| Self {
            settings,
            engine,
            drivers,
            ledger,
            books,
            commands,
            proofs,
            callers,
            suspects: Suspects::default(),
            noted: Noted::new(),
            clock,
            retry: FIRST_RETRY,
            learned: false,
            answers: false,
            not_before: Instant::now(),
        });
        (handle, reconciler)
    }

    /// Looks when there is a reason to, until the task is dropped or nobody holds its handle.
    pub async fn run(mut self) {
        let (happens, mut happened) = mpsc::channel(1);
        let mut watching: Option<AbortOnDrop> = None;
        let mut next = Instant::now();
        loop {
            tokio::select! {
                () = sleep_until(next) => next = self.look_and_plan().await,
                command = self.commands.recv() => {
                    let Some(Command { apply, answer }) = command else { return };
                    let findings = self.look(apply).await;
                    let _ = answer.send(findings);
                    next = next.min(self.next_look());
                }
                Some(()) = happened.recv() => next = next.min(self.not_before.max(Instant::now() + DEBOUNCE)),
            }
            let ended = watching.as_ref().is_none_or(|task| task.0.is_finished());
            if ended && self.answers {
                watching = Some(watch(self.engine.clone(), happens.clone()));
            }
        }
    }

    /// Looks, and says when to look again.
    async fn look_and_plan(&mut self) -> Instant {
        match self.look(false).await {
            Ok(_) => {
                self.retry = FIRST_RETRY;
                self.answers = true;
                self.next_look()
            }
            Err(text) => {
                self.answers = false;
                tracing::debug!("repair: {text}; next try in {:?}", self.retry);
                let next = Instant::now() + self.retry;
                self.retry = (self.retry * 2).min(LAST_RETRY);
                next
            }
        }
    }

    fn next_look(&self) -> Instant {
        if self.learned {
            return self.not_before.max(Instant::now() + DEBOUNCE);
        }
        let now = (self.clock)();
        let due = self.suspects.next_look(self.settings.grace);
        let wait = due.map_or(SELDOM, |due| Duration::from_millis(due.saturating_sub(now)).min(SELDOM));
        // A late look is a good look; one a millisecond early proves nothing.
        Instant::now() + wait + Duration::from_millis(10)
    }

    /// One look: read the books, ask the Engine, compare, act.
    async fn look(&mut self, apply: bool) -> Result<Vec<Finding>, String> {
        let begun = Instant::now();
        let findings = self.compare_and_act(apply).await;
        self.not_before = Instant::now() + begun.elapsed() * DUTY;
        findings
    }

    async fn compare_and_act(&mut self, apply: bool) -> Result<Vec<Finding>, String> {
        engine::ping(&self.engine).await.map_err(|error| error.to_string())?;
        let Known { plan, read } = self.read_books().await?;
        let networks =
            engine::networks(&self.engine, &self.drivers).await.map_err(|error| error.to_string())?;
        let Look { dead, at_once, names, alive_all_the_same, unknown_networks } =
            compare(&plan, read, &networks);
        self.suspects.update(read.at, dead.clone());
        // What was learned in this look has its name in the next.
        self.learned = !at_once.is_empty();
        for repair in at_once {
            self.ask(repair).await;
        }
        self.note(names).await;
        let freed = self.free(apply).await;
        self.publish(alive_all_the_same);
        self.note_live_restore().await;
        let mut findings: Vec<Finding> = dead
            .iter()
            .filter_map(|(key, since, why)| self.finding(&plan, key, *since, why, &freed))
            .collect();
        findings.extend(unknown_networks.into_iter().map(|(prefix, name)| Finding {
            what: "network".to_owned(),
            subnet: prefix.to_string(),
            address: None,
            holder: Some(name),
            since: None,
            first_seen: None,
            last_seen: Some(rfc3339(read.at)),
            why: "the Engine has this network, and the books do not hold its subnet".to_owned(),
            action: "report".to_owned(),
        }));
        Ok(findings)
    }

    async fn read_books(&self) -> Result<Known, String> {
        let (books, at) = (self.books.clone(), (self.clock)());
        let reading = tokio::task::spawn_blocking(move || {
            let reader = Reader::open(&books)?;
            let mut plan = Plan::new(reader.settings()?);
            reader.load(|change| plan.apply(&change))?;
            Ok::<_, crate::store::Error>(plan)
        });
        let plan = reading.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let read = Fence { generation: plan.counters().0, at };
        Ok(Known { plan, read })
    }

    async fn ask(&self, repair: Repair) {
        if let Err(refusal) = self.ledger.ask(Request::Repair(Box::new(repair))).await {
            tracing::warn!("repair: {refusal}");
        }
    }

    /// Writes down whether containers outlive the Engine: once it has gone, that says what became of them.
    async fn note_live_restore(&self) {
        let Some(caller) = self.callers.alone() else { return };
        match engine::live_restore(&self.engine).await {
            Ok(live_restore) => self.ask(Repair::LiveRestore { caller, live_restore }).await,
            Err(error) => tracing::debug!("repair: {error}"),
        }
    }

    /// Writes down what the Engine calls the holders, where that is new.
    async fn note(&mut self, names: Vec<Repair>) {
        let mut noted = Noted::new();
        for repair in names {
            let Repair::Name { serial, address, generation, shown } = &repair else { continue };
            let value = (*generation, shown.clone());
            let known = self.noted.get(&(*serial, *address)) == Some(&value);
            noted.insert((*serial, *address), value);
            if !known {
                self.ask(repair).await;
            }
        }
        self.noted = noted;
    }

    /// Frees what has been dead for the grace time, or, when a person asks, what is proven. That this Engine does not know
    /// a subnet proves nothing where there may be another Engine, whoever asks.
    async fn free(&self, apply: bool) -> Vec<Key> {
        let mut freed = Vec::new();
        for (key, seen) in self.suspects.dead_for(if apply { 0 } else { self.settings.grace }) {
            let (serial, address, generation) = key;
            let evidence = seen.evidence();
            let repair = match address {
                Some(address) => Repair::FreeAddress { serial, address, generation, evidence },
                None if self.settings.only_engine => Repair::FreeSubnet { serial, generation, evidence },
                None => continue,
            };
            tracing::info!("repair frees serial {serial}: {}", seen.evidence());
            self.ask(repair).await;
            freed.push(key);
        }
        freed
    }

    /// Lets explicit requests know what they may replace.
    fn publish(&self, alive_all_the_same: BTreeSet<(Serial, u128, u64)>) {
        let proven = self.suspects.proven(self.settings.only_engine);
        let proven = Arc::new(Dead { alive_all_the_same, ..proven });
        if let Ok(mut proofs) = self.proofs.write() {
            *proofs = proven;
        }
    }

    fn finding(&self, plan: &Plan, key: &Key, since: Millis, why: &str, freed: &[Key]) -> Option<Finding> {
        let (serial, address, _) = *key;
        let subnet = plan.subnet(serial)?;
        let prefix = subnet.state.prefix;
        let record = address.and_then(|address| subnet.addresses.get(address));
        let seen = self.suspects.get(key);
        let subnet_only = address.is_none() && !self.settings.only_engine;
        let action = match seen {
            _ if freed.contains(key) => "freed",
            None => "wait: granted less than a minute before",
            Some(seen) if seen.is_proven() && subnet_only => {
                "report: another Engine may own it; gipam release SUBNET --force frees it"
            }
            Some(seen) if seen.is_proven() => "free after the grace time; gipam gc --apply frees it now",
            Some(_) => "wait for a second look, a minute after the first",
        };
        Some(Finding {
            what: if address.is_some() { "lease" } else { "subnet" }.to_owned(),
            subnet: prefix.to_string(),
            address: address.map(|address| prefix.address(address).to_string()),
            holder: record.and_then(|record| record.name.as_deref().map(str::to_owned)),
            since: Some(rfc3339(since)),
            first_seen: seen.map(|seen| rfc3339(seen.first)),
            last_seen: seen.map(|seen| rfc3339(seen.last)),
            why: why.to_owned(),
            action: action.to_owned(),
        })
    }
}
