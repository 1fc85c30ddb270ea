//! CLAIMS: slices that a daemon claims from a real etcd, next to raw transactions of the same etcd through the same client; and
//! what a network in slices of its host costs the store.
//!
//! Promises: compared values are measured within a second or two of each other, and each round has fresh books and a plan of its
//! own. Every claim is durable in the books twice: counted before it leaves, and held before a network is cut from it. Calls are
//! counted by etcd itself. A refused request ends the run with an error.

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use gipam::claims::etcd::EtcdStore;
use gipam::claims::machine::calls::{Compare, Effect, StoreCall, StoreReply};
use gipam::config::{EtcdEndpoint, EtcdSettings};

use crate::daemon::{House, Server};
use crate::load::phase;
use crate::member::Member;
use crate::script::{Phase, Play};
use crate::stats::{median, median_ratio};
use crate::wire::{Crew, Limit, Script};

/// Slices that are claimed in a round, one after the other.
pub const CLAIMS: u64 = 256;
/// Raw transactions in a round.
const RAW: u64 = 1_024;
/// Networks in a slice that the host owns; a quarter of what it has room for, so that no slice is claimed ahead.
pub const OWN: u64 = 200;
/// Nothing here takes as long.
const LONGEST: Duration = Duration::from_secs(120);
/// An etcd without calls for so long is not called before the next reading: longer than a daemon waits after a commit.
const QUIET: Duration = Duration::from_millis(1_500);
/// The bytes of a record of a slice.
const VALUE: usize = 90;

/// A pool in large slices, in which networks get what their host owns; and one whose slices are as small as its networks, so
/// that each of them needs a claim.
const POOLS: &str = "[[pool]]\nname = \"own\"\nv4 = { base = \"10.0.0.0/8\", size = 26, slice = 16 }\n\
    [[pool]]\nname = \"claimed\"\nv4 = { base = \"172.16.0.0/12\", size = 24, slice = 24 }\n";

/// What was measured, one figure per round.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// Raw transactions per second: a compare and a put, one after the other.
    pub raw: Vec<f64>,
    /// Networks per second whose slice was claimed for them.
    pub claimed: Vec<f64>,
    /// Calls to the store for each of them.
    pub calls: Vec<f64>,
    /// Networks per second in slices of the host, with their gateways.
    pub own: Vec<f64>,
    /// Calls to the store while these were created.
    pub own_calls: Vec<f64>,
}

impl Claims {
    /// Claims per second for each raw transaction per second.
    pub fn ratio(&self) -> f64 {
        median_ratio(&self.claimed, &self.raw)
    }

    /// The median of a figure.
    pub fn median(figures: &[f64]) -> f64 {
        median(figures.iter().copied())
    }

    /// The most calls to the store for networks in slices of their host, in any round.
    pub fn most_own_calls(&self) -> f64 {
        // Without a round there is no evidence.
        self.own_calls.iter().copied().reduce(f64::max).unwrap_or(f64::NAN)
    }
}

/// Runs this part alone.
pub fn run(directory: &Path, program: &Path, count: usize) -> io::Result<Claims> {
    let member = Member::start(directory)?;
    let mut claims = Claims::default();
    for number in 1..=count {
        claims.round(directory, program, &member, number)?;
    }
    Ok(claims)
}

impl Claims {
    /// One round, with a plan that is named after it.
    pub fn round(
        &mut self,
        directory: &Path,
        program: &Path,
        member: &Member,
        number: usize,
    ) -> io::Result<()> {
        let toml = format!(
            "[plan]\nhost = \"a\"\nvia = [\"192.0.2.11\"]\nprefix = \"/bench{number}/\"\netcd = [\"http://{}\"]\n{POOLS}",
            member.address
        );
        let house = House::new(directory, "claims", program, &toml)?;
        let (server, _) = house.start()?;
        join(&house)?;
        self.networks_in_own_slices(&server, member)?;
        self.raw.push(raw(member, number)?);
        let before = member.calls()?;
        let rate = networks(&server, CLAIMS)?;
        self.claimed.push(rate);
        self.calls.push((member.calls()? - before) as f64 / CLAIMS as f64);
        server.stop()
    }

    /// Networks that need nothing of the store. The daemon reads the plan for people every ten seconds, so that the networks are
    /// created when it has just done so.
    fn networks_in_own_slices(&mut self, server: &Server, member: &Member) -> io::Result<()> {
        let mut play = Play::new(1, vec![false]);
        pools(server, &mut play)?;
        let (mut known, began) = (0, Instant::now());
        while known != member.calls()? {
            if began.elapsed() > LONGEST {
                return Err(io::Error::other("the daemon does not stop to call etcd"));
            }
            known = member.calls()?;
            std::thread::sleep(QUIET);
        }
        play.wanted = OWN;
        let before = member.calls()?;
        let rate = pools(server, &mut play)?;
        self.own_calls.push((member.calls()? - before) as f64);
        self.own.push(rate);
        Ok(())
    }
}

/// The host makes the plan and joins it.
fn join(house: &House) -> io::Result<()> {
    let mut command = Command::new(house.program());
    command.env_clear().arg("join").arg("--new").arg("--admin").arg(house.path("a.sock"));
    let output = command.output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("join: {}", String::from_utf8_lossy(&output.stderr)))),
    }
}

/// Requests networks without a number, and returns how many there were per second.
fn pools(server: &Server, play: &mut Play) -> io::Result<f64> {
    let mut crew = Crew::connect(&server.door, 1)?;
    let limit = Limit { requests: u64::MAX, time: LONGEST };
    let outcome = phase(&mut crew, play, Phase::Pools, limit, None)?;
    match outcome.run.failure {
        Some(text) => Err(io::Error::other(format!("a network in own slices: {text}"))),
        None => Ok(play.wanted as f64 / outcome.run.wall.as_secs_f64().max(1e-9)),
    }
}

/// Requests networks by number, each in a slice that nobody has; returns how many there were per second.
fn networks(server: &Server, count: u64) -> io::Result<f64> {
    let mut crew = Crew::connect(&server.door, 1)?;
    let run = crew.run(&mut Numbered { next: 0, count }, Limit { requests: u64::MAX, time: LONGEST })?;
    match &run.failure {
        Some(text) => Err(io::Error::other(format!("a network whose slice is claimed: {text}"))),
        None if run.requests() < count => Err(io::Error::other("the claims take too long")),
        None => Ok(run.rate()),
    }
}

/// Networks of the second pool, one after the other.
struct Numbered {
    next: u64,
    count: u64,
}

impl Script for Numbered {
    fn next(&mut self, _: usize, body: &mut Vec<u8>) -> Option<&'static str> {
        if self.next == self.count {
            return None;
        }
        let (high, low) = (16 + self.next / 256, self.next % 256);
        let text = format!(
            "{{\"AddressSpace\":\"local\",\"Pool\":\"172.{high}.{low}.0/24\",\"SubPool\":\"\",\"Options\":null,\"V6\":false}}"
        );
        body.extend_from_slice(text.as_bytes());
        self.next += 1;
        Some("IpamDriver.RequestPool")
    }

    fn answer(&mut self, _: usize, status: u16, body: &[u8]) -> Result<(), String> {
        if status == 200 { Ok(()) } else { Err(String::from_utf8_lossy(body).into_owned()) }
    }
}

/// Transactions per second through the client that the daemon has: a key that does not exist is put.
fn raw(member: &Member, number: usize) -> io::Result<f64> {
    let settings = EtcdSettings {
        endpoints: vec![EtcdEndpoint { secure: false, address: member.address }],
        prefix: format!("/raw{number}/"),
        via: Vec::new(),
        user: None,
        ca: None,
        identity: None,
        server_name: None,
        timeout: 1_500,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut store = EtcdStore::new(settings);
        // The connection is not measured.
        store.call(&StoreCall::List).await.map_err(io::Error::other)?;
        let began = Instant::now();
        for number in 0..RAW {
            let (key, value) = (format!("{number:08x}"), "v".repeat(VALUE));
            let compares = vec![Compare { key: key.clone(), value: None }];
            let call = StoreCall::Transact { compares, effect: Effect::Put { key, value } };
            let reply = store.call(&call).await.map_err(io::Error::other)?;
            if reply != StoreReply::Done {
                return Err(io::Error::other(format!("a raw transaction was answered {reply:?}")));
            }
        }
        Ok(RAW as f64 / began.elapsed().as_secs_f64().max(1e-9))
    })
}
