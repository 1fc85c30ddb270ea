//! Which dockerd requested a lease, and whether it is gone: the plan's rule against a naive one, and the list
//! in the books.
//!
//! Checks: *fenced* (a lease is replaced at once only if every dockerd that may have requested it is gone),
//! *faithful*.

#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "support/rows.rs"]
mod rows;

use std::collections::{BTreeMap, BTreeSet};

use gipam::plan::Plan;
use gipam::plan::prefix::{Family, Prefix};
use gipam::plan::request::{AddressRequest, Gone, Mac, Repair, Reply, Request, Space, SubnetRequest, Wanted};
use gipam::plan::settings::Settings;
use proptest::prelude::*;
use rows::Rows;

/// What happens to callers and leases; callers and boots are numbers.
#[derive(Clone, Debug)]
enum Op {
    /// A process starts and requests this address of the subnet.
    Ask { caller: usize, number: u128 },
    /// A process ends.
    End { caller: usize },
    /// From now on containers outlive dockerd, or they do not.
    Outlive(bool),
    /// The machine reboots: all processes end.
    Boot,
    /// gipam is restarted.
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let caller = 0..3_usize;
    prop_oneof![
        6 => (caller.clone(), 4..8_u128).prop_map(|(caller, number)| Op::Ask { caller, number }),
        3 => caller.prop_map(|caller| Op::End { caller }),
        3 => any::<bool>().prop_map(Op::Outlive),
        1 => Just(Op::Boot),
        1 => Just(Op::Restart),
    ]
}

/// The plan with its books, and the truth about each lease.
struct World {
    plan: Plan,
    rows: Rows,
    now: u64,
    boot: u32,
    /// The incarnation of each live caller; caller 2 cannot be identified.
    living: [Option<u32>; 3],
    incarnations: u32,
    /// The callers that the daemon has recorded.
    known: BTreeSet<String>,
    /// Whether containers outlive dockerd now.
    outlive: bool,
    /// The callers whose containers are known to have ended with them, because the next caller arrived.
    ended: BTreeSet<String>,
    id: String,
    /// Address to the name of its holder.
    holders: BTreeMap<u128, String>,
}

const PREFIX: &str = "192.0.2.0/24";

impl World {
    fn new(older: bool) -> Self {
        let mut world = Self {
            plan: Plan::new(Settings::default()),
            rows: Rows::default(),
            now: 1_000,
            boot: 0,
            living: [None; 3],
            incarnations: 0,
            known: BTreeSet::new(),
            outlive: false,
            ended: BTreeSet::new(),
            id: String::new(),
            holders: BTreeMap::new(),
        };
        let subnet = SubnetRequest {
            space: Space::Local,
            family: Family::V4,
            wanted: Wanted::Exact(Prefix::parse(PREFIX).unwrap()),
            range: None,
            options: BTreeMap::new(),
            pools: None,
            in_use: [].into(),
            in_a_row: 0,
            dead: Default::default(),
            cannot: Default::default(),
        };
        let Ok(Reply::Subnet { id, .. }) = world.ask(&Request::Subnet(subnet)) else { panic!("no subnet") };
        world.id = id;
        if older {
            // Granted by a program that did not record its callers, to an unknown caller of this boot.
            world.lease(4).unwrap();
            world.holders.insert(4, "older".to_owned());
        }
        world
    }

    fn ask(&mut self, request: &Request) -> Result<Reply, String> {
        self.now += 1;
        self.plan.advance(self.now);
        let decision = self.plan.decide(request, self.now);
        for change in &decision.changes {
            self.rows.keep(change);
            self.plan.apply(change);
        }
        self.rows.count(&self.plan);
        decision.reply.map_err(|error| error.to_string())
    }

    fn lease(&mut self, number: u128) -> Result<Reply, String> {
        let prefix = Prefix::parse(PREFIX).unwrap();
        let address = prefix.address(prefix.first() + number);
        let request = AddressRequest {
            id: self.id.clone(),
            address: Some(address),
            mac: Some(Mac([2, 0, 0, 0, 0, 1])),
            ..AddressRequest::default()
        };
        self.ask(&Request::Address(request))
    }

    fn boot_name(&self) -> String {
        format!("boot{}", self.boot)
    }

    fn name(&self, caller: usize) -> Option<String> {
        let incarnation = self.living[caller]?;
        Some(if caller == 2 { self.boot_name() } else { format!("{}/{incarnation}/1", self.boot_name()) })
    }

    /// What `docker::Callers` does when a new caller arrives.
    fn arrive(&mut self, name: &str) {
        if !self.known.insert(name.to_owned()) {
            return;
        }
        let boot = self.boot_name();
        let living: BTreeSet<String> = (0..3).filter_map(|caller| self.name(caller)).collect();
        let state = |name: &str| {
            if name == boot || living.contains(name) {
                return None;
            }
            let of_this_boot = name.starts_with(&format!("{boot}/"));
            Some(if of_this_boot && self.outlive { Gone::Itself } else { Gone::WithItsContainers })
        };
        let gone: Vec<(Box<str>, Gone)> =
            self.plan.callers().filter_map(|(name, _)| Some((name.into(), state(name)?))).collect();
        let ended = gone.iter().filter(|(_, how)| *how == Gone::WithItsContainers);
        self.ended.extend(ended.map(|(name, _)| name.to_string()));
        let arrival = Repair::Arrival { boot: boot.into(), arrived: name.into(), gone };
        self.ask(&Request::Repair(Box::new(arrival))).unwrap();
    }

    /// Whether this holder's containers are certainly gone.
    fn certainly_gone(&self, holder: &str) -> bool {
        let living = (0..3).any(|caller| self.name(caller).as_deref() == Some(holder));
        let of_this_boot = holder == "older" && self.boot == 0
            || holder == self.boot_name()
            || holder.starts_with(&format!("{}/", self.boot_name()));
        !living && (!of_this_boot || self.ended.contains(holder))
    }

    fn run(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match op {
            Op::Ask { caller, number } => {
                self.incarnations += 1;
                self.living[*caller].get_or_insert(self.incarnations);
                let name = self.name(*caller).unwrap();
                self.arrive(&name);
                let held = self.holders.get(number).cloned();
                let given = self.lease(*number).is_ok();
                match held {
                    None => prop_assert!(given, "a free address is given"),
                    Some(holder) => {
                        prop_assert!(!given || self.certainly_gone(&holder), "{holder} may be alive");
                    }
                }
                if given {
                    self.holders.insert(*number, name);
                }
            }
            Op::End { caller } => self.living[*caller] = None,
            Op::Outlive(on) => self.outlive = *on,
            Op::Boot => {
                self.boot += 1;
                self.living = [None; 3];
                self.restart();
            }
            Op::Restart => self.restart(),
        }
        prop_assert_eq!(&self.rows.rebuild(&Settings::default(), self.now), &self.plan);
        Ok(())
    }

    fn restart(&mut self) {
        let open = self.plan.callers().filter(|(_, caller)| caller.until.is_none());
        self.known = open.map(|(name, _)| name.to_owned()).collect();
    }
}

proptest! {
    #[test]
    fn fenced_a_lease_is_replaced_only_if_every_possible_caller_is_gone(
        older in any::<bool>(),
        ops in prop::collection::vec(op(), 1..60),
    ) {
        let mut world = World::new(older);
        for op in &ops {
            world.run(op)?;
        }
        prop_assert!(world.plan.callers().count() <= 3 + 1, "the list contains only live callers");
    }
}

#[test]
fn after_a_boot_every_lease_of_the_previous_boot_can_be_replaced() {
    for (before, after) in [(0, 1), (2, 0), (2, 2)] {
        let mut world = World::new(true);
        for op in [
            Op::Ask { caller: before, number: 5 },
            Op::Outlive(true),
            Op::Boot,
            Op::Ask { caller: after, number: 5 },
            Op::Ask { caller: after, number: 4 },
        ] {
            world.run(&op).unwrap();
        }
        let name = world.name(after).unwrap();
        assert_eq!(world.holders, BTreeMap::from([(4, name.clone()), (5, name)]));
    }
}

#[test]
fn within_a_boot_leases_of_a_dockerd_without_surviving_containers_can_be_replaced() {
    let mut world = World::new(false);
    for op in [
        Op::Ask { caller: 0, number: 5 },
        Op::Outlive(false),
        Op::End { caller: 0 },
        Op::Restart,
        Op::Ask { caller: 0, number: 5 },
    ] {
        world.run(&op).unwrap();
    }
    assert_eq!(world.holders[&5], world.name(0).unwrap());
}
