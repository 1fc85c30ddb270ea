//! The time of day of a real process, stepped from outside: a library that is loaded before the C library shifts
//! `CLOCK_REALTIME` by the number in a file. The program has no hook for it, and its steady clock is the kernel's own.
//!
//! Promises: only processes of the house that is given see it. Needs a C compiler, as building gipam does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::daemon::House;

/// Milliseconds of some spans.
pub const SECOND: i64 = 1_000;
pub const HOUR: i64 = 3_600 * SECOND;
pub const YEAR: i64 = 365 * 24 * HOUR;

/// The hands of a house's clock.
#[derive(Clone, Debug)]
pub struct TimeShift {
    file: PathBuf,
}

impl TimeShift {
    /// Every process that the house starts from now on has this clock; it begins right.
    pub fn of(house: &mut House) -> TimeShift {
        let library = house.path("timeshift.so");
        compile("timeshift.c", &library);
        let shift = TimeShift { file: house.path("shift") };
        shift.set(0);
        for (name, value) in [("LD_PRELOAD", &library), ("CLOCK_SHIFT", &shift.file)] {
            house.variables.push((name.to_owned(), value.display().to_string()));
        }
        shift
    }

    /// The time of day is off by this many milliseconds from now on.
    pub fn set(&self, millis: i64) {
        let aside = self.file.with_extension("new");
        fs::write(&aside, millis.to_string()).unwrap();
        fs::rename(&aside, &self.file).unwrap();
    }
}

/// Makes a library to be loaded before the C library.
pub fn compile(source: &str, library: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support").join(source);
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(library).arg(source);
    let output = compiler.output().unwrap_or_else(|error| panic!("cc: {error}"));
    assert!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
}
