//! READERS THAT LEAVE: clients of the web page and of the admin socket send requests that need a read of
//! large books, and disconnect before they are answered.
//!
//! Promises: every violation is counted, not only the worst: threads, memory and the time of Docker's own
//! calls are checked after each abandoned request. The books are large (20,000 leases) and history is long,
//! so that a read takes time.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Counts;
use crate::daemon::{House, until};
use crate::http::Wire;

/// A web page, and pools that hold many addresses.
const TOML: &str = "http = \"0\"\n[gc]\nengine = \"\"\n[[pool]]\nname = \"wide\"\nv4 = { base = \"198.18.0.0/15\", size = 24 }\n";
/// Leases in the books.
const LEASES: usize = 20_000;
/// The largest number of threads of a daemon that reads for the web page and for a command at once, including
/// threads that are ending.
const THREADS: u64 = 10;
/// The most resident memory, in KiB.
const MEMORY: u64 = 160 << 10;
/// The longest that one of Docker's calls may take.
const LATENCY: Duration = Duration::from_secs(1);
/// The requests that are abandoned.
const PAGE: [&str; 6] = [
    "/v1/history?limit=1000&of=web7",
    "/v1/usage?seconds=86400",
    "/v1/subnets",
    "/v1/leases?limit=100&all=true&search=web",
    "/v1/map?columns=64&lines=16",
    "/metrics",
];
const ADMIN: [&str; 6] =
    ["/v1/status", "/v1/leases", "/v1/history", "/v1/who?address=198.18.1.1", "/v1/map", "/v1/subnets"];

/// Fills the books.
fn fill(house: &House) {
    let mut table = "subnet,address,holder\n".to_owned();
    for at in 0..LEASES {
        table += &format!("198.18.0.0/16,198.18.{}.{},web{at}\n", 1 + at / 250, 1 + at % 250);
    }
    let path = house.path("table.csv");
    fs::write(&path, table).unwrap();
    let said = house.gipam(&["import", &path.display().to_string(), "--apply"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

/// Adds entries to the history, and returns a subnet for further requests.
fn ask(wire: &mut Wire, changes: usize) -> String {
    let (id, _) = wire.subnet(false);
    for _ in 0..changes / 2 {
        let address = wire.address(&id, "", Value::Null);
        wire.release(&id, &address);
    }
    id
}

pub fn run(long: bool) -> Counts {
    let house = House::with_toml(TOML);
    let daemon = house.start();
    fill(&house);
    let mut wire = daemon.wire();
    let id = ask(&mut wire, if long { 20_000 } else { 4_000 });
    let page = until("the log names the page", || {
        Some(house.log().split("are at http://").nth(1)?.split('/').next()?.to_owned())
    });
    let rounds = if long { 4_000 } else { 400 };
    let (mut threads, mut memory, mut late, mut slowest) = (0, 0, 0, Duration::ZERO);
    for at in 0..rounds {
        let mut browser = TcpStream::connect(&page).unwrap();
        write!(browser, "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", PAGE[at % PAGE.len()]).unwrap();
        let mut command = UnixStream::connect(house.admin()).unwrap();
        write!(command, "GET {} HTTP/1.1\r\nHost: gipam\r\n\r\n", ADMIN[at % ADMIN.len()]).unwrap();
        if at % 10 == 0 {
            let begun = Instant::now();
            let address = wire.address(&id, "", json!({}));
            wire.release(&id, &address);
            slowest = slowest.max(begun.elapsed());
            late += u64::from(begun.elapsed() > LATENCY);
        }
        threads += u64::from(daemon.proc_status("Threads") > THREADS);
        memory += u64::from(daemon.proc_status("VmRSS") > MEMORY);
    }
    // A client that waits gets its answer.
    let rows = house.json(&["leases"]).as_array().unwrap().len() as u64;
    assert!(rows >= LEASES as u64, "{rows}");
    let peak = daemon.proc_status("VmHWM");
    assert!(daemon.stop().success(), "{}", house.log());
    vec![
        ("requests abandoned", 2 * rounds as u64),
        ("pairs of calls meanwhile", rounds as u64 / 10),
        ("ms the slowest", slowest.as_millis().max(1) as u64),
        ("KiB at the peak", peak),
        ("!later than 1 s", late),
        ("!times more than 10 threads", threads),
        ("!times more than 160 MiB", memory),
    ]
}
