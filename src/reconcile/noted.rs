//! What a check learns without freeing or adopting anything: names, and addresses that two containers have.
//!
//! Promises: each fact is sent to the ledger once while it lasts, and not at every check. Compares nothing itself.

use std::collections::BTreeSet;

use super::compare::{Doubled, Look};
use super::findings::BooksNow;
use super::run::{Noted, Reconciler};
use crate::plan::error::ErrorKind;
use crate::plan::request::{Fence, Repair, Request};
use crate::store::names::Networks;

impl Reconciler {
    /// Records the Engine's names for the holders and their networks if they are not in the books yet.
    pub(super) async fn note(&mut self, holders: Noted, networks: Networks, books: &BooksNow) {
        for (serial, named) in &networks {
            if books.networks.get(serial) != Some(named) {
                let (generation, network) = named.clone();
                self.ask(Repair::NameNetwork { serial: *serial, generation, network }).await;
            }
        }
        for ((serial, address), named) in &holders {
            // The books may have been read before the names of the last check were written.
            let noted = self.noted.get(&(*serial, *address)) == Some(named);
            if !noted && books.name_of(*serial, *address) != Some(named) {
                let (generation, shown) = named.clone();
                self.ask(Repair::Name { serial: *serial, address: *address, generation, shown }).await;
            }
        }
        (self.noted, self.called) = (holders, networks);
    }

    /// Records once that an address is at two endpoints, while that lasts. Leaves only the certain ones in `look`.
    pub(super) async fn report(&mut self, look: &mut Look, read: Fence) {
        let mut reported = BTreeSet::new();
        let mut passing = false;
        for one in std::mem::take(&mut look.doubled) {
            // Without its subnet it could not be recorded: it counts as reported only as long as the books lack the subnet.
            let key = (one.prefix, one.address, one.holders(), one.serial);
            if self.reported.contains(&key) || self.is_certain(&one, read).await {
                reported.insert(key);
                look.doubled.push(one);
            } else {
                passing = true;
            }
        }
        self.reported = reported;
        self.settling |= passing;
        self.shared.meters.note_passing(passing);
    }

    /// Whether the address really is at two endpoints and has not just moved from one to the other. The ledger knows, and
    /// records it if so. If the subnet is not in the books, the address cannot have moved.
    async fn is_certain(&self, one: &Doubled, read: Fence) -> bool {
        if let Some(serial) = one.serial {
            let evidence = one.holders().into();
            let doubled = Repair::Doubled { serial, address: one.address, read, evidence };
            match self.ledger.ask(Request::Repair(Box::new(doubled))).await {
                Err(refusal) if refusal.kind == ErrorKind::TooEarly => {
                    tracing::debug!("repair: {refusal}");
                    return false;
                }
                Err(refusal) => tracing::warn!("repair: {refusal}"),
                Ok(_) => {}
            }
        }
        let address = one.prefix.address(one.address);
        tracing::error!("repair: {address} of {} is in use twice: {}", one.prefix, one.holders());
        true
    }
}
