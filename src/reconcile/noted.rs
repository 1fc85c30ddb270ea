//! What a look learns that frees and adopts nothing: names, and addresses that two containers have.
//!
//! Promises: each is sent to the ledger once for as long as it stays so, not at every look. Compares nothing itself.

use std::collections::BTreeSet;

use super::compare::Look;
use super::run::{Noted, Reconciler};
use crate::plan::request::Repair;
use crate::store::names::Networks;

impl Reconciler {
    /// Writes down what the Engine calls the holders and their networks, where that is new.
    pub(super) async fn note(&mut self, names: Vec<Repair>, networks: &Networks) {
        let mut noted = Noted::new();
        self.called.clear();
        for repair in names {
            if let Repair::NameNetwork { serial, generation, network } = &repair {
                self.called.insert(*serial, (*generation, network.clone()));
                let known =
                    networks.get(serial).is_some_and(|(of, name)| (of, name) == (generation, network));
                if !known {
                    self.ask(repair).await;
                }
                continue;
            }
            let Repair::Name { serial, address, generation, shown } = &repair else { continue };
            let value = (*generation, shown.clone());
            let known = self.noted.get(&(*serial, *address)) == Some(&value);
            noted.insert((*serial, *address), value);
            if !known {
                self.ask(repair).await;
            }
        }
        self.noted = noted;
    }

    /// Writes down that one address is at two endpoints, once for as long as it is so.
    pub(super) async fn report(&mut self, look: &Look) {
        let mut reported = BTreeSet::new();
        for one in &look.doubled {
            let address = one.prefix.address(one.address);
            let Some(key @ (serial, _, generation)) = one.key else { continue };
            if !self.reported.contains(&key) {
                tracing::error!("repair: {address} of {} is in use twice: {}", one.prefix, one.holders());
                let evidence = one.holders().into();
                self.ask(Repair::Doubled { serial, address: one.address, generation, evidence }).await;
            }
            reported.insert(key);
        }
        self.reported = reported;
    }
}
