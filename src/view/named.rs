//! `gipam who NAME`: the addresses of a container, a MAC or a network.
//!
//! Promises: shows the addresses that the name holds now, otherwise those that it held last; the name of a network stands for
//! all addresses in it. If the name is unknown, the error names the command that searches further back. Names that the Engine has reported
//! come from the books, everything else from the plan.

use std::collections::BTreeSet;
use std::sync::Arc;

use smol_str::ToSmolStr;

use super::places::{ListedPlace, PlaceSpan};
use super::rows::{LeaseRow, WhoRow};
use super::source::Budget;
use super::views::View;
use super::{ErrorKind, Refusal};
use crate::plan::Plan;
use crate::plan::change::{Record, Serial};
use crate::plan::pins::{Holder, Pin};
use crate::plan::prefix::number;
use crate::plan::request::Mac;

/// With more addresses than this, their history is omitted; `gipam history NAME` shows it.
const WITH_HISTORY: usize = 16;
/// The minimum length of an abbreviated container id.
const SHORT_ID: usize = 12;

/// Whether a row belongs to this holder: a name, a MAC, or a full or abbreviated container id.
pub(super) fn is_holder(row: &LeaseRow, name: &str) -> bool {
    let mac = Mac::parse(name).map(|mac| mac.to_smolstr());
    let id = row.container.as_deref();
    row.holder.as_deref() == Some(name)
        || (mac.is_some() && row.mac == mac)
        || id.is_some_and(|id| name.len() >= SHORT_ID && id.starts_with(name))
}

/// An address in a subnet.
type InSubnet = (Serial, u128);

/// A name to search for in the plan.
struct Sought {
    name: String,
    mac: Option<Mac>,
}

impl Sought {
    fn is_holder(&self, record: &Record) -> bool {
        let name = record.name.as_deref().map(str::as_bytes);
        // Names often differ only at their end.
        let ends_alike = name.is_some_and(|name| name.last() == self.name.as_bytes().last());
        (ends_alike && name == Some(self.name.as_bytes())) || (self.mac.is_some() && record.mac == self.mac)
    }

    fn is_pinned(&self, pin: &Pin) -> bool {
        match &pin.holder {
            Holder::Name(name) => **name == *self.name,
            Holder::Mac(mac) => self.mac == Some(*mac),
        }
    }

    /// The next addresses of this holder in the plan, in the order of the subnets' serials. The walk visits every record, so it
    /// does no more than compare each of them.
    fn known_from(
        &self,
        plan: &Plan,
        (serial, mut from): InSubnet,
        budget: &Budget,
    ) -> (Vec<InSubnet>, Option<InSubnet>) {
        let (mut found, mut passed) = (Vec::new(), false);
        for subnet in plan.subnets_from(serial) {
            let serial = subnet.state.serial;
            if passed && budget.is_spent() {
                return (found, Some((serial, from)));
            }
            for page in subnet.addresses.pages_from(std::mem::take(&mut from)) {
                for (n, (address, record)) in page.enumerate() {
                    if n == 0 && passed && budget.is_spent() {
                        return (found, Some((serial, address)));
                    }
                    passed = true;
                    if self.is_holder(record) {
                        found.push((serial, address));
                    }
                }
            }
            passed = true;
            let pins = subnet.pins().iter().filter(|(_, pin)| self.is_pinned(pin));
            found.extend(pins.map(|(address, _)| (serial, *address)));
        }
        (found, None)
    }

    /// The pinned addresses of prefixes that have no subnet.
    fn pinned_alone(&self, plan: &Plan) -> Vec<PlaceSpan> {
        let alone = plan.pins().filter(|(space, prefix, _)| !plan.is_known(*space, *prefix));
        let spans = alone.flat_map(|(space, prefix, pins)| {
            let place = ListedPlace { prefix, space, serial: None };
            let pins = pins.iter().filter(|(_, pin)| self.is_pinned(pin));
            pins.map(move |(address, _)| PlaceSpan { place, first: *address, last: *address })
        });
        spans.collect()
    }
}

impl View {
    /// All addresses that may belong to this name, in order; only their rows show which ones do.
    pub(super) fn spans_of(&self, name: &str) -> Result<Vec<PlaceSpan>, Refusal> {
        let id = Some(name).filter(|name| name.len() >= SHORT_ID);
        let (shown, networks) = self.reader()?.shown_as(name, id)?;
        let address = |(serial, text): (Serial, String)| Some((serial, number(text.parse().ok()?)));
        let mut found: BTreeSet<_> = shown.into_iter().filter_map(address).collect();
        let sought = Arc::new(Sought { name: name.to_owned(), mac: Mac::parse(name) });
        let walking = sought.clone();
        let bite = move |plan: &Plan, from, budget: &Budget| walking.known_from(plan, from, budget);
        self.source.walk((0, 0), bite, |more| {
            found.extend(more);
            Ok(true)
        })?;
        self.source.look(move |plan| {
            let place = |serial: Serial| plan.subnet(serial).map(ListedPlace::of);
            let networks: BTreeSet<_> = networks.into_iter().collect();
            found.retain(|(serial, _)| !networks.contains(serial));
            let single = |(serial, address): InSubnet| {
                Some(PlaceSpan { place: place(serial)?, first: address, last: address })
            };
            let mut spans = sought.pinned_alone(plan);
            spans.extend(networks.into_iter().filter_map(place).map(PlaceSpan::whole));
            spans.extend(found.into_iter().filter_map(single));
            spans.sort_unstable();
            spans
        })
    }

    /// Everything about the addresses of this name.
    pub(super) fn who_is(&self, name: &str) -> Result<Vec<WhoRow>, Refusal> {
        let mut rows = Vec::new();
        self.each(self.spans_of(name)?, |row| {
            rows.push(row);
            Ok(true)
        })?;
        let leased = |row: &LeaseRow| row.state == "leased";
        let ways: [&dyn Fn(&LeaseRow) -> bool; 3] = [
            &|row| leased(row) && is_holder(row, name),
            &|row| leased(row) && row.network.as_deref() == Some(name),
            &|row| is_holder(row, name),
        ];
        let Some(way) = ways.into_iter().find(|way| rows.iter().any(way)) else {
            let text = format!(
                "no container, MAC or network called {name:?} has an address now; for earlier addresses see: gipam history {name}"
            );
            return Err(Refusal::new(ErrorKind::Missing, text));
        };
        rows.retain(|row| way(row));
        let many = rows.len() > WITH_HISTORY;
        let mut found = Vec::new();
        for row in rows {
            let Ok(address) = row.address.parse() else { continue };
            let here = self.who_at(address, !many)?.into_iter();
            found.extend(here.filter(|one| one.subnet.as_deref().is_none_or(|subnet| subnet == row.subnet)));
        }
        Ok(found)
    }
}
