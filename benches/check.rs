//! THE GUARD: instructions a call, counted by valgrind, next to little and next to a hundred times as much.
//!
//! Promises: times nothing, so that a busy machine changes nothing; fails where a call costs more than its budget, or
//! where its cost grows with what is held. What a call costs is the difference of two counts: the same state built with
//! and without calls after it.

use std::io;
use std::process::Command;

/// What is counted, how much is held, and what it may cost.
struct Case {
    name: &'static str,
    /// Little, and much.
    standing: [u64; 2],
    /// Instructions a call next to much, its undoing included.
    budget: u64,
    /// Much over little.
    growth: f64,
}

/// Calls of the counted part.
const CALLS: u64 = 992;

/// About 1.08 times what was counted when the row was last changed.
const CASES: [Case; 17] = [
    Case { name: "address-v4", standing: [1_000, 100_000], budget: 7_900, growth: 1.6 },
    Case { name: "address-v6", standing: [1_000, 100_000], budget: 7_700, growth: 1.6 },
    Case { name: "churn-v4", standing: [1_000, 100_000], budget: 9_300, growth: 1.6 },
    Case { name: "pool-v4", standing: [100, 10_000], budget: 43_000, growth: 1.7 },
    Case { name: "pool-v6", standing: [100, 10_000], budget: 46_600, growth: 1.7 },
    Case { name: "books", standing: [100, 10_000], budget: 54_000, growth: 1.7 },
    // What is refused, and what is asked of very many pools: flat, and far below 100 us.
    Case { name: "full", standing: [256, 65_536], budget: 5_950, growth: 1.3 },
    Case { name: "full-cooling", standing: [256, 65_536], budget: 6_300, growth: 1.3 },
    Case { name: "full-used", standing: [256, 16_384], budget: 16_800, growth: 1.3 },
    Case { name: "exact", standing: [256, 65_536], budget: 10_900, growth: 1.8 },
    Case { name: "addresses", standing: [256, 65_536], budget: 6_400, growth: 1.3 },
    Case { name: "gateway", standing: [256, 65_536], budget: 6_100, growth: 1.3 },
    Case { name: "gateway-released", standing: [256, 65_536], budget: 9_200, growth: 2.0 },
    Case { name: "pools", standing: [100, 10_000], budget: 20_400, growth: 1.3 },
    Case { name: "pools-named", standing: [100, 10_000], budget: 35_200, growth: 1.7 },
    Case { name: "pools-exact", standing: [100, 10_000], budget: 27_600, growth: 1.5 },
    Case { name: "pools-full", standing: [100, 10_000], budget: 23_200, growth: 1.3 },
];

/// Runs every case; prints a line for each, and a sum.
pub fn run() -> io::Result<bool> {
    let rows: Vec<io::Result<bool>> = std::thread::scope(|scope| {
        // Two at a time: little and much of one case.
        CASES.iter().map(|case| judge(case, scope)).collect()
    });
    let mut passed = 0;
    for row in rows {
        passed += usize::from(row?);
    }
    println!("{passed} passed, {} failed", CASES.len() - passed);
    Ok(passed == CASES.len())
}

fn judge<'a>(case: &'a Case, scope: &'a std::thread::Scope<'a, '_>) -> io::Result<bool> {
    let [little, much] = case.standing;
    let other = scope.spawn(move || cost(case.name, little));
    let beside_much = cost(case.name, much)?;
    let beside_little = other.join().map_err(|_| io::Error::other("a count panicked"))??;
    let growth = beside_much as f64 / beside_little.max(1) as f64;
    let good = beside_little > 0 && beside_much <= case.budget && growth <= case.growth;
    println!(
        "{:<6} {:<12} {beside_little:>8} instructions a call next to {little}, {beside_much:>8} next to {much} (at most {}), \
         {growth:.2} times (at most {:.2})",
        if good { "ok" } else { "FAILED" },
        case.name,
        case.budget,
        case.growth
    );
    Ok(good)
}

/// Instructions of one call.
fn cost(name: &str, standing: u64) -> io::Result<u64> {
    let with = instructions(name, standing, CALLS)?;
    let without = instructions(name, standing, 0)?;
    Ok(with.saturating_sub(without) / CALLS)
}

fn instructions(name: &str, standing: u64, calls: u64) -> io::Result<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(std::env::current_exe()?);
    command.args(["count", name, &standing.to_string(), &calls.to_string()]);
    let output = command.output().map_err(|error| io::Error::other(format!("valgrind: {error}")))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    collected.filter(|_| output.status.success()).ok_or_else(|| io::Error::other(format!("{name}: {text}")))
}
