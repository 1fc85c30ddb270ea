//! BENCH: measures what gipam costs, and measures any other IPAM plugin in the same way.
//!
//! `make bench` runs it. Its parts also run separately: `bench load` is the load client, and `bench fixed` is
//! the bare loop with which gipam is compared. It is a Cargo example, so that it is built with the same
//! profile as gipam and never shipped. Every process that it starts ends with it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this program reports by printing a table")]

mod claims;
mod cluster;
mod crowd;
mod daemon;
mod desk;
#[allow(dead_code, reason = "shared with the guard")]
mod filled;
mod findings;
mod fixed;
mod growth;
mod load;
mod looks;
mod machine;
mod member;
mod page;
mod picture;
mod pure;
mod rounds;
mod run;
mod script;
mod stats;
mod sync;
mod watch;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measures what gipam costs
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures everything and writes docs/benchmarks.md
    Run(run::Options),
    /// Puts load on an IPAM plugin: requests per second, latencies, server CPU; checks that no address or
    /// subnet is given twice
    Load(load::Options),
    /// Simulates a plan of a thousand hosts
    Cluster,
    /// Measures claims in a real etcd, and RequestAddress with and without a plan
    Claims(run::Options),
    /// A server that answers everything with the same bytes
    Fixed {
        /// The server's UNIX socket
        #[arg(long)]
        socket: PathBuf,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run(options) => options.run(),
        Command::Load(options) => options.run(),
        Command::Cluster => {
            println!("{:#?}", cluster::run());
            Ok(true)
        }
        Command::Claims(options) => options.claims(),
        Command::Fixed { socket } => fixed::serve(&socket).map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
