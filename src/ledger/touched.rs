//! What commits may have changed about leases, for followers that keep something for each lease.
//!
//! Promises: a follower learns of each address or subnet whose leases may have changed, once the change is durable and its answer is
//! sent; it asks the plan what is true now. Without a follower this costs nothing.

use std::net::IpAddr;

use tokio::sync::mpsc;

use crate::plan::Plan;
use crate::plan::change::Change;
use crate::plan::prefix::Prefix;

/// Something whose leases may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TouchedLeases {
    /// This address was leased or released.
    Address(IpAddr),
    /// A subnet was released, with every lease in it.
    Subnet(Prefix),
    /// The pools were configured.
    Pools,
}

impl TouchedLeases {
    /// What a change, which the plan has applied, says about leases.
    pub(super) fn of(plan: &Plan, change: &Change) -> Option<Self> {
        let prefix = |serial: u64| plan.subnet(serial).map(|subnet| subnet.state.prefix);
        match change {
            Change::AddressGranted { serial, address, .. }
            | Change::AddressReleased { serial, address, .. }
            | Change::AddressRestored { serial, address, .. }
            | Change::AddressLearned { serial, address, .. }
            | Change::AddressForgotten { serial, address } => {
                Some(Self::Address(prefix(*serial)?.address(*address)))
            }
            Change::SubnetReleased { serial, .. } => prefix(*serial).map(Self::Subnet),
            Change::SubnetRestored(state) => Some(Self::Subnet(state.prefix)),
            _ => None,
        }
    }
}

/// The follower, if there is one, and what it is to learn after the next commit.
#[derive(Debug, Default)]
pub(super) struct LeaseTeller {
    sender: Option<mpsc::UnboundedSender<Vec<TouchedLeases>>>,
    touched: Vec<TouchedLeases>,
}

impl LeaseTeller {
    /// Replaces the follower.
    pub(super) fn set(&mut self, sender: mpsc::UnboundedSender<Vec<TouchedLeases>>) {
        self.sender = Some(sender);
    }

    /// Notes a change that the plan has applied.
    pub(super) fn note(&mut self, plan: &Plan, change: &Change) {
        if self.sender.is_some() {
            self.touched.extend(TouchedLeases::of(plan, change));
        }
    }

    /// Notes that the pools were configured.
    pub(super) fn note_pools(&mut self) {
        if self.sender.is_some() {
            self.touched.push(TouchedLeases::Pools);
        }
    }

    /// Tells the follower what a durable batch has changed.
    pub(super) fn tell(&mut self) {
        if self.touched.is_empty() {
            return;
        }
        let touched = std::mem::take(&mut self.touched);
        if self.sender.as_ref().is_none_or(|sender| sender.send(touched).is_err()) {
            self.sender = None;
        }
    }

    /// Forgets what a failed batch would have changed.
    pub(super) fn forget(&mut self) {
        self.touched.clear();
    }
}
