//! THE RESULTS: all measurements of a run, and the targets with which they are compared.
//!
//! Promises: a missed target is never rounded to a met one; if one row has several figures, the worst
//! decides.

use crate::claims::OWN;
use crate::cluster::Cluster;
use crate::growth::Growth;
use crate::machine::Machine;
use crate::pure::Pure;
use crate::rounds::{BARE, OURS, Rounds, SHOWN, SLICED};
use crate::script::Phase;
use crate::stats::median;

/// All measurements of a run.
#[derive(Clone, Debug)]
pub struct Findings {
    /// The machine on which they were made.
    pub machine: Machine,
    /// The number of rounds.
    pub count: usize,
    /// Measurements over the wire.
    pub rounds: Rounds,
    /// Measurements with empty and with big books.
    pub growth: Growth,
    /// Measurements of the plan in memory.
    pub pure: Pure,
    /// The simulated plan of a thousand hosts.
    pub cluster: Cluster,
    /// The resident memory of an idle daemon, KiB.
    pub idle_resident: f64,
    /// How often any thread of the idle daemon ran in a minute.
    pub idle_wakeups: f64,
    /// The size of the program, in bytes.
    pub binary: u64,
    /// How many seconds the whole run took, without the build.
    pub took: f64,
}

/// One row of the targets.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The measured property.
    pub what: &'static str,
    /// The bound, as text.
    pub target: &'static str,
    /// The measured value, as text.
    pub measured: String,
    /// Whether the measured value is within the bound.
    pub met: bool,
}

impl Verdict {
    /// The verdict as a word.
    pub const fn word(&self) -> &'static str {
        if self.met { "met" } else { "missed" }
    }
}

fn at_most(what: &'static str, target: &'static str, measured: String, figure: f64, bound: f64) -> Verdict {
    Verdict { what, target, measured, met: figure <= bound }
}

impl Findings {
    /// The ratio of gipam's rate to the bare loop's, at the shown connections.
    pub fn activate_ratios(&self) -> Vec<(usize, f64)> {
        let ratio = |c| self.rounds.rate_ratio((OURS, Phase::Activate), (BARE, Phase::Activate), c);
        SHOWN.map(|c| (c, ratio(c))).to_vec()
    }

    /// The ratio of a durable phase's rate to that of Plugin.Activate.
    pub fn durable_ratio(&self, phase: Phase, connections: usize) -> f64 {
        self.rounds.rate_ratio((OURS, phase), (OURS, Phase::Activate), connections)
    }

    /// The ratio of a single durable request's latency to that of Activate plus one bare sync.
    pub fn latency_ratio(&self) -> f64 {
        let of = |phase| self.rounds.figures(OURS, phase, 1, |sample| sample.middle);
        let (durable, activate) = (of(Phase::Addresses), of(Phase::Activate));
        let floors = activate.iter().zip(&self.rounds.sync).map(|(activate, sync)| activate + sync);
        median(durable.iter().zip(floors).map(|(durable, floor)| durable / floor))
    }

    /// Every row of the table of targets.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let mut verdicts = self.wire_verdicts();
        verdicts.extend(self.peer_verdict());
        verdicts.extend(self.growth_verdicts());
        verdicts.extend(self.looks_verdicts());
        verdicts.extend(self.plan_verdicts());
        verdicts.extend(self.cluster_verdicts());
        verdicts.extend(self.rest_verdicts());
        verdicts
    }

    fn wire_verdicts(&self) -> Vec<Verdict> {
        let ratios = self.activate_ratios();
        let text: Vec<String> = ratios.iter().map(|(c, ratio)| format!("{ratio:.2} at {c}")).collect();
        let worst = ratios.iter().map(|(_, ratio)| *ratio).fold(f64::INFINITY, f64::min);
        let addresses = self.durable_ratio(Phase::Addresses, 64);
        let cpu = self.rounds.median(OURS, Phase::Addresses, 64, |sample| sample.cpu);
        let later = self.rounds.median(OURS, Phase::Addresses, 64, |sample| sample.later);
        let churn = self.durable_ratio(Phase::Churn, 8);
        let latency = self.latency_ratio();
        vec![
            Verdict {
                what: "Plugin.Activate against a bare loop that answers fixed bytes",
                target: "≥ 0.70",
                measured: format!("{} connections", text.join(", ")),
                met: worst >= 0.7,
            },
            Verdict {
                what: "RequestAddress, durable, 64 connections, against Plugin.Activate",
                target: "≥ 0.45",
                measured: format!("{addresses:.2}"),
                met: addresses >= 0.45,
            },
            at_most(
                "RequestAddress, durable, 64 connections: server CPU per call",
                "≤ 9 µs",
                format!("{cpu:.1} µs, and {later:.1} µs later"),
                cpu,
                9.0,
            ),
            Verdict {
                what: "release and request in turn, durable, 8 connections, against Plugin.Activate",
                target: "≥ 0.20",
                measured: format!("{churn:.2}"),
                met: churn >= 0.2,
            },
            at_most(
                "RequestAddress, durable, 1 connection: latency over Activate and one bare append+fdatasync",
                "≤ 1.20",
                format!("{latency:.2}"),
                latency,
                1.2,
            ),
        ]
    }

    /// The ratio of gipam's rate to a peer's in the same rounds, for each peer that was measured.
    fn peer_verdict(&self) -> Option<Verdict> {
        let ratio =
            |name: &str| self.rounds.rate_ratio((OURS, Phase::Addresses), (name, Phase::Addresses), 64);
        let ratios: Vec<(&str, f64)> =
            self.rounds.peers.iter().map(|(name, _)| (name.as_str(), ratio(name))).collect();
        let worst = ratios.iter().map(|(_, ratio)| *ratio).reduce(f64::min)?;
        let text: Vec<String> = ratios.iter().map(|(name, ratio)| format!("{ratio:.2} ({name})")).collect();
        Some(Verdict {
            what: "RequestAddress, durable, 64 connections, against the other plugin, which does not have to save",
            target: "≥ 1.30",
            measured: text.join(", "),
            met: worst >= 1.3,
        })
    }

    fn growth_verdicts(&self) -> Vec<Verdict> {
        let worst = self.growth.rows.iter().max_by(|a, b| a.ratio().total_cmp(&b.ratio()));
        let (ratio, name) = worst.map_or((f64::NAN, "nothing"), |row| (row.ratio(), row.name));
        let (start, memory) = (self.growth.start(), self.growth.memory());
        let granted = self.growth.memory_granted();
        vec![
            at_most(
                "server CPU per call at 1,000,000 leases in 10,000 subnets against the empty daemon, worst method",
                "≤ 1.25",
                format!("{ratio:.2} ({name})"),
                ratio,
                1.25,
            ),
            at_most(
                "start with 1,000,000 leases until ready",
                "≤ 1.0 s",
                format!("{start:.2} s"),
                start,
                1.0,
            ),
            at_most("... memory, at its peak", "≤ 120 MiB", format!("{memory:.0} MiB"), memory, 120.0),
            at_most(
                "1,000,000 leases in 10,000 subnets, all granted since the start: resident",
                "≤ 140 MiB",
                format!("{granted:.0} MiB"),
                granted,
                140.0,
            ),
        ]
    }

    fn looks_verdicts(&self) -> Vec<Verdict> {
        let looks = &self.growth.looks;
        let (quick, _) = looks.worst(&["who", "history", "leases"]);
        let (wide, cpu) = looks.worst(&["status", "pools", "/metrics"]);
        vec![
            at_most(
                "... gipam who, history, leases SUBNET, from start to end, the slowest",
                "≤ 20 ms",
                format!("{quick:.0} ms"),
                quick,
                20.0,
            ),
            at_most(
                "... gipam status, pools, a scrape of /metrics, the slowest",
                "≤ 50 ms",
                format!("{wide:.0} ms"),
                wide,
                50.0,
            ),
            at_most(
                "... and the CPU time of the daemon for it",
                "≤ 20 ms",
                format!("{cpu:.0} ms"),
                cpu,
                20.0,
            ),
            Verdict {
                what: "... gipam leases --json of everything",
                target: "≥ 500,000 rows/s",
                measured: format!("{:.0} rows/s", looks.streamed),
                met: looks.streamed >= 500_000.0,
            },
            at_most(
                "... memory that the daemon takes for all of that",
                "≤ 16 MiB",
                format!("{:.1} MiB", looks.grown),
                looks.grown,
                16.0,
            ),
            at_most(
                "... p99 of requests under full load with page, scrape and top, over that without",
                "≤ 1.25",
                format!("{:.2}", looks.p99),
                looks.p99,
                1.25,
            ),
        ]
    }

    fn plan_verdicts(&self) -> Vec<Verdict> {
        let (address, pool) = (self.pure.slowest("address"), self.pure.slowest("pool"));
        vec![
            at_most(
                "pure plan: RequestAddress, IPv4 /16 and IPv6 /64, 0 to 99 % full, worst case",
                "≤ 300 ns",
                format!("{address:.0} ns ({:.1} times the best)", self.pure.spread("address")),
                address,
                300.0,
            ),
            at_most(
                "pure plan: RequestPool with up to 10,000 subnets of mixed sizes, worst case",
                "≤ 2 µs",
                format!("{:.2} µs ({:.1} times the best)", pool / 1000.0, self.pure.spread("pool")),
                pool,
                2000.0,
            ),
        ]
    }

    /// Several hosts that divide pools.
    fn cluster_verdicts(&self) -> Vec<Verdict> {
        let ratio = self.rounds.rate_ratio((SLICED, Phase::Addresses), (OURS, Phase::Addresses), 64);
        let cluster = &self.cluster;
        let calls = cluster.per_container();
        let own = self.rounds.claims.most_own_calls();
        vec![
            Verdict {
                what: "RequestAddress, durable, 64 connections, with [plan] against without",
                target: "≥ 0.95",
                measured: format!("{ratio:.2}"),
                met: ratio >= 0.95,
            },
            at_most(
                "calls to etcd for networks in slices of their host, as etcd counts them, in any round",
                "0",
                format!("{own:.0} for {OWN} networks"),
                own,
                0.0,
            ),
            at_most(
                "simulated plan of 1,000 hosts: calls to the store for a network in slices of its host",
                "0",
                format!("{}", cluster.own_calls),
                cluster.own_calls as f64,
                0.0,
            ),
            at_most(
                "... calls to the store per container, 50 in each of 100 networks of each host",
                "≤ 0.01",
                format!("{calls:.4}"),
                calls,
                0.01,
            ),
            at_most(
                "... slices that two hosts had",
                "0",
                format!("{}", cluster.twice),
                cluster.twice as f64,
                0.0,
            ),
        ]
    }

    fn rest_verdicts(&self) -> Vec<Verdict> {
        let (resident, size) = (self.idle_resident / 1024.0, self.binary as f64 / f64::from(1 << 20));
        vec![
            at_most("idle daemon: resident", "≤ 8 MiB", format!("{resident:.1} MiB"), resident, 8.0),
            at_most(
                "idle daemon: its own wake-ups per minute",
                "0",
                format!("{:.0}", self.idle_wakeups),
                self.idle_wakeups,
                0.0,
            ),
            at_most(
                "binary, as packaged: static, stripped",
                "≤ 10 MiB",
                format!("{size:.1} MiB"),
                size,
                10.0,
            ),
        ]
    }
}
