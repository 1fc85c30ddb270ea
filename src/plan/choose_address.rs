//! Which address: pinned by hand, own, never used, longest released, still cooling, pinned, the gateway's slot; in this order.
//!
//! Promises: pure; O(log n); a dynamic address lies in its range and is not reserved. A refusal changes nothing.

use std::net::IpAddr;

use super::Plan;
use super::change::{Change, Kind, Marks, Record};
use super::error::Error;
use super::interface_id::{STABLE_TRIES, eui64, stable};
use super::prefix::Prefix;
use super::request::{AddressRequest, Context, Decision, Reply, Space, Undo};
use super::settings::{AddressOrder, Millis};
use super::siblings::Siblings;
use super::subnet::{Subnet, never_given, reserved_inside};

/// A gateway may be asked for once more, as an auxiliary address, for this long after the last step of a network's set-up. This
/// does not decide what the address is for: the Engine's lists do.
const SET_UP_WINDOW: Millis = 10_000;
/// The memory of an address is dropped after 90 days.
pub(super) const MEMORY: Millis = 90 * 24 * 3_600_000;
/// ... and beyond this many per subnet, or four times its leases.
pub(super) const MEMORY_FLOOR: usize = 1_000;
/// At most this many are forgotten at once: more than a release can add (it also lowers the bound by 4).
pub(super) const TRIM: usize = 6;

/// A choice, and what the operator should know about it.
pub(super) struct Choice {
    pub(super) address: u128,
    pub(super) warning: Option<String>,
    /// Nothing is known of it.
    pub(super) unknown: bool,
    /// Frees the dead lease at this address.
    pub(super) cleared: Option<Change>,
}

impl Choice {
    const fn never_used(address: u128) -> Self {
        Self { address, warning: None, unknown: true, cleared: None }
    }

    pub(super) const fn of(address: u128, warning: Option<String>) -> Self {
        Self { address, warning, unknown: false, cleared: None }
    }
}

impl Plan {
    /// RequestAddress.
    pub(super) fn decide_address(&self, request: &AddressRequest, context: Context) -> Decision {
        let Some((subnet, learned)) = self.called(&request.id) else {
            return Decision::refused(self.not_called(&request.id));
        };
        let Some(learned) = learned else { return self.decide_address_in(subnet, request, context) };
        // Whatever the outcome of the request: Docker has a network with this PoolID.
        let mut learned = vec![learned];
        let after = self.with_kept(subnet, &request.id, &mut learned);
        let mut decision = self.decide_address_in(&after, request, context);
        decision.changes.splice(0..0, learned);
        decision
    }

    fn decide_address_in(&self, subnet: &Subnet, request: &AddressRequest, context: Context) -> Decision {
        if request.gateway && subnet.state.prefix.size() == 1 && subnet.gateway_lease().is_none() {
            return Decision::refused(Error::NoAvailableAddresses(format!(
                "{} has one address, which the gateway would take; ask for a larger subnet, or for a network without a gateway",
                subnet.state.prefix
            )));
        }
        let chosen = match request.address {
            Some(address) => return self.decide_explicit(subnet, request, address, context),
            None if request.gateway => match subnet.gateway_lease() {
                Some((gateway, _)) => return Decision::unchanged(answer(subnet, gateway)),
                None => self.choose_gateway(subnet, context.now),
            },
            None => self.choose_dynamic(subnet, request, context),
        };
        match chosen {
            Ok(choice) => {
                let kind = if request.gateway { Kind::Gateway } else { Kind::Endpoint };
                debug_assert!(!choice.unknown || subnet.addresses.get(choice.address).is_none());
                let previous = if choice.unknown { None } else { subnet.addresses.get(choice.address) };
                let mut decision = self.grant(subnet, (choice.address, previous), kind, request, context);
                decision.warnings.extend(choice.warning);
                if let Some(cleared) = choice.cleared {
                    decision.undo = None;
                    decision.changes.insert(0, cleared);
                }
                decision
            }
            Err(error) => Decision::refused(error),
        }
    }

    fn decide_explicit(
        &self,
        subnet: &Subnet,
        request: &AddressRequest,
        asked: IpAddr,
        context: Context,
    ) -> Decision {
        let prefix = subnet.state.prefix;
        let Some(address) = subnet.number_of(asked) else {
            return Decision::refused(Error::OutOfRange {
                address: asked,
                why: format!("is outside of {prefix}; choose an address of that subnet"),
            });
        };
        if let Some(why) = never_given_name(subnet, address) {
            return Decision::refused(Error::OutOfRange { address: asked, why });
        }
        let kind = if request.gateway { Kind::Gateway } else { Kind::Endpoint };
        let sets_up = !request.gateway && may_set_up(subnet, request, context.now);
        let known = subnet.addresses.get(address);
        let Some(record) = known.filter(|record| record.leased) else {
            return self.decide_beside(subnet, request, (address, kind), context);
        };
        if subnet.state.space == Space::Global {
            return Decision::unchanged(answer(subnet, address));
        }
        let marks = &subnet.state.marks;
        if record.kind == Kind::Gateway && sets_up && !marks.gateway_is_auxiliary {
            let mut decision = Decision::unchanged(answer(subnet, address));
            let marks = Marks { gateway_is_auxiliary: true, ..marks.clone() };
            decision.changes.push(Change::SubnetMarked { serial: subnet.state.serial, marks });
            return decision;
        }
        let given_up = || {
            let is_it = self.other_half(subnet, request) == Some(address);
            is_it.then(|| self.given_up(subnet, address, context))
        };
        let cleared = self.clear_lease(subnet, address, &request.dead, context).or_else(given_up);
        if let Some(cleared) = cleared {
            let mut decision = self.grant(subnet, (address, known), kind, request, context);
            decision.undo = None;
            decision.warnings.push(replaces_the_dead(subnet, address));
            decision.changes.insert(0, cleared);
            return decision;
        }
        Decision::refused(self.in_use(subnet, address, record, &request.dead))
    }

    /// An address by number that is free in this subnet: unless a sibling holds it, except as a router that both share.
    fn decide_beside(
        &self,
        subnet: &Subnet,
        request: &AddressRequest,
        (address, kind): (u128, Kind),
        context: Context,
    ) -> Decision {
        let siblings = self.siblings(subnet);
        let known = subnet.addresses.get(address);
        let Some((sibling, record)) = siblings.lease(address) else {
            return self.grant(subnet, (address, known), kind, request, context);
        };
        if kind == Kind::Gateway && siblings.is_router(address) {
            return self.grant(subnet, (address, known), kind, request, context);
        }
        if let Some(cleared) = self.clear_lease(sibling, address, &request.dead, context) {
            let mut decision = self.grant(subnet, (address, known), kind, request, context);
            decision.undo = None;
            decision.warnings.push(replaces_the_dead(subnet, address));
            decision.changes.insert(0, cleared);
            return decision;
        }
        Decision::refused(self.in_use(sibling, address, record, &request.dead))
    }

    /// The slot if it is free; else as a dynamic address, first in the range, then anywhere in the subnet.
    fn choose_gateway(&self, subnet: &Subnet, now: Millis) -> Result<Choice, Error> {
        let slot = subnet.slot(&self.reserved);
        let (addresses, prefix) = (&subnet.addresses, subnet.state.prefix);
        let siblings = self.siblings(subnet);
        let open = |address: u128| !siblings.hold(address);
        if !addresses.is_leased(slot) && open(slot) {
            return Ok(Choice::of(slot, None));
        }
        let places = [subnet.state.range.unwrap_or(prefix), prefix];
        let never_used = |place: &Prefix| addresses.never_used_in(place.first(), place.last(), open);
        if let Some(address) = places.iter().find_map(never_used) {
            return Ok(Choice::never_used(address));
        }
        if let Some((since, address, pinned)) = addresses.longest_freed_anywhere(open) {
            return Ok(self.freed(subnet, address, since, pinned, now));
        }
        self.others_pin(subnet, true, &siblings).ok_or_else(|| self.exhausted(subnet))
    }

    fn choose_dynamic(
        &self,
        subnet: &Subnet,
        request: &AddressRequest,
        context: Context,
    ) -> Result<Choice, Error> {
        let siblings = self.siblings(subnet);
        let pinned = self.pinned_to(subnet, request.name.as_deref(), request.mac);
        if let Some(address) = pinned.filter(|address| !siblings.hold(*address)) {
            return Ok(Choice::of(address, None));
        }
        if let Some(own) = self.own(subnet, request, &siblings, context) {
            return Ok(own);
        }
        let derived = self.derived(subnet, request).filter(|address| !siblings.hold(*address));
        self.choose_any(subnet, derived, &siblings, context.now)
    }

    fn choose_any(
        &self,
        subnet: &Subnet,
        derived: Option<u128>,
        siblings: &Siblings<'_>,
        now: Millis,
    ) -> Result<Choice, Error> {
        let addresses = &subnet.addresses;
        let open = |address: u128| !siblings.hold(address);
        if let Some(address) = derived.or_else(|| addresses.never_used(subnet.state.start_beyond, open)) {
            return Ok(Choice::never_used(address));
        }
        if let Some((since, address)) = addresses.longest_freed(open) {
            return Ok(self.freed(subnet, address, since, false, now));
        }
        if let Some((since, address)) = addresses.longest_freed_pinned(open) {
            return Ok(self.freed(subnet, address, since, true, now));
        }
        if let Some(choice) = self.others_pin(subnet, false, siblings) {
            return Ok(choice);
        }
        let slot = subnet.slot(&self.reserved);
        let in_range = addresses.bounds().first <= slot && slot <= addresses.bounds().last;
        let reserved = reserved_inside(subnet.state.prefix, &self.reserved).contains(slot);
        if in_range && !reserved && !addresses.is_leased(slot) && open(slot) {
            let warning = told(subnet, slot, "although it is the gateway's address");
            return Ok(Choice::of(slot, warning));
        }
        Err(self.exhausted(subnet))
    }

    /// An address that a person pinned to another holder.
    fn others_pin(&self, subnet: &Subnet, whole: bool, siblings: &Siblings<'_>) -> Option<Choice> {
        let (address, pin) =
            self.last_pinned(subnet, whole).filter(|(address, _)| !siblings.hold(*address))?;
        let warning = told(subnet, address, &format!("although it is pinned to {} by hand", pin.holder));
        Some(Choice::of(address, warning))
    }

    /// A released address is given again.
    fn freed(&self, subnet: &Subnet, address: u128, since: Millis, pinned: bool, now: Millis) -> Choice {
        let cooling = since.saturating_add(self.cooling_of(subnet)) > now;
        let warning = match (pinned, cooling) {
            (true, _) => told(subnet, address, "although it is pinned (once asked for by number)"),
            (false, true) => told(subnet, address, "again while still cooling"),
            (false, false) => None,
        };
        Choice::of(address, warning)
    }

    /// The address that the pool's order derives from the holder, if it was never used.
    fn derived(&self, subnet: &Subnet, request: &AddressRequest) -> Option<u128> {
        let state = &subnet.state;
        let pool = self.pool(state.pool.as_deref()?)?;
        let order = pool.base(state.prefix.family())?.addresses;
        let serial = request.serial || state.options.get(SERIAL).is_some_and(|value| value == "true");
        if serial || state.prefix.family() == super::prefix::Family::V4 {
            return None;
        }
        let beyond = |address: &u128| state.start_beyond.is_none_or(|start| *address > start);
        let unused = |address: &u128| beyond(address) && subnet.addresses.is_never_used(*address);
        match order {
            AddressOrder::Sequential => None,
            AddressOrder::Eui64 => eui64(state.prefix, request.mac?).filter(unused),
            AddressOrder::Stable => {
                let holder = match (&request.name, request.mac) {
                    (Some(name), _) => format!("name {name}"),
                    (None, Some(mac)) => format!("mac {}", mac_text(mac)),
                    (None, None) => return None,
                };
                let range = state.range.unwrap_or(state.prefix);
                (0..STABLE_TRIES)
                    .filter_map(|tries| stable(range, state.prefix, &holder, tries, &self.settings.secret))
                    .find(unused)
            }
        }
    }

    fn grant(
        &self,
        subnet: &Subnet,
        (address, previous): (u128, Option<&Record>),
        kind: Kind,
        request: &AddressRequest,
        context: Context,
    ) -> Decision {
        let serial = subnet.state.serial;
        let by_number = kind == Kind::Endpoint && request.address.is_some();
        let record = Record {
            leased: true,
            kind,
            name: request.name.clone(),
            mac: request.mac,
            pinned: by_number || previous.is_some_and(|record| record.pinned),
            withheld: request.mac.is_some() && previous.is_some_and(|record| record.mac == request.mac),
            since: context.now,
            generation: self.next_generation,
        };
        let undo = Undo::Address {
            serial,
            address,
            generation: record.generation,
            previous: previous.cloned().map(Box::new),
            gateway: subnet.state.marks.gateway,
        };
        let mut changes = vec![Change::AddressGranted { serial, address, record }];
        let sets_up = may_set_up(subnet, request, context.now);
        let marks = marks_after(&subnet.state.marks, kind, sets_up, address, context.now);
        if marks != subnet.state.marks {
            changes.push(Change::SubnetMarked { serial, marks });
        }
        changes.extend(self.trim_memory(subnet, 0, Some(address), context.now));
        let no_room = (kind == Kind::Gateway).then(|| self.no_room(subnet, Some(address))).flatten();
        let warnings = no_room.into_iter().collect();
        Decision { reply: Ok(answer(subnet, address)), changes, warnings, undo: Some(undo) }
    }

    /// The oldest memories of the subnet that are too old or too many; never one that is cooling.
    pub(super) fn trim_memory(
        &self,
        subnet: &Subnet,
        more: usize,
        but: Option<u128>,
        now: Millis,
    ) -> impl Iterator<Item = Change> + use<> {
        let (addresses, serial) = (&subnet.addresses, subnet.state.serial);
        let bound = MEMORY_FLOOR.max(4 * addresses.leased().saturating_sub(more));
        let excess = (addresses.remembered() + more).saturating_sub(bound);
        let cooling = self.cooling_of(subnet);
        // Usually nothing is due: the oldest memory is within both limits, or still cooling.
        let due = |since: Millis| {
            since.saturating_add(cooling) <= now && (excess > 0 || since.saturating_add(MEMORY) < now)
        };
        let oldest = match addresses.oldest_memory().is_some_and(due) {
            true => addresses.oldest_memories(TRIM),
            false => Vec::new(),
        };
        let oldest = oldest.into_iter().filter(move |(_, address)| Some(*address) != but);
        oldest
            .enumerate()
            .filter(move |(n, (since, _))| *n < excess || since.saturating_add(MEMORY) < now)
            .take_while(move |(_, (since, _))| since.saturating_add(cooling) <= now)
            .map(move |(_, (_, address))| Change::AddressForgotten { serial, address })
    }
}

/// The label of libnetwork for next-fit.
const SERIAL: &str = "com.docker.network.ipam.serial";

pub(super) fn replaces_the_dead(subnet: &Subnet, address: u128) -> String {
    let prefix = subnet.state.prefix;
    format!("{} in {prefix} replaces a lease that is proven dead", prefix.address(address))
}

/// What the operator should know about a choice.
fn told(subnet: &Subnet, address: u128, what: &str) -> Option<String> {
    let prefix = subnet.state.prefix;
    Some(format!("{prefix}: {} is given {what}; nothing else is free", prefix.address(address)))
}

const fn answer(subnet: &Subnet, address: u128) -> Reply {
    let prefix = subnet.state.prefix;
    Reply::Address { address: prefix.address(address), length: prefix.length() }
}

fn marks_after(marks: &Marks, kind: Kind, sets_up: bool, address: u128, now: Millis) -> Marks {
    // It is in use, so it was not among the subnets that Docker refused, even if it was counted in a storm.
    let mut after = Marks { addressed: true, stormed: false, ..marks.clone() };
    match kind {
        Kind::Gateway => {
            (after.gateway, after.gateway_is_auxiliary, after.set_up_at) = (Some(address), false, now);
        }
        _ if sets_up => after.set_up_at = now,
        _ => after.had_endpoint = true,
    }
    after
}

/// Whether this request for an address may be a step of setting a network up (`--aux-address`): the request does not say for whom, and
/// the network is new and has no known endpoint.
fn may_set_up(subnet: &Subnet, request: &AddressRequest, now: Millis) -> bool {
    let marks = &subnet.state.marks;
    let anonymous = request.name.is_none() && request.mac.is_none() && request.address.is_some();
    anonymous && !marks.had_endpoint && now <= marks.set_up_at.saturating_add(SET_UP_WINDOW)
}

pub(super) fn never_given_name(subnet: &Subnet, address: u128) -> Option<String> {
    let prefix = subnet.state.prefix;
    let (low, high) = never_given(prefix);
    let what = match (low == Some(address), high == Some(address)) {
        (true, _) if prefix.family() == super::prefix::Family::V4 => "network",
        (true, _) => "subnet-router anycast",
        (_, true) => "broadcast",
        _ => return None,
    };
    Some(format!("is the {what} address of {prefix}; choose another one"))
}

/// A MAC as people write it.
pub fn mac_text(mac: super::request::Mac) -> String {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let mut text = [b':'; 17];
    for (place, byte) in text.chunks_mut(3).zip(mac) {
        if let [high, low, ..] = place {
            (*high, *low) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
        }
    }
    // Digits and colons.
    str::from_utf8(&text).unwrap_or_default().to_owned()
}
