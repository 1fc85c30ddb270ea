//! Slices: the parts of a pool that belong to this host, if several hosts share the pool.
//!
//! The pool sets the length of its slices. The prefix of a slice is its name, so two hosts that want the same
//! part want the same slice.
//! Promises: networks are cut only from held slices; a slice is given back only when no subnet is left in it.
//! This module does not know the other hosts, and does not choose or claim slices: it records the outcome of
//! a claim.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::Plan;
use super::change::{Change, Kind, Record, Serial};
use super::error::{ErrorKind, Refusal};
use super::free_space::Standing;
use super::intervals::Intervals;
use super::pool_spaces::{PoolSpace, PoolSpaces};
use super::prefix::{Prefix, meeting};
use super::prefix_index::PrefixIndex;
use super::request::{Decision, Space};
use super::settings::Shared;
use super::subnet::{Reserved, Subnet};

/// What this host may do with a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SliceState {
    /// It belongs to this host.
    Held,
    /// This host is giving it back: it gets no new subnets, until other hosts can claim it.
    Leaving,
    /// It belongs to another host although this host has networks in it: it gets no new subnets.
    Lost,
}

impl SliceState {
    const ALL: [Self; 3] = [Self::Held, Self::Leaving, Self::Lost];

    /// The word in the books and in views.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Leaving => "leaving",
            Self::Lost => "lost",
        }
    }

    /// The state with this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == text)
    }
}

/// A slice of this host, as recorded in the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    pub prefix: Prefix,
    pub state: SliceState,
    /// The proof of the claim, in the format of the part that decides about slices. The plan does not read
    /// it.
    pub claim: Box<str>,
}

/// Space of a sliced pool that a request needs and that no slice of this host contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Want {
    /// Any slice of this base.
    Room { base: Prefix },
    /// The slices that contain this prefix.
    These(Prefix),
}

/// What cannot be claimed, and why. Allocates nothing while that is empty, as almost every request is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cannot(Option<Arc<BTreeMap<Want, Box<str>>>>);

impl Cannot {
    /// Why this cannot be claimed, if that is known.
    pub fn why(&self, want: Want) -> Option<&str> {
        self.0.as_ref()?.get(&want).map(|why| &**why)
    }

    pub(super) fn note(&mut self, want: Want, why: &str) {
        Arc::make_mut(self.0.get_or_insert_default()).insert(want, why.into());
    }
}

impl fmt::Display for Want {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Room { base } => write!(formatter, "a slice of {base}"),
            Self::These(prefix) => write!(formatter, "the slice around {prefix}"),
        }
    }
}

/// A change of the slices, requested by the part that decides about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SliceRequest {
    /// The slice belongs to this host.
    Owned { prefix: Prefix, claim: Box<str> },
    /// This host wants to give the slice back; refused while a subnet in it is held or cooling.
    Leave { prefix: Prefix },
    /// The slice belongs to another host although this host has networks in it.
    Lost { prefix: Prefix },
    /// The slice no longer concerns this host; refused while a subnet in it is held.
    Gone { prefix: Prefix },
}

/// The slices of this host. They do not overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slices(BTreeMap<Prefix, Slice>);

impl Slices {
    /// All slices, by prefix.
    pub fn iter(&self) -> impl Iterator<Item = &Slice> {
        self.0.values()
    }

    /// The slice with exactly this prefix.
    pub fn get(&self, prefix: Prefix) -> Option<&Slice> {
        self.0.get(&prefix)
    }

    pub(super) fn put(&mut self, slice: Slice) {
        self.0.insert(slice.prefix, slice);
    }

    pub(super) fn remove(&mut self, prefix: Prefix) {
        self.0.remove(&prefix);
    }

    /// The slices that overlap this prefix, in any state.
    pub fn meeting(&self, prefix: Prefix) -> impl Iterator<Item = &Slice> {
        self.0.range(meeting(&self.0, prefix)).map(|(_, slice)| slice)
    }

    fn held(&self, prefix: Prefix) -> impl Iterator<Item = Prefix> {
        self.meeting(prefix).filter(|slice| slice.state == SliceState::Held).map(|slice| slice.prefix)
    }

    /// Whether the held slices contain all of this prefix; adjacent slices may contain it together.
    pub fn cover(&self, prefix: Prefix) -> bool {
        let mut next = Some(prefix.first());
        for slice in self.held(prefix) {
            if next.is_none_or(|next| slice.first() > next) {
                return false;
            }
            next = slice.last().checked_add(1);
            if slice.last() >= prefix.last() {
                return true;
            }
        }
        false
    }
}

/// The occupied space of a base: the subnets and, in a sliced pool, everything outside this host's slices.
pub(super) struct Occupied<'a> {
    pub(super) standing: &'a [PrefixIndex<Serial>],
    /// The slices, if the pool is sliced.
    pub(super) owned: Option<&'a Slices>,
}

impl Standing for Occupied<'_> {
    fn covers(&self, prefix: Prefix) -> bool {
        self.standing.covers(prefix) || self.owned.is_some_and(|slices| slices.held(prefix).next().is_none())
    }

    fn is_in(&self, prefix: Prefix) -> bool {
        self.standing.is_in(prefix) || self.owned.is_some_and(|slices| !slices.cover(prefix))
    }
}

/// What limits dynamic choice inside subnets.
pub(super) struct Confines<'a> {
    pub(super) reserved: &'a Reserved,
    pub(super) spaces: &'a PoolSpaces,
    pub(super) slices: &'a Slices,
}

impl Subnet {
    /// How this subnet is shared with other hosts, if it is.
    pub(super) fn shared_in<'a>(&self, spaces: &'a PoolSpaces) -> Option<&'a Shared> {
        let local = self.state.space == Space::Local;
        spaces.divided_around(self.state.prefix).filter(|_| local).and_then(PoolSpace::shared)
    }
}

impl Confines<'_> {
    /// The addresses of a shared subnet that this host does not give dynamically: those of other hosts, those
    /// that no host has claimed, and those that are given only by number.
    pub(super) fn foreign(&self, prefix: Prefix, shared: &Shared) -> Intervals {
        let mut foreign = Intervals::default();
        foreign.insert(prefix.first(), prefix.last());
        let by_number = |slice: &Prefix| shared.by_number.is_some_and(|part| part.contains(*slice));
        for slice in self.slices.held(prefix).filter(|slice| !by_number(slice)) {
            foreign.cut(slice.first(), slice.last());
        }
        foreign
    }
}

impl Plan {
    /// The slices of this host.
    pub const fn slices(&self) -> &Slices {
        &self.slices
    }

    /// The addresses of a shared subnet that lie in no slice of this host; empty if the subnet is not shared.
    pub fn elsewhere(&self, subnet: &Subnet) -> Intervals {
        let (prefix, mut elsewhere) = (subnet.state.prefix, subnet.foreign().clone());
        if elsewhere.overlapping(prefix.first(), prefix.last()).next().is_some() {
            let own = self.slices.meeting(prefix).filter(|slice| slice.state != SliceState::Lost);
            own.for_each(|slice| elsewhere.cut(slice.prefix.first(), slice.prefix.last()));
        }
        elsewhere
    }

    /// Whether an address of a divided pool lies in a slice of this host, and up to which address that stays so; `None`
    /// outside of divided pools.
    pub(super) fn in_own_slice(&self, address: Prefix) -> Option<(bool, u128)> {
        let base = self.spaces.divided_around(address)?.base();
        let is_own = |slice: &&Slice| slice.state != SliceState::Lost;
        if let Some(slice) = self.slices.meeting(address).find(is_own) {
            return Some((true, slice.prefix.last()));
        }
        let mut later = self.slices.0.range(address..=*base.within().end()).map(|(_, slice)| slice);
        let next = later.find(is_own).map(|slice| slice.prefix.first() - 1);
        Some((false, next.unwrap_or(base.last())))
    }

    /// The slices that this host must hold before it grants this subnet; `None` if it already holds them, or
    /// if the subnet is not cut from slices.
    pub(super) fn unowned_subnet(&self, prefix: Prefix) -> Option<Want> {
        let cut = self.spaces.divided_around(prefix).is_some_and(PoolSpace::cut_from_slices);
        (cut && !self.slices.cover(prefix)).then_some(Want::These(prefix))
    }

    /// The slices that this host must hold before it grants this address of a subnet by number; `None` if it
    /// already holds them, or if the subnet is not shared.
    pub(super) fn unowned_address(&self, subnet: &Subnet, address: u128) -> Option<Want> {
        subnet.shared_in(&self.spaces)?;
        let address = Prefix::host(subnet.state.prefix.address(address));
        (!self.slices.cover(address)).then_some(Want::These(address))
    }

    /// The slice around a private subnet that this host has lost: another host may have cut the same subnet from it.
    pub(super) fn lost_around(&self, subnet: &Subnet) -> Option<Prefix> {
        if self.slices.0.is_empty() {
            return None;
        }
        let prefix = subnet.state.prefix;
        let lost = self.slices.meeting(prefix).find(|slice| slice.state == SliceState::Lost)?;
        let cut = self.spaces.divided_around(prefix).is_some_and(PoolSpace::cut_from_slices);
        (cut && subnet.state.space == Space::Local).then_some(lost.prefix)
    }

    /// The slices that this host can claim to get another address of a subnet; `None` if the subnet is not
    /// shared, or if this host holds all of it.
    pub(super) fn more_addresses(&self, subnet: &Subnet) -> Option<Want> {
        let slice = self.spaces.divided_around(subnet.state.prefix).and_then(PoolSpace::slice)?;
        subnet.shared_in(&self.spaces)?;
        let part = subnet.state.range.unwrap_or(subnet.state.prefix);
        if self.slices.cover(part) {
            return None;
        }
        Some(if part.length() <= slice { Want::Room { base: part } } else { Want::These(part) })
    }

    /// Decides a change of the slices.
    pub(super) fn decide_slice(&self, request: &SliceRequest) -> Decision {
        Decision::done(match request {
            SliceRequest::Owned { prefix, claim } => self.own(*prefix, claim),
            SliceRequest::Leave { prefix } => {
                self.leave(*prefix, true).map(|()| self.become_state(*prefix, SliceState::Leaving))
            }
            SliceRequest::Lost { prefix } => Ok(self.become_state(*prefix, SliceState::Lost)),
            SliceRequest::Gone { prefix } => self.leave(*prefix, false).map(|()| self.forget_slice(*prefix)),
        })
    }

    fn own(&self, prefix: Prefix, claim: &str) -> Result<Vec<Change>, Refusal> {
        if let Some(other) = self.slices.meeting(prefix).find(|other| other.prefix != prefix) {
            return Err(Refusal::invalid_request(format!(
                "slice {prefix} overlaps slice {} of this host, which is {}",
                other.prefix,
                other.state.name()
            )));
        }
        let same = |known: &&Slice| known.state == SliceState::Held && *known.claim == *claim;
        if self.slices.get(prefix).filter(same).is_some() {
            return Ok(Vec::new());
        }
        let (state, claim) = (SliceState::Held, claim.into());
        Ok(vec![Change::SlicePut(Slice { prefix, state, claim })])
    }

    fn become_state(&self, prefix: Prefix, state: SliceState) -> Vec<Change> {
        let known = self.slices.get(prefix).filter(|known| known.state != state);
        known.map(|known| Change::SlicePut(Slice { state, ..known.clone() })).into_iter().collect()
    }

    fn forget_slice(&self, prefix: Prefix) -> Vec<Change> {
        self.slices.get(prefix).map(|_| Change::SliceGone { prefix }).into_iter().collect()
    }

    /// Refuses to part with a slice in which anything is held or, if `cooling`, still cools: a subnet, or in a subnet that
    /// hosts share an address.
    fn leave(&self, prefix: Prefix, cooling: bool) -> Result<(), Refusal> {
        let shared = self.spaces.divided_around(prefix).and_then(PoolSpace::shared);
        // An address by number may move at once: it is only given to a container that requests it, cooling or not.
        let by_number = shared.and_then(|shared| shared.by_number).is_some_and(|part| part.contains(prefix));
        let in_use = match shared {
            Some(_) => self.address_in(prefix, cooling && !by_number),
            None => self.subnet_in(prefix, cooling),
        };
        let refused = |what| Refusal::new(ErrorKind::Taken, format!("slice {prefix} is in use: {what}"));
        in_use.map_or(Ok(()), |what| Err(refused(what)))
    }

    fn subnet_in(&self, prefix: Prefix, cooling: bool) -> Option<String> {
        if let Some(subnet) = self.held_anywhere(prefix).and_then(|serial| self.subnet(serial)) {
            return Some(format!("subnet {} is in it", subnet.state.prefix));
        }
        let cools = cooling && self.cooling_by_prefix().overlapping(prefix).is_some();
        cools.then(|| "a released subnet in it is still cooling".to_owned())
    }

    fn address_in(&self, prefix: Prefix, cooling: bool) -> Option<String> {
        let subnets = self.subnets().filter(|subnet| {
            subnet.is_held_locally()
                && subnet.state.prefix.overlaps(prefix)
                && subnet.shared_in(&self.spaces).is_some()
        });
        subnets.into_iter().find_map(|subnet| {
            let (state, addresses) = (&subnet.state, &subnet.addresses);
            let common = |address: u128| addresses.is_leased(address) && address == subnet.slot();
            let stranger = |record: &Record| record.leased && record.kind == Kind::Stranger;
            let inside = addresses.records_from(prefix.first()).take_while(|(at, _)| *at <= prefix.last());
            let mut inside = inside.filter(|(at, record)| !common(*at) && !stranger(record));
            let cools =
                |record: &Record| cooling && record.since.saturating_add(self.cooling_of(subnet)) > self.now;
            let (at, record) = inside.find(|(_, record)| record.leased || cools(record))?;
            let how = if record.leased { "is leased" } else { "is still cooling" };
            Some(format!("{} {how}", state.prefix.address(at)))
        })
    }

    /// Applies a change of one slice: space outside held slices counts as occupied.
    pub(super) fn put_slice(&mut self, prefix: Prefix, slice: Option<Slice>) {
        let held = |slices: &Slices| slices.get(prefix).is_some_and(|slice| slice.state == SliceState::Held);
        let before = held(&self.slices);
        match slice {
            Some(slice) => self.slices.put(slice),
            None => self.slices.remove(prefix),
        }
        let after = held(&self.slices);
        if before == after {
            return;
        }
        self.spaces.slice_changed(prefix, after, &self.standing, &self.slices);
        if self.spaces.divided_around(prefix).is_some_and(|space| space.shared().is_some()) {
            let limits = Confines { reserved: &self.reserved, spaces: &self.spaces, slices: &self.slices };
            let met = self.subnets.values_mut().filter(|subnet| subnet.state.prefix.overlaps(prefix));
            met.for_each(|subnet| subnet.bound(&limits));
        }
    }
}
