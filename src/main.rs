//! The `gipam` program: passes on the command line and its surroundings, and returns the exit code.

use std::process::ExitCode;

use gipam::cli;
use gipam::config::Surroundings;

fn main() -> ExitCode {
    ExitCode::from(cli::run(std::env::args_os(), &Surroundings::of_process()))
}
