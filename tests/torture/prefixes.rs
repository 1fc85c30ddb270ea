//! A PREFIX THAT CHANGES: the daemon follows a file back to an earlier prefix and to a new one, and is killed just before each call that
//! writes, syncs, opens, creates, renames or removes files.
//!
//! Promises: networks on two prefixes have containers, pins of numbers and keys meanwhile; after each kill and the next start, the books
//! are compared with those of an undisturbed run as the views show them, and so is what later requests get. Times, and what follows from
//! them, are left out.

use std::fs;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::Counts;
use crate::daemon::{Daemon, House, until};
use crate::http::Wire;
use crate::trace;
use crate::writes::{CALLS, WORKERS, settle};

/// The prefixes that the file has, one after the other. The last two come while calls are counted.
const PREFIXES: [&str; 4] =
    ["2001:db8:a:100::/56", "2001:db8:b:200::/56", "2001:db8:a:100::/56", "2001:db8:c:300::/56"];
/// How many kills the short run has.
const SHORT: usize = 4;

/// What a kill must not change.
#[derive(Clone, Debug, PartialEq)]
struct Shown(Vec<Value>);

/// A daemon with networks on the first two prefixes, which follows the file.
fn prepared() -> (House, Daemon) {
    let house = House::with_toml("");
    house.configure(&format!(
        "subnet_cooling = \"0\"\n[gc]\nengine = \"\"\n[[pool]]\nname = \"home\"\nv4 = \"198.18.0.0/16\"\nv6 = \"file:{}\"\n",
        house.path("prefix").display()
    ));
    write(&house, 0);
    let daemon = house.start();
    let network = |options: Value, names: &[&str]| {
        let id = request(&daemon, options).0;
        names.iter().for_each(|name| drop(lease(&daemon, &id, name)));
    };
    network(json!({}), &["one"]);
    network(json!({"key": "web"}), &["two", "three"]);
    write(&house, 1);
    until("the second prefix", || (base(&daemon)?.as_deref() == Some(PREFIXES[1])).then_some(()));
    network(json!({}), &["four"]);
    settle(&house, &daemon);
    (house, daemon)
}

/// Writes the file as a DHCP client's hook does: under another name, then renamed.
fn write(house: &House, number: usize) {
    fs::write(house.path("new"), format!("{}\n", PREFIXES[number])).unwrap();
    fs::rename(house.path("new"), house.path("prefix")).unwrap();
}

/// A new network with this option; its PoolID and prefix.
fn request(daemon: &Daemon, mut options: Value) -> (String, String) {
    options["pool"] = json!("home");
    daemon
        .wire()
        .pool(&json!({"AddressSpace": "local", "Pool": "", "SubPool": "", "Options": options, "V6": true}))
}

fn lease(daemon: &Daemon, id: &str, name: &str) -> String {
    daemon.wire().address(id, "", json!({"com.docker.network.endpoint.name": name}))
}

fn look(daemon: &Daemon, path: &str) -> Option<Value> {
    let mut wire = Wire::try_unix(&daemon.admin)?;
    wire.send(format!("GET {path} HTTP/1.1\r\nHost: gipam\r\n\r\n").as_bytes()).ok()?;
    serde_json::from_slice(&wire.answer().ok()?.body).ok()
}

/// The base of the pool; `None` if the daemon has ended.
fn base(daemon: &Daemon) -> Option<Option<String>> {
    let pools = look(daemon, "/v1/pools")?;
    let row = pools.as_array()?.iter().find(|row| row["family"] == "v6");
    Some(row.and_then(|row| row["base"].as_str()).map(str::to_owned))
}

/// Waits until the pool has this prefix; false if the daemon has ended before.
fn follows(house: &House, daemon: &mut Daemon, number: usize) -> bool {
    until(&format!("the pool has prefix {number}: {}", house.log()), || {
        if daemon.child.try_wait().unwrap().is_some() {
            return Some(false);
        }
        (base(daemon)?.as_deref() == Some(PREFIXES[number])).then_some(true)
    })
}

/// The books; `None` if the daemon has ended: pools, subnets with their numbers and marks, leases with their holders, and which subnets became stale or current when.
fn shown(daemon: &Daemon) -> Option<Shown> {
    let paths = ["/v1/pools", "/v1/subnets", "/v1/leases?all=true", "/v1/history"];
    let mut all = paths.iter().map(|path| look(daemon, path)).collect::<Option<Vec<Value>>>()?;
    let history = all[3].as_array_mut().unwrap();
    history.retain(|row| row["event"].as_str().is_some_and(|event| event.starts_with("subnet ")));
    all.iter_mut().for_each(timeless);
    Some(Shown(all))
}

/// Removes from rows what differs from run to run: times, numbers of events, and the random part of a PoolID.
pub fn timeless(rows: &mut Value) {
    for row in rows.as_array_mut().unwrap().iter_mut().map(|row| row.as_object_mut().unwrap()) {
        ["at", "since", "number"].iter().for_each(|key| drop(row.remove(*key)));
        let id = row.get("id").and_then(Value::as_str).map(|id| json!(id.split('#').next()));
        id.into_iter().for_each(|id| drop(row.insert("id".to_owned(), id)));
    }
}

/// What requests get after the change: a new network, one that is made again, and its containers.
fn later(daemon: &Daemon) -> Shown {
    let new = request(daemon, json!({}));
    let subnets = daemon.view("/v1/subnets");
    let web = subnets.as_array().unwrap().iter().find(|row| row["options"]["key"] == "web").unwrap();
    daemon.wire().release_pool(web["id"].as_str().unwrap());
    let again = request(daemon, json!({"key": "web"}));
    let leases =
        [(&again, "two"), (&again, "other"), (&new, "new")].map(|((id, _), name)| lease(daemon, id, name));
    let Shown(books) = shown(daemon).unwrap();
    Shown([vec![json!([new.1, again.1, leases])], books].concat())
}

/// The result of a run: the books with the third prefix and with the fourth one, and then what requests get.
struct Run {
    killed: bool,
    house: House,
    /// The books with each prefix after the second one.
    books: Vec<Shown>,
}

/// Runs the change with these arguments for strace, and restarts the daemon if it was killed.
fn run(words: &[&str], what: &str) -> Run {
    let (house, mut daemon) = prepared();
    let tracer = trace::attach(&house, &daemon, words);
    let (mut books, mut killed) = (Vec::new(), false);
    for number in [2, 3] {
        write(&house, number);
        books.push(loop {
            let followed = follows(&house, &mut daemon, number);
            if let Some(shown) = followed.then(|| shown(&daemon)).flatten() {
                break shown;
            }
            let end = daemon.wait();
            assert!(!killed && end.code().is_none(), "{what}: {end}: {}", house.log());
            killed = true;
            daemon = house.start();
        });
    }
    daemon.signal(Signal::TERM);
    let end = daemon.wait();
    assert!(end.success() || !killed && end.code().is_none(), "{what}: {}", house.log());
    killed |= !end.success();
    drop(tracer);
    let daemon = house.start();
    assert_eq!(shown(&daemon).as_ref(), books.last(), "{what}: after the last start");
    books.push(later(&daemon));
    assert!(daemon.stop().success());
    Run { killed, house, books }
}

/// Kills the daemon before each call.
pub fn kill(long: bool) -> Counts {
    let trace = format!("trace={}", CALLS.join(","));
    let recorded = run(&["-e", &trace], "the undisturbed run");
    assert!(!recorded.killed);
    let stale = |Shown(books): &Shown| {
        books[1].as_array().unwrap().iter().filter(|row| !row["stale"].is_null()).count()
    };
    assert_eq!([stale(&recorded.books[0]), stale(&recorded.books[1])], [1, 3], "{:?}", recorded.books);
    let mut points = Vec::new();
    for call in CALLS {
        points.extend((1..=trace::most(&recorded.house, call)).map(|n| (call, n)));
    }
    let step = if long { 1 } else { (points.len() / SHORT).max(1) };
    let (next, kills, rows) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        while let Some((call, n)) = points.get(next.fetch_add(step, Ordering::Relaxed)) {
            let what = format!("kill at {call} number {n}");
            let run = run(&["-e", &trace, "-e", &format!("inject={call}:signal=SIGKILL:when={n}")], &what);
            kills.fetch_add(u64::from(run.killed), Ordering::Relaxed);
            for (found, right) in run.books.iter().zip(&recorded.books) {
                assert_eq!(found, right, "{what}");
                let count = found.0.iter().filter_map(Value::as_array).map(Vec::len).sum::<usize>();
                rows.fetch_add(count as u64, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| (0..WORKERS).for_each(|_| drop(scope.spawn(work))));
    let (kills, struck) = (kills.into_inner(), points.len().div_ceil(step) as u64);
    assert!(kills * 10 >= struck * 8, "{kills} kills at {struck} calls");
    vec![("calls struck", struck), ("kills", kills), ("rows compared", rows.into_inner()), ("!rows wrong", 0)]
}
