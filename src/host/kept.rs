//! The addresses and routes of this machine that are of interest, updated from the kernel's notifications.
//!
//! Promises: never lacks an entry that the kernel has. An entry stays until the kernel reports exactly that
//! one as removed; routes that lead only to an interface that goes down are removed with it, because for IPv4
//! the kernel does not report them. If one of several routes to a place is replaced, or part of a route, a
//! nexthop object or an address that routes need is removed, the routes stay and [`Kept::is_unsure`] is true:
//! everything must be read again. Does not read sockets.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};

use ipnet::IpNet;

use super::InUse;
use super::routes::{Address, LinkName, Place, Route};

/// An address or route that came into use or went out of use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteChange {
    /// The address or route is now in use.
    Come(InUse),
    /// The address or route is no longer in use.
    Gone(InUse),
}

impl RouteChange {
    /// The address or route that changed.
    pub(super) fn into_inner(self) -> InUse {
        match self {
            Self::Come(used) | Self::Gone(used) => used,
        }
    }
}

/// Tells which prefixes are of interest.
pub(super) type Minds<'a> = &'a dyn Fn(&IpNet) -> bool;

#[derive(Debug, Default)]
pub(super) struct Kept {
    addresses: BTreeMap<Address, InUse>,
    routes: BTreeMap<Place, Vec<(Route, InUse)>>,
    /// Nexthop objects that routes use.
    objects: BTreeSet<u32>,
    /// Interfaces that have lost an IPv4 address.
    bereft: BTreeSet<u32>,
    unsure: bool,
    changes: Vec<RouteChange>,
}

impl Kept {
    /// The changes since the last call.
    pub(super) fn changes(&mut self) -> Vec<RouteChange> {
        std::mem::take(&mut self.changes)
    }

    /// Whether an entry may be out of date.
    pub(super) fn is_unsure(&self) -> bool {
        // The kernel reports an address first, and then the route to its own network.
        let is_v4 = |place: Place| matches!(place.prefix, IpNet::V4(_));
        self.unsure || self.bereft.iter().any(|interface| self.through(*interface).any(is_v4))
    }

    pub(super) fn address(&mut self, payload: &[u8], minds: Minds<'_>, names: LinkName<'_>) {
        let Some(address) = Address::read(payload).filter(|address| minds(&address.prefix())) else { return };
        if let Entry::Vacant(place) = self.addresses.entry(address) {
            let used = address.describe(names);
            place.insert(used.clone());
            self.changes.push(RouteChange::Come(used));
        }
    }

    pub(super) fn address_gone(&mut self, payload: &[u8]) {
        let Some(address) = Address::read(payload) else { return };
        self.changes.extend(self.addresses.remove(&address).map(RouteChange::Gone));
        // If it was the interface's last IPv4 address, the kernel has silently removed the IPv4 routes there.
        if matches!(address.prefix(), IpNet::V4(_)) && self.through(address.interface).next().is_some() {
            self.bereft.insert(address.interface);
        }
    }

    /// Adds a route; with `replaces`, the route takes the place of an existing one.
    pub(super) fn route(&mut self, payload: &[u8], replaces: bool, minds: Minds<'_>, names: LinkName<'_>) {
        let Some(route) = Route::read(payload).filter(|route| minds(&route.place.prefix)) else { return };
        let here = self.routes.entry(route.place).or_default();
        self.unsure |= replaces && here.len() > 1;
        if replaces && here.len() == 1 && here.iter().all(|(known, _)| *known != route) {
            self.changes.extend(here.drain(..).map(|(_, used)| RouteChange::Gone(used)));
        }
        if route.counts && !here.iter().any(|(known, _)| *known == route) {
            let used = route.describe(names);
            self.objects.extend(route.object);
            self.changes.push(RouteChange::Come(used.clone()));
            here.push((route, used));
        } else if here.is_empty() {
            self.routes.remove(&route.place);
        }
    }

    pub(super) fn route_gone(&mut self, payload: &[u8]) {
        let Some(route) = Route::read(payload).filter(|route| route.counts) else { return };
        let Some(here) = self.routes.get_mut(&route.place) else { return };
        // A single next hop of a multipath route is not found here, and an appended route is listed twice.
        if let Some(at) = here.iter().position(|(known, _)| *known == route) {
            self.changes.push(RouteChange::Gone(here.remove(at).1));
        }
        if here.is_empty() {
            self.routes.remove(&route.place);
        } else {
            self.unsure = true;
        }
    }

    /// Handles the removal of a nexthop object, with which the kernel silently removes all routes that use
    /// it.
    pub(super) fn object_gone(&mut self, object: u32) {
        self.unsure |= self.objects.contains(&object);
    }

    /// The places of routes that lead only to this interface.
    fn through(&self, interface: u32) -> impl Iterator<Item = Place> {
        let leads = move |(route, _): &(Route, InUse)| route.only_interface() == Some(interface);
        self.routes.iter().filter(move |(_, here)| here.iter().any(leads)).map(|(place, _)| *place)
    }

    /// Handles an interface that went down or was removed: removes the routes that lead only to it.
    pub(super) fn down(&mut self, interface: u32) {
        self.bereft.remove(&interface);
        let Self { routes, changes, .. } = self;
        routes.retain(|_, here| {
            let gone = here.extract_if(.., |(route, _)| route.only_interface() == Some(interface));
            changes.extend(gone.map(|(_, used)| RouteChange::Gone(used)));
            !here.is_empty()
        });
    }
}
