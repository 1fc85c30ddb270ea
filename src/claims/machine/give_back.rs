//! Giving slices back, and forgetting hosts that are gone for good.
//!
//! Promises: the books say that a slice is leaving, and a beat is acknowledged, before it is deleted in the store; the books
//! forget it afterwards. A deletion compares the value that was read, and this host's own record.

use crate::plan::prefix::Prefix;
use crate::plan::slices::SliceState;

use super::calls::{Compare, Effect, StoreCall};
use super::event::ClaimAction;
use super::mutants::Mutant;
use super::own_books::BookEntry;
use super::records::{HostRecord, host_key, slice_key, written};
use super::stage::Stage;
use super::step::Machine;

impl Machine {
    /// Does the next thing for a slice that is given back; `false` if there is none.
    pub(super) fn give_back(&mut self) -> bool {
        let leaving = self.books.with(SliceState::Leaving).next();
        if let Some(prefix) = leaving {
            if !self.cleared.contains(&prefix) && !self.is(Mutant::NoBeatBeforeGivingBack) {
                return self.beat(None);
            }
            if self.is_mine(prefix) {
                return self.delete(prefix, self.value(prefix));
            }
            return self.write(vec![BookEntry::SliceGone { prefix }], Stage::Leaving { prefix });
        }
        let Some(prefix) = self.giving.first().copied() else { return false };
        match self.books.slices.get(&prefix) {
            Some((SliceState::Held, _)) if self.is(Mutant::DeleteBeforeLeaving) && self.is_mine(prefix) => {
                self.delete(prefix, self.value(prefix))
            }
            Some((SliceState::Held, claim)) => {
                let entry = BookEntry::Slice { prefix, state: SliceState::Leaving, claim: claim.clone() };
                self.write(vec![entry], Stage::Leaving { prefix })
            }
            Some((SliceState::Lost, _)) => {
                self.write(vec![BookEntry::SliceGone { prefix }], Stage::Leaving { prefix })
            }
            Some((SliceState::Leaving, _)) | None => self.giving.remove(&prefix),
        }
    }

    /// A mutant deletes a slice that its books hold.
    pub(super) fn gives_unasked(&self, prefix: Prefix) -> bool {
        self.is(Mutant::DeleteBeforeLeaving) && self.giving.contains(&prefix)
    }

    /// Deletes this host's slice in the store.
    pub(super) fn delete(&mut self, prefix: Prefix, value: Option<String>) -> bool {
        let key = slice_key(prefix);
        let compares = if self.is(Mutant::DeleteWithoutCompare) {
            Vec::new()
        } else {
            vec![Compare { key: key.clone(), value }, self.host_as_known()]
        };
        self.call(StoreCall::Transact { compares, effect: Effect::Delete { key } }, Stage::Delete { prefix })
    }

    /// Does the next thing for a host that a person forgets; `false` if there is none.
    pub(super) fn forget(&mut self) -> bool {
        let Some((id, until)) = self.forgetting.pop() else { return false };
        let Some(listing) = &self.listing else { return false };
        let refusal = match listing.hosts.get(&id) {
            _ if id == self.me.id => {
                Err("this is the host that you are on; forget it from another one".to_owned())
            }
            None => Err(format!("the plan has no host {id}; see gipam hosts")),
            Some((_, None)) => {
                Err(format!("the record of host {id} was written by a newer gipam; upgrade this one"))
            }
            Some((_, Some(host))) if host.fenced.is_some() => Ok(None),
            Some((value, Some(host))) => Ok(Some((value.clone(), host.clone()))),
        };
        match refusal {
            Ok(Some((old, host))) => {
                let key = host_key(&id);
                let value = written(&HostRecord { fenced: Some(self.now), ..host });
                let compares = vec![Compare { key: key.clone(), value: Some(old) }];
                let effect = Effect::Put { key, value: value.clone() };
                self.call(StoreCall::Transact { compares, effect }, Stage::Fence { host: id, value, until })
            }
            Ok(None) => {
                self.out.push(ClaimAction::Forgotten { host: id, result: Ok(()) });
                true
            }
            Err(text) => {
                self.out.push(ClaimAction::Forgotten { host: id, result: Err(text) });
                true
            }
        }
    }
}
