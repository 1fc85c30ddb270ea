//! `gipam join`: a person lets this host take part in a plan, with the networks that it has.
//!
//! Promises: nothing is lost: a network whose slice another host owns goes on, and the answer says so; repeating the command claims
//! what is still missing; a dry run changes nothing, here or in the store. A host that was forgotten joins as a new one.

use std::collections::{BTreeSet, VecDeque};

use tokio::sync::oneshot;

use super::{ClaimsTask, Outcome, Wanter, loner, random};
use crate::claims::around::{self, geometry};
use crate::claims::books;
use crate::claims::handle::ClaimCommand;
use crate::claims::known::PlanPlace;
use crate::claims::machine::Machine;
use crate::claims::machine::event::{ClaimEvent, Need};
use crate::claims::machine::listing::PlanListing;
use crate::claims::machine::own_books::ClaimBooks;
use crate::claims::machine::records::PLAN;
use crate::ledger::Altered;
use crate::plan::Plan;
use crate::plan::change::Change;
use crate::plan::prefix::Prefix;
use crate::plan::settings::Millis;
use crate::plan::slices::{Slice, SliceState};

/// How long joining may take until the store has the host.
const LONGEST: Millis = 15_000;
/// The claim of a slice that an earlier membership left in the books.
const BEFORE: &str = "before";

/// What a command is answered: lines for a person, or why nothing was done.
pub(super) type Told = Result<Vec<String>, String>;

/// A join that is under way.
pub(super) struct Joining {
    answer: oneshot::Sender<Told>,
    until: Millis,
    /// The slices around networks that are still to be claimed; `None` until the host is in the plan.
    missing: Option<VecDeque<Prefix>>,
    /// The slice that is being claimed.
    current: Option<Prefix>,
    claimed: Vec<Prefix>,
    refused: Vec<(Prefix, String)>,
}

impl Joining {
    pub(super) const fn until(&self) -> Millis {
        match self.missing {
            None => self.until,
            Some(_) => Millis::MAX,
        }
    }
}

impl ClaimsTask {
    pub(super) async fn command(&mut self, command: ClaimCommand) {
        match command {
            ClaimCommand::Forget { id, answer } => match self.takes_part() {
                Ok(()) => {
                    self.forgetting.push((id.clone(), answer));
                    self.tell_time().await;
                    self.feed(ClaimEvent::Forget { host: id }).await;
                }
                Err(why) => drop(answer.send(Err(why))),
            },
            // Requests do not wait while a person's call has no answer.
            ClaimCommand::Restored { answer } => {
                let (settings, changed) = (self.settings.clone(), self.outcomes.0.clone());
                tokio::spawn(async move {
                    let told = loner::restored(&settings).await;
                    let _ = changed.send(Outcome::Changed);
                    answer.send(told.map(|line| vec![line]))
                });
            }
            ClaimCommand::Join { new, dry_run: true, answer } => {
                let rehearsal = self.rehearse(new);
                tokio::spawn(async move { answer.send(rehearsal.await) });
            }
            ClaimCommand::Join { new, dry_run: false, answer } => match self.begin_joining(new).await {
                Ok(()) => {
                    let until = self.steps.now() + LONGEST;
                    let (claimed, refused) = (Vec::new(), Vec::new());
                    self.joining =
                        Some(Joining { answer, until, missing: None, current: None, claimed, refused });
                }
                Err(why) => drop(answer.send(Err(why))),
            },
        }
    }

    /// Makes the plan if it is to be new, and starts the machine unless this host takes part already.
    async fn begin_joining(&mut self, new: bool) -> Result<(), String> {
        if self.joining.is_some() {
            return Err("this host is joining already; repeat when that is done".to_owned());
        }
        if new {
            loner::create(&self.settings).await?;
        }
        match &self.machine {
            Some(machine) if machine.stopped().is_none() => {
                self.look_now().await;
                return Ok(());
            }
            _ => {}
        }
        // A host that took part before joins as a new one: its old id stays with its old slices.
        let id = random();
        let (row, books) = (ClaimBooks::default().claims_row(&id), ClaimBooks::default());
        let alter = move |plan: &Plan| {
            let changes = set_aside(plan);
            let meta = vec![(books::CLAIMS.to_owned(), row), (books::HOSTS.to_owned(), "{}".to_owned())];
            Ok((Altered { changes, meta, ..Altered::default() }, ()))
        };
        self.ledger.alter(alter).await.map_err(|refusal| refusal.to_string())?;
        self.id = Ok(id.clone());
        self.begin(id, books).await;
        Ok(())
    }

    /// Continues a join; answers when it is done, or when it cannot go on.
    pub(super) async fn go_on_joining(&mut self) {
        let Some(joining) = &self.joining else { return };
        if let Some(why) = self.machine.as_ref().and_then(Machine::stopped).map(str::to_owned) {
            return self.end_joining(Err(why));
        }
        if joining.missing.is_none() {
            if self.machine.as_ref().is_some_and(Machine::agrees) {
                let missing = self.ledger.look(missing).await.unwrap_or_default();
                if let Some(joining) = &mut self.joining {
                    joining.missing = Some(missing.into());
                }
            } else if joining.until <= self.steps.now() {
                return self.give_up_joining();
            } else {
                return;
            }
        }
        let Some(joining) = &mut self.joining else { return };
        if joining.current.is_some() {
            return;
        }
        let Some(next) = joining.missing.as_mut().and_then(VecDeque::pop_front) else {
            return self.joined().await;
        };
        joining.current = Some(next);
        match self.pool_around(next).await {
            Some(pool) => self.ask(Wanter::Join, pool, Need::Around(next)).await,
            None => self.note_joined(Err("no pool in slices contains it any more".to_owned())),
        }
    }

    /// A slice around a network was claimed, or cannot be.
    pub(super) fn note_joined(&mut self, outcome: Result<Prefix, String>) {
        let Some(joining) = &mut self.joining else { return };
        let Some(slice) = joining.current.take() else { return };
        match outcome {
            Ok(_) => joining.claimed.push(slice),
            Err(why) => joining.refused.push((slice, why)),
        }
    }

    /// Everything that could be claimed was: what was not is lost.
    async fn joined(&mut self) {
        let Some(joining) = &self.joining else { return };
        let refused: Vec<Prefix> = joining.refused.iter().map(|(slice, _)| *slice).collect();
        let alter = move |plan: &Plan| {
            let lost = refused.iter().filter_map(|slice| plan.slices().get(*slice).cloned());
            let lost = lost.map(|slice| Change::SlicePut(Slice { state: SliceState::Lost, ..slice }));
            Ok((Altered { changes: lost.collect(), ..Altered::default() }, ()))
        };
        let told = match self.ledger.alter(alter).await {
            Ok(()) => Ok(self.lines()),
            Err(refusal) => Err(refusal.to_string()),
        };
        self.end_joining(told);
    }

    fn lines(&self) -> Vec<String> {
        let (Some(machine), Some(joining)) = (&self.machine, &self.joining) else { return Vec::new() };
        let (host, place) = (&self.source.host, PlanPlace::of(&self.source.keeper));
        let mut lines = vec![format!("host {host} takes part in plan {} in {place}", machine.books().plan)];
        lines.extend(joining.claimed.iter().map(|slice| format!("slice {slice} belongs to this host")));
        lines.extend(joining.refused.iter().map(|(slice, why)| {
            format!("slice {slice} cannot be claimed: {why}; networks in it go on, but get no new ones next to them: recreate them")
        }));
        lines
    }

    fn give_up_joining(&mut self) {
        let is_in = self.machine.as_ref().is_some_and(|machine| !machine.books().plan.is_empty());
        let why =
            self.retries.trouble().unwrap_or_else(|| match self.machine.as_ref().map(Machine::awaited) {
                Some(awaited) if !awaited.is_empty() => {
                    format!(
                        "hosts have not confirmed their slices since the store was restored: {}",
                        awaited.join(", ")
                    )
                }
                _ => "the store has no plan; create it: gipam join --new".to_owned(),
            });
        if !is_in {
            self.machine = None;
        }
        self.end_joining(Err(format!("this host could not join: {why}")));
    }

    fn end_joining(&mut self, told: Told) {
        if let Some(joining) = self.joining.take() {
            let _ = joining.answer.send(told);
        }
    }

    /// What joining would do.
    fn rehearse(&self, new: bool) -> impl Future<Output = Told> + use<> {
        let (settings, ledger) = (self.settings.clone(), self.ledger.clone());
        let (host, place) = (self.source.host.clone(), PlanPlace::of(&self.source.keeper));
        let own = self.machine.as_ref().map(|machine| machine.identity().id.clone()).unwrap_or_default();
        async move {
            let pairs = loner::list(&settings).await?;
            let mut lines = vec![match (pairs.contains_key(PLAN), new) {
                (true, false) => format!("host {host} would take part in the plan in {place}"),
                (false, true) => format!("a plan would be created in {place}"),
                (true, true) => return Err(format!("{place} has a plan already; leave out --new")),
                (false, false) => return Err(format!("{place} has no plan; create it: gipam join --new")),
            }];
            let missing = ledger.look(missing).await.map_err(|refusal| refusal.to_string())?;
            let listing = PlanListing::of(&pairs);
            lines.extend(missing.into_iter().map(|slice| would_claim(slice, &listing, &own)));
            Ok(lines)
        }
    }
}

/// Whether a host with this id would get a slice.
fn would_claim(slice: Prefix, listing: &PlanListing, own: &str) -> String {
    let others = listing.slices.iter().filter(|(known, _)| known.overlaps(slice));
    let other = others.filter_map(|(_, (_, record))| record.as_ref()).find(|record| record.host != own);
    match other {
        Some(record) if !listing.is_fenced(&record.host) => format!(
            "slice {slice} belongs to host {}: networks in it would go on, but get no new ones next to them",
            listing.name(&record.host)
        ),
        _ => format!("slice {slice} would belong to this host"),
    }
}

/// The slices of an earlier membership give nothing before they are claimed again.
fn set_aside(plan: &Plan) -> Vec<Change> {
    let put = |slice: &Slice| {
        Change::SlicePut(Slice { prefix: slice.prefix, state: SliceState::Lost, claim: BEFORE.into() })
    };
    plan.slices().iter().filter(|slice| books::is_claim(&slice.claim)).map(put).collect()
}

/// The slices that this host uses without a claim: those around its networks, and those that a plan file gave it.
fn missing(plan: &Plan) -> Vec<Prefix> {
    let is_claimed = |slice: &Slice| books::is_claim(&slice.claim) && slice.state == SliceState::Held;
    let known = plan.slices().iter().map(|slice| slice.prefix);
    let known = known.filter_map(|slice| Some((geometry(plan.settings(), slice)?, slice)));
    let mut missing: BTreeSet<Prefix> = known.flat_map(|(pool, slice)| pool.slices(slice)).collect();
    missing.extend(around::needed(plan));
    missing.retain(|slice| !plan.slices().get(*slice).is_some_and(is_claimed));
    missing.into_iter().collect()
}
