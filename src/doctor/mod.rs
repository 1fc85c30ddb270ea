//! `gipam doctor`: is this host fit for the driver, and what is there to do.
//!
//! Promises: looks only, changes nothing, needs no daemon; every finding that is not well says what to do; what cannot
//! be seen from here is reported as unknown, never guessed. Runs with the rights of the person who calls it.

mod daemon_json;
mod docker;
mod gipam;
mod machine;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{Config, Options, Surroundings};
use crate::plan::prefix::{Family, Prefix};
use crate::plan::settings::PoolSettings;

/// Where a unit may lie, with its drop-ins; the first one counts.
const UNITS: [&str; 3] = ["/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system"];

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing to do.
    Well,
    /// It works, but something is not as it should be.
    Warning,
    /// It does not work, or will not for long.
    Wrong,
    /// Not to be seen from here.
    Unknown,
}

/// One step of the decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorFinding {
    /// What was looked at.
    pub check: String,
    pub verdict: Verdict,
    /// What was seen.
    pub found: String,
    /// What to do, where there is something to do.
    pub advice: Option<String>,
}

/// Findings in the making.
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

/// Where things are on the machine that is looked at.
#[derive(Clone, Debug)]
pub struct BooksPlace {
    /// `/`, or the root of a test.
    pub root: PathBuf,
}

impl BooksPlace {
    /// A path of that machine.
    fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// A small file's text, trimmed.
    fn text(&self, absolute: &str) -> Option<String> {
        std::fs::read_to_string(self.path(absolute)).ok().map(|text| text.trim().to_owned())
    }
}

/// Each family of each pool.
fn bases(pools: &[PoolSettings]) -> impl Iterator<Item = (&PoolSettings, Prefix)> {
    pools.iter().flat_map(|pool| {
        Family::BOTH.into_iter().filter_map(move |family| Some((pool, pool.base(family)?.base)))
    })
}

/// The admin socket, where a flag names it and no flag says what else to look at: then it is about that daemon alone.
fn only_daemon(flags: &Options) -> Option<&str> {
    let admin = flags.admin.as_deref()?;
    let rest = Options { admin: None, ..flags.clone() };
    (rest == Options::default()).then_some(admin)
}

/// Looks at everything, or at the daemon that `--admin` alone names.
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
            let advice = "fix it; gipam config check FILE lists every mistake";
            report.wrong("configuration", error.to_string(), advice);
            return report.0;
        }
    };
    match Config::load(flags, surroundings) {
        Ok(config) => gipam::configuration(&mut report, &config),
        Err(error) => {
            let advice = "fix it, then gipam reload: until then that hook gets no events; or run this as root, if only root may read it";
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
