//! THE LOAD CLIENT: runs phases against any IPAM plugin, and reports the result of each.
//!
//! Promises: counts every address and subnet that is given twice; server CPU and memory are those of the
//! process behind the socket.

use std::io;
use std::time::Duration;

use crate::script::{Phase, Play};
use crate::watch::Process;
use crate::wire::{Crew, Door, Limit, Run};

/// The result of a phase.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The phase.
    pub phase: Phase,
    /// The requests of the phase.
    pub run: Run,
    /// CPU time of the server, if its process is known.
    pub server: Option<Duration>,
    /// CPU time of this client.
    pub client: Duration,
    /// How many addresses and subnets were given twice.
    pub twice: u64,
}

impl Outcome {
    /// Server CPU time per request, in microseconds.
    pub fn cpu(&self) -> Option<f64> {
        self.server.map(|time| micros(time) / self.run.requests().max(1) as f64)
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// A percentile in microseconds, from sorted nanoseconds.
pub fn percentile(sorted: &[u32], percent: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let at = (last as f64 * percent / 100.0).round() as usize;
    sorted.get(at).map_or(0.0, |nanos| f64::from(*nanos) / 1000.0)
}

/// Runs one phase on these connections.
pub fn phase(
    crew: &mut Crew,
    play: &mut Play,
    phase: Phase,
    limit: Limit,
    server: Option<Process>,
) -> io::Result<Outcome> {
    play.begin(phase, crew.count());
    let own = Process(std::process::id());
    let twice = play.twice;
    let (server_before, client_before) = (server.map(Process::cpu).transpose()?, own.cpu()?);
    let run = crew.run(play, limit)?;
    let (server_after, client_after) = (server.map(Process::cpu).transpose()?, own.cpu()?);
    let server = server_after.zip(server_before).map(|(after, before)| after.saturating_sub(before));
    let client = client_after.saturating_sub(client_before);
    Ok(Outcome { phase, run, server, client, twice: play.twice - twice })
}

/// The options of the command line.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The plugin's UNIX socket
    #[arg(long, required_unless_present = "tcp")]
    socket: Option<std::path::PathBuf>,
    /// The plugin's TCP address, as in 127.0.0.1:9090
    #[arg(long, conflicts_with = "socket")]
    tcp: Option<std::net::SocketAddr>,
    /// Connections
    #[arg(long, short, default_value_t = 64)]
    connections: usize,
    /// The most requests in a phase; releases always cover everything held
    #[arg(long, short = 'n', default_value_t = 100_000)]
    requests: u64,
    /// The most seconds of a phase, except for pools and releases
    #[arg(long, short, default_value_t = 5.0)]
    seconds: f64,
    /// Subnets to request
    #[arg(long, default_value_t = 4)]
    pools: u64,
    /// Families of the subnets, in turn
    #[arg(long, value_delimiter = ',', default_value = "4")]
    families: Vec<u8>,
    /// Send the names of endpoints, as Engine 29 does
    #[arg(long)]
    names: bool,
    /// The phases to run, in this order
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "activate,spaces,pools,addresses,churn,releases,release-pools"
    )]
    phases: Vec<Phase>,
    /// The process id of the server, if the socket does not reveal it
    #[arg(long)]
    pid: Option<u32>,
}

impl Options {
    /// Runs the phases and prints a line for each of their calls; returns whether every request succeeded and
    /// every address and subnet was given once.
    pub fn run(&self) -> io::Result<bool> {
        let tcp = self.tcp.map(Door::Tcp);
        let Some(door) = tcp.or_else(|| self.socket.clone().map(Door::Unix)) else {
            return Err(io::Error::other("give --socket or --tcp"));
        };
        let server = self.pid.map(Process).or_else(|| Process::behind(&door));
        let mut crew = Crew::connect(&door, self.connections.max(1))?;
        let families = self.families.iter().map(|family| *family == 6).collect();
        let mut play = Play::new(self.pools, families);
        play.names = self.names;
        let mut good = true;
        println!(
            "{:<14} {:<36} {:>8} {:>6} {:>9} {:>8} {:>8} {:>9} {:>8} {:>8}",
            "phase",
            "call",
            "requests",
            "failed",
            "req/s",
            "p50 us",
            "p99 us",
            "max us",
            "srv cpu",
            "own cpu"
        );
        for &name in &self.phases {
            let whole = matches!(name, Phase::Pools | Phase::Releases | Phase::ReleasePools);
            let limit = if whole {
                Limit { requests: u64::MAX, time: Duration::from_secs(3600) }
            } else {
                Limit { requests: self.requests, time: Duration::from_secs_f64(self.seconds) }
            };
            let limit = if name == Phase::Spaces { Limit { requests: 1, ..limit } } else { limit };
            let outcome = phase(&mut crew, &mut play, name, limit, server)?;
            print(&outcome);
            good &= outcome.run.failed == 0 && outcome.twice == 0;
        }
        if let Some((resident, peak)) = server.and_then(|it| Some((it.resident()?, it.peak()?))) {
            println!("memory: {resident} KiB resident, {peak} KiB at the peak");
        }
        Ok(good)
    }
}

fn print(outcome: &Outcome) {
    let run = &outcome.run;
    let requests = run.requests().max(1) as f64;
    for call in &run.calls {
        let mut nanos = call.nanos.clone();
        nanos.sort_unstable();
        let last = nanos.last().map_or(0.0, |nanos| f64::from(*nanos) / 1000.0);
        println!(
            "{:<14} {:<36} {:>8} {:>6} {:>9.0} {:>8.1} {:>8.1} {:>9.1} {:>8.2} {:>8.2}",
            format!("{:?}", outcome.phase).to_lowercase(),
            call.path,
            nanos.len(),
            run.failed,
            nanos.len() as f64 / run.wall.as_secs_f64().max(1e-9),
            percentile(&nanos, 50.0),
            percentile(&nanos, 99.0),
            last,
            outcome.cpu().unwrap_or(f64::NAN),
            micros(outcome.client) / requests,
        );
    }
    if let Some(text) = &run.failure {
        println!("{:<14} {} failed; the first: {}", "", run.failed, text.trim_end());
    }
    if outcome.twice > 0 {
        println!("{:<14} GIVEN TWICE, or outside the subnet: {}", "", outcome.twice);
    }
}
