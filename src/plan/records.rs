//! The records of one subnet's addresses, by address, in sorted pages.
//!
//! Promises: looking up and inserting take O(log n); addresses granted in order leave every page full, where the nodes of
//! a tree would stay half empty; no page is ever empty. Two sets with equal contents are equal, however they were built.

use super::change::Record;

/// The number of entries in a full page.
const FULL: usize = 64;
/// A page grows by at most this many entries at a time.
const STEP: usize = 16;

/// An address and its record; the address is stored as bytes, because a number would waste space for its alignment.
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

/// The records from `first` up to the first one of the next page; never empty.
#[derive(Clone, Debug)]
struct RecordPage {
    first: u128,
    known: Vec<Known>,
}

impl RecordPage {
    /// The position of an address, or the position at which to insert it.
    fn place(&self, address: u128) -> Result<usize, usize> {
        if self.known.last().is_some_and(|last| last.address() < address) {
            return Err(self.known.len());
        }
        self.known.binary_search_by_key(&address, Known::address)
    }

    fn insert(&mut self, at: usize, known: Known) {
        if self.known.len() == self.known.capacity() {
            self.known.reserve_exact(self.known.len().min(STEP));
        }
        self.known.insert(at, known);
    }
}

/// Records by address.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    pages: Vec<RecordPage>,
    len: usize,
}

impl Records {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The page to which this address belongs; `None` if it is before the first page.
    fn page(&self, address: u128) -> Option<usize> {
        // Usually the last one: addresses are granted in order.
        match self.pages.last() {
            Some(last) if last.first <= address => Some(self.pages.len() - 1),
            _ => self.pages.partition_point(|page| page.first <= address).checked_sub(1),
        }
    }

    pub(super) fn get(&self, address: u128) -> Option<&Record> {
        let page = &self.pages[self.page(address)?];
        page.place(address).ok().map(|at| &page.known[at].record)
    }

    /// Returns the previous record.
    pub(super) fn insert(&mut self, address: u128, record: Record) -> Option<Record> {
        let known = Known::new(address, record);
        // An address before the first page is added to that page.
        let number = self.page(address).unwrap_or(0);
        let Some(page) = self.pages.get_mut(number) else {
            self.pages.push(RecordPage { first: address, known: vec![known] });
            self.len += 1;
            return None;
        };
        let at = match page.place(address) {
            Ok(at) => return Some(std::mem::replace(&mut page.known[at].record, known.record)),
            Err(at) => at,
        };
        self.len += 1;
        page.first = page.first.min(address);
        if page.known.len() < FULL {
            page.insert(at, known);
            return None;
        }
        let mut later = RecordPage { first: address, known: Vec::with_capacity(FULL / 2) };
        if at == FULL {
            // The page stays full, as the next addresses will also come after it.
            later.known.push(known);
        } else {
            later.known.extend(page.known.drain(FULL / 2..));
            later.first = later.known[0].address();
            let (page, at) = if at > FULL / 2 { (&mut later, at - FULL / 2) } else { (page, at) };
            page.insert(at, known);
        }
        self.pages.insert(number + 1, later);
        None
    }

    pub(super) fn remove(&mut self, address: u128) -> Option<Record> {
        let number = self.page(address)?;
        let page = &mut self.pages[number];
        let removed = page.known.remove(page.place(address).ok()?);
        if page.known.is_empty() {
            self.pages.remove(number);
        }
        self.len -= 1;
        Some(removed.record)
    }

    /// All records, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u128, &Record)> {
        self.pages.iter().flat_map(|page| &page.known).map(Known::pair)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Record> {
        self.pages.iter_mut().flat_map(|page| &mut page.known).map(|known| &mut known.record)
    }

    /// The records page by page, beginning with the page of `first`: the quickest way to pass very many of them.
    pub(super) fn pages(&self, first: u128) -> impl Iterator<Item = impl Iterator<Item = (u128, &Record)>> {
        let pages = self.pages.iter().skip(self.page(first).unwrap_or(0));
        pages.map(|page| page.known.iter().map(Known::pair))
    }

    /// The records from `first` to `last`, in order.
    pub(super) fn range(&self, first: u128, last: u128) -> impl Iterator<Item = (u128, &Record)> {
        let pages = self.pages.iter().skip(self.page(first).unwrap_or(0));
        let known = pages.flat_map(|page| &page.known).map(Known::pair);
        known.skip_while(move |(it, _)| *it < first).take_while(move |(it, _)| *it <= last)
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
        let all = self.pages.into_iter().flat_map(|page| page.known);
        Box::new(all.map(|known| (known.address(), known.record)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::plan::change::Kind;
    use proptest::prelude::*;

    fn record(generation: u64) -> Record {
        let (name, mac) = (None, None);
        let (leased, kind, asked_by_number, withheld) = (true, Kind::Endpoint, false, false);
        Record { leased, kind, name, mac, asked_by_number, withheld, since: 0, generation }
    }

    fn room(records: &Records) -> usize {
        records.pages.iter().map(|page| page.known.capacity()).sum()
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
