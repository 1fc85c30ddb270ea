//! Other programs read the books while the daemon writes them: a view, and then the `sqlite3` shell.

#![cfg(test)]
#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/http.rs"]
mod http;

use daemon::{House, POOLS};
use rusqlite::Connection;

/// Counts the rows of history as the `sqlite3` shell does: opened for writing, and closed afterwards.
fn rows(house: &House) -> i64 {
    let connection = Connection::open(house.path("gipam.db")).unwrap();
    let rows = connection.query_row("SELECT count(*) FROM history", [], |row| row.get(0)).unwrap();
    connection.close().unwrap();
    rows
}

#[test]
fn durable_although_others_close_the_books_after_a_view() {
    let house = House::new(&POOLS);
    let daemon = house.start();
    daemon.wire().subnet(false);
    daemon.view("/v1/status");
    assert_eq!(rows(&house), 1);
    assert!(house.path("gipam.db-wal").exists(), "the WAL was removed under the daemon");
    daemon.wire().subnet(false);
    daemon.kill();
    assert_eq!(rows(&house), 2, "answered grants are on disk");
}
