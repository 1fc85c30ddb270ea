//! RESTORES: copies with a live WAL, over books with a stale one, killed at every call that writes, syncs or
//! names files.
//!
//! Promises: source and target were left by a daemon that was killed under load, so that the last
//! acknowledged changes are only in their WALs. After a killed restore, a start reads either the old or the
//! new books, and they are complete; a second restore then succeeds and keeps what it replaced. The results
//! are compared with the clients' journals.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use gipam::plan::Plan;
use gipam::store::Books;

use crate::Counts;
use crate::books::{compare, plan};
use crate::crew::{Crew, Dice, POOLS, meeting_place};
use crate::daemon::House;
use crate::journal::Journal;

const CLIENTS: usize = 4;
/// Calls that change files.
const CALLS: [&str; 9] =
    ["pwrite64", "fdatasync", "fsync", "ftruncate", "openat", "unlink", "rename", "linkat", "chmod"];

/// Books and their WAL as a killed daemon left them, and what they hold.
struct Left {
    files: Vec<(&'static str, Vec<u8>)>,
    held: BTreeSet<String>,
    journal: Journal,
}

fn with_suffix(path: &Path, end: &str) -> PathBuf {
    PathBuf::from(format!("{}{end}", path.display()))
}

/// Load, then kill -9.
fn left(seed: u64, answers: u64) -> Left {
    let house = House::with_toml(POOLS);
    let journal = Journal::default();
    let daemon = house.start();
    meeting_place(&house.socket(), &journal);
    let crew = Crew::start(CLIENTS, &house.socket(), &journal, seed);
    crew.work(answers);
    daemon.kill();
    crew.stop();
    let books = house.path("gipam.db");
    let files: Vec<_> = ["", "-wal"].map(|end| (end, fs::read(with_suffix(&books, end)).unwrap())).into();
    assert!(!files[1].1.is_empty(), "the WAL contains no changes of its own");
    compare(&books, &journal).assert_clean("before any restore");
    Left { files, held: held(&plan(&books).unwrap()), journal }
}

impl Left {
    fn put(&self, path: &Path) {
        for (end, bytes) in &self.files {
            fs::write(with_suffix(path, end), bytes).unwrap();
        }
    }
}

/// Subnets and leases, by PoolID and address.
fn held(plan: &Plan) -> BTreeSet<String> {
    let subnets = plan.subnets().filter(|subnet| subnet.is_held());
    let all = subnets.flat_map(|subnet| {
        let id = subnet.state.id.clone();
        let leases = subnet.addresses.records().filter(|(_, record)| record.leased);
        let leases: Vec<String> = leases.map(|(address, _)| format!("{id} {address}")).collect();
        leases.into_iter().chain([id])
    });
    all.collect()
}

/// What a daemon would find at its start.
fn started(path: &Path) -> Result<BTreeSet<String>, String> {
    let books = Books::open(path).map_err(|error| error.to_string())?;
    let mut plan = Plan::new(books.settings().map_err(|error| error.to_string())?);
    books.load(|change| plan.apply(&change)).map_err(|error| error.to_string())?;
    Ok(held(&plan))
}

/// Runs `gipam restore`, under strace if there are arguments for it.
fn restore(place: &Path, words: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_gipam");
    let mut command = match words {
        [] => Command::new(program),
        words => {
            let mut command = Command::new("strace");
            command.args(["-f", "-q", "-o"]).arg(place.join("trace")).args(words).arg(program);
            command
        }
    };
    fs::write(place.join("empty.toml"), "").unwrap();
    command.current_dir(place).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("GIPAM_CONFIG", place.join("empty.toml")).stdin(Stdio::null());
    command.args(["restore", "copy.db", "--file", "gipam.db", "--admin", "none.sock"]).output().unwrap()
}

/// Kills the restore before each such call is carried out.
pub fn killed(long: bool) -> Counts {
    let (source, target) = (left(1, 120), left(2, 60));
    assert_ne!(source.held, target.held);
    let set_up = || {
        let place = tempfile::tempdir().unwrap();
        source.put(&place.path().join("copy.db"));
        target.put(&place.path().join("gipam.db"));
        place
    };
    let recorded = set_up();
    let output = restore(recorded.path(), &["-e", &format!("trace={}", CALLS.join(","))]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let trace = fs::read_to_string(recorded.path().join("trace")).unwrap();
    let (mut kills, mut old, mut new) = (0, 0, 0);
    for call in CALLS {
        let count = trace.lines().filter(|line| line.contains(&format!(" {call}("))).count();
        let step = if long { 1 } else { (count / 3).max(1) };
        for n in (1..=count).rev().step_by(step) {
            let place = set_up();
            let books = place.path().join("gipam.db");
            let inject = format!("inject={call}:signal=SIGKILL:when={n}");
            let output = restore(place.path(), &["-e", &format!("trace={call}"), "-e", &inject]);
            if output.status.success() {
                continue; // the n-th call was another thread's
            }
            assert_eq!(output.status.signal(), Some(9), "{call} {n}: {output:?}");
            kills += 1;
            let found = started(&books).unwrap_or_else(|error| panic!("{call} {n}: {error}"));
            match found {
                found if found == target.held => old += 1,
                found if found == source.held => new += 1,
                found => panic!(
                    "{call} {n}: {} held, of {} or {}",
                    found.len(),
                    target.held.len(),
                    source.held.len()
                ),
            }
            let again = restore(place.path(), &[]);
            assert!(again.status.success(), "{call} {n}: {}", String::from_utf8_lossy(&again.stderr));
            assert_eq!(started(&books).as_ref(), Ok(&source.held), "{call} {n}: the second restore");
            let names = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path());
            let names: Vec<PathBuf> = names.collect();
            let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(names.iter().all(|path| !name(path).contains("restoring")), "{call} {n}: {names:?}");
            let kept = names.iter().filter(|path| {
                let name = name(path);
                name.contains(".replaced-") && name.ends_with(|end: char| end.is_ascii_digit())
            });
            let kept = kept.filter(|path| started(path).as_ref() == Ok(&target.held)).count();
            assert_eq!(kept, 1, "{call} {n}: the replaced books are kept once");
        }
    }
    vec![
        ("restores killed", kills),
        ("left the old books", old),
        ("left the new books", new),
        ("!acknowledged lost", 0),
        ("!books unreadable", 0),
    ]
}

/// Restores a copy with its WAL over books, over a WAL without books, and over the leftovers of an
/// interrupted restore.
pub fn logs(long: bool) -> Counts {
    let rounds = if long { 40 } else { 4 };
    let mut dice = Dice::new(rounds);
    let (mut restored, mut compared) = (0, 0);
    for round in 0..rounds {
        let source = left(2 * round, 10 + dice.below(120));
        let target = left(2 * round + 1, 10 + dice.below(120));
        for kind in 0..3 {
            let place = tempfile::tempdir().unwrap();
            let books = place.path().join("gipam.db");
            source.put(&place.path().join("copy.db"));
            match kind {
                0 => target.put(&books),
                1 => fs::write(with_suffix(&books, "-wal"), &target.files[1].1).unwrap(),
                _ => target.put(&with_suffix(&books, ".restoring")),
            }
            let output = restore(place.path(), &[]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "round {round}, kind {kind}: {said}");
            let found = compare(&books, &source.journal);
            found.assert_clean(&format!("round {round}, kind {kind}"));
            assert_eq!(started(&books).as_ref(), Ok(&source.held), "round {round}, kind {kind}");
            (restored, compared) = (restored + 1, compared + found.recovered);
        }
    }
    vec![
        ("restores", restored),
        ("grants compared", compared),
        ("!acknowledged lost", 0),
        ("!books unreadable", 0),
    ]
}
