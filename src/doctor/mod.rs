//! `gipam doctor`: checks whether gipam can work on this host, and says what to do.
//!
//! Promises: only reads, and does not need a daemon; every warning and error says what to do; a check that cannot
//! be made reports that, and never a guess. Runs with the rights of the person who calls it.

mod daemon_json;
mod docker;
mod edge;
mod edge_signs;
mod gipam;
mod machine;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::edge::{EdgeCase, EdgeFinding, EdgeProbe, edge_cases};

use crate::config::{Config, Options, Surroundings};
use crate::plan::prefix::{Family, Prefix};
use crate::plan::settings::PoolSettings;

/// Directories in which a unit and its drop-ins may be; the first one with the unit is used.
const UNITS: [&str; 3] = ["/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system"];

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing to do.
    Well,
    /// It works, but something should be corrected.
    Warning,
    /// It does not work, or soon will not.
    Wrong,
    /// It cannot be determined from here.
    Unknown,
}

/// One finding of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorFinding {
    /// What was checked.
    pub check: String,
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do, if anything.
    pub advice: Option<String>,
}

/// The findings collected so far.
#[derive(Debug, Default)]
struct DoctorReport(Vec<DoctorFinding>);

impl DoctorReport {
    fn well(&mut self, check: &str, found: impl Into<String>) {
        self.add(check, Verdict::Well, found.into(), None);
    }

    fn warning(&mut self, check: &str, found: impl Into<String>, advice: impl Into<String>) {
        self.add(check, Verdict::Warning, found.into(), Some(advice.into()));
    }

    fn wrong(&mut self, check: &str, found: impl Into<String>, advice: impl Into<String>) {
        self.add(check, Verdict::Wrong, found.into(), Some(advice.into()));
    }

    fn unknown(&mut self, check: &str, found: impl Into<String>) {
        self.add(check, Verdict::Unknown, found.into(), None);
    }

    fn add(&mut self, check: &str, verdict: Verdict, found: String, advice: Option<String>) {
        self.0.push(DoctorFinding { check: check.to_owned(), verdict, found, advice });
    }
}

/// The file system that is examined.
#[derive(Clone, Debug)]
pub struct BooksPlace {
    /// `/`, or another directory in a test.
    pub root: PathBuf,
}

impl BooksPlace {
    /// The path of this file below the root.
    fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// The text of a small file, trimmed.
    fn text(&self, absolute: &str) -> Option<String> {
        std::fs::read_to_string(self.path(absolute)).ok().map(|text| text.trim().to_owned())
    }
}

/// The base of each family of each pool.
fn bases(pools: &[PoolSettings]) -> impl Iterator<Item = (&PoolSettings, Prefix)> {
    pools.iter().flat_map(|pool| {
        Family::BOTH.into_iter().filter_map(move |family| Some((pool, pool.base(family)?.base)))
    })
}

/// The admin socket, if `--admin` is the only flag given: then only that daemon is examined.
fn only_daemon(flags: &Options) -> Option<&str> {
    let admin = flags.admin.as_deref()?;
    let rest = Options { admin: None, ..flags.clone() };
    (rest == Options::default()).then_some(admin)
}

/// Runs all checks, or only those of the daemon that `--admin` names.
pub fn examine(flags: &Options, surroundings: &Surroundings, place: &BooksPlace) -> Vec<DoctorFinding> {
    let mut report = DoctorReport::default();
    if let Some(admin) = only_daemon(flags) {
        let pools = gipam::of_daemon(&mut report, &surroundings.directory.join(admin));
        machine::routes(&mut report, &pools);
        machine::forwarding(&mut report, place, &pools);
        machine::clock(&mut report);
        return report.0;
    }
    let config = match Config::outline(flags, surroundings) {
        Ok(config) => config,
        Err(error) => {
            let advice = "fix the mistake, then check again: gipam config check FILE";
            report.wrong("configuration", error.to_string(), advice);
            return report.0;
        }
    };
    match Config::load(flags, surroundings) {
        Ok(config) => gipam::configuration(&mut report, &config),
        Err(error) => {
            let advice = "fix the file, then run gipam reload (until then, the hook gets no events); if only root may read the file, run gipam doctor as root";
            report.wrong("configuration", error.to_string(), advice);
        }
    }
    let pools = gipam::books(&mut report, &config);
    gipam::daemon(&mut report, &config.admin);
    gipam::doors(&mut report, &config);
    docker::engine(&mut report, &config);
    docker::ipvlan(&mut report, &config);
    daemon_json::check(&mut report, place, &pools);
    docker::boot_order(&mut report, place);
    machine::routes(&mut report, &pools);
    machine::forwarding(&mut report, place, &pools);
    machine::clock(&mut report);
    report.0
}
