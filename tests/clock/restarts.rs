//! Steps while the daemon is stopped. The steady clock keeps running, so ages are exact within a boot; if the
//! name of the boot is missing, an age is never overestimated.

use std::time::Instant;

use crate::daemon::House;
use crate::support::*;
use crate::timeshift::{HOUR, SECOND, YEAR};

/// Makes the books look as if they came from another boot, or from one without a name.
fn forget_the_boot(house: &House) {
    let books = rusqlite::Connection::open(house.path("gipam.db")).unwrap();
    let changed = books.execute("DELETE FROM meta WHERE key = 'clock'", []).unwrap();
    assert_eq!(changed, 1, "the books record the clock of their times");
}

/// The subnet is released with a clock that is `ahead`, and the next start's clock is `later`.
fn assert_that_requests_are_not_delayed(ahead: i64, later: i64) {
    for forgotten in [false, true] {
        let (house, clock) = one_subnet();
        clock.set(ahead);
        let daemon = house.start();
        let since = released(&daemon);
        assert!(daemon.stop().success());
        clock.set(later);
        if forgotten {
            forget_the_boot(&house);
        }
        let daemon = house.start();
        let from = if forgotten { Instant::now() } else { since };
        let age = asked(&daemon, from).join().unwrap();
        assert!(since.elapsed() >= YOUTH && age < SOON, "{age:?}");
    }
}

#[test]
fn a_subnet_released_by_a_clock_a_year_ahead_delays_no_request_after_a_restart() {
    assert_that_requests_are_not_delayed(YEAR, 0);
}

#[test]
fn a_subnet_released_today_delays_no_request_after_a_start_in_1970() {
    assert_that_requests_are_not_delayed(0, 30 * SECOND - now());
}

#[test]
fn a_step_ahead_over_a_restart_does_not_make_a_subnet_older() {
    for forgotten in [false, true] {
        let (house, clock) = one_subnet();
        let daemon = house.start();
        let since = released(&daemon);
        assert!(daemon.stop().success());
        clock.set(2 * HOUR);
        if forgotten {
            forget_the_boot(&house);
        }
        let daemon = house.start();
        assert_in_time(asked(&daemon, since));
        drop(daemon);
    }
}

#[test]
fn a_crash_and_a_step_back_keep_every_age() {
    let (house, clock) = one_subnet();
    clock.set(3 * HOUR);
    let daemon = house.start();
    let since = released(&daemon);
    daemon.kill();
    clock.set(-HOUR);
    let daemon = house.start();
    assert_in_time(asked(&daemon, since));
    let log = house.log();
    assert!(log.contains("the wall clock stepped back by 4 h 0 min while gipam was stopped"), "{log}");
}

#[test]
fn a_future_date_in_edited_books_counts_as_now() {
    let (house, _clock) = one_subnet();
    let daemon = house.start();
    released(&daemon);
    assert!(daemon.stop().success());
    let books = rusqlite::Connection::open(house.path("gipam.db")).unwrap();
    for (released, cool) in [(YEAR, YEAR), (0, YEAR)] {
        let sql = "UPDATE subnets SET released_at = released_at + ?1, cool_until = cool_until + ?2";
        books.execute(sql, [released, cool]).unwrap();
        let begun = Instant::now();
        let daemon = house.start();
        let age = asked(&daemon, begun).join().unwrap();
        assert!(age < SOON, "RequestPool waited for {age:?}");
        let id = house.json(&["subnets"])[0]["id"].as_str().unwrap().to_owned();
        daemon.wire().release_pool(&id);
        assert!(daemon.stop().success());
    }
}
