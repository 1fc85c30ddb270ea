//! WHICH ADDRESS: the ways to find one for a container or for a gateway, in the order in which they are tried.
//!
//! [`ORDER`] and [`GATEWAY`] are the complete order: [`AddressSearch::first`] uses the first way that finds an address,
//! [`explain`](super::explain) prints all of them. The ways that recognize the caller are in [`own`](super::own).
//!
//! Promises: pure; each way is O(log n); a dynamic address lies in its range and is not reserved. Does not grant anything.

use std::borrow::Cow;

use super::Plan;
use super::change::Change;
use super::interface_id::{STABLE_TRIES, stable};
use super::own;
use super::pins::pin_of;
use super::prefix::{Family, Prefix};
use super::request::{AddressRequest, Mac};
use super::settings::{AddressOrder, Millis};
use super::siblings::Siblings;
use super::subnet::Subnet;

/// A way to find an address, with its name for people.
pub(super) type AddressWay = (&'static str, fn(&AddressSearch<'_>) -> Result<Choice, Miss>);

/// The ways for a container.
pub(super) const ORDER: &[AddressWay] = &[
    ("pinned to it by hand", pinned_to_it),
    ("follows from its MAC", own::follows_from_mac),
    ("its own lease, proven dead", own::dead_lease),
    ("its own last address", own::last_address),
    ("the only one released just now", own::just_released),
    ("follows from its name or MAC", follows_from_holder),
    ("never used", never_used),
    ("longest released", longest_released),
    ("released, still cooling", still_cooling),
    ("once requested by number", asked_by_number),
    ("pinned to another holder by hand", others_pin),
    ("the gateway's place", gateways_place),
];

/// The ways for a container in a network whose slice this host has lost: only an address that the network gave before.
pub(super) const LOST: &[AddressWay] = &[
    ("pinned to it by hand", pinned_again),
    ("its own lease, proven dead", own::dead_lease),
    ("its own last address", own::last_address),
    ("the only one released just now", own::just_released),
    ("given before", given_before),
];

/// The ways for a gateway: first in the range, then anywhere in the subnet.
pub(super) const GATEWAY: &[AddressWay] = &[
    ("the gateway's place", free_slot),
    ("never used", never_used),
    ("longest released", longest_released),
    ("released, still cooling", still_cooling),
    ("once requested by number", asked_by_number),
    ("pinned to another holder by hand", others_pin),
];

/// The address found, and a warning for the operator, if there is one.
pub(super) struct Choice {
    pub(super) address: u128,
    pub(super) warning: Option<String>,
    /// The books have no record of the address, so no lookup is needed.
    pub(super) unknown: bool,
    /// The change that frees the dead lease at this address.
    pub(super) cleared: Option<Box<Change>>,
}

impl Choice {
    pub(super) const fn of(address: u128, warning: Option<String>) -> Self {
        Self { address, warning, unknown: false, cleared: None }
    }

    fn never_used(address: u128) -> Self {
        Self { unknown: true, ..Self::of(address, None) }
    }

    /// The address of a lease that is proven dead and that this change frees.
    pub(super) fn replacing(address: u128, cleared: Change) -> Self {
        Self { cleared: Some(Box::new(cleared)), ..Self::of(address, None) }
    }
}

/// Why a way does not find an address.
#[derive(Debug)]
pub(super) enum Miss {
    /// The way does not apply here.
    Moot,
    /// No address of this kind exists.
    None,
    /// The books remember no free address of the caller.
    Forgotten,
    /// The way needs information about the caller that the request lacks: what, and the option of `gipam explain` for it.
    Unsaid(&'static str, &'static str),
    /// It would find this address, but cannot give it for this reason.
    But(u128, Cow<'static, str>),
}

/// The search for one address.
pub(super) struct AddressSearch<'a> {
    pub(super) plan: &'a Plan,
    pub(super) subnet: &'a Subnet,
    pub(super) request: &'a AddressRequest,
    pub(super) siblings: Siblings<'a>,
    /// The order in which the pool gives its addresses.
    pub(super) order: AddressOrder,
    /// The slice around the subnet, if this host has lost it.
    pub(super) lost: Option<Prefix>,
}

impl<'a> AddressSearch<'a> {
    pub(super) fn new(plan: &'a Plan, subnet: &'a Subnet, request: &'a AddressRequest) -> Self {
        let order = order(plan, subnet, request);
        let (siblings, lost) = (plan.siblings(subnet), plan.lost_around(subnet));
        Self { plan, subnet, request, siblings, order, lost }
    }

    /// The ways that are tried for this request.
    pub(super) const fn ways(&self) -> &'static [AddressWay] {
        match (self.request.gateway, self.lost) {
            (true, _) => GATEWAY,
            (false, Some(_)) => LOST,
            (false, None) => ORDER,
        }
    }

    /// The result of the first way that finds an address.
    pub(super) fn first(&self) -> Option<Choice> {
        self.ways().iter().find_map(|(_, find)| find(self).ok())
    }

    /// Whether the request does not identify its caller: Docker generates new MACs at each start and marks them as such; any other
    /// MAC identifies a holder.
    pub(super) fn is_anonymous(&self) -> bool {
        self.request.name.is_none() && self.request.mac.is_none_or(Mac::is_made_up)
    }

    /// Whether no other network that shares the prefix has this address.
    pub(super) fn open(&self, address: u128) -> bool {
        !self.siblings.hold(address)
    }

    /// This address, unless another network that shares the prefix has it.
    pub(super) fn unshared(&self, address: u128) -> Result<u128, Miss> {
        if self.open(address) {
            return Ok(address);
        }
        let prefix = self.subnet.state.prefix;
        Err(Miss::But(address, format!("another network that shares {prefix} has it").into()))
    }

    /// Whether an address that was released at this time is still cooling.
    pub(super) fn cools(&self, since: Millis) -> bool {
        since.saturating_add(self.plan.cooling_of(self.subnet)) > self.plan.now
    }

    fn longest(&self, by_number: bool) -> Result<(Millis, u128), Miss> {
        let addresses = &self.subnet.addresses;
        addresses.longest_freed(by_number, self.request.gateway, |it| self.open(it)).ok_or(Miss::None)
    }

    /// An address that is given despite `although`.
    fn given(&self, address: u128, although: &str) -> Choice {
        let prefix = self.subnet.state.prefix;
        let address_text = prefix.address(address);
        Choice::of(
            address,
            Some(format!("{prefix}: {address_text} is given {although}; nothing else is free")),
        )
    }
}

/// libnetwork's label for next-fit.
const SERIAL: &str = "com.docker.network.ipam.serial";

fn order(plan: &Plan, subnet: &Subnet, request: &AddressRequest) -> AddressOrder {
    let state = &subnet.state;
    if state.prefix.family() == Family::V4 || request.serial || request.gateway {
        return AddressOrder::Sequential;
    }
    let base = plan.pool_of(subnet).and_then(|pool| pool.base(Family::V6));
    let serial = || state.options.get(SERIAL).is_some_and(|value| value == "true");
    match base.map_or(AddressOrder::Sequential, |base| base.addresses) {
        derived if derived != AddressOrder::Sequential && !serial() => derived,
        _ => AddressOrder::Sequential,
    }
}

fn pinned_to_it(search: &AddressSearch<'_>) -> Result<Choice, Miss> {
    let AddressSearch { plan, subnet, request, .. } = search;
    let pinned = pin_of(subnet, request.name.as_deref(), request.mac).ok_or(Miss::Moot)?;
    if subnet.addresses.is_leased(pinned) {
        return Err(Miss::But(pinned, "it is leased".into()));
    }
    if let Some(why) = plan.not_dynamic(subnet, pinned) {
        return Err(Miss::But(pinned, format!("it {why}").into()));
    }
    Ok(Choice::of(search.unshared(pinned)?, None))
}

fn pinned_again(search: &AddressSearch<'_>) -> Result<Choice, Miss> {
    let choice = pinned_to_it(search)?;
    let record = search.subnet.addresses.get(choice.address);
    let is_own = record.is_some_and(|record| search.request.is_of_caller(record));
    if is_own { Ok(choice) } else { Err(Miss::But(choice.address, "the container never had it".into())) }
}

/// For a request that does not identify its caller (Engines before 29), which may be a restarted container.
fn given_before(search: &AddressSearch<'_>) -> Result<Choice, Miss> {
    if !search.is_anonymous() {
        return Err(Miss::Moot);
    }
    search.longest(false).map(|(_, address)| Choice::of(address, None))
}

/// In a pool with `addresses = "stable"`: the address derived from the caller, if it was never used.
fn follows_from_holder(search: &AddressSearch<'_>) -> Result<Choice, Miss> {
    let (state, request) = (&search.subnet.state, search.request);
    if search.order != AddressOrder::Stable {
        return Err(Miss::Moot);
    }
    let holder = match (&request.name, request.mac) {
        (Some(name), _) => format!("name {name}"),
        (None, Some(mac)) => format!("mac {}", mac),
        (None, None) => return Err(Miss::Unsaid("name or MAC", "--holder NAME or --mac MAC")),
    };
    let range = state.range.unwrap_or(state.prefix);
    let beyond = |address: u128| state.start_beyond.is_none_or(|start| address > start);
    let free = |address: u128| search.subnet.addresses.is_never_used(address) && search.open(address);
    let derived = |tries| stable(range, state.prefix, &holder, tries, &search.plan.settings.secret);
    let found = (0..STABLE_TRIES).filter_map(derived).find(|address| beyond(*address) && free(*address));
    found.map(Choice::never_used).ok_or(Miss::None)
}

fn never_used(search: &AddressSearch<'_>) -> Result<Choice, Miss> {
    let (addresses, state) = (&search.subnet.addresses, &search.subnet.state);
    let open = |address: u128| search.open(address);
    let found = match search.request.gateway {
        true => {
            let places = [state.range.unwrap_or(state.prefix), state.prefix];
            places.iter().find_map(|it| addresses.never_used_in(it.first(), it.last(), open))
        }
        false => addresses.never_used(state.start_beyond, open),
    };
    found.map(Choice::never_used).ok_or(Miss::None)
}

fn longest_released(search: &AddressSearch<'_>) -> Result<Choice, Miss> {
    let (since, address) = search.longest(false)?;
    if search.cools(since) { Err(Miss::None) } else { Ok(Choice::of(address, None)) }
}

fn still_cooling(search: &AddressSearch<'_>) -> Result<Choice, Miss> {
    let (since, address) = search.longest(false)?;
    let cools = search.cools(since);
    if cools { Ok(search.given(address, "again while still cooling")) } else { Err(Miss::None) }
}

fn asked_by_number(search: &AddressSearch<'_>) -> Result<Choice, Miss> {
    let (_, address) = search.longest(true)?;
    Ok(search.given(address, "although it is pinned (once requested by number)"))
}

/// The address that was pinned longest ago.
fn others_pin(search: &AddressSearch<'_>) -> Result<Choice, Miss> {
    let AddressSearch { plan, subnet, request, .. } = search;
    let (address, pin) = plan.last_pinned(subnet, request.gateway).ok_or(Miss::Moot)?;
    let address = search.unshared(address)?;
    Ok(search.given(address, &format!("although it is pinned to {} by hand", pin.holder)))
}

/// The place where the gateway is, or would be.
fn free_slot(search: &AddressSearch<'_>) -> Result<Choice, Miss> {
    let slot = search.subnet.slot();
    if search.subnet.addresses.is_ours(slot) {
        return Err(Miss::But(slot, "it is leased".into()));
    }
    Ok(Choice::of(search.unshared(slot)?, None))
}

/// Gives the gateway's place to a container when no other address is left.
fn gateways_place(search: &AddressSearch<'_>) -> Result<Choice, Miss> {
    let slot = free_slot(search)?.address;
    if search.subnet.addresses.is_leased(slot) {
        return Err(Miss::But(slot, "a stranger has it".into()));
    }
    if search.subnet.shared_in(&search.plan.spaces).is_some() {
        return Err(Miss::But(slot, "it is the gateway on every host".into()));
    }
    if search.subnet.router() == Some(slot) {
        return Err(Miss::But(slot, "it is the gateway of the pool".into()));
    }
    let bounds = search.subnet.addresses.bounds();
    if slot < bounds.first || bounds.last < slot {
        return Err(Miss::But(slot, "it is outside the range".into()));
    }
    if search.subnet.reserved().contains(slot) {
        return Err(Miss::But(slot, "it is reserved".into()));
    }
    Ok(search.given(slot, "although it is the gateway's address"))
}
