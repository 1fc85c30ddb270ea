//! GROWTH: the same calls with books of a million leases and with empty books, and how long a daemon takes to
//! start.
//!
//! Promises: both daemons are measured in turn in every round, in CPU time and not by the clock; the big
//! books are filled through the ledger, as by requests, so that they equal what a daemon would have written.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::daemon::{House, Server};
use crate::filled::fill;
use crate::load::{Outcome, phase};
use crate::looks::{self, Looks};
use crate::script::{Phase, Play};
use crate::stats::{median, median_ratio};
use crate::wire::{Crew, Limit};

/// Subnets in the big books.
pub const SUBNETS: usize = 10_000;
/// Leases in each of these subnets.
pub const LEASES: usize = 100;
/// Connections of the measurement.
pub const CONNECTIONS: usize = 64;
/// New subnets in a round, and addresses in each of them.
const NEW: u64 = 400;
const FILLED: u64 = 20;
/// Subnets whose addresses are requested on the empty daemon.
const FEW: u64 = 100;

/// Half of the subnets are IPv4, half IPv6, as on a dual-stack host. The storm guard is off, because no
/// address is requested right away from the subnets that are measured.
const POOLS: &str = "storm_limit = 0\n[[pool]]\nname = \"default\"\nv4 = { base = \"10.0.0.0/8\", size = 24 }\n\
    v6 = { base = \"2001:db8::/32\", size = 64 }\n";

/// CPU microseconds per call of one method, in each round.
#[derive(Clone, Debug)]
pub struct Row {
    /// The method, and the subnets on which it was called.
    pub name: &'static str,
    /// Times on the empty daemon.
    pub empty: Vec<f64>,
    /// Times on the daemon with the big books.
    pub big: Vec<f64>,
}

impl Row {
    /// The median, over all rounds, of the ratio of big to empty.
    pub fn ratio(&self) -> f64 {
        median_ratio(&self.big, &self.empty)
    }
}

/// The results of all rounds and starts.
#[derive(Clone, Debug, Default)]
pub struct Growth {
    /// The times of each method.
    pub rows: Vec<Row>,
    /// From the start of the process until it serves, with the big books, in seconds.
    pub starts: Vec<f64>,
    /// Resident memory right after that, in KiB.
    pub resident: Vec<f64>,
    /// Peak memory during the start, in KiB.
    pub peak: Vec<f64>,
    /// Resident memory of a daemon that granted as many leases while it ran, in KiB.
    pub granted: f64,
    /// How long it took to make the books, in seconds.
    pub making: f64,
    /// What views of the big books cost.
    pub looks: Looks,
}

impl Growth {
    /// Seconds until ready.
    pub fn start(&self) -> f64 {
        median(self.starts.iter().copied())
    }

    /// Peak memory during the start, in MiB.
    pub fn memory(&self) -> f64 {
        median(self.peak.iter().copied()) / 1024.0
    }

    /// Resident memory after granting as many leases, in MiB.
    pub fn memory_granted(&self) -> f64 {
        self.granted / 1024.0
    }

    fn keep(&mut self, name: &'static str, big: bool, micros: f64) {
        let at = self.rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
            self.rows.push(Row { name, empty: Vec::new(), big: Vec::new() });
            self.rows.len() - 1
        });
        if big { self.rows[at].big.push(micros) } else { self.rows[at].empty.push(micros) }
    }
}

/// A daemon, and the subnets that it holds before the rounds.
struct Side {
    big: bool,
    server: Server,
    known: Play,
}

/// Makes the books, then measures `count` starts and `count` rounds.
pub fn run(directory: &Path, program: &Path, count: usize) -> io::Result<Growth> {
    let mut growth = Growth::default();
    let big_house = House::new(directory, "big", program, POOLS)?;
    let empty_house = House::new(directory, "empty", program, POOLS)?;
    // The daemon makes the books and writes its pools into them.
    big_house.start()?.0.stop()?;
    let began = Instant::now();
    eprintln!("bench: making books of {} leases", SUBNETS * LEASES);
    let subnets = fill(&big_house.path("gipam.db"), SUBNETS, LEASES)?;
    growth.making = began.elapsed().as_secs_f64();
    for _ in 0..count {
        let (server, took) = big_house.start()?;
        growth.starts.push(took.as_secs_f64());
        growth.resident.extend(server.process().resident().map(|it| it as f64));
        growth.peak.extend(server.process().peak().map(|it| it as f64));
        server.stop()?;
    }
    growth.granted = granted(directory, program)?;
    let mut known = Play::new(0, Vec::new());
    for (id, prefix) in subnets {
        let room = 254 - LEASES as u128 - 1;
        known.adopt(id, &prefix, room).ok_or_else(|| io::Error::other(prefix))?;
    }
    growth.looks = looks::run(&big_house, &mut known)?;
    let mut big = Side { big: true, server: big_house.start()?.0, known };
    let known = Play::new(FEW, vec![false, true]);
    let mut empty = Side { big: false, server: empty_house.start()?.0, known };
    let mut crew = Crew::connect(&empty.server.door, 1)?;
    phase(&mut crew, &mut empty.known, Phase::Pools, unbounded(u64::MAX), None)?;
    for number in 1..=count {
        eprintln!("bench: growth, round {number} of {count}");
        round(&mut empty, &mut growth)?;
        round(&mut big, &mut growth)?;
    }
    Ok(growth)
}

/// Resident memory, in KiB, of a daemon that has granted all of these leases since it started.
fn granted(directory: &Path, program: &Path) -> io::Result<f64> {
    eprintln!("bench: granting {} leases", SUBNETS * LEASES);
    let house = House::new(directory, "granted", program, POOLS)?;
    let (server, _) = house.start()?;
    let mut crew = Crew::connect(&server.door, CONNECTIONS)?;
    let mut play = Play::new(SUBNETS as u64, vec![false, true]);
    play.names = true;
    // One of the leases of each subnet is its gateway, which the first phase requests.
    for (what, requests) in [(Phase::Pools, u64::MAX), (Phase::Addresses, (SUBNETS * (LEASES - 1)) as u64)] {
        let outcome = phase(&mut crew, &mut play, what, unbounded(requests), None)?;
        if let Some(text) = &outcome.run.failure {
            return Err(io::Error::other(format!("{what:?}: {text}")));
        }
    }
    server.process().settle()?;
    let resident = server.process().resident().map_or(f64::NAN, |it| it as f64);
    server.stop()?;
    Ok(resident)
}

const fn unbounded(requests: u64) -> Limit {
    Limit { requests, time: Duration::from_secs(3600) }
}

fn round(side: &mut Side, growth: &mut Growth) -> io::Result<()> {
    let mut crew = Crew::connect(&side.server.door, CONNECTIONS)?;
    let process = side.server.process();
    let mut measure = |play: &mut Play, what: Phase, requests: u64| -> io::Result<Outcome> {
        // Work left over from the previous phase must not count in this one.
        process.settle()?;
        let outcome = phase(&mut crew, play, what, unbounded(requests), Some(process))?;
        match &outcome.run.failure {
            Some(text) => Err(io::Error::other(format!("{what:?}: {text}"))),
            None if outcome.twice > 0 => {
                Err(io::Error::other(format!("{what:?}: an address or a subnet was given twice")))
            }
            None => Ok(outcome),
        }
    };
    let mut keep = |name, outcome: &Outcome| growth.keep(name, side.big, outcome.cpu().unwrap_or(f64::NAN));
    let known = &mut side.known;
    keep("Plugin.Activate", &measure(known, Phase::Activate, 10_000)?);
    keep("GetCapabilities", &measure(known, Phase::Capabilities, 10_000)?);
    keep("GetDefaultAddressSpaces", &measure(known, Phase::Spaces, 10_000)?);
    keep("RequestAddress, all subnets in turn", &measure(known, Phase::Addresses, 10_000)?);
    keep("ReleaseAddress, all subnets in turn", &measure(known, Phase::Releases, u64::MAX)?);
    let mut new = Play::new(NEW, vec![false, true]);
    new.gateways = false;
    keep("RequestPool", &measure(&mut new, Phase::Pools, u64::MAX)?);
    keep("RequestAddress, new subnets", &measure(&mut new, Phase::Addresses, NEW * FILLED)?);
    keep("ReleaseAddress, new subnets", &measure(&mut new, Phase::Releases, NEW * FILLED / 2)?);
    let leases = new.held() as f64;
    let released = measure(&mut new, Phase::ReleasePools, u64::MAX)?;
    let micros = released.cpu().unwrap_or(f64::NAN) * released.run.requests() as f64 / leases;
    growth.keep("ReleasePool, per lease that it drops", side.big, micros);
    Ok(())
}
