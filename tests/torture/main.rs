//! TORTURE: the real daemon under load, killed, cut off from its disk, starved and flooded; afterwards its
//! books are compared with the answers of its clients.
//!
//! `scripts/torture.sh` runs it: `--short` for `make test`, `--long` for `make torture`, a word for the rows
//! whose names contain it. Every row counts what it did; a row that did nothing fails. Needs root, for its
//! own mounts in a separate mount namespace; it leaves nothing behind. docs/reliability.md describes each
//! row.

#![allow(clippy::unwrap_used, reason = "a test that cannot continue must fail")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this program reports by printing a table")]

mod books;
mod clocks;
mod cluster;
mod crew;
mod cuts;
#[path = "../support/daemon.rs"]
mod daemon;
mod disks;
mod engine;
#[path = "../support/http.rs"]
mod http;
#[allow(dead_code, reason = "only a part of it is used here")]
#[path = "../support/invariants.rs"]
mod invariants;
mod journal;
mod kernel;
mod kills;
mod load;
#[allow(dead_code, reason = "only the invariants refer to it")]
#[path = "../support/model/mod.rs"]
mod model;
mod prefixes;
mod readers;
mod renumbers;
mod restores;
#[allow(dead_code, reason = "only the invariants refer to it")]
#[path = "../support/rows.rs"]
mod rows;
#[path = "../support/timeshift.rs"]
mod timeshift;
mod trace;
mod users;
mod volume;
#[path = "../support/wait.rs"]
mod wait;
mod writes;

use clap::Parser;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode};
use std::time::Instant;

/// What a row did, and how often: a count must be zero if its name starts with `!`, and must not be zero
/// otherwise.
pub type Counts = Vec<(&'static str, u64)>;

/// One line of the table.
struct Row {
    name: &'static str,
    run: fn(long: bool) -> Counts,
}

const ROWS: [Row; 31] = [
    Row { name: "durable_and_unique_after_kill_9", run: kills::run },
    Row { name: "durable_when_the_nth_write_kills", run: writes::kill },
    Row { name: "durable_when_the_nth_write_fails", run: writes::fail },
    Row { name: "durable_when_the_nth_write_finds_no_room", run: writes::full },
    Row { name: "durable_after_power_cut", run: cuts::run },
    Row { name: "control_without_sync_loses_after_power_cut", run: cuts::control },
    Row { name: "durable_after_a_restore_killed_at_any_moment", run: restores::killed },
    Row { name: "durable_after_a_restore_over_other_wals", run: restores::logs },
    Row { name: "full_disk_is_refused_and_heals", run: disks::full },
    Row { name: "read_only_disk_is_refused_and_heals", run: disks::read_only },
    Row { name: "failed_sync_answers_nobody", run: disks::failed_sync },
    Row { name: "clock_steps_lose_nothing_and_hang_nobody", run: clocks::run },
    Row { name: "slow_sync_is_shared", run: disks::slow_sync },
    Row { name: "doors_let_in_owner_and_group_only", run: users::run },
    Row { name: "bounded_256_connections_at_work", run: load::busy },
    Row { name: "bounded_slow_clients", run: load::slow },
    Row { name: "bounded_endless_headers", run: load::endless_headers },
    Row { name: "bounded_half_closed", run: load::half_closed },
    Row { name: "bounded_untaken_answers", run: load::untaken },
    Row { name: "bounded_10000_idle_connections", run: load::idle },
    Row { name: "bounded_abandoned_readers", run: readers::run },
    Row { name: "edge_equals_books_after_kill_at_every_step", run: kernel::run_all },
    Row { name: "prefix_change_after_kill_at_every_step", run: prefixes::kill },
    Row { name: "renumber_after_kill_at_every_step", run: renumbers::kill },
    Row { name: "store_answers_as_its_model_or_in_time", run: cluster::contract },
    Row { name: "held_once_while_hosts_are_cut_off", run: cluster::cuts },
    Row { name: "held_once_while_members_fail", run: cluster::members },
    Row { name: "held_once_while_daemons_fail", run: cluster::daemons },
    Row { name: "held_once_while_everything_fails", run: cluster::mixed },
    Row { name: "held_once_after_the_store_is_restored", run: cluster::restore },
    Row { name: "held_once_after_a_host_is_forgotten", run: cluster::forget },
];

/// Set in the process that already has its own mount namespace.
const INSIDE: &str = "TORTURE_INSIDE";

/// Runs the rows whose names contain one of the words. Needs root. scripts/torture.sh builds and runs it, and
/// adds the rows that are other programs.
#[derive(Parser)]
struct Line {
    /// A few of each kind, which is the default
    #[arg(long)]
    short: bool,
    /// Many of each kind
    #[arg(long, conflicts_with = "short")]
    long: bool,
    /// Print the rows' names
    #[arg(long)]
    list: bool,
    #[arg(value_name = "WORD")]
    words: Vec<String>,
}

/// Rows of `scripts/torture.sh` that are other programs; the script passes its arguments on unchanged.
const OTHERS: [&str; 7] = [
    "faithful_in_every_order",
    "one_owner_of_a_slice",
    "every_rule_of_claims_is_needed",
    "plan_behaves_as_the_naive_model",
    "no_death_of_the_living",
    "repair_never_frees_the_living",
    "fuzz",
];

fn main() -> ExitCode {
    let line = Line::parse();
    let names = ROWS.iter().map(|row| row.name).chain(OTHERS);
    if let Some(idle) = line.words.iter().find(|word| !names.clone().any(|name| name.contains(word.as_str())))
    {
        eprintln!("no row's name contains {idle:?}; --list shows the names");
        return ExitCode::from(2);
    }
    let chosen =
        |row: &&Row| line.words.is_empty() || line.words.iter().any(|word| row.name.contains(word.as_str()));
    let rows = ROWS.iter().filter(chosen);
    if line.list {
        rows.for_each(|row| println!("{}", row.name));
        return ExitCode::SUCCESS;
    }
    if std::env::var_os(INSIDE).is_none() {
        return inside(&std::env::args().skip(1).collect::<Vec<_>>());
    }
    let (mut passed, mut failed) = (0, 0);
    for row in rows {
        let began = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| (row.run)(line.long)));
        let seconds = began.elapsed().as_secs_f64();
        let (verdict, text) = judge(outcome.ok());
        if verdict {
            passed += 1
        } else {
            failed += 1
        }
        let word = if verdict { "ok" } else { "FAILED" };
        let line = format!("{word:<6} {:<44} {seconds:>6.1} s  {text}\n", row.name);
        let _ = std::io::stdout().write_all(line.as_bytes());
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether a row passes, and its counts as text for a person.
fn judge(counts: Option<Counts>) -> (bool, String) {
    let Some(counts) = counts else { return (false, "see above".to_owned()) };
    let (mut good, mut text) = (!counts.is_empty(), String::new());
    for (what, count) in counts {
        let wanted = match what.strip_prefix('!') {
            Some(_) => count == 0,
            None => count > 0,
        };
        good &= wanted;
        let _ = write!(
            text,
            "{}{count} {}",
            if text.is_empty() { "" } else { ", " },
            what.trim_start_matches('!')
        );
    }
    (good, text)
}

/// Runs this program again in a private mount namespace.
fn inside(words: &[String]) -> ExitCode {
    if !rustix::process::geteuid().is_root() {
        eprintln!("torture: mounting file systems requires root; use scripts/torture.sh");
        return ExitCode::FAILURE;
    }
    let program = std::env::current_exe().unwrap();
    let error = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(program)
        .args(words)
        .env(INSIDE, "1")
        .exec();
    eprintln!("torture: unshare: {error}");
    ExitCode::FAILURE
}
