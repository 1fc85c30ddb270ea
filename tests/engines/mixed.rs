//! A long mixed run: containers and networks come and go, containers restart, crash and pause, gipam
//! restarts, answers come late, releases are lost on purpose, and repair checks as often as it can with a
//! grace time of one second. A live address must never be freed.
//!
//! An address is alive if the Engine shows it before and after the books were read; between two such reports
//! every address must be leased, and no two containers may have the same address. At the end, the test
//! compares the addresses that the containers show inside. It runs for a minute and a half on one Engine, or
//! for a quarter of an hour on each Engine with GIPAM_LONG=1, which `make torture` sets.

use crate::engine::Engine;
use crate::gipam;
use crate::leaks::EAGER;
use crate::proxy::Proxy;
use crate::scenario::{Scenario, scenario};
use crate::world::{SOCKET, World};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const BEHIND: &str = "/run/gipam/real.sock";
const WORKERS: usize = 3;
const SLOTS: usize = 5;
/// Long-lived containers, whose leases are older than a minute while repair checks.
const OLD: [&str; 5] = ["old1", "old2", "old3", "old4", "old5"];

pub fn scenarios() -> Vec<Scenario> {
    vec![scenario("repair_never_frees_the_living", "P13 P17 P20 D3 D8", run).waits().unless(one_engine)]
}

fn long() -> bool {
    std::env::var_os("GIPAM_LONG").is_some()
}

fn one_engine(engine: &Engine) -> Option<&'static str> {
    (engine.version.0 < 28 && !long()).then_some("a long run: only on one Engine without GIPAM_LONG=1")
}

/// Counts of what the scenario did.
#[derive(Default)]
struct Counts {
    over: AtomicBool,
    starts: AtomicU64,
    refused: AtomicU64,
    looks: AtomicU64,
    reports: AtomicU64,
    /// Addresses seen alive and in the books, and those among them that were older than a minute.
    alive: AtomicU64,
    old: AtomicU64,
}

/// The container, its start and its network, to which a live address belongs.
type Live = BTreeMap<(String, String, String), (BTreeSet<String>, Duration)>;

fn run(w: &mut World) {
    let length = Duration::from_secs(if long() { 900 } else { 90 });
    w.configure_at(BEHIND, EAGER);
    let path = |name: &str| w.engine.run.join(name.trim_start_matches("/run/"));
    let door = Proxy::start(path(SOCKET), path(BEHIND));
    w.network("n1");
    w.network("--ipv6 n2");
    w.network("--subnet 10.88.9.0/24 n3");
    for name in OLD {
        w.run(&format!("--name {name} --network n1"));
        w.docker(&format!("network connect n2 {name}"));
    }
    w.docker("pause old1");
    // a container that crashes every few seconds and is restarted by its policy
    let dies = ["run", "-d", "--name", "flapping", "--network", "n2", "--restart", "always"];
    let said = w.engine.docker(&[&dies[..], &["bb", "sh", "-c", "sleep 2; exit 1"]].concat());
    assert!(said.ok, "{}", said.err);
    let counts = Counts::default();
    let engine = w.engine;
    let (restarts, lost) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|id| {
                scope.spawn({
                    let counts = &counts;
                    move || work(engine, id, counts)
                })
            })
            .collect();
        let looker = scope.spawn(|| check(engine, &counts));
        let watcher = scope.spawn(|| watch(engine, &counts));
        let disturbed =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| disturb(w, &door, length, &watcher)));
        counts.over.store(true, Relaxed);
        joined(watcher.join());
        workers.into_iter().for_each(|worker| joined(worker.join()));
        joined(looker.join());
        disturbed.unwrap_or_else(|why| std::panic::resume_unwind(why))
    });
    let lost = lost - door.forget_answers();
    w.docker("rm -f flapping"); // it would come and go between the final reports
    let took = w.until_agree(Duration::from_secs(150));
    from_inside(w);
    let freed = freed_by_repair(w);
    let count = |counter: &AtomicU64| counter.load(Relaxed);
    println!(
        "        Engine {}: {} starts ({} commands refused), {restarts} restarts of gipam, {lost} releases lost; \
         {} checks, {freed} leases freed by repair; {} reports, {} live addresses found leased, {} of them older than a minute; \
         agreed after {:.0} s",
        engine.title(),
        count(&counts.starts),
        count(&counts.refused),
        count(&counts.looks),
        count(&counts.reports),
        count(&counts.alive),
        count(&counts.old),
        took.as_secs_f32(),
    );
    for (what, done) in [
        ("starts", count(&counts.starts)),
        ("restarts", restarts),
        ("lost releases", lost),
        ("looks", count(&counts.looks)),
        ("freed", freed),
        ("old leases", count(&counts.old)),
    ] {
        assert!(done >= 5, "too little was done to prove anything: {done} {what}");
    }
    w.docker("unpause old1");
    w.finish(); // while the proxy still runs
}

/// The result of a thread; panics if the thread did, so that the scenario fails.
fn joined<T>(end: std::thread::Result<T>) -> T {
    end.unwrap_or_else(|why| {
        panic!("{}", why.downcast_ref::<String>().map_or("a thread panicked", String::as_str))
    })
}

/// Stops and kills gipam in turn, and drops releases on their way to it.
fn disturb<T>(
    w: &mut World,
    door: &Proxy,
    length: Duration,
    watcher: &std::thread::ScopedJoinHandle<'_, T>,
) -> (u64, u64) {
    let (start, mut restarts, mut lost) = (Instant::now(), 0, 0);
    while start.elapsed() < length && !watcher.is_finished() {
        for method in ["ReleaseAddress", "ReleaseAddress", "ReleasePool"] {
            door.answer(method, 500, "{\"Err\":\"lost on purpose\"}");
            lost += 1;
            // the Engine does not show the granted address for longer than two checks take
            door.slow("RequestAddress", Duration::from_secs(5));
            std::thread::sleep(Duration::from_secs(4)); // the load continues meanwhile
        }
        if restarts % 2 == 0 {
            w.stop()
        } else {
            w.kill()
        }
        w.start();
        restarts += 1;
    }
    (restarts, lost)
}

/// Runs repair without a pause, so that it frees what it can.
fn check(engine: &Engine, counts: &Counts) {
    while !counts.over.load(Relaxed) {
        if gipam::cli(engine, &["gc", "--apply", "--json"]).ok {
            counts.looks.fetch_add(1, Relaxed);
        }
    }
}

/// One user of the Engine, with its own containers.
fn work(engine: &Engine, id: usize, counts: &Counts) {
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(id as u64 + 1);
    let mut roll = |sides: usize| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        (dice % sides as u64) as usize
    };
    let docker = |line: &str| {
        let said = engine.docker(&line.split_whitespace().collect::<Vec<_>>());
        assert_ne!(said.code, Some(124), "docker {line} hung");
        counts.refused.fetch_add(u64::from(!said.ok), Relaxed);
        said.ok
    };
    let started = |good: bool| {
        counts.starts.fetch_add(u64::from(good), Relaxed);
    };
    let mut made = [false; SLOTS];
    while !counts.over.load(Relaxed) {
        let slot = roll(SLOTS);
        let (name, own) = (format!("w{id}-{slot}"), format!("own{id}"));
        let network = match roll(3) {
            2 => format!("n3 --ip 10.88.9.{}", 100 + id * SLOTS + slot),
            n => format!("n{}", n + 1),
        };
        let what = if made[slot] { roll(10) } else { 10 + roll(2) };
        match what {
            0 => drop(docker(&format!("stop -t 1 {name}"))),
            1 | 2 => started(docker(&format!("start {name}"))),
            3 | 4 => started(docker(&format!("restart -t 1 {name}"))),
            5 => drop(docker(&format!("kill {name}"))),
            6 => {
                docker(&format!("pause {name}"));
                docker(&format!("network {} n1 old{}", ["connect", "disconnect"][roll(2)], 4 + roll(2)));
                docker(&format!("unpause {name}"));
            }
            7 => drop(docker(&format!("network {} n2 {name}", ["connect", "disconnect"][roll(2)]))),
            8 => made[slot] = !docker(&format!("rm -f {name}")),
            9 => {
                docker(&format!("network create --ipam-driver gipam --ipv6 {own}"));
                started(docker(&format!("run -d --init --name {own} --network {own} bb sleep 3600")));
                docker(&format!("rm -f {own}"));
                docker(&format!("network rm {own}"));
            }
            _ => {
                made[slot] = true; // a container that could not be started exists, too
                started(docker(&format!("run -d --init --name {name} --network {network} bb sleep 3600")));
            }
        }
    }
}

/// The running containers and their addresses, as the Engine reports them.
fn alive(engine: &Engine) -> Option<Live> {
    let said = engine.inside(&["sh", "-c", "date +%s; docker inspect $(docker ps -q)"]);
    let (now, report) = said.out.split_once('\n')?;
    let now: i64 = now.parse().ok()?;
    // a container that disappeared between the two commands invalidates the report: repeat it
    let rows: Vec<Value> = said.ok.then(|| serde_json::from_str(report).ok())??;
    let mut live = Live::new();
    for row in
        rows.iter().filter(|row| row["State"]["Running"] == true && row["State"]["Restarting"] == false)
    {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let started = text(&row["State"]["StartedAt"]);
        let since: i64 = started.parse::<jiff::Timestamp>().ok()?.as_second();
        for (network, attached) in row["NetworkSettings"]["Networks"].as_object().into_iter().flatten() {
            let addresses = ["IPAddress", "GlobalIPv6Address"].map(|key| text(&attached[key]));
            let addresses = addresses.into_iter().filter(|address| !address.is_empty()).collect();
            // the id of the endpoint: a container that was reconnected has a different one
            let endpoint = format!("{network} {}", text(&attached["EndpointID"]));
            let age = Duration::from_secs(u64::try_from(now - since).unwrap_or(0));
            live.insert((text(&row["Name"]), started.clone(), endpoint), (addresses, age));
        }
    }
    Some(live)
}

/// Makes two reports and reads the books in between: each address in both reports must be leased, to one
/// container.
fn watch(engine: &Engine, counts: &Counts) {
    let mut before = None;
    while !counts.over.load(Relaxed) {
        let Some(first) = before.take().or_else(|| alive(engine)) else { continue };
        // a container that is killed during the command invalidates its output: repeat it
        let said = gipam::cli(engine, &["leases", "--json"]);
        let Ok(books) = serde_json::from_str::<Vec<gipam::Lease>>(&said.out) else { continue };
        let leased: BTreeSet<String> = books.into_iter().map(|lease| lease.address.to_string()).collect();
        let Some(second) = alive(engine) else { continue };
        for (who, (addresses, age)) in &first {
            if second.get(who).map(|(addresses, _)| addresses) != Some(addresses) {
                continue;
            }
            for address in addresses {
                assert!(
                    leased.contains(address),
                    "{who:?} is alive with {address}, which the books do not show as leased"
                );
                counts.alive.fetch_add(1, Relaxed);
                counts.old.fetch_add(u64::from(*age > Duration::from_secs(60)), Relaxed);
            }
        }
        assert_no_address_is_shared(engine, &first, &second);
        counts.reports.fetch_add(1, Relaxed);
        before = Some(second);
    }
}

/// The Engine reports container by container, so a report may show a stopped container with an address that
/// another one has received since. A container in both reports was alive from the end of the first to the
/// beginning of the second.
fn assert_no_address_is_shared(engine: &Engine, first: &Live, second: &Live) {
    let mut holders = BTreeMap::new();
    for (who, (addresses, _)) in second.iter().filter(|(who, _)| first.contains_key(*who)) {
        for address in addresses.intersection(&first[who].0) {
            if let Some(other) = holders.insert(address, who) {
                let rows = gipam::cli(engine, &["history", address]).out;
                panic!("{address} is held by {who:?} and by {other:?}:\n{rows}");
            }
        }
    }
}

/// Every container that runs commands must show the same addresses as the Engine.
fn from_inside(w: &World) {
    let live = alive(w.engine).unwrap();
    assert_no_address_is_shared(w.engine, &live, &live);
    let leased: BTreeSet<String> = w.leases().into_iter().map(|lease| lease.address.to_string()).collect();
    let names: BTreeSet<&String> = live.keys().map(|(name, ..)| name).collect();
    let mut asked = 0;
    for name in names.into_iter().filter(|name| name.as_str() != "/old1") {
        let shown = w.docker(&format!("exec {name} ip -o addr show scope global"));
        let inside: BTreeSet<String> = shown
            .lines()
            .filter_map(|line| line.split_whitespace().nth(3)?.split('/').next().map(str::to_owned))
            .collect();
        assert!(inside.is_subset(&leased), "{name} has {inside:?}; leased are {leased:?}");
        let by_engine: BTreeSet<String> = live
            .iter()
            .filter(|((one, ..), _)| one == name)
            .flat_map(|(_, (addresses, _))| addresses.clone())
            .collect();
        assert_eq!(inside, by_engine, "{name}");
        asked += inside.len();
    }
    assert!(asked > OLD.len(), "only {asked} addresses were seen from inside");
}

fn freed_by_repair(w: &World) -> u64 {
    let rows: Vec<Value> = gipam::view(w.engine, &["history", "--limit", "1000000"]);
    let freed = |row: &&Value| {
        row["event"].as_str().is_some_and(|event| event.ends_with("released"))
            && row["why"].as_str().is_some_and(|why| why.contains(" at "))
    };
    rows.iter().filter(freed).count() as u64
}
