//! The `gipam` program: passes the command line and the process's surroundings to the library, and returns
//! the exit code.

use std::process::ExitCode;

use gipam::cli;
use gipam::config::Surroundings;

fn main() -> ExitCode {
    ExitCode::from(cli::run(std::env::args_os(), &Surroundings::of_process()))
}
