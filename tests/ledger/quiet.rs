//! The ledger folds new rows of the history into the table of addresses between requests, without a command.

use std::path::Path;
use std::time::{Duration, Instant};

use gipam::store::Books;

use crate::support::{House, any_address, load, settings};

fn rows(path: &Path, table: &str) -> i64 {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[test]
fn faithful_the_tail_is_folded_while_there_are_no_requests() {
    let house = House::new(&settings("198.18.0.0/16", 16));
    let (id, _) = house.subnet();
    // All requests are in the queue at once, so that there is no pause between them.
    let before = house.gate();
    before.reached();
    let pending: Vec<_> = (0..5_200).map(|_| house.begin(any_address(&id))).collect();
    let gate = house.gate();
    before.open();
    gate.reached();
    assert!(rows(&house.path, "tail") > 4_096, "{}", rows(&house.path, "tail"));
    assert_eq!(rows(&house.path, "addresses"), 0, "the tail is not folded while requests are queued");
    gate.open();
    assert!(pending.into_iter().all(|one| one.finish().is_ok()));
    let end = Instant::now() + Duration::from_secs(60);
    while rows(&house.path, "tail") > 0 {
        assert!(Instant::now() < end, "{} rows still wait", rows(&house.path, "tail"));
        std::thread::yield_now();
    }
    assert_eq!(rows(&house.path, "addresses"), 5_200);
    house.address(&id);
    // As after a power failure: a copy of the books at this moment.
    let plan = house.look();
    assert_eq!(load(&Books::open(&house.copy()).unwrap(), plan.now()), plan);
}
