//! THE GUARD: the instructions that a call costs, counted by valgrind, with few leases or subnets held and
//! with a hundred times as many.
//!
//! Promises: does not measure time, so a busy machine does not change the result; fails if a call costs more
//! than its budget, or if its cost grows too fast with the leases or subnets held. The cost of a call comes
//! from the difference of two counts: the same state is built with and without calls after it.

use std::io;
use std::process::Command;

/// A kind of call, how many leases or subnets are held, and what the call may cost.
struct Case {
    name: &'static str,
    /// The small and the large number of leases or subnets held.
    standing: [u64; 2],
    /// The most instructions per call with the large number held, including the undo.
    budget: u64,
    /// The highest ratio of the cost with the large number to the cost with the small one.
    growth: f64,
}

/// How many calls are counted.
const CALLS: u64 = 992;

/// A budget is about 1.08 times the count when the row was last changed.
const CASES: [Case; 17] = [
    Case { name: "address-v4", standing: [1_000, 100_000], budget: 7_900, growth: 1.6 },
    Case { name: "address-v6", standing: [1_000, 100_000], budget: 7_700, growth: 1.6 },
    Case { name: "churn-v4", standing: [1_000, 100_000], budget: 9_300, growth: 1.6 },
    Case { name: "pool-v4", standing: [100, 10_000], budget: 43_000, growth: 1.7 },
    Case { name: "pool-v6", standing: [100, 10_000], budget: 46_600, growth: 1.7 },
    Case { name: "books", standing: [100, 10_000], budget: 54_000, growth: 1.7 },
    // Refused requests, and requests with very many pools: the cost is flat and far below 100 us.
    Case { name: "full", standing: [256, 65_536], budget: 6_680, growth: 1.3 },
    Case { name: "full-cooling", standing: [256, 65_536], budget: 6_300, growth: 1.3 },
    Case { name: "full-used", standing: [256, 16_384], budget: 16_800, growth: 1.3 },
    Case { name: "exact", standing: [256, 65_536], budget: 10_900, growth: 1.8 },
    Case { name: "addresses", standing: [256, 65_536], budget: 6_400, growth: 1.3 },
    Case { name: "gateway", standing: [256, 65_536], budget: 6_100, growth: 1.3 },
    Case { name: "gateway-released", standing: [256, 65_536], budget: 9_200, growth: 2.0 },
    Case { name: "pools", standing: [100, 10_000], budget: 23_100, growth: 1.3 },
    Case { name: "pools-named", standing: [100, 10_000], budget: 35_200, growth: 1.7 },
    Case { name: "pools-exact", standing: [100, 10_000], budget: 27_600, growth: 1.5 },
    Case { name: "pools-full", standing: [100, 10_000], budget: 23_200, growth: 1.3 },
];

/// Runs every case; prints a line for each, and the totals.
pub fn run() -> io::Result<bool> {
    let rows: Vec<io::Result<bool>> = std::thread::scope(|scope| {
        // The two counts of a case run at the same time.
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
    let [few, many] = case.standing;
    let other = scope.spawn(move || cost(case.name, few));
    let with_many = cost(case.name, many)?;
    let with_few = other.join().map_err(|_| io::Error::other("a count panicked"))??;
    let growth = with_many as f64 / with_few.max(1) as f64;
    let good = with_few > 0 && with_many <= case.budget && growth <= case.growth;
    println!(
        "{:<6} {:<12} {with_few:>8} instructions per call with {few} held, {with_many:>8} with {many} (at most {}), \
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
