//! Files that are not complete books of this version: refused with the reason, and left unchanged byte by
//! byte.

use super::*;

/// A file that must be refused with the matching error, and left unchanged, without a new file next to it
/// except a lock.
fn refused(name: &str, bytes: &[u8], fits: impl Fn(&StoreError) -> bool) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gipam.db");
    fs::write(&path, bytes).unwrap();
    let outcome = Books::open(&path).and_then(|books| {
        books.settings()?;
        books.load(|_| ())
    });
    let error = outcome.expect_err(name);
    assert!(fits(&error), "{name}: {error:?}");
    assert!(error.to_string().contains("untouched"), "{name}: {error}");
    assert!(Reader::open(&path).and_then(|reader| reader.load(|_| ())).is_err(), "{name}");
    assert!(fs::read(&path).unwrap() == bytes, "{name} was changed");
    let beside = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let written: Vec<PathBuf> = beside
        .filter(|file| {
            *file != path && !file.ends_with("gipam.db-shm") && fs::metadata(file).unwrap().len() > 0
        })
        .collect();
    assert!(written.is_empty(), "{name}: {written:?}");
}

fn with_pragma(pragma: &str) -> Vec<u8> {
    let (_directory, path) = filled();
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch(&format!("PRAGMA {pragma}; PRAGMA wal_checkpoint(TRUNCATE)")).unwrap();
    connection.close().unwrap();
    fs::read(&path).unwrap()
}

#[test]
fn unreadable_foreign_and_newer_files_are_refused_and_untouched() {
    let foreign = |error: &StoreError| matches!(error, StoreError::Foreign { .. });
    let damaged = |error: &StoreError| matches!(error, StoreError::Damaged { .. });
    refused("empty", b"", foreign);
    refused("lease file", b"{\"v4\":\"10.0.0.0/8\"}", foreign);
    refused("a header and no more", b"SQLite format 3\0", foreign);
    refused("the database of another program", &with_pragma("application_id = 77"), foreign);
    refused("newer", &with_pragma("user_version = 99"), |error| {
        matches!(error, StoreError::Newer { found: 99, .. })
    });
    let (_directory, path) = filled();
    let whole = fs::read(&path).unwrap();
    refused("truncated", &whole[..whole.len() - 4096], damaged);
    refused("truncated inside a page", &whole[..whole.len() / 2 + 100], damaged);
    let mut scribbled = whole.clone();
    scribbled[4096..].fill(0x55);
    refused("scribbled over", &scribbled, damaged);
}

#[test]
fn a_wal_next_to_a_foreign_database_is_not_moved_into_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("other.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
    let copy = directory.path().join("copy.db");
    for end in ["", "-wal"] {
        fs::copy(format!("{}{end}", path.display()), format!("{}{end}", copy.display())).unwrap();
    }
    let before = (fs::read(&copy).unwrap(), fs::read(format!("{}-wal", copy.display())).unwrap());
    assert!(matches!(Books::open(&copy), Err(StoreError::Foreign { .. })));
    assert!(before == (fs::read(&copy).unwrap(), fs::read(format!("{}-wal", copy.display())).unwrap()));
}

#[test]
fn existing_books_are_never_replaced_by_empty_ones() {
    let trial = Trial::new();
    let path = trial.books.path().to_owned();
    let log = path.with_file_name("gipam.db-wal");
    drop(trial.books);
    fs::remove_file(&path).unwrap();
    assert!(fs::metadata(&log).unwrap().len() > 0);
    let error = Books::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error:?}");
    assert!(!path.exists());
}

#[test]
fn an_invalid_row_is_named_and_not_guessed() {
    let cases = [
        ("UPDATE addresses SET address = '10.0.0.1' WHERE rowid_is_1", "is outside 203.0.113.0/24"),
        ("UPDATE addresses SET kind = 'king' WHERE rowid_is_1", "is not a kind"),
        ("UPDATE addresses SET mac = 'x' WHERE rowid_is_1", "is not a MAC address"),
        ("UPDATE addresses SET generation = -1 WHERE rowid_is_1", "is negative"),
        ("UPDATE subnets SET prefix = 'here'", "is not a prefix"),
        ("UPDATE subnets SET space = 'outer'", "is not an address space"),
        ("UPDATE subnets SET options = '['", "table subnets, row 1"),
        ("UPDATE subnets SET range = '10.0.0.0/30'", "range of 203.0.113.0/24 is outside it"),
        ("DELETE FROM subnets", "does not belong to any subnet"),
        ("INSERT INTO keys VALUES ('local', 'v5', 'word', '10.0.0.0/8', 0)", "is not an address family"),
        ("UPDATE pools SET v4_base = 'x'", "pool a"),
        ("UPDATE pools SET v4_base = '2001:db8::/124' WHERE name = 'a'", "pool a"),
        ("UPDATE pools SET cooling = -5 WHERE name = 'a'", "pool a"),
        ("UPDATE reserved SET first = 'x' WHERE position = 0", "reservation x"),
        ("UPDATE meta SET value = 'short' WHERE key = 'secret'", "secret"),
        ("UPDATE meta SET value = 'long' WHERE key = 'cooling'", "cannot be read"),
    ];
    let (_directory, path) = filled();
    let whole = fs::read(&path).unwrap();
    for (sql, expected) in cases {
        fs::write(&path, &whole).unwrap();
        let connection = rusqlite::Connection::open(&path).unwrap();
        let first = "address = (SELECT min(address) FROM addresses)";
        connection.execute_batch(&sql.replace("rowid_is_1", first)).unwrap();
        connection.close().unwrap();
        let books = open(&path);
        let error = books.settings().map(|_| ()).and_then(|()| books.load(|_| ())).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{sql}: {error:?}");
        assert!(error.to_string().contains(expected), "{sql}: {error}");
    }
}
