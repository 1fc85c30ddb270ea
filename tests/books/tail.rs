//! The tail of the history: changes of addresses that are not yet in the table of addresses.

use super::*;

/// The leases as a shell sees them: address and holder.
fn leases(path: &Path) -> Vec<(String, String)> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut statement = connection.prepare("SELECT address, holder FROM leases ORDER BY address").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn rows(path: &Path, table: &str) -> i64 {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[test]
fn the_tail_is_bounded_and_views_do_not_show_where_it_ends() {
    let mut trial = Trial::new();
    trial.books.fold_after(100);
    let id = trial.subnet("203.0.113.0/24");
    let mut held: Vec<std::net::IpAddr> = Vec::new();
    let (mut unfolded, mut folded) = (false, false);
    for number in 0..600 {
        let address = trial.address(&id, &format!("endpoint-{number}"));
        held.push(address);
        if number % 3 > 0 {
            let address = held.remove(number * 7 % held.len());
            trial
                .ask(&Request::Release { id: id.clone(), address: Some(address), generation: None })
                .unwrap();
        }
        trial.commit();
        if number % 20 == 0 {
            let path = trial.books.path();
            assert!(rows(path, "tail") <= 200, "{}", rows(path, "tail"));
            assert_eq!(leases(path).len(), held.len());
            let held: std::collections::BTreeSet<String> = held.iter().map(ToString::to_string).collect();
            assert!(leases(path).iter().all(|(address, _)| held.contains(address)));
            assert_eq!(load(&trial.books, trial.now), trial.plan);
            unfolded |= rows(path, "tail") > 0;
            folded |= rows(path, "addresses") > 0;
        }
    }
    assert!(unfolded && folded);
    let before = leases(trial.books.path());
    let plan = trial.plan.clone();
    let trial = trial.reopen();
    assert_eq!((rows(trial.books.path(), "tail"), leases(trial.books.path())), (0, before));
    assert_eq!(load(&trial.books, trial.now), plan);
}

#[test]
fn generations_are_not_reused_after_their_entries_are_forgotten() {
    let mut trial = Trial::new();
    let id = trial.subnet("203.0.113.0/24");
    trial.commit();
    trial.address(&id, "web");
    let undo = trial.undos.pop().unwrap();
    trial.ask(&Request::Undo(Box::new(undo))).unwrap();
    trial.commit();
    let counters = trial.plan.counters();
    assert_eq!(load(&trial.books, START).counters(), counters);
    let trial = trial.reopen();
    assert_eq!(load(&trial.books, START).counters(), counters);
}

#[test]
fn durable_zeros_after_the_wal_are_not_read() {
    let mut trial = Trial::new();
    let id = trial.subnet("203.0.113.0/24");
    let log = trial.books.path().with_file_name("gipam.db-wal");
    for round in 0..3 {
        trial.address(&id, &format!("endpoint-{round}"));
        trial.commit();
        trial.books.checkpoint_if_due();
        // The WAL gets its size once, before these commits, and then keeps it.
        assert_eq!(fs::metadata(&log).unwrap().len() >> 20, 1, "round {round}");
        let copy = tempfile::tempdir().unwrap();
        for name in ["gipam.db", "gipam.db-wal"] {
            fs::copy(trial.books.path().with_file_name(name), copy.path().join(name)).unwrap();
        }
        assert_eq!(load(&open(&copy.path().join("gipam.db")), trial.now), trial.plan, "round {round}");
    }
    trial.books.close().unwrap();
    assert!(!log.exists());
}

/// Books as an earlier program made them: the tables added since then are removed.
fn of_version(version: i32) -> (tempfile::TempDir, PathBuf) {
    let (directory, path) = filled();
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .execute_batch(
            "DROP TABLE sources; DROP TABLE former_bases; DROP TABLE slices; ALTER TABLE pools DROP COLUMN v4_slice; ALTER TABLE pools DROP COLUMN v6_slice;
             ALTER TABLE pools DROP COLUMN v4_shared; ALTER TABLE pools DROP COLUMN v6_shared;
             ALTER TABLE pools DROP COLUMN v4_gateway; ALTER TABLE pools DROP COLUMN v6_gateway;
             ALTER TABLE pools DROP COLUMN v4_probe; ALTER TABLE pools DROP COLUMN v6_probe",
        )
        .unwrap();
    if version < 6 {
        connection
            .execute_batch(
                "DROP TABLE networks; DROP TABLE kept_releases; DROP VIEW held;
                 CREATE VIEW held AS SELECT prefix FROM subnets",
            )
            .unwrap();
    }
    if version < 5 {
        connection.execute_batch("DROP TABLE reserved_by_hand; DROP TABLE pins").unwrap();
    }
    if version < 4 {
        before_the_tail(&connection);
    }
    if version < 3 {
        connection.execute_batch("DROP TABLE callers").unwrap();
    }
    connection.pragma_update(None, "user_version", version).unwrap();
    connection.close().unwrap();
    (directory, path)
}

fn before_the_tail(connection: &rusqlite::Connection) {
    connection
        .execute_batch(
            "BEGIN; DROP VIEW leases; DROP VIEW known; DROP VIEW tail; ALTER TABLE counters DROP COLUMN folded;
             CREATE TABLE old (seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, event TEXT NOT NULL,
               space TEXT NOT NULL, subnet TEXT NOT NULL, id TEXT NOT NULL, address TEXT, kind TEXT, name TEXT, mac TEXT,
               why TEXT) STRICT;
             INSERT INTO old SELECT seq, at, event, space, subnet, id, address, kind, name, mac, why FROM history;
             DROP TABLE history; ALTER TABLE old RENAME TO history;
             CREATE VIEW leases AS SELECT a.address FROM addresses a WHERE a.leased; COMMIT",
        )
        .unwrap();
}

#[test]
fn the_gateways_of_shared_pools_are_migrated() {
    let (_directory, path) = filled();
    let connection = rusqlite::Connection::open(&path).unwrap();
    let row = |name: &str, shared: &str| {
        format!(
            "INSERT INTO pools (position, name, v4_base, v4_size, cooling, subnet_cooling, closed, v4_slice, v4_shared)
             SELECT max(position) + 1, '{name}', '{shared}', 24, 1, 1, 0, 28, NULL FROM pools;"
        )
    };
    let shared =
        |name: &str, text: &str| format!("UPDATE pools SET v4_shared = '{text}' WHERE name = '{name}';");
    let batch = [
        "ALTER TABLE pools DROP COLUMN v4_gateway; ALTER TABLE pools DROP COLUMN v6_gateway;
         ALTER TABLE pools DROP COLUMN v4_probe; ALTER TABLE pools DROP COLUMN v6_probe;"
            .to_owned(),
        row("router", "192.0.2.0/24") + &shared("router", "192.0.2.1 192.0.2.240/29"),
        row("none", "198.51.100.0/24") + &shared("none", "- -"),
    ];
    connection.execute_batch(&batch.concat()).unwrap();
    connection.pragma_update(None, "user_version", 9).unwrap();
    connection.close().unwrap();
    let settings = open(&path).settings().unwrap();
    let read = |name: &str| {
        let base = settings.pool(name).unwrap().v4.unwrap();
        let gateway = base.gateway.map(|gateway| base.base.address(gateway).to_string());
        (gateway, base.shared.unwrap().by_number.map(|part| part.to_string()))
    };
    assert_eq!(read("router"), (Some("192.0.2.1".to_owned()), Some("192.0.2.240/29".to_owned())));
    assert_eq!(read("none"), (None, None));
}

#[test]
fn older_books_are_migrated() {
    for version in [2, 3, 4, 5, 6, 7] {
        let (_directory, path) = of_version(version);
        assert!(Reader::open(&path).is_err(), "reading does not migrate");
        let mut books = open(&path);
        let plan = load(&books, START);
        let subnet = plan.subnets().next().unwrap();
        assert_eq!((subnet.addresses.leased(), leases(&path).len()), (200, 200), "version {version}");
        let history = Reader::open(&path).unwrap().history(None, 1_000).unwrap();
        assert_eq!((history.len(), history[0].event.as_str()), (201, "leased"));
        let (serial, address) = (subnet.state.serial, subnet.state.prefix.first() + 7);
        let at = START + 1;
        let change = Change::AddressReleased { serial, address, at, why: gipam::plan::change::Why::Docker };
        books.write(&plan, &change).unwrap();
        books.commit().unwrap();
        assert_eq!((leases(&path).len(), rows(&path, "tail")), (199, 1));
        let plan = load(&books, START);
        books.fold_all(&plan).unwrap();
        books.close().unwrap();
        assert_eq!((leases(&path).len(), rows(&path, "tail"), rows(&path, "history")), (199, 0, 202));
    }
}

#[test]
fn the_tail_is_bounded_under_constant_load() {
    let mut trial = Trial::new();
    let id = trial.subnet("198.16.0.0/12");
    let mut sizes = Vec::new();
    for number in 1..=140_000 {
        trial.address(&id, &number.to_string());
        if number % 1_000 == 0 {
            trial.commit();
            sizes.push(rows(trial.books.path(), "history WHERE seq > (SELECT folded FROM counters)"));
        }
    }
    let most = *sizes.iter().max().unwrap();
    assert!((60_000..135_000).contains(&most), "at most one more round is in the tail: {most}");
    assert!(*sizes.last().unwrap() < most, "folding catches up with the load");
    assert_eq!(leases(trial.books.path()).len(), 140_000);
    // Without further requests, the books stay the same and the history is trimmed to its limit.
    trial.books.keep_history(5_000);
    let plan = trial.plan.clone();
    while trial.books.is_untidy() {
        trial.books.tidy(&plan).unwrap();
        trial.books.commit().unwrap();
    }
    let (tail, history) = (rows(trial.books.path(), "tail"), rows(trial.books.path(), "history"));
    assert!(tail < most && (tail.max(5_000)..tail.max(5_000) + 1_000).contains(&history), "{tail} {history}");
    assert_eq!(load(&trial.books, trial.now), trial.plan);
}
