//! Spare slices: one is claimed before the last room is used, and empty ones go back. Slices around networks that this host has
//! without them are claimed, too.
//!
//! Promises: looks at most once a second, and only after a commit or when something becomes due; a host without networks in a
//! pool claims nothing there; of several empty slices one is kept; a storm of requests does not eat a pool ([`FOR_REQUESTS`]).

use std::collections::{BTreeMap, VecDeque};

use super::{ClaimsTask, Wanter};
use crate::claims::around;
use crate::claims::machine::event::{ClaimEvent, Geometry, Need};
use crate::plan::Plan;
use crate::plan::prefix::Prefix;
use crate::plan::request::{Request, SliceRequest};
use crate::plan::settings::Millis;
use crate::plan::slices::{Slice, SliceState};

/// The time from a commit to the look.
const PAUSE: Millis = 1_000;
/// The time to the next look while a slice could not go back, and between two looks for networks without a slice.
const AGAIN: Millis = 10_000;
/// How long a slice is empty before it goes back.
const EMPTY: Millis = 600_000;
/// At most this many slices of one base are claimed in a minute: ahead of need, and for requests.
const AHEAD: usize = 4;
const FOR_REQUESTS: usize = 16;
const MINUTE: Millis = 60_000;

/// What the task remembers between two looks.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    due: Option<Millis>,
    /// Since when slices were seen empty.
    empty: BTreeMap<Prefix, Millis>,
    /// When slices of a base were claimed, within the last minute.
    claims: BTreeMap<Prefix, VecDeque<Millis>>,
    /// When networks without a slice are looked for next: that takes time in proportion to all networks.
    around: Millis,
}

impl Upkeep {
    pub(super) const fn due(&self) -> Option<Millis> {
        self.due
    }

    pub(super) fn note_commit(&mut self, now: Millis) {
        let due = now + PAUSE;
        self.due = Some(self.due.map_or(due, |known| known.min(due)));
    }

    /// Whether networks without a slice are looked for now; a commit in the meantime brings the next look.
    fn looks_around(&mut self, now: Millis) -> bool {
        let is_due = self.around <= now;
        if is_due {
            self.around = now + AGAIN;
        } else {
            self.due = Some(self.due.map_or(self.around, |due| due.min(self.around)));
        }
        is_due
    }

    /// Lets a request claim a slice, unless too many were claimed. Single addresses and slices by number are not limited: a
    /// person asked for them.
    pub(super) fn admit(&mut self, base: Prefix, need: Need, now: Millis) -> Result<(), String> {
        if matches!(need, Need::These(_)) || self.count(base, FOR_REQUESTS, now) {
            return Ok(());
        }
        Err(format!(
            "this host has claimed {FOR_REQUESTS} slices of {base} within a minute, so that it waits; try again in a minute, or make \
             the slices larger"
        ))
    }

    fn count(&mut self, base: Prefix, most: usize, now: Millis) -> bool {
        let claims = self.claims.entry(base).or_default();
        while claims.front().is_some_and(|at| at.saturating_add(MINUTE) <= now) {
            claims.pop_front();
        }
        let admitted = claims.len() < most;
        if admitted {
            claims.push_back(now);
        }
        admitted
    }

    /// What is to be done about slices of this use.
    fn decide(&mut self, slices: &[SliceUse], now: Millis) -> (Vec<Geometry>, Vec<Prefix>) {
        let (mut wanted, mut back) = (Vec::new(), Vec::new());
        self.empty.retain(|prefix, _| slices.iter().any(|slice| slice.prefix == *prefix && slice.is_empty()));
        let mut by_base: BTreeMap<Prefix, Vec<&SliceUse>> = BTreeMap::new();
        for slice in slices {
            if slice.is_empty() && (slice.is_alone() || slice.state == SliceState::Lost) {
                // A slice that is leaving goes on without another word.
                back.extend((slice.state != SliceState::Leaving).then_some(slice.prefix));
            } else if slice.state == SliceState::Held && !slice.is_alone() {
                by_base.entry(slice.pool.base).or_default().push(slice);
            }
        }
        let mut next: Option<Millis> = None;
        let mut look_at = |due: Millis| next = Some(next.map_or(due, |next| next.min(due)));
        for (base, held) in by_base {
            let free: u128 = held.iter().fold(0, |free, slice| free.saturating_add(slice.free));
            if free.saturating_mul(4) < held[0].capacity() && self.count(base, AHEAD, now) {
                wanted.push(held[0].pool);
            }
            // The first empty one is the spare.
            for slice in held.iter().filter(|slice| slice.is_empty()).skip(1) {
                let due = *self.empty.entry(slice.prefix).or_insert(now) + EMPTY;
                match due <= now {
                    // Something released in it still cools: later.
                    true if !slice.may_leave => look_at(now + AGAIN),
                    true => back.push(slice.prefix),
                    false => look_at(due),
                }
            }
        }
        // Repair may not have looked yet, and the books may refuse it, for example because their disk is full; otherwise the commit brings the next look.
        if !back.is_empty() {
            look_at(now + AGAIN);
        }
        self.due = next;
        (wanted, back)
    }
}

/// How a slice of this host is used.
#[derive(Clone, Copy, Debug)]
struct SliceUse {
    pool: Geometry,
    prefix: Prefix,
    state: SliceState,
    used: u128,
    free: u128,
    /// Nothing in it is held or cools.
    may_leave: bool,
}

impl SliceUse {
    const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Whether it is a single address that is claimed by number.
    fn is_alone(&self) -> bool {
        self.pool.by_number.is_some_and(|part| part.contains(self.prefix))
    }

    const fn capacity(&self) -> u128 {
        self.used.saturating_add(self.free)
    }
}

fn uses(plan: &Plan) -> Vec<SliceUse> {
    let bases: Vec<_> =
        plan.settings().pools.iter().flat_map(|pool| pool.bases().map(|base| (pool.closed, *base))).collect();
    let slice = |slice: &Slice| {
        let (_, base) = bases.iter().find(|(closed, base)| !closed && base.base.contains(slice.prefix))?;
        let (used, free) = plan.count_in_slice(base, slice.prefix);
        let leave = || Request::Slice(Box::new(SliceRequest::Leave { prefix: slice.prefix }));
        let may_leave = used == 0 && plan.decide(&leave(), 0).reply.is_ok();
        let (pool, prefix, state) = (Geometry::of(base)?, slice.prefix, slice.state);
        Some(SliceUse { pool, prefix, state, used, free, may_leave })
    };
    plan.slices().iter().filter_map(slice).collect()
}

impl ClaimsTask {
    /// Claims a spare slice where room runs out, and gives empty slices back.
    pub(super) async fn keep_up(&mut self) {
        let Ok(slices) = self.ledger.look(uses).await else { return };
        let (wanted, back) = self.upkeep.decide(&slices, self.steps.now());
        for pool in wanted {
            self.ask(Wanter::Upkeep, pool, Need::Room { part: pool.base }).await;
        }
        if self.upkeep.looks_around(self.steps.now()) {
            let unclaimed = self.ledger.look(around::unclaimed).await.unwrap_or_default();
            let known = self.known.get();
            // Nothing is claimed in a pool that the plan divides differently, and people see that already.
            let refused =
                |base: Prefix| known.as_ref().is_some_and(|known| known.refused.contains_key(&base));
            for (pool, slice) in unclaimed.into_iter().filter(|(pool, _)| !refused(pool.base)) {
                self.ask(Wanter::Around, pool, Need::Around(slice)).await;
            }
        }
        // Books that are older than the networks of this host would call slices empty that are not.
        if (self.compared)() {
            for prefix in back {
                self.feed(ClaimEvent::GiveBack { prefix }).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Geometry {
        let part = |text| Prefix::parse(text).unwrap_or_else(|| panic!("{text}"));
        Geometry {
            base: part("198.51.100.0/24"),
            slice: 28,
            shared: true,
            by_number: Some(part("198.51.100.240/30")),
        }
    }

    fn slice(prefix: &str, used: u128, free: u128) -> SliceUse {
        let prefix = Prefix::parse(prefix).unwrap_or_else(|| panic!("{prefix}"));
        SliceUse { pool: pool(), prefix, state: SliceState::Held, used, free, may_leave: used == 0 }
    }

    #[test]
    fn one_slice_is_claimed_ahead_at_a_quarter_of_room_and_at_most_four_in_a_minute() {
        let mut upkeep = Upkeep::default();
        let (wanted, back) = upkeep.decide(&[slice("198.51.100.0/28", 12, 4)], 0);
        assert!(wanted.is_empty() && back.is_empty());
        for second in 0..4 {
            assert_eq!(upkeep.decide(&[slice("198.51.100.0/28", 13, 3)], second * 1_000).0, [pool()]);
        }
        assert!(upkeep.decide(&[slice("198.51.100.0/28", 13, 3)], 59_000).0.is_empty());
        assert_eq!(upkeep.decide(&[slice("198.51.100.0/28", 13, 3)], 60_000).0, [pool()]);
    }

    #[test]
    fn of_several_empty_slices_one_stays_and_the_others_go_back_after_ten_minutes() {
        let mut upkeep = Upkeep::default();
        let slices = [
            slice("198.51.100.0/28", 0, 16),
            slice("198.51.100.16/28", 1, 15),
            slice("198.51.100.32/28", 0, 16),
        ];
        assert!(upkeep.decide(&slices, 5).1.is_empty());
        assert_eq!(upkeep.due(), Some(EMPTY + 5));
        // Used in between: the time begins again.
        let mut used = slices;
        used[2].used = 1;
        assert!(upkeep.decide(&used, EMPTY).1.is_empty());
        assert_eq!(upkeep.due(), None);
        assert!(upkeep.decide(&slices, EMPTY + 5).1.is_empty());
        assert_eq!(upkeep.decide(&slices, 2 * EMPTY + 5).1, [slices[2].prefix]);
    }

    #[test]
    fn an_address_by_number_and_a_lost_slice_go_back_as_soon_as_they_are_empty() {
        let mut upkeep = Upkeep::default();
        let (alone, mut lost) = (slice("198.51.100.241/32", 0, 1), slice("198.51.100.0/28", 0, 16));
        lost.state = SliceState::Lost;
        let (wanted, back) = upkeep.decide(&[lost, alone], 0);
        assert_eq!((wanted.len(), back), (0, vec![lost.prefix, alone.prefix]));
        let in_use = [SliceUse { used: 1, ..lost }, SliceUse { used: 1, ..alone }];
        assert!(upkeep.decide(&in_use, 0).1.is_empty());
    }

    #[test]
    fn a_slice_that_could_not_go_back_is_looked_at_again_without_a_commit() {
        let mut upkeep = Upkeep::default();
        let alone = slice("198.51.100.241/32", 0, 1);
        assert_eq!(upkeep.decide(&[alone], 0).1, [alone.prefix]);
        assert_eq!(upkeep.due(), Some(AGAIN), "a full disk may have refused it");
        assert_eq!(upkeep.decide(&[alone], AGAIN).1, [alone.prefix]);
        let leaving = SliceUse { state: SliceState::Leaving, ..alone };
        assert!(upkeep.decide(&[leaving], 2 * AGAIN).1.is_empty());
        assert_eq!(upkeep.due(), None);
        // What cools is looked at again, and not tried.
        let mut slices = [slice("198.51.100.0/28", 0, 16), slice("198.51.100.16/28", 0, 12)];
        slices[1].may_leave = false;
        assert!(upkeep.decide(&slices, 0).1.is_empty());
        assert!(upkeep.decide(&slices, EMPTY).1.is_empty());
        assert_eq!(upkeep.due(), Some(EMPTY + AGAIN));
        slices[1].may_leave = true;
        assert_eq!(upkeep.decide(&slices, EMPTY + AGAIN).1, [slices[1].prefix]);
    }

    #[test]
    fn requests_claim_at_most_sixteen_slices_of_a_base_in_a_minute() {
        let mut upkeep = Upkeep::default();
        let room = Need::Room { part: pool().base };
        assert!((0..FOR_REQUESTS).all(|_| upkeep.admit(pool().base, room, 0).is_ok()));
        let why = upkeep.admit(pool().base, room, 59_999).unwrap_err();
        assert!(why.contains("16 slices of 198.51.100.0/24 within a minute"), "{why}");
        let these = Need::These(Prefix::host(pool().base.address(pool().base.first())));
        assert!(upkeep.admit(pool().base, these, 0).is_ok(), "a person asked for it");
        assert!(upkeep.admit(pool().base, room, 60_000).is_ok());
    }
}
