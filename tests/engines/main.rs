//! End-to-end tests: every scenario on every real Docker Engine that `scripts/engine.sh` can start.
//!
//!     cargo test --test engines -- [WORD...] [--engine 20|26|28|SUITE] [--list]
//!
//! Runs the scenarios whose names contain one of the words. Engines run side by side, the scenarios of one engine one
//! after another, each with fresh books. Ends with a table and a line `N passed, N failed`. Scenario names carry the
//! facts (P1-P33) and duties (D1-D17) of docs/docker-facts.md that they hold. An Engine that cannot be
//! started is a failure where CI=true, and elsewhere loudly skipped.
#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking, and report by printing"
)]

mod adoption;
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
mod faults;
mod gipam;
mod guide;
mod hidden;
mod leaks;
mod mixed;
mod networks;
mod oldgipam;
mod proxy;
mod repair;
mod report;
mod restarts;
mod scenario;
#[path = "../support/stage.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod stage;
mod takeover;
mod wire;
mod world;

use engine::{Engine, SUITES};
use report::{Outcome, Report};
use scenario::Scenario;
use stage::arguments::{self, Usage};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;
use world::World;

const USAGE: Usage = Usage {
    text: "\
cargo test --test engines -- [WORD...] [--engine 20|26|28|SUITE]... [--list]

Runs the scenarios whose names contain one of the words, on every Docker Engine or on those that --engine names.
--list prints their names and what they hold. Needs root and Debian's apt.",
    bare: &["--list"],
    with_value: &[(
        "--engine",
        &["20", "26", "28", "20.10", "26.1", "28.5", "bookworm", "trixie", "forky"],
    )],
};

fn main() -> ExitCode {
    let mut chosen = scenario::all();
    let names: Vec<&str> = chosen.iter().map(|one| one.name).collect();
    let asked = match arguments::asked(&USAGE, &names) {
        Ok(asked) => asked,
        Err(code) => return code,
    };
    let engines = &asked.values;
    chosen.retain(|one| asked.chooses(one.name));
    if asked.has("--list") {
        chosen.iter().for_each(|one| println!("{}  [{}]", one.name, one.holds));
        return ExitCode::SUCCESS;
    }
    let wanted = |&(suite, version): &(&'static str, &str)| {
        engines.is_empty() || engines.iter().any(|word| suite == word || version.starts_with(word.as_str()))
    };
    let suites: Vec<_> = SUITES.into_iter().filter(wanted).collect();
    engine::sweep();
    stage::hear_panics();
    let report = Report::new(&chosen, &suites);
    std::thread::scope(|scope| {
        for (column, &(suite, _)) in suites.iter().enumerate() {
            let (report, chosen) = (&report, &chosen);
            scope.spawn(move || run_engine(suite, column, chosen, report));
        }
    });
    report.finish()
}

/// All scenarios on one engine.
fn run_engine(suite: &'static str, column: usize, chosen: &[Scenario], report: &Report) {
    let start = Instant::now();
    let engine = match Engine::start(suite) {
        Ok(engine) => engine,
        Err(reason) => return report.no_engine(column, &reason),
    };
    report.engine(column, &engine, start.elapsed());
    for (row, scenario) in chosen.iter().enumerate() {
        if let Some(reason) = (scenario.lacks)(&engine) {
            report.outcome(row, column, Outcome::NotApplicable(reason), start.elapsed());
            continue;
        }
        let start = Instant::now();
        let outcome = run_scenario(&engine, scenario);
        report.outcome(row, column, outcome, start.elapsed());
    }
}

/// One scenario, its end, and the way back to a clean engine.
fn run_scenario(engine: &Engine, scenario: &Scenario) -> Outcome {
    let mut world = None;
    let done = catch_unwind(AssertUnwindSafe(|| {
        let world = world.insert(World::new(engine));
        (scenario.run)(world);
        world.finish();
    }));
    let outcome = match done {
        Ok(()) => Outcome::Passed,
        Err(_) => Outcome::Failed(format!("{}\n{}", stage::last_panic(), logs(engine))),
    };
    let reset = catch_unwind(AssertUnwindSafe(|| world.as_mut().map(World::reset)));
    match (outcome, reset) {
        (Outcome::Passed, Err(_)) => Outcome::Failed(format!("clearing up: {}", stage::last_panic())),
        (outcome, _) => outcome,
    }
}

fn logs(engine: &Engine) -> String {
    let errors = engine
        .inside(&["sh", "-c", "grep -E 'level=(warn|error)' /var/log/dockerd.log | tail -n 5 | cut -c 1-400"])
        .out;
    format!("--- gipam's log\n{}\n--- dockerd's last warnings\n{errors}", gipam::log_tail(engine))
}
