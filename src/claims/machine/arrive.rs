//! A new epoch, after the store was restored: each host puts its slices back, then says that it has arrived. Who sees that all
//! hosts arrived settles the epoch, and slices are claimed again.
//!
//! Promises: *books win*: what they hold is put back over whatever an older epoch left, before this host arrives. Since nobody
//! claims before all have arrived, nobody can have claimed a slice that another's books hold.

use super::calls::{Compare, Effect, StoreCall};
use super::mutants::Mutant;
use super::own_books::BookEntry;
use super::records::{HostRecord, PLAN, PlanRecord, host_key, written};
use super::stage::{Purpose, Stage};
use super::step::Machine;
use crate::plan::slices::SliceState;

impl Machine {
    /// Does the next thing on the way to the plan's epoch; `false` if this host has arrived.
    pub(super) fn arrive(&mut self) -> bool {
        let epoch = self.epoch();
        let host = self.glimpse.as_ref().and_then(|glimpse| glimpse.host.as_ref());
        let there = host.is_some_and(|(_, host)| host.epoch() == epoch);
        if there && self.books.epoch == epoch {
            return false;
        }
        if self.is(Mutant::EpochBeforeReasserting) && !there {
            return self.arrive_early();
        }
        if self.books.older {
            return self.take_over_from_store();
        }
        self.put_back_hosts() || self.reassert(epoch.number) || self.beat(Some(epoch))
    }

    /// The books are older than the store, and the store was restored: what either of them has is this host's.
    fn take_over_from_store(&mut self) -> bool {
        let Some(listing) = &self.listing else { return false };
        let mut entries = vec![BookEntry::Older(false)];
        let mut seq = self.books.seq;
        for (prefix, value, record) in listing.of_host(&self.me.id) {
            seq = seq.max(record.seq);
            if !self.books.holds(prefix) {
                let claim = value.to_owned();
                entries.push(BookEntry::Slice { prefix, state: SliceState::Held, claim });
            }
        }
        entries.push(BookEntry::Seq(seq));
        self.write(entries, Stage::Written)
    }

    /// Hosts that this one has seen and the store lacks are awaited; hosts that were forgotten are so again.
    fn put_back_hosts(&mut self) -> bool {
        let Some(listing) = &self.listing else { return false };
        let todo = self.books.hosts.iter().find_map(|(id, seen)| match listing.hosts.get(id) {
            None => Some((id, None, HostRecord::missing(&seen.name, seen.fenced))),
            Some((value, Some(host))) if seen.fenced.is_some() && host.fenced.is_none() => {
                Some((id, Some(value.clone()), HostRecord { fenced: seen.fenced, ..host.clone() }))
            }
            _ => None,
        });
        let Some((id, old, record)) = todo else { return false };
        let (key, value) = (host_key(id), written(&record));
        let compares = vec![Compare { key: key.clone(), value: old }, self.plan_as_known()];
        let effect = Effect::Put { key: key.clone(), value: value.clone() };
        self.call(StoreCall::Transact { compares, effect }, Stage::OtherHost { key, value })
    }

    /// Makes the store say what the books say; `false` if it does.
    fn reassert(&mut self, epoch: u64) -> bool {
        let Some(listing) = &self.listing else { return false };
        let unknown = listing.of_host(&self.me.id).find(|(prefix, ..)| !self.books.holds(*prefix));
        if let Some((prefix, value, record)) = unknown {
            let value = value.to_owned();
            if self.is(Mutant::AdoptInNewEpoch) {
                let seq = BookEntry::Seq(self.books.seq.max(record.seq));
                let held = BookEntry::Slice { prefix, state: SliceState::Held, claim: value };
                return self.write(vec![seq, held], Stage::Written);
            }
            return self.delete(prefix, Some(value));
        }
        let mut wrong = None;
        for prefix in self.books.with(SliceState::Held) {
            let Some((value, record)) = listing.slices.get(&prefix) else {
                wrong = Some((prefix, None, false));
                break;
            };
            let record = record.as_ref();
            let here = record.is_some_and(|it| it.epoch >= epoch && !self.is_forgotten(&it.host));
            let mine = record.is_some_and(|it| it.host == self.me.id);
            if !(here && mine) {
                wrong = Some((prefix, Some(value.clone()), here || record.is_none()));
                break;
            }
        }
        match wrong {
            Some((prefix, value, true)) => {
                let owner = self.owner(prefix).map_or("another host", |id| listing.name(id)).to_owned();
                self.note(format!(
                    "slice {prefix} of this host belongs to {owner} since the store was restored: it is lost"
                ));
                let claim = value.unwrap_or_default();
                self.write(vec![BookEntry::Slice { prefix, state: SliceState::Lost, claim }], Stage::Written)
            }
            Some((prefix, value, false)) => self.begin_put(prefix, value, Purpose::Reassert),
            None => false,
        }
    }

    /// Whether a person forgot this host, as far as the store or the books know.
    pub(super) fn is_forgotten(&self, id: &str) -> bool {
        self.books.hosts.get(id).is_some_and(|seen| seen.fenced.is_some())
            || self.listing.as_ref().is_some_and(|listing| listing.is_fenced(id))
    }

    /// The names of the hosts that have not arrived at the plan's epoch.
    pub(super) fn absent_hosts(&self) -> Vec<String> {
        let epoch = self.epoch();
        let Some(listing) = &self.listing else { return Vec::new() };
        let absent = listing.hosts.iter().filter(|(_, (_, host))| {
            host.as_ref().is_none_or(|host| host.fenced.is_none() && host.epoch() != epoch)
        });
        absent.map(|(id, _)| listing.name(id).to_owned()).collect()
    }

    fn plan(&self) -> Option<&PlanRecord> {
        self.glimpse.as_ref()?.plan.as_ref().map(|(_, plan)| plan)
    }

    /// Whether slices may be claimed: all hosts have arrived.
    pub(super) fn may_claim(&self) -> bool {
        self.plan().is_some_and(PlanRecord::is_settled) || self.is(Mutant::NoBarrier)
    }

    /// Settles the epoch if all hosts have arrived.
    pub(super) fn settle(&mut self) -> bool {
        let Some(plan) = self.plan().filter(|plan| !plan.is_settled()) else { return false };
        if !self.absent_hosts().is_empty() {
            return false;
        }
        let value = written(&PlanRecord { settled: plan.epoch, ..plan.clone() });
        let effect = Effect::Put { key: PLAN.to_owned(), value: value.clone() };
        let compares = vec![self.plan_as_known()];
        self.call(StoreCall::Transact { compares, effect }, Stage::Plan { value })
    }
}
