//! The ways to find an address that recognize the caller: from its earlier address, or from its MAC.
//!
//! Their order is in [`choose_address`](super::choose_address). If the pool derives addresses from MACs, the last address is
//! tried only after the derived one. A request that does not identify its caller gets the address that was just released, if
//! there is exactly one.
//!
//! Promises: pure; constant time, except for scans of a small subnet's leases (after its dockerd has ended or has abandoned an
//! endpoint) and of those proven dead. A lease that is not proven dead is never given to another container, even to one with the
//! same name: after `docker rename`, the lease of a running container may still have the old name.

use super::change::{Change, Kind, Record, Why};
use super::choose_address::{AddressSearch, Choice, Miss};
use super::interface_id::eui64;
use super::pins::pin_of;
use super::prefix::Family;
use super::request::{Mac, Space};
use super::settings::{AddressOrder, Millis};

/// Docker requests the second half of an endpoint within this time.
const MOMENTS: Millis = 5_000;
/// The largest difference between the two clocks: the time of day dates the refusal, and the plan's clock dates the lease.
const OFF: Millis = 1_000;
/// A subnet with more leases than this is not searched by name.
const SEARCHED: usize = 4_096;

impl AddressSearch<'_> {
    /// The caller's last address that is not held now, by name or else by MAC.
    fn known(&self) -> Option<u128> {
        self.subnet.addresses.last_of(self.request.name.as_deref(), self.request.mac)
    }

    fn may_give(&self, address: u128) -> bool {
        self.subnet.addresses.bounds().allow(address) && self.open(address)
    }

    /// If the pool derives addresses from MACs: the address for the caller's MAC, with that MAC.
    fn made_of_mac(&self) -> Result<(u128, Mac), Miss> {
        if self.order != AddressOrder::Eui64 {
            return Err(Miss::Moot);
        }
        let mac = self.request.mac.ok_or(Miss::Unsaid("MAC", "--mac MAC"))?;
        eui64(self.subnet.state.prefix, mac).map(|address| (address, mac)).ok_or(Miss::Moot)
    }

    /// An earlier address of the caller. Warns if its MAC leads to a different address that could be given if it were free.
    fn earlier(&self, mut choice: Choice) -> Choice {
        if let Ok((derived, mac)) = self.made_of_mac()
            && derived != choice.address
            && self.may_give(derived)
        {
            let prefix = self.subnet.state.prefix;
            choice.warning = Some(format!(
                "{prefix}: {} does not follow from the MAC {}: {} is held or cooling",
                prefix.address(choice.address),
                mac,
                prefix.address(derived)
            ));
        }
        choice
    }
}

/// The address that is derived from the MAC, in a pool with `addresses = "eui64"`.
pub(super) fn follows_from_mac(search: &AddressSearch<'_>) -> Result<Choice, Miss> {
    let (derived, mac) = search.made_of_mac()?;
    let record = search.subnet.addresses.get(derived);
    let cooled = |record: &Record| !record.asked_by_number && !search.cools(record.since);
    let free = |record: &Record| !record.leased && (record.mac == Some(mac) || cooled(record));
    match (search.may_give(derived), record.is_none_or(free)) {
        (true, true) => Ok(Choice::of(derived, None)),
        (true, false) => Err(Miss::But(derived, "it is held or cooling".into())),
        (false, _) => Err(Miss::But(derived, "dynamic choice does not give it".into())),
    }
}

/// The caller's newest lease that is proven dead, unless a newer address of the caller is free.
pub(super) fn dead_lease(search: &AddressSearch<'_>) -> Result<Choice, Miss> {
    let (address, cleared) = search.own_dead().ok_or(Miss::Moot)?;
    let generation =
        |address: u128| search.subnet.addresses.get(address).map_or(0, |record| record.generation);
    if search.known().is_some_and(|known| generation(known) >= generation(address)) {
        return Err(Miss::But(address, "the container had a later one".into()));
    }
    Ok(search.earlier(Choice::replacing(search.unshared(address)?, cleared)))
}

pub(super) fn last_address(search: &AddressSearch<'_>) -> Result<Choice, Miss> {
    let anonymous = search.request.name.is_none() && search.request.mac.is_none();
    let known = search.known().ok_or(if anonymous { Miss::Moot } else { Miss::Forgotten })?;
    if !search.subnet.addresses.bounds().allow(known) {
        return Err(Miss::But(known, "it is outside the range, reserved or pinned by hand".into()));
    }
    Ok(search.earlier(Choice::of(search.unshared(known)?, None)))
}

/// For a request that does not identify its caller (Engines before 29): the only address that was released within the restart
/// window, so that a restarted container gets its own. If several were released, it gives none: each may be another container's.
pub(super) fn just_released(search: &AddressSearch<'_>) -> Result<Choice, Miss> {
    let AddressSearch { plan, subnet, request, .. } = search;
    let window = plan.settings.restart_window;
    if !search.is_anonymous() || request.serial || subnet.state.space != Space::Local || window == 0 {
        return Err(Miss::Moot);
    }
    let found = subnet.addresses.only_released_since(plan.now.saturating_sub(window)).ok_or(Miss::None)?;
    if search.known().is_some() || search.made_of_mac().is_ok() {
        return Err(Miss::Moot);
    }
    Ok(Choice::of(search.unshared(found)?, None))
}

impl AddressSearch<'_> {
    /// The lease that is the other half of an endpoint whose IPv6 half was refused: Docker abandoned the endpoint and never
    /// releases it (P20). To be certain, it must be the only lease with all of this: the name of the refused request and of the
    /// caller (if names are not sent, the caller has that request's MAC); the refused request's MAC, which Docker generates for
    /// each endpoint, so that no other endpoint of a renamed container has it; and a grant moments before the refusal.
    pub(super) fn other_half(&self) -> Option<u128> {
        let half = self.request.half.as_ref().filter(|half| half.is_of(self.request))?;
        let (state, addresses) = (&self.subnet.state, &self.subnet.addresses);
        let is_v4 = state.space == Space::Local && state.prefix.family() == Family::V4;
        if !is_v4 || addresses.leased() > SEARCHED {
            return None;
        }
        let is_it = |record: &Record| {
            record.kind == Kind::Endpoint
                && (record.name == half.name && record.mac == Some(half.mac))
                && (half.at.saturating_sub(MOMENTS)..half.at.saturating_add(OFF)).contains(&record.since)
        };
        let mut found = addresses.leases().filter(|(_, record)| is_it(record));
        let (address, _) = found.next()?;
        found.next().is_none().then_some(address)
    }

    /// The change that frees the lease of an abandoned endpoint.
    pub(super) fn given_up(&self, address: u128) -> Change {
        let why = Why::Repair("its IPv6 request was refused, so Docker abandoned the endpoint".into());
        Change::AddressReleased { serial: self.subnet.state.serial, address, at: self.plan.now, why }
    }

    /// The newest lease with this name or MAC that is proven dead, with the change that frees it.
    fn own_dead(&self) -> Option<(u128, Change)> {
        let Self { plan, subnet, request, .. } = self;
        let gone = plan.asked_by_the_gone(subnet.state.generation);
        // Usually, no lease is known to be dead.
        if !gone && request.dead.proven.is_empty() && request.half.is_none() {
            return None;
        }
        if let Some(address) = self.other_half() {
            return Some((address, self.given_up(address)));
        }
        let (addresses, serial) = (&subnet.addresses, subnet.state.serial);
        let mut found: Vec<(u64, u128)> = Vec::new();
        let of_subnet = (serial, Some(0), 0)..=(serial, Some(u128::MAX), u64::MAX);
        for ((_, address, generation), _) in request.dead.proven.range(of_subnet) {
            let Some(address) = *address else { continue };
            let record = addresses.lease(address).filter(|record| record.generation == *generation);
            found.extend(record.filter(|it| request.is_of_caller(it)).map(|_| (*generation, address)));
        }
        if gone && addresses.leased() <= SEARCHED {
            let leased = addresses.leases().filter(|(_, record)| request.is_of_caller(record));
            found.extend(leased.map(|(address, record)| (record.generation, address)));
        }
        if found.is_empty() {
            return None;
        }
        found.sort_unstable();
        let pinned = pin_of(subnet, request.name.as_deref(), request.mac);
        let allowed = |address: u128| {
            addresses.bounds().allow(address)
                || (pinned == Some(address) && plan.not_dynamic(subnet, address).is_none())
        };
        let newest = found.into_iter().rev().map(|(_, address)| address).filter(|it| allowed(*it));
        newest.filter_map(|it| Some((it, self.clear(subnet, it)?))).next()
    }
}

impl Record {
    /// Whether this is an endpoint's address that Docker released and that no fixed MAC ties to a holder.
    pub(super) fn may_come_back(&self) -> bool {
        !self.leased && !self.withheld && self.kind == Kind::Endpoint && self.mac.is_none_or(Mac::is_made_up)
    }
}
