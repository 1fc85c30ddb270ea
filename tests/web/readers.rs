//! Readers of the books: how many run at a time, even if their clients leave.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::daemon::until;
use super::support::{Site, TOML};

/// Rows in the table of addresses, so that the books are large enough for a read to take time.
const LEASES: usize = 20_000;
/// Requests whose clients disconnect at once.
const ABANDONED: usize = 400;

/// A site whose books hold many leases.
fn large() -> Site {
    let toml = TOML.replace("198.51.100.0/24\", size = 28", "198.18.0.0/15\", size = 16");
    let site = Site::new(&toml);
    let mut table = "subnet,address,holder\n".to_owned();
    for at in 0..LEASES {
        table += &format!("198.18.0.0/16,198.18.{}.{},web{at}\n", 1 + at / 250, 1 + at % 250);
    }
    std::fs::write(site.house.path("table.csv"), table).unwrap();
    let path = site.house.path("table.csv").display().to_string();
    let said = site.house.gipam(&["import", &path, "--apply"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    site
}

/// The highest number of threads seen while `ask` sends one abandoned request after the other.
fn crowd(site: &Site, ask: impl Fn(usize)) -> u64 {
    let mut most = 0;
    for at in 0..ABANDONED {
        ask(at);
        most = most.max(site.daemon.proc_status("Threads"));
    }
    most
}

fn calm(site: &Site, rested: u64) {
    let end = Instant::now() + Duration::from_secs(60);
    while site.daemon.proc_status("Threads") > rested + 2 {
        assert!(Instant::now() < end, "{} threads, {rested} at rest", site.daemon.proc_status("Threads"));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn abandoned_readers_of_the_page_do_not_pile_up() {
    let site = large();
    let rested = site.daemon.proc_status("Threads");
    let before = site.daemon.proc_status("VmRSS");
    let paths = [
        "/v1/history?limit=1000&of=web7",
        "/v1/usage?seconds=86400",
        "/v1/subnets",
        "/v1/map?columns=64&lines=16",
        "/metrics",
    ];
    let most = crowd(&site, |at| {
        let mut stream = TcpStream::connect(site.address).unwrap();
        let path = paths[at % paths.len()];
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    });
    assert!(most <= rested + 4, "{most} threads, {rested} at rest");
    let begun = Instant::now();
    site.daemon.wire().subnet(true);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let grown = site.daemon.proc_status("VmHWM").saturating_sub(before);
    assert!(grown < 120 << 10, "{grown} KiB more");
    until("a reader that waits is answered", || (site.get("/v1/usage").status == 200).then_some(()));
    calm(&site, rested);
}

#[test]
fn abandoned_commands_do_not_pile_up() {
    let site = large();
    let (rested, before) = (site.daemon.proc_status("Threads"), site.daemon.proc_status("VmRSS"));
    let paths =
        ["/v1/status", "/v1/leases", "/v1/history", "/v1/who?address=198.18.1.1", "/v1/map", "/v1/gc"];
    let most = crowd(&site, |at| {
        let mut stream = UnixStream::connect(site.house.admin()).unwrap();
        write!(stream, "GET {} HTTP/1.1\r\nHost: gipam\r\n\r\n", paths[at % paths.len()]).unwrap();
    });
    assert!(most <= rested + 4, "{most} threads, {rested} at rest");
    let begun = Instant::now();
    site.daemon.wire().subnet(true);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let grown = site.daemon.proc_status("VmHWM").saturating_sub(before);
    assert!(grown < 120 << 10, "{grown} KiB more");
    assert!(site.daemon.view("/v1/status")["running"].as_bool().unwrap());
    calm(&site, rested);
}
