//! Disks that refuse writes: a busy or full disk gives definite refusals (503, releases kept, service
//! resumes); any other failure is fatal.
//!
//! A full disk is a small tmpfs in a separate mount namespace. Without `unshare` and `mount`, or without the
//! right to use them, that test prints NOT RUN; if `CI` is set, it fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gipam::ledger::Refusal;
use gipam::plan::error::ErrorKind;
use gipam::plan::request::{AddressRequest, Request};
use gipam::store::Books;

use crate::support::*;

fn unavailable(refusal: &Refusal, says: &str) {
    assert_eq!(refusal.kind, ErrorKind::Unavailable);
    assert_eq!(refusal.kind.status(), 503);
    assert!(refusal.text.contains(says), "{refusal}");
}

/// How to block writes to the disk and how to allow them again.
struct Obstacle<'a> {
    raise: &'a dyn Fn(),
    lift: &'a dyn Fn(),
    /// Whether the obstacle stays until it is lifted. A disk that only the WAL has filled recovers as soon as
    /// the WAL is truncated.
    stays: bool,
}

/// While the disk refuses writes, every request is refused and releases are kept, each for the grant that it
/// was meant for.
fn refuses_and_recovers(house: &mut House, obstacle: &Obstacle<'_>) {
    let (id, _) = house.subnet();
    let (web, db) = (house.address(&id), house.address(&id));
    let (gone, cut) = house.subnet();
    let undone = house.ask(any_address(&id)).unwrap().ticket.unwrap();
    let before = house.look();
    (obstacle.raise)();
    let gate = house.gate();
    gate.reached();
    let requests = [
        any_address(&id),
        release_address(&id, web),
        release_subnet(&gone),
        release_subnet(&gone),
        any_subnet(),
    ];
    let asked: Vec<_> = requests.into_iter().map(|request| house.begin(request)).collect();
    undone.undo();
    gate.open();
    let full = "nothing was changed: free some space, then try again";
    for asked in asked {
        unavailable(&asked.finish().unwrap_err(), full);
    }
    if obstacle.stays {
        // While the disk is known to refuse writes, requests are not even decided.
        unavailable(&house.ask(any_address("no such id")).unwrap_err(), full);
    }
    (obstacle.lift)();
    // The kept releases are carried out even if no request arrives.
    let reader = || gipam::store::Reader::open(&house.path).unwrap().history(Some(&gone), 1).unwrap();
    let started = std::time::Instant::now();
    while reader()[0].event != "subnet released" {
        assert!(started.elapsed().as_secs() < 30, "the releases were not carried out: {:?}", reader());
        std::thread::yield_now();
    }
    let plan = house.look();
    assert!(plan.held(&gone).is_none(), "{cut} was released");
    let subnet = plan.held(&id).unwrap();
    let leased = |address: std::net::IpAddr| subnet.addresses.is_leased(subnet.number_of(address).unwrap());
    assert!(!leased(web) && leased(db), "only the released address is free");
    assert_eq!(subnet.addresses.leased(), 1, "the undo was kept, too");
    assert_eq!(plan.counters(), before.counters(), "the refused request must not use a number");
    house.address(&id);
    house.stop();
    let books = Books::open(&house.path).unwrap();
    assert_eq!(load(&books, START).held(&id).unwrap().addresses.leased(), 2);
}

#[test]
fn busy_books_refuse_keep_releases_and_recover() {
    let mut house = House::new(&settings("10.0.0.0/16", 24));
    let other = rusqlite::Connection::open(&house.path).unwrap();
    let obstacle = Obstacle {
        raise: &|| other.execute_batch("BEGIN IMMEDIATE").unwrap(),
        lift: &|| other.execute_batch("ROLLBACK").unwrap(),
        stays: true,
    };
    refuses_and_recovers(&mut house, &obstacle);
}

#[test]
fn a_kept_release_never_ends_a_later_grant() {
    let house = House::new(&settings("10.0.0.0/16", 24));
    let (id, _) = house.subnet();
    let address = house.address(&id);
    let other = rusqlite::Connection::open(&house.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    house.ask(release_address(&id, address)).unwrap_err();
    other.execute_batch("ROLLBACK").unwrap();
    // The kept release is carried out first, so that the address is free for the next request, which then
    // keeps it.
    let address = Some(address);
    house
        .ask(Request::Address(AddressRequest { id: id.clone(), address, ..AddressRequest::default() }))
        .unwrap();
    assert_eq!(house.look().held(&id).unwrap().addresses.leased(), 1);
}

#[test]
fn an_unknown_failure_ends_the_ledger_and_every_request_is_answered() {
    let mut house = House::new(&settings("10.0.0.0/24", 24));
    let (id, _) = house.subnet();
    let elsewhere = house.exact("192.0.2.0/24");
    house.ask(release_subnet(&id)).unwrap();
    let waiting = house.begin(any_subnet());
    let before = house.look();
    let other = rusqlite::Connection::open(&house.path).unwrap();
    other.execute_batch("ALTER TABLE history RENAME TO elsewhere").unwrap();
    let gate = house.gate();
    gate.reached();
    let asked: Vec<_> = (0..3).map(|_| house.begin(any_address(&elsewhere))).collect();
    let released = house.begin(release_subnet(&elsewhere));
    gate.open();
    for asked in asked {
        unavailable(&asked.finish().unwrap_err(), "gipam stops and recovers when it is started again");
    }
    unavailable(&released.finish().unwrap_err(), "gipam stops");
    unavailable(&waiting.finish().unwrap_err(), "gipam stops");
    let fatal = house.end().unwrap_err();
    assert!(fatal.0.contains("no such table"), "{fatal}");
    unavailable(&house.ask(any_subnet()).unwrap_err(), "gipam is stopping");
    other.execute_batch("ALTER TABLE elsewhere RENAME TO history").unwrap();
    drop(other);
    let books = Books::open(&house.path).unwrap();
    let plan = load(&books, START);
    assert_eq!(plan, before, "recovered as committed: no change of the failed batch was folded");
}

const INSIDE: &str = "GIPAM_TEST_SMALL_DISK";

#[test]
fn a_full_disk_refuses_keeps_releases_and_recovers() {
    if let Some(disk) = std::env::var_os(INSIDE) {
        fill_and_free(Path::new(&disk));
        eprintln!("FILLED AND FREED");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=512k none \"$1\" && exec \"$0\" --exact --nocapture disk::a_full_disk_refuses_keeps_releases_and_recovers";
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    unshare.args(["--mount", "sh", "-c", script]).arg(std::env::current_exe().unwrap()).arg(directory.path());
    let output = unshare.env(INSIDE, directory.path()).output();
    let text = match &output {
        Ok(output) => {
            String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
        }
        Err(error) => format!("cannot run unshare: {error}"),
    };
    match output {
        Ok(output) if output.status.success() && text.contains("FILLED AND FREED") => {}
        Ok(_) if text.contains("panicked") => panic!("on the small disk:\n{text}"),
        _ if std::env::var_os("CI").is_some() => panic!("NOT RUN: needs a mount namespace:\n{text}"),
        _ => eprintln!("NOT RUN: needs util-linux and the right to create a mount namespace:\n{text}"),
    }
}

fn fill_and_free(disk: &Path) {
    let mut house = House::at(&disk.join("gipam.db"), &settings("10.0.0.0/16", 24));
    let ballast: PathBuf = disk.join("ballast");
    let raise = || {
        let mut size = 1 << 20;
        let mut bytes = Vec::new();
        while size > 0 {
            bytes.resize(bytes.len() + size, 7);
            if fs::write(&ballast, &bytes).is_err() {
                bytes.truncate(bytes.len() - size);
                size /= 2;
            }
        }
    };
    let obstacle = Obstacle { raise: &raise, lift: &|| fs::remove_file(&ballast).unwrap(), stays: false };
    refuses_and_recovers(&mut house, &obstacle);
}
