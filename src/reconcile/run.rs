//! The task of repair: when to check, the check itself, and its consequences.
//!
//! Promises: one check at a time. Every change goes through the ledger, which decides again by generation.
//! Freeing requires a [`Death`](crate::plan::evidence::Death).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

use super::compare::{Look, Missing, Sighting, compare};
use super::events::{Events, Heard};
use super::findings::{doubled, doubtful, suspect};
use super::networks::Unknown;
use super::noted::{Noted, WrittenNames};
use super::patience::Patience;
use super::suspects::{APART, Suspects};
use super::{Finding, Handle, RepairCommand, RepairMeters, RepairSettings, RepairShared, Wish, unavailable};
use crate::clock::Clock;
use crate::docker::{Callers, Proofs, engine};
use crate::ledger::{Ledger, Refusal, YOUNG};
use crate::plan::Plan;
use crate::plan::change::Serial;
use crate::plan::error::ErrorKind;
use crate::plan::evidence::{IndexedLists, ProofKey};
use crate::plan::prefix::Prefix;
use crate::plan::repair::SETTLING;
use crate::plan::request::{Dead, Fence, Repair, Request};
use crate::plan::settings::{Millis, rfc3339};
use crate::store::names::Networks;

/// The longest time between two checks while the Engine answers.
const SELDOM: Duration = Duration::from_secs(3_600);
/// Checks take at most this fraction of the time (one part in `DUTY`), however much happens.
const DUTY: u32 = 20;
/// Events within this time trigger a single check.
const DEBOUNCE: Duration = Duration::from_secs(1);

/// Advice about a subnet that the Engine does not know.
const ANOTHERS: &str = "A subnet that this Engine does not know may be another Engine's. If there is no other one: gipam release \
    SUBNET --force, or unknown_subnets = \"free\" in [gc]";
/// Advice about leases and subnets that are proven dead.
const AT_ONCE: &str = "gipam gc --apply frees what is proven dead at once";

/// Compares the books with the Engine for as long as the daemon lives.
pub struct Reconciler {
    settings: RepairSettings,
    pub(super) engine: PathBuf,
    pub(super) drivers: Vec<String>,
    pub(super) ledger: Ledger,
    pub(super) books: PathBuf,
    commands: mpsc::Receiver<RepairCommand>,
    pub(super) shared: RepairShared,
    callers: Arc<Callers>,
    suspects: Suspects,
    pub(super) noted: Noted,
    /// The Engine's names for the networks.
    pub(super) called: Networks,
    /// Addresses that were reported at two endpoints, with their holders.
    pub(super) reported: BTreeSet<(Prefix, u128, String, Option<Serial>)>,
    clock: Clock,
    patience: Patience,
    /// The last check changed something.
    pub(super) learned: bool,
    /// Something changed so shortly before the last check that the lists may have been older.
    pub(super) settling: bool,
    /// The last check succeeded.
    answers: bool,
    /// Events do not trigger a check before this time.
    not_before: Instant,
}

impl Reconciler {
    /// Creates repair for these drivers; `None` if the configuration names no Engine. The handle works either
    /// way.
    pub fn new(
        settings: RepairSettings,
        drivers: Vec<String>,
        ledger: Ledger,
        books: PathBuf,
        callers: Arc<Callers>,
        clock: Clock,
    ) -> (Handle, Option<Self>) {
        let (sender, commands) = mpsc::channel(1);
        let meters = Arc::new(RepairMeters::new(settings.engine.is_some(), clock.clone()));
        let shared = RepairShared {
            proofs: Proofs::default(),
            asked: Arc::new(Notify::new()),
            changed: Arc::new(Notify::new()),
            meters,
        };
        let reconciler = settings.engine.clone().map(|engine| Self {
            settings,
            engine,
            drivers,
            ledger,
            books,
            commands,
            shared: shared.clone(),
            callers,
            suspects: Suspects::default(),
            noted: Noted::new(),
            called: Networks::new(),
            reported: BTreeSet::new(),
            clock,
            patience: Patience::default(),
            learned: false,
            settling: false,
            answers: false,
            not_before: Instant::now(),
        });
        (Handle { commands: sender, shared }, reconciler)
    }

    /// Checks when there is a reason to, until the task or its last handle is dropped.
    pub async fn run(mut self) {
        let (happens, mut happened) = mpsc::channel(1);
        let mut events = Events::new(self.engine.clone(), happens);
        let mut next = Some(Instant::now());
        // Waking this task costs each request a system call, so only the first request before the next check
        // wakes it.
        let mut requested = false;
        loop {
            self.shared.meters.plan_next(next.map(|at| self.told(at)));
            let sooner = |next: Option<Instant>, at: Instant| Some(next.map_or(at, |next| next.min(at)));
            tokio::select! {
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    requested = false;
                    next = self.look_and_plan().await;
                    if self.answers && let Some(at) = events.open() {
                        next = sooner(next, at);
                    }
                }
                command = self.commands.recv() => {
                    let Some((wish, answer)) = command else { return };
                    // The caller only wanted the findings, and has disconnected.
                    if answer.is_closed() && wish == (Wish::Check { apply: false }) {
                        continue;
                    }
                    let findings = self.carry_out(wish).await;
                    if findings.is_ok() {
                        self.answered();
                        next = sooner(next, self.next_look());
                        if let Some(at) = events.open() {
                            next = sooner(next, at);
                        }
                    }
                    let _ = answer.send(findings);
                }
                Some(heard) = happened.recv() => {
                    let at = match heard {
                        Heard::Event => self.not_before.max(Instant::now() + DEBOUNCE),
                        Heard::End => self.not_before.max(events.ended()),
                    };
                    next = sooner(next, at);
                }
                () = self.shared.changed.notified(), if self.answers => {
                    next = sooner(next, self.not_before.max(Instant::now() + DEBOUNCE));
                }
                () = self.shared.asked.notified(), if !self.answers && !requested => {
                    requested = true;
                    next = sooner(next, Instant::now() + self.patience.requested());
                }
            }
        }
    }

    /// Checks, and returns when to check again; `None` if only a request can trigger the next check.
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
                    Some(wait) => tracing::debug!("repair: {text}; next attempt in {wait:?}"),
                    None => tracing::debug!("repair: {text}; next attempt at the next request"),
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
            Wish::Check { apply } => self.look(apply).await.map_err(unavailable),
            Wish::Adopt { prefix, id } => self.adopt_by_hand(prefix, &id).await.map(|finding| vec![finding]),
            Wish::Trust => self.trust().await,
            Wish::Release { subnet, address } => self.release_by_hand(subnet, address).await,
        }
    }

    /// Converts this instant into a time of the steady clock.
    fn told(&self, at: Instant) -> Millis {
        let wait = at.saturating_duration_since(Instant::now()).as_millis();
        self.clock.now().steady.saturating_add(u64::try_from(wait).unwrap_or(0))
    }

    fn next_look(&self) -> Instant {
        if self.learned {
            return self.not_before.max(Instant::now() + DEBOUNCE);
        }
        if self.settling {
            return self.not_before.max(Instant::now() + Duration::from_millis(SETTLING));
        }
        let now = self.clock.now().steady;
        let due = self.suspects.next_look(self.settings.grace);
        let wait = due.map_or(SELDOM, |due| Duration::from_millis(due.saturating_sub(now)).min(SELDOM));
        // A late check does no harm; one that is a millisecond early does not count.
        Instant::now() + wait + Duration::from_millis(10)
    }

    /// One check: read the books, query the Engine, compare, act.
    pub(super) async fn look(&mut self, apply: bool) -> Result<Vec<Finding>, String> {
        let begun = Instant::now();
        let findings = self.compare_and_act(apply).await;
        self.shared.meters.looked(findings.as_deref());
        self.not_before = Instant::now() + begun.elapsed() * DUTY;
        findings
    }

    async fn compare_and_act(&mut self, apply: bool) -> Result<Vec<Finding>, String> {
        let seen = self.see().await?;
        let read = seen.read;
        let mut look = compare(&self.ledger, &seen).await.map_err(|refusal| refusal.text)?;
        if let Some(engine) = look.engine.take() {
            self.ask(Repair::Engine(Box::new(engine))).await;
        }
        self.suspect(&look);
        self.learn(std::mem::take(&mut look.at_once)).await;
        let names = self.note(&mut look).await?;
        let freed = self.free(apply).await;
        self.report(&mut look, read).await;
        self.publish(&mut look);
        let mut findings: Vec<Finding> = look.doubled.iter().map(|one| doubled(one, read.at)).collect();
        findings.extend(look.doubt.as_ref().map(|doubt| doubtful(doubt, read.at, &self.engine)));
        findings.extend(look.missing.iter().map(|one| self.finding(&look, one, &names, &freed)));
        let dead: BTreeSet<ProofKey> = look.missing.iter().map(|one| one.key).collect();
        let waiting = look.waiting.into_iter().filter(|one| !dead.contains(&one.key));
        findings.extend(waiting.map(|one| one.finding));
        let mut sharing = BTreeMap::<_, Vec<&Unknown>>::new();
        for unknown in &look.unknown_networks {
            sharing.entry(unknown.adoption.prefix).or_default().push(unknown);
        }
        for unknown in sharing.into_values() {
            let adopted = if apply { self.adopt(&unknown).await } else { Ok(false) };
            findings.extend(unknown.iter().map(|one| one.finding(&adopted)));
        }
        Ok(findings)
    }

    /// Reads the Engine's lists, after recording the generation and the time of the books.
    pub(super) async fn see(&self) -> Result<Arc<Sighting>, String> {
        engine::ping(&self.engine).await.map_err(|error| error.to_string())?;
        // The stamps in the books are compared with the time of the books.
        let fence = |plan: &Plan| Fence { generation: plan.counters().0, at: plan.now() };
        let read = self.ledger.look(fence).await.map_err(|refusal| refusal.text)?;
        let at = self.clock.now();
        let settled = self.ledger.youth().settled(at.steady);
        let lists = engine::lists(&self.engine).await.map_err(|error| error.to_string())?;
        let (lists, nobody) = (IndexedLists::new(lists, &self.drivers), self.callers.nobody());
        Ok(Arc::new(Sighting { lists, read, at, settled, nobody }))
    }

    /// Records which leases and subnets looked dead.
    fn suspect(&mut self, look: &Look) {
        self.suspects.ours = look.waiting.iter().map(|one| one.key).collect();
        let new = look.missing.iter().filter(|one| one.absence.is_none() && look.doubt.is_none());
        let now = self.clock.now().steady;
        let settles = |one: &Missing| self.ledger.youth().settles(one.key.2).unwrap_or(now + YOUNG);
        let ripe = new.map(settles).min();
        let absences = look.missing.iter().filter_map(|one| one.absence.clone());
        self.suspects.update(absences, ripe);
    }

    /// Makes the repairs that need no second check.
    async fn learn(&mut self, at_once: Vec<Repair>) {
        (self.learned, self.settling) = (false, false);
        for repair in at_once {
            match self.ledger.ask(Request::Repair(Box::new(repair))).await {
                // A lease that is adopted in this check gets its name in the next one.
                Ok(_) => self.learned = true,
                Err(refusal) if refusal.kind == ErrorKind::TooEarly => {
                    tracing::debug!("repair: {refusal}");
                    self.settling = true;
                    continue;
                }
                Err(refusal) => tracing::warn!("repair: {refusal}"),
            }
            self.shared.meters.learned.inc();
        }
    }

    /// Adopts the networks of one prefix unless one of them has an obstacle; returns whether it did.
    async fn adopt(&mut self, sharing: &[&Unknown]) -> Result<bool, String> {
        if sharing.iter().any(|unknown| unknown.obstacle.is_some()) {
            return Ok(false);
        }
        let adoptions = sharing.iter().map(|unknown| unknown.adoption.clone()).collect();
        let adopting = self.ledger.ask(Request::Repair(Box::new(Repair::AdoptSubnets(adoptions))));
        adopting.await.map_err(|refusal| refusal.text)?;
        for unknown in sharing {
            tracing::info!("repair adopts {}: network {}", unknown.adoption.prefix, unknown.network);
        }
        self.learned = true;
        Ok(true)
    }

    pub(super) async fn ask(&self, repair: Repair) {
        if let Err(refusal) = self.ledger.ask(Request::Repair(Box::new(repair))).await {
            tracing::warn!("repair: {refusal}");
        }
    }

    /// Frees what has been dead for the grace time or, if a person requested it, everything that is proven
    /// dead.
    async fn free(&self, apply: bool) -> Vec<ProofKey> {
        let mut freed = Vec::new();
        for death in self.suspects.dead_for(if apply { self.apart() } else { self.settings.grace }) {
            let Some(death) = self.suspects.counting(death, self.settings.only_engine) else { continue };
            let key = death.key();
            tracing::info!("repair frees serial {}: {}", key.0, death.evidence());
            self.shared.meters.freed.inc();
            self.ask(Repair::Free(death)).await;
            freed.push(key);
        }
        freed
    }

    /// The minimum time between the two checks if a person requested the check: a minute, or the grace time
    /// if that is shorter.
    fn apart(&self) -> Millis {
        self.settings.grace.min(APART)
    }

    /// Publishes what explicit requests may replace, and the holders' names for refusals.
    fn publish(&self, look: &mut Look) {
        let dead = Dead {
            alive_nevertheless: std::mem::take(&mut look.alive_nevertheless),
            holders: self.noted.clone(),
            networks: self.called.clone(),
            strangers: look.strangers(),
            proven: self.suspects.proven(self.settings.only_engine),
        };
        if let Ok(mut proofs) = self.shared.proofs.write() {
            *proofs = Arc::new(dead);
        }
    }

    fn finding(&self, look: &Look, one: &Missing, names: &WrittenNames, freed: &[ProofKey]) -> Finding {
        let key = &one.key;
        let seen = self.suspects.seen.get(key);
        let due = |apart: Millis, first: crate::plan::settings::Moment| {
            rfc3339(first.wall.saturating_add(apart).div_ceil(1_000).saturating_mul(1_000))
        };
        let action = match seen {
            _ if freed.contains(key) => ("freed".to_owned(), None),
            None if look.doubt.is_some() => {
                ("only reported: the Engine's lists prove nothing".to_owned(), None)
            }
            None => ("wait: granted less than a minute ago, or at an unknown time".to_owned(), None),
            Some(seen) => match seen.death(self.apart()) {
                None => (format!("wait: checked again after {}", due(self.apart(), seen.first.at())), None),
                Some(death) if self.suspects.counting(death.clone(), self.settings.only_engine).is_none() => {
                    ("only reported: another Engine may own it".to_owned(), Some(ANOTHERS))
                }
                Some(_) => (
                    format!("will be freed after {}", due(self.settings.grace, seen.first.at())),
                    Some(AT_ONCE),
                ),
            },
        };
        let shown = key.1.and_then(|address| names.get(key.0, address)).filter(|(of, _)| *of == key.2);
        suspect(one, shown.map(|(_, shown)| shown.container.as_ref()), seen, action)
    }
}
