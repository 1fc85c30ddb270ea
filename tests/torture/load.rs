//! LOAD: too many clients, and clients that never finish. Honest clients are served meanwhile, and
//! the daemon's memory stays within a bound.
//!
//! Promises: everything goes over the UNIX socket of a separate daemon. The bound applies to the peak of the
//! daemon's resident memory (`VmHWM`), and honest requests are timed: see the constants and
//! docs/reliability.md.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::Counts;
use crate::books::compare;
use crate::crew::{Crew, POOLS, meeting_place};
use crate::daemon::{Daemon, House, PATIENCE, until};
use crate::http::{Wire, half_close};
use crate::journal::Journal;

/// The bound on the daemon's memory, in KiB: 512 connections of 100 KiB each (64 KiB of body, 16 of head, an
/// answer), plus the program itself in its test build.
const BOUND_KIB: u64 = 96 * 1024;
/// The longest that an honest request may take during the load, on a separate connection.
const HONEST: Duration = Duration::from_secs(5);
/// The longest that an honest request may take if idle connections must be closed for it first.
const HONEST_BEHIND_A_CROWD: Duration = Duration::from_secs(20);

/// A daemon with a subnet, and the honest client's measurements.
struct Scene {
    house: House,
    daemon: Daemon,
    id: String,
    honest: u64,
    slowest: Duration,
    descriptors: usize,
}

impl Scene {
    fn new() -> Scene {
        let house = House::with_toml(POOLS);
        let daemon = house.start();
        let (id, _) = daemon.wire().subnet(true);
        let descriptors = descriptors(&daemon);
        Scene { house, daemon, id, honest: 0, slowest: Duration::ZERO, descriptors }
    }

    /// An honest client connects, gets an address, releases it and disconnects.
    fn honest(&mut self) {
        let began = Instant::now();
        let mut wire = self.daemon.wire();
        let address = wire.address(&self.id, "", Value::Null);
        let body = json!({"PoolID": self.id, "Address": address.split('/').next().unwrap()}).to_string();
        // A connection that was silent for 0.3 s may be closed for others. Go's client then repeats the call on a new one.
        let again = || self.daemon.wire().call("IpamDriver.ReleaseAddress", &body);
        let answer = wire.try_call("IpamDriver.ReleaseAddress", &body).unwrap_or_else(again);
        assert_eq!(answer.ok(), json!({}));
        self.slowest = self.slowest.max(began.elapsed());
        self.honest += 2;
    }

    /// Opens this many connections, without sending anything.
    fn crowd(&self, count: usize) -> Vec<UnixStream> {
        let connect = |_| {
            let stream = UnixStream::connect(self.house.socket()).unwrap();
            stream.set_nonblocking(true).unwrap();
            stream
        };
        (0..count).map(connect).collect()
    }

    fn finish(self, limit: Duration, what: &'static str, count: u64) -> Counts {
        let peak = self.daemon.proc_status("VmHWM");
        assert!(peak <= BOUND_KIB, "{peak} KiB at the peak");
        assert!(self.slowest <= limit, "an honest client waited {:?}", self.slowest);
        assert!(self.daemon.stop().success(), "{}", self.house.log());
        vec![
            (what, count),
            ("honest requests served", self.honest),
            ("ms the slowest pair", self.slowest.as_millis() as u64 + 1),
            ("KiB at the peak", peak),
        ]
    }
}

fn descriptors(daemon: &Daemon) -> usize {
    fs::read_dir(format!("/proc/{}/fd", daemon.child.id())).unwrap().count()
}

/// Reads from a connection: adds the bytes received to `seen`; returns whether the connection has ended.
fn read(stream: &mut UnixStream, seen: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(count) => seen.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => return true,
        }
    }
}

/// 256 connections that all send requests at once.
pub fn busy(long: bool) -> Counts {
    let house = House::with_toml(POOLS);
    let journal = Journal::default();
    let daemon = house.start();
    meeting_place(&house.socket(), &journal);
    let crew = Crew::start(256, &house.socket(), &journal, 1);
    crew.work(if long { 20_000 } else { 2_000 });
    crew.stop();
    let peak = daemon.proc_status("VmHWM");
    assert!(peak <= BOUND_KIB, "{peak} KiB at the peak");
    assert!(daemon.stop().success());
    let found = compare(&house.path("gipam.db"), &journal);
    found.assert_clean("after 256 connections");
    let book = journal.book();
    vec![
        ("connections", 256),
        ("answers acknowledged", book.acknowledged),
        ("grants compared", found.recovered),
        ("!requests without an answer", book.dropped + book.unavailable),
        ("KiB at the peak", peak),
    ]
}

/// Clients that send a byte now and then, half of them in the head, half in the body: each finally gets 408.
pub fn slow(_: bool) -> Counts {
    let mut scene = Scene::new();
    let whole = Wire::request("", "IpamDriver.RequestAddress", &[b' '; 60_000]);
    let head = whole.len() - 60_000;
    let mut crowd: Vec<(UnixStream, usize, Vec<u8>)> =
        scene.crowd(200).into_iter().map(|stream| (stream, 0, Vec::new())).collect();
    for (stream, sent, _) in crowd.iter_mut().skip(100) {
        stream.write_all(&whole[..head]).unwrap();
        *sent = head;
    }
    let end = Instant::now() + PATIENCE;
    let mut refused = 0;
    while !crowd.is_empty() {
        assert!(Instant::now() < end, "{} slow clients are still connected", crowd.len());
        scene.honest();
        crowd.retain_mut(|(stream, sent, seen)| {
            if *sent + 1 < head || (*sent >= head && *sent + 1 < whole.len()) {
                *sent += stream.write(&whole[*sent..=*sent]).unwrap_or(0);
            }
            let over = read(stream, seen);
            if over {
                assert!(seen.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(seen));
                refused += 1;
            }
            !over
        });
    }
    scene.finish(HONEST, "slow clients refused with 408", refused)
}

/// Clients whose headers never end: they get 431, and the daemon stops reading from them.
pub fn endless_headers(_: bool) -> Counts {
    let mut scene = Scene::new();
    let mut crowd: Vec<(UnixStream, usize, Vec<u8>)> =
        scene.crowd(64).into_iter().map(|stream| (stream, 0, Vec::new())).collect();
    for (stream, ..) in &mut crowd {
        stream.write_all(b"POST /IpamDriver.RequestPool HTTP/1.1\r\nHost: \r\n").unwrap();
    }
    let (line, mut most, mut refused) = ("X-Endless: and so on and so on\r\n".repeat(64).into_bytes(), 0, 0);
    let end = Instant::now() + PATIENCE;
    while !crowd.is_empty() {
        assert!(Instant::now() < end, "{} endless clients are still connected", crowd.len());
        scene.honest();
        crowd.retain_mut(|(stream, sent, seen)| {
            let written = stream.write(&line);
            *sent += written.as_ref().copied().unwrap_or(0);
            let over =
                read(stream, seen) || matches!(&written, Err(error) if error.kind() != ErrorKind::WouldBlock);
            if over {
                assert!(seen.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(seen));
                (refused, most) = (refused + 1, most.max(*sent));
            }
            !over
        });
    }
    // After a refusal, the listener reads and discards more input, so that the client can read the refusal;
    // that is bounded.
    assert!(most < 20 << 20, "{most} bytes were accepted");
    scene.finish(HONEST, "endless clients refused with 431", refused)
}

/// Clients that close their sending half before or in the middle of a request: the daemon closes their
/// connections.
pub fn half_closed(long: bool) -> Counts {
    let mut scene = Scene::new();
    let request = Wire::request("", "IpamDriver.RequestAddress", b"{\"PoolID\":");
    let rounds = if long { 20 } else { 3 };
    let mut closed = 0;
    for _ in 0..rounds {
        let mut crowd = scene.crowd(200);
        for (number, stream) in crowd.iter_mut().enumerate() {
            stream.write_all(&request[..number % request.len()]).unwrap();
            half_close(stream);
        }
        scene.honest();
        let few = scene.descriptors + 5;
        until("half-closed connections are closed", || (descriptors(&scene.daemon) <= few).then_some(()));
        closed += crowd.len() as u64;
    }
    scene.finish(HONEST, "half-closed connections ended", closed)
}

/// Clients that send one request after another and never read an answer.
pub fn untaken(_: bool) -> Counts {
    let mut scene = Scene::new();
    let request = Wire::request("", "IpamDriver.GetCapabilities", b"");
    let mut crowd = scene.crowd(100);
    let mut sent = 0;
    let mut stuck = 0;
    while stuck < crowd.len() {
        scene.honest();
        stuck = 0;
        for stream in &mut crowd {
            let taken =
                (0..64).take_while(|_| matches!(stream.write(&request), Ok(it) if it == request.len()));
            match taken.count() as u64 {
                0 => stuck += 1, // its buffer is full: the daemon no longer reads from it
                count => sent += count,
            }
        }
    }
    for _ in 0..10 {
        scene.honest();
    }
    scene.finish(HONEST, "requests whose answers nobody reads", sent)
}

/// 10,000 silent connections (2,500 in the short run): they are closed in favour of clients that send
/// requests.
pub fn idle(long: bool) -> Counts {
    let crowded = if long { 10_000 } else { 2_500 };
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(12_000);
    assert!(wanted >= 10_500, "10,000 connections need as many descriptors: {limit:?}");
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }).unwrap();
    let mut scene = Scene::new();
    // In a separate thread, because connecting blocks, as it should, when the kernel's queue is full.
    let socket = scene.house.socket();
    let crowd = std::thread::spawn(move || -> Vec<UnixStream> {
        (0..crowded).map(|_| UnixStream::connect(&socket).unwrap()).collect()
    });
    while !crowd.is_finished() {
        scene.honest();
    }
    let crowd = crowd.join().unwrap();
    scene.honest();
    let open = descriptors(&scene.daemon);
    assert!(open <= scene.descriptors + 513, "{open} descriptors");
    let count = crowd.len() as u64;
    drop(crowd);
    scene.honest();
    scene.finish(HONEST_BEHIND_A_CROWD, "idle connections", count)
}
