//! Steps while the daemon is stopped. The steady clock keeps running, so within a boot ages are exact; if the name of
//! the boot is missing, nothing gets older than it is known to be.

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
fn holds_up_nobody(ahead: i64, later: i64) {
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
fn a_subnet_released_a_year_ahead_holds_up_nobody_over_a_restart() {
    holds_up_nobody(YEAR, 0);
}

#[test]
fn a_subnet_released_today_holds_up_nobody_after_a_start_in_1970() {
    holds_up_nobody(0, 30 * SECOND - now());
}

#[test]
fn a_step_ahead_over_a_restart_makes_no_subnet_older() {
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
fn a_crash_and_a_step_back_lose_no_age() {
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
fn a_date_in_books_that_somebody_edited_is_now() {
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
