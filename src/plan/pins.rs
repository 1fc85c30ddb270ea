//! Pins by hand: a person decides in advance which dynamic address of a subnet a holder gets.
//!
//! Promises: pure; a pin belongs to a prefix of a space, outlives the subnet, and stays until a person removes it; the
//! pinned address is not given to others while anything else is free, and is not given dynamically if it is reserved,
//! never given, the gateway's address or outside the range. Does not move leases.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use smol_str::SmolStr;

use super::change::{Change, Kind, Record, Serial};
use super::error::Refusal;
use super::grant_address::never_given_name;
use super::holder::holder_text;
use super::prefix::{AddressRange, Prefix, number};
use super::release::the_one;
use super::request::{Dead, Mac, Space};
use super::settings::Millis;
use super::slices::Confines;
use super::subnet::Subnet;
use super::{Plan, ReservedBy};

/// The holder that an address is pinned to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// An endpoint with this name (Engine 29 and later send it).
    Name(SmolStr),
    /// An endpoint with this MAC.
    Mac(Mac),
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => formatter.write_str(name),
            Self::Mac(mac) => mac.fmt(formatter),
        }
    }
}

impl Holder {
    /// Whether this is the current or last holder of an address.
    fn is(&self, record: &Record) -> bool {
        record.kind == Kind::Endpoint
            && match self {
                Self::Name(name) => record.name.as_deref() == Some(name),
                Self::Mac(mac) => record.mac == Some(*mac),
            }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The holder that the address is pinned to.
    pub holder: Holder,
    pub since: Millis,
}

/// The pins of one prefix, by address.
pub type Pins = BTreeMap<u128, Pin>;

/// A person's request to pin an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinRequest {
    pub holder: Holder,
    pub address: IpAddr,
    /// The subnet, by prefix or PoolID, if several contain the address.
    pub subnet: Option<String>,
}

/// The changes that pin or unpin, and notes for the person.
#[derive(Debug, Default, PartialEq)]
pub struct Pinned {
    /// To commit, then apply; empty if nothing changes.
    pub changes: Vec<Change>,
    /// One line for each change.
    pub told: Vec<String>,
    /// Further notes.
    pub notes: Vec<String>,
}

impl Plan {
    /// Pins an address of a held subnet to a holder. A holder has at most one pin in a subnet: an earlier one is removed.
    /// `known` has the Engine's names for the holders.
    pub fn pin(&self, asked: &PinRequest, known: &Dead) -> Result<Pinned, Refusal> {
        let subnet = self.subnet_around(asked.address, asked.subnet.as_deref())?;
        let (state, text) = (&subnet.state, asked.address);
        let address = number(asked.address);
        if let Some(why) = self.not_dynamic(subnet, address) {
            return Err(Refusal::out_of_range(text, format!("{why}; dynamic choice never gives it")));
        }
        if let Some(pin) = subnet.pins().get(&address) {
            if pin.holder == asked.holder {
                let notes = vec![format!("{text} is already pinned to {}", asked.holder)];
                return Ok(Pinned { notes, ..Pinned::default() });
            }
            return Err(Refusal::pinned(text, &pin.holder));
        }
        let here = subnet.addresses.lease(address).map(|record| (subnet, record));
        let lease = here.or_else(|| self.siblings(subnet).lease(address));
        if let Some((subnet, record)) = lease.filter(|(_, record)| !asked.holder.is(record)) {
            return Err(self.held_by_another(subnet, (address, record), asked, known));
        }
        let (space, prefix) = (state.space, state.prefix);
        let mut pinned = Pinned::default();
        for (other, _) in subnet.pins().iter().filter(|(_, pin)| pin.holder == asked.holder) {
            pinned.changes.push(Change::AddressUnpinned { space, prefix, address: *other });
            pinned.told.push(format!("{} is no longer pinned to {}", prefix.address(*other), asked.holder));
        }
        let pin = Pin { holder: asked.holder.clone(), since: self.now };
        pinned.changes.push(Change::AddressPinned { space, prefix, address, pin });
        pinned.told.push(format!("{text} of {prefix} is pinned to {} from now on", asked.holder));
        pinned.notes = notes(subnet, address, &asked.holder);
        Ok(pinned)
    }

    /// Why a leased address is not pinned: another holder has it, or this holder under a name that no request will contain.
    fn held_by_another(
        &self,
        subnet: &Subnet,
        (address, record): (u128, &Record),
        asked: &PinRequest,
        known: &Dead,
    ) -> Refusal {
        let (Kind::Endpoint, None, Some(mac), Holder::Name(name)) =
            (record.kind, &record.name, record.mac, &asked.holder)
        else {
            return self.in_use(subnet, address, record, known);
        };
        let text = asked.address;
        let (who, whether) = match known.holder(subnet.state.serial, address, record.generation) {
            Some(shown) if *shown.container != **name => return self.in_use(subnet, address, record, known),
            Some(shown) => (format!("container {}", shown.container), String::new()),
            None => (format!("an endpoint with MAC {mac}"), format!("if that is {name}, ")),
        };
        Refusal::invalid_request(match mac.is_made_up() && !record.withheld {
            true => format!(
                "{text} is held by {who}, and Engines before 29 do not send container names; {whether}give it a fixed \
                 --mac-address and pin that: gipam pin MAC {text}"
            ),
            false => format!(
                "{text} is held by {who}, and Engines before 29 do not send container names; {whether}pin its MAC: \
                 gipam pin {mac} {text}"
            ),
        })
    }

    /// Removes a pin; changes nothing if there is none.
    pub fn unpin(&self, asked: IpAddr, subnet: Option<&str>) -> Result<Pinned, Refusal> {
        let address = number(asked);
        let named = subnet.and_then(|text| self.held(text)).map(|held| (held.state.space, held.state.prefix));
        let prefix = subnet.and_then(Prefix::parse);
        if let Some(text) = subnet.filter(|_| named.is_none() && prefix.is_none()) {
            return Err(Refusal::not_found(format!("no subnet {text:?} is held; see: gipam subnets")));
        }
        let wanted =
            |place: &(Space, Prefix)| named.map_or(prefix.is_none_or(|it| it == place.1), |it| it == *place);
        let found: Vec<(Space, Prefix, &Pin)> = self
            .pins
            .iter()
            .filter(|(place, _)| place.1.contains_address(asked) && wanted(place))
            .filter_map(|((space, prefix), pins)| Some((*space, *prefix, pins.get(&address)?)))
            .collect();
        let mut pinned = Pinned::default();
        match found.as_slice() {
            [] => pinned.notes.push(format!("{asked} is not pinned by hand")),
            [(space, prefix, pin)] => {
                pinned.changes.push(Change::AddressUnpinned { space: *space, prefix: *prefix, address });
                pinned.told.push(format!("{asked} of {prefix} is no longer pinned to {}", pin.holder));
            }
            several => {
                let places = several.iter().map(|(space, prefix, _)| format!("{prefix} ({space})"));
                let places: Vec<String> = places.collect();
                return Err(Refusal::invalid_request(format!(
                    "{asked} is pinned in several subnets: {}; name one with --subnet, by PoolID where the prefix is the same",
                    places.join(", ")
                )));
            }
        }
        Ok(pinned)
    }

    /// All prefixes with pins, by space and prefix.
    pub fn pins(&self) -> impl Iterator<Item = (Space, Prefix, &Pins)> {
        self.pins.iter().map(|((space, prefix), pins)| (*space, *prefix, pins))
    }

    /// The pins of one prefix.
    pub fn pins_of(&self, space: Space, prefix: Prefix) -> Option<&Pins> {
        self.pins.get(&(space, prefix))
    }

    /// The pinned address that is given to others when nothing else is free: the one pinned longest ago.
    /// `whole` also searches outside the range.
    pub(super) fn last_pinned<'a>(&self, subnet: &'a Subnet, whole: bool) -> Option<(u128, &'a Pin)> {
        let free = subnet.pins().iter().filter(|(address, _)| !subnet.addresses.is_leased(**address));
        let free = free.filter(|(address, _)| match whole {
            true => self.not_usable(subnet, **address).is_none(),
            false => self.not_dynamic(subnet, **address).is_none(),
        });
        free.min_by_key(|(address, pin)| (pin.since, **address)).map(|(address, pin)| (*address, pin))
    }

    /// The reason why dynamic choice would not give an address, whether pinned or not.
    pub(super) fn not_dynamic(&self, subnet: &Subnet, address: u128) -> Option<String> {
        let range = subnet.state.range.filter(|range| !range.contains_number(address));
        self.not_usable(subnet, address)
            .or_else(|| range.map(|range| format!("is outside the range {range}")))
    }

    fn not_usable(&self, subnet: &Subnet, address: u128) -> Option<String> {
        if let Some(why) = never_given_name(subnet.state.prefix, address) {
            return Some(why);
        }
        if subnet.reserved().contains(address) {
            let here = AddressRange { family: subnet.state.prefix.family(), first: address, last: address };
            let by = self.reserved_by().find(|(range, _)| range.covers(&here)).map(|(_, by)| by);
            return Some(match by {
                Some(ReservedBy::Hand) => "is reserved by hand (see: gipam reserve)".to_owned(),
                _ => "is reserved by the configuration".to_owned(),
            });
        }
        if subnet.foreign().contains(address) {
            return Some("is not in a slice of this host".to_owned());
        }
        (subnet.slot() == address).then(|| "is the gateway's address".to_owned())
    }

    /// The held subnet that contains an address; if a subnet is named, that one.
    fn subnet_around(&self, address: IpAddr, named: Option<&str>) -> Result<&Subnet, Refusal> {
        if let Some(text) = named {
            let subnet = self.named(text)?;
            let prefix = subnet.state.prefix;
            if !prefix.contains_address(address) {
                return Err(Refusal::outside(address, prefix));
            }
            return Ok(subnet);
        }
        let none =
            || Refusal::not_found(format!("no network has a subnet with {address}; see: gipam subnets"));
        the_one(self.held_around(address), none, |ids| {
            format!("{address} lies in several subnets; name one with --subnet: {ids}")
        })
    }

    pub(super) fn put_pin(&mut self, place: (Space, Prefix), address: u128, pin: Option<Pin>) {
        let pins = self.pins.entry(place).or_default();
        match pin {
            Some(pin) => pins.insert(address, pin),
            None => pins.remove(&address),
        };
        let pins = pins.clone();
        if pins.is_empty() {
            self.pins.remove(&place);
        }
        let (space, prefix) = place;
        let all = self.memories(space, prefix).chain(self.grants_of(space, prefix));
        let serials: Vec<Serial> = all.map(|subnet| subnet.state.serial).collect();
        for serial in serials {
            if let Some(subnet) = self.subnets.get_mut(&serial) {
                subnet.pins = pins.clone();
                subnet.bound(&Confines {
                    reserved: &self.reserved,
                    spaces: &self.spaces,
                    slices: &self.slices,
                });
            }
        }
    }
}

/// The address pinned to the requester, by name or else by MAC.
pub(super) fn pin_of(subnet: &Subnet, name: Option<&str>, mac: Option<Mac>) -> Option<u128> {
    let of = |holder: Holder| {
        subnet.pins().iter().find(|(_, pin)| pin.holder == holder).map(|(address, _)| *address)
    };
    if subnet.pins().is_empty() {
        return None;
    }
    name.and_then(|name| of(Holder::Name(name.into()))).or_else(|| mac.and_then(|mac| of(Holder::Mac(mac))))
}

/// What a person should know about a new pin.
fn notes(subnet: &Subnet, address: u128, holder: &Holder) -> Vec<String> {
    let (mut notes, prefix) = (Vec::new(), subnet.state.prefix);
    let leases = || subnet.addresses.leases();
    let mut held = leases().filter(|(_, record)| holder.is(record)).map(|(held, _)| held);
    if subnet.addresses.lease(address).is_some_and(|record| holder.is(record)) {
        notes.push(format!("{holder} holds it now"));
    } else if let Some(held) = held.next() {
        let held = prefix.address(held);
        notes.push(format!("{holder} holds {held} now; it gets the pinned address at its next start"));
    }
    let last = subnet.addresses.get(address).filter(|record| !record.leased && !holder.is(record));
    notes.extend(last.map(|record| format!("{} had it last and will get another one", holder_text(record))));
    let unnamed = leases().any(|(_, record)| record.kind == Kind::Endpoint && record.name.is_none());
    // An adopted lease has its name from the Engine's list: it is not known yet whether requests contain names here.
    if matches!(holder, Holder::Name(_)) && (unnamed || subnet.awaits_id()) {
        notes.push(
            "Engines before 29 do not send container names; give the container a fixed --mac-address and pin that".to_owned(),
        );
    }
    notes
}
