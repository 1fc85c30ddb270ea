//! Generates the files that go with the program into a package: manual pages, completions, the bill of
//! materials (SBOM) and the licences.
//!
//!     cargo run --example papers -- DIRECTORY [TARGET]
//!
//! TARGET is the target triple of the program; by default this machine's. The crates that only this
//! example needs are not in the program. The same sources give the same bytes.
#![allow(clippy::print_stderr, reason = "a program for people who make packages")]

mod bill;
mod pages;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("usage: papers DIRECTORY [TARGET]");
        return ExitCode::from(2);
    };
    let target = std::env::args().nth(2).unwrap_or_else(bill::here);
    match write(Path::new(&directory), &target) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("papers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(directory: &Path, target: &str) -> Result<(), Box<dyn Error>> {
    pages::write(&gipam::cli::definition(), directory)?;
    bill::write(directory, target)
}
