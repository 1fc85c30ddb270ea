//! The command line of a test program that plays scenarios: words choose them, flags are known or nothing starts.
//!
//! Promises: `--help`, an unknown flag, a flag without its value, and a word that chooses nothing end the program before it
//! has started anything. Cargo itself passes no flag to these programs.
#![allow(clippy::print_stderr, reason = "it tells a person how to call a test program")]

use std::process::ExitCode;

/// What a test program takes besides words.
pub struct Usage {
    /// After "usage: ", and what the words mean.
    pub text: &'static str,
    /// Flags without a value.
    pub bare: &'static [&'static str],
    /// Flags that take the next word, each with the values that it knows.
    pub with_value: &'static [(&'static str, &'static [&'static str])],
}

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub words: Vec<String>,
    pub flags: Vec<String>,
    pub values: Vec<String>,
}

impl Asked {
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|given| given == flag)
    }

    /// Whether the words choose this name; without words everything is chosen.
    pub fn chooses(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }
}

/// Why nothing starts: help was wanted, or a mistake.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    Help,
    Mistake(String),
}

/// Reads the words after the program's name; `names` are those that a word can choose.
pub fn read(usage: &Usage, names: &[&str], arguments: impl Iterator<Item = String>) -> Result<Asked, Stop> {
    let mut asked = Asked::default();
    let mut arguments = arguments;
    while let Some(word) = arguments.next() {
        if matches!(word.as_str(), "--help" | "-h") {
            return Err(Stop::Help);
        }
        if let Some((_, known)) = usage.with_value.iter().find(|(flag, _)| *flag == word) {
            let value = arguments.next().filter(|value| known.contains(&value.as_str()));
            let needs = || Stop::Mistake(format!("{word} needs one of: {}", known.join(" ")));
            asked.values.push(value.ok_or_else(needs)?);
        } else if usage.bare.contains(&word.as_str()) {
            asked.flags.push(word);
        } else if word.starts_with('-') {
            return Err(Stop::Mistake(format!("unknown flag {word}")));
        } else if names.iter().any(|name| name.contains(word.as_str())) {
            asked.words.push(word);
        } else {
            return Err(Stop::Mistake(format!("no scenario is called {word:?}; --list shows their names")));
        }
    }
    Ok(asked)
}

/// What this program was asked for, or the exit code with which it ends at once, its usage printed.
pub fn asked(usage: &Usage, names: &[&str]) -> Result<Asked, ExitCode> {
    read(usage, names, std::env::args().skip(1)).map_err(|stop| {
        if let Stop::Mistake(what) = &stop {
            eprintln!("{what}\n");
        }
        eprintln!("usage: {}", usage.text);
        if stop == Stop::Help { ExitCode::SUCCESS } else { ExitCode::from(2) }
    })
}
