//! What the run prints: a line per scenario as it ends, the failures again, the table, and the count.

use crate::engine::Engine;
use crate::scenario::Scenario;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

#[derive(Debug, Clone)]
pub enum Outcome {
    Passed,
    Failed(String),
    /// Could not run here, though it should.
    Skipped,
    /// This Engine has no such thing: nothing to test.
    NotApplicable(&'static str),
}

pub struct Report {
    rows: Vec<String>,
    columns: Mutex<Vec<String>>,
    cells: Mutex<Vec<Vec<Option<Outcome>>>>,
}

impl Report {
    pub fn new(chosen: &[Scenario], suites: &[(&'static str, &str)]) -> Self {
        Self {
            rows: chosen.iter().map(|one| format!("{}  [{}]", one.name, one.holds)).collect(),
            columns: Mutex::new(suites.iter().map(|(_, version)| (*version).to_owned()).collect()),
            cells: Mutex::new(vec![vec![None; suites.len()]; chosen.len()]),
        }
    }

    pub fn engine(&self, column: usize, engine: &Engine, took: Duration) {
        self.columns.lock().unwrap()[column] = engine.title();
        println!(
            "[{:>5}] Docker Engine of {} up in {:.1} s",
            engine.title(),
            engine.suite,
            took.as_secs_f32()
        );
    }

    pub fn no_engine(&self, column: usize, reason: &str) {
        let strict = std::env::var("CI").is_ok_and(|value| value == "true");
        let title = self.columns.lock().unwrap()[column].clone();
        println!("\n*** [{title}] NOT TESTED on this Engine: {reason}\n");
        for row in self.cells.lock().unwrap().iter_mut() {
            row[column] = Some(if strict { Outcome::Failed(reason.to_owned()) } else { Outcome::Skipped });
        }
    }

    pub fn outcome(&self, row: usize, column: usize, outcome: Outcome, took: Duration) {
        let title = self.columns.lock().unwrap()[column].clone();
        let (word, why) = match &outcome {
            Outcome::Passed => ("ok    ", String::new()),
            Outcome::Failed(why) => {
                ("FAILED", format!("\n        {}", why.lines().next().unwrap_or_default()))
            }
            Outcome::Skipped => ("skip  ", String::new()),
            Outcome::NotApplicable(why) => ("-     ", format!(": {why}")),
        };
        println!("[{title:>5}] {word} {} ({:.1} s){why}", self.rows[row], took.as_secs_f32());
        self.cells.lock().unwrap()[row][column] = Some(outcome);
    }

    /// Prints the end and turns it into an exit code.
    pub fn finish(&self) -> ExitCode {
        let cells = self.cells.lock().unwrap();
        let columns = self.columns.lock().unwrap();
        for (row, name) in cells.iter().zip(&self.rows) {
            for (cell, title) in row.iter().zip(columns.iter()) {
                if let Some(Outcome::Failed(why)) = cell {
                    println!("\n=== FAILED on Engine {title}: {name}\n{why}");
                }
            }
        }
        let width = self.rows.iter().map(String::len).max().unwrap_or(0).max(8);
        let titles: String = columns.iter().map(|title| format!("  {title:>6}")).collect();
        println!("\n{:<width$}{titles}", "scenario");
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        for (row, name) in cells.iter().zip(&self.rows) {
            print!("{name:<width$}");
            for cell in row {
                let word = match cell {
                    Some(Outcome::Passed) => (passed += 1, "ok").1,
                    Some(Outcome::Skipped) => (skipped += 1, "skip").1,
                    Some(Outcome::NotApplicable(_)) => "-",
                    // a thread that died without a word has failed
                    Some(Outcome::Failed(_)) | None => (failed += 1, "FAILED").1,
                };
                print!("  {word:>6}");
            }
            println!();
        }
        println!("(- : this Engine has no such thing)");
        // Once more in a line each: often only the last lines of a run are kept.
        for (row, name) in cells.iter().zip(&self.rows) {
            for (cell, title) in row.iter().zip(columns.iter()) {
                if let Some(Outcome::Failed(why)) = cell {
                    let why: String =
                        why.chars().take(600).map(|c| if c == '\n' { ' ' } else { c }).collect();
                    println!("FAILED on Engine {title}: {name}: {why}");
                }
            }
        }
        let skips = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
        println!("{passed} passed, {failed} failed{skips}");
        if failed == 0 && passed + skipped > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
