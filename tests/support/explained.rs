//! *explained*: `Plan::decide` gives what `Plan::explain` predicts, and finds it in the way that the
//! explanation names.
//!
//! Promises: judges each way by the books before the answer, without using the plan's own order. Makes no
//! decisions.

use gipam::plan::change::Record;
use gipam::plan::explain::{ExplainStep, Explanation};
use gipam::plan::pins::Holder;
use gipam::plan::prefix::{Family, Prefix, number};
use gipam::plan::request::{AddressRequest, Decision, Mac, Reply, Request, SubnetRequest, Wanted};
use gipam::plan::settings::{AddressOrder, rfc3339};
use gipam::plan::{Plan, Subnet};

type Held = Result<(), String>;

const MARK: &str = ": it would be given";

fn ensure(holds: bool, explanation: &Explanation, what: impl FnOnce() -> String) -> Held {
    if holds { Ok(()) } else { Err(format!("explained: {}\n{explanation:#?}", what())) }
}

/// The plan as it was before the decision, and the decision.
pub fn explained(plan: &Plan, request: &Request, decision: &Decision) -> Held {
    if !matches!(request, Request::Subnet(_) | Request::Address(_)) {
        return Ok(());
    }
    let explanation = plan.explain(request);
    let given = match &decision.reply {
        Ok(Reply::Address { address, length }) => Ok(format!("{address}/{length}")),
        Ok(Reply::Subnet { prefix, .. }) => Ok(prefix.to_string()),
        Ok(Reply::Wait(until)) => Ok(format!("an answer at {}, when something has cooled", rfc3339(*until))),
        Ok(Reply::Claim(want)) => Ok(format!("an answer after this host has claimed {want}")),
        Ok(_) => return Ok(()),
        Err(refusal) => Err(refusal.text.clone()),
    };
    if explanation.depends.is_some() {
        return ensure(depends(plan, request), &explanation, || {
            "it should not depend on the caller".to_owned()
        });
    }
    let said = explanation.given.clone().ok_or_else(|| explanation.refused.clone().unwrap_or_default());
    ensure(said == given, &explanation, || format!("it is {given:?}"))?;
    let marked: Vec<&ExplainStep> =
        explanation.steps.iter().filter(|step| step.found.ends_with(MARK)).collect();
    let chosen = match (request, &decision.reply) {
        (Request::Address(request), Ok(Reply::Address { address, .. })) if request.address.is_none() => {
            Some(address.to_string())
        }
        (Request::Subnet(request), Ok(Reply::Subnet { prefix, .. }))
            if matches!(request.wanted, Wanted::Any { .. }) =>
        {
            Some(prefix.to_string())
        }
        _ => None,
    };
    let Some(chosen) = chosen else {
        let more = || format!("{} steps give something", marked.len());
        return ensure(marked.is_empty(), &explanation, more);
    };
    let [step] = marked.as_slice() else {
        return ensure(false, &explanation, || format!("{chosen} is given by {} steps", marked.len()));
    };
    let word = step.found.split([' ', ',', ':']).next().unwrap_or_default();
    let text = if chosen.contains(':') { step.found.starts_with(&chosen) } else { word == chosen };
    ensure(text, &explanation, || format!("{chosen} is given"))?;
    let way = step.what.split_once(". ").map_or(step.what.as_str(), |(_, way)| way);
    let good = match (request, &decision.reply) {
        (Request::Address(request), Ok(Reply::Address { address, .. })) => plan
            .asked_under(&request.id)
            .is_some_and(|subnet| is_way(plan, subnet, request, way, number(*address))),
        (Request::Subnet(request), Ok(Reply::Subnet { prefix, .. })) => {
            is_subnet_way(plan, request, way, *prefix)
        }
        _ => false,
    };
    ensure(good, &explanation, || format!("{chosen} is not {way:?}"))
}

fn order(plan: &Plan, subnet: &Subnet) -> AddressOrder {
    let state = &subnet.state;
    let base = plan.pool(state.pool.as_deref().unwrap_or_default()).and_then(|it| it.base(Family::V6));
    base.filter(|_| state.prefix.family() == Family::V6).map_or(AddressOrder::Sequential, |it| it.addresses)
}

/// Whether the address depends on a property that this request does not have.
fn depends(plan: &Plan, request: &Request) -> bool {
    let Request::Address(request) = request else { return false };
    let order = plan.asked_under(&request.id).map(|subnet| order(plan, subnet));
    match order {
        Some(AddressOrder::Eui64) => request.mac.is_none(),
        Some(AddressOrder::Stable) => request.mac.is_none() && request.name.is_none(),
        _ => false,
    }
}

fn is_of(record: &Record, request: &AddressRequest) -> bool {
    let by_name = request.name.is_some() && record.name == request.name;
    by_name || (request.mac.is_some() && record.mac == request.mac)
}

fn is_way(plan: &Plan, subnet: &Subnet, request: &AddressRequest, way: &str, address: u128) -> bool {
    let record = subnet.addresses.get(address);
    let free = record.filter(|record| !record.leased);
    let cools = |record: &Record| record.since + plan.cooling_of(subnet) > plan.now();
    let pin = subnet.pins().get(&address);
    let slot = subnet.slot();
    let range = subnet.state.range.unwrap_or(subnet.state.prefix);
    // Whether another free address was released earlier; addresses that another grant of the prefix leases do
    // not count.
    let older = |this: &Record| {
        let others = subnet.addresses.records().filter(|(other, _)| subnet.addresses.bounds().allow(*other));
        let mut others =
            others.filter(|(_, other)| !other.leased && other.asked_by_number == this.asked_by_number);
        others.any(|(other, record)| {
            let sibling = plan.grants_of(subnet.state.space, subnet.state.prefix);
            let kept = sibling.filter(|it| it.addresses.is_leased(other)).count() > 0;
            !kept && (record.since, other) < (this.since, address)
        })
    };
    let identified = request.name.is_some() || request.mac.is_some();
    let fits = match way {
        "pinned to it by hand" => pin.is_some_and(|pin| match &pin.holder {
            Holder::Name(name) => request.name.as_ref() == Some(name),
            Holder::Mac(mac) => request.mac == Some(*mac),
        }),
        "follows from its MAC" => {
            let identifier = (address - subnet.state.prefix.first()).to_be_bytes();
            let [.., a, b, c, 0xff, 0xfe, d, e, f] = identifier else { return false };
            let mac = Mac([a ^ 2, b, c, d, e, f]);
            order(plan, subnet) == AddressOrder::Eui64 && request.mac == Some(mac)
        }
        "its own lease, proven dead" => record.is_some_and(|it| it.leased && is_of(it, request)),
        "its own last address" => free.is_some_and(|it| is_of(it, request)),
        "the only one released just now" => {
            let recent = |it: &Record| it.since + plan.settings().restart_window > plan.now();
            free.is_some_and(|it| recent(it) && !it.asked_by_number && !it.withheld)
        }
        "follows from its name or MAC" => {
            record.is_none() && order(plan, subnet) == AddressOrder::Stable && identified
        }
        "never used" => record.is_none() && pin.is_none() && slot != address,
        "longest released" => free.is_some_and(|it| !it.asked_by_number && !cools(it) && !older(it)),
        "released, still cooling" => free.is_some_and(|it| !it.asked_by_number && cools(it) && !older(it)),
        "once requested by number" => free.is_some_and(|it| it.asked_by_number && !older(it)),
        "pinned to another holder by hand" => pin.is_some(),
        "the gateway's place" => slot == address,
        "the gateway already" => subnet.gateway_lease().is_some_and(|(gateway, _)| gateway == address),
        _ => false,
    };
    fits && (request.gateway || range.contains_number(address))
}

fn is_subnet_way(plan: &Plan, request: &SubnetRequest, way: &str, prefix: Prefix) -> bool {
    let over = |subnet: &&Subnet| subnet.state.prefix.overlaps(prefix);
    let standing = || plan.subnets().filter(over);
    let cools = |subnet: &Subnet| !subnet.is_held() && subnet.state.cool_until > plan.now();
    let free = || !standing().any(|subnet| subnet.is_held());
    if let Some(word) = way.strip_prefix("key=") {
        let here = (request.space, request.family, word, prefix);
        return free() && plan.keys().any(|(space, family, word, at, _)| (space, family, word, at) == here);
    }
    let pool = plan.pool_around(prefix).map(|pool| format!("pool {} (", pool.name));
    match way {
        "longest released" => free() && standing().any(cools),
        way => free() && !standing().any(cools) && pool.is_some_and(|pool| way.starts_with(&pool)),
    }
}
