//! THE INVARIANTS R1 to R7, by name: each function checks the plan from outside.
//!
//! Promises: a violation says which invariant and where. *durable* and *fenced* do not concern the plan; see
//! `tests/ledger`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use gipam::plan::change::{Change, Kind, Record, SubnetState};
use gipam::plan::counts::AddressCounts;
use gipam::plan::prefix::{Prefix, number};
use gipam::plan::request::{AddressRequest, Decision, Reply, Request, Space, Wanted};
use gipam::plan::slices::SliceState;
use gipam::plan::{Plan, Subnet, never_given};

use super::model::siblings::{apart, part};
use super::model::{Entry, Model};
use super::rows::Rows;

type Held = Result<(), String>;

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Held {
    if holds { Ok(()) } else { Err(what()) }
}

/// Held subnets of one space never overlap, unless the later request allowed it.
pub fn disjoint(plan: &Plan) -> Held {
    let held: Vec<_> = plan.subnets().filter(|subnet| subnet.is_held()).map(|subnet| &subnet.state).collect();
    for (n, one) in held.iter().enumerate() {
        for other in
            held[n + 1..].iter().filter(|other| other.space == one.space && other.prefix.overlaps(one.prefix))
        {
            if apart(part(one), part(other)) {
                shared(plan, one, other)?;
                continue;
            }
            let later = if one.generation > other.generation { one } else { other };
            let asked = later.options.get("overlap").is_some_and(|value| value == "true") && !later.dynamic;
            ensure(asked, || format!("disjoint: {} and {} of space {}", one.id, other.id, one.space))?;
        }
    }
    Ok(())
}

/// If two subnets share a prefix, an address is never leased in both, except a router that is the gateway of
/// both.
fn shared(plan: &Plan, one: &SubnetState, other: &SubnetState) -> Held {
    ensure(one.prefix == other.prefix, || format!("disjoint: {} and {}", one.id, other.id))?;
    let leases = |state: &SubnetState| plan.subnet(state.serial).map(|subnet| &subnet.addresses);
    let (Some(first), Some(second)) = (leases(one), leases(other)) else { return Ok(()) };
    for (address, record) in first.records().filter(|(_, record)| record.leased) {
        let twice = second.get(address).filter(|record| record.leased);
        let router = |second: &Record| [record.kind, second.kind] == [Kind::Gateway; 2];
        ensure(twice.is_none_or(router), || {
            format!("unique: {} in {} and {}", one.prefix.address(address), one.id, other.id)
        })?;
    }
    Ok(())
}

/// An address has at most one lease: the plan holds exactly the grants that were not released, a PoolID never
/// names two grants, and the plan's memory agrees with the model, too.
pub fn unique(plan: &Plan, model: &Model) -> Held {
    let mut ids = BTreeMap::new();
    for subnet in plan.subnets().filter(|subnet| subnet.is_held()) {
        let twice = ids.insert(subnet.state.id.clone(), subnet.state.serial);
        ensure(twice.is_none(), || format!("unique: PoolID {} names two grants", subnet.state.id))?;
        let leased = subnet.addresses.records().filter(|(_, record)| record.leased).count();
        ensure(leased == subnet.addresses.leased(), || format!("unique: leases of {}", subnet.state.prefix))?;
    }
    let mut served: Vec<Entry> = plan
        .subnets()
        .map(|subnet| Entry {
            state: subnet.state.clone(),
            records: subnet.addresses.records().map(|(address, record)| (address, record.clone())).collect(),
        })
        .collect();
    let mut expected = model.subnets.clone();
    served.sort_by_key(|entry| entry.state.serial);
    expected.sort_by_key(|entry| entry.state.serial);
    for (served, expected) in served.iter().zip(&expected) {
        ensure(served == expected, || format!("unique: served {served:#?}\nbut answered {expected:#?}"))?;
    }
    ensure(served.len() == expected.len(), || {
        format!("unique: {} subnets are known and {} were answered", served.len(), expected.len())
    })?;
    let keys: BTreeMap<_, _> = plan
        .keys()
        .map(|(space, family, word, prefix, at)| ((space, family, word.to_owned()), (prefix, at)))
        .collect();
    ensure(keys == model.keys, || format!("unique: keys {keys:?} but {:?}", model.keys))
}

/// An answer without a new grant repeats an earlier one: a gateway's in `local`, that of any lease in
/// `global` (P27).
pub fn answered_once(plan: &Plan, request: &Request, decision: &Decision) -> Held {
    let (Request::Address(request), Ok(Reply::Address { address, .. })) = (request, &decision.reply) else {
        return Ok(());
    };
    let granted = |change: &Change| matches!(change, Change::AddressGranted { .. });
    let Some(subnet) = plan.held(&request.id) else {
        return Err("unique: answered without a held subnet".to_owned());
    };
    let record = subnet.addresses.get(number(*address));
    let repeat =
        record.is_some_and(|record| record.kind == Kind::Gateway) || subnet.state.space == Space::Global;
    ensure(decision.changes.iter().any(granted) || repeat, || format!("unique: {address} has two holders"))
}

/// A lease is inside its subnet; a dynamic one is inside its range and neither reserved nor an address that
/// is never given.
pub fn inside(plan: &Plan, request: &Request, decision: &Decision) -> Held {
    for subnet in plan.subnets() {
        for (address, _) in subnet.addresses.records() {
            let prefix = subnet.state.prefix;
            ensure(prefix.contains_number(address), || {
                format!("inside: {} of {prefix}", prefix.address(address))
            })?;
        }
    }
    let (Request::Address(request), Ok(Reply::Address { address, .. })) = (request, &decision.reply) else {
        return Ok(());
    };
    let Some(subnet) = plan.held(&request.id) else {
        return Err("inside: granted without a held subnet".to_owned());
    };
    if request.address.is_some() || request.gateway {
        return Ok(());
    }
    let (prefix, address) = (subnet.state.prefix, number(*address));
    let range = subnet.state.range.unwrap_or(prefix);
    let hit = |range: &&gipam::plan::prefix::AddressRange| {
        range.family == prefix.family() && range.first <= address && address <= range.last
    };
    let ranges = || plan.settings().reserved.iter().chain(&plan.settings().reserved_by_hand);
    let held_back = |number: &u128| {
        ranges().any(|it| it.family == prefix.family() && it.first <= *number && *number <= it.last)
    };
    let (low, high) = gipam::plan::never_given(prefix);
    let mut usable = (prefix.first()..=prefix.last()).filter(|it| ![low, high].contains(&Some(*it)));
    let whole = usable.all(|number| held_back(&number));
    let reserved = ranges().find(hit).filter(|_| !whole);
    ensure(range.contains_number(address), || {
        format!("inside: {} is outside {range}", prefix.address(address))
    })?;
    ensure(reserved.is_none(), || format!("inside: {} is reserved", prefix.address(address)))
}

/// A network of this host that lies in a pool shared with others is cut from slices that this host holds.
pub fn owned(plan: &Plan, request: &Request, decision: &Decision) -> Held {
    if let (Request::Address(request), Ok(Reply::Address { address, .. })) = (request, &decision.reply) {
        return owned_address(plan, request, *address);
    }
    let (Request::Subnet(request), Ok(Reply::Subnet { prefix, .. })) = (request, &decision.reply) else {
        return Ok(());
    };
    let mut bases = plan.settings().pools.iter().flat_map(|pool| pool.bases());
    let sliced =
        bases.any(|base| base.slice.is_some() && base.shared.is_none() && base.base.contains(*prefix));
    let by_others = request.space == Space::Global && request.wanted == Wanted::Exact(*prefix);
    let held: Vec<_> = plan.slices().iter().filter(|slice| slice.state == SliceState::Held).collect();
    let is_held = |address| {
        held.iter()
            .any(|slice| slice.prefix.family() == prefix.family() && slice.prefix.contains_number(address))
    };
    let all = (prefix.first()..=prefix.last()).all(is_held);
    ensure(!sliced || by_others || all, || format!("owned: {prefix} lies in {held:?}"))
}

/// A container's address in a subnet that hosts share lies in a slice of this host.
fn owned_address(plan: &Plan, request: &AddressRequest, address: IpAddr) -> Held {
    let Some(state) = plan.held(&request.id).map(|subnet| &subnet.state) else { return Ok(()) };
    let mut bases = plan.settings().pools.iter().flat_map(|pool| pool.bases());
    let shared = bases.any(|base| base.shared.is_some() && base.base.contains(state.prefix));
    let chosen = request.address.is_none() && !request.gateway && state.space == Space::Local;
    let mut held = plan.slices().iter().filter(|slice| slice.state == SliceState::Held);
    let owned = held.any(|slice| slice.prefix.contains_address(address));
    ensure(!shared || !chosen || owned, || format!("owned: {address} of {}", state.prefix))
}

/// Releasing something that is free succeeds and changes nothing; so does a release with an unknown or former
/// PoolID.
pub fn repeatable(plan: &Plan, old_ids: &[String]) -> Held {
    let mut requests: Vec<Request> = Vec::new();
    for subnet in plan.subnets().filter(|subnet| subnet.is_held()) {
        let prefix = subnet.state.prefix;
        let free = (prefix.first()..=prefix.last()).filter(|address| !subnet.addresses.is_leased(*address));
        let id = subnet.state.id.clone();
        requests.extend(free.take(2).map(|free| Request::Release {
            id: id.clone(),
            address: Some(prefix.address(free)),
            generation: None,
        }));
    }
    let gone = old_ids.iter().filter(|id| plan.held(id).is_none());
    requests.extend(gone.map(|id| Request::Release { id: id.clone(), address: None, generation: None }));
    for request in requests {
        let decision = plan.decide(&request, 0);
        let nothing = decision.reply == Ok(Reply::Done) && decision.changes.is_empty();
        ensure(nothing, || format!("repeatable: {request:?} gave {decision:?}"))?;
    }
    Ok(())
}

/// Every address of a subnet is in exactly one state: never given, reserved, of other hosts, the slot, leased,
/// cooling or free.
pub fn conserved(plan: &Plan) -> Held {
    for subnet in plan.subnets() {
        let counts = plan.count_addresses(subnet);
        let given = [counts.slot, counts.leased, counts.cooling, counts.free];
        let parts = [&given[..], &[counts.never_given, counts.reserved, counts.others]].concat();
        let (sum, size) = (parts.iter().sum::<u128>(), subnet.state.prefix.size());
        ensure(sum == size, || {
            format!("conserved: {} has {size} addresses, counted {counts:?}", subnet.state.prefix)
        })?;
        if size <= 4_096 {
            let one_by_one = classified(plan, subnet);
            ensure(counts == one_by_one, || {
                format!("conserved: {}: counted {counts:?}, one by one {one_by_one:?}", subnet.state.prefix)
            })?;
        }
    }
    Ok(())
}

/// The same counts, obtained by examining each address of a small subnet.
fn classified(plan: &Plan, subnet: &Subnet) -> AddressCounts {
    let (prefix, mut counts) = (subnet.state.prefix, AddressCounts::default());
    let (low, high) = never_given(prefix);
    let (slot, reserved) = (subnet.slot(), plan.reservations(prefix, true));
    let cooling = plan.cooling_of(subnet);
    let is_own = |address: std::net::IpAddr| {
        let mut around = plan.slices().meeting(Prefix::host(address));
        around.any(|slice| slice.state != SliceState::Lost)
    };
    for address in prefix.first()..=prefix.last() {
        let record = subnet.addresses.get(address);
        let count = if record.is_some_and(|record| record.leased) {
            &mut counts.leased
        } else if [low, high].contains(&Some(address)) {
            &mut counts.never_given
        } else if address == slot {
            &mut counts.slot
        } else if subnet.foreign().contains(address) && !is_own(prefix.address(address)) {
            &mut counts.others
        } else if subnet.router() == Some(address)
            || subnet.foreign().contains(address)
            || reserved.iter().any(|(first, last)| (*first..=*last).contains(&address))
        {
            &mut counts.reserved
        } else if record.is_some_and(|record| record.since.saturating_add(cooling) > plan.now()) {
            &mut counts.cooling
        } else {
            &mut counts.free
        };
        *count += 1;
    }
    counts
}

/// The plan rebuilt from the books equals the plan that is served.
pub fn faithful(plan: &Plan, rows: &Rows, model: &Model) -> Held {
    let rebuilt = rows.rebuild(plan.settings(), model.now);
    ensure(rebuilt == *plan, || format!("faithful: rebuilt {rebuilt:#?}\nserved {plan:#?}"))
}
