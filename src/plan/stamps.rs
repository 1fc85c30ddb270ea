//! When the time of day steps, every stored time is shifted with it.
//!
//! Decisions depend on ages (how long something cools, how young a subnet is, what is too old to be remembered), and an age is
//! the difference of two stamps. So a step shifts all stamps by the same amount as the clock, and no age
//! changes. A stamp that would then be in the future (because the clock was wrong before) is set to now.
//!
//! Promises: pure; the order is kept, and every index is rebuilt from its rows. O(n log n), as steps are
//! rare. Does not read a clock.

use super::Plan;
use super::change::{Change, Serial, SubnetState};
use super::settings::Millis;
use super::subnet::Subnet;

/// Stamps are limited to this (about the year 287,000), so that the sum of two still fits every type.
pub const LATEST: Millis = 1 << 53;

/// How stamps are shifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift {
    /// The shift in milliseconds.
    pub by: i64,
    /// The time after the shift: no stamp is later.
    pub now: Millis,
}

impl Shift {
    /// The value of this stamp after the shift.
    pub fn moved(self, stamp: Millis) -> Millis {
        self.ahead(stamp).min(self.now)
    }

    /// Shifts a stamp that may be in the future.
    fn ahead(self, stamp: Millis) -> Millis {
        stamp.min(LATEST).saturating_add_signed(self.by)
    }

    /// Until when a subnet released at this time cools: for no longer than before.
    fn cool_until(self, released_at: Millis, cool_until: Millis) -> Millis {
        let span = cool_until.min(LATEST).saturating_sub(released_at.min(LATEST));
        self.ahead(cool_until).min(self.moved(released_at).saturating_add(span))
    }

    /// Shifts the stamps of a subnet itself.
    pub fn subnet(self, state: &mut SubnetState) {
        state.granted_at = self.moved(state.granted_at);
        state.marks.set_up_at = self.moved(state.marks.set_up_at);
        if let Some(released_at) = state.released_at {
            state.cool_until = self.cool_until(released_at, state.cool_until);
            state.released_at = Some(self.moved(released_at));
        }
    }
}

impl Plan {
    /// Applies a step of the time of day.
    pub(super) fn clock_stepped(&mut self, shift: Shift) {
        let serials: Vec<Serial> = self.subnets.keys().copied().collect();
        serials.iter().for_each(|serial| self.unindex(*serial));
        self.now = shift.now;
        for subnet in self.subnets.values_mut() {
            shift.subnet(&mut subnet.state);
            subnet.move_stamps(|stamp| shift.moved(stamp));
        }
        serials.iter().for_each(|serial| self.index_subnet(*serial));
        for (_, at) in self.keys.values_mut() {
            *at = shift.moved(*at);
        }
        for kept in self.kept.values_mut() {
            kept.at = shift.moved(kept.at);
        }
        for pin in self.pins.values_mut().flat_map(|pins| pins.values_mut()) {
            pin.since = shift.moved(pin.since);
        }
    }

    /// The newest of all stamps: the books were written at that time or later.
    pub fn newest_stamp(&self) -> Millis {
        let of_subnet = |subnet: &Subnet| {
            let state = &subnet.state;
            let addresses = subnet.addresses.records().map(|(_, record)| record.since).max();
            [Some(state.granted_at), Some(state.marks.set_up_at), state.released_at, addresses]
                .into_iter()
                .flatten()
                .max()
        };
        let subnets = self.subnets().filter_map(of_subnet);
        let keys = self.keys.values().map(|(_, at)| *at);
        let pins = self.pins.values().flat_map(|pins| pins.values()).map(|pin| pin.since);
        let kept = self.kept.values().map(|kept| kept.at);
        subnets.chain(keys).chain(pins).chain(kept).max().unwrap_or(0)
    }

    /// At startup: limits the cooling of subnets that would cool for longer than a subnet released now.
    pub fn cut_cooling(&self, now: Millis) -> Vec<Change> {
        let cut = |subnet: &Subnet| {
            let longest = now.saturating_add(self.subnet_cooling_of(subnet));
            let state = Some(&subnet.state).filter(|state| state.cool_until > longest)?;
            Some(SubnetState { cool_until: longest, ..state.clone() })
        };
        let released = self.subnets().filter(|subnet| !subnet.is_held());
        released.filter_map(cut).map(restored).collect()
    }

    /// At startup, if it is not known how long the books were unused: it is only certain which subnets had
    /// cooled when the books were last written. Those that were cooling then continue to cool from now on.
    pub fn go_on_cooling(&self, newest: Millis, now: Millis) -> Vec<Change> {
        let asleep = now.saturating_sub(newest);
        let later = |state: &SubnetState| {
            let released_at = state.released_at?;
            (asleep > 0 && state.cool_until > newest).then(|| SubnetState {
                released_at: Some(released_at.saturating_add(asleep)),
                cool_until: state.cool_until.saturating_add(asleep),
                ..state.clone()
            })
        };
        self.subnets().filter_map(|subnet| later(&subnet.state)).map(restored).collect()
    }
}

fn restored(state: SubnetState) -> Change {
    Change::SubnetRestored(Box::new(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_moves_with_the_clock_and_is_never_later_than_now() {
        let back = Shift { by: -7_200_000, now: 10_000_000 };
        assert_eq!(back.moved(17_000_000), 9_800_000);
        assert_eq!(back.moved(18_000_000), 10_000_000, "it was in the future");
        assert_eq!(back.moved(1), 0, "the earliest time is 1970");
        assert_eq!(back.moved(u64::MAX), 10_000_000);
        let ahead = Shift { by: 7_200_000, now: 10_000_000 };
        assert_eq!((ahead.moved(2_000_000), ahead.moved(u64::MAX)), (9_200_000, 10_000_000));
    }

    #[test]
    fn a_subnet_cools_as_long_as_before() {
        let shift = Shift { by: -7_200_000, now: 10_000_000 };
        assert_eq!(shift.cool_until(17_190_000, 17_250_000), 10_050_000);
        assert_eq!(shift.cool_until(99_000_000, 99_060_000), 10_060_000, "a minute from now, at most");
        assert_eq!(shift.cool_until(1_000, 61_000), 0, "an address that has cooled does not cool again");
        assert_eq!(shift.cool_until(0, u64::MAX), LATEST - 7_200_000);
    }
}
