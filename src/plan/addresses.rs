//! The addresses of one subnet: which are leased, which are remembered, which were never used.
//!
//! Promises: every question of `choose` is O(log n); all indexes are derived from the records, so that a set rebuilt
//! from the books equals the one served. Does not decide; times are plain values here.

use std::collections::BTreeSet;

use super::change::Record;
use super::intervals::{Fixed, Intervals};
use super::records::Records;
use super::request::Mac;
use super::settings::Millis;

/// What dynamic choice must keep away from, and where it may look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub first: u128,
    pub last: u128,
    /// Never-given addresses, reservations and the gateway's slot.
    pub excluded: Fixed,
}

impl Bounds {
    /// Whether dynamic choice may give this address at all.
    pub fn allow(&self, address: u128) -> bool {
        self.first <= address && address <= self.last && !self.excluded.contains(address)
    }
}

/// A holder as the index knows it: a MAC, or the hash of a name, checked against the record when found.
type HolderKey = u64;

/// How many of the newest releases are looked at.
const LOOKED_AT: usize = 16;

/// Released addresses: (released at, address).
type Queue = BTreeSet<(Millis, u128)>;

/// The queue of those that are for nobody to choose (reserved, pinned by hand, the slot).
const ASIDE: usize = 4;

/// Records of one subnet and the indexes over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    records: Records,
    bounds: Bounds,
    /// Excluded or with a record: not "never used".
    taken: Intervals,
    /// (holder, generation, address) of all that is not leased; the newest generation is the holder's last.
    holders: BTreeSet<(HolderKey, u64, u128)>,
    /// Released, by when: see [`queue_of`](Self::queue_of).
    queues: [Queue; 5],
    leased: usize,
    /// Of these, in the range.
    leased_inside: usize,
}

/// FNV-1a; the highest bit tells a name from a MAC.
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
    pub fn new(bounds: Bounds) -> Self {
        let taken = Intervals::from(&bounds.excluded);
        Self {
            records: Records::default(),
            bounds,
            taken,
            holders: BTreeSet::new(),
            queues: Default::default(),
            leased: 0,
            leased_inside: 0,
        }
    }

    /// Other bounds (the slot moved, reservations changed); rebuilds what depends on them.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        if self.bounds == bounds {
            return;
        }
        let records = std::mem::take(&mut self.records);
        *self = Self::new(bounds);
        for (address, record) in records {
            self.put(address, record);
        }
    }

    pub const fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// What is known of an address.
    pub fn get(&self, address: u128) -> Option<&Record> {
        self.records.get(address)
    }
    /// Its lease, if somebody holds it.
    pub fn lease(&self, address: u128) -> Option<&Record> {
        self.get(address).filter(|record| record.leased)
    }
    /// The first known address from this one on.
    pub fn next_from(&self, address: u128) -> Option<u128> {
        self.records.range(address, u128::MAX).next().map(|(address, _)| address)
    }
    /// Whether somebody holds it.
    pub fn is_leased(&self, address: u128) -> bool {
        self.lease(address).is_some()
    }
    /// How many are held.
    pub const fn leased(&self) -> usize {
        self.leased
    }
    /// How many are held from `first` to `last`.
    pub fn leased_between(&self, first: u128, last: u128) -> u128 {
        self.records.range(first, last).filter(|(_, record)| record.leased).count() as u128
    }
    /// Those that are not held, the last released first, as long as `is_new` of when that was.
    pub fn released_while(&self, is_new: impl Fn(Millis) -> bool) -> impl Iterator<Item = u128> {
        let newest = move |queue: &Queue| {
            let new = queue.iter().rev().take_while(|(since, _)| is_new(*since));
            new.map(|(_, address)| *address).collect::<Vec<_>>()
        };
        self.queues.iter().flat_map(newest)
    }
    /// How many of these lie in the range.
    pub const fn leased_inside(&self) -> usize {
        self.leased_inside
    }
    /// How many are remembered in addition to those held.
    pub fn remembered(&self) -> usize {
        self.records.len() - self.leased
    }
    /// Everything known, by address.
    pub fn records(&self) -> impl Iterator<Item = (u128, &Record)> {
        self.records.iter()
    }

    /// All leases, by address.
    pub fn leases(&self) -> impl Iterator<Item = (u128, &Record)> {
        self.records().filter(|(_, record)| record.leased)
    }

    /// The same from this address on.
    pub fn records_from(&self, first: u128) -> impl Iterator<Item = (u128, &Record)> {
        self.records.range(first, u128::MAX)
    }

    /// How many that are not held were once asked for by number.
    pub fn released_by_number(&self) -> usize {
        let is =
            |(_, address): &&(Millis, u128)| self.get(*address).is_some_and(|record| record.asked_by_number);
        let queued = [true, false].map(|is_inside| self.queues[Self::queue_of(is_inside, true)].len());
        queued.iter().sum::<usize>() + self.queues[ASIDE].iter().filter(is).count()
    }

    /// The queue of released addresses that are never asked for by number, or once: in the range, or outside of it, where they
    /// are for gateways.
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

    /// Sets what is known of an address.
    pub fn put(&mut self, address: u128, record: Record) {
        let free = (!record.leased)
            .then(|| (holder_keys(&record), record.generation, record.since, record.asked_by_number));
        match self.records.insert(address, record) {
            Some(before) => self.drop_indexes(address, &before),
            None => self.taken.insert(address, address),
        }
        // After those of before are gone: they may be the same.
        let Some((keys, generation, since, by_number)) = free else { return self.count(address) };
        self.holders.extend(keys.map(|key| (key, generation, address)));
        self.queue(address, by_number).insert((since, address));
    }

    /// Sets what is known of many addresses at once, in order: then trees and pages are full, half the memory of grown ones.
    pub fn load(&mut self, records: &[(u128, Record)]) {
        if self.records.len() > 0 {
            for (address, record) in records {
                self.put(*address, record.clone());
            }
            return;
        }
        for (address, record) in records {
            self.taken.insert(*address, *address);
            if record.leased {
                self.count(*address);
            } else {
                self.queue(*address, record.asked_by_number).insert((record.since, *address));
            }
        }
        let holders = |(address, record): &(u128, Record)| {
            let (address, generation) = (*address, record.generation);
            holder_keys(record).map(move |key| (key, generation, address))
        };
        self.holders = records.iter().filter(|(_, record)| !record.leased).flat_map(holders).collect();
        for (address, record) in records {
            self.records.insert(*address, record.clone());
        }
    }

    /// Every stamp moves; `to` keeps their order.
    pub fn move_stamps(&mut self, to: impl Fn(Millis) -> Millis) {
        for record in self.records.values_mut() {
            record.since = to(record.since);
        }
        for queue in &mut self.queues {
            *queue = queue.iter().map(|(since, address)| (to(*since), *address)).collect();
        }
    }

    /// Forgets an address: it was never used.
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

    /// The last address of this holder that nobody holds now: by name, else by MAC.
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

    /// The lowest never used, allowed address beyond `start`, then from the beginning of the range. `open` tells which addresses siblings keep.
    pub fn never_used(&self, start: Option<u128>, open: impl Fn(u128) -> bool) -> Option<u128> {
        let Bounds { first, last, .. } = self.bounds;
        let beyond = start.and_then(|start| start.checked_add(1)).map(|next| next.max(first));
        let beyond = beyond.and_then(|next| self.never_used_in(next, last, &open));
        beyond.or_else(|| self.never_used_in(first, last, &open))
    }

    /// The lowest never used address in `first..=last` that is not excluded, range or not.
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

    /// The longest released, among those that were once asked for by number or among the others: (when, address). `anywhere` looks
    /// outside of the range, too. `open` tells which addresses siblings keep.
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

    /// The address released after this time that its holder may get back, if it is the only one. None where several were
    /// released that searching for a second one would take long.
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
    /// When the longest released of all was, allowed or not.
    pub fn oldest_memory(&self) -> Option<Millis> {
        self.queues.iter().filter_map(BTreeSet::first).map(|(since, _)| *since).min()
    }
    /// The longest released of all, allowed or not; at most `most`, the oldest first.
    pub fn oldest_memories(&self, most: usize) -> Vec<(Millis, u128)> {
        let mut oldest: Vec<_> =
            self.queues.iter().flat_map(|queue| queue.iter().take(most).copied()).collect();
        oldest.sort_unstable();
        oldest.truncate(most);
        oldest
    }
}
