//! How often the Engine is called when something is wrong with it: rarely, however it answers.
//!
//! Checks: a new watch of `/events` only after a check has succeeded, waits that double, and a new watch once
//! the Engine works again. The Engine here counts every call; waits are compared with their lower bounds,
//! which hold on a busy machine, too.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::ledger;
use gipam::docker::Callers;
use gipam::ledger::Ledger;
use gipam::plan::Plan;
use gipam::reconcile::{self, Handle, Reconciler};
use gipam::store::Books;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::clock;
use crate::world::*;

/// A timeout that only a bug reaches.
const PATIENCE: Duration = Duration::from_secs(120);

/// How the Engine behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manners {
    /// It answers everything except `/events`, as a proxy with a list of allowed paths does.
    ForbidsEvents,
    /// It answers everything.
    Well,
    /// It accepts and closes each connection, as a proxy without its dockerd does.
    Closes,
}

/// An Engine that records each call, and the repair task that calls it.
struct Counting {
    _directory: tempfile::TempDir,
    manners: Arc<Mutex<Manners>>,
    calls: Arc<Mutex<Vec<(Instant, String)>>>,
    ledger: Ledger,
    handle: Handle,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

/// The path of the only request on a connection; empty if the connection is closed first.
async fn asked(stream: &mut UnixStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return String::new(),
        }
    }
    String::from_utf8(head).unwrap().split(' ').nth(1).unwrap_or_default().to_owned()
}

async fn answer(
    mut stream: UnixStream,
    manners: Arc<Mutex<Manners>>,
    calls: Arc<Mutex<Vec<(Instant, String)>>>,
) {
    if *manners.lock().unwrap() == Manners::Closes {
        calls.lock().unwrap().push((Instant::now(), "closed".to_owned()));
        return;
    }
    let path = asked(&mut stream).await;
    calls.lock().unwrap().push((Instant::now(), path.clone()));
    let events = path.starts_with("/events");
    let (status, body) = match path.split('?').next().unwrap_or_default() {
        "/events" if *manners.lock().unwrap() == Manners::ForbidsEvents => ("403 Forbidden", "no"),
        "/events" => ("200 OK", ""),
        "/_ping" => ("200 OK", "OK"),
        "/info" => ("200 OK", r#"{"ID":"engine","DockerRootDir":"/var/lib/docker","Containers":0}"#),
        "/networks" | "/containers/json" => ("200 OK", "[]"),
        _ => ("404 Not Found", "{}"),
    };
    let head = match events && body.is_empty() {
        true => format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n"),
        false => format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len()),
    };
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
    // A watch stays open until dockerd goes away.
    while events && *manners.lock().unwrap() == Manners::Well {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Counting {
    fn new(now: fn() -> u64, manners: Manners) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("books.db");
        let books = Books::open(&file).unwrap();
        let (ledger, _thread) = ledger::start(Plan::new(pool()), books, clock_of(now), drop);
        let socket: PathBuf = directory.path().join("engine.sock");
        let door = UnixListener::bind(&socket).unwrap();
        let (manners, calls) = (Arc::new(Mutex::new(manners)), Arc::new(Mutex::new(Vec::new())));
        let (kept, counted) = (manners.clone(), calls.clone());
        let engine = tokio::spawn(async move {
            while let Ok((stream, _)) = door.accept().await {
                tokio::spawn(answer(stream, kept.clone(), counted.clone()));
            }
        });
        let settings = reconcile::RepairSettings { engine: Some(socket), grace: GRACE, only_engine: false };
        let callers = Arc::new(Callers::new(ledger.clone(), Vec::new(), None, Box::new(|_| None)));
        let drivers = vec!["gipam".to_owned()];
        let (handle, task) = Reconciler::new(settings, drivers, ledger.clone(), file, callers, clock_of(now));
        let repair = tokio::spawn(task.unwrap().run());
        Self { _directory: directory, manners, calls, ledger, handle, tasks: [engine, repair] }
    }

    fn behave(&self, manners: Manners) {
        *self.manners.lock().unwrap() = manners;
    }

    /// Waits for `count` calls whose path starts with `beginning`; returns all calls until then, with their
    /// times.
    async fn until(&self, beginning: &str, count: usize) -> Vec<(Instant, String)> {
        let end = Instant::now() + PATIENCE;
        loop {
            let calls = self.calls.lock().unwrap().clone();
            if calls.iter().filter(|(_, path)| path.starts_with(beginning)).count() >= count {
                return calls;
            }
            assert!(Instant::now() < end, "fewer than {count} calls of {beginning}: {calls:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        self.ledger.stop();
    }
}

/// The time between the first and the last call whose path starts with `beginning`.
fn span(calls: &[(Instant, String)], beginning: &str) -> Duration {
    let at: Vec<Instant> =
        calls.iter().filter(|(_, path)| path.starts_with(beginning)).map(|(at, _)| *at).collect();
    at[at.len() - 1].duration_since(at[0])
}

/// Every watch must be preceded by a separate check of the Engine.
fn assert_checked_before_each_watch(calls: &[(Instant, String)]) {
    let mut looked = false;
    for (_, path) in calls {
        match path.as_str() {
            "/info" => looked = true,
            watch if watch.starts_with("/events") => {
                assert!(looked, "a watch started before a check succeeded: {calls:?}");
                looked = false;
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn an_engine_that_forbids_its_events_is_asked_for_them_less_and_less_often() {
    clock!(CLOCK, now);
    let engine = Counting::new(now, Manners::ForbidsEvents);
    let calls = engine.until("/events", 3).await;
    let took = span(&calls, "/events");
    assert!(took >= Duration::from_secs(6), "after 2 s and after 4 more, not after {took:?}");
    assert_checked_before_each_watch(&calls);
    assert!(calls.len() <= 15, "a check makes four calls and a watch one: {calls:?}");
}

#[tokio::test]
async fn an_engine_that_accepts_and_closes_is_called_every_few_seconds_at_most() {
    clock!(CLOCK, now);
    let engine = Counting::new(now, Manners::Closes);
    let calls = engine.until("closed", 2).await;
    assert!(span(&calls, "closed") >= Duration::from_secs(5), "{calls:?}");
    assert_eq!(calls.len(), 2, "one call per try: {calls:?}");
}

#[tokio::test]
async fn a_dockerd_that_goes_away_is_called_every_few_seconds_and_watched_again_when_it_is_back() {
    clock!(CLOCK, now);
    let engine = Counting::new(now, Manners::Well);
    let before = engine.until("/events", 1).await.len();
    engine.behave(Manners::Closes);
    let calls = engine.until("closed", 2).await;
    assert!(span(&calls, "closed") >= Duration::from_secs(5), "{calls:?}");
    assert_eq!(calls.len(), before + 2, "one call per try, and no watch: {calls:?}");
    engine.behave(Manners::Well);
    let calls = engine.until("/events", 2).await;
    assert_checked_before_each_watch(&calls);
    assert!(calls.len() <= before + 8, "a failed try, a check and a watch: {calls:?}");
}

#[tokio::test]
async fn an_engine_that_was_away_is_asked_within_seconds_of_a_request_but_not_at_every_one() {
    clock!(CLOCK, now);
    let engine = Counting::new(now, Manners::Closes);
    // The next attempt would come 20 s after this one; even many requests cause only one earlier attempt.
    engine.until("closed", 3).await;
    for _ in 0..100 {
        engine.handle.asked().notify_one();
        tokio::task::yield_now().await;
    }
    let calls = engine.until("closed", 4).await;
    let wait = calls[3].0.duration_since(calls[2].0);
    assert!(wait >= Duration::from_secs(5) && wait < Duration::from_secs(15), "{wait:?}");
    engine.behave(Manners::Well);
    let calls = engine.until("/events", 1).await;
    assert_checked_before_each_watch(&calls);
    assert!(calls.len() <= 9, "{calls:?}");
}
