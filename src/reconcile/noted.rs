//! Facts that a check records without freeing or adopting anything: names, and addresses that two containers
//! have.
//!
//! Promises: each fact is sent to the ledger once while it lasts, and not at every check. Does not compare
//! anything itself.

use std::collections::{BTreeMap, BTreeSet};

use super::compare::{Doubled, Look};
use super::run::Reconciler;
use crate::plan::change::{Serial, ShownHolder};
use crate::plan::error::ErrorKind;
use crate::plan::request::{Fence, Repair, Request};
use crate::store::names::{NamesOfSubnet, Networks};
use crate::store::{Reader, StoreError};

/// The Engine's names for holders, by serial and address, with the generation of the lease.
pub(super) type Noted = BTreeMap<(Serial, u128), (u64, ShownHolder)>;

/// The names that the books have for the holders of some subnets.
#[derive(Debug, Default)]
pub(super) struct WrittenNames(BTreeMap<Serial, NamesOfSubnet>);

impl WrittenNames {
    pub(super) fn get(&self, serial: Serial, address: u128) -> Option<&(u64, ShownHolder)> {
        self.0.get(&serial)?.get(&address)
    }
}

impl Reconciler {
    /// Records the Engine's names for the holders and their networks if they are not in the books yet.
    /// Returns the names in the books for the holders of missing leases.
    pub(super) async fn note(&mut self, look: &mut Look) -> Result<WrittenNames, String> {
        let (holders, networks) = (std::mem::take(&mut look.holders), std::mem::take(&mut look.networks));
        let new = holders.iter().filter(|(at, named)| self.noted.get(at) != Some(named));
        let new: Vec<_> = new.map(|(at, named)| (*at, named.clone())).collect();
        let missing = look.missing.iter().filter(|one| one.key.1.is_some() && one.name.is_none());
        let subnets =
            new.iter().map(|((serial, _), _)| *serial).chain(missing.map(|one| one.key.0)).collect();
        let called = networks.iter().filter(|(serial, named)| self.called.get(serial) != Some(named));
        let (names, called) =
            self.read_names(subnets, called.map(|(k, v)| (*k, v.clone())).collect()).await?;
        for (serial, (generation, network)) in called {
            self.ask(Repair::NameNetwork { serial, generation, network }).await;
        }
        for ((serial, address), named) in new {
            if names.get(serial, address) != Some(&named) {
                let (generation, shown) = named;
                self.ask(Repair::Name { serial, address, generation, shown }).await;
            }
        }
        (self.noted, self.called) = (holders, networks);
        Ok(names)
    }

    /// The names in the books for the holders in these subnets, and those of these networks that the books
    /// lack.
    async fn read_names(
        &self,
        subnets: BTreeSet<Serial>,
        mut networks: Networks,
    ) -> Result<(WrittenNames, Networks), String> {
        if subnets.is_empty() && networks.is_empty() {
            return Ok(Default::default());
        }
        let books = self.books.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let reader = Reader::open(&books)?;
            let mut known = Vec::new();
            for (serial, (generation, network)) in &networks {
                if reader.network_of(*serial, *generation)?.as_deref() == Some(network) {
                    known.push(*serial);
                }
            }
            known.iter().for_each(|serial| drop(networks.remove(serial)));
            let names = subnets.into_iter().map(|serial| Ok((serial, reader.names_of(serial, None)?)));
            Ok::<_, StoreError>((WrittenNames(names.collect::<Result<_, StoreError>>()?), networks))
        });
        reading.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// Records once that an address is at two endpoints, while that lasts. Leaves only the certain duplicates
    /// in `look`.
    pub(super) async fn report(&mut self, look: &mut Look, read: Fence) {
        let mut reported = BTreeSet::new();
        let mut passing = false;
        for one in std::mem::take(&mut look.doubled) {
            // Without its subnet, a duplicate cannot be recorded: it counts as reported only while the books
            // lack the subnet.
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

    /// Whether the address really is at two endpoints and has not just moved from one to the other. The
    /// ledger knows, and records a duplicate. If the subnet is not in the books, the address cannot have
    /// moved.
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
