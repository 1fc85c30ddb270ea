//! The arguments of the test programs that start Engines, machines and browsers: a mistyped argument must not
//! start anything.
//!
//! Only `make test` builds the programs themselves; these tests check their shared argument parser, and that
//! they use it.

#![cfg(test)]
#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "support/stage.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod stage;

use clap::Parser;
use clap::error::ErrorKind;
use stage::{End, Played, Words};

const NAMES: [&str; 2] = ["network_create", "network_remove"];

fn words(line: &str) -> Result<Words, ErrorKind> {
    let words = ["it"].into_iter().chain(line.split_whitespace());
    Words::try_parse_from(words).map_err(|error| error.kind())
}

#[test]
fn help_and_mistakes_do_not_start_anything() {
    for line in ["--help", "-h", "create --help"] {
        assert_eq!(words(line).unwrap_err(), ErrorKind::DisplayHelp, "{line}");
    }
    for line in ["--frobnicate", "-x", "--engine", "--test-threads", "--test-threads many"] {
        assert!(words(line).is_err(), "{line}");
    }
    for line in ["creat3", "create creat3", "remove create x"] {
        assert!(words(line).unwrap().mistake(&NAMES).is_some(), "{line}");
    }
}

#[test]
fn words_select_scenarios_and_flags_are_obeyed() {
    let all = words("").unwrap();
    assert!(NAMES.iter().all(|name| all.choose(name)) && !all.mimic.list && all.mistake(&NAMES).is_none());
    let some = words("create --list").unwrap();
    assert!(some.choose(NAMES[0]) && !some.choose(NAMES[1]) && some.mimic.list);
    let both = words("remove create").unwrap();
    assert!(NAMES.iter().all(|name| both.choose(name)) && !both.choose("network_inspect"));
    let exact = words("network --exact").unwrap();
    assert!(NAMES.iter().all(|name| !exact.choose(name)));
}

/// Often only the last lines of a long run are kept.
#[test]
fn the_last_lines_give_reasons_and_the_logs_are_in_one_folder() {
    let failing = || End::Failed("it hung:\nfor ever".into(), "all that it wrote".into());
    let scenarios = vec![
        stage::scenario("goes_well", "28.5", || End::Passed),
        stage::scenario("goes_wrong", "28.5 P3", failing),
    ];
    stage::play("arguments", &words("--logfile /dev/null").unwrap(), 2, scenarios);
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("suite/arguments");
    let logs: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(logs.len(), 1, "one program failed: {logs:?}");
    assert!(logs[0].to_string_lossy().ends_with("goes_wrong"), "{logs:?}");
    assert_eq!(std::fs::read_to_string(&logs[0]).unwrap(), "it hung:\nfor ever\nall that it wrote");
    std::fs::remove_dir_all(&folder).unwrap();
    let ended = |title: &str, seconds, failure: Option<&str>| Played {
        title: title.into(),
        seconds,
        failure: failure.map(str::to_owned),
    };
    let lines = stage::last_lines(vec![
        ended("wrong", 1.0, Some("it hung:\nfor ever\nlogs: there")),
        ended("well", 2.0, None),
    ]);
    assert_eq!(lines, ["    2.0 s  well", "    1.0 s  wrong", "FAILED wrong: it hung: for ever logs: there"]);
}

#[test]
fn every_program_that_starts_something_parses_its_arguments_first() {
    let manifest = include_str!("../Cargo.toml");
    let programs: Vec<&str> = manifest
        .split("[[test]]")
        .skip(1)
        .filter(|one| one.contains("harness = false"))
        .map(|one| one.split("path = \"").nth(1).unwrap().split('"').next().unwrap())
        .collect();
    assert_eq!(programs.len(), 5, "{programs:?}");
    for path in programs {
        let text =
            std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let main = text.split("fn main() -> ExitCode {").nth(1).unwrap();
        let before = main.split("Line::parse()").next().unwrap().split("Words::parse()").next().unwrap();
        assert!(
            before.len() < main.len() && !before.contains("start(") && !before.contains("prepare("),
            "{path}"
        );
    }
}
