//! THE WHOLE RUN: rounds over the wire, growth, the pure plan next to an idle daemon, and the page.
//!
//! Promises: the books lie on a file system with a disk under it; what was started is ended; the page is written only
//! when everything was measured.

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
use crate::{growth, load, page, pure};

/// A thread that has nothing to do ends after ten seconds.
const SETTLING: Duration = Duration::from_secs(12);
/// How long the idle daemon is watched.
const IDLE: Duration = Duration::from_secs(60);

const POOLS: &str = "[[pool]]\nname = \"default\"\nv4 = { base = \"10.0.0.0/8\", size = 24 }\n";

/// What the command line says.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Another plugin to be measured in the same rounds: NAME=SOCKET
    #[arg(long)]
    peer: Vec<Peer>,
    /// Rounds; every figure is the median of all rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Milliseconds of a phase
    #[arg(long, default_value_t = 400)]
    time: u64,
    /// The program; by default the one next to this one
    #[arg(long)]
    program: Option<PathBuf>,
    /// Where books lie while they are measured; by default next to the program
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Where the page is written
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
        let found = Findings {
            machine: Machine::look(&directory)?,
            count: self.rounds,
            rounds,
            growth,
            pure,
            idle_resident,
            idle_wakeups,
            binary: fs::metadata(&program)?.len(),
            took: began.elapsed().as_secs_f64(),
        };
        page::write(&self.docs, &found)?;
        println!("{}", page::terminal(&found));
        println!("measured in {:.0} s; {} is written", found.took, self.docs.join("benchmarks.md").display());
        Ok(true)
    }

    fn program(&self) -> io::Result<PathBuf> {
        if let Some(program) = &self.program {
            return program.canonicalize();
        }
        let own = std::env::current_exe()?;
        let program = own.parent().and_then(Path::parent).map(|release| release.join("gipam"));
        program
            .filter(|path| path.is_file())
            .ok_or_else(|| io::Error::other("no program next to this one: scripts/bench.sh builds both"))
    }

    fn directory(&self, program: &Path) -> io::Result<PathBuf> {
        let beside = || program.parent().map_or_else(|| PathBuf::from("."), |it| it.join("bench"));
        let directory = self.directory.clone().unwrap_or_else(beside);
        fs::create_dir_all(&directory)?;
        let kind = file_system(&directory)?;
        if ["tmpfs", "ramfs"].contains(&kind.as_str()) {
            let text = format!("{} is on {kind}, where a sync costs nothing", directory.display());
            return Err(io::Error::other(format!("{text}; give --directory on a disk")));
        }
        directory.canonicalize()
    }
}

/// The plan in memory, while an idle daemon runs.
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
    // What the last answers left to do is done within this: a checkpoint, a count, the end of the thread that counted.
    std::thread::sleep(SETTLING);
    let (before, began) = (process.switches()?, Instant::now());
    eprintln!("bench: the pure plan, next to an idle daemon");
    let pure = pure::run();
    std::thread::sleep(IDLE.saturating_sub(began.elapsed()));
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    // Fewer than before: a thread has ended, and what it did is not known.
    let wakeups = process.switches()?.checked_sub(before).map_or(f64::NAN, |it| it as f64 / minutes);
    let resident = process.resident().map_or(f64::NAN, |it| it as f64);
    server.stop()?;
    Ok((pure, resident, wakeups))
}
