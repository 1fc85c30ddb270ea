//! Grants that were also given to a second caller: a repeated explicit request gets the same grant as the
//! first (P24, P27).
//!
//! Promises: a repeated request that was answered keeps its grant, so an undo of the first answer does not
//! end it. Keeps only the newest few thousand, since an undo follows its grant within moments. Covers only
//! this process, as undos do. Makes no decisions.

use std::collections::BTreeSet;

use crate::plan::Plan;
use crate::plan::change::Serial;
use crate::plan::request::{Decision, Reply, Request, Undo};

/// Maximum number of grants that are kept; the oldest are removed first.
const MOST: usize = 4_096;

/// A grant: its generation, the subnet, and the address if the grant is for an address.
type Grant = (u64, Serial, Option<u128>);

/// The grants that were given to a second caller.
#[derive(Debug, Default)]
pub(super) struct Repeated(BTreeSet<Grant>);

impl Repeated {
    /// Records the grant if this decision, which has been applied, returned something that was already held.
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

    /// Whether this request would undo a grant that was also given to a second caller.
    pub(super) fn keeps(&self, request: &Request) -> bool {
        let Request::Undo(undo) = request else { return false };
        self.0.contains(&match &**undo {
            Undo::Subnet { serial, generation, .. } => (*generation, *serial, None),
            Undo::Address { serial, generation, address, .. } => (*generation, *serial, Some(*address)),
        })
    }
}
