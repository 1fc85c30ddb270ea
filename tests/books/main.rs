//! THE BOOKS on a real disk: committed changes are read back as they were served; unreadable books are
//! refused and left unchanged.
//!
//! Every test uses a separate directory. `PROPTEST_CASES` sets how many cases are tried. Full disks are
//! tested in `ledger`.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "../support"]
mod support {
    #[allow(dead_code, reason = "shared with other tests")]
    pub mod operations;
}
mod refused;
mod stamps;
mod tail;

use std::fs;
use std::path::{Path, PathBuf};

use gipam::plan::Plan;
use gipam::plan::change::{Change, Kind, Record};
use gipam::plan::prefix::AddressRange;
use gipam::plan::request::{AddressRequest, Dead, Mac, Reply, Request, Space, SubnetRequest, Undo, Wanted};
use gipam::plan::settings::Settings;
use gipam::store::{Books, Reader, StoreError};
use proptest::prelude::*;
use support::operations::{Op, hands, operations, prefix, request, settings};

const START: u64 = 1_800_000_000_000;

fn open(path: &Path) -> Books {
    Books::open(path).unwrap()
}

fn load(books: &Books, now: u64) -> Plan {
    let mut plan = Plan::new(books.settings().unwrap());
    books.load(|change| plan.apply(&change)).unwrap();
    plan.advance(now);
    plan
}

/// A plan and its books, used as the ledger uses them.
struct Trial {
    books: Books,
    plan: Plan,
    now: u64,
    random: u64,
    undos: Vec<Undo>,
    _directory: tempfile::TempDir,
}

impl Trial {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut books = open(&directory.path().join("gipam.db"));
        books.put_settings(&settings(0)).unwrap();
        books.commit().unwrap();
        let plan = load(&books, START);
        Self { books, plan, now: START, random: 0, undos: Vec::new(), _directory: directory }
    }

    fn ask(&mut self, request: &Request) -> Result<Reply, gipam::plan::error::Refusal> {
        self.random += 1;
        let decision = self.plan.decide(request, self.random);
        for change in &decision.changes {
            self.books.write(&self.plan, change).unwrap();
            self.plan.apply(change);
        }
        self.undos.extend(decision.undo);
        decision.reply
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Pass(millis) => {
                self.now += millis;
                self.plan.advance(self.now);
            }
            Op::Configure(number) => self.configure(settings(*number).with_books(self.plan.settings())),
            Op::Hand(hand) => {
                if let Some(settings) = hands::settings(hand, &self.plan).unwrap() {
                    self.configure(settings);
                }
                let pinned = hands::wish(hand, &self.plan).map(|wish| self.plan.pin(&wish, &Dead::default()));
                let unpinned = hands::unwish(hand, &self.plan);
                let unpinned = unpinned.map(|(at, subnet)| self.plan.unpin(at, subnet.as_deref()));
                for change in pinned.or(unpinned).and_then(Result::ok).unwrap_or_default().changes {
                    self.books.write(&self.plan, &change).unwrap();
                    self.plan.apply(&change);
                }
            }
            _ => {
                if let Some(request) = request(op, &self.plan, &self.undos, 1) {
                    let _ = self.ask(&request);
                }
            }
        }
    }

    fn configure(&mut self, settings: Settings) {
        self.books.put_settings(&settings).unwrap();
        self.plan.configure(settings);
    }

    fn commit(&mut self) {
        self.books.write_counters(&self.plan).unwrap();
        self.books.tidy_if_pressing(&self.plan).unwrap();
        self.books.commit().unwrap();
    }

    fn reopen(mut self) -> Self {
        let path = self.books.path().to_owned();
        self.books.fold_all(&self.plan).unwrap();
        self.books.close().unwrap();
        Self { books: open(&path), ..self }
    }

    fn subnet(&mut self, wanted: &str) -> String {
        let asked = prefix(wanted);
        let request = Request::Subnet(SubnetRequest {
            space: Space::Local,
            family: asked.family(),
            wanted: Wanted::Exact(asked),
            range: None,
            options: [("com.docker.x".to_owned(), "\"quoted\" \u{fc}".to_owned())].into(),
            pools: None,
            in_use: [].into(),
            in_a_row: 0,
            dead: std::sync::Arc::default(),
            cannot: Default::default(),
        });
        match self.ask(&request) {
            Ok(Reply::Subnet { id, .. }) => id,
            other => panic!("{other:?}"),
        }
    }

    fn address(&mut self, id: &str, name: &str) -> std::net::IpAddr {
        let name = Some(name.into());
        let mac = Some(Mac([2, 0xab, 0, 0, 0, 1]));
        match self.ask(&Request::Address(AddressRequest {
            id: id.to_owned(),
            name,
            mac,
            ..Default::default()
        })) {
            Ok(Reply::Address { address, .. }) => address,
            other => panic!("{other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(40),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn faithful_committed_changes_are_read_back_as_they_were_served(
        operations in operations(60), batch in 1usize..8, tail in 1usize..40
    ) {
        let mut trial = Trial::new();
        trial.books.fold_after(tail);
        let mut committed = trial.plan.clone();
        for (number, op) in operations.0.iter().enumerate() {
            trial.step(op);
            if number % batch == 0 {
                trial.commit();
                committed = trial.plan.clone();
                prop_assert_eq!(&load(&trial.books, trial.now), &committed);
            }
        }
        committed.advance(trial.now);
        trial.books.rollback().unwrap();
        prop_assert_eq!(&load(&trial.books, trial.now), &committed, "after a rollback");
        let now = trial.now;
        trial.plan = committed.clone();
        let trial = trial.reopen();
        prop_assert_eq!(&load(&trial.books, now), &committed, "after the books were reopened");
    }
}

#[test]
fn durable_committed_changes_survive_a_killed_process() {
    let mut trial = Trial::new();
    let id = trial.subnet("203.0.113.0/24");
    trial.address(&id, "web");
    trial.commit();
    trial.address(&id, "lost");
    // As after a kill: database and WAL copied while the writer still has them open.
    let copy = tempfile::tempdir().unwrap();
    for name in ["gipam.db", "gipam.db-wal"] {
        fs::copy(trial.books.path().with_file_name(name), copy.path().join(name)).unwrap();
    }
    let books = open(&copy.path().join("gipam.db"));
    let plan = load(&books, START);
    assert_eq!(plan.held(&id).unwrap().addresses.leased(), 1);
}

#[test]
fn faithful_leases_of_unknown_kind_end_with_their_subnet() {
    let mut trial = Trial::new();
    let id = trial.subnet("203.0.113.0/24");
    let serial = trial.plan.held(&id).unwrap().state.serial;
    for (offset, kind) in
        [Kind::Unknown, Kind::Endpoint, Kind::Auxiliary, Kind::Gateway].into_iter().enumerate()
    {
        let address = prefix("203.0.113.0/24").first() + 100 + offset as u128;
        let (name, generation) = (Some("\u{fc}\"'".into()), trial.plan.counters().0);
        let record = Record {
            leased: true,
            kind,
            name,
            mac: None,
            asked_by_number: true,
            withheld: false,
            since: START,
            generation,
        };
        let change = Change::AddressGranted { serial, address, record };
        trial.books.write(&trial.plan, &change).unwrap();
        trial.plan.apply(&change);
    }
    trial.commit();
    assert_eq!(load(&trial.books, START), trial.plan);
    trial.ask(&Request::Release { id, address: None, generation: None }).unwrap();
    trial.commit();
    assert_eq!(load(&trial.books, START), trial.plan);
    let kinds: Vec<Kind> =
        trial.plan.subnet(serial).unwrap().addresses.records().map(|(_, it)| it.kind).collect();
    assert_eq!(kinds, [Kind::Endpoint]);
}

#[test]
fn settings_are_read_back_in_their_order() {
    for number in 0..4 {
        let mut trial = Trial::new();
        let ranges = ["10.0.0.0/8", "9.0.0.1", "9.0.0.1", "2001:db8::5-2001:db8::7", "192.0.2.0/24"];
        let reserved = ranges.iter().map(|text| AddressRange::parse(text).unwrap()).collect();
        let wanted =
            Settings { reserved, cooling: 7, subnet_cooling: 8, secret: [0xa5; 32], ..settings(number) };
        trial.books.put_settings(&wanted).unwrap();
        trial.books.put_meta("digest", "abc").unwrap();
        trial.books.commit().unwrap();
        let trial = trial.reopen();
        assert_eq!(trial.books.settings().unwrap(), wanted);
        assert_eq!(trial.books.meta("digest").unwrap().as_deref(), Some("abc"));
        assert_eq!(trial.books.meta("nothing").unwrap(), None);
    }
}

#[test]
fn a_second_daemon_is_kept_out_and_readers_are_not() {
    let trial = Trial::new();
    let path = trial.books.path();
    assert!(matches!(Books::open(path), Err(StoreError::Locked(_))));
    assert_eq!(Reader::open(path).unwrap().settings().unwrap(), settings(0));
}

fn filled() -> (tempfile::TempDir, PathBuf) {
    let mut trial = Trial::new();
    let id = trial.subnet("203.0.113.0/24");
    for number in 0..200 {
        trial.address(&id, &format!("endpoint-{number}"));
    }
    trial.commit();
    let path = trial.books.path().to_owned();
    trial.books.fold_all(&trial.plan).unwrap();
    trial.books.close().unwrap();
    (trial._directory, path)
}

#[test]
fn anyone_can_read_the_views() {
    let mut trial = Trial::new();
    let id = trial.subnet("203.0.113.0/24");
    let address = trial.address(&id, "web");
    let other = trial.address(&id, "gone");
    trial.ask(&Request::Release { id: id.clone(), address: Some(other), generation: None }).unwrap();
    trial.commit();
    let connection = rusqlite::Connection::open(trial.books.path()).unwrap();
    let lease =
        connection.query_row("SELECT subnet, address, kind, holder, mac, since, id FROM leases", [], |row| {
            (0..7).map(|column| row.get::<_, String>(column)).collect::<Result<Vec<_>, _>>()
        });
    let lease = lease.unwrap();
    let expected =
        ["203.0.113.0/24", "203.0.113.2", "endpoint", "web", "02:ab:00:00:00:01", "2027-01-15 08:00:00", &id];
    assert_eq!(lease, expected);
    assert_eq!(address.to_string(), expected[1]);
    let held: String = connection.query_row("SELECT prefix FROM held", [], |row| row.get(0)).unwrap();
    assert_eq!(held, "203.0.113.0/24");
}

fn events(trial: &Trial, of: Option<&str>) -> Vec<String> {
    let history = Reader::open(trial.books.path()).unwrap().history(of, 100).unwrap();
    history
        .iter()
        .rev()
        .map(|line| format!("{} {}", line.event, line.name.as_deref().unwrap_or("-")))
        .collect()
}

#[test]
fn history_shows_each_holder_from_grant_to_release() {
    let mut trial = Trial::new();
    let id = trial.subnet("203.0.113.0/24");
    let web = trial.address(&id, "web");
    trial.now += 1_000;
    trial.plan.advance(trial.now);
    trial.address(&id, "db");
    let undo = trial.undos.pop().unwrap();
    trial.ask(&Request::Undo(Box::new(undo))).unwrap();
    trial.now += 1_000;
    trial.plan.advance(trial.now);
    trial.ask(&Request::Release { id: id.clone(), address: None, generation: None }).unwrap();
    trial.commit();
    let all =
        ["subnet granted -", "leased web", "leased db", "undone db", "released web", "subnet released -"];
    assert_eq!(events(&trial, None), all);
    assert_eq!(events(&trial, Some(&web.to_string())), ["leased web", "released web"]);
    let reader = Reader::open(trial.books.path()).unwrap();
    let times: Vec<u64> =
        reader.history(None, 100).unwrap().iter().rev().map(|line| line.at - START).collect();
    assert_eq!(times, [0, 0, 1_000, 1_000, 2_000, 2_000]);
    drop(reader);
    let id = trial.subnet("203.0.113.0/24");
    let undo = trial.undos.pop().unwrap();
    trial.ask(&Request::Undo(Box::new(undo))).unwrap();
    trial.commit();
    assert_eq!(events(&trial, Some(&id)), ["subnet granted -", "subnet undone -"]);
}

/// Both grants have the same subnet number and the same batch: each row of history still belongs to the right
/// grant.
#[test]
fn repeatable_a_prefix_that_is_granted_again_at_once_has_its_own_history() {
    let mut trial = Trial::new();
    let first = trial.subnet("203.0.113.0/24");
    trial.address(&first, "web");
    trial.ask(&Request::Release { id: first.clone(), address: None, generation: None }).unwrap();
    let second = trial.subnet("203.0.113.0/24");
    trial.address(&second, "db");
    trial.commit();
    let ids = Reader::open(trial.books.path()).unwrap().history(None, 100).unwrap();
    let ids: Vec<&str> = ids.iter().rev().map(|line| line.id.as_str()).collect();
    assert_eq!(ids, [&*first, &first, &first, &first, &second, &second]);
}

#[test]
fn bounded_history_keeps_the_newest() {
    let mut trial = Trial::new();
    trial.books.keep_history(10);
    let id = trial.subnet("203.0.113.0/24");
    let state = trial.plan.held(&id).unwrap().state.clone();
    let mark = |at| {
        Change::SubnetGranted(Box::new(gipam::plan::change::SubnetState { granted_at: at, ..state.clone() }))
    };
    let lines = |trial: &Trial| Reader::open(trial.books.path()).unwrap().history(None, 100_000).unwrap();
    for at in 0..2_500 {
        trial.books.write(&trial.plan, &mark(at)).unwrap();
    }
    trial.commit();
    let kept = lines(&trial);
    assert!((10..=1_010).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept[0].at, 2_499);
    // History is also trimmed during frequent restarts without requests.
    let mut trial = trial.reopen();
    trial.books.keep_history(10);
    let plan = trial.plan.clone();
    while trial.books.is_untidy() {
        trial.books.tidy(&plan).unwrap();
        trial.books.commit().unwrap();
    }
    let kept = lines(&trial);
    assert!((10..1_010).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept[0].at, 2_499);
}
