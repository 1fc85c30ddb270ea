//! The naive plan's slices: an address belongs to this host if one of the held slices contains it.
//!
//! Promises: checks address by address. Does not claim anything.

use gipam::plan::change::{Record, SubnetState};
use gipam::plan::prefix::Prefix;
use gipam::plan::request::{Decision, Reply, SliceRequest, Space, Want};
use gipam::plan::settings::{Base, Shared};
use gipam::plan::slices::SliceState;

use super::{Entry, Expected, Model};

impl Model {
    /// Whether every address of a prefix lies in held slices.
    pub fn owns(&self, prefix: Prefix) -> bool {
        let held = |(slice, (state, _)): (&Prefix, &(SliceState, Box<str>))| {
            (*state == SliceState::Held && slice.family() == prefix.family()).then_some(*slice)
        };
        let held: Vec<Prefix> = self.slices.iter().filter_map(held).collect();
        (prefix.first()..=prefix.last())
            .all(|address| held.iter().any(|slice| slice.contains_number(address)))
    }

    /// Whether subnets are cut from slices where this prefix lies.
    pub fn is_sliced(&self, prefix: Prefix) -> bool {
        let bases = self.settings.pools.iter().flat_map(|pool| pool.bases());
        bases
            .into_iter()
            .any(|base| base.slice.is_some() && base.shared.is_none() && base.base.contains(prefix))
    }

    /// The base around a subnet, if networks of several hosts share it.
    pub fn shared(&self, state: &SubnetState) -> Option<(Base, Shared)> {
        let bases = self.settings.pools.iter().flat_map(|pool| pool.bases());
        let mut shared = bases.into_iter().filter_map(|base| base.shared.map(|shared| (*base, shared)));
        shared.find(|(base, _)| state.space == Space::Local && base.base.contains(state.prefix))
    }

    fn is_shared(&self, slice: Prefix) -> bool {
        let bases = self.settings.pools.iter().flat_map(|pool| pool.bases());
        bases.into_iter().any(|base| base.shared.is_some() && base.base.contains(slice))
    }

    fn is_by_number(&self, slice: Prefix) -> bool {
        let bases = self.settings.pools.iter().flat_map(|pool| pool.bases());
        let parts = bases.filter_map(|base| base.shared?.by_number);
        parts.into_iter().any(|part| part.contains(slice))
    }

    /// Whether a shared subnet has a leased address in a slice, apart from the gateway, or a cooling one.
    fn has_address_in(&self, entry: &Entry, slice: Prefix, cooling: bool) -> bool {
        let (slot, cools) = (self.slot(&entry.state), self.cooling(&entry.state));
        let used = |(address, record): (&u128, &Record)| {
            let used =
                if record.leased { *address != slot } else { cooling && record.since + cools > self.now };
            let used = used && !super::quarantine::is_strangers(record);
            entry.state.prefix.family() == slice.family() && slice.contains_number(*address) && used
        };
        entry.held() && self.shared(&entry.state).is_some() && entry.records.iter().any(used)
    }

    /// Whether this host may choose an address of a subnet by itself, as far as slices are concerned.
    pub fn may_choose(&self, state: &SubnetState, address: u128) -> bool {
        self.shared(state).is_none_or(|(_, shared)| {
            let held = self.slices.iter().filter(|(_, (state, _))| *state == SliceState::Held);
            let choice = |slice: &Prefix| shared.by_number.is_none_or(|part| !part.contains(*slice));
            let family = state.prefix.family();
            held.into_iter()
                .any(|(slice, _)| slice.family() == family && slice.contains_number(address) && choice(slice))
        })
    }

    /// The slice around a private subnet that this host has lost.
    pub fn lost(&self, state: &SubnetState) -> Option<Prefix> {
        let lost = self.slices.iter().filter(|(_, (slice, _))| *slice == SliceState::Lost);
        let mut met = lost.map(|(slice, _)| *slice).filter(|slice| slice.overlaps(state.prefix));
        met.next().filter(|_| state.space == Space::Local && self.is_sliced(state.prefix))
    }

    /// What a subnet without a good address would ask for.
    pub fn more(&self, state: &SubnetState) -> Option<Want> {
        let (base, _) = self.shared(state)?;
        let part = state.range.unwrap_or(state.prefix);
        let want = if part.length() <= base.slice? { Want::Room { base: part } } else { Want::These(part) };
        (!self.owns(part)).then_some(want)
    }

    pub fn slice(&mut self, request: &SliceRequest, seen: &Decision) -> Result<(), String> {
        let done = Expected::Reply(Reply::Done);
        let overlaps = |prefix: Prefix, cooling: bool| {
            if self.is_shared(prefix) {
                let cooling = cooling && !self.is_by_number(prefix);
                return self.subnets.iter().any(|entry| self.has_address_in(entry, prefix, cooling));
            }
            self.subnets.iter().any(|entry| {
                let cools = cooling && entry.state.released_at.is_some() && entry.state.cool_until > self.now;
                (entry.held() || cools) && entry.state.prefix.overlaps(prefix)
            })
        };
        match request {
            SliceRequest::Owned { prefix, .. }
                if self.slices.keys().any(|other| other != prefix && other.overlaps(*prefix)) =>
            {
                self.expect(seen, &Expected::Refused("InvalidRequest"), false, false)?;
            }
            SliceRequest::Owned { prefix, claim } => {
                let owned = (SliceState::Held, claim.clone());
                let changes = self.slices.get(prefix) != Some(&owned);
                self.expect(seen, &done, changes, false)?;
                self.slices.insert(*prefix, owned);
            }
            SliceRequest::Leave { prefix } if overlaps(*prefix, true) => {
                self.expect(seen, &Expected::Refused("Taken"), false, false)?;
            }
            SliceRequest::Gone { prefix } if overlaps(*prefix, false) => {
                self.expect(seen, &Expected::Refused("Taken"), false, false)?;
            }
            SliceRequest::Leave { prefix } => self.set_state(*prefix, SliceState::Leaving, seen)?,
            SliceRequest::Lost { prefix } => self.set_state(*prefix, SliceState::Lost, seen)?,
            SliceRequest::Gone { prefix } => {
                self.expect(seen, &done, self.slices.contains_key(prefix), false)?;
                self.slices.remove(prefix);
            }
        }
        Ok(())
    }

    fn set_state(&mut self, prefix: Prefix, state: SliceState, seen: &Decision) -> Result<(), String> {
        let changes = self.slices.get(&prefix).is_some_and(|(known, _)| *known != state);
        self.expect(seen, &Expected::Reply(Reply::Done), changes, false)?;
        if let Some((known, _)) = self.slices.get_mut(&prefix) {
            *known = state;
        }
        Ok(())
    }
}
