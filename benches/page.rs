//! THE PAGE: docs/benchmarks.md, made from the results.
//!
//! Promises: every figure comes from this run, except for those attributed to others; the hand-written text
//! below the last heading of the earlier page is kept.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use crate::claims::{CLAIMS, Claims};
use crate::cluster::{DEAD, HOSTS, LAN_HOSTS, LATE, NETWORKS};
use crate::findings::Findings;
use crate::growth;
use crate::picture;
use crate::pure::{OCCUPANCIES, STANDING};
use crate::rounds::{BARE, OURS, SHOWN};
use crate::script::Phase;

/// The text below this heading is written by hand.
const BY_HAND: &str = "## What limits performance";

/// Writes the page and its pictures.
pub fn write(docs: &Path, found: &Findings) -> io::Result<()> {
    let path = docs.join("benchmarks.md");
    let before = fs::read_to_string(&path).unwrap_or_default();
    let by_hand = before.find(BY_HAND).map_or_else(|| format!("{BY_HAND}\n"), |at| before[at..].to_owned());
    fs::write(docs.join("throughput.svg"), picture::throughput(found))?;
    fs::write(docs.join("occupancy.svg"), picture::occupancy(found))?;
    fs::write(path, page(found) + &by_hand)
}

/// The table of targets.
fn targets(found: &Findings) -> String {
    let mut text = String::from("| what | target | measured | verdict |\n|---|---|---|---|\n");
    for verdict in found.verdicts() {
        let (what, target, word) = (verdict.what, verdict.target, verdict.word());
        let word = if verdict.met { word.to_owned() } else { format!("**{word}**") };
        let _ = writeln!(text, "| {what} | {target} | {} | {word} |", verdict.measured);
    }
    text
}

fn page(found: &Findings) -> String {
    [
        head(found),
        "## Targets\n\n".to_owned() + &targets(found) + "\n",
        wire(found),
        peers(found),
        grown(found),
        looked(found),
        plan(found),
        claimed(found),
        cluster(found),
    ]
    .concat()
}

fn head(found: &Findings) -> String {
    let machine = &found.machine;
    format!(
        "# Benchmarks\n\n\
         `make bench` measures gipam and writes this page; the tables and pictures come from one run. Times depend on the machine, so compare the ratios.\n\n\
         | | |\n|---|---|\n\
         | processor | {}, {} cores |\n| memory | {} GiB |\n| kernel | Linux {} |\n| file system of the books | {} |\n\
         | commit | {} |\n| rounds | {}; every figure is their median |\n\n\
         To repeat the run, use `make bench` on an otherwise idle machine. To measure another IPAM plugin in the same rounds, use\n\
         `make bench PEERS=\"--peer NAME=/path/to/plugin.sock\"`. To run only the client against any plugin, use `make load WORDS=\"--socket PATH\"`.\n\n\
         How the run works: the client and the server share the machine. In each round the phases run one after the other on fresh\n\
         books, each on every server, so that noise affects all of them; ratios are taken within a round, and the table shows the\n\
         median of the rounds. Every durable answer waits for a real sync. The run fails if gipam gives an address or a subnet twice. After each\n\
         phase the client waits until the server is idle: the CPU time that the server uses meanwhile is in the column \"later\".\n\n",
        machine.processor,
        machine.cores,
        machine.memory,
        machine.kernel,
        machine.file_system,
        machine.commit,
        found.count
    )
}

const DURABLE: [(Phase, &str); 3] = [
    (Phase::Addresses, "RequestAddress"),
    (Phase::Churn, "release and request in turn"),
    (Phase::Releases, "ReleaseAddress"),
];

fn rows(found: &Findings, who: &str, label: &str, phase: Phase) -> String {
    let rounds = &found.rounds;
    let mut text = String::new();
    for connections in SHOWN {
        let of = |figure| rounds.median(who, phase, connections, figure);
        let rate = of(|sample| sample.rate);
        if rate.is_nan() {
            continue;
        }
        let ratio = rounds.rate_ratio((who, phase), (OURS, Phase::Activate), connections);
        let _ = writeln!(
            text,
            "| {label} | {connections} | {rate:.0} | {ratio:.2} | {:.0} | {:.0} | {:.0} | {:.1} | {} |",
            of(|sample| sample.middle),
            of(|sample| sample.slow),
            of(|sample| sample.slowest),
            of(|sample| sample.cpu),
            some(of(|sample| sample.later)),
        );
    }
    text
}

const WIRE_HEAD: &str = "| call | connections | requests/s | of Activate | median µs | p99 µs | slowest µs | server CPU µs | later µs |\n\
                         |---|---|---|---|---|---|---|---|---|\n";

/// A figure, or an empty cell if it was not measured.
fn some(figure: f64) -> String {
    if figure.is_nan() { String::new() } else { format!("{figure:.1}") }
}

fn wire(found: &Findings) -> String {
    let mut text = format!("## Over a UNIX socket\n\n{WIRE_HEAD}");
    text += &rows(found, BARE, "bare loop, fixed bytes", Phase::Activate);
    text += &rows(found, OURS, "Plugin.Activate", Phase::Activate);
    for (phase, label) in DURABLE {
        text += &rows(found, OURS, label, phase);
    }
    let sync = crate::stats::median(found.rounds.sync.iter().copied());
    let _ = write!(
        text,
        "\nIn the same rounds, appending 128 bytes to a file and calling fdatasync took {sync:.0} µs. After the last round gipam had {:.1} MiB resident.\n\n\
         ![Requests per second by number of connections](throughput.svg)\n\n",
        found.rounds.resident.unwrap_or(0) as f64 / 1024.0
    );
    text
}

fn peers(found: &Findings) -> String {
    if found.rounds.peers.is_empty() {
        return "This run did not measure another plugin.\n\n".to_owned();
    }
    let mut text = String::from("## Other plugins in the same rounds\n\n");
    for (name, resident) in &found.rounds.peers {
        let _ = write!(text, "**{name}**\n\n{WIRE_HEAD}");
        text += &rows(found, name, "Plugin.Activate", Phase::Activate);
        for (phase, label) in DURABLE {
            text += &rows(found, name, label, phase);
        }
        let memory = resident.map_or("unknown".to_owned(), |it| format!("{:.1} MiB", it as f64 / 1024.0));
        let _ = write!(text, "\nResident memory at the end: {memory}.\n\n");
    }
    text
}

/// The cost of the views with the big books.
fn looked(found: &Findings) -> String {
    let mut text = String::from(
        "## Queries over a million leases\n\nThe time of a command is that from its start to its end; `/metrics` is queried over HTTP.\n\n\
         | query | ms | daemon's CPU ms |\n|---|---|---|\n",
    );
    for (name, time, cpu) in &found.growth.looks.rows {
        let _ = writeln!(text, "| `{name}` | {time:.1} | {cpu:.1} |");
    }
    text + "\n"
}

fn grown(found: &Findings) -> String {
    let growth = &found.growth;
    let mut text = format!(
        "## A million leases\n\nServer CPU per call, {} connections; the big books hold {} subnets with {} leases each, half of them IPv6.\n\
         \"All subnets in turn\" calls each of the {} subnets once before it repeats one; on the empty daemon there are 100.\n\n\
         | call | empty, µs | big, µs | ratio |\n|---|---|---|---|\n",
        growth::CONNECTIONS,
        growth::SUBNETS,
        growth::LEASES,
        growth::SUBNETS
    );
    for row in &growth.rows {
        let of = |figures: &[f64]| crate::stats::median(figures.iter().copied());
        let _ = writeln!(
            text,
            "| {} | {:.1} | {:.1} | {:.2} |",
            row.name,
            of(&row.empty),
            of(&row.big),
            row.ratio()
        );
    }
    let _ = write!(
        text,
        "\nThe first answer came {:.2} s after the start, with {:.0} MiB resident then and {:.0} MiB at the peak.\n\n",
        growth.start(),
        crate::stats::median(growth.resident.iter().copied()) / 1024.0,
        growth.memory()
    );
    text
}

fn plan(found: &Findings) -> String {
    let pure = &found.pure;
    let mut text = String::from(
        "## The pure plan\n\nThe time to decide and apply the changes, in memory, in nanoseconds (medians). IPv4: a /16. IPv6: a /64 with a range of\n\
         65,536 addresses that is filled; scattered leases are at random places.\n\n| RequestAddress, full to |",
    );
    OCCUPANCIES.iter().for_each(|at| {
        let _ = write!(text, " {at} % |");
    });
    text += &format!("\n|---|{}\n", "---|".repeat(OCCUPANCIES.len()));
    let series = |text: &mut String, name: &str, label: &str| {
        let _ = write!(text, "| {label} |");
        pure.series(name).iter().for_each(|(_, nanos)| {
            let _ = write!(text, " {nanos:.0} |");
        });
        text.push('\n');
    };
    for family in ["IPv4", "IPv6"] {
        for order in ["contiguous", "scattered"] {
            series(&mut text, &format!("address {family} {order}"), &format!("{family}, {order}"));
        }
    }
    text += "\n| RequestPool, mixed sizes, while holding |";
    STANDING.iter().for_each(|at| {
        let _ = write!(text, " {at} subnets |");
    });
    text += &format!("\n|---|{}\n", "---|".repeat(STANDING.len()));
    series(&mut text, "pool IPv4", "IPv4, in a /8");
    series(&mut text, "pool IPv6", "IPv6, in a /32");
    let churn =
        |family: &str| pure.series(&format!("churn {family} scattered")).first().map_or(f64::NAN, |it| it.1);
    let _ = write!(
        text,
        "\nA release and a request in its place, in a half full, scattered range: {:.0} ns (IPv4), {:.0} ns (IPv6).\n\n\
         Docker's own allocator, measured by its own Go benchmark on a similar machine, takes 1 to 4 µs for RequestAddress, 40 to 90 µs\n\
         for a release and a request in a scattered, half full /16, and 1.9 ms for the 10,000th RequestPool, more as their number grows.\n\n\
         ![Cost by occupancy](occupancy.svg)\n\n",
        churn("IPv4"),
        churn("IPv6")
    );
    text
}

/// Slices in a real etcd.
fn claimed(found: &Findings) -> String {
    let claims = &found.rounds.claims;
    let of = |figures: &[f64]| Claims::median(figures);
    format!(
        "## Claims in etcd\n\nIn the same rounds as above: a daemon and an etcd with one member on this machine, whose data are in memory. The daemon claims {CLAIMS} slices,\n\
         one after the other, for a network each; a claim is a reading of the plan and a transaction, and is durable in the books before and after. The raw transactions\n\
         (a compare and a put) go through the same client, one after the other. Calls are counted by etcd.\n\n| | per second | calls to etcd for each |\n|---|---|---|\n\
         | raw transactions | {:.0} | 1 |\n| networks whose slice is claimed | {:.0} ({:.2} of raw transactions) | {:.2} |\n\
         | networks in slices of the host, with their gateways | {:.0} | {:.0} |\n\n",
        of(&claims.raw),
        of(&claims.claimed),
        claims.ratio(),
        of(&claims.calls),
        of(&claims.own),
        claims.most_own_calls(),
    )
}

/// The simulated plan of many hosts.
fn cluster(found: &Findings) -> String {
    let it = &found.cluster;
    let rows = [
        ("networks", format!("{}", it.networks)),
        ("slices in the store at the end", format!("{}", it.slices)),
        (
            "claims; lost to another host; of a forgotten host's slice",
            format!("{}; {}; {}", it.claims, it.conflicts, it.taken),
        ),
        ("calls to the store per container in own networks", format!("{:.4}", it.per_container())),
        ("calls to the store per container on the LAN", format!("{:.3}", it.per_lan_container())),
        ("looks and signs of all hosts, per second", format!("{:.1}", it.upkeep_rate())),
        ("calls in the busiest second", format!("{}", it.peak)),
        (
            "networks created and requests refused during the outage",
            format!("{}; {}", it.outage_made, it.outage_refused),
        ),
        ("requests refused at other times", format!("{}", it.refused_otherwise)),
        ("longest wait for a slice, outside of the outage", format!("{} ms", it.slowest)),
        ("one list of the store at the end", format!("{:.1} MiB", it.list as f64 / f64::from(1 << 20))),
        ("memory of a host's machine and plan", format!("{:.1} MiB", it.took / f64::from(1 << 20))),
    ];
    let mut text = format!(
        "## A plan of a thousand hosts\n\nOne hour, simulated in {:.0} s with the real machine of claims and the real plan: {HOSTS} hosts create {NETWORKS} \
         networks each (/26, 64 to a slice)\nat random times, {LATE} more hosts join after half an hour, {DEAD} die and are forgotten, and the store does not answer for ten minutes. \
         {LAN_HOSTS} hosts\nshare a LAN with 50 containers each (16 addresses to a slice). The store takes 2 ms for a call.\n\n| | |\n|---|---|\n",
        it.seconds
    );
    for (what, figure) in rows {
        let _ = writeln!(text, "| {what} | {figure} |");
    }
    text + "\n"
}

/// The table for a terminal.
pub fn terminal(found: &Findings) -> String {
    let verdicts = found.verdicts();
    let width = verdicts.iter().map(|it| it.what.chars().count()).max().unwrap_or(0);
    let lines = verdicts
        .iter()
        .map(|it| format!("{:<6}  {:<width$}  {:<9}  {}", it.word(), it.what, it.target, it.measured));
    lines.collect::<Vec<_>>().join("\n")
}
