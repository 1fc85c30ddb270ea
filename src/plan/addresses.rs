//! The addresses of one subnet: which are leased, which are remembered, and which were never used.
//!
//! Promises: every query from `choose` takes O(log n); all indexes are derived from the records, so that a set rebuilt
//! from the books equals the one served. Makes no decisions; times are plain values here.

use std::collections::BTreeSet;

use super::change::{Kind, Record};
use super::intervals::{Fixed, Intervals};
use super::records::Records;
use super::request::Mac;
use super::settings::Millis;

/// What dynamic choice must avoid, and the range in which it may choose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    pub first: u128,
    pub last: u128,
    /// Never-given addresses, reservations and the gateway's slot.
    pub excluded: Fixed,
}

impl Bounds {
    /// Whether dynamic choice may ever give this address.
    pub fn allow(&self, address: u128) -> bool {
        self.first <= address && address <= self.last && !self.excluded.contains(address)
    }
}

/// A holder's key in the index: a MAC, or the hash of a name, which is compared with the record when found.
type HolderKey = u64;

/// How many of the newest releases are examined.
const LOOKED_AT: usize = 16;

/// Released addresses: (released at, address).
type Queue = BTreeSet<(Millis, u128)>;

/// The index of the queue of addresses that are never chosen (reserved, pinned by hand, the gateway's slot).
const ASIDE: usize = 4;

/// Records of one subnet and the indexes over them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    records: Records,
    bounds: Bounds,
    /// Excluded addresses and those with a record: all that are not "never used".
    taken: Intervals,
    /// (holder, generation, address) of all released addresses; the newest generation is the holder's last.
    holders: BTreeSet<(HolderKey, u64, u128)>,
    /// Released addresses, by release time: see [`queue_of`](Self::queue_of).
    queues: [Queue; 5],
    leased: usize,
    /// The leased addresses that are in the range.
    leased_inside: usize,
}

/// FNV-1a; the highest bit distinguishes names from MACs.
fn name_key(name: &str) -> HolderKey {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    hash | 1 << 63
}

/// The MAC itself.
fn mac_key(mac: Mac) -> HolderKey {
    let Mac([a, b, c, d, e, f]) = mac;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

fn holder_keys(record: &Record) -> impl Iterator<Item = HolderKey> + use<> {
    [record.name.as_deref().map(name_key), record.mac.map(mac_key)].into_iter().flatten()
}

impl Addresses {
    /// Sets other bounds (the slot moved, or reservations changed) and rebuilds what depends on them.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        if self.bounds == bounds {
            return;
        }
        let records = std::mem::take(&mut self.records);
        *self = Self { taken: Intervals::from(&bounds.excluded), bounds, ..Self::default() };
        for (address, record) in records {
            self.put(address, record);
        }
    }

    pub const fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// The record of an address, if it has one.
    pub fn get(&self, address: u128) -> Option<&Record> {
        self.records.get(address)
    }
    /// The lease of an address, if it is held.
    pub fn lease(&self, address: u128) -> Option<&Record> {
        self.get(address).filter(|record| record.leased)
    }
    /// Whether the address is held.
    pub fn is_leased(&self, address: u128) -> bool {
        self.lease(address).is_some()
    }
    /// Whether the address is held, and not by a stranger.
    pub fn is_ours(&self, address: u128) -> bool {
        self.lease(address).is_some_and(|record| record.kind != Kind::Stranger)
    }
    /// How many addresses are held.
    pub const fn leased(&self) -> usize {
        self.leased
    }
    /// How many addresses are held from `first` to `last`.
    pub fn leased_between(&self, first: u128, last: u128) -> u128 {
        self.records.range(first, last).filter(|(_, record)| record.leased).count() as u128
    }
    /// The released addresses of each queue, newest first, while `is_new` accepts the time of release.
    pub fn released_while(&self, is_new: impl Fn(Millis) -> bool) -> impl Iterator<Item = u128> {
        let newest = move |queue: &Queue| {
            let new = queue.iter().rev().take_while(|(since, _)| is_new(*since));
            new.map(|(_, address)| *address).collect::<Vec<_>>()
        };
        self.queues.iter().flat_map(newest)
    }
    /// How many held addresses are in the range.
    pub const fn leased_inside(&self) -> usize {
        self.leased_inside
    }
    /// How many released addresses are remembered.
    pub fn remembered(&self) -> usize {
        self.records.len() - self.leased
    }
    /// All records, by address.
    pub fn records(&self) -> impl Iterator<Item = (u128, &Record)> {
        self.records.iter()
    }

    /// All leases, by address.
    pub fn leases(&self) -> impl Iterator<Item = (u128, &Record)> {
        self.records().filter(|(_, record)| record.leased)
    }

    /// All records from this address on.
    pub fn records_from(&self, first: u128) -> impl Iterator<Item = (u128, &Record)> {
        self.records.range(first, u128::MAX)
    }

    /// A limited number of records at a time, beginning with those around this address.
    pub fn pages_from(&self, first: u128) -> impl Iterator<Item = impl Iterator<Item = (u128, &Record)>> {
        self.records.pages(first)
    }

    /// How many released addresses were once requested by number.
    pub fn released_by_number(&self) -> usize {
        let is =
            |(_, address): &&(Millis, u128)| self.get(*address).is_some_and(|record| record.asked_by_number);
        let queued = [true, false].map(|is_inside| self.queues[Self::queue_of(is_inside, true)].len());
        queued.iter().sum::<usize>() + self.queues[ASIDE].iter().filter(is).count()
    }

    /// The index of the queue for a released address: in the range or outside it (where addresses are for
    /// gateways), and once requested by number or not.
    const fn queue_of(is_inside: bool, by_number: bool) -> usize {
        (if is_inside { 0 } else { 2 }) + by_number as usize
    }

    fn queue(&mut self, address: u128, by_number: bool) -> &mut Queue {
        let excluded = self.bounds.excluded.contains(address);
        let queue = if excluded { ASIDE } else { Self::queue_of(self.is_inside(address), by_number) };
        &mut self.queues[queue]
    }

    const fn is_inside(&self, address: u128) -> bool {
        self.bounds.first <= address && address <= self.bounds.last
    }

    fn count(&mut self, address: u128) {
        self.leased += 1;
        self.leased_inside += usize::from(self.is_inside(address));
    }

    /// Sets the record of an address.
    pub fn put(&mut self, address: u128, record: Record) {
        let free = (!record.leased)
            .then(|| (holder_keys(&record), record.generation, record.since, record.asked_by_number));
        match self.records.insert(address, record) {
            Some(before) => self.drop_indexes(address, &before),
            None => self.taken.insert(address, address),
        }
        // Only after the old index entries are removed: the new ones may be the same.
        let Some((keys, generation, since, by_number)) = free else { return self.count(address) };
        self.holders.extend(keys.map(|key| (key, generation, address)));
        self.queue(address, by_number).insert((since, address));
    }

    /// Sets the records of many addresses, in order: trees and pages filled in order take half the memory of
    /// those that grew.
    pub fn load(&mut self, records: &[(u128, Record)]) {
        for (address, record) in records {
            self.put(*address, record.clone());
        }
        self.holders = std::mem::take(&mut self.holders).into_iter().collect();
    }

    /// Shifts every stamp; `to` must preserve their order.
    pub fn move_stamps(&mut self, to: impl Fn(Millis) -> Millis) {
        for record in self.records.values_mut() {
            record.since = to(record.since);
        }
        for queue in &mut self.queues {
            *queue = queue.iter().map(|(since, address)| (to(*since), *address)).collect();
        }
    }

    /// Forgets an address, as if it had never been used.
    pub fn forget(&mut self, address: u128) {
        let Some(before) = self.records.remove(address) else { return };
        self.drop_indexes(address, &before);
        if !self.bounds.excluded.contains(address) {
            self.taken.remove(address);
        }
    }

    fn drop_indexes(&mut self, address: u128, record: &Record) {
        if record.leased {
            self.leased -= 1;
            self.leased_inside -= usize::from(self.is_inside(address));
            return;
        }
        for key in holder_keys(record) {
            self.holders.remove(&(key, record.generation, address));
        }
        self.queue(address, record.asked_by_number).remove(&(record.since, address));
    }

    /// The last address of this holder, by name or else by MAC, among those that are not held now.
    pub fn last_of(&self, name: Option<&str>, mac: Option<Mac>) -> Option<u128> {
        let by_name =
            name.and_then(|name| self.newest(name_key(name), |record| record.name.as_deref() == Some(name)));
        by_name.or_else(|| mac.and_then(|mac| self.newest(mac_key(mac), |record| record.mac == Some(mac))))
    }

    fn newest(&self, key: HolderKey, is: impl Fn(&Record) -> bool) -> Option<u128> {
        self.holders
            .range(..=(key, u64::MAX, u128::MAX))
            .rev()
            .take_while(|(other, ..)| *other == key)
            .map(|(_, _, address)| *address)
            .find(|address| self.records.get(*address).is_some_and(&is))
    }

    /// The lowest allowed, never used address after `start`, else from the range's start. `open` is false if a sibling has it.
    pub fn never_used(&self, start: Option<u128>, open: impl Fn(u128) -> bool) -> Option<u128> {
        let Bounds { first, last, .. } = self.bounds;
        let beyond = start.and_then(|start| start.checked_add(1)).map(|next| next.max(first));
        let beyond = beyond.and_then(|next| self.never_used_in(next, last, &open));
        beyond.or_else(|| self.never_used_in(first, last, &open))
    }

    /// The lowest never used address in `first..=last` that is not excluded, in the range or not.
    pub fn never_used_in(&self, first: u128, last: u128, open: impl Fn(u128) -> bool) -> Option<u128> {
        let mut found = self.taken.first_absent(first, last)?;
        while !open(found) {
            found = self.taken.first_absent(found.checked_add(1)?, last)?;
        }
        Some(found)
    }

    /// Whether this address is allowed and was never used.
    pub fn is_never_used(&self, address: u128) -> bool {
        self.bounds.allow(address) && !self.taken.contains(address)
    }

    /// The address released longest ago, with the time, among those once requested by number or among the
    /// others. `anywhere` also searches outside the range. `open` is false for addresses that siblings keep.
    pub fn longest_freed(
        &self,
        by_number: bool,
        anywhere: bool,
        open: impl Fn(u128) -> bool,
    ) -> Option<(Millis, u128)> {
        let first = |inside: bool| {
            let queue = &self.queues[Self::queue_of(inside, by_number)];
            queue.iter().find(|(_, it)| open(*it)).copied()
        };
        let outside = if anywhere { first(false) } else { None };
        first(true).into_iter().chain(outside).min()
    }

    /// The addresses in the range in the order in which they would be given to holders that the books do not know: never used
    /// ones from `start` on, then the longest released.
    pub fn in_order(&self, start: Option<u128>) -> impl Iterator<Item = u128> {
        let Bounds { first, last, .. } = self.bounds;
        let begin = start.and_then(|start| start.checked_add(1)).map_or(first, |next| next.max(first));
        let mut next = Some(begin);
        let unused = std::iter::from_fn(move || {
            let found = self.taken.first_absent(next?, last);
            next = found.and_then(|found| found.checked_add(1));
            found
        });
        unused.chain(self.queues[Self::queue_of(true, false)].iter().map(|(_, address)| *address))
    }

    /// The only address released after this time that its holder may get back; `None` if there are several, or if too many
    /// were released to search them quickly.
    pub fn only_released_since(&self, since: Millis) -> Option<u128> {
        let mut found = None;
        let freed = &self.queues[Self::queue_of(true, false)];
        for (n, (_, address)) in freed.iter().rev().take_while(|(at, _)| *at > since).enumerate() {
            if n == LOOKED_AT {
                return None;
            }
            let comes_back = self.records.get(*address).is_some_and(Record::may_come_back);
            if comes_back && found.replace(*address).is_some() {
                return None;
            }
        }
        found
    }
    /// The oldest time of release of all remembered addresses, allowed or not.
    pub fn oldest_memory(&self) -> Option<Millis> {
        self.queues.iter().filter_map(BTreeSet::first).map(|(since, _)| *since).min()
    }
    /// At most `most` remembered addresses, allowed or not, the longest released first.
    pub fn oldest_memories(&self, most: usize) -> Vec<(Millis, u128)> {
        let mut oldest: Vec<_> =
            self.queues.iter().flat_map(|queue| queue.iter().take(most).copied()).collect();
        oldest.sort_unstable();
        oldest.truncate(most);
        oldest
    }
}
