//! Scenarios by name: chosen by words, played several at a time, counted.
//!
//! Promises: a line for each, what failed once more at the end, then `N passed, N failed`; that nothing ran is a failure.
//! Knows nothing of what a scenario needs.

#[path = "arguments.rs"]
pub mod arguments;

use arguments::Usage;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A failed assertion is reported with its scenario, not when it happens.
pub fn hear_panics() {
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let place = info.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
        LAST_PANIC.set(format!("{place}: {}", text.unwrap_or_default()));
    }));
}

/// The place of the last panic of this thread, and its message.
pub fn last_panic() -> String {
    LAST_PANIC.take()
}

/// Plays; why it failed, if it did.
pub fn played(play: impl FnOnce()) -> Option<String> {
    catch_unwind(AssertUnwindSafe(play)).err().map(|_| last_panic())
}

/// The scenarios that the command line chooses, or the exit code if it only wanted their list or has a mistake.
pub fn chosen<T: Copy>(
    usage: &'static str,
    scenarios: &[(&'static str, T)],
) -> Result<Vec<(&'static str, T)>, ExitCode> {
    let names: Vec<&str> = scenarios.iter().map(|(name, _)| *name).collect();
    let asked = arguments::asked(&Usage { text: usage, bare: &["--list"], with_value: &[] }, &names)?;
    let chosen: Vec<_> = scenarios.iter().filter(|(name, _)| asked.chooses(name)).copied().collect();
    if asked.has("--list") {
        chosen.iter().for_each(|(name, _)| println!("{name}"));
        return Err(ExitCode::SUCCESS);
    }
    Ok(chosen)
}

/// Whether what is not to be had is a failure.
pub fn must() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// What they need is not to be had: loudly skipped, or all failed.
pub fn not_to_be_had(what: &str, reason: &str, scenarios: usize) -> ExitCode {
    println!("\n*** NOT TESTED {what}: {reason}\n");
    if must() {
        println!("0 passed, {scenarios} failed");
        return ExitCode::FAILURE;
    }
    println!("0 passed, 0 failed, {scenarios} skipped");
    ExitCode::SUCCESS
}

/// Plays them all, several at a time. `play` gets a scenario and the number of the player, and says why it failed, if it did.
pub fn play_all<T: Copy + Send>(
    what: &str,
    mut scenarios: Vec<(&'static str, T)>,
    players: usize,
    skipped: usize,
    play: impl Fn(T, usize) -> Option<String> + Sync,
) -> ExitCode {
    scenarios.reverse();
    let (left, results) = (Mutex::new(scenarios), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for player in 0..players {
            let (left, results, play) = (&left, &results, &play);
            scope.spawn(move || {
                loop {
                    let next = left.lock().unwrap().pop();
                    let Some((name, scenario)) = next else { return };
                    let start = Instant::now();
                    let failure = play(scenario, player);
                    let word = if failure.is_none() { "ok    " } else { "FAILED" };
                    println!("[{what}] {word} {name} ({:.1} s)", start.elapsed().as_secs_f32());
                    if let Some(why) = &failure {
                        println!("        {}", why.lines().next().unwrap_or_default());
                    }
                    results.lock().unwrap().push((name, failure));
                }
            });
        }
    });
    let results = results.into_inner().unwrap();
    let failures: Vec<_> = results.iter().filter_map(|(name, why)| Some((name, why.as_ref()?))).collect();
    for (name, why) in &failures {
        println!("\n=== FAILED: {name}\n{why}");
    }
    let more = if skipped == 0 { String::new() } else { format!(", {skipped} skipped") };
    println!("{} passed, {} failed{more}", results.len() - failures.len(), failures.len());
    if failures.is_empty() && !results.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
