//! Finding a holder's previous address: which one a request for any address should get back.
//!
//! In this order: the last address of its name or MAC, if it is free or if the lease there is its own and is
//! proven dead; where the pool makes addresses of MACs, only one that follows from this MAC; for a request that identifies
//! nobody, the address that was just released, if it is the only one.
//!
//! Promises: pure; constant time except for a scan of a small subnet's leases after its dockerd has ended. A lease that is not proven
//! dead is given to nobody, not even under the same name: `docker rename` leaves a living one under the old name.

use super::Plan;
use super::change::{Change, Kind, Record, Why};
use super::choose_address::{Choice, mac_text, replaces_the_dead};
use super::interface_id::eui64;
use super::pins::pin_of;
use super::prefix::Family;
use super::request::{AddressRequest, Context, Mac, Space};
use super::settings::{AddressOrder, Millis};
use super::siblings::Siblings;
use super::subnet::Subnet;

/// Docker asks for the second half of an endpoint at once.
const MOMENTS: Millis = 5_000;
/// The time of day, which dates the refusal, may be off by less than this from the plan's, which dates the lease.
const OFF: Millis = 1_000;
/// With more leases than this, a subnet is not searched by name.
const SEARCHED: usize = 4_096;

impl Plan {
    /// The previous address that this request should get back, if it can be given.
    pub(super) fn own(
        &self,
        subnet: &Subnet,
        request: &AddressRequest,
        siblings: &Siblings<'_>,
        context: Context,
    ) -> Option<Choice> {
        let addresses = &subnet.addresses;
        let open = |address: &u128| addresses.bounds().allow(*address) && !siblings.hold(*address);
        let known = addresses.last_of(request.name.as_deref(), request.mac);
        let generation = |address: u128| addresses.get(address).map_or(0, |record| record.generation);
        let mut own = known.filter(open).map(|address| Choice::of(address, None));
        if let Some((address, cleared)) = self.own_dead(subnet, request, context)
            && known.is_none_or(|known| generation(known) < generation(address))
            && !siblings.hold(address)
        {
            let told = Some(replaces_the_dead(subnet, address));
            own = Some(Choice { cleared: Some(cleared), ..Choice::of(address, told) });
        }
        if let Some((derived, mac)) = self.made_of_mac(subnet, request)
            && own.as_ref().is_none_or(|own| own.address != derived)
        {
            return self.instead(subnet, own, (derived, mac), open, context);
        }
        if own.is_none() && known.is_none() {
            return self.just_released(subnet, request, context).filter(open).map(|it| Choice::of(it, None));
        }
        own
    }

    /// The address that was released last, for a request that does not which anybody is known again (Engines before
    /// 29): a container that is restarted gets its own. Only one release counts; with several, it could be another container's.
    fn just_released(&self, subnet: &Subnet, request: &AddressRequest, context: Context) -> Option<u128> {
        let window = self.settings.restart_window;
        // Docker invents new MACs at each start and marks them as such; any other MAC identifies a holder.
        let anonymous = request.name.is_none() && request.mac.is_none_or(is_made_up);
        let asks = anonymous && !request.serial && subnet.state.space == Space::Local && window > 0;
        asks.then(|| subnet.addresses.only_released_since(context.now.saturating_sub(window)))?
    }

    /// The lease that is the other half of an endpoint whose IPv6 half was refused: Docker abandoned the endpoint and never
    /// releases it (P20). Required for certainty: the same name, or the same fixed MAC if names are not sent; the same MAC, which
    /// Docker invents for each endpoint, so it cannot be another endpoint of a renamed container; granted moments before the
    /// refusal; and the only such lease.
    pub(super) fn other_half(&self, subnet: &Subnet, request: &AddressRequest) -> Option<u128> {
        let half = request.half.as_ref().filter(|half| half.is_of(request))?;
        let state = &subnet.state;
        if state.space != Space::Local || state.prefix.family() != Family::V4 {
            return None;
        }
        let is_it = |record: &Record| {
            record.leased
                && record.kind == Kind::Endpoint
                && (record.name == half.name && record.mac == Some(half.mac))
                && (half.at.saturating_sub(MOMENTS)..half.at.saturating_add(OFF)).contains(&record.since)
        };
        if subnet.addresses.leased() > SEARCHED {
            return None;
        }
        let mut found = subnet.addresses.records().filter(|(_, record)| is_it(record));
        let (address, _) = found.next()?;
        found.next().is_none().then_some(address)
    }

    /// The change that frees it.
    pub(super) fn given_up(&self, subnet: &Subnet, address: u128, context: Context) -> Change {
        let why = Why::Repair("its IPv6 request was refused, so Docker abandoned the endpoint".into());
        Change::AddressReleased { serial: subnet.state.serial, address, at: context.now, why }
    }

    /// The newest lease of this name or MAC that is proven dead, with the change that frees it.
    fn own_dead(
        &self,
        subnet: &Subnet,
        request: &AddressRequest,
        context: Context,
    ) -> Option<(u128, Change)> {
        let is_own = |record: &Record| match (&request.name, request.mac) {
            (Some(name), _) => record.name.as_ref() == Some(name),
            (None, Some(mac)) => record.mac == Some(mac),
            (None, None) => false,
        };
        if request.name.is_none() && request.mac.is_none() {
            return None;
        }
        if let Some(address) = self.other_half(subnet, request) {
            return Some((address, self.given_up(subnet, address, context)));
        }
        let (addresses, serial) = (&subnet.addresses, subnet.state.serial);
        let mut found: Vec<(u64, u128)> = Vec::new();
        for ((_, address, generation), _) in
            request.dead.leases.range((serial, 0, 0)..=(serial, u128::MAX, u64::MAX))
        {
            let record = addresses.get(*address).filter(|record| record.generation == *generation);
            found.extend(record.filter(|it| it.leased && is_own(it)).map(|_| (*generation, *address)));
        }
        if self.asked_by_the_gone(subnet.state.generation) && addresses.leased() <= SEARCHED {
            let leased = addresses.records().filter(|(_, record)| record.leased && is_own(record));
            found.extend(leased.map(|(address, record)| (record.generation, address)));
        }
        found.sort_unstable();
        let pinned = pin_of(subnet, request.name.as_deref(), request.mac);
        let allowed = |address: u128| {
            addresses.bounds().allow(address)
                || (pinned == Some(address) && self.not_dynamic(subnet, address).is_none())
        };
        let newest = found.into_iter().rev().map(|(_, address)| address).filter(|it| allowed(*it));
        newest.filter_map(|it| Some((it, self.clear_lease(subnet, it, &request.dead, context)?))).next()
    }

    /// Where the pool makes addresses of MACs: the one that follows from this MAC.
    pub(super) fn made_of_mac(&self, subnet: &Subnet, request: &AddressRequest) -> Option<(u128, Mac)> {
        let (state, mac) = (&subnet.state, request.mac?);
        let pool = self.settings.pool(state.pool.as_deref()?)?;
        let order = pool.base(Family::V6)?.addresses;
        let made = order == AddressOrder::Eui64 && state.prefix.family() == Family::V6 && !request.serial;
        made.then(|| eui64(state.prefix, mac))?.map(|address| (address, mac))
    }

    /// The address that follows from the MAC, in place of the last one, which does not; the last one if that is taken.
    fn instead(
        &self,
        subnet: &Subnet,
        own: Option<Choice>,
        (derived, mac): (u128, Mac),
        open: impl Fn(&u128) -> bool,
        context: Context,
    ) -> Option<Choice> {
        let record = subnet.addresses.get(derived);
        let cooled = |record: &Record| {
            !record.pinned && record.since.saturating_add(self.cooling_of(subnet)) <= context.now
        };
        let free = |record: &Record| !record.leased && (record.mac == Some(mac) || cooled(record));
        if open(&derived) && record.is_none_or(free) {
            return Some(Choice { unknown: record.is_none(), ..Choice::of(derived, None) });
        }
        let mut own = own?;
        if open(&derived) {
            let prefix = subnet.state.prefix;
            own.warning = Some(format!(
                "{prefix}: {} does not follow from the MAC {}: {} is held or cooling",
                prefix.address(own.address),
                mac_text(mac),
                prefix.address(derived)
            ));
        }
        Some(own)
    }
}

/// Whether software may have invented this MAC: the bit of locally administered ones is set.
pub const fn is_made_up(mac: Mac) -> bool {
    mac[0] & 2 != 0
}

impl Record {
    /// Whether this is an endpoint's address that Docker released and that is not known to belong to a specific holder.
    pub(super) fn may_come_back(&self) -> bool {
        !self.leased && !self.withheld && self.kind == Kind::Endpoint && self.mac.is_none_or(is_made_up)
    }
}
