//! ROUNDS: the same phases on one server after the other, repeatedly, so that noise affects all of them.
//!
//! Promises: compared values are measured within a second or two of each other (A B A B); a ratio is taken
//! within a round. Every round has fresh books. A failed request, or an address or subnet given twice, ends
//! the run with an error.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::claims::Claims;
use crate::daemon::{House, Server};
use crate::load::{Outcome, percentile, phase};
use crate::member::Member;
use crate::script::{Phase, Play};
use crate::stats::{median, median_ratio};
use crate::sync::append_and_sync;
use crate::watch::Process;
use crate::wire::{Crew, Door, Limit};

/// The bare loop's name among the servers.
pub const BARE: &str = "bare loop";
/// gipam's name among the servers.
pub const OURS: &str = "gipam";
/// The name of a gipam that shares its pool with other hosts.
pub const SLICED: &str = "gipam with [plan]";
/// The numbers of connections with which gipam is measured.
pub const CONNECTIONS: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
/// The numbers of connections in the tables, with which peers are measured, too.
pub const SHOWN: [usize; 3] = [1, 8, 64];

/// Subnets that get the load; gipam's have 1,048,573 addresses each.
const SUBNETS: u64 = 8;
/// Subnets that get the load on a peer, which may cut only small ones.
const PEER_SUBNETS: u64 = 64;

const POOLS: &str = "[[pool]]\nname = \"default\"\nv4 = { base = \"10.0.0.0/8\", size = 12 }\n";

/// The same pool, divided by a plan file; this host has all of it.
fn sliced_house(directory: &Path, program: &Path) -> io::Result<House> {
    let file = directory.join("plan.toml");
    let slices: Vec<String> = (0..8).map(|n| format!("\"10.{}.0.0/11\"", n * 32)).collect();
    let slices = slices.join(", ");
    let plan = format!(
        "[[pool]]\nbase = \"10.0.0.0/8\"\nslice = 11\n\n[[host]]\nname = \"a\"\nvia = [\"192.0.2.11\"]\nslices = [{slices}]\n"
    );
    std::fs::write(&file, plan)?;
    let pools = POOLS.replace("size = 12", "size = 12, slice = 11");
    House::new(directory, "sliced", program, &format!("{pools}\n[plan]\nfile = {file:?}\nhost = \"a\"\n"))
}

/// Another plugin that is measured in the same rounds.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The name in the tables.
    pub name: String,
    /// The plugin's socket.
    pub socket: PathBuf,
}

impl std::str::FromStr for Peer {
    type Err = String;

    /// `SOCKET`, or `NAME=SOCKET`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, socket) = match text.split_once('=') {
            Some((name, socket)) => (name.to_owned(), PathBuf::from(socket)),
            None => {
                let socket = PathBuf::from(text);
                let stem = socket.file_stem().ok_or("a peer is SOCKET or NAME=SOCKET")?;
                (stem.to_string_lossy().into_owned(), socket)
            }
        };
        Ok(Self { name, socket })
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Requests per second.
    pub rate: f64,
    /// Median latency, microseconds.
    pub middle: f64,
    /// The 99th percentile of the latency, microseconds.
    pub slow: f64,
    /// The highest latency, microseconds.
    pub slowest: f64,
    /// Server CPU time per request, microseconds.
    pub cpu: f64,
    /// Server CPU time per request that was used after the last answer, microseconds.
    pub later: f64,
}

impl Sample {
    fn of(outcome: &Outcome, later: Option<Duration>) -> Self {
        let mut nanos: Vec<u32> =
            outcome.run.calls.iter().flat_map(|call| call.nanos.iter().copied()).collect();
        nanos.sort_unstable();
        Self {
            rate: outcome.run.rate(),
            middle: percentile(&nanos, 50.0),
            slow: percentile(&nanos, 99.0),
            slowest: percentile(&nanos, 100.0),
            cpu: outcome.cpu().unwrap_or(f64::NAN),
            later: later.map_or(f64::NAN, |it| it.as_secs_f64() * 1e6 / outcome.run.requests().max(1) as f64),
        }
    }
}

/// All samples, one per round.
#[derive(Clone, Debug, Default)]
pub struct Rounds {
    samples: BTreeMap<(String, Phase, usize), Vec<Sample>>,
    /// Median time of a bare append and sync in each round, microseconds.
    pub sync: Vec<f64>,
    /// Claims of slices in etcd.
    pub claims: Claims,
    /// Peers by name, with their resident memory at the end in KiB.
    pub peers: Vec<(String, Option<u64>)>,
    /// Our resident memory at the end of the last round, in KiB.
    pub resident: Option<u64>,
}

impl Rounds {
    /// The samples of one server, phase and number of connections, as figures.
    pub fn figures(&self, who: &str, phase: Phase, connections: usize, of: fn(&Sample) -> f64) -> Vec<f64> {
        let samples = self.samples.get(&(who.to_owned(), phase, connections));
        samples.into_iter().flatten().map(of).collect()
    }

    /// The median of these figures.
    pub fn median(&self, who: &str, phase: Phase, connections: usize, of: fn(&Sample) -> f64) -> f64 {
        median(self.figures(who, phase, connections, of))
    }

    /// The median over all rounds of the ratio of two rates.
    pub fn rate_ratio(&self, a: (&str, Phase), b: (&str, Phase), connections: usize) -> f64 {
        let rates = |(who, phase)| self.figures(who, phase, connections, |sample| sample.rate);
        median_ratio(&rates(a), &rates(b))
    }

    /// Keeps the sample of a phase of a server.
    fn keep(
        &mut self,
        who: &str,
        outcome: &Outcome,
        later: Option<Duration>,
        connections: usize,
    ) -> io::Result<()> {
        if let Some(text) = &outcome.run.failure {
            return Err(io::Error::other(format!("{who}: {:?}: {text}", outcome.phase)));
        }
        if outcome.twice > 0 {
            return Err(io::Error::other(format!(
                "{who}: {:?}: {} given twice, or outside their subnet",
                outcome.phase, outcome.twice
            )));
        }
        let key = (who.to_owned(), outcome.phase, connections);
        self.samples.entry(key).or_default().push(Sample::of(outcome, later));
        Ok(())
    }
}

/// A server in a round.
struct Guest {
    name: String,
    door: Door,
    process: Option<Process>,
    play: Play,
}

impl Guest {
    fn new(name: &str, door: Door, subnets: u64) -> Self {
        let process = Process::behind(&door);
        Self { name: name.to_owned(), door, process, play: Play::new(subnets, vec![false]) }
    }

    fn phase(&mut self, what: Phase, crew: &mut Crew, time: Duration) -> io::Result<Outcome> {
        // The name of the server's address space is requested only once.
        let requests = if what == Phase::Spaces { 1 } else { u64::MAX };
        phase(crew, &mut self.play, what, Limit { requests, time }, self.process)
    }

    /// Runs a phase to its end, however long it takes.
    fn whole(&mut self, what: Phase) -> io::Result<()> {
        let mut crew = Crew::connect(&self.door, 8)?;
        let outcome = self.phase(what, &mut crew, Duration::from_secs(3600))?;
        outcome.run.failure.map_or(Ok(()), |text| Err(io::Error::other(format!("{}: {text}", self.name))))
    }

    fn addresses(&mut self, connections: usize, time: Duration, rounds: &mut Rounds) -> io::Result<()> {
        let mut crew = Crew::connect(&self.door, connections)?;
        for what in [Phase::Addresses, Phase::Churn, Phase::Releases] {
            let time = if what == Phase::Releases { Duration::from_secs(3600) } else { time };
            let outcome = self.phase(what, &mut crew, time)?;
            let later = self.process.map(Process::settle).transpose()?;
            rounds.keep(&self.name, &outcome, later, connections)?;
        }
        Ok(())
    }

    fn activate(&mut self, connections: usize, time: Duration, rounds: &mut Rounds) -> io::Result<()> {
        let mut crew = Crew::connect(&self.door, connections)?;
        let outcome = self.phase(Phase::Activate, &mut crew, time)?;
        rounds.keep(&self.name, &outcome, None, connections)
    }
}

/// Starts a gipam that gets the load.
fn invite(name: &str, house: &House) -> io::Result<(Server, Guest)> {
    let (server, _) = house.start()?;
    let mut guest = Guest::new(name, server.door.clone(), SUBNETS);
    guest.whole(Phase::Pools)?;
    Ok((server, guest))
}

/// Only the ratio of RequestAddress with a plan of several hosts to that without, with 64 connections.
pub fn plan_ratio(directory: &Path, program: &Path, count: usize, time: Duration) -> io::Result<f64> {
    let mut rounds = Rounds::default();
    for _ in 0..count {
        let (with, without) =
            (sliced_house(directory, program)?, House::new(directory, "round", program, POOLS)?);
        let (server, mut ours) = invite(OURS, &without)?;
        let (sliced_server, mut sliced) = invite(SLICED, &with)?;
        ours.addresses(64, time, &mut rounds)?;
        sliced.addresses(64, time, &mut rounds)?;
        server.stop()?;
        sliced_server.stop()?;
    }
    Ok(rounds.rate_ratio((SLICED, Phase::Addresses), (OURS, Phase::Addresses), 64))
}

/// Runs this many rounds, with `time` for each phase.
pub fn run(
    directory: &Path,
    program: &Path,
    peers: &[Peer],
    count: usize,
    time: Duration,
) -> io::Result<Rounds> {
    let mut rounds = Rounds::default();
    let mut guests: Vec<Guest> =
        peers.iter().map(|it| Guest::new(&it.name, Door::Unix(it.socket.clone()), PEER_SUBNETS)).collect();
    for guest in &mut guests {
        guest.whole(Phase::Spaces)?;
        guest.whole(Phase::Pools)?;
    }
    let (bare_socket, bare_log) = (directory.join("bare.sock"), directory.join("bare.log"));
    match std::fs::remove_file(&bare_socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        // A killed run leaves its socket behind.
        _ => {}
    }
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(["fixed", "--socket"]).arg(&bare_socket);
    let (bare, _) = Server::start(command, &bare_socket, &bare_log)?;
    let member = Member::start(directory)?;
    for number in 1..=count {
        eprintln!("bench: round {number} of {count}");
        let house = House::new(directory, "round", program, POOLS)?;
        let (server, mut ours) = invite(OURS, &house)?;
        let mut loop_ = Guest::new(BARE, bare.door.clone(), 0);
        let sliced_house = sliced_house(directory, program)?;
        let (sliced_server, mut sliced) = invite(SLICED, &sliced_house)?;
        for connections in CONNECTIONS {
            loop_.activate(connections, time, &mut rounds)?;
            ours.activate(connections, time, &mut rounds)?;
            if connections == 1 {
                let mut nanos = append_and_sync(directory, time)?;
                nanos.sort_unstable();
                rounds.sync.push(percentile(&nanos, 50.0));
            }
            ours.addresses(connections, time, &mut rounds)?;
            if SHOWN.contains(&connections) {
                sliced.addresses(connections, time, &mut rounds)?;
            }
            for guest in guests.iter_mut().filter(|_| SHOWN.contains(&connections)) {
                guest.activate(connections, time, &mut rounds)?;
                guest.addresses(connections, time, &mut rounds)?;
            }
        }
        rounds.resident = server.process().resident();
        server.stop()?;
        sliced_server.stop()?;
        rounds.claims.round(directory, program, &member, number)?;
    }
    drop(bare);
    std::fs::remove_file(bare_socket)?;
    for guest in &mut guests {
        let resident = guest.process.and_then(Process::resident);
        rounds.peers.push((guest.name.clone(), resident));
        guest.whole(Phase::ReleasePools)?;
    }
    Ok(rounds)
}
