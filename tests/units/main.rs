//! The units and docs/install.md on a whole machine whose first process is systemd, made by `scripts/machine.sh`.
//!
//!     cargo test --test units -- [WORD...] [--list]
//!
//! Runs the scenarios whose names contain one of the words, each on a machine of its own, two at a time. What an
//! administrator types is taken from the page itself, block by block. Ends with a line `N passed, N failed`. A machine
//! that cannot be made is a failure where CI=true, and elsewhere loudly skipped.
#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking, and report by printing"
)]

mod boot;
mod install;
mod machine;
mod old;
#[path = "../engines/oldgipam.rs"]
#[allow(dead_code, reason = "shared with the engines' tests")]
mod oldgipam;
mod page;
mod reload;
mod sockets;
mod transport;
#[path = "../engines/wire.rs"]
#[allow(dead_code, reason = "shared with the engines' tests")]
mod wire;

use machine::Machine;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

/// A name, and what happens on a fresh machine.
type Scenario = (&'static str, fn(&mut Machine));

const SCENARIOS: [Scenario; 15] = [
    ("transport_unix_tcp_tls_unix", transport::switch),
    ("boot_shutdown_boot", boot::shutdown),
    ("install_use_upgrade_remove", install::install_use_remove),
    ("install_shut_in_but_able", install::hardened),
    ("install_active_only_when_listening", install::notify),
    ("docker_stopped_gives_addresses_back", boot::docker_stopped),
    ("docker_started_by_hand_starts_gipam", boot::drop_in),
    ("socket_starts_gipam", sockets::activation),
    ("socket_restarts_lose_nothing", sockets::restarts),
    ("killed_and_back", sockets::killed),
    ("bad_configuration_is_not_tried_for_ever", reload::exit_code_2),
    ("reload_applies_a_changed_pool", reload::changed_pool),
    ("hooks_run_within_the_service", reload::hook),
    ("old_binary_replaced", old::replaced),
    ("old_installation_gets_these_units", old::units),
];

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&String> = arguments.iter().filter(|word| !word.starts_with("--")).collect();
    let mut chosen = SCENARIOS.to_vec();
    chosen.retain(|(name, _)| words.is_empty() || words.iter().any(|word| name.contains(word.as_str())));
    if arguments.iter().any(|word| word == "--list") {
        chosen.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let place = info.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
        LAST_PANIC.set(format!("{place}: {}", text.unwrap_or_default()));
    }));
    if let Err(reason) = machine::prepare() {
        return not_to_be_had(&reason, chosen.len());
    }
    chosen.reverse();
    let (left, results) = (Mutex::new(chosen), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (left, results) = (&left, &results);
            scope.spawn(move || {
                loop {
                    let next = left.lock().unwrap().pop();
                    let Some(scenario) = next else { return };
                    let failure = run(scenario, worker);
                    results.lock().unwrap().push((scenario.0, failure));
                }
            });
        }
    });
    let results = results.into_inner().unwrap();
    let failures: Vec<_> = results.iter().filter_map(|(name, why)| Some((name, why.as_ref()?))).collect();
    for (name, why) in &failures {
        println!("\n=== FAILED on systemd: {name}\n{why}");
    }
    println!("{} passed, {} failed", results.len() - failures.len(), failures.len());
    if failures.is_empty() && !results.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn not_to_be_had(reason: &str, scenarios: usize) -> ExitCode {
    println!("\n*** NOT TESTED on systemd: {reason}\n");
    if std::env::var("CI").is_ok_and(|value| value == "true") {
        println!("0 passed, {scenarios} failed");
        return ExitCode::FAILURE;
    }
    println!("0 passed, 0 failed, {scenarios} skipped");
    ExitCode::SUCCESS
}

/// One scenario on its machine; why it failed, if it did.
fn run((name, scenario): Scenario, worker: usize) -> Option<String> {
    let start = Instant::now();
    let mut machine = None;
    let done = catch_unwind(AssertUnwindSafe(|| scenario(machine.insert(Machine::start(worker)))));
    let failure = done.err().map(|_| {
        let logs = machine.as_ref().map(Machine::logs).unwrap_or_default();
        format!("{}\n{logs}", LAST_PANIC.take())
    });
    let word = if failure.is_none() { "ok    " } else { "FAILED" };
    println!("[systemd] {word} {name} ({:.1} s)", start.elapsed().as_secs_f32());
    if let Some(why) = &failure {
        println!("        {}", why.lines().next().unwrap_or_default());
    }
    failure
}
