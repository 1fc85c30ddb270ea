//! RequestAddress, by number or with a chosen address ([`choose_address`](super::choose_address)), and the changes of a grant.
//!
//! Promises: pure; a refusal changes nothing. Does not choose.

use std::net::IpAddr;

use super::Plan;
use super::change::{Change, Kind, Marks, Record};
use super::choose_address::{AddressSearch, Choice};
use super::error::Refusal;
use super::prefix::{Family, Prefix};
use super::request::{AddressRequest, Decision, Reply, Space, Undo, Want};
use super::settings::Millis;
use super::subnet::{Subnet, never_given};

/// For this long after the last step of a network's set-up, the gateway may be requested again, as an auxiliary address.
/// This does not decide what the address is for: the Engine's lists do.
const SET_UP_WINDOW: Millis = 10_000;

impl Plan {
    /// RequestAddress.
    pub(super) fn decide_address(&self, request: &AddressRequest) -> Decision {
        let Some((subnet, learned)) = self.called(&request.id) else {
            return Decision::refused(self.not_called(&request.id));
        };
        let decide = |subnet: &Subnet| {
            AddressSearch::new(self, subnet, request).decide().unwrap_or_else(Decision::refused)
        };
        let Some(learned) = learned else { return decide(subnet) };
        // This is kept whatever the outcome of the request: Docker has a network with this PoolID.
        let mut learned = vec![learned];
        let after = self.with_kept(subnet, &request.id, &mut learned);
        let mut decision = decide(&after);
        decision.changes.splice(0..0, learned);
        decision
    }
}

impl AddressSearch<'_> {
    fn decide(&self) -> Result<Decision, Refusal> {
        let Self { plan, subnet, request, .. } = self;
        let prefix = subnet.state.prefix;
        let gateway = if request.gateway { subnet.gateway_lease() } else { None };
        if request.gateway && prefix.size() == 1 && gateway.is_none() {
            return Err(Refusal::no_available_addresses(format!(
                "{prefix} has one address, which the gateway would take; request a larger subnet, or a network without a gateway"
            )));
        }
        if let Some(asked) = request.address {
            return self.by_number(asked);
        }
        if let Some((gateway, _)) = gateway {
            return Ok(Decision::unchanged(self.answer(gateway)));
        }
        let choice = self.first();
        if let (None, Some(slice), false) = (&choice, self.lost, request.gateway) {
            return self.in_lost(slice);
        }
        // Another slice is better than an address that somebody else may still expect.
        if choice.as_ref().is_none_or(|choice| choice.warning.is_some())
            && let Some(want) = plan.more_addresses(subnet).filter(|_| !request.gateway)
        {
            match (request.cannot.why(want), &choice) {
                (None, _) => return Ok(Decision::unchanged(Reply::Claim(want))),
                (Some(why), None) => return Err(plan.exhausted_because(subnet, why)),
                (Some(_), Some(_)) => {}
            }
        }
        let Some(choice) = choice else { return Err(plan.exhausted(subnet)) };
        if choice.cleared.is_none() && self.must_probe(choice.address) {
            return Ok(Decision::unchanged(Reply::Probe(prefix.address(choice.address))));
        }
        Ok(self.grant(choice))
    }

    /// The answer to a request for a new address in a network whose slice this host has lost: the slice has to become its own again,
    /// because another host may give the same address.
    fn in_lost(&self, slice: Prefix) -> Result<Decision, Refusal> {
        let want = Want::These(slice);
        match self.request.cannot.why(want) {
            Some(why) => Err(self.plan.in_lost_slice(self.subnet, slice, why)),
            None => Ok(Decision::unchanged(Reply::Claim(want))),
        }
    }

    /// Whether the caller had this address before, as far as the request says who it is.
    fn had(&self, address: u128) -> bool {
        let record = self.subnet.addresses.get(address);
        record.is_some_and(|record| self.request.is_of_caller(record) || self.is_anonymous())
    }

    /// Grants an address by number, unless it is held here or by a sibling; siblings may share a gateway's address.
    fn by_number(&self, asked: IpAddr) -> Result<Decision, Refusal> {
        let Self { plan, subnet, request, siblings, .. } = self;
        let (prefix, marks) = (subnet.state.prefix, &subnet.state.marks);
        let address = subnet.number_of(asked).ok_or_else(|| Refusal::outside(asked, prefix))?;
        if let Some(why) = never_given_name(subnet.state.prefix, address) {
            return Err(Refusal::out_of_range(asked, why));
        }
        let sets_up = !request.gateway && self.may_set_up();
        // Whoever sets up a network names the other machines of its LAN.
        let known = |record: &&Record| record.kind != Kind::Stranger || !(sets_up || request.gateway);
        let own = subnet.addresses.lease(address).filter(known);
        if own.is_some() && subnet.state.space == Space::Global {
            return Ok(Decision::unchanged(self.answer(address)));
        }
        let is_router = subnet.router() == Some(address);
        if is_router && request.gateway && own.is_some_and(|it| it.kind == Kind::Gateway) {
            return Ok(Decision::unchanged(self.answer(address)));
        }
        if own.is_some_and(|it| it.kind == Kind::Gateway) && sets_up && !marks.gateway_is_auxiliary {
            let marks = Marks { gateway_is_auxiliary: true, ..marks.clone() };
            let changes = vec![Change::SubnetMarked { serial: subnet.state.serial, marks }];
            return Ok(Decision { changes, ..Decision::unchanged(self.answer(address)) });
        }
        let of_sibling = || {
            siblings
                .lease(address)
                .filter(|(_, record)| known(record))
                .filter(|_| !request.gateway || !siblings.is_router(address))
        };
        let Some((holder, record)) = own.map(|record| (*subnet, record)).or_else(of_sibling) else {
            if is_router && !request.gateway && !sets_up {
                return Err(plan.is_router(subnet, asked));
            }
            if let Some(want) = plan.unowned_address(subnet, address).filter(|_| !self.is_common(address)) {
                return match request.cannot.why(want) {
                    Some(why) => Err(Refusal::no_available_addresses(format!(
                        "{asked} does not belong to this host: {why}"
                    ))),
                    None => Ok(Decision::unchanged(Reply::Claim(want))),
                };
            }
            if let Some(slice) = self.lost.filter(|_| !request.gateway && !self.had(address)) {
                return self.in_lost(slice);
            }
            if !sets_up && self.must_probe(address) {
                return Ok(Decision::unchanged(Reply::Probe(asked)));
            }
            return Ok(self.grant(Choice::of(address, None)));
        };
        let given_up = || (self.other_half() == Some(address)).then(|| self.given_up(address));
        let cleared = self.clear(holder, address).or_else(given_up);
        if is_router && record.kind == Kind::Gateway && !request.gateway {
            return Err(plan.is_router(subnet, asked));
        }
        let cleared = cleared.ok_or_else(|| plan.in_use(holder, address, record, &request.dead))?;
        Ok(self.grant(Choice::replacing(address, cleared)))
    }

    /// Whether every host that shares the subnet may record this address: the common gateway, or a reserved address that
    /// sets up a network.
    fn is_common(&self, address: u128) -> bool {
        let gateway = self.request.gateway && self.subnet.router() == Some(address);
        gateway || (!self.request.gateway && self.may_set_up() && self.subnet.reserved().contains(address))
    }

    fn grant(&self, choice: Choice) -> Decision {
        let Self { plan, subnet, request, .. } = self;
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
            since: plan.now,
            generation: plan.next_generation,
        };
        let undo = Undo::Address {
            serial,
            address,
            generation: record.generation,
            previous: previous.cloned().map(Box::new),
            gateway: subnet.state.marks.gateway,
        };
        // A person named another gateway than the configured one, which Docker then does not use.
        let router = subnet.router().filter(|router| kind == Kind::Gateway && *router != address);
        let replaced = router.filter(|router| subnet.gateway_lease().is_some_and(|(it, _)| it == *router));
        let mut changes = vec![Change::AddressGranted { serial, address, record }];
        if let Some(address) = replaced {
            changes.insert(0, Change::AddressForgotten { serial, address });
        }
        let marks = self.marks_after(kind, address);
        if marks != subnet.state.marks {
            changes.push(Change::SubnetMarked { serial, marks });
        }
        changes.extend(plan.trim_memory(subnet, 0, Some(address)));
        let no_room = (kind == Kind::Gateway).then(|| plan.no_room(subnet, Some(address))).flatten();
        let mut warnings: Vec<String> = no_room.into_iter().chain(warning).collect();
        let reply = Ok(self.answer(address));
        let Some(cleared) = cleared else { return Decision { reply, changes, warnings, undo: Some(undo) } };
        let prefix = subnet.state.prefix;
        warnings
            .push(format!("{} in {prefix} replaces a lease that is proven dead", prefix.address(address)));
        changes.insert(0, *cleared);
        // An undo must not restore the dead lease.
        Decision { reply, changes, warnings, undo: None }
    }

    const fn answer(&self, address: u128) -> Reply {
        let prefix = self.subnet.state.prefix;
        Reply::Address { address: prefix.address(address), length: prefix.length() }
    }

    fn marks_after(&self, kind: Kind, address: u128) -> Marks {
        let (before, now) = (&self.subnet.state.marks, self.plan.now);
        // The subnet is in use, so Docker did not refuse it, even if it was counted in a storm.
        let mut after = Marks { addressed: true, stormed: false, ..before.clone() };
        match kind {
            Kind::Gateway => {
                (after.gateway, after.gateway_is_auxiliary, after.set_up_at) = (Some(address), false, now);
            }
            _ if self.may_set_up() => after.set_up_at = now,
            _ => after.had_endpoint = true,
        }
        after
    }

    /// Whether this request for an address may be a step of setting up a network (`--aux-address`): it does not identify a
    /// holder, and the network is new and has no known endpoint.
    fn may_set_up(&self) -> bool {
        let (marks, request) = (&self.subnet.state.marks, self.request);
        let anonymous = request.name.is_none() && request.mac.is_none() && request.address.is_some();
        anonymous && !marks.had_endpoint && self.plan.now <= marks.set_up_at.saturating_add(SET_UP_WINDOW)
    }
}

pub(super) fn never_given_name(prefix: Prefix, address: u128) -> Option<String> {
    let (low, high) = never_given(prefix);
    let what = match (low == Some(address), high == Some(address)) {
        (true, _) if prefix.family() == Family::V4 => "network",
        (true, _) => "subnet-router anycast",
        (_, true) => "broadcast",
        _ => return None,
    };
    Some(format!("is the {what} address of {prefix}; choose another one"))
}
