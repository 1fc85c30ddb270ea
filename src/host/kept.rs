//! What of this machine's addresses and routes is of interest, kept as the kernel tells of it.
//!
//! Promises: never less than what the kernel has. What came is kept until exactly that is told to have gone; the kernel says
//! nothing of the IPv4 routes of an interface that goes down, and so those that lead to it alone go with it. Where one of
//! several routes to one place is replaced, or a part of one goes, all stay until everything is read again. Reads no socket.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};

use ipnet::IpNet;

use super::InUse;
use super::routes::{Address, Names, Place, Route};

/// Something came, or has gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is in use now.
    Come(InUse),
    /// It is not in use any more.
    Gone(InUse),
}

/// Which prefixes are of interest.
pub(super) type Minds<'a> = &'a dyn Fn(&IpNet) -> bool;

/// All that is kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    addresses: BTreeMap<Address, InUse>,
    routes: BTreeMap<Place, Vec<(Route, InUse)>>,
    /// Places of routes that lead to one interface alone.
    by_interface: BTreeSet<(u32, Place)>,
    changes: Vec<Change>,
}

impl Kept {
    /// What changed since this was asked for last.
    pub(super) fn changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    pub(super) fn address(&mut self, payload: &[u8], minds: Minds<'_>, names: &mut Names<'_>) {
        let Some(address) = Address::read(payload).filter(|address| minds(&address.prefix())) else { return };
        if let Entry::Vacant(place) = self.addresses.entry(address) {
            let used = address.describe(names);
            place.insert(used.clone());
            self.changes.push(Change::Come(used));
        }
    }

    pub(super) fn address_gone(&mut self, payload: &[u8]) {
        let gone = Address::read(payload).and_then(|address| self.addresses.remove(&address));
        self.changes.extend(gone.map(Change::Gone));
    }

    /// A route came; `replaces` another one of its place.
    pub(super) fn route(&mut self, payload: &[u8], replaces: bool, minds: Minds<'_>, names: &mut Names<'_>) {
        let Some(route) = Route::read(payload).filter(|route| minds(&route.place.prefix)) else { return };
        let here = self.routes.entry(route.place).or_default();
        if replaces && here.len() == 1 && here.iter().all(|(known, _)| *known != route) {
            for (known, used) in here.drain(..) {
                forget(&mut self.by_interface, &known);
                self.changes.push(Change::Gone(used));
            }
        }
        if route.counts && !here.iter().any(|(known, _)| *known == route) {
            let used = route.describe(names);
            if let Some(interface) = route.only_interface() {
                self.by_interface.insert((interface, route.place));
            }
            self.changes.push(Change::Come(used.clone()));
            here.push((route, used));
        } else if here.is_empty() {
            self.routes.remove(&route.place);
        }
    }

    pub(super) fn route_gone(&mut self, payload: &[u8]) {
        let Some(route) = Route::read(payload).filter(|route| route.counts) else { return };
        let Some(here) = self.routes.get_mut(&route.place) else { return };
        // A single next hop of a multipath route is not found here, so the whole route stays.
        if let Some(at) = here.iter().position(|(known, _)| *known == route) {
            let (known, used) = here.remove(at);
            if !here.iter().any(|(other, _)| other.only_interface() == known.only_interface()) {
                forget(&mut self.by_interface, &known);
            }
            self.changes.push(Change::Gone(used));
        }
        if here.is_empty() {
            self.routes.remove(&route.place);
        }
    }

    /// An interface is down or has gone, and with it all routes that led there.
    pub(super) fn down(&mut self, interface: u32) {
        let places = self.by_interface.range((interface, Place::FIRST)..);
        let places: Vec<Place> =
            places.take_while(|(other, _)| *other == interface).map(|(_, place)| *place).collect();
        for place in places {
            self.by_interface.remove(&(interface, place));
            let Some(here) = self.routes.get_mut(&place) else { continue };
            let changes = &mut self.changes;
            here.retain(|(route, used)| {
                let stays = route.only_interface() != Some(interface);
                if !stays {
                    changes.push(Change::Gone(used.clone()));
                }
                stays
            });
            if here.is_empty() {
                self.routes.remove(&place);
            }
        }
    }
}

fn forget(by_interface: &mut BTreeSet<(u32, Place)>, route: &Route) {
    if let Some(interface) = route.only_interface() {
        by_interface.remove(&(interface, route.place));
    }
}
