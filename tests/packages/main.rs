//! The results of `make deb`, `make dist` and `make plugin`, in fresh roots of every Debian suite, on whole
//! machines and on several Engines.
//!
//!     make packages, or cargo test --test packages -- [WORD...] [--list]
//!
//! Runs the scenarios whose names contain one of the words, four at a time. The administrator's commands are
//! taken from docs/install.md. If the packages were not built, the run fails. Ends with a line `N passed, N
//! failed`. If a machine with systemd cannot be made, the scenarios that need one fail if CI=true; otherwise
//! they are skipped with a visible message.
#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by panicking, and report by printing"
)]

mod hosts;
#[path = "../units/machine.rs"]
#[allow(dead_code, reason = "shared with the tests of the units")]
mod machine;
#[path = "../units/page.rs"]
#[allow(dead_code, reason = "shared with the tests of the units")]
mod page;
mod plugin;
mod root;
#[path = "../support/stage.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod stage;
mod suites;
#[path = "../support/wait.rs"]
mod wait;

use clap::Parser;
use machine::{Machine, base};
use stage::{End, Words};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

/// What a scenario needs.
#[derive(Clone, Copy)]
enum Play {
    /// A root directory that the scenario creates itself.
    Root(fn()),
    /// A fresh machine with systemd.
    Host(fn(&mut Machine)),
}

const SCENARIOS: [(&str, Play); 12] = [
    ("host_upgrades_without_losing_a_network", Play::Host(hosts::upgrade)),
    ("host_installs_removes_purges", Play::Host(hosts::life)),
    ("host_tarball", Play::Host(hosts::archive)),
    ("plugin_swarm_engine_20", Play::Root(plugin::bookworm)),
    ("plugin_swarm_engine_26", Play::Root(plugin::trixie)),
    ("plugin_swarm_engine_28", Play::Root(plugin::forky)),
    ("plugin_socket_is_up_in_half_a_second", Play::Root(plugin::ready)),
    ("program_is_static_and_below_8_mib", Play::Root(suites::program)),
    ("suite_bullseye", Play::Root(suites::bullseye)),
    ("suite_bookworm", Play::Root(suites::bookworm)),
    ("suite_trixie", Play::Root(suites::trixie)),
    ("suite_forky", Play::Root(suites::forky)),
];
/// Higher than this package's version.
const NEXT: &str = concat!(env!("CARGO_PKG_VERSION"), "+next");

static PACKAGES: OnceLock<tempfile::TempDir> = OnceLock::new();

/// The directory with copies of the packages under test and of the next version.
pub fn packages() -> PathBuf {
    PACKAGES.get().unwrap().path().to_owned()
}

fn named(start: &str, end: &str) -> String {
    let names =
        std::fs::read_dir(packages()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.into_iter().find(|name| name.starts_with(start) && name.ends_with(end)).unwrap()
}

pub fn deb() -> String {
    named(concat!("gipam_", env!("CARGO_PKG_VERSION"), "_"), ".deb")
}

pub fn next_deb() -> String {
    named(&format!("gipam_{NEXT}_"), ".deb")
}

pub fn tarball() -> String {
    named(concat!("gipam-", env!("CARGO_PKG_VERSION"), "-"), ".tar.gz")
}

/// Copies what make built, and packages the same program twice as the next version; both results must be
/// equal.
fn prepare() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = sources.join("target/package");
    let place = PACKAGES.get_or_init(|| tempfile::tempdir().unwrap()).path();
    let wanted = |name: &str| name.ends_with(".deb") || name.ends_with(".tar.gz");
    for entry in
        std::fs::read_dir(&built).expect("packages exist after make deb dist plugin").map(Result::unwrap)
    {
        if wanted(&entry.file_name().to_string_lossy()) {
            std::fs::copy(entry.path(), place.join(entry.file_name())).unwrap();
        }
    }
    let copied =
        Command::new("cp").arg("-r").args([built.join("plugin"), place.to_owned()]).status().unwrap();
    assert!(copied.success(), "no plugin to copy: run make plugin first");
    let (again, mut files) = (tempfile::tempdir().unwrap(), Vec::new());
    for out in [place.to_owned(), again.path().to_owned()] {
        let mut pack = Command::new(sources.join("scripts/package.sh"));
        pack.arg("deb")
            .env("GIPAM_BINARY", built.join("gipam"))
            .env("GIPAM_VERSION", NEXT)
            .env("GIPAM_OUT", &out);
        assert!(pack.output().unwrap().status.success());
        files.push(std::fs::read(out.join(next_deb())).unwrap());
    }
    assert!(files[0] == files[1], "the same sources and program give the same package");
}

fn main() -> ExitCode {
    let words = Words::parse();
    let ended = stage::play(
        "packages",
        &words,
        4,
        SCENARIOS.map(|(name, play)| stage::scenario(name, "", move || run(play))).into(),
    );
    PACKAGES.get().map(|place| std::fs::remove_dir_all(place.path()));
    ended
}

/// Runs one scenario after the packages were made.
fn run(play: Play) -> End {
    static PREPARED: OnceLock<Option<String>> = OnceLock::new();
    if let Some(why) = PREPARED.get_or_init(|| stage::played(prepare)) {
        return End::Failed(format!("packages cannot be made: {why}"), String::new());
    }
    match play {
        Play::Root(scenario) => match stage::played(scenario) {
            Some(why) => End::Failed(why, String::new()),
            None => End::Passed,
        },
        Play::Host(scenario) => match machine::prepare() {
            Ok(()) => machine::played(scenario),
            Err(reason) => stage::unavailable("on systemd", &reason),
        },
    }
}
