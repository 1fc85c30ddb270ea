//! Changes the time of day of a real process from outside: a library loaded before the C library shifts
//! `CLOCK_REALTIME` by the number in a file. The program itself is unchanged, and its steady clock is the
//! kernel's.
//!
//! Promises: affects only processes of the given house. Needs a C compiler, as building gipam does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::daemon::House;

/// Some durations in milliseconds.
pub const SECOND: i64 = 1_000;
pub const HOUR: i64 = 3_600 * SECOND;
pub const YEAR: i64 = 365 * 24 * HOUR;

/// Controls a house's clock.
#[derive(Clone, Debug)]
pub struct TimeShift {
    file: PathBuf,
}

impl TimeShift {
    /// Gives this clock to every process that the house starts from now on; at first it shows the correct
    /// time.
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

    /// Shifts the time of day by this many milliseconds from now on.
    pub fn set(&self, millis: i64) {
        let aside = self.file.with_extension("new");
        fs::write(&aside, millis.to_string()).unwrap();
        fs::rename(&aside, &self.file).unwrap();
    }
}

/// Compiles a library that is to be loaded before the C library.
pub fn compile(source: &str, library: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support").join(source);
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(library).arg(source);
    let output = compiler.output().unwrap_or_else(|error| panic!("cc: {error}"));
    assert!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
}
