//! Books and store compared: what each has and the other lacks, within one epoch.
//!
//! Promises: changes books or store only by a transaction that compares what was read, or by a row of the books.

use crate::plan::prefix::Prefix;
use crate::plan::slices::SliceState;

use super::calls::{Compare, Effect, StoreCall};
use super::listing::PlanListing;
use super::mutants::Mutant;
use super::own_books::{BookEntry, ClaimBooks, SeenHost};
use super::records::{PLAN, slice_key, written};
use super::stage::{Purpose, Stage};
use super::step::Machine;

impl ClaimBooks {
    /// The entry after which a slice is lost, or gone if nothing was granted in it any more.
    pub(super) fn lost(&self, prefix: Prefix) -> BookEntry {
        match self.slices.get(&prefix) {
            Some((SliceState::Leaving, _)) | None => BookEntry::SliceGone { prefix },
            Some((_, claim)) => BookEntry::Slice { prefix, state: SliceState::Lost, claim: claim.clone() },
        }
    }
}

impl Machine {
    /// Remembers the other hosts: after a restore, those that the store lacks are awaited, and those that were forgotten stay so.
    pub(super) fn note_hosts(&mut self) -> bool {
        let entries = self.listing.as_ref().map(|listing| self.news_of_hosts(listing)).unwrap_or_default();
        !entries.is_empty() && self.write(entries, Stage::Written)
    }

    /// Whether the books lack something of what this says about other hosts.
    pub fn has_news_of_hosts(&self, listing: &PlanListing) -> bool {
        !self.news_of_hosts(listing).is_empty()
    }

    fn news_of_hosts(&self, listing: &PlanListing) -> Vec<BookEntry> {
        let mut entries = Vec::new();
        for (id, (_, host)) in &listing.hosts {
            let Some(host) = host.as_ref().filter(|_| *id != self.me.id) else { continue };
            let known = self.books.hosts.get(id);
            // Forgotten once is forgotten for good, whatever a restored store says.
            let fenced = known.and_then(|known| known.fenced).or(host.fenced);
            let seen = SeenHost { name: host.name.clone(), fenced };
            if known != Some(&seen) {
                entries.push(BookEntry::Host { id: id.clone(), host: seen });
            }
        }
        entries
    }

    /// Does the next thing that makes books and store agree; `false` if they do.
    pub(super) fn agree(&mut self) -> bool {
        let Some(listing) = &self.listing else { return false };
        let settled = self.may_claim();
        let of_me: Vec<_> =
            listing.of_host(&self.me.id).map(|(p, v, r)| (p, v.to_owned(), r.clone())).collect();
        for (prefix, value, record) in of_me {
            if record.seq > self.books.seq {
                // A claim that these books never counted: they are older than the store.
                let older = !self.is(Mutant::OldBooksWin);
                self.note(format!(
                    "the store has a claim of {prefix} that these books do not know; they are older"
                ));
                return self.write(vec![BookEntry::Seq(record.seq), BookEntry::Older(older)], Stage::Written);
            }
            match self.books.slices.get(&prefix) {
                None if record.epoch < self.books.epoch.number => return self.delete(prefix, Some(value)),
                None if settled => return self.begin_put(prefix, Some(value), Purpose::Adopt),
                // Older books may say *leaving* of a slice that was given back and claimed again since.
                Some((state, claim))
                    if (*state == SliceState::Held || self.books.older) && *claim != value =>
                {
                    let entry = BookEntry::Slice { prefix, state: SliceState::Held, claim: value };
                    return self.write(vec![entry], Stage::Written);
                }
                _ => {}
            }
        }
        let missing: Vec<Prefix> =
            self.books.with(SliceState::Held).filter(|held| !self.is_mine(*held)).collect();
        if self.books.older {
            // Slices that are still to be adopted keep the books older.
            let unknown = self.listing.as_ref().is_some_and(|listing| {
                listing.of_host(&self.me.id).any(|(prefix, ..)| self.books.state(prefix).is_none())
            });
            if unknown && !settled {
                return false;
            }
            let mut entries: Vec<_> = missing.iter().map(|prefix| self.books.lost(*prefix)).collect();
            entries.push(BookEntry::Older(false));
            return self.write(entries, Stage::Written);
        }
        match missing.first() {
            Some(prefix) if !self.is(Mutant::NoLookForRestored) => self.begin_epoch(Some(*prefix)),
            _ => false,
        }
    }

    /// Whether the store has this slice as this host's.
    pub(super) fn is_mine(&self, prefix: Prefix) -> bool {
        self.owner(prefix).is_some_and(|owner| owner == self.me.id)
    }

    /// The id of the host that has the slice in the store.
    pub(super) fn owner(&self, prefix: Prefix) -> Option<&str> {
        let (_, record) = self.listing.as_ref()?.slices.get(&prefix)?;
        record.as_ref().map(|record| record.host.as_str())
    }

    /// What the store has for this slice.
    pub(super) fn value(&self, prefix: Prefix) -> Option<String> {
        self.listing.as_ref()?.slices.get(&prefix).map(|(value, _)| value.clone())
    }

    /// The store is older than the books: a new epoch begins, and each host has to confirm its slices. What shows it is compared:
    /// the plan, this host's record, and a slice that the store lacks.
    pub(super) fn begin_epoch(&mut self, missing: Option<Prefix>) -> bool {
        let plan = self.glimpse.as_ref().and_then(|glimpse| glimpse.plan.as_ref());
        let Some((_, plan)) = plan else { return false };
        self.marks += 1;
        let mark = format!("{}.{}", self.run, self.marks);
        let value = written(&plan.restored(self.books.epoch.number, &mark));
        let mut compares = vec![self.plan_as_known(), self.host_as_known()];
        if let Some(prefix) = missing {
            compares.push(Compare { key: slice_key(prefix), value: self.value(prefix) });
        }
        self.note(
            "the plan's store is older than these books: it was restored; all hosts confirm their slices"
                .to_owned(),
        );
        let effect = Effect::Put { key: PLAN.to_owned(), value: value.clone() };
        self.call(StoreCall::Transact { compares, effect }, Stage::Plan { value })
    }
}
