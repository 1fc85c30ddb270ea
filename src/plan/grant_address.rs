//! RequestAddress: by number, or chosen ([`choose_address`](super::choose_address)); and what a grant changes.
//!
//! Promises: pure; a refusal changes nothing; what is remembered of a subnet's addresses stays bounded. Does not choose.

use std::net::IpAddr;

use super::Plan;
use super::change::{Change, Kind, Marks, Record};
use super::choose_address::{AddressSearch, Choice};
use super::error::PlanError;
use super::prefix::Family;
use super::request::{AddressRequest, Context, Decision, Reply, Space, Undo};
use super::settings::Millis;
use super::subnet::{Subnet, never_given};

/// A gateway may be asked for once more, as an auxiliary address, for this long after the last step of a network's set-up. This
/// does not decide what the address is for: the Engine's lists do.
const SET_UP_WINDOW: Millis = 10_000;
/// The memory of an address is dropped after 90 days.
pub(super) const MEMORY: Millis = 90 * 24 * 3_600_000;
/// ... and beyond this many per subnet, or four times its leases.
pub(super) const MEMORY_FLOOR: usize = 1_000;
/// At most this many are forgotten at once: more than a release can add (it also lowers the bound by 4).
pub(super) const TRIM: usize = 6;

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
            return Decision::refused(PlanError::NoAvailableAddresses(format!(
                "{} has one address, which the gateway would take; ask for a larger subnet, or for a network without a gateway",
                subnet.state.prefix
            )));
        }
        if let Some(address) = request.address {
            let outcome = self.decide_by_number(subnet, request, address, context);
            return outcome.unwrap_or_else(Decision::refused);
        }
        if let Some((gateway, _)) = subnet.gateway_lease().filter(|_| request.gateway) {
            return Decision::unchanged(answer(subnet, gateway));
        }
        let Some(choice) = AddressSearch::new(self, subnet, request, context).first() else {
            return Decision::refused(self.exhausted(subnet));
        };
        self.grant(subnet, choice, request, context)
    }

    /// An address by number, unless it is held: here, or by a sibling, except as a router that both share.
    fn decide_by_number(
        &self,
        subnet: &Subnet,
        request: &AddressRequest,
        asked: IpAddr,
        context: Context,
    ) -> Result<Decision, PlanError> {
        let (prefix, marks) = (subnet.state.prefix, &subnet.state.marks);
        let out = |why| PlanError::OutOfRange { address: asked, why };
        let outside = || out(format!("is outside of {prefix}; choose an address of that subnet"));
        let address = subnet.number_of(asked).ok_or_else(outside)?;
        if let Some(why) = never_given_name(subnet, address) {
            return Err(out(why));
        }
        let own = subnet.addresses.lease(address);
        if own.is_some() && subnet.state.space == Space::Global {
            return Ok(Decision::unchanged(answer(subnet, address)));
        }
        let sets_up = !request.gateway && may_set_up(subnet, request, context.now);
        if own.is_some_and(|it| it.kind == Kind::Gateway) && sets_up && !marks.gateway_is_auxiliary {
            let mut decision = Decision::unchanged(answer(subnet, address));
            let marks = Marks { gateway_is_auxiliary: true, ..marks.clone() };
            decision.changes.push(Change::SubnetMarked { serial: subnet.state.serial, marks });
            return Ok(decision);
        }
        let siblings = self.siblings(subnet);
        let of_sibling =
            || siblings.lease(address).filter(|_| !request.gateway || !siblings.is_router(address));
        let Some((holder, record)) = own.map(|record| (subnet, record)).or_else(of_sibling) else {
            return Ok(self.grant(subnet, Choice::of(address, None), request, context));
        };
        let given_up = || {
            let is_it = self.other_half(subnet, request) == Some(address);
            is_it.then(|| self.given_up(subnet, address, context))
        };
        let cleared = self.clear_lease(holder, address, &request.dead, context).or_else(given_up);
        let cleared = cleared.ok_or_else(|| self.in_use(holder, address, record, &request.dead))?;
        Ok(self.grant(subnet, Choice::replacing(address, cleared), request, context))
    }

    fn grant(&self, subnet: &Subnet, choice: Choice, request: &AddressRequest, context: Context) -> Decision {
        let Choice { address, warning, unknown, cleared } = choice;
        let kind = if request.gateway { Kind::Gateway } else { Kind::Endpoint };
        debug_assert!(!unknown || subnet.addresses.get(address).is_none());
        let previous = if unknown { None } else { subnet.addresses.get(address) };
        let serial = subnet.state.serial;
        let by_number = kind == Kind::Endpoint && request.address.is_some();
        let record = Record {
            leased: true,
            kind,
            name: request.name.clone(),
            mac: request.mac,
            asked_by_number: by_number || previous.is_some_and(|record| record.asked_by_number),
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
        let mut warnings = Vec::new();
        if let Some(no_room) = no_room {
            warnings.push(no_room);
        }
        if let Some(warning) = warning {
            warnings.push(warning);
        }
        let Some(cleared) = cleared else {
            return Decision { reply: Ok(answer(subnet, address)), changes, warnings, undo: Some(undo) };
        };
        let prefix = subnet.state.prefix;
        warnings
            .push(format!("{} in {prefix} replaces a lease that is proven dead", prefix.address(address)));
        changes.insert(0, *cleared);
        // An undo does not bring the dead one back.
        Decision { reply: Ok(answer(subnet, address)), changes, warnings, undo: None }
    }

    /// The oldest memories of the subnet that are too old or too many; never one that is cooling.
    pub(super) fn trim_memory(
        &self,
        subnet: &Subnet,
        more: usize,
        but: Option<u128>,
        now: Millis,
    ) -> Vec<Change> {
        let (addresses, serial) = (&subnet.addresses, subnet.state.serial);
        let Some(oldest) = addresses.oldest_memory() else { return Vec::new() };
        let bound = MEMORY_FLOOR.max(4 * addresses.leased().saturating_sub(more));
        let excess = (addresses.remembered() + more).saturating_sub(bound);
        let cooling = self.cooling_of(subnet);
        let has_cooled = |since: Millis| since.saturating_add(cooling) <= now;
        let is_old = |since: Millis| since.saturating_add(MEMORY) < now;
        // Usually nothing is due: the oldest memory is within both limits, or still cooling.
        if !has_cooled(oldest) || (excess == 0 && !is_old(oldest)) {
            return Vec::new();
        }
        let oldest = addresses.oldest_memories(TRIM).into_iter();
        let others = oldest.filter(|(_, address)| Some(*address) != but).enumerate();
        let due = others.filter(|(n, (since, _))| *n < excess || is_old(*since));
        due.take_while(|(_, (since, _))| has_cooled(*since))
            .map(|(_, (_, address))| Change::AddressForgotten { serial, address })
            .collect()
    }
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
        (true, _) if prefix.family() == Family::V4 => "network",
        (true, _) => "subnet-router anycast",
        (_, true) => "broadcast",
        _ => return None,
    };
    Some(format!("is the {what} address of {prefix}; choose another one"))
}
