//! What is known of the addresses of one subnet, by address: sorted pages, which addresses that come in order fill.
//!
//! Promises: looking up and putting take O(log n); addresses that are granted in order leave every page full, where a
//! tree's nodes would stay half empty; a removal keeps no empty page. Equal by content, however it came there.

use std::collections::BTreeMap;

use super::change::Record;

/// Entries of a full page.
const FULL: usize = 32;

/// An address and its record; the address as bytes, as a number would take room for its alignment.
#[derive(Clone, Debug)]
struct Known {
    address: [u8; 16],
    record: Record,
}

impl Known {
    const fn new(address: u128, record: Record) -> Self {
        Self { address: address.to_ne_bytes(), record }
    }

    const fn address(&self) -> u128 {
        u128::from_ne_bytes(self.address)
    }

    const fn pair(&self) -> (u128, &Record) {
        (self.address(), &self.record)
    }
}

/// Records by address.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    /// A page has the addresses from its key on to the next one's.
    pages: BTreeMap<u128, Vec<Known>>,
    len: usize,
}

/// Where it is in its page, or where it belongs.
fn place(page: &[Known], address: u128) -> Result<usize, usize> {
    page.binary_search_by_key(&address, Known::address)
}

impl Records {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, address: u128) -> Option<&Record> {
        let (_, page) = self.pages.range(..=address).next_back()?;
        place(page, address).ok().map(|at| &page[at].record)
    }

    /// Answers what was known before.
    pub(super) fn insert(&mut self, address: u128, record: Record) -> Option<Record> {
        let known = Known::new(address, record);
        let Some((_, page)) = self.pages.range_mut(..=address).next_back() else {
            self.pages.entry(0).or_default().push(known);
            self.len += 1;
            return None;
        };
        let at = match place(page, address) {
            Ok(at) => return Some(std::mem::replace(&mut page[at].record, known.record)),
            Err(at) => at,
        };
        self.len += 1;
        if page.len() < FULL {
            page.insert(at, known);
            return None;
        }
        // Behind the last one the page stays full; else it is halved.
        let mut later = page.split_off(if at == FULL { FULL } else { FULL / 2 });
        match at.checked_sub(FULL / 2) {
            Some(at) => later.insert(at.min(later.len()), known),
            None => page.insert(at, known),
        }
        self.pages.insert(later[0].address(), later);
        None
    }

    pub(super) fn remove(&mut self, address: u128) -> Option<Record> {
        let (&key, page) = self.pages.range_mut(..=address).next_back()?;
        let removed = page.remove(place(page, address).ok()?);
        if page.is_empty() {
            self.pages.remove(&key);
        }
        self.len -= 1;
        Some(removed.record)
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u128, &Record)> {
        self.pages.values().flatten().map(Known::pair)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Record> {
        self.pages.values_mut().flatten().map(|known| &mut known.record)
    }

    /// Those from `first` to `last`, in order.
    pub(super) fn range(&self, first: u128, last: u128) -> impl Iterator<Item = (u128, &Record)> {
        let from = self.pages.range(..=first).next_back().map_or(first, |(key, _)| *key);
        let pages = self.pages.range(from..=last.max(from)).flat_map(|(_, page)| page);
        pages.map(Known::pair).skip_while(move |(it, _)| *it < first).take_while(move |(it, _)| *it <= last)
    }
}

impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl Eq for Records {}

impl IntoIterator for Records {
    type Item = (u128, Record);
    type IntoIter = Box<dyn Iterator<Item = Self::Item>>;

    fn into_iter(self) -> Self::IntoIter {
        let all = self.pages.into_values().flatten();
        Box::new(all.map(|known| (known.address(), known.record)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::change::Kind;
    use proptest::prelude::*;

    fn record(generation: u64) -> Record {
        let (name, mac) = (None, None);
        let (leased, kind, asked_by_number, withheld) = (true, Kind::Endpoint, false, false);
        Record { leased, kind, name, mac, asked_by_number, withheld, since: 0, generation }
    }

    fn room(records: &Records) -> usize {
        records.pages.values().map(Vec::capacity).sum()
    }

    #[test]
    fn a_million_leases_granted_in_order_leave_no_page_half_empty() {
        let mut records = Records::default();
        for address in 0..1_000_000 {
            records.insert(address, record(1));
        }
        assert_eq!((records.len(), room(&records)), (1_000_000, 1_000_000));
        assert_eq!(size_of::<Known>(), 72, "bytes that a lease takes");
        for address in 0..1_000_000 {
            records.remove(address);
        }
        assert_eq!((records.len(), room(&records)), (0, 0));
    }

    proptest! {
        #[test]
        fn records_behave_as_a_plain_map(
            ops in prop::collection::vec((any::<bool>(), 0u128..200, 0u128..100), 1..400),
            top in any::<bool>(),
        ) {
            let start = if top { u128::MAX - 400 } else { 0 };
            let (mut records, mut model) = (Records::default(), BTreeMap::new());
            for (n, (add, address, width)) in (0..).zip(ops) {
                let address = start + address;
                if add {
                    prop_assert_eq!(records.insert(address, record(n)), model.insert(address, record(n)));
                } else {
                    prop_assert_eq!(records.remove(address), model.remove(&address));
                }
                prop_assert_eq!(records.get(address), model.get(&address));
                let within = address..=address + width;
                let expected = model.range(within).map(|(it, of)| (*it, of));
                prop_assert!(records.range(address, address + width).eq(expected));
            }
            prop_assert_eq!(records.len(), model.len());
            let mut other = Records::default();
            model.iter().rev().for_each(|(address, record)| drop(other.insert(*address, record.clone())));
            prop_assert_eq!(&records, &other);
            prop_assert!(records.into_iter().eq(model));
        }
    }
}
