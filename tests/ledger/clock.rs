//! The time of day steps while the ledger runs: ages are kept, the steady clock wakes waiting requests, and a
//! step that cannot be written does not change an age either.

use gipam::plan::Plan;
use gipam::store::Books;

use crate::support::*;

const HOUR: i64 = 3_600_000;

fn ages(plan: &Plan, id: &str) -> Vec<u64> {
    let records = plan.held(id).unwrap().addresses.records();
    records.map(|(_, record)| plan.now() - record.since).collect()
}

#[test]
fn a_step_keeps_every_age_and_the_books_follow() {
    for by in [-2 * HOUR, 2 * HOUR] {
        let mut house = House::new(&settings("10.0.0.0/24", 24));
        let (id, _) = house.subnet();
        house.address(&id);
        house.pass(1_400);
        house.clock.step(by);
        house.address(&id);
        let plan = house.look();
        assert_eq!(ages(&plan, &id), [1_400, 0]);
        assert_eq!(plan.now(), house.clock.now().wall, "a grant has today's date");
        assert_eq!(load(&Books::open(&house.copy()).unwrap(), plan.now()), plan, "faithful over a step");
        house.stop();
        assert_eq!(load(&Books::open(&house.path).unwrap(), plan.now()), plan, "faithful after folding");
    }
}

#[test]
fn a_request_that_waits_for_a_young_subnet_is_woken_whatever_the_clock_does() {
    for by in [-2 * HOUR, 2 * HOUR, -50 * 8_760 * HOUR] {
        let house = House::new(&settings("10.0.0.0/24", 24));
        let (id, prefix) = house.subnet();
        house.ask(release_subnet(&id)).unwrap();
        house.pass(4_980);
        let mut waiting = house.begin(any_subnet());
        house.look();
        house.clock.step(by);
        house.pass(19);
        house.look();
        assert!(waiting.is_pending(), "4.999 s are not 5 s");
        house.pass(1);
        assert_eq!(subnet_of(&waiting.finish()).unwrap().1, prefix);
    }
}

#[test]
fn a_step_that_cannot_be_written_does_not_change_an_age() {
    for by in [-2 * HOUR, 2 * HOUR] {
        let mut house = House::new(&settings("10.0.0.0/16", 24));
        let (id, _) = house.subnet();
        let (young, prefix) = house.subnet();
        house.address(&id);
        house.ask(release_subnet(&young)).unwrap();
        let busy = rusqlite::Connection::open(&house.path).unwrap();
        busy.execute_batch("BEGIN IMMEDIATE").unwrap();
        house.pass(1_000);
        house.clock.step(by);
        house.ask(any_address(&id)).unwrap_err();
        busy.execute_batch("ROLLBACK").unwrap();
        drop(busy);
        house.pass(400);
        house.address(&id);
        let plan = house.look();
        assert_eq!((ages(&plan, &id), plan.now()), (vec![1_400, 0], house.clock.now().wall));
        let cools = plan.subnets().find(|subnet| subnet.state.prefix == prefix).unwrap().state.clone();
        assert_eq!(cools.cool_until - plan.now(), 60_000 - 1_400);
        house.stop();
        assert_eq!(load(&Books::open(&house.path).unwrap(), plan.now()), plan);
    }
}
