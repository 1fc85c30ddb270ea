//! VIEWS: what it costs to view a daemon with a million leases, and how much the views slow down Docker's
//! requests.
//!
//! Promises: a command is timed from its start to its end, as a person waits for it; CPU time is the
//! daemon's. The page is requested over its own listener, as by a browser. Values that are compared are
//! measured in turn.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::daemon::{House, Server};
use crate::growth::{CONNECTIONS, LEASES, SUBNETS};
use crate::load::{percentile, phase};
use crate::script::{Phase, Play};
use crate::stats::{median, median_ratio};
use crate::watch::Process;
use crate::wire::{Crew, Limit};

/// How often each view is measured.
const TIMES: usize = 7;
/// How long the load lasts, with and without views.
const LOADED: Duration = Duration::from_secs(3);
/// What an open page requests after each event, in addition to the metrics.
const PAGE: [&str; 5] = [
    "/v1/status",
    "/v1/pools",
    "/v1/subnets?limit=50",
    "/v1/leases?all=true&limit=50",
    "/v1/map?columns=64&lines=16",
];

/// The cost of the views.
#[derive(Clone, Debug, Default)]
pub struct Looks {
    /// By command or path: the median, in milliseconds, and the daemon's CPU time, in milliseconds.
    pub rows: Vec<(String, f64, f64)>,
    /// Rows per second that `leases --json` prints for all leases.
    pub streamed: f64,
    /// The memory that the daemon needed in addition for these views, at its peak, in MiB.
    pub grown: f64,
    /// The ratio of the 99th percentile of RequestAddress with views to that without.
    pub p99: f64,
}

impl Looks {
    /// The slowest of these rows, in milliseconds, and its CPU time.
    pub fn worst(&self, names: &[&str]) -> (f64, f64) {
        let rows = self.rows.iter().filter(|(name, ..)| names.iter().any(|wanted| name.starts_with(wanted)));
        rows.fold((f64::NAN, f64::NAN), |(time, cpu), (_, a, b)| (time.max(*a), cpu.max(*b)))
    }
}

/// Measures the views of a daemon of this house, which has the big books.
pub fn run(house: &House, known: &mut Play) -> io::Result<Looks> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let (server, _) = house.start_with(&["--http", &format!("127.0.0.1:{port}")])?;
    let process = server.process();
    process.settle()?;
    let mut looks = Looks::default();
    let before = process.peak().unwrap_or(0);
    for words in [
        &["who", "10.0.5.7"][..],
        &["who", "container-500007"],
        &["leases", "10.0.5.0/24"],
        &["history"],
        &["status"],
        &["pools"],
    ] {
        looks.time(words.join(" "), process, || command(house, words))?;
    }
    looks.time("/metrics".to_owned(), process, || get(port, "/metrics").map(drop))?;
    let (mut child, begun) = (spawn(house, &["leases", "--json"])?, Instant::now());
    let rows = child.stdout.take().map_or(0, |rows| BufReader::new(rows).lines().count());
    looks.streamed = rows as f64 / begun.elapsed().as_secs_f64();
    child.wait()?;
    if rows < SUBNETS * LEASES {
        return Err(io::Error::other(format!("gipam leases --json printed {rows} lines")));
    }
    looks.grown = process.peak().unwrap_or(0).saturating_sub(before) as f64 / 1024.0;
    looks.p99 = slowed(house, &server, known, port)?;
    server.stop()?;
    Ok(looks)
}

impl Looks {
    fn time(&mut self, name: String, process: Process, look: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let (mut times, mut cpu) = (Vec::new(), Vec::new());
        for _ in 0..TIMES {
            let (used, begun) = (process.cpu()?, Instant::now());
            look()?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            cpu.push(process.cpu()?.saturating_sub(used).as_secs_f64() * 1e3);
            // The daemon keeps counts for a second; each measurement must count again, so this waits until
            // they have expired.
            std::thread::sleep(Duration::from_millis(1_100));
        }
        self.rows.push((name, median(times), median(cpu)));
        Ok(())
    }
}

/// The 99th percentile under load: the ratio of the value with a page, a scrape each second and `gipam top`
/// to the value without them, in turn.
fn slowed(house: &House, server: &Server, known: &mut Play, port: u16) -> io::Result<f64> {
    let mut crew = Crew::connect(&server.door, CONNECTIONS)?;
    let mut p99 = |known: &mut Play| -> io::Result<f64> {
        let limit = Limit { requests: u64::MAX, time: LOADED };
        let outcome = phase(&mut crew, known, Phase::Addresses, limit, None)?;
        let mut nanos: Vec<u32> = outcome.run.calls.into_iter().flat_map(|call| call.nanos).collect();
        nanos.sort_unstable();
        // Releases the addresses, so that the next part begins in the same state.
        phase(&mut crew, known, Phase::Releases, Limit { requests: u64::MAX, time: LOADED * 20 }, None)?;
        Ok(percentile(&nanos, 99.0))
    };
    let (mut alone, mut watched) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        alone.push(p99(known)?);
        let mut top = spawn(house, &["top", "--json"])?;
        let lines = top.stdout.take();
        let stop = AtomicBool::new(false);
        watched.push(std::thread::scope(|scope| {
            scope.spawn(|| lines.map(|lines| BufReader::new(lines).lines().count()));
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // A failure ends the bench elsewhere: the load notices a daemon that is gone.
                    for path in PAGE.iter().chain(&["/metrics"]) {
                        let _ = get(port, path);
                    }
                    std::thread::sleep(Duration::from_secs(1));
                }
            });
            let watched = p99(known);
            stop.store(true, Ordering::Relaxed);
            let _ = top.kill();
            watched
        })?);
        top.wait()?;
    }
    Ok(median_ratio(&watched, &alone))
}

fn spawn(house: &House, words: &[&str]) -> io::Result<Child> {
    let mut command = Command::new(house.program());
    command.args(words).arg("--admin").arg(house.path("a.sock"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
}

/// Runs a command to its end; it must succeed or match nothing.
fn command(house: &House, words: &[&str]) -> io::Result<()> {
    let output = spawn(house, words)?.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("gipam {} ended with {}", words.join(" "), output.status)))
}

/// Requests a path from the page's listener; returns the answer.
fn get(port: u16, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if answer.starts_with(b"HTTP/1.1 200") {
        return Ok(answer);
    }
    Err(io::Error::other(format!(
        "{path}: {}",
        String::from_utf8_lossy(&answer).lines().next().unwrap_or("")
    )))
}
