//! Claiming a slice, and answering those who want one.
//!
//! Promises: a claim is counted in the books before it leaves, decided by one transaction with three conditions (the slice as
//! read, the plan, this host's own record), and used only when the books have the slice.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::prefix::Prefix;
use crate::plan::slices::SliceState;

use super::calls::{Compare, Effect, StoreCall};
use super::candidate::candidate;
use super::event::{ClaimAction, Geometry, Need};
use super::mutants::Mutant;
use super::own_books::BookEntry;
use super::records::{SliceRecord, base_of, pool_key, slice_key, written};
use super::stage::{Purpose, Stage};
use super::step::Machine;

/// What can be done for a want.
enum Way {
    Claim(Prefix),
    Owned(Prefix),
    Cannot(String),
    /// Another host has a slice that the books do not know, by this value in the store.
    Contested {
        slice: Prefix,
        claim: String,
        text: String,
    },
}

impl Machine {
    /// Does the next thing for the oldest want; `false` if there is none, or it has to wait.
    pub(super) fn claim(&mut self) -> bool {
        if self.wants.is_empty() || !self.may_claim() {
            return false;
        }
        let (want, pool, need) = (self.wants[0].want, self.wants[0].pool, self.wants[0].need);
        if let Some(begun) = self.same_geometry(want, &pool) {
            return begun;
        }
        match self.way(&pool, need) {
            Way::Claim(prefix) => self.begin_put(prefix, self.value(prefix), Purpose::Claim),
            Way::Owned(slice) => self.answer(ClaimAction::Owned { want, slice }),
            Way::Cannot(text) => self.answer(ClaimAction::Cannot { want, text }),
            Way::Contested { slice: prefix, claim, text } => {
                self.note(format!("networks of this host are in a slice of another one: {text}"));
                self.answer(ClaimAction::Cannot { want, text });
                self.write(vec![BookEntry::Slice { prefix, state: SliceState::Lost, claim }], Stage::Written)
            }
        }
    }

    fn answer(&mut self, answer: ClaimAction) -> bool {
        self.wants.remove(0);
        self.out.push(answer);
        true
    }

    /// Makes sure that the store has the pool as it is cut here; `None` if it has.
    fn same_geometry(&mut self, want: u64, pool: &Geometry) -> Option<bool> {
        let key = pool_key(pool.base);
        let (base, own) = (pool.base, pool.record());
        match self.listing.as_ref()?.pools.get(&key) {
            Some((_, Some(record))) if *record == own => None,
            Some((value, _)) => {
                let own = written(&own);
                let text = format!(
                    "pool {base} is cut differently here ({own}) and in the plan ({value}); make the settings of this host \
                     equal, then gipam reload"
                );
                Some(self.answer(ClaimAction::Cannot { want, text }))
            }
            None => {
                if let Some(other) = self.other_pool(base) {
                    let text = format!(
                        "pool {base} overlaps {other}, which the plan divides; make the settings of this host equal, then gipam \
                         reload"
                    );
                    return Some(self.answer(ClaimAction::Cannot { want, text }));
                }
                let effect = Effect::Put { key: key.clone(), value: written(&own) };
                let compares = vec![Compare { key, value: None }, self.plan_as_known(), self.host_as_known()];
                Some(self.call(StoreCall::Transact { compares, effect }, Stage::Pool))
            }
        }
    }

    /// Another pool of the plan that overlaps this one: slices of two pools could overlap without having one key.
    fn other_pool(&self, base: Prefix) -> Option<Prefix> {
        let mut known = self.listing.as_ref()?.pools.keys().filter_map(|key| base_of(key));
        known.find(|known| *known != base && known.overlaps(base))
    }

    fn way(&self, pool: &Geometry, need: Need) -> Way {
        match need {
            Need::Room { part } => self.room(pool, part),
            Need::These(prefix) => {
                let slices = pool.slices(prefix);
                let Some(slice) = slices.iter().find(|slice| !self.books.holds(**slice)) else {
                    return Way::Owned(slices[0]);
                };
                self.not_to_be_had(*slice).map_or(Way::Claim(*slice), Way::Cannot)
            }
            Need::Around(slice) if self.books.holds(slice) => Way::Owned(slice),
            Need::Around(slice) => match (self.not_to_be_had(slice), self.value(slice)) {
                (None, _) => Way::Claim(slice),
                (Some(text), Some(claim)) if self.books.state(slice).is_none() => {
                    Way::Contested { slice, claim, text }
                }
                (Some(text), _) => Way::Cannot(text),
            },
        }
    }

    /// Why this slice cannot be claimed.
    fn not_to_be_had(&self, slice: Prefix) -> Option<String> {
        if self.books.state(slice) == Some(SliceState::Leaving) {
            return Some(format!("slice {slice} is being given back; repeat in a minute"));
        }
        // A lost slice that nobody has any more becomes this host's again.
        let (value, record) = self.listing.as_ref()?.slices.get(&slice)?;
        let Some(record) = record else {
            return Some(format!("slice {slice} has a record that this gipam does not understand: {value}"));
        };
        (!self.is_takeable(&record.host)).then(|| {
            let owner = self.name(&record.host);
            format!("slice {slice} belongs to host {owner}; use a prefix of this host, see gipam slices")
        })
    }

    /// Whether the slices of this host may be taken.
    fn is_takeable(&self, id: &str) -> bool {
        self.listing.as_ref().is_some_and(|listing| listing.is_fenced(id)) || self.is_silent(id)
    }

    fn name(&self, id: &str) -> String {
        self.listing.as_ref().map_or_else(|| id.to_owned(), |listing| listing.name(id).to_owned())
    }

    /// A free slice in this part of the pool, or one of a host that was forgotten.
    fn room(&self, pool: &Geometry, part: Prefix) -> Way {
        let Some(listing) = &self.listing else { return Way::Cannot(String::new()) };
        let mut taken: BTreeSet<Prefix> = self.books.slices.keys().copied().collect();
        taken.extend(pool.by_number);
        let inside: Vec<_> = listing.slices.range(part.within()).collect();
        let by_others = |(prefix, (_, record)): &&(&Prefix, &(String, Option<SliceRecord>))| {
            !record.as_ref().is_some_and(|it| self.is_takeable(&it.host)) || taken.contains(*prefix)
        };
        let held: BTreeSet<Prefix> = inside.iter().filter(by_others).map(|(prefix, _)| **prefix).collect();
        taken.extend(held.iter().copied());
        let all: BTreeSet<Prefix> =
            taken.iter().copied().chain(inside.iter().map(|(prefix, _)| **prefix)).collect();
        let found = candidate(part, pool.slice, &all, &self.me.id)
            .or_else(|| candidate(part, pool.slice, &taken, &self.me.id));
        found.map_or_else(|| Way::Cannot(self.full(pool, part)), Way::Claim)
    }

    fn full(&self, pool: &Geometry, part: Prefix) -> String {
        let mut owners: BTreeMap<String, u64> = BTreeMap::new();
        if let Some(listing) = &self.listing {
            for (_, (_, record)) in listing.slices.range(part.within()) {
                let owner = record.as_ref().map_or_else(|| "unknown".to_owned(), |it| self.name(&it.host));
                *owners.entry(owner).or_default() += 1;
            }
        }
        let owners: Vec<_> = owners.into_iter().map(|(name, slices)| format!("{name} {slices}")).collect();
        let (base, length) = (pool.base, pool.slice);
        let inside = if part == base { String::new() } else { format!(" in {part}") };
        format!(
            "pool {base} has no free slice{inside} (/{length}; taken: {}); give back unused ones or add a pool, see gipam slices",
            owners.join(", ")
        )
    }

    /// Counts a claim in the books, then puts the slice if it still has the old value.
    pub(super) fn begin_put(&mut self, prefix: Prefix, old: Option<String>, purpose: Purpose) -> bool {
        let seq = self.books.seq.saturating_add(1);
        let mut entries = vec![BookEntry::Seq(seq)];
        if self.is(Mutant::BooksBeforeStore) && purpose == Purpose::Claim {
            let claim = self.record_of(seq);
            entries.push(BookEntry::Slice { prefix, state: SliceState::Held, claim });
        }
        self.write(entries, Stage::SeqCounted { prefix, old, purpose })
    }

    /// The value with which this host claims a slice.
    fn record_of(&self, seq: u64) -> String {
        written(&SliceRecord {
            host: self.me.id.clone(),
            seq,
            epoch: self.epoch().number,
            run: self.run.clone(),
        })
    }

    pub(super) fn put_now(&mut self, prefix: Prefix, old: Option<String>, purpose: Purpose) -> bool {
        let key = slice_key(prefix);
        let value = self.record_of(self.books.seq);
        let mut compares = Vec::new();
        if !(self.is(Mutant::BlindPut) && purpose == Purpose::Claim) {
            compares.push(Compare { key: key.clone(), value: old });
        }
        if !self.is(Mutant::ClaimWithoutPlan) {
            compares.push(self.plan_as_known());
        }
        if !self.is(Mutant::ClaimWithoutHost) {
            compares.push(self.host_as_known());
        }
        let effect = Effect::Put { key, value: value.clone() };
        self.call(StoreCall::Transact { compares, effect }, Stage::Slice { prefix, value, purpose })
    }

    /// The books have the slice: every want of room in a part of the pool that contains it is met. A want that came after this
    /// write began may be one that the books made with the slice in them, because the slice was not enough.
    pub(super) fn satisfied(&mut self, prefix: Prefix, purpose: Purpose, write: u64) {
        if purpose == Purpose::Reassert {
            return;
        }
        let (met, wants): (Vec<_>, Vec<_>) = std::mem::take(&mut self.wants).into_iter().partition(|it| {
            let inside = matches!(it.need, Need::Room { part } if part.contains(prefix));
            inside && it.pool.is_sliced(prefix) && it.after < write
        });
        self.wants = wants;
        self.out.extend(met.into_iter().map(|it| ClaimAction::Owned { want: it.want, slice: prefix }));
    }
}

impl Geometry {
    /// Whether this prefix is one of the pool's slices, and not a single address.
    fn is_sliced(&self, prefix: Prefix) -> bool {
        self.by_number.is_none_or(|part| !part.contains(prefix))
    }

    /// The keys that this prefix needs: single addresses in the part that is claimed by number, otherwise slices.
    pub fn slices(&self, prefix: Prefix) -> Vec<Prefix> {
        let alone = self.by_number.is_some_and(|part| part.contains(prefix));
        let length = if alone { prefix.family().bits() } else { self.slice };
        let mut slice = Prefix::new(prefix.family(), prefix.first(), length);
        let mut slices = vec![slice];
        while slice.last() < prefix.last() {
            slice = Prefix::new(prefix.family(), slice.last() + 1, length);
            slices.push(slice);
        }
        slices
    }
}
