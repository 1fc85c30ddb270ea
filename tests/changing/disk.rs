//! Changes by hand while the disk refuses writes.

use super::daemon::House;
use super::{SMALL, change, refused};

#[test]
fn durable_busy_books_are_not_changed_and_work_again_afterwards() {
    let house = House::new(&SMALL);
    let daemon = house.start();
    daemon.wire().subnet(false);
    let lock = rusqlite::Connection::open(house.path("gipam.db")).unwrap();
    let changes: [&[&str]; 3] = [
        &["reserve", "198.51.100.64/28"],
        &["pin", "web", "198.51.100.9"],
        &["pool", "add", "lan", "--v4", "203.0.113.0/24"],
    ];
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    for arguments in changes {
        refused(&house, arguments, 1, &["nothing was changed"]);
    }
    lock.execute_batch("ROLLBACK").unwrap();
    for arguments in changes {
        assert_eq!(change(&house, arguments)["changed"], true, "{arguments:?} was not done yet");
    }
    daemon.stop();
}
