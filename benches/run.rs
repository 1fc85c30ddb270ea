//! THE WHOLE RUN: rounds over the wire, growth, the pure plan while an idle daemon runs, and the page.
//!
//! Promises: the books are on a disk-backed file system; every process that was started is stopped; the page
//! is written only after everything was measured.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::daemon::House;
use crate::findings::Findings;
use crate::machine::{Machine, file_system};
use crate::rounds::{self, Peer};
use crate::script::{Phase, Play};
use crate::wire::{Crew, Limit};
use crate::{claims, cluster, growth, load, page, pure};

/// An idle thread ends after ten seconds.
const SETTLING: Duration = Duration::from_secs(12);
/// How long the idle daemon is watched.
const IDLE: Duration = Duration::from_secs(60);

const POOLS: &str = "[[pool]]\nname = \"default\"\nv4 = { base = \"10.0.0.0/8\", size = 24 }\n";

/// The options of the command line.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Another plugin to measure in the same rounds: NAME=SOCKET
    #[arg(long)]
    peer: Vec<Peer>,
    /// Rounds; every figure is the median of all rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Duration of a phase in milliseconds
    #[arg(long, default_value_t = 400)]
    time: u64,
    /// The gipam program; by default the one next to this program
    #[arg(long)]
    program: Option<PathBuf>,
    /// Directory for the books of the run; by default next to the gipam program
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Directory in which the page is written
    #[arg(long, default_value = "docs")]
    docs: PathBuf,
}

impl Options {
    /// Measures everything and writes the page.
    pub fn run(&self) -> io::Result<bool> {
        let began = Instant::now();
        let program = self.program()?;
        let directory = self.directory(&program)?;
        let time = Duration::from_millis(self.time);
        let rounds = rounds::run(&directory, &program, &self.peer, self.rounds, time)?;
        let growth = growth::run(&directory, &program, self.rounds)?;
        let (pure, idle_resident, idle_wakeups) = idle_and_pure(&directory, &program)?;
        eprintln!("bench: a plan of a thousand hosts");
        let cluster = cluster::run();
        let found = Findings {
            machine: Machine::look(&directory)?,
            count: self.rounds,
            rounds,
            growth,
            pure,
            cluster,
            idle_resident,
            idle_wakeups,
            binary: fs::metadata(&program)?.len(),
            took: began.elapsed().as_secs_f64(),
        };
        page::write(&self.docs, &found)?;
        println!("{}", page::terminal(&found));
        println!("measured in {:.0} s; wrote {}", found.took, self.docs.join("benchmarks.md").display());
        Ok(true)
    }

    /// Measures only what concerns a plan of several hosts, and prints it.
    pub fn claims(&self) -> io::Result<bool> {
        let program = self.program()?;
        let directory = self.directory(&program)?;
        let claims = claims::run(&directory, &program, self.rounds)?;
        let ratio = rounds::plan_ratio(&directory, &program, self.rounds, Duration::from_millis(self.time))?;
        println!("{claims:#?}\nclaims against raw transactions: {:.2}", claims.ratio());
        println!("RequestAddress, 64 connections, with [plan] against without: {ratio:.2}");
        Ok(claims.most_own_calls() == 0.0)
    }

    fn program(&self) -> io::Result<PathBuf> {
        if let Some(program) = &self.program {
            return program.canonicalize();
        }
        let own = std::env::current_exe()?;
        let program = own.parent().and_then(Path::parent).map(|release| release.join("gipam"));
        program.filter(|path| path.is_file()).ok_or_else(|| {
            io::Error::other("gipam is not next to this program: scripts/bench.sh builds both")
        })
    }

    fn directory(&self, program: &Path) -> io::Result<PathBuf> {
        let default = || program.parent().map_or_else(|| PathBuf::from("."), |it| it.join("bench"));
        let directory = self.directory.clone().unwrap_or_else(default);
        fs::create_dir_all(&directory)?;
        let kind = file_system(&directory)?;
        if ["tmpfs", "ramfs"].contains(&kind.as_str()) {
            let text = format!("{} is on {kind}, where a sync costs nothing", directory.display());
            return Err(io::Error::other(format!("{text}; give --directory on a disk")));
        }
        directory.canonicalize()
    }
}

/// Measures the plan in memory while an idle daemon runs.
fn idle_and_pure(directory: &Path, program: &Path) -> io::Result<(pure::Pure, f64, f64)> {
    let house = House::new(directory, "idle", program, POOLS)?;
    let (server, _) = house.start()?;
    // One network with a few containers; then its Engine keeps one silent connection.
    let mut crew = Crew::connect(&server.door, 1)?;
    let mut play = Play::new(1, vec![false]);
    for (what, requests) in [(Phase::Pools, u64::MAX), (Phase::Addresses, 10)] {
        load::phase(&mut crew, &mut play, what, Limit { requests, time: IDLE }, None)?;
    }
    let process = server.process();
    // Long enough for the work that follows the last answers: a checkpoint, a count, and the end of the
    // counting thread.
    std::thread::sleep(SETTLING);
    let (before, began) = (process.switches()?, Instant::now());
    eprintln!("bench: the pure plan, while an idle daemon runs");
    let pure = pure::run();
    std::thread::sleep(IDLE.saturating_sub(began.elapsed()));
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    // Fewer than before: a thread has ended, so its wake-ups are unknown.
    let wakeups = process.switches()?.checked_sub(before).map_or(f64::NAN, |it| it as f64 / minutes);
    let resident = process.resident().map_or(f64::NAN, |it| it as f64);
    server.stop()?;
    Ok((pure, resident, wakeups))
}
