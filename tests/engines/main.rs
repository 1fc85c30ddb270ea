//! End-to-end tests: every scenario on every real Docker Engine that `scripts/engine.sh` can start.
//!
//!     cargo test --test engines -- [WORD...] [--engine 20|26|28|SUITE]... [--list]
//!
//! Runs the scenarios whose names contain one of the words, each with fresh books. Several Engines of each
//! suite run side by side, so that scenarios that mostly wait do not delay others. The brackets contain the
//! Engine and the facts (P1-P33) and duties (D1-D17) of docs/docker-facts.md that a scenario checks. Ends
//! with a line `N passed, N failed`. If an Engine cannot be started, the run fails if CI=true; otherwise that
//! Engine's scenarios are skipped with a visible message.
#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking, and report by printing"
)]

mod adoption;
mod at_edge;
mod books;
mod boots;
#[path = "../support/certificates.rs"]
mod certificates;
mod choosing;
mod compose;
#[path = "../support/console.rs"]
mod console;
mod containers;
mod covering;
mod doors;
mod down;
mod engine;
mod etcd;
mod faults;
mod fleet;
mod forgotten;
mod gipam;
mod guide;
mod hidden;
mod ipv6;
mod lan;
mod leaks;
mod many_hosts;
mod mixed;
mod networks;
mod oldgipam;
mod plan_file;
mod proxy;
#[path = "../support/pty.rs"]
mod pty;
mod renumber;
mod renumber_kinds;
mod repair;
mod restarts;
mod scenario;
#[path = "../support/stage.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod stage;
mod strangers;
mod swarm;
mod takeover;
mod three_hosts;
#[path = "../support/wait.rs"]
mod wait;
mod wire;
mod world;

use clap::Parser;
use engine::{Engine, SUITES};
use fleet::{Desks, Fleet, SIDE_BY_SIDE};
use scenario::Scenario;
use stage::{End, Words};
use std::process::ExitCode;
use std::sync::Arc;
use world::World;

/// The words, and the selected Engines.
#[derive(Parser)]
struct Line {
    #[command(flatten)]
    words: Words,
    /// Only on this Docker Engine, by its version or Debian suite
    #[arg(long, value_name = "ENGINE", value_parser = ["20", "26", "28", "20.10", "26.1", "28.5", "bookworm", "trixie", "forky"])]
    engine: Vec<String>,
}

fn main() -> ExitCode {
    let line = Line::parse();
    let wanted = |&(suite, version): &(&'static str, &'static str)| {
        line.engine.is_empty() || line.engine.iter().any(|word| suite == word || version.starts_with(word))
    };
    let fleets: Vec<_> = SUITES
        .into_iter()
        .filter(wanted)
        .map(|(suite, version)| Arc::new(Fleet::new(suite, version)))
        .collect();
    let desks = Arc::new(Desks::of_this_machine());
    let mut scenarios = Vec::new();
    for one in scenario::in_order() {
        for fleet in &fleets {
            let (fleet, desks) = (Arc::clone(fleet), Arc::clone(&desks));
            let kind = format!("{} {}", fleet.version, one.holds);
            scenarios.push(stage::scenario(one.name, &kind, move || on_an_engine(&fleet, &desks, &one)));
        }
    }
    if !line.words.mimic.list {
        engine::sweep();
    }
    stage::play("engines", &line.words, SIDE_BY_SIDE * fleets.len(), scenarios)
}

/// A scenario on an Engine of a suite.
fn on_an_engine(fleet: &Fleet, desks: &Desks, scenario: &Scenario) -> End {
    let engine = match fleet.lend() {
        Ok(engine) => engine,
        Err(reason) => return stage::unavailable(&format!("on Engine {}", fleet.version), &reason),
    };
    let desk = (!scenario.waits).then(|| desks.take());
    let end = match (scenario.lacks)(&engine) {
        Some(reason) => End::Skipped(reason.to_owned()),
        None => run(&engine, scenario),
    };
    drop(desk);
    fleet.take_back(engine);
    end
}

/// Runs one scenario with its final checks, then cleans the Engine.
fn run(engine: &Engine, scenario: &Scenario) -> End {
    let mut world = None;
    let failure = stage::played(|| {
        let world = world.insert(World::new(engine));
        (scenario.run)(world);
        world.finish();
    });
    let logs = if failure.is_some() { engine.logs() } else { String::new() };
    let uncleared = stage::played(|| {
        if let Some(world) = &mut world {
            world.reset();
        }
    });
    match failure.or_else(|| Some(format!("cleaning up: {}", uncleared?))) {
        Some(why) => End::Failed(why, if logs.is_empty() { engine.logs() } else { logs }),
        None => End::Passed,
    }
}
