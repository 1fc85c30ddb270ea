//! The task: when to look, one look, and what follows from it.
//!
//! Promises: one look at a time; the books are read on a thread of their own; every change goes through the ledger,
//! which decides again by generation.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

use super::compare::{Look, compare};
use super::findings::{Known, subnet_key, suspect, unnamed};
use super::networks::{Outcome, Unknown};
use super::patience::Patience;
use super::suspects::{APART, Key, Suspects};
use super::{Command, Finding, Handle, Meters, Settings, Wish, unavailable};
use crate::docker::{Callers, Proofs, engine};
use crate::ledger::{Ledger, Refusal};
use crate::plan::change::{Serial, Shown};
use crate::plan::error::ErrorKind;
use crate::plan::prefix::Prefix;
use crate::plan::request::{Dead, Fence, Repair, Request, Space};
use crate::plan::settings::{Millis, rfc3339};
use crate::plan::{Plan, Subnet};
use crate::store::Reader;
use crate::store::names::Networks;

/// A look an hour, whatever happens.
const SELDOM: Duration = Duration::from_secs(3_600);
/// Looks take at most one part in so many of the time, however much happens.
const DUTY: u32 = 20;
/// Events within this time are one look.
const DEBOUNCE: Duration = Duration::from_secs(1);

/// What a person can do about a subnet that the Engine does not know.
const ANOTHERS: &str = "A subnet that this Engine does not know may be another Engine's. If there is no other one: gipam release \
    SUBNET --force, or unknown_subnets = \"free\" in [gc]";
/// The same of what is proven dead.
const AT_ONCE: &str = "gipam gc --apply frees what is proven dead at once";

/// A time that has come when this one has, to the second.
fn whole_seconds(at: Millis) -> String {
    rfc3339(at.div_ceil(1_000).saturating_mul(1_000))
}

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
    meters: Arc<Meters>,
    callers: Arc<Callers>,
    suspects: Suspects,
    noted: Noted,
    clock: fn() -> Millis,
    patience: Patience,
    /// Somebody came to a door.
    asked: Arc<Notify>,
    /// The last look changed something at once.
    learned: bool,
    /// The last look succeeded.
    answers: bool,
    /// Events cause no look before.
    not_before: Instant,
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
        let asked = Arc::new(Notify::new());
        let meters = Arc::new(Meters::new(settings.engine.is_some()));
        let handle =
            Handle { commands: sender, proofs: proofs.clone(), asked: asked.clone(), meters: meters.clone() };
        let reconciler = settings.engine.clone().map(|engine| Self {
            settings,
            engine,
            drivers,
            ledger,
            books,
            commands,
            proofs,
            meters,
            callers,
            suspects: Suspects::default(),
            noted: Noted::new(),
            clock,
            patience: Patience::default(),
            asked,
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
        let mut next = Some(Instant::now());
        loop {
            self.meters.plan_next(next.map(|at| self.told(at)));
            let sooner = |next: Option<Instant>, at: Instant| Some(next.map_or(at, |next| next.min(at)));
            tokio::select! {
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    next = self.look_and_plan().await;
                }
                command = self.commands.recv() => {
                    let Some(Command { wish, answer }) = command else { return };
                    // Whoever only wanted to see has left.
                    if answer.is_closed() && matches!(wish, Wish::Look) {
                        continue;
                    }
                    let findings = self.carry_out(wish).await;
                    if findings.is_ok() {
                        self.answered();
                        next = sooner(next, self.next_look());
                    }
                    let _ = answer.send(findings);
                }
                Some(()) = happened.recv() => {
                    next = sooner(next, self.not_before.max(Instant::now() + DEBOUNCE));
                }
                () = self.asked.notified(), if self.patience.is_over() => {
                    self.patience.renew();
                    next = Some(Instant::now());
                }
            }
            let ended = watching.as_ref().is_none_or(|task| task.0.is_finished());
            if ended && self.answers {
                watching = Some(watch(self.engine.clone(), happens.clone()));
            }
        }
    }

    /// Looks, and says when to look again, if not only when somebody comes.
    async fn look_and_plan(&mut self) -> Option<Instant> {
        match self.look(false).await {
            Ok(_) => {
                self.answered();
                Some(self.next_look())
            }
            Err(text) => {
                self.answers = false;
                let wait = self.patience.failed();
                match wait {
                    Some(wait) => tracing::debug!("repair: {text}; next try in {wait:?}"),
                    None => tracing::debug!("repair: {text}; next try when somebody comes to a door"),
                }
                wait.map(|wait| Instant::now() + wait)
            }
        }
    }

    fn answered(&mut self) {
        self.patience.renew();
        self.answers = true;
    }

    async fn carry_out(&mut self, wish: Wish) -> Result<Vec<Finding>, Refusal> {
        match wish {
            Wish::Look => self.look(false).await.map_err(unavailable),
            Wish::Apply => self.look(true).await.map_err(unavailable),
            Wish::Adopt { prefix, id } => self.adopt_by_hand(prefix, &id).await.map(|finding| vec![finding]),
        }
    }

    /// The time of day at that moment.
    fn told(&self, at: Instant) -> Millis {
        let wait = at.saturating_duration_since(Instant::now()).as_millis();
        (self.clock)().saturating_add(u64::try_from(wait).unwrap_or(0))
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
        self.meters.looked(findings.as_deref(), (self.clock)());
        self.not_before = Instant::now() + begun.elapsed() * DUTY;
        findings
    }

    async fn compare_and_act(&mut self, apply: bool) -> Result<Vec<Finding>, String> {
        let (known, look) = self.see().await?;
        let Look { dead, at_once, names, alive_all_the_same, unknown_networks, unnamed: ours, .. } = look;
        self.suspects.claim(ours);
        self.suspects.update(known.read.at, dead.clone());
        // What was learned in this look has its name in the next.
        self.learned = !at_once.is_empty();
        for repair in at_once {
            self.meters.learned.inc();
            self.ask(repair).await;
        }
        self.note(names, &known.networks).await;
        let freed = self.free(apply).await;
        self.publish(alive_all_the_same);
        self.note_live_restore().await;
        let mut findings: Vec<Finding> = dead
            .iter()
            .filter_map(|(key, since, why)| self.finding(&known, key, *since, why, &freed))
            .collect();
        let dead: Vec<Key> = dead.into_iter().map(|(key, ..)| key).collect();
        let waiting = known.plan.subnets().filter(|subnet| subnet.is_held() && subnet.awaits_id());
        findings.extend(
            waiting
                .filter(|subnet| !dead.contains(&subnet_key(subnet)))
                .map(|subnet| unnamed(subnet, &known)),
        );
        for unknown in &unknown_networks {
            let outcome = if apply { self.adopt(unknown).await } else { Outcome::Open };
            findings.push(unknown.finding(outcome));
        }
        Ok(findings)
    }

    /// What the books and the Engine say.
    async fn see(&self) -> Result<(Known, Look), String> {
        engine::ping(&self.engine).await.map_err(|error| error.to_string())?;
        let known = self.read_books().await?;
        let networks =
            engine::networks(&self.engine, &self.drivers).await.map_err(|error| error.to_string())?;
        let look = compare(&known.plan, known.read, &networks, self.callers.nobody());
        Ok((known, look))
    }

    /// Adopts a network, if nothing is in the way.
    async fn adopt(&mut self, unknown: &Unknown) -> Outcome {
        if unknown.obstacle.is_some() {
            return Outcome::Open;
        }
        let wish = Repair::AdoptSubnet(Box::new(unknown.adoption.clone()));
        match self.ledger.ask(Request::Repair(Box::new(wish))).await {
            Ok(_) => {
                tracing::info!("repair adopts {}: network {}", unknown.adoption.prefix, unknown.network);
                self.learned = true;
                Outcome::Adopted
            }
            Err(refusal) => Outcome::Refused(refusal.text),
        }
    }

    /// Adopts one network under a PoolID that a person gives, or gives it to one that is adopted already.
    async fn adopt_by_hand(&mut self, prefix: Prefix, id: &str) -> Result<Finding, Refusal> {
        let (known, look) = self.see().await.map_err(unavailable)?;
        let refused = |kind, text| Err(Refusal { kind, text });
        let held = |subnet: &&Subnet| {
            subnet.is_held() && subnet.state.space == Space::Local && subnet.state.prefix == prefix
        };
        if let Some(subnet) = known.plan.subnets().find(held) {
            let wish = Repair::NameSubnet { prefix, id: id.to_owned() };
            self.ledger.ask(Request::Repair(Box::new(wish))).await?;
            let action = format!("its PoolID is {id} from now on");
            return Ok(Finding { action, advice: None, ..unnamed(subnet, &known) });
        }
        let Some(mut unknown) = look.unknown_networks.into_iter().find(|it| it.adoption.prefix == prefix)
        else {
            let text = format!(
                "the Engine at {} has no network of ours with the subnet {prefix}; see: gipam gc",
                self.engine.display()
            );
            return refused(ErrorKind::Missing, text);
        };
        if let Some(obstacle) = unknown.obstacle {
            return refused(ErrorKind::Taken, format!("{prefix} is not adopted: {obstacle}"));
        }
        unknown.adoption.id = Some(id.to_owned());
        let wish = Repair::AdoptSubnet(Box::new(unknown.adoption.clone()));
        self.ledger.ask(Request::Repair(Box::new(wish))).await?;
        self.learned = true;
        Ok(unknown.finding(Outcome::Adopted))
    }

    async fn read_books(&self) -> Result<Known, String> {
        let (books, at) = (self.books.clone(), (self.clock)());
        let reading = tokio::task::spawn_blocking(move || {
            let reader = Reader::open(&books)?;
            let mut plan = Plan::new(reader.settings()?);
            reader.load(|change| plan.apply(&change))?;
            Ok::<_, crate::store::Error>((plan, reader.names()?, reader.networks()?))
        });
        let (plan, names, networks) =
            reading.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let read = Fence { generation: plan.counters().0, at };
        Ok(Known { plan, read, names, networks })
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

    /// Writes down what the Engine calls the holders and their networks, where that is new.
    async fn note(&mut self, names: Vec<Repair>, networks: &Networks) {
        let mut noted = Noted::new();
        for repair in names {
            if let Repair::NameNetwork { serial, generation, network } = &repair {
                let known =
                    networks.get(serial).is_some_and(|(of, name)| (of, name) == (generation, network));
                if !known {
                    self.ask(repair).await;
                }
                continue;
            }
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
        for (key, seen) in self.suspects.dead_for(if apply { self.apart() } else { self.settings.grace }) {
            let (serial, address, generation) = key;
            let evidence = seen.evidence();
            let repair = match address {
                Some(address) => Repair::FreeAddress { serial, address, generation, evidence },
                None if self.may_free(&key) => {
                    let unnamed = !self.settings.only_engine;
                    Repair::FreeSubnet { serial, generation, unnamed, evidence }
                }
                None => continue,
            };
            tracing::info!("repair frees serial {serial}: {}", seen.evidence());
            self.meters.freed.inc();
            self.ask(repair).await;
            freed.push(key);
        }
        freed
    }

    /// Whether a subnet that the Engine does not know can be nobody else's.
    fn may_free(&self, key: &Key) -> bool {
        self.settings.only_engine || self.suspects.is_ours(key)
    }

    /// Between the two looks after which a person may have it freed: a minute, or the grace time where that is shorter.
    fn apart(&self) -> Millis {
        self.settings.grace.min(APART)
    }

    /// Lets explicit requests know what they may replace.
    fn publish(&self, alive_all_the_same: BTreeSet<(Serial, u128, u64)>) {
        let proven = self.suspects.proven(self.settings.only_engine);
        let proven = Arc::new(Dead { alive_all_the_same, ..proven });
        if let Ok(mut proofs) = self.proofs.write() {
            *proofs = proven;
        }
    }

    fn finding(&self, known: &Known, key: &Key, since: Millis, why: &str, freed: &[Key]) -> Option<Finding> {
        let (_, address, _) = *key;
        let seen = self.suspects.get(key);
        let action = match seen {
            _ if freed.contains(key) => ("freed".to_owned(), None),
            None => ("wait: granted less than a minute ago".to_owned(), None),
            Some(seen) if !seen.has_lasted(self.apart()) => {
                let second = whole_seconds(seen.first.saturating_add(self.apart()));
                (format!("wait: to be seen again after {second}"), None)
            }
            Some(_) if address.is_none() && !self.may_free(key) => {
                ("only reported: another Engine may own it".to_owned(), Some(ANOTHERS))
            }
            Some(seen) => {
                let due = whole_seconds(seen.first.saturating_add(self.settings.grace));
                (format!("will be freed after {due}"), Some(AT_ONCE))
            }
        };
        suspect(known, key, since, seen, why, action)
    }
}
