//! What looks dead, and since when.
//!
//! Promises: pure. A suspect keeps its place only while every look shows it dead with the same generation; the first
//! look that counts is at least a minute after the grant, however short the grace time: what is granted to a container
//! that is being started is not shown yet. One look never frees anything.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::change::Serial;
use crate::plan::request::Dead;
use crate::plan::settings::{Millis, rfc3339};

/// Between grant and the first look that counts, and between the two looks of a proof for an explicit request.
pub(super) const APART: Millis = 60_000;

/// A lease or a subnet: serial, address for a lease, generation.
pub(super) type Key = (Serial, Option<u128>, u64);

/// When something was seen dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) first: Millis,
    pub(super) last: Millis,
    /// What was missing: `no running endpoint of network web`.
    pub(super) why: String,
}

impl Seen {
    /// Seen twice, a minute apart at least.
    pub(super) const fn is_proven(&self) -> bool {
        self.has_lasted(APART)
    }

    /// Seen in two looks so far apart; one look is never two.
    pub(super) const fn has_lasted(&self, time: Millis) -> bool {
        self.last > self.first && self.last >= self.first.saturating_add(time)
    }

    /// For the history.
    pub(super) fn evidence(&self) -> Box<str> {
        format!("{} at {} and {}", self.why, rfc3339(self.first), rfc3339(self.last)).into()
    }
}

/// All suspects.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    seen: BTreeMap<Key, Seen>,
    /// Subnets that no other Engine can own.
    ours: BTreeSet<Key>,
    /// When the youngest of what looked dead is old enough for a look that counts.
    ripe: Option<Millis>,
}

impl Suspects {
    /// Takes in one look, begun at `at`: (key, granted at, why) of all that looked dead in it. The others are cleared.
    pub(super) fn update(&mut self, at: Millis, dead: impl IntoIterator<Item = (Key, Millis, String)>) {
        let mut now = BTreeMap::new();
        self.ripe = None;
        for (key, since, why) in dead {
            let first = self.seen.get(&key).map_or(at, |seen| seen.first);
            let ripe = since.saturating_add(APART);
            if first >= ripe {
                now.insert(key, Seen { first, last: at, why });
            } else {
                self.ripe = Some(self.ripe.map_or(ripe, |earlier| earlier.min(ripe)));
            }
        }
        self.seen = now;
    }

    /// Subnets that were adopted from this Engine's list, and that nobody has asked for an address since: no other
    /// Engine can own them.
    pub(super) fn claim(&mut self, ours: BTreeSet<Key>) {
        self.ours = ours;
    }

    /// Whether a subnet can be no other Engine's.
    pub(super) fn is_ours(&self, key: &Key) -> bool {
        self.ours.contains(key)
    }

    /// When this was seen dead.
    pub(super) fn get(&self, key: &Key) -> Option<&Seen> {
        self.seen.get(key)
    }

    /// Those that were dead in two looks at least so far apart.
    pub(super) fn dead_for(&self, time: Millis) -> Vec<(Key, Seen)> {
        let old = self.seen.iter().filter(|(_, seen)| seen.has_lasted(time));
        old.map(|(key, seen)| (*key, seen.clone())).collect()
    }

    /// What an explicit request may replace.
    pub(super) fn proven(&self, subnets: bool) -> Dead {
        let mut dead = Dead::default();
        for (key, seen) in self.seen.iter().filter(|(_, seen)| seen.is_proven()) {
            let (serial, address, generation) = key;
            match address {
                Some(address) => drop(dead.leases.insert((*serial, *address, *generation), seen.evidence())),
                None if subnets => drop(dead.subnets.insert((*serial, *generation), seen.evidence())),
                None if self.is_ours(key) => {
                    drop(dead.unnamed.insert((*serial, *generation), seen.evidence()))
                }
                None => {}
            }
        }
        dead
    }

    /// When the next look would tell something: the second of a proof, or the one after the grace time. Of what is only
    /// reported nothing more can be learned.
    pub(super) fn next_look(&self, grace: Millis) -> Option<Millis> {
        let next = |seen: &Seen| {
            let open = [grace, APART].into_iter().filter(|time| !seen.has_lasted(*time));
            open.min().map(|time| seen.first.saturating_add(time.max(1)))
        };
        self.seen.values().filter_map(next).chain(self.ripe).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = (1, Some(7), 3);

    fn dead(since: Millis) -> Vec<(Key, Millis, String)> {
        vec![(KEY, since, "no running endpoint".to_owned())]
    }

    #[test]
    fn two_looks_a_minute_apart_prove_and_one_clears() {
        let mut suspects = Suspects::default();
        suspects.update(100_000, dead(0));
        assert!(suspects.proven(false).leases.is_empty());
        suspects.update(159_999, dead(0));
        assert!(suspects.proven(false).leases.is_empty());
        suspects.update(160_000, dead(0));
        assert_eq!(suspects.proven(false).leases.len(), 1);
        assert!(suspects.dead_for(600_000).is_empty());
        suspects.update(700_000, dead(0));
        assert_eq!(suspects.dead_for(600_000).len(), 1);
        suspects.update(700_001, []);
        assert!(suspects.get(&KEY).is_none());
    }

    #[test]
    fn a_look_within_a_minute_of_the_grant_does_not_count() {
        let mut suspects = Suspects::default();
        suspects.update(100_000, dead(90_000));
        assert!(suspects.get(&KEY).is_none());
        assert_eq!(suspects.next_look(600_000), Some(150_000), "but another look is due when it will");
        suspects.update(150_000, dead(90_000));
        assert_eq!(suspects.get(&KEY).map(|seen| seen.first), Some(150_000));
    }

    #[test]
    fn a_tiny_grace_time_still_takes_two_looks_and_a_minute_after_the_grant() {
        for grace in [0, 1, 1_000] {
            let mut suspects = Suspects::default();
            suspects.update(59_999, dead(0));
            assert!(suspects.get(&KEY).is_none(), "granted less than a minute before");
            assert_eq!(suspects.next_look(grace), Some(60_000));
            suspects.update(60_000, dead(0));
            assert!(suspects.dead_for(grace).is_empty(), "one look is never two");
            let second = 60_000 + grace.max(1);
            assert_eq!(suspects.next_look(grace), Some(second));
            suspects.update(second - 1, dead(0));
            assert!(suspects.dead_for(grace).is_empty(), "one millisecond early");
            suspects.update(second, dead(0));
            assert_eq!(suspects.dead_for(grace).len(), 1);
            assert!(suspects.proven(false).leases.is_empty(), "an explicit request needs a minute");
        }
    }

    #[test]
    fn looks_in_between_do_not_put_the_proof_off() {
        let mut suspects = Suspects::default();
        suspects.update(100_000, dead(0));
        suspects.update(130_000, dead(0));
        assert_eq!(suspects.next_look(600_000), Some(160_000));
        assert_eq!(suspects.next_look(45_000), Some(145_000));
        suspects.update(145_000, dead(0));
        assert_eq!(
            suspects.next_look(45_000),
            Some(160_000),
            "freed unless it is a subnet that is only reported"
        );
        suspects.update(700_000, dead(0));
        assert_eq!(suspects.next_look(600_000), None, "there is no more to learn: an idle daemon sleeps");
    }

    #[test]
    fn another_generation_begins_anew() {
        let mut suspects = Suspects::default();
        suspects.update(100_000, dead(0));
        suspects.update(200_000, [((1, Some(7), 4), 0, String::new())]);
        assert!(suspects.proven(false).leases.is_empty());
    }

    #[test]
    fn subnets_are_proven_only_where_there_is_one_engine() {
        let mut suspects = Suspects::default();
        for at in [100_000, 200_000] {
            suspects.update(at, [((1, None, 3), 0, String::new())]);
        }
        assert!(suspects.proven(false).subnets.is_empty());
        assert_eq!(suspects.proven(true).subnets.len(), 1);
        suspects.claim(BTreeSet::from([(1, None, 3)]));
        assert_eq!(
            suspects.proven(false).unnamed.len(),
            1,
            "or where it was adopted from this Engine's list"
        );
    }

    #[test]
    fn the_next_look_is_the_one_that_tells_something() {
        let mut suspects = Suspects::default();
        assert_eq!(suspects.next_look(600_000), None);
        suspects.update(100_000, dead(0));
        assert_eq!(suspects.next_look(600_000), Some(160_000));
        suspects.update(160_000, dead(0));
        assert_eq!(suspects.next_look(600_000), Some(700_000));
    }
}
