//! Steps of the wall clock while the daemon runs.

use serde_json::Value;

use crate::daemon::until;
use crate::support::*;
use crate::timeshift::{HOUR, SECOND, YEAR};

#[test]
fn a_step_back_of_two_hours_delays_neither_waiting_nor_later_requests() {
    let (house, clock) = one_subnet();
    let daemon = house.start();
    let since = released(&daemon);
    let waiting = asked(&daemon, since);
    clock.set(-2 * HOUR);
    assert_in_time(waiting);
    let held = house.json(&["subnets"])[0]["id"].as_str().unwrap().to_owned();
    let since = std::time::Instant::now();
    daemon.wire().release_pool(&held);
    assert_in_time(asked(&daemon, since));
    let log = house.log();
    assert!(log.contains("the wall clock stepped back by 2 h 0 min"), "{log}");
}

#[test]
fn a_step_ahead_does_not_make_a_subnet_older() {
    let (house, clock) = one_subnet();
    let daemon = house.start();
    let since = released(&daemon);
    clock.set(2 * HOUR);
    assert_in_time(asked(&daemon, since));
    let log = house.log();
    assert!(log.contains("the wall clock stepped ahead by 2 h 0 min"), "{log}");
}

#[test]
fn a_request_that_waits_since_a_start_in_1970_is_woken() {
    let (house, clock) = one_subnet();
    clock.set(30 * SECOND - now());
    let daemon = house.start();
    let since = released(&daemon);
    assert_in_time(asked(&daemon, since));
}

#[test]
fn dates_of_a_start_in_1970_follow_the_clock() {
    let (house, clock) = one_subnet();
    clock.set(30 * SECOND - now());
    let daemon = house.start();
    let since = released(&daemon);
    let waiting = asked(&daemon, since);
    clock.set(0);
    assert_in_time(waiting);
    let id = house.json(&["subnets"])[0]["id"].as_str().unwrap().to_owned();
    daemon.wire().address(&id, "", serde_json::json!({}));
    assert!(age_of_the_lease(&house).abs() < 60, "the lease is shown with its real date");
}

#[test]
fn a_date_in_the_future_does_not_stay() {
    let (house, clock) = one_subnet();
    let daemon = house.start();
    clock.set(YEAR);
    let (id, _) = daemon.wire().subnet(false);
    clock.set(0);
    daemon.wire().address(&id, "", serde_json::json!({}));
    assert!(age_of_the_lease(&house).abs() < 60, "the lease was granted now, not in a year");
}

#[test]
fn an_address_keeps_cooling_over_a_step_ahead() {
    let (house, clock) = one_subnet();
    let daemon = house.start();
    let mut wire = daemon.wire();
    let (id, _) = wire.subnet(false);
    // Two addresses: a container that only restarts gets its address back, even while it cools.
    let addresses = [(); 2].map(|()| wire.address(&id, "", serde_json::json!({})));
    for address in &addresses {
        wire.release(&id, address);
    }
    let address = addresses[0].clone();
    clock.set(2 * HOUR);
    // With this request, the ledger notices the step.
    let other = wire.address(&id, "", serde_json::json!({}));
    let states = || {
        let leases = house.json(&["leases", "--all"]);
        let state = |of: &str| {
            let of = of.split('/').next().unwrap();
            let row = leases.as_array().unwrap().iter().find(|row| row["address"] == of).cloned();
            row.unwrap_or(Value::Null)["state"].as_str().unwrap_or("none").to_owned()
        };
        [state(&address), state(&other)]
    };
    assert_eq!(states(), ["cooling", "leased"]);
}

#[test]
fn the_log_reports_each_step_once() {
    let (house, clock) = one_subnet();
    let daemon = house.start();
    for shift in [HOUR, 3 * HOUR, 0] {
        clock.set(shift);
        daemon.wire().release_pool("local/198.51.100.0/24#0123456789abcdef");
    }
    let lines = || house.log().lines().filter(|line| line.contains("the wall clock stepped")).count();
    until("all steps are logged", || (lines() >= 3).then_some(()));
    assert_eq!(lines(), 3, "{}", house.log());
}

/// Seconds since the only endpoint's lease was granted, according to `gipam leases --json`.
fn age_of_the_lease(house: &crate::daemon::House) -> i64 {
    let leases = house.json(&["leases"]);
    let since = leases[0]["since"].as_str().unwrap().to_owned();
    let since: jiff::Timestamp = since.parse().unwrap();
    now() / 1_000 - since.as_second()
}
