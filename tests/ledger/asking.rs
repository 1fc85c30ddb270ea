//! Requests: many at once, one commit per batch, answers only after the commit, and waiting for a recently
//! released subnet.
//!
//! Promises: the invariants *unique* and *durable* (R2, R4), seen through the ledger.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use gipam::plan::Plan;
use gipam::plan::error::ErrorKind;
use gipam::plan::request::Reply;
use gipam::store::{Books, Reader};

use crate::support::*;

#[test]
fn unique_under_concurrent_requests() {
    let mut house = House::new(&settings("10.0.0.0/16", 24));
    let (id, _) = house.subnet();
    let held: Arc<Mutex<BTreeMap<IpAddr, usize>>> = Arc::default();
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (ledger, id, held) = (house.ledger.clone(), id.clone(), held.clone());
            std::thread::spawn(move || {
                let asking = async {
                    let tasks: Vec<_> = (0..50)
                        .map(|task| {
                            tokio::spawn(hold_and_release(
                                ledger.clone(),
                                id.clone(),
                                held.clone(),
                                thread * 50 + task,
                            ))
                        })
                        .collect();
                    for task in tasks {
                        task.await.unwrap();
                    }
                };
                runtime().block_on(asking);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let plan = house.look();
    let leased = plan.held(&id).unwrap().addresses.leased();
    assert_eq!(leased, held.lock().unwrap().len());
    house.stop();
    let books = Books::open(&house.path).unwrap();
    assert!(load(&books, house.clock.now().wall) == plan, "faithful: the books contain the served plan");
}

/// Requests two addresses and releases one; no other caller may hold the same address.
async fn hold_and_release(
    ledger: gipam::ledger::Ledger,
    id: String,
    held: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
    me: usize,
) {
    let mut first = None;
    for _ in 0..2 {
        // 200 callers request 400 addresses of a /24, so some requests may be refused.
        let Some(address) = address_of(&ledger.ask(any_address(&id)).await) else { continue };
        assert_eq!(held.lock().unwrap().insert(address, me), None, "unique: {address}");
        first.get_or_insert(address);
    }
    if let Some(address) = first {
        assert_eq!(held.lock().unwrap().remove(&address), Some(me));
        assert_eq!(ledger.ask(release_address(&id, address)).await.unwrap().reply, Reply::Done);
    }
}

/// The commits in a WAL: frames that give the size of the database after them (SQLite file format, section
/// 4.1).
fn commits(house: &House) -> usize {
    let log = fs::read(house.path.with_file_name("gipam.db-wal")).unwrap();
    let page = u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize;
    let salt = log[16..24].to_vec();
    let frames = log[32..].chunks_exact(24 + page).take_while(|frame| frame[8..16] == salt);
    frames.filter(|frame| frame[4..8] != [0; 4]).count()
}

#[test]
fn a_batch_costs_one_commit() {
    let house = House::new(&settings("10.0.0.0/16", 24));
    let (id, _) = house.subnet();
    let gate = house.gate();
    gate.reached();
    let before = commits(&house);
    let mut asked: Vec<_> = (0..200).map(|_| house.begin(any_address(&id))).collect();
    assert!(asked.iter_mut().all(Pending::is_pending), "a request must not be answered before its commit");
    gate.open();
    let given: std::collections::BTreeSet<_> =
        asked.into_iter().map(|asked| address_of(&asked.finish()).unwrap()).collect();
    assert_eq!(given.len(), 200);
    assert_eq!(commits(&house), before + 1);
}

#[test]
fn durable_an_answer_leaves_only_after_its_change_is_in_the_books() {
    let house = House::new(&settings("10.0.0.0/16", 24));
    let (id, _) = house.subnet();
    let leases = || {
        let reader = Reader::open(&house.path).unwrap();
        let mut plan = Plan::new(reader.settings().unwrap());
        reader.load(|change| plan.apply(&change)).unwrap();
        plan.held(&id).unwrap().addresses.leased()
    };
    for count in 1..20 {
        let address = house.address(&id);
        assert_eq!(leases(), count);
        if count % 5 == 0 {
            house.ask(release_address(&id, address)).unwrap();
            assert_eq!(leases(), count - 1);
            house.address(&id);
        }
    }
}

#[test]
fn a_request_without_changes_does_not_commit() {
    let house = House::new(&settings("10.0.0.0/16", 24));
    let (id, _) = house.subnet();
    let before = commits(&house);
    house.ask(release_subnet("local/10.9.9.0/24#0")).unwrap();
    house.ask(release_address(&id, "10.0.0.77".parse().unwrap())).unwrap();
    assert_eq!(house.ask(any_address("nothing")).unwrap_err().kind, ErrorKind::Missing);
    assert_eq!(commits(&house), before);
}

#[test]
fn a_request_that_only_a_young_cooling_subnet_satisfies_waits_and_others_continue() {
    let house = House::new(&settings("10.0.0.0/24", 24));
    let (id, prefix) = house.subnet();
    let elsewhere = house.exact("192.0.2.0/24");
    house.ask(release_subnet(&id)).unwrap();
    let mut waiting = house.begin(any_subnet());
    let given_up = house.begin(any_subnet());
    house.address(&elsewhere);
    assert!(waiting.is_pending());
    drop(given_up);
    house.pass(4_999);
    house.address(&elsewhere);
    assert!(waiting.is_pending(), "4.999 s are not 5 s");
    house.pass(1);
    house.address(&elsewhere);
    let (again, same) = subnet_of(&waiting.finish()).unwrap();
    assert!(again != id && same == prefix);
    let held = house.look().subnets().filter(|subnet| subnet.is_held()).count();
    assert_eq!(held, 2, "an abandoned request must not get a subnet");
}

#[test]
fn a_request_that_waits_for_a_young_subnet_is_woken_without_another_one() {
    let house = House::new(&settings("10.0.0.0/24", 24));
    let (id, prefix) = house.subnet();
    house.ask(release_subnet(&id)).unwrap();
    house.pass(4_990);
    let waiting = house.begin(any_subnet());
    house.look();
    house.pass(10);
    assert_eq!(subnet_of(&waiting.finish()).unwrap().1, prefix);
}

#[test]
fn a_request_after_the_end_is_refused() {
    let mut house = House::new(&settings("10.0.0.0/24", 24));
    let gate = house.gate();
    gate.reached();
    let before = house.begin(any_subnet());
    house.ledger.stop();
    let behind = house.begin(any_subnet());
    gate.open();
    assert!(before.finish().is_ok(), "queued requests are finished");
    assert_eq!(behind.finish().unwrap_err().kind, ErrorKind::Unavailable);
    house.end().unwrap();
    let refused = house.ask(any_subnet()).unwrap_err();
    assert_eq!(refused.text, "gipam is stopping; please try again");
}

#[test]
fn reads_and_requests_do_not_starve_each_other() {
    let house = House::new(&settings("10.0.0.0/16", 24));
    let (id, _) = house.subnet();
    let gate = house.gate();
    gate.reached();
    // Each read takes long, and ends only when a request waits behind it.
    let (began, begun) = mpsc::channel();
    let looks: Vec<_> = (0..20)
        .map(|_| {
            let (id, began, (asked, wait)) = (id.clone(), began.clone(), mpsc::channel::<()>());
            let look = house.begin_look(move |plan| {
                began.send(()).unwrap();
                wait.recv().unwrap();
                let end = Instant::now() + Duration::from_millis(1);
                while Instant::now() < end {
                    std::hint::spin_loop();
                }
                plan.held(&id).unwrap().addresses.leased()
            });
            (look, asked)
        })
        .collect();
    gate.open();
    let mut answers = Vec::new();
    for (leased, (look, asked)) in looks.into_iter().enumerate() {
        begun.recv().unwrap();
        answers.push(house.begin(any_address(&id)));
        asked.send(()).unwrap();
        assert_eq!(look.finish().unwrap(), leased, "a read sees all requests that were answered before it");
    }
    assert!(answers.into_iter().all(|answer| answer.finish().is_ok()));
}

#[test]
fn settings_change_with_the_books() {
    let mut house = House::new(&settings("10.0.0.0/24", 24));
    let wanted = settings("10.7.0.0/16", 20);
    let (ledger, new) = (house.ledger.clone(), wanted.clone());
    let alter = async move {
        let altered = |_: &gipam::plan::Plan| {
            let meta = vec![("digest".into(), "x".into())];
            Ok((gipam::ledger::Altered { settings: Some(new), meta, ..Default::default() }, ()))
        };
        ledger.alter(altered).await
    };
    runtime().block_on(alter).unwrap();
    assert_eq!(house.subnet().1, prefix("10.7.0.0/20"));
    house.stop();
    let books = Books::open(&house.path).unwrap();
    assert_eq!(books.settings().unwrap(), wanted);
    assert_eq!(books.meta("digest").unwrap().as_deref(), Some("x"));
}
