//! RESTORE and the lock: a restored copy contains everything acknowledged, whatever files are next to it, and
//! other processes cannot use the books meanwhile, under any path.
//!
//! Checks *durable*. `tests/torture` kills restores; `tests/backup.rs` copies books that are in use.

#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use gipam::plan::Plan;
use gipam::plan::prefix::{Family, Prefix};
use gipam::plan::request::{Request, Space, SubnetRequest, Wanted};
use gipam::plan::settings::Settings;
use gipam::store::backup::backup;
use gipam::store::restore::restore;
use gipam::store::{Books, Reader, StoreError};

/// Books at this path, and the plan that they hold.
struct Trial {
    plan: Plan,
    books: Books,
}

impl Trial {
    fn new(path: &Path) -> Self {
        Self { plan: Plan::new(Settings::default()), books: Books::open(path).unwrap() }
    }

    /// Grants 10.NUMBER.0.0/16 and answers the request.
    fn subnet(&mut self, number: u8) {
        let wanted = Wanted::Exact(Prefix::parse(&format!("10.{number}.0.0/16")).unwrap());
        let request = Request::Subnet(SubnetRequest {
            space: Space::Local,
            family: Family::V4,
            wanted,
            range: None,
            options: Default::default(),
            pools: None,
            in_use: [].into(),
            in_a_row: 0,
            dead: Default::default(),
            cannot: Default::default(),
        });
        self.plan.advance(1_000);
        let decision = self.plan.decide(&request, number.into());
        for change in &decision.changes {
            self.books.write(&self.plan, change).unwrap();
            self.plan.apply(change);
        }
        decision.reply.unwrap();
        self.books.write_counters(&self.plan).unwrap();
        self.books.commit().unwrap();
    }

    /// As after kill -9: the last commits are only in the WAL.
    fn kill(self) {
        drop(self.books);
    }
}

/// Books with this many subnets, closed or left as after kill -9.
fn books(path: &Path, subnets: std::ops::Range<u8>, killed: bool) {
    let mut trial = Trial::new(path);
    subnets.for_each(|number| trial.subnet(number));
    if killed { trial.kill() } else { trial.books.close().unwrap() }
}

fn restore_books(copy: &Path, books: &Path) -> Result<(), StoreError> {
    restore(copy, books, &|_| ()).map(|_| ())
}

/// How many subnets these books hold; a starting daemon must find the same number.
fn held(path: &Path) -> usize {
    let count = |plan: &Plan| plan.subnets().filter(|subnet| subnet.is_held()).count();
    let reader = Reader::open(path).unwrap();
    let mut looked = Plan::new(reader.settings().unwrap());
    reader.load(|change| looked.apply(&change)).unwrap();
    drop(reader);
    let books = Books::open(path).unwrap();
    let mut started = Plan::new(books.settings().unwrap());
    books.load(|change| started.apply(&change)).unwrap();
    assert_eq!(count(&looked), count(&started));
    count(&looked)
}

fn with_suffix(path: &Path, end: &str) -> PathBuf {
    PathBuf::from(format!("{}{end}", path.display()))
}

fn names(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn durable_changes_only_in_the_wal_of_a_copy_are_restored() {
    let place = tempfile::tempdir().unwrap();
    let (copy, at) = (place.path().join("copy.db"), place.path().join("gipam.db"));
    books(&copy, 0..78, true);
    assert!(fs::metadata(with_suffix(&copy, "-wal")).unwrap().len() > 0, "the WAL contains changes");
    books(&at, 100..101, false);
    restore_books(&copy, &at).unwrap();
    assert_eq!(held(&at), 78);
    assert_eq!(held(&copy), 78, "the copy is unchanged");
}

#[test]
fn durable_a_copy_is_never_combined_with_the_wal_of_other_books() {
    for (target_exists, killed) in [(true, true), (true, false), (false, true)] {
        let place = tempfile::tempdir().unwrap();
        let (copy, at) = (place.path().join("copy.db"), place.path().join("gipam.db"));
        books(&place.path().join("first.db"), 0..36, false);
        backup(&place.path().join("first.db"), &copy, &|_| ()).unwrap();
        books(&at, 100..154, killed);
        if !target_exists {
            fs::remove_file(&at).unwrap();
        }
        restore_books(&copy, &at).unwrap();
        assert_eq!(held(&at), 36, "{target_exists} {killed}");
        let kept = with_suffix(&at, ".replaced-1");
        if target_exists {
            assert_eq!(held(&kept), 54, "the replaced books are kept complete");
        }
    }
}

#[test]
fn durable_leftovers_of_an_interrupted_restore_are_not_mixed_in() {
    let place = tempfile::tempdir().unwrap();
    let (copy, at) = (place.path().join("copy.db"), place.path().join("gipam.db"));
    books(&place.path().join("first.db"), 0..36, false);
    backup(&place.path().join("first.db"), &copy, &|_| ()).unwrap();
    books(&at, 100..110, false);
    // A restore of other books that was interrupted: a database and its WAL.
    let other = place.path().join("other.db");
    books(&other, 200..254, true);
    for end in ["", "-wal", "-shm"] {
        fs::copy(with_suffix(&other, end), with_suffix(&at, &format!(".restoring{end}"))).unwrap();
    }
    fs::write(with_suffix(&at, ".restoring-journal"), b"rubbish").unwrap();
    restore_books(&copy, &at).unwrap();
    assert_eq!(held(&at), 36);
    assert!(names(place.path()).iter().all(|name| !name.contains("restoring")), "{:?}", names(place.path()));
}

#[test]
fn an_interrupted_restore_that_had_named_the_old_books_twice_does_not_block_the_next() {
    let place = tempfile::tempdir().unwrap();
    let at = place.path().join("gipam.db");
    books(&at, 0..5, false);
    fs::hard_link(&at, with_suffix(&at, ".replaced-1")).unwrap();
    assert_eq!(held(&at), 5);
    assert_eq!(fs::metadata(&at).unwrap().nlink(), 1, "the start has corrected the names");
}

#[test]
fn a_source_that_is_not_complete_books_of_this_version_does_not_replace_the_books() {
    let place = tempfile::tempdir().unwrap();
    let at = place.path().join("gipam.db");
    books(&at, 0..9, false);
    let before = fs::read(&at).unwrap();
    let file = |name: &str| place.path().join(name);
    books(&file("newer.db"), 0..3, false);
    let newer = rusqlite::Connection::open(file("newer.db")).unwrap();
    newer.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(newer);
    let other = rusqlite::Connection::open(file("other.db")).unwrap();
    other.execute_batch("CREATE TABLE t (x)").unwrap();
    drop(other);
    books(&file("lost.db"), 0..3, false);
    let lost = rusqlite::Connection::open(file("lost.db")).unwrap();
    lost.execute_batch("DROP TABLE subnets").unwrap_or_else(|_| {
        lost.execute_batch("DROP VIEW leases; DROP VIEW held; DROP TABLE subnets").unwrap();
    });
    drop(lost);
    fs::write(file("empty.db"), b"").unwrap();
    fs::write(file("leases.json"), b"{\"v4\":\"10.0.0.0/8\"}").unwrap();
    fs::write(file("cut.db"), &before[..before.len() - 4096]).unwrap();
    fs::create_dir(file("directory")).unwrap();
    symlink(&at, file("link.db")).unwrap();
    let sources = [
        "newer.db",
        "other.db",
        "lost.db",
        "empty.db",
        "leases.json",
        "cut.db",
        "directory",
        "link.db",
        "gipam.db",
        "nothing.db",
    ];
    for name in sources {
        let refused = restore_books(&file(name), &at).expect_err(name).to_string();
        assert!(refused.contains(&file(name).display().to_string()), "the source is named: {refused}");
        assert!(fs::read(&at).unwrap() == before, "{name}");
    }
    fs::hard_link(&at, file("hard.db")).unwrap();
    assert!(restore_books(&file("hard.db"), &at).is_err(), "the source is the same file under another name");
    fs::remove_file(file("hard.db")).unwrap();
    assert_eq!(held(&at), 9);
    let left = names(place.path());
    assert!(left.iter().all(|name| !name.contains("restoring") && !name.contains("replaced")), "{left:?}");
}

/// Such a copy opens, loads and counts as if nothing were wrong: only the page-by-page check finds the fault.
#[test]
fn a_copy_whose_index_lacks_rows_does_not_replace_the_books() {
    let place = tempfile::tempdir().unwrap();
    let (copy, at) = (place.path().join("copy.db"), place.path().join("gipam.db"));
    books(&copy, 0..3, false);
    books(&at, 100..101, false);
    let hand = rusqlite::Connection::open(&copy).unwrap();
    hand.execute_batch(
        "CREATE INDEX by_hand ON history (seq) WHERE seq < 0;
         PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = 'CREATE INDEX by_hand ON history (seq)' WHERE name = 'by_hand';",
    )
    .unwrap();
    drop(hand);
    let refused = restore_books(&copy, &at).unwrap_err().to_string();
    assert!(refused.contains("by_hand"), "{refused}");
    assert_eq!(held(&at), 1);
}

#[test]
fn a_file_that_is_not_books_is_not_replaced_either() {
    let place = tempfile::tempdir().unwrap();
    let (copy, at) = (place.path().join("copy.db"), place.path().join("notes.txt"));
    books(&copy, 0..3, false);
    fs::write(&at, "milk, bread").unwrap();
    assert!(restore_books(&copy, &at).is_err());
    assert_eq!(fs::read_to_string(&at).unwrap(), "milk, bread");
    fs::create_dir(place.path().join("directory")).unwrap();
    assert!(restore_books(&copy, &place.path().join("directory")).is_err());
    let nowhere = restore_books(&copy, &place.path().join("no/such/gipam.db")).unwrap_err().to_string();
    assert!(nowhere.contains("mkdir -p"), "{nowhere}");
    assert!(!place.path().join("no").exists());
}

#[test]
fn unreadable_books_are_replaced_and_kept() {
    let place = tempfile::tempdir().unwrap();
    let (copy, at) = (place.path().join("copy.db"), place.path().join("gipam.db"));
    books(&copy, 0..4, false);
    books(&at, 100..180, false);
    let mut bytes = fs::read(&at).unwrap();
    bytes[100..].fill(0x55);
    for content in [bytes.clone(), Vec::new(), vec![0; 8192]] {
        fs::write(&at, &content).unwrap();
        fs::write(with_suffix(&at, "-wal"), b"a WAL without any meaning").unwrap();
        restore_books(&copy, &at).unwrap();
        assert_eq!(held(&at), 4);
    }
    assert!(fs::read(with_suffix(&at, ".replaced-1")).unwrap() == bytes);
}

#[test]
fn books_that_another_process_has_open_are_not_replaced() {
    let place = tempfile::tempdir().unwrap();
    let (copy, at) = (place.path().join("copy.db"), place.path().join("gipam.db"));
    books(&copy, 0..4, false);
    books(&at, 100..110, true);
    // An sqlite3 shell in the middle of a query.
    let shell = rusqlite::Connection::open(&at).unwrap();
    shell.execute_batch("BEGIN; SELECT count(*) FROM subnets").unwrap();
    let error = restore_books(&copy, &at).unwrap_err().to_string();
    assert!(error.contains("close it"), "{error}");
    drop(shell);
    restore_books(&copy, &at).unwrap();
    assert_eq!((held(&at), held(&with_suffix(&at, ".replaced-1"))), (4, 10));
}

#[test]
fn a_copy_where_nothing_can_be_written_is_restored() {
    let place = tempfile::tempdir().unwrap();
    let shelf = place.path().join("shelf");
    fs::create_dir(&shelf).unwrap();
    for (name, killed) in [("closed.db", false), ("killed.db", true)] {
        books(&shelf.join(name), 0..6, killed);
        fs::remove_file(with_suffix(&shelf.join(name), "-shm")).ok();
    }
    let before = names(&shelf);
    for name in ["closed.db", "killed.db"] {
        let at = place.path().join(name);
        restore_books(&shelf.join(name), &at).unwrap();
        assert_eq!(held(&at), 6, "{name}");
    }
    let lacking: Vec<_> = before.iter().filter(|name| !names(&shelf).contains(name)).collect();
    assert!(lacking.is_empty(), "{lacking:?}");
}

#[test]
fn the_owner_and_the_mode_of_the_books_are_kept() {
    let place = tempfile::tempdir().unwrap();
    let (copy, at) = (place.path().join("copy.db"), place.path().join("gipam.db"));
    books(&copy, 0..4, false);
    books(&at, 0..4, false);
    fs::set_permissions(&at, fs::Permissions::from_mode(0o640)).unwrap();
    restore_books(&copy, &at).unwrap();
    assert_eq!(fs::metadata(&at).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn one_daemon_under_every_path_of_the_books() {
    let place = tempfile::tempdir().unwrap();
    let at = place.path().join("gipam.db");
    let mut trial = Trial::new(&at);
    trial.subnet(1);
    symlink(&at, place.path().join("link.db")).unwrap();
    symlink(place.path(), place.path().join("directory")).unwrap();
    let locked = |path: &Path| matches!(Books::open(path), Err(StoreError::Locked(_)));
    assert!(locked(&place.path().join("link.db")), "the lock holds under a symbolic link");
    assert!(locked(&place.path().join("directory/gipam.db")), "the lock holds under a linked directory");
    fs::hard_link(&at, place.path().join("hard.db")).unwrap();
    assert!(Books::open(&place.path().join("hard.db")).is_err(), "the lock holds under a hard link");
    fs::remove_file(place.path().join("hard.db")).unwrap();
    // The attempts above did not drop the lock: closing a shell leaves the WAL in place.
    trial.subnet(2);
    let shell = rusqlite::Connection::open(&at).unwrap();
    shell.execute_batch("SELECT count(*) FROM subnets").ok();
    drop(shell);
    trial.subnet(3);
    trial.kill();
    assert_eq!(held(&place.path().join("link.db")), 3);
    assert!(!place.path().join("link.db-wal").exists() && !place.path().join("link.db.lock").exists());
}

#[test]
fn two_names_of_one_file_are_refused_because_each_has_its_own_wal() {
    let place = tempfile::tempdir().unwrap();
    let at = place.path().join("gipam.db");
    books(&at, 0..3, true);
    fs::hard_link(&at, place.path().join("second.db")).unwrap();
    for name in ["gipam.db", "second.db"] {
        let path = place.path().join(name);
        let error = Books::open(&path).unwrap_err().to_string();
        assert!(error.contains("hard link") && error.contains("-samefile"), "{error}");
    }
    assert!(
        Reader::open(&place.path().join("second.db")).is_err(),
        "this name would hide the changes in the WAL"
    );
    assert!(Reader::open(&at).is_ok(), "the WAL is here");
    fs::remove_file(place.path().join("second.db")).unwrap();
    assert_eq!(held(&at), 3);
}

#[test]
fn a_dangling_link_is_not_filled() {
    let place = tempfile::tempdir().unwrap();
    let (link, gone) = (place.path().join("gipam.db"), place.path().join("disk/gipam.db"));
    symlink(&gone, &link).unwrap();
    assert!(Books::open(&link).is_err());
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && !gone.exists());
}
