//! Copies of the books: made during writes, restored, and refused if they are not books.
//!
//! Checks *durable* (a copy is a complete state of the books at one moment), and that a replaced file can be
//! restored.

#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use gipam::plan::Plan;
use gipam::plan::prefix::{Family, Prefix};
use gipam::plan::request::{Repair, Request, Space, SubnetRequest, Wanted};
use gipam::plan::settings::Settings;
use gipam::store::backup::{BackupStep, backup};
use gipam::store::restore::restore;
use gipam::store::{Books, Reader, StoreError};

/// Ignores the progress of a backup.
const QUIETLY: fn(BackupStep<'_>) = |_| ();

struct Trial {
    directory: tempfile::TempDir,
    path: PathBuf,
    plan: Plan,
    books: Option<Books>,
}

impl Trial {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gipam.db");
        let books = Some(Books::open(&path).unwrap());
        Self { directory, path, plan: Plan::new(Settings::default()), books }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn ask(&mut self, request: &Request) {
        self.plan.advance(1_000);
        let decision = self.plan.decide(request, 1);
        let books = self.books.as_mut().unwrap();
        for change in &decision.changes {
            books.write(&self.plan, change).unwrap();
            self.plan.apply(change);
        }
        decision.reply.unwrap();
        books.write_counters(&self.plan).unwrap();
        books.commit().unwrap();
    }

    fn subnet(&mut self, number: u8) {
        self.ask(&Request::Subnet(SubnetRequest {
            space: Space::Local,
            family: Family::V4,
            wanted: Wanted::Exact(Prefix::parse(&format!("10.9.{number}.0/24")).unwrap()),
            range: None,
            options: Default::default(),
            pools: None,
            in_use: [].into(),
            in_a_row: 0,
            dead: Default::default(),
            cannot: Default::default(),
        }));
    }
}

/// The third octet of each subnet in these books.
fn held(path: &Path) -> Vec<u8> {
    let reader = Reader::open(path).unwrap();
    let mut plan = Plan::new(reader.settings().unwrap());
    reader.load(|change| plan.apply(&change)).unwrap();
    let third = |subnet: &gipam::plan::Subnet| (subnet.state.prefix.first() >> 8) as u8;
    plan.subnets().filter(|subnet| subnet.is_held()).map(third).collect()
}

#[test]
fn durable_a_copy_shows_one_moment_of_books_in_use() {
    let mut trial = Trial::new();
    trial.subnet(1);
    let copy = trial.file("copy.db");
    let size = backup(&trial.path, &copy, &QUIETLY).unwrap();
    let found = fs::metadata(&copy).unwrap();
    assert_eq!((size, found.permissions().mode() & 0o777), (found.len(), 0o600));
    trial.subnet(2);
    assert_eq!((held(&copy), held(&trial.path)), (vec![1], vec![1, 2]));
    let again = backup(&trial.path, &copy, &QUIETLY).unwrap_err();
    assert!(matches!(again, StoreError::Exists(_)), "a copy is never overwritten: {again}");
    assert_eq!(held(&copy), [1]);
    let nowhere = backup(&trial.path, &trial.file("no/such/copy.db"), &QUIETLY).unwrap_err();
    assert!(matches!(nowhere, StoreError::NoDirectory { .. }), "{nowhere}");
    assert!(!trial.file("no").exists(), "no directory is created");
}

#[test]
fn a_copy_replaces_the_books_and_the_old_ones_are_kept() {
    let mut trial = Trial::new();
    trial.subnet(1);
    let arrival = Repair::Arrival { boot: "b".into(), arrived: "b/1/1".into(), gone: Vec::new() };
    trial.ask(&Request::Repair(Box::new(arrival)));
    let copy = trial.file("copy.db");
    backup(&trial.path, &copy, &QUIETLY).unwrap();
    trial.subnet(2);
    let locked = restore(&copy, &trial.path, &QUIETLY).unwrap_err();
    assert!(matches!(locked, StoreError::Locked(_)), "{locked}");
    // As after kill -9: the last commits are only in the WAL.
    drop(trial.books.take());
    let kept = restore(&copy, &trial.path, &QUIETLY).unwrap().kept.unwrap();
    assert_eq!((held(&trial.path), held(&kept)), (vec![1], vec![1, 2]));
    let reader = Reader::open(&trial.path).unwrap();
    let mut plan = Plan::new(reader.settings().unwrap());
    reader.load(|change| plan.apply(&change)).unwrap();
    assert_eq!(plan.callers().count(), 0, "the copy does not contain later callers");
    drop(reader);
    let second = restore(&kept, &trial.path, &QUIETLY).unwrap().kept.unwrap();
    assert_ne!(second, kept);
    assert_eq!(held(&trial.path), [1, 2]);
    Books::open(&trial.path).unwrap().close().unwrap();
    let left: Vec<String> = fs::read_dir(trial.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("restoring"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn an_incomplete_copy_does_not_replace_the_books() {
    let mut trial = Trial::new();
    for number in 0..200 {
        trial.subnet(number);
    }
    let copy = trial.file("copy.db");
    backup(&trial.path, &copy, &QUIETLY).unwrap();
    trial.books.take().unwrap().close().unwrap();
    let before = fs::read(&trial.path).unwrap();
    let whole = fs::read(&copy).unwrap();
    let mut scribbled = whole.clone();
    scribbled[8192..12288].fill(0x55);
    for (what, bytes) in
        [("cut off", &whole[..whole.len() - 4096]), ("scribbled", &scribbled), ("foreign", b"{}")]
    {
        fs::write(&copy, bytes).unwrap();
        assert!(restore(&copy, &trial.path, &QUIETLY).is_err(), "{what}");
        assert_eq!(fs::read(&trial.path).unwrap(), before, "{what}");
    }
    assert!(restore(&trial.file("nothing.db"), &trial.path, &QUIETLY).is_err());
    assert_eq!(fs::read(&trial.path).unwrap(), before);
}

#[test]
fn a_copy_can_be_restored_where_no_books_exist() {
    let mut trial = Trial::new();
    trial.subnet(7);
    let (copy, elsewhere) = (trial.file("copy.db"), trial.file("elsewhere.db"));
    backup(&trial.path, &copy, &QUIETLY).unwrap();
    let restored = restore(&copy, &elsewhere, &QUIETLY).unwrap();
    assert_eq!((restored.kept, restored.subnets, restored.note), (None, 1, None));
    assert_eq!(held(&elsewhere), [7]);
}

#[test]
fn each_step_is_shown_before_it_is_done() {
    let mut trial = Trial::new();
    (0..200).for_each(|number| trial.subnet(number));
    let copy = trial.file("copy.db");
    let steps: RefCell<Vec<String>> = RefCell::default();
    let tell = |step: BackupStep<'_>| {
        steps.borrow_mut().push(match step {
            BackupStep::Writing(file, of) => {
                let name = file.file_name().unwrap().to_string_lossy();
                assert!(fs::metadata(file).map_or(0, |file| file.len()) < of, "{name} is not written yet");
                format!("{name} {of}")
            }
            BackupStep::Closing(books) => format!("close {}", books.file_name().unwrap().to_string_lossy()),
            step => format!("{step:?}"),
        });
    };
    let size = backup(&trial.path, &copy, &tell).unwrap();
    let copied = steps.take();
    let most: u64 = copied[0].strip_prefix("copy.db.part ").unwrap().parse().unwrap();
    assert!((size..2 * size).contains(&most), "{size} of at most {most}");
    assert_eq!(copied[1..], ["Syncing"]);
    trial.books.take().unwrap().close().unwrap();
    restore(&copy, &trial.path, &tell).unwrap();
    let written = format!("gipam.db.restoring {size}");
    assert_eq!(steps.take(), ["Checking", &written, "Reading", "Syncing", "close gipam.db"]);
}

#[test]
fn an_interrupted_backup_leaves_no_copy_and_does_not_block_the_next() {
    let mut trial = Trial::new();
    trial.subnet(3);
    let copy = trial.file("copy.db");
    fs::write(trial.file("copy.db.part"), b"half a copy").unwrap();
    assert!(!copy.exists());
    backup(&trial.path, &copy, &QUIETLY).unwrap();
    assert_eq!(held(&copy), [3]);
    assert!(!trial.file("copy.db.part").exists());
}

#[test]
fn a_file_copied_by_hand_without_its_wal_causes_a_warning() {
    let mut trial = Trial::new();
    trial.subnet(3);
    let (copy, elsewhere) = (trial.file("copy.db"), trial.file("elsewhere.db"));
    fs::copy(&trial.path, &copy).unwrap();
    let note = restore(&copy, &elsewhere, &QUIETLY).unwrap().note.unwrap();
    assert!(note.contains("without its WAL") && note.contains("gipam backup"), "{note}");
}
