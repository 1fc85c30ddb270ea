//! The naive plan's manual pins: a plain list.
//!
//! Promises: who may pin what, and who gets a pinned address, as docs/decisions.md says. Only for small
//! subnets.

use gipam::plan::change::Kind;
use gipam::plan::pins::{Holder, Pin, PinRequest, Pinned};
use gipam::plan::prefix::{Prefix, number};

use super::{Entry, Model};

impl Model {
    /// Checks the outcome of a pin request, and applies it to the model.
    pub fn pin(&mut self, asked: &PinRequest, seen: Result<&Pinned, &str>) -> Result<(), String> {
        let entries = self.subnets.iter().filter(|entry| entry.held());
        let around: Vec<&Entry> = match &asked.subnet {
            Some(id) => entries.filter(|entry| entry.state.id == *id).collect(),
            None => entries.filter(|entry| entry.state.prefix.contains_address(asked.address)).collect(),
        };
        let address = number(asked.address);
        let expected = match around.as_slice() {
            [] => Err("NotFound"),
            [entry] => self.pinnable(entry, asked, address),
            _ => Err("InvalidRequest"),
        };
        let (space, prefix) = match (expected, seen) {
            (Err(expected), Err(seen)) if expected == seen => return Ok(()),
            (Ok(true), Ok(seen)) if !seen.changes.is_empty() => {
                (around[0].state.space, around[0].state.prefix)
            }
            (Ok(false), Ok(seen)) if seen.changes.is_empty() => return Ok(()),
            _ => return Err(format!("pin: expected {expected:?}, seen {seen:?}")),
        };
        let same = |(of, at, _, pin): &(_, Prefix, u128, Pin)| {
            (*of, *at) == (space, prefix) && pin.holder == asked.holder
        };
        self.pins.retain(|pin| !same(pin));
        self.pins.push((space, prefix, address, Pin { holder: asked.holder.clone(), since: self.now }));
        Ok(())
    }

    /// Whether a pin changes anything, or why it is refused.
    fn pinnable(&self, entry: &Entry, asked: &PinRequest, address: u128) -> Result<bool, &'static str> {
        let inside = entry.state.prefix.contains_address(asked.address);
        if !inside || !self.open(&entry.state, false).contains(&address) {
            return Err("OutOfRange");
        }
        if let Some(pin) = self.pins_of(entry).find(|(at, _)| *at == address).map(|(_, pin)| pin) {
            return if pin.holder == asked.holder { Ok(false) } else { Err("Pinned") };
        }
        let own = |record: &gipam::plan::change::Record| match &asked.holder {
            Holder::Name(name) => record.kind == Kind::Endpoint && record.name.as_ref() == Some(name),
            Holder::Mac(mac) => record.kind == Kind::Endpoint && record.mac == Some(*mac),
        };
        let sibling = || self.sibling_with(entry, address).map(|(_, record)| record);
        match entry.leased(address).or_else(sibling) {
            Some(record) if !own(record) => {
                let nameless = record.kind == Kind::Endpoint && record.name.is_none() && record.mac.is_some();
                let by_name = matches!(asked.holder, Holder::Name(_));
                Err(if nameless && by_name { "InvalidRequest" } else { "AddressInUse" })
            }
            _ => Ok(true),
        }
    }

    /// Removes a pin.
    pub fn unpin(&mut self, seen: &Pinned) -> Result<(), String> {
        use gipam::plan::change::Change;
        for change in &seen.changes {
            let Change::AddressUnpinned { space, prefix, address } = change else {
                return Err(format!("unpinning caused {change:?}"));
            };
            let before = self.pins.len();
            self.pins.retain(|(of, at, pinned, _)| (of, at, pinned) != (space, prefix, address));
            if self.pins.len() == before {
                return Err(format!("unpinned an address that was not pinned: {change:?}"));
            }
        }
        Ok(())
    }

    /// The pins of a subnet.
    pub fn pins_of(&self, entry: &Entry) -> impl Iterator<Item = (u128, &Pin)> {
        let place = (entry.state.space, entry.state.prefix);
        let of = move |pin: &&(_, Prefix, u128, Pin)| (pin.0, pin.1) == place;
        self.pins.iter().filter(of).map(|(.., address, pin)| (*address, pin))
    }
}
