//! Suspects: leases and subnets that look dead, and since when.
//!
//! Promises: pure. Something stays a suspect only while every view lacks it with the same generation. The
//! first view that counts is at least a minute after the grant, however short the grace time is, since the
//! Engine does not yet show what was granted to a container that is starting. One view never frees anything.
//! All durations are by a clock that never steps.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::evidence::{Absence, Death, ProofKey};
use crate::plan::settings::Millis;

/// Minimum time between the grant and the first view that counts, and between the two views that explicit
/// requests need.
pub(super) const APART: Millis = 60_000;

/// When a suspect first and last looked dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) first: Absence,
    pub(super) last: Absence,
}

impl Seen {
    /// The proof, if two views this far apart saw it dead; one view never counts as two.
    pub(super) fn death(&self, apart: Millis) -> Option<Death> {
        Death::of(&self.first, &self.last, apart)
    }
}

#[derive(Debug, Default)]
pub(super) struct Suspects {
    pub(super) seen: BTreeMap<ProofKey, Seen>,
    /// Subnets that were adopted from this Engine's list and from which no address has been requested since:
    /// no other Engine can own them.
    pub(super) ours: BTreeSet<ProofKey>,
    /// When the youngest suspect is old enough for a view that counts, by the steady clock.
    ripe: Option<Millis>,
}

impl Suspects {
    /// Takes the absences in one view; all other suspects are cleared. `ripe` is the time when the first
    /// suspect that is too new will be old enough.
    pub(super) fn update(&mut self, absences: impl IntoIterator<Item = Absence>, ripe: Option<Millis>) {
        let mut now = BTreeMap::new();
        for last in absences {
            let first = match self.seen.remove(&last.key()) {
                Some(seen) => seen.first,
                None => last.clone(),
            };
            now.insert(last.key(), Seen { first, last });
        }
        (self.seen, self.ripe) = (now, ripe);
    }

    /// The proofs for all suspects that two views at least this far apart lacked.
    pub(super) fn dead_for(&self, apart: Millis) -> Vec<Death> {
        self.seen.values().filter_map(|seen| seen.death(apart)).collect()
    }

    /// The proof, if it counts: if there may be another Engine, a subnet is not dead just because this one
    /// does not know it.
    pub(super) fn counting(&self, death: Death, only_engine: bool) -> Option<Death> {
        let key = death.key();
        match key.1.is_some() || only_engine {
            true => Some(death),
            false => self.ours.contains(&key).then(|| death.while_unnamed()),
        }
    }

    /// The proofs for leases and subnets that an explicit request may replace.
    pub(super) fn proven(&self, only_engine: bool) -> BTreeMap<ProofKey, Death> {
        let counting = self.dead_for(APART).into_iter().filter_map(|it| self.counting(it, only_engine));
        counting.map(|death| (death.key(), death)).collect()
    }

    /// When the next view can show something new, by the steady clock: the second view of a proof, or the one
    /// after the grace time. Further views cannot show more about suspects that are only reported.
    pub(super) fn next_look(&self, grace: Millis) -> Option<Millis> {
        let next = |seen: &Seen| {
            let open = [grace, APART].into_iter().filter(|time| seen.death(*time).is_none());
            open.min().map(|time| seen.first.at().steady.saturating_add(time.max(1)))
        };
        self.seen.values().filter_map(next).chain(self.ripe).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::evidence::{CompleteView, IndexedLists, Sight};
    use crate::plan::prefix::Prefix;
    use crate::plan::request::{AddressRequest, Reply, Request, Space, SubnetRequest, Wanted};
    use crate::plan::settings::{Moment, Settings};
    use crate::plan::shown::{Configured, EngineIdentity, Lists, Network};
    use crate::plan::{Plan, Subnet};

    /// Books with one lease in one subnet, and an Engine that shows the network without any container.
    fn scene() -> (Plan, Lists) {
        let (mut plan, mut random) = (Plan::new(Settings::default()), 7);
        plan.advance(1_000);
        let mut ask = |request| {
            random += 1;
            let decision = plan.decide(&request, random);
            decision.changes.iter().for_each(|change| plan.apply(change));
            decision.reply.unwrap()
        };
        let prefix = Prefix::parse("192.0.2.0/24").unwrap();
        let wanted = Wanted::Exact(prefix);
        let request = SubnetRequest {
            space: Space::Local,
            family: prefix.family(),
            wanted,
            range: None,
            options: BTreeMap::new(),
            pools: None,
            in_use: Default::default(),
            in_a_row: 0,
            dead: Default::default(),
            cannot: Default::default(),
        };
        let Reply::Subnet { id, .. } = ask(Request::Subnet(request)) else { panic!("a subnet") };
        let address = Some("192.0.2.7".parse().unwrap());
        ask(Request::Address(AddressRequest { id, address, ..AddressRequest::default() }));
        let shown = Configured { prefix, range: None, gateway: None, auxiliary: Vec::new() };
        let network = Network {
            scope: "local".into(),
            ipam: "gipam".into(),
            subnets: vec![shown],
            complete: true,
            ..Network::default()
        };
        let engine = Some(EngineIdentity { id: "e".into(), root: "/d".into() });
        (plan, Lists { engine, networks: vec![network], unclear: Vec::new() })
    }

    /// Takes one view at this time; grants below `settled` are old enough.
    fn view(suspects: &mut Suspects, (plan, lists): &(Plan, Lists), at: Millis, settled: u64) {
        let drivers = ["gipam".to_owned()];
        let shown = IndexedLists::new(lists.clone(), &drivers);
        let view =
            CompleteView::of(Sight::new(plan, &shown), Moment { steady: at, wall: 0 }, settled).unwrap();
        let leases = plan.subnets().flat_map(|subnet: &Subnet| {
            subnet
                .addresses
                .records()
                .filter_map(|(address, record)| view.lease_absent(subnet, address, record))
        });
        let absences: Vec<Absence> = leases.collect();
        let ripe = absences.is_empty().then_some(at + 5);
        suspects.update(absences, ripe);
    }

    #[test]
    fn two_views_a_minute_apart_prove_and_one_clears() {
        let (mut suspects, scene) = (Suspects::default(), scene());
        view(&mut suspects, &scene, 100_000, 9);
        assert!(suspects.proven(false).is_empty());
        view(&mut suspects, &scene, 159_999, 9);
        assert!(suspects.proven(false).is_empty());
        view(&mut suspects, &scene, 160_000, 9);
        assert_eq!(suspects.proven(false).len(), 1);
        assert!(suspects.dead_for(600_000).is_empty());
        view(&mut suspects, &scene, 700_000, 9);
        assert_eq!(suspects.dead_for(600_000).len(), 1);
        suspects.update([], None);
        assert!(suspects.dead_for(0).is_empty());
    }

    #[test]
    fn a_view_within_a_minute_of_the_grant_does_not_count() {
        let (mut suspects, scene) = (Suspects::default(), scene());
        view(&mut suspects, &scene, 100_000, 0);
        assert!(suspects.dead_for(0).is_empty());
        assert_eq!(suspects.next_look(600_000), Some(100_005), "the next check is scheduled for that time");
    }

    #[test]
    fn a_tiny_grace_time_still_takes_two_views() {
        for grace in [0, 1, 1_000] {
            let (mut suspects, scene) = (Suspects::default(), scene());
            view(&mut suspects, &scene, 60_000, 9);
            assert!(suspects.dead_for(grace).is_empty(), "one check never counts as two");
            let second = 60_000 + grace.max(1);
            assert_eq!(suspects.next_look(grace), Some(second));
            view(&mut suspects, &scene, second - 1, 9);
            assert!(suspects.dead_for(grace).is_empty(), "one millisecond early");
            view(&mut suspects, &scene, second, 9);
            assert_eq!(suspects.dead_for(grace).len(), 1);
            assert!(suspects.proven(false).is_empty(), "an explicit request needs a minute");
        }
    }

    #[test]
    fn checks_in_between_do_not_delay_the_proof() {
        let (mut suspects, scene) = (Suspects::default(), scene());
        view(&mut suspects, &scene, 100_000, 9);
        view(&mut suspects, &scene, 130_000, 9);
        assert_eq!(suspects.next_look(600_000), Some(160_000));
        assert_eq!(suspects.next_look(45_000), Some(145_000));
        view(&mut suspects, &scene, 145_000, 9);
        assert_eq!(
            suspects.next_look(45_000),
            Some(160_000),
            "freed unless it is a subnet that is only reported"
        );
        view(&mut suspects, &scene, 700_000, 9);
        assert_eq!(
            suspects.next_look(600_000),
            None,
            "an idle daemon sleeps, because another check finds nothing new"
        );
    }

    #[test]
    fn views_of_two_engines_do_not_add_up_to_a_proof() {
        let (mut suspects, mut scene) = (Suspects::default(), scene());
        view(&mut suspects, &scene, 100_000, 9);
        scene.1.engine = Some(EngineIdentity { id: "other".into(), root: "/d".into() });
        view(&mut suspects, &scene, 200_000, 9);
        assert!(suspects.dead_for(0).is_empty());
    }
}
