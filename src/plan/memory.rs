//! How much is remembered about released addresses and subnets, and for how long.
//!
//! Promises: pure; memory stays bounded: memories that are too old or too many are forgotten, the longest
//! released first, a few with each change; an address or subnet that still cools is never forgotten.

use super::Plan;
use super::change::{Change, Serial};
use super::settings::Millis;
use super::subnet::Subnet;

/// Memories are dropped after 90 days.
const LONGEST: Millis = 90 * 24 * 3_600_000;
/// Memories are dropped earlier if there are more than this, and more than four for each held address or
/// subnet.
const FLOOR: usize = 1_000;
/// At most this many are forgotten at once: more than a release can add (a release also lowers the bound by 4).
const TRIM: usize = 6;

impl Plan {
    /// Forgets the oldest memories of the subnet. `more` addresses are about to be released; `but` is kept.
    pub(super) fn trim_memory(&self, subnet: &Subnet, more: usize, but: Option<u128>) -> Vec<Change> {
        let (addresses, serial) = (&subnet.addresses, subnet.state.serial);
        let Some(oldest) = addresses.oldest_memory() else { return Vec::new() };
        let excess = excess(addresses.remembered(), addresses.leased(), more);
        let cooling = self.cooling_of(subnet);
        let has_cooled = |since: Millis| since.saturating_add(cooling) <= self.now;
        // Usually nothing needs to be forgotten: the oldest memory is within both limits, or still cooling.
        if !has_cooled(oldest) || (excess == 0 && !self.is_too_old(oldest)) {
            return Vec::new();
        }
        let oldest = addresses.oldest_memories(TRIM).into_iter().filter(|(_, it)| Some(*it) != but);
        let due = self.due(oldest, excess).take_while(|(since, _)| has_cooled(*since));
        due.map(|(_, address)| Change::AddressForgotten { serial, address }).collect()
    }

    /// Forgets the longest released subnets. `more` subnets are about to be released; those of `but` are kept.
    pub(super) fn trim_remembered(&self, more: usize, but: &[Serial]) -> Vec<Change> {
        let excess = excess(self.released.len(), self.subnets.len() - self.released.len(), more);
        let has_cooled =
            |serial: Serial| self.subnet(serial).is_some_and(|subnet| subnet.state.cool_until <= self.now);
        let oldest = self.released.iter().copied().filter(|(_, serial)| !but.contains(serial)).take(TRIM);
        let due = self.due(oldest, excess).take_while(|(_, serial)| has_cooled(*serial));
        due.map(|(_, serial)| Change::SubnetForgotten { serial }).collect()
    }

    const fn is_too_old(&self, since: Millis) -> bool {
        since.saturating_add(LONGEST) < self.now
    }

    /// Of the oldest memories, those beyond either limit.
    fn due<T>(
        &self,
        oldest: impl Iterator<Item = (Millis, T)>,
        excess: usize,
    ) -> impl Iterator<Item = (Millis, T)> {
        let due = move |(n, (since, _)): &(usize, (Millis, T))| *n < excess || self.is_too_old(*since);
        oldest.enumerate().filter(due).map(|(_, memory)| memory)
    }
}

/// How many memories exceed the limit once `more` held addresses or subnets are released.
fn excess(remembered: usize, held: usize, more: usize) -> usize {
    (remembered + more).saturating_sub(FLOOR.max(4 * held.saturating_sub(more)))
}
