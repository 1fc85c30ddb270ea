//! THE PLAN AGAINST A NAIVE MODEL: random operations, every answer predicted, every invariant checked after
//! each.
//!
//! A failure prints the operations, shrunk, and what broke. `PROPTEST_CASES=20000 cargo test --test plan`
//! tries more cases.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod support {
    pub mod explained;
    pub mod invariants;
    pub mod model;
    pub mod operations;
    pub mod rows;
}

use std::cell::Cell;

use gipam::plan::Plan;
use gipam::plan::request::{Dead, Undo};
use gipam::plan::settings::Settings;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use support::explained::explained;
use support::invariants::{answered_once, conserved, disjoint, faithful, inside, owned, repeatable, unique};
use support::model::{Model, variant_of};
use support::operations::{EXACT, Op, hands, operations, prefix, request, settings};
use support::rows::Rows;

/// The plan, its model and its books, all kept in step.
struct Trial {
    plan: Plan,
    model: Model,
    rows: Rows,
    random: u64,
    ids: Vec<String>,
    proven: u64,
}

impl Trial {
    fn new() -> Self {
        let mut trial = Self {
            plan: Plan::new(settings(0)),
            model: Model::new(settings(0)),
            rows: Rows::default(),
            random: 0,
            ids: vec!["local/192.0.2.0/30#0000000000000000".to_owned()],
            proven: 0,
        };
        trial.pass(1_800_000_000_000);
        trial
    }

    fn pass(&mut self, millis: u64) {
        self.model.now += millis;
        self.plan.advance(self.model.now);
    }

    fn by_hand(&mut self, hand: &hands::Hand) -> Result<(), String> {
        if let Some(settings) = hands::settings(hand, &self.plan)? {
            self.configure(settings);
        }
        let mut changes = Vec::new();
        if let Some(wish) = hands::wish(hand, &self.plan) {
            let seen = self.plan.pin(&wish, &Dead::default());
            let seen = seen.map_err(|refusal| variant_of(&refusal));
            self.model.pin(&wish, seen.as_ref().map_err(|name| *name))?;
            changes = seen.map(|seen| seen.changes).unwrap_or_default();
        }
        if let Some((address, subnet)) = hands::unwish(hand, &self.plan) {
            // Grants of one prefix in both spaces differ only in their PoolIDs.
            if let Ok(seen) = self.plan.unpin(address, subnet.as_deref()) {
                self.model.unpin(&seen)?;
                changes = seen.changes;
            }
        }
        for change in &changes {
            self.rows.keep(change);
            self.plan.apply(change);
        }
        Ok(())
    }

    fn configure(&mut self, settings: Settings) {
        self.plan.configure(settings.clone());
        self.model.settings = settings;
    }

    fn step(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Pass(millis) => self.pass(*millis),
            Op::Configure(number) => self.configure(settings(*number).with_books(self.plan.settings())),
            Op::Hand(hand) => self.by_hand(hand)?,
            Op::Proven(number) => self.proven = *number,
            Op::TakeOver { pool, beyond, leases } => {
                for change in self.model.take_over(prefix(EXACT[*pool]), *beyond, *leases) {
                    self.rows.keep(&change);
                    self.plan.apply(&change);
                }
            }
            _ => self.decide(op)?,
        }
        disjoint(&self.plan)?;
        unique(&self.plan, &self.model)?;
        repeatable(&self.plan, &self.ids)?;
        conserved(&self.plan)?;
        self.rows.count(&self.plan);
        faithful(&self.plan, &self.rows, &self.model)
    }

    fn decide(&mut self, op: &Op) -> Result<(), String> {
        let undos: Vec<Undo> = self.model.grants.iter().map(|grant| grant.undo.clone()).collect();
        let Some(request) = request(op, &self.plan, &undos, self.proven) else { return Ok(()) };
        self.random += 1;
        let before = self.plan.clone();
        let decision = self.plan.decide(&request, self.random);
        if self.plan != before {
            return Err("deciding changed the plan".to_owned());
        }
        // A question does not probe.
        if !matches!(decision.reply, Ok(gipam::plan::request::Reply::Probe(_))) {
            explained(&before, &request, &decision)?;
        }
        self.model
            .follow(&request, &decision)
            .map_err(|why| format!("{request:#?}\ngave {decision:#?}\n{why}"))?;
        for change in &decision.changes {
            self.rows.keep(change);
            self.plan.apply(change);
        }
        if let Ok(gipam::plan::request::Reply::Subnet { id, .. }) = &decision.reply {
            self.ids.push(id.clone());
        }
        owned(&self.plan, &request, &decision)?;
        answered_once(&self.plan, &request, &decision)?;
        inside(&self.plan, &request, &decision)
    }
}

#[test]
fn plan_behaves_as_the_naive_model() {
    let config = ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1_000),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    };
    let (done, trials) = (Cell::new(0), Cell::new(0));
    let outcome = TestRunner::new(config).run(&operations(60), |operations| {
        let mut trial = Trial::new();
        for (number, op) in operations.0.iter().enumerate() {
            if let Err(why) = trial.step(op) {
                return Err(TestCaseError::fail(format!("operation {number}, {op:?}: {why}")));
            }
        }
        done.set(done.get() + operations.0.len());
        trials.set(trials.get() + 1);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    println!("{} operations in {} trials", done.get(), trials.get());
}

/// Two networks shared a subnet, each with its own range. One is released, the other one is dead and in the way of a network that
/// wants the whole subnet: that inherits the memory of the one that it replaces, also if both ended in the same millisecond.
#[test]
fn a_network_inherits_the_memory_of_the_dead_one_that_it_replaces() {
    use gipam::plan::prefix::Family;
    use gipam::plan::request::Space;
    let any = |driver| Op::Any {
        space: Space::Local,
        family: Family::V4,
        size: None,
        options: Vec::new(),
        host: 0,
        driver,
    };
    let exact = |pool, range| Op::Exact { space: Space::Local, pool, range, overlap: false };
    let again = |subnet| Op::Again { subnet, overlap: false };
    let released = |subnet| Op::ReleaseSubnet { subnet };
    let address =
        Op::Address { subnet: 0, number: None, gateway: false, name: None, mac: None, serial: false };
    let operations = [
        exact(0, None),
        exact(8, Some(6)),
        any(0),
        any(0),
        address,
        exact(1, None),
        any(1),
        again(1),
        released(2),
        any(0),
        Op::Proven(1),
        released(2),
        released(2),
        released(3),
        again(6),
    ];
    take(&operations);
}

/// A stranger answers at the gateway's address of one of two networks that share a prefix.
#[test]
fn an_address_that_another_network_of_the_prefix_leases_is_not_a_strangers() {
    let pair = Op::AdoptSubnet { pool: 15, range: None, leases: 34_722, ago: 0, id: None, pair: true };
    take(&[pair, Op::Heard { subnet: 0, number: 1, mac: 0, ago: 0 }]);
}

fn take(operations: &[Op]) {
    let mut trial = Trial::new();
    for (number, operation) in operations.iter().enumerate() {
        trial.step(operation).unwrap_or_else(|why| panic!("operation {number}, {operation:?}: {why}"));
    }
}
