//! GUARD: how many instructions a call costs, and whether the cost grows with the number of leases or subnets
//! held.
//!
//! `make bench-check` runs it. This second program of the package uses the same crates and profile, so that
//! it shares compiled libraries with gipam. It is never shipped and does not measure time.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this program reports by printing a table")]

mod check;
mod corners;
mod desk;
#[allow(dead_code, reason = "shared with the benchmark")]
mod filled;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use desk::Desk;
use gipam::plan::prefix::Family;

/// Counts the instructions of each call with few and with many leases or subnets held
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Counts instructions and fails if a call costs too much, or if its cost grows too fast with the leases
    /// or subnets held
    Check,
    /// Makes calls of one kind while STANDING leases or subnets are held; `check` runs it under valgrind
    #[command(hide = true)]
    Count { what: String, standing: u64, calls: u64 },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Check => check::run(),
        Command::Count { what, standing, calls } => count(&what, standing, calls).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("guard: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes `calls` calls of one kind with `standing` leases or subnets held. The plan is not dropped: the cost
/// of dropping it varies by millions of instructions with its place in the heap, and is not part of a call.
fn count(what: &str, standing: u64, calls: u64) -> io::Result<()> {
    if what != "books" {
        return in_memory(what, standing, calls);
    }
    let directory = std::env::temp_dir().join(format!("gipam-guard-{}", std::process::id()));
    std::fs::create_dir(&directory)?;
    let settings = desk::settings(["10.0.0.0/8", "2001:db8::/32"], [12, 64]);
    let done = filled::count(&directory.join("gipam.db"), &settings, standing as usize, calls);
    std::fs::remove_dir_all(&directory)?;
    done
}

fn in_memory(what: &str, standing: u64, calls: u64) -> io::Result<()> {
    if let Some(outcome) = corners::count(what, standing, calls) {
        return outcome;
    }
    let bits = (u64::BITS - standing.leading_zeros()) as u8 + 1;
    let mut desk = match what {
        "address-v4" | "churn-v4" => Desk::with_leases(Family::V4, bits, standing, true),
        "address-v6" => Desk::with_leases(Family::V6, bits, standing, true),
        "pool-v4" => Desk::with_subnets(Family::V4, standing as usize),
        "pool-v6" => Desk::with_subnets(Family::V6, standing as usize),
        _ => return Err(io::Error::other(format!("unknown kind of call {what}"))),
    };
    let took = match what {
        "churn-v4" => desk.time_churn(calls),
        "pool-v4" | "pool-v6" => desk.time_subnets(calls),
        _ => desk.time_addresses(calls),
    };
    std::mem::forget(desk);
    if took == Duration::MAX { Err(io::Error::other(format!("{what}: refused"))) } else { Ok(()) }
}
