//! `gipam join`: a person lets this host take part in a plan, with the networks that it has.
//!
//! Promises: nothing is lost: a network whose slice another host owns goes on, and the answer says so; repeating the command claims
//! what is still missing; a dry run changes nothing, here or in the store. A host that was forgotten joins as a new one.

use std::collections::{BTreeSet, VecDeque};

use tokio::sync::oneshot;

use super::{ClaimsTask, Wanter, geometry, loner, random};
use crate::claims::books;
use crate::claims::handle::ClaimCommand;
use crate::claims::known::PlanPlace;
use crate::claims::machine::Machine;
use crate::claims::machine::event::Need;
use crate::claims::machine::listing::PlanListing;
use crate::claims::machine::own_books::ClaimBooks;
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
                    self.feed(crate::claims::machine::event::ClaimEvent::Forget { host: id }).await;
                }
                Err(why) => drop(answer.send(Err(why))),
            },
            ClaimCommand::Restored { answer } => drop(answer.send(self.restored().await)),
            ClaimCommand::Join { new, dry_run: true, answer } => drop(answer.send(self.rehearse(new).await)),
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

    async fn restored(&mut self) -> Told {
        let line = loner::restored(&self.settings).await?;
        self.look_now().await;
        Ok(vec![line])
    }

    /// Makes the plan if it is to be new, and starts the machine unless this host takes part already.
    async fn begin_joining(&mut self, new: bool) -> Result<(), String> {
        let (_, kept) = self.kept.clone()?;
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
        // Unless this host never took part, it joins as a new one: its old id stays with its old slices.
        let is_again = !kept.plan.is_empty();
        let id = random();
        let (row, books) = (ClaimBooks::default().claims_row(&id), ClaimBooks::default());
        let alter = move |plan: &Plan| {
            let changes = if is_again { set_aside(plan) } else { Vec::new() };
            let meta = vec![(books::CLAIMS.to_owned(), row), (books::HOSTS.to_owned(), "{}".to_owned())];
            Ok((Altered { changes, meta, ..Altered::default() }, ()))
        };
        self.ledger.alter(alter).await.map_err(|refusal| refusal.to_string())?;
        self.kept = Ok((id.clone(), books.clone()));
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
            Some(pool) => self.ask(Wanter::Join, pool, Need::These(next)).await,
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
    async fn rehearse(&self, new: bool) -> Told {
        self.kept.clone()?;
        let pairs = loner::list(&self.settings).await?;
        let listing = PlanListing::of(&pairs);
        let place = PlanPlace::of(&self.source.keeper);
        let has_plan = pairs.contains_key(crate::claims::machine::records::PLAN);
        let mut lines = vec![match (has_plan, new) {
            (true, false) => format!("host {} would take part in the plan in {place}", self.source.host),
            (false, true) => format!("a plan would be created in {place}"),
            (true, true) => return Err(format!("{place} has a plan already; leave out --new")),
            (false, false) => return Err(format!("{place} has no plan; create it: gipam join --new")),
        }];
        let own = self.machine.as_ref().map(|machine| machine.identity().id.clone()).unwrap_or_default();
        let missing = self.ledger.look(missing).await.map_err(|refusal| refusal.to_string())?;
        for slice in missing {
            let others = listing.slices.iter().filter(|(known, _)| known.overlaps(slice));
            let other =
                others.filter_map(|(_, (_, record))| record.as_ref()).find(|record| record.host != own);
            lines.push(match other {
                Some(record) if !listing.is_fenced(&record.host) => format!(
                    "slice {slice} belongs to host {}: networks in it would go on, but get no new ones next to them",
                    listing.name(&record.host)
                ),
                _ => format!("slice {slice} would belong to this host"),
            });
        }
        Ok(lines)
    }
}

/// The slices of an earlier membership give nothing before they are claimed again.
fn set_aside(plan: &Plan) -> Vec<Change> {
    let put = |slice: &Slice| {
        Change::SlicePut(Slice { prefix: slice.prefix, state: SliceState::Lost, claim: BEFORE.into() })
    };
    plan.slices().iter().map(put).collect()
}

/// The slices that this host uses without a claim: those around its networks, and those that a plan file gave it.
fn missing(plan: &Plan) -> Vec<Prefix> {
    let is_claimed = |slice: &Slice| books::is_claim(&slice.claim) && slice.state == SliceState::Held;
    let mut missing = BTreeSet::new();
    let mut add = |prefix: Prefix| {
        let Some(pool) = geometry(plan.settings(), prefix) else { return };
        let open = |slice: &Prefix| !plan.slices().get(*slice).is_some_and(is_claimed);
        missing.extend(pool.slices(prefix).into_iter().filter(open));
    };
    plan.slices().iter().for_each(|slice| add(slice.prefix));
    for subnet in plan.subnets().filter(|subnet| subnet.is_held_locally()) {
        let prefix = subnet.state.prefix;
        match geometry(plan.settings(), prefix) {
            Some(pool) if pool.shared => {
                let gateway = subnet.gateway_lease().map(|(address, _)| address);
                let leases = subnet.addresses.leases().map(|(address, _)| address);
                let leases = leases.filter(|address| Some(*address) != gateway);
                leases.for_each(|address| add(Prefix::host(prefix.address(address))));
            }
            Some(_) => add(prefix),
            None => {}
        }
    }
    missing.into_iter().collect()
}
