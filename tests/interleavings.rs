//! EVERY ORDER: small sets of requests through the real ledger, in every order that their callers allow, cut
//! into batches in every way; each caller stays, leaves before its request is decided, or leaves when it is
//! answered.
//!
//! The ledger's thread reads the clock once at the start of each batch. The test blocks it there until all
//! requests of the batch are in the queue, so that a run is repeatable. After every batch the books must hold
//! exactly what the same requests, one after the other, produce in a plan without ledger, queue or disk; the
//! answers must agree, too.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs, reason = "a test")]

#[path = "support/ledger.rs"]
mod ledger;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context as TaskContext, Poll, Waker};
use std::thread::JoinHandle;

use self::ledger::start;
use gipam::clock::{Clock, Moment};
use gipam::ledger::{Granted, Ledger, Refusal};
use gipam::plan::Plan;
use gipam::plan::prefix::{Family, Prefix};
use gipam::plan::request::{AddressRequest, Decision, Reply, Request, Space, SubnetRequest, Undo, Wanted};
use gipam::plan::settings::{AddressOrder, Base, PoolSettings, Settings};
use gipam::store::{Books, Reader};

const START: u64 = 1_800_000_000_000;

type Answer = Result<Granted, Refusal>;
type Asking = Pin<Box<dyn Future<Output = Answer>>>;

/// What happens to the caller of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    /// It leaves before its request is decided.
    LeavesBefore,
    /// It leaves when its answer comes: the grant is undone, some time later.
    LeavesAfter,
}

const FATES: [Fate; 3] = [Fate::Stays, Fate::LeavesBefore, Fate::LeavesAfter];

/// The events to be put in some order. `who` also names the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Ask(usize, Fate),
    /// The undo of that caller's grant reaches the ledger.
    Undo(usize),
    /// That caller releases its address, only after it has got its answer.
    Release(usize),
    /// The network is removed.
    ReleaseSubnet,
}

/// A ledger whose batches are controlled by the test.
struct Held {
    ledger: Ledger,
    thread: JoinHandle<()>,
    began: Receiver<()>,
    go: Sender<u64>,
    books: PathBuf,
    _directory: tempfile::TempDir,
}

fn settings() -> Settings {
    let base = Base::new(Prefix::parse("192.0.2.0/30").unwrap(), 30, AddressOrder::Sequential);
    let pool = PoolSettings {
        name: "one".to_owned(),
        v4: Some(base),
        v6: None,
        cooling: 0,
        subnet_cooling: 60_000,
        closed: false,
        provenance: Default::default(),
    };
    Settings { pools: vec![pool], ..Settings::default() }
}

fn polled(asking: &mut Asking) -> Option<Answer> {
    match asking.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

fn load(books: &Path, now: u64) -> Plan {
    let reader = Reader::open(books).unwrap();
    let mut plan = Plan::new(reader.settings().unwrap());
    reader.load(|change| plan.apply(&change)).unwrap();
    plan.advance(now);
    plan
}

impl Held {
    fn new() -> Held {
        let memory = Path::new("/dev/shm");
        let directory =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let path = directory.path().join("gipam.db");
        let mut books = Books::open(&path).unwrap();
        books.put_settings(&settings()).unwrap();
        books.commit().unwrap();
        let (begins, began) = channel();
        let (go, goes) = channel();
        // The clock is read once per batch: there the thread waits until the batch is queued, and gets the
        // time.
        let goes = Mutex::new(goes);
        let clock = Clock::new(move || {
            let _ = begins.send(());
            let now = goes.lock().unwrap().recv().unwrap_or(START);
            Moment { wall: now, steady: now }
        });
        let (ledger, thread) = start(load(&path, START), books, clock, drop);
        // The first batch is the ledger's own: it compares the stamps with the clock.
        began.recv().unwrap();
        go.send(START).unwrap();
        Held { ledger, thread, began, go, books: path, _directory: directory }
    }

    fn ask(&self, request: Request) -> Asking {
        let ledger = self.ledger.clone();
        let mut asking: Asking = Box::pin(async move { ledger.ask(request).await });
        assert!(polled(&mut asking).is_none(), "the request was answered before it was decided");
        asking
    }

    /// Runs one batch: `fill` puts its requests into the queue.
    fn batch<T>(&self, now: u64, fill: impl FnOnce(&Held) -> T) -> T {
        // A release of an unknown subnet opens the batch and another closes it: once the second one is
        // answered, all requests of the batch are.
        let nothing = || Request::Release { id: "nothing".to_owned(), address: None, generation: None };
        let _open = self.ask(nothing());
        self.began.recv().unwrap();
        let filled = fill(self);
        let close = self.ask(nothing());
        self.go.send(now).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(close).unwrap();
        filled
    }

    fn stop(self) {
        self.ledger.stop();
        drop(self.go); // its clock then stops
        self.thread.join().unwrap();
    }
}

/// Carries out the same requests one after the other, without a ledger.
struct Reference {
    plan: Plan,
    undos: BTreeMap<usize, Undo>,
    addresses: BTreeMap<usize, IpAddr>,
}

impl Reference {
    fn decide(&mut self, request: &Request, now: u64) -> Decision {
        self.plan.advance(now);
        let decision = self.plan.decide(request, 1);
        for change in &decision.changes {
            self.plan.apply(change);
        }
        decision
    }
}

fn address(id: &str, who: usize) -> Request {
    Request::Address(AddressRequest {
        id: id.to_owned(),
        name: Some(format!("c{who}").into()),
        ..Default::default()
    })
}

/// All orders of the events that keep the order within each list.
fn orders(lists: &[Vec<Event>]) -> Vec<Vec<Event>> {
    if lists.iter().all(Vec::is_empty) {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (at, list) in lists.iter().enumerate().filter(|(_, list)| !list.is_empty()) {
        let mut rest = lists.to_vec();
        rest[at].remove(0);
        all.extend(orders(&rest).into_iter().map(|order| [vec![list[0]], order].concat()));
    }
    all
}

/// All ways to cut this many events into batches: bit n means that a batch ends after event n.
fn cuts(events: usize) -> std::ops::Range<u32> {
    0..1 << (events - 1)
}

/// Whether a cut is possible: a caller that waits for an answer waits until the end of its batch.
fn possible(batches: &[Vec<Event>]) -> bool {
    batches.iter().all(|batch| {
        batch.iter().enumerate().all(|(at, event)| match event {
            Event::Release(who) | Event::Undo(who) => {
                !batch[..at].iter().any(|it| matches!(it, Event::Ask(asked, _) if asked == who))
            }
            _ => true,
        })
    })
}

fn batches(order: &[Event], cut: u32) -> Vec<Vec<Event>> {
    let mut batches = vec![Vec::new()];
    for (at, event) in order.iter().enumerate() {
        batches.last_mut().unwrap().push(*event);
        if cut >> at & 1 == 1 && at + 1 < order.len() {
            batches.push(Vec::new());
        }
    }
    batches
}

/// One run; compares every answer, and the books after every batch.
fn run(batches: &[Vec<Event>]) {
    let held = Held::new();
    let exact = |wanted| SubnetRequest {
        space: Space::Local,
        family: Family::V4,
        wanted,
        range: None,
        options: BTreeMap::new(),
        pools: None,
        in_use: [].into(),
        in_a_row: 0,
        dead: Default::default(),
        cannot: Default::default(),
    };
    let mut subnet = held.batch(START, |held| held.ask(Request::Subnet(exact(Wanted::Any { size: None }))));
    let Some(Ok(Granted { reply: Reply::Subnet { id, .. }, .. })) = polled(&mut subnet) else {
        panic!("no subnet")
    };
    let mut reference =
        Reference { plan: load(&held.books, START), undos: BTreeMap::new(), addresses: BTreeMap::new() };
    let mut tickets = BTreeMap::new();
    for (number, events) in batches.iter().enumerate() {
        let now = START + 1_000 * (number as u64 + 1);
        let mut asked: Vec<(usize, Fate, Option<Asking>)> = Vec::new();
        held.batch(now, |held| {
            for event in events {
                match event {
                    Event::Ask(who, fate) => {
                        let asking = held.ask(address(&id, *who));
                        asked.push((*who, *fate, (*fate != Fate::LeavesBefore).then_some(asking)));
                    }
                    Event::Undo(who) => {
                        let ticket: Option<gipam::ledger::Ticket> = tickets.remove(who);
                        if let Some(ticket) = ticket {
                            ticket.undo();
                        }
                    }
                    Event::Release(who) => {
                        if let Some(address) = reference.addresses.get(who) {
                            let (id, address) = (id.clone(), *address);
                            // A release is carried out even if its caller does not wait.
                            drop(held.ask(Request::Release { id, address: Some(address), generation: None }));
                        }
                    }
                    Event::ReleaseSubnet => {
                        drop(held.ask(Request::Release { id: id.clone(), address: None, generation: None }));
                    }
                }
            }
        });
        let mut expected = BTreeMap::new();
        for event in events {
            let request = match event {
                Event::Ask(_, Fate::LeavesBefore) => continue,
                Event::Ask(who, _) => address(&id, *who),
                Event::Undo(who) => match reference.undos.remove(who) {
                    Some(undo) => Request::Undo(Box::new(undo)),
                    None => continue,
                },
                Event::Release(who) => match reference.addresses.get(who) {
                    Some(address) => {
                        Request::Release { id: id.clone(), address: Some(*address), generation: None }
                    }
                    None => continue,
                },
                Event::ReleaseSubnet => Request::Release { id: id.clone(), address: None, generation: None },
            };
            let decision = reference.decide(&request, now);
            if let Event::Ask(who, fate) = event {
                if *fate == Fate::LeavesAfter {
                    reference.undos.extend(decision.undo.clone().map(|undo| (*who, undo)));
                }
                if let (Ok(Reply::Address { address, .. }), Fate::Stays) = (&decision.reply, fate) {
                    reference.addresses.insert(*who, *address);
                }
                expected.insert(*who, decision.reply);
            }
        }
        for (who, fate, asking) in asked {
            let Some(mut asking) = asking else { continue };
            let answer = polled(&mut asking).expect("a batch answers all its requests");
            match (answer, &expected[&who]) {
                (Ok(granted), Ok(reply)) => {
                    assert_eq!(granted.reply, *reply);
                    if fate == Fate::LeavesAfter {
                        tickets.extend(granted.ticket.map(|ticket| (who, ticket)));
                    }
                }
                (Err(refusal), Err(error)) => assert_eq!(refusal.text, error.to_string()),
                (answer, expected) => panic!("answered {answer:?}, not {expected:?}"),
            }
        }
        reference.plan.advance(now);
        let books = load(&held.books, now);
        assert_eq!(books, reference.plan, "after batch {number}");
    }
    held.stop();
}

/// The events of a caller with this fate.
fn caller(who: usize, fate: Fate) -> Vec<Event> {
    match fate {
        Fate::Stays => vec![Event::Ask(who, fate), Event::Release(who)],
        Fate::LeavesBefore => vec![Event::Ask(who, fate)],
        Fate::LeavesAfter => vec![Event::Ask(who, fate), Event::Undo(who)],
    }
}

/// Two callers that want the same address, and in some runs the removal of the network, in every order and
/// every cut.
fn every_order(also: &[Event]) -> usize {
    let mut runs = 0;
    for one in FATES {
        for two in FATES {
            for order in orders(&[caller(1, one), caller(2, two), also.to_vec()]) {
                for batches in cuts(order.len()).map(|cut| batches(&order, cut)).filter(|it| possible(it)) {
                    let shown = format!("{batches:?}");
                    if let Err(panic) = std::panic::catch_unwind(|| run(&batches)) {
                        eprintln!("in these batches: {shown}");
                        std::panic::resume_unwind(panic);
                    }
                    runs += 1;
                }
            }
        }
    }
    println!("{runs} interleavings");
    runs
}

/// Two callers; with `GIPAM_LONG` set (`make torture`) also while the network is removed, which takes half a
/// minute.
#[test]
fn faithful_in_every_order_and_cut_of_two_callers() {
    assert!(every_order(&[]) > 100);
    if std::env::var_os("GIPAM_LONG").is_some() {
        assert!(every_order(&[Event::ReleaseSubnet]) > 1_000);
    }
}

/// A request that only a recently released, cooling subnet can satisfy waits for it; other requests continue
/// meanwhile.
#[test]
fn a_caller_that_waits_for_a_cooling_subnet_gets_it_in_time_and_only_if_it_stayed() {
    let any = || {
        Request::Subnet(SubnetRequest {
            space: Space::Local,
            family: Family::V4,
            wanted: Wanted::Any { size: None },
            range: None,
            options: BTreeMap::new(),
            pools: None,
            in_use: [].into(),
            in_a_row: 0,
            dead: Default::default(),
            cannot: Default::default(),
        })
    };
    let subnet = |answer: Option<Answer>| match answer {
        Some(Ok(Granted { reply: Reply::Subnet { id, .. }, .. })) => Some(id),
        Some(Err(_)) | None => None,
        other => panic!("{other:?}"),
    };
    // The number of other callers, of callers that leave while they wait, and of steps in which time passes.
    for rivals in 0..3 {
        for leaves in 0..=rivals + 1 {
            for steps in [vec![5_000], vec![1, 4_999], vec![4_999, 1], vec![2_500, 2_499, 1]] {
                let held = Held::new();
                let id = subnet(polled(&mut held.batch(START, |held| held.ask(any())))).unwrap();
                let release = Request::Release { id: id.clone(), address: None, generation: None };
                let mut waiting = held.batch(START, |held| {
                    drop(held.ask(release));
                    (0..=rivals).map(|_| Some(held.ask(any()))).collect::<Vec<_>>()
                });
                // The first `leaves` callers leave while they wait.
                waiting.iter_mut().take(leaves).for_each(|asking| *asking = None);
                let mut now = START;
                let mut granted = Vec::new();
                for step in &steps {
                    assert!(granted.is_empty(), "the subnet was given too early");
                    assert!(load(&held.books, now).subnets().all(|it| !it.is_held()));
                    now += step;
                    held.batch(now, |_| ());
                    let answers = waiting.iter_mut().flatten().map(polled);
                    granted = answers.filter_map(subnet).collect();
                }
                let stayed = rivals + 1 - leaves.min(rivals + 1);
                assert_eq!(granted.len(), stayed.min(1), "{rivals} rivals, {leaves} left, {steps:?}");
                let held_now = load(&held.books, now).subnets().filter(|it| it.is_held()).count();
                assert_eq!(held_now, granted.len());
                assert_ne!(granted.first(), Some(&id), "a new grant has a new id");
                held.stop();
            }
        }
    }
}
