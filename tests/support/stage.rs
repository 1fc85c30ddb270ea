//! Scenarios, selected by name and run by libtest-mimic, several at a time.
//!
//! Promises: a scenario runs if its name contains one of the words; a word that does not match any name ends
//! the program before any scenario starts. One folder contains a file for each failure; the last lines list
//! what took longest, the reason and the file of each failure, then `N passed, N failed`. Does not know what
//! a scenario needs.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test program reports by printing")]

use clap::Parser;
use libtest_mimic::{Arguments, Completion, Trial};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// How many of the slowest scenarios are listed at the end.
const NAMED: usize = 12;

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The words after a test program's name: libtest-mimic's, but with more than one filter.
#[derive(Clone, Debug, Parser)]
#[command(disable_version_flag = true)]
pub struct Words {
    #[command(flatten)]
    pub mimic: Arguments,
    /// More filters: a scenario runs if its name contains one of them
    #[arg(value_name = "FILTER")]
    more: Vec<String>,
}

impl Words {
    /// Whether the words select this name; without words, everything is selected.
    pub fn choose(&self, name: &str) -> bool {
        let fits = |word: &String| if self.mimic.exact { name == word } else { name.contains(word.as_str()) };
        (self.mimic.filter.is_none() && self.more.is_empty())
            || self.mimic.filter.iter().chain(&self.more).any(fits)
    }

    /// The error for the first word that does not match any name.
    pub fn mistake(&self, names: &[&str]) -> Option<String> {
        let mut words = self.mimic.filter.iter().chain(&self.more);
        let idle = words.find(|word| !names.iter().any(|name| name.contains(word.as_str())))?;
        Some(format!("no scenario's name contains {idle:?}; --list shows the names"))
    }
}

/// How a scenario ended.
pub enum End {
    Passed,
    /// The scenario does not apply to this machine or Engine.
    Skipped(String),
    /// The reason, and further output to read.
    Failed(String, String),
}

pub struct Scenario {
    name: String,
    kind: String,
    play: Box<dyn FnOnce() -> End + Send>,
}

/// What is reported about a scenario that has ended.
pub struct Played {
    pub title: String,
    pub seconds: f32,
    pub failure: Option<String>,
}

/// A scenario that can be selected by its name; its kind is only shown.
pub fn scenario(name: &str, kind: &str, play: impl FnOnce() -> End + Send + 'static) -> Scenario {
    Scenario { name: name.to_owned(), kind: kind.to_owned(), play: Box::new(play) }
}

/// Runs a scenario; if it panics, returns where and why.
pub fn played(play: impl FnOnce()) -> Option<String> {
    catch_unwind(AssertUnwindSafe(play)).err().map(|_| LAST_PANIC.take())
}

/// The end of a scenario whose machine, browser or Engine is not available: failed if CI=true, otherwise
/// skipped.
pub fn unavailable(what: &str, reason: &str) -> End {
    println!("*** NOT TESTED {what}: {reason}");
    if std::env::var("CI").is_ok_and(|value| value == "true") {
        return End::Failed(reason.to_owned(), String::new());
    }
    End::Skipped(format!("not tested {what}"))
}

/// Runs the selected scenarios, `players` at a time, in their order.
pub fn play(what: &'static str, words: &Words, players: usize, mut scenarios: Vec<Scenario>) -> ExitCode {
    let names: Vec<&str> = scenarios.iter().map(|one| one.name.as_str()).collect();
    if let Some(mistake) = words.mistake(&names) {
        eprintln!("{mistake}");
        return ExitCode::from(2);
    }
    scenarios.retain(|one| words.choose(&one.name));
    hear_panics();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("suite").join(what);
    if !words.mimic.list {
        let _ = std::fs::remove_dir_all(&folder);
    }
    let results = Arc::new(Mutex::new(Vec::new()));
    let trial = |one: Scenario| {
        let (results, folder) = (Arc::clone(&results), folder.clone());
        let title =
            if one.kind.is_empty() { one.name.clone() } else { format!("[{}] {}", one.kind, one.name) };
        let run = move || {
            let start = Instant::now();
            let end = (one.play)();
            let seconds = start.elapsed().as_secs_f32();
            let (failure, outcome) = match end {
                End::Passed => (None, Ok(Completion::Completed)),
                End::Skipped(why) => (None, Ok(Completion::ignored_with(why))),
                End::Failed(why, logs) => {
                    let file = folder.join(title.replace(|c: char| !c.is_alphanumeric() && c != '.', "_"));
                    let _ = std::fs::create_dir_all(&folder)
                        .and_then(|()| std::fs::write(&file, format!("{why}\n{logs}")));
                    let said = format!("{why}\nlogs: {}", file.display());
                    (Some(said.clone()), Err(said.into()))
                }
            };
            results.lock().unwrap().push(Played { title, seconds, failure });
            outcome
        };
        Trial::ignorable_test(one.name, run).with_kind(one.kind)
    };
    let mut mimic = Arguments { filter: None, ..words.mimic.clone() };
    mimic.test_threads.get_or_insert(players);
    let end = libtest_mimic::run(&mimic, scenarios.into_iter().map(trial).collect());
    if mimic.list {
        return ExitCode::SUCCESS;
    }
    last_lines(std::mem::take(&mut results.lock().unwrap())).iter().for_each(|line| println!("{line}"));
    let skipped = if end.num_ignored == 0 { String::new() } else { format!(", {} skipped", end.num_ignored) };
    println!("{} passed, {} failed{skipped}", end.num_passed, end.num_failed);
    let good = end.num_failed == 0 && end.num_passed + end.num_ignored > 0;
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What took longest, and each failure once more in one line, because often only the last lines of a run are
/// kept.
pub fn last_lines(mut results: Vec<Played>) -> Vec<String> {
    results.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
    let longest = results.iter().take(NAMED).map(|one| format!("{:>7.1} s  {}", one.seconds, one.title));
    let failed = results.iter().filter_map(|one| {
        Some(format!("FAILED {}: {}", one.title, one.failure.as_ref()?.replace('\n', " ")))
    });
    longest.chain(failed).collect()
}

/// Keeps the text of a failed assertion, so that it is reported with its scenario and not immediately.
fn hear_panics() {
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let place = info.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
        LAST_PANIC.set(format!("{place}: {}", text.unwrap_or_default()));
    }));
}
