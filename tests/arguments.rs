//! The command line of the test programs that start Engines, machines and browsers: nothing starts by mistake.
//!
//! The programs themselves are built by `make test` only; this holds what all of them ask, and that they do ask it.

#![cfg(test)]
#![allow(missing_docs, reason = "a test program has no readers of its API")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "support/arguments.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod arguments;

use arguments::{Asked, Stop, Usage, read};

const USAGE: Usage =
    Usage { text: "it", bare: &["--list", "--long"], with_value: &[("--engine", &["20", "28"])] };
const NAMES: [&str; 2] = ["network_create", "network_remove"];

fn asked(line: &str) -> Result<Asked, Stop> {
    read(&USAGE, &NAMES, line.split_whitespace().map(str::to_owned))
}

#[test]
fn help_and_mistakes_start_nothing() {
    for line in ["--help", "-h", "create --help", "--engine 28 -h"] {
        assert_eq!(asked(line), Err(Stop::Help), "{line}");
    }
    for line in
        ["--nocapture", "--frobnicate", "-x", "--", "--engine", "--engine 99", "--engine --list", "creat3"]
    {
        assert!(matches!(asked(line), Err(Stop::Mistake(_))), "{line}");
    }
}

#[test]
fn words_choose_and_flags_are_heard() {
    let all = asked("").unwrap();
    assert!(NAMES.iter().all(|name| all.chooses(name)) && !all.has("--list"));
    let some = asked("create --long --engine 28").unwrap();
    assert!(some.chooses(NAMES[0]) && !some.chooses(NAMES[1]));
    assert!(some.has("--long") && !some.has("--list"));
    assert_eq!(some.values, ["28"]);
}

#[test]
fn every_program_that_starts_something_asks_first() {
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
        let first = main.lines().take(4).collect::<String>();
        assert!(first.contains("stage::chosen(USAGE") || first.contains("arguments::asked(&USAGE"), "{path}");
    }
}
