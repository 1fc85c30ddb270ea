//! Grants that somebody else was answered, too: a repeat of an explicit request gets what the first one got (P24, P27).
//!
//! Promises: a repeat that was answered keeps its grant, so an undo of the first answer takes nothing back; the
//! newest of very many are known, as an undo follows its grant closely. Of this process only, as undos are. Decides nothing.

use std::collections::BTreeSet;

use crate::plan::Plan;
use crate::plan::change::Serial;
use crate::plan::request::{Decision, Reply, Request, Undo};

/// Most that are known; the oldest grants go first.
const MOST: usize = 4_096;

/// A grant: its generation, the subnet, and the address if it is one of an address.
type Grant = (u64, Serial, Option<u128>);

/// The grants that were answered again.
#[derive(Debug, Default)]
pub(super) struct Repeated(BTreeSet<Grant>);

impl Repeated {
    /// Notes it where this decision, which is applied, gave again what is held.
    pub(super) fn note(&mut self, plan: &Plan, request: &Request, decision: &Decision) {
        if decision.undo.is_some() {
            return;
        }
        let grant = match (request, &decision.reply) {
            (Request::Subnet(_), Ok(Reply::Subnet { id, .. })) => {
                plan.held(id).map(|subnet| (subnet.state.generation, subnet.state.serial, None))
            }
            (Request::Address(request), Ok(Reply::Address { address, .. })) => {
                plan.held(&request.id).and_then(|subnet| {
                    let number = subnet.number_of(*address)?;
                    let record = subnet.addresses.get(number)?;
                    Some((record.generation, subnet.state.serial, Some(number)))
                })
            }
            _ => None,
        };
        self.0.extend(grant);
        if self.0.len() > MOST {
            self.0.pop_first();
        }
    }

    /// Whether this takes back what somebody else was answered, too.
    pub(super) fn keeps(&self, request: &Request) -> bool {
        let Request::Undo(undo) = request else { return false };
        self.0.contains(&match &**undo {
            Undo::Subnet { serial, generation, .. } => (*generation, *serial, None),
            Undo::Address { serial, generation, address, .. } => (*generation, *serial, Some(*address)),
        })
    }
}
