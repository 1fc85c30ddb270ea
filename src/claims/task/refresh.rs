//! What views and routes see of the plan: this host's reading of the store, read again while this host has nothing to claim.
//!
//! Promises: only for people and for routes; the machine decides by its own reading. Reads at most as often as a plan of that size
//! allows ([`pause`]), and only while the store answers.

use super::ClaimsTask;
use crate::claims::known::{HostsPlan, PlanPlace, StoreHealth};
use crate::claims::machine::Machine;
use crate::claims::machine::calls::{StoreCall, StoreReply};
use crate::claims::machine::listing::PlanListing;
use crate::claims::machine::own_books::ClaimBooks;
use crate::clock;
use crate::ledger::Altered;
use crate::plan::Plan;
use crate::plan::settings::{Millis, Settings};

/// The number of the call, which the machine never gives to one of its own.
pub(super) const CALL: u64 = u64::MAX;
/// The shortest and the longest time between two readings.
const SHORTEST: Millis = 10_000;
const LONGEST: Millis = 600_000;
/// As many hosts as a plan of this many records has may read all of them in a second.
const RECORDS: u64 = 160;

/// The newest reading, and when the next one comes.
#[derive(Debug, Default)]
pub(super) struct Refresh {
    due: Millis,
    is_under_way: bool,
    /// The reading, and how many the machine had made before it.
    fresh: Option<(PlanListing, u64)>,
}

/// The time to the next reading. All hosts read all records, so the load of the store grows with the square of their number.
fn pause(records: usize) -> Millis {
    let records = records as u64;
    (records.saturating_mul(records) / RECORDS).clamp(SHORTEST, LONGEST)
}

impl Refresh {
    pub(super) const fn due(&self) -> Millis {
        if self.is_under_way { Millis::MAX } else { self.due }
    }

    /// The reading, unless the machine has made a later one.
    pub(super) fn newer(&self, readings: u64) -> Option<&PlanListing> {
        self.fresh.as_ref().filter(|(_, before)| *before == readings).map(|(listing, _)| listing)
    }
}

impl ClaimsTask {
    /// Until the store has answered, views see what the books know of it.
    pub(super) async fn show_books(&self, id: &str, books: &ClaimBooks) {
        let (source, id, books) = (self.source.clone(), id.to_owned(), books.clone());
        let known = move |plan: &Plan| HostsPlan::from_books(&source, &id, &books, plan);
        if let Ok(known) = self.ledger.look(known).await {
            self.known.set(Some(known));
        }
    }

    /// Lets views see what the machine knows, if anything is new.
    pub(super) async fn publish(&mut self) {
        let health = self.health();
        let news = (self.replies, health);
        if self.published.as_ref() == Some(&news) {
            return;
        }
        let health = news.1.clone();
        self.published = Some(news);
        let Some((listing, glimpse, own)) = self.machine.as_ref().and_then(|machine| {
            let (listing, glimpse) = machine.reading()?;
            let listing = self.refresh.newer(machine.readings()).unwrap_or(listing);
            Some((listing, glimpse, machine.identity()))
        }) else {
            return self.known.note_health(health);
        };
        let Ok(settings) = self.ledger.look(|plan| plan.settings().clone()).await else { return };
        self.signs.note(listing, clock::now());
        let place = PlanPlace::of(&self.source.keeper);
        let mut plan = HostsPlan::from_store(own, place, (listing, glimpse), &self.signs, &settings);
        plan.store = Some(health);
        self.refuse_undivided(&plan, &settings).await;
        if self.known.get().as_deref() != Some(&plan) {
            self.known.set(Some(plan));
        }
    }

    /// A pool that the plan divides, and that the configuration of this host has without slices, gives nothing more: other hosts own
    /// parts of it. Its networks go on.
    async fn refuse_undivided(&self, plan: &HostsPlan, settings: &Settings) {
        if plan.refusing(settings).is_none() {
            return;
        }
        for why in plan.refused.values() {
            tracing::error!("the plan of all hosts: {why}");
        }
        let plan = plan.clone();
        let refuse = move |now: &Plan| {
            Ok((Altered { settings: plan.refusing(now.settings()), ..Altered::default() }, ()))
        };
        if let Err(refusal) = self.ledger.alter(refuse).await {
            tracing::warn!("the plan of all hosts: {refusal}");
        }
    }

    fn health(&self) -> StoreHealth {
        let machine = self.machine.as_ref();
        StoreHealth {
            joined: machine.is_some(),
            answered: self.answered,
            trouble: self.retries.trouble(),
            stale_since: self.trouble_since,
            awaited: machine.map(Machine::awaited).unwrap_or_default(),
            stopped: machine.and_then(Machine::stopped).map(str::to_owned),
        }
    }

    /// When all records are read again; `None` while the store does not answer the machine.
    pub(super) fn refresh_at(&self) -> Option<Millis> {
        let machine = self.machine.as_ref()?;
        (machine.reading().is_some() && !machine.retries()).then(|| self.refresh.due())
    }

    /// Reads all records, if that is due.
    pub(super) fn refresh(&mut self, now: Millis) {
        if self.refresh_at().is_some_and(|due| due <= now) {
            self.refresh.due = now.saturating_add(SHORTEST);
            self.refresh.is_under_way = self.calls.send((CALL, StoreCall::List)).is_ok();
        }
    }

    /// Takes the answer of such a reading.
    pub(super) fn refreshed(&mut self, reply: StoreReply) {
        let (StoreReply::Pairs(pairs), Some(machine)) = (reply, &mut self.machine) else {
            return self.not_refreshed();
        };
        let listing = PlanListing::of(&pairs);
        if machine.has_news_of_hosts(&listing) {
            machine.list_soon();
        }
        self.refresh.fresh = Some((listing, machine.readings()));
        self.replies += 1;
        self.refresh_after(pause(pairs.len()));
    }

    pub(super) fn not_refreshed(&mut self) {
        self.refresh_after(SHORTEST);
    }

    fn refresh_after(&mut self, pause: Millis) {
        self.refresh.is_under_way = false;
        self.refresh.due = self.steps.now().saturating_add(pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_plan_is_read_every_ten_seconds_and_a_large_one_less_often() {
        assert_eq!([0, 10, 1_000, 8_000, 100_000].map(pause), [10_000, 10_000, 10_000, 400_000, 600_000]);
    }

    #[test]
    fn a_later_reading_of_the_machine_replaces_it() {
        let refresh = Refresh { fresh: Some((PlanListing::default(), 3)), ..Refresh::default() };
        assert!(refresh.newer(3).is_some() && refresh.newer(4).is_none());
    }
}
