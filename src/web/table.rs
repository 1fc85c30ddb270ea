//! The table of all metrics: for each one its name, its help text and how a scrape reads it. `docs/metrics.md` is generated
//! from it.
//!
//! Promises: base units (seconds, bytes); code and documentation use the same names, labels and help texts; a test compares
//! the table with a scrape. Counts nothing.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use super::metrics::Scrape;
use crate::docker::counters::OUTCOMES;
use crate::plan::prefix::Family;
use crate::reconcile::FOUND;
use crate::view::kernel::KindName;

pub use prometheus_client::metrics::MetricType as Kind;

#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name without unit and `_total`.
    pub base: &'static str,
    /// `seconds`, `bytes`, `ratio`, or nothing for plain counts.
    pub unit: &'static str,
    /// Its labels, in their order.
    pub labels: &'static [&'static str],
    /// Its help text.
    pub help: &'static str,
    pub(super) read: MetricReader,
}

/// The values of the labels, in the metric's order, and the value of the sample.
pub(super) type Sample<T> = (Vec<String>, T);

/// How a scrape reads a metric. A metric without samples is omitted.
#[derive(Clone, Copy, Debug)]
pub(super) enum MetricReader {
    Gauge(fn(&Scrape) -> Vec<Sample<f64>>),
    Counter(fn(&Scrape) -> Vec<Sample<u64>>),
    Histogram(fn(&Scrape) -> Vec<Sample<Histogram>>),
    /// A label with this value.
    Info(&'static str),
}

impl Metric {
    pub const fn kind(&self) -> Kind {
        match self.read {
            MetricReader::Gauge(_) => Kind::Gauge,
            MetricReader::Counter(_) => Kind::Counter,
            MetricReader::Histogram(_) => Kind::Histogram,
            MetricReader::Info(_) => Kind::Info,
        }
    }

    /// The unit as the library's type.
    pub fn unit(&self) -> Option<Unit> {
        match self.unit {
            "seconds" => Some(Unit::Seconds),
            "bytes" => Some(Unit::Bytes),
            "ratio" => Some(Unit::Other("ratio".to_owned())),
            _ => None,
        }
    }

    /// The name with its unit: the name of the metric family.
    pub fn family(&self) -> String {
        if self.unit.is_empty() { self.base.to_owned() } else { format!("{}_{}", self.base, self.unit) }
    }

    /// The name that a query uses: counters end in `_total`.
    pub fn name(&self) -> String {
        let family = self.family();
        if matches!(self.read, MetricReader::Counter(_)) { family + "_total" } else { family }
    }
}

/// A sample without labels.
fn one<T>(value: T) -> Vec<Sample<T>> {
    vec![(Vec::new(), value)]
}

fn optional(value: Option<f64>) -> Vec<Sample<f64>> {
    value.map(one).unwrap_or_default()
}

/// A sample for each value of the only label.
fn each<T>(samples: impl IntoIterator<Item = (impl Into<String>, T)>) -> Vec<Sample<T>> {
    samples.into_iter().map(|(label, value)| (vec![label.into()], value)).collect()
}

/// A sample for each state. Above 2^53 the float is rounded, as every reader of metrics would do anyway.
fn states<const N: usize>(labels: &[&str], counts: [(&str, u128); N]) -> [Sample<f64>; N] {
    counts.map(|(state, count)| {
        (labels.iter().chain([&state]).map(|label| (*label).to_owned()).collect(), count as f64)
    })
}

const fn flag(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

/// Milliseconds as seconds.
fn seconds(millis: u64) -> f64 {
    millis as f64 / 1_000.0
}

macro_rules! metrics {
    ($($heading:literal { $($base:literal $kind:ident $unit:literal [$($label:literal),*] $help:literal $read:expr;)* })*) => {
        /// All metrics, grouped under headings.
        pub const TABLE: &[(&str, &[Metric])] = &[$(($heading, &[$(Metric {
            base: $base, unit: $unit, labels: &[$($label),*], help: $help, read: MetricReader::$kind($read),
        }),*])),*];
    };
}

metrics! {
    "Usage" {
        "gipam_pool_subnets" Gauge "" ["pool", "family", "state"]
            "Subnets of a pool: used, cooling, reserved (kept free by reservations) and free, the last two in subnets of the pool's size"
            |scrape| scrape.pools().flat_map(|pool| states(&[&pool.pool, &pool.family], [
                ("used", pool.subnets.0), ("cooling", pool.cooling.0), ("reserved", pool.reserved.0), ("free", pool.free.0),
            ])).collect();
        "gipam_pool_fullness" Gauge "ratio" ["pool", "family"]
            "How full a pool is, 0 to 1: the fraction of its space that subnets occupy, or that is too small for a subnet of the pool's size"
            |scrape| scrape.pools().filter(|pool| !pool.closed)
                .map(|pool| (vec![pool.pool.clone(), pool.family.clone()], pool.share.0)).collect();
        "gipam_stale_subnets" Gauge "" ["pool", "family"]
            "Held subnets that lie outside the current base of their pool, because its prefix has changed"
            |scrape| scrape.pools().map(|pool| {
                let rows = scrape.census.iter().flat_map(|census| &census.sources);
                let mut own = rows.filter(|row| row.pool == pool.pool && row.family == pool.family);
                (vec![pool.pool.clone(), pool.family.clone()], own.next().map_or(0.0, |row| row.stale as f64))
            }).collect();
        "gipam_slices" Gauge "" ["state"]
            "Slices of pools that several hosts divide: held by this host, leaving (given back) and lost (another host has them)"
            |scrape| scrape.census.iter().flat_map(|census| each([
                ("held", census.slices.held as f64), ("leaving", census.slices.leaving as f64), ("lost", census.slices.lost as f64),
            ])).collect();
        "gipam_slice_room" Gauge "" []
            "How many more subnets of their pool's size (or addresses, if the pool is one subnet of several hosts) fit into the slices that this host holds; a new slice is claimed before it is 0"
            |scrape| optional(scrape.census.as_ref().filter(|census| census.slices.held > 0).map(|census| census.slices.room as f64));
        "gipam_subnet_addresses" Gauge "" ["subnet", "pool", "space", "state"]
            "Addresses of the fullest subnets: used, cooling, reserved (never given, reserved, or kept for the gateway), others (in no slice of this host; 0 unless several hosts share the subnet) and free; they add up to the subnet"
            |scrape| scrape.fullest().flat_map(|(labels, row)| states(&labels, [
                ("used", row.leases.0), ("cooling", row.cooling.0), ("reserved", row.reserved.0),
                ("others", row.others.0), ("free", row.free.0),
            ])).collect();
        "gipam_subnet_fullness" Gauge "ratio" ["subnet", "pool", "space"]
            "How full each of the fullest subnets is, 0 to 1: leased and cooling addresses as a fraction of all that could be given"
            |scrape| scrape.fullest().map(|(labels, row)| (labels.map(str::to_owned).to_vec(), row.share.0)).collect();
        "gipam_subnets_omitted" Gauge "" []
            "Held subnets beyond metrics_subnets, whose addresses are not counted one by one"
            |scrape| optional(scrape.census.as_ref().map(|census| {
                census.held().saturating_sub(scrape.fullest().count() as u64) as f64
            }));
        "gipam_subnets" Gauge "" ["family", "state"] "Subnets inside and outside the pools: used and cooling"
            |scrape| scrape.census.iter().flat_map(|census| Family::BOTH.map(|family| (family, census.subnets[family as usize])))
                .flat_map(|(family, [held, cooling])| {
                    states(&[family.name()], [("used", held.into()), ("cooling", cooling.into())])
                }).collect();
        "gipam_addresses" Gauge "" ["family", "state"]
            "Addresses of all held subnets: used (leased) and cooling"
            |scrape| scrape.census.iter().flat_map(|census| Family::BOTH.map(|family| (family, census.addresses[family as usize])))
                .flat_map(|(family, [leased, cooling])| states(&[family.name()], [("used", leased), ("cooling", cooling)]))
                .collect();
    }
    "The plan of several hosts" {
        "gipam_plan_hosts" Gauge "" ["state"]
            "Hosts of the plan: active, absent (it has not confirmed its slices since the store was restored), forgotten, unrecorded and unreadable; omitted without a plan"
            |scrape| each(scrape.plan_hosts());
        "gipam_plan_store_up" Gauge "" []
            "1 if the store of the plan answered the last call, else 0; this and the next metric are omitted without a store, and until this host has joined the plan"
            |scrape| optional(scrape.plan_store().map(|store| flag(store.answered.is_some() && store.stale_since.is_none())));
        "gipam_plan_store_stale" Gauge "seconds" []
            "For how long the store of the plan has not answered, so that what is known of other hosts may be out of date; 0 while it answers"
            |scrape| optional(scrape.plan_store().map(|store| {
                store.stale_since.map_or(0.0, |since| seconds(crate::clock::now().saturating_sub(since)))
            }));
    }
    "Routes to the slices of other hosts" {
        "gipam_plan_routes" Gauge "" ["state"]
            "Routes of the plan that gipam keeps in the kernel of this host: kept, and missing (gipam doctor says why); omitted unless [plan] routes is \"kernel\""
            |scrape| each(scrape.running.edge.state.row(KindName::Routes).iter().flat_map(|row| {
                [("kept", row.kept as f64), ("missing", row.wanted.saturating_sub(row.kept) as f64)]
            }));
    }
    "Objects in the kernel" {
        "gipam_kernel_objects" Gauge "" ["kind", "state"]
            "Objects that gipam keeps in the kernel of this host, by kind: kept, and missing (gipam doctor says why); only kinds that are configured"
            |scrape| scrape.running.edge.state.rows().iter().flat_map(|row| {
                [("kept", row.kept as f64), ("missing", row.wanted.saturating_sub(row.kept) as f64)]
                    .map(|(state, count)| (vec![row.kind.name().to_owned(), state.to_owned()], count))
            }).collect();
    }
    "Pools and subnets that are filling up" {
        "gipam_filling" Gauge "" ["what"]
            "Pools and subnets that have reached warn_at and have not dropped well below it since"
            |scrape| {
                let filling = &scrape.found.filling;
                let pools = filling.values().filter(|row| row.subnet.is_none()).count();
                each([("pools", pools as f64), ("subnets", (filling.len() - pools) as f64)])
            };
    }
    "Docker's calls" {
        "gipam_requests" Counter "" ["method", "outcome"]
            "Calls by method and outcome: ok, or the kind of the refusal"
            |scrape| scrape.calls().flat_map(|(method, calls)| {
                let outcomes = OUTCOMES.iter().zip(&calls.outcomes);
                outcomes.map(move |(outcome, count)| (vec![method.to_owned(), (*outcome).to_owned()], count.get()))
            }).collect();
        "gipam_request_duration" Histogram "seconds" ["method"]
            "Time from the complete request to its answer, including the commit"
            |scrape| each(scrape.calls().map(|(method, calls)| (method, calls.seconds.clone())));
        "gipam_malformed_requests" Counter "" []
            "Requests that never became a call: broken, too large or too slow"
            |scrape| one(scrape.running.counters.malformed.load(Relaxed));
        "gipam_empty_bodies" Counter "" []
            "Calls without a body: Docker sends them when it retries a call whose connection broke"
            |scrape| one(scrape.running.counters.empty.load(Relaxed));
        "gipam_undone" Counter "" []
            "Grants undone because their answer could not be delivered"
            |scrape| one(scrape.running.counters.undone.load(Relaxed));
        "gipam_storms" Counter "" []
            "Request storms that gipam stopped: Docker refused one subnet after another"
            |scrape| one(scrape.running.ledger.storms.get());
    }
    "The books" {
        "gipam_commit_duration" Histogram "seconds" [] "Time of one commit, including its sync"
            |scrape| one(scrape.running.ledger.commits.clone());
        "gipam_commit_requests" Histogram "" [] "Requests made durable by one commit"
            |scrape| one(scrape.running.ledger.batches.clone());
        "gipam_commit_failures" Counter "" [] "Commits that failed: the disk was full, busy or broken"
            |scrape| one(scrape.running.ledger.failures.get());
        "gipam_books_writable" Gauge "" [] "1 if the last commit succeeded, 0 if not"
            |scrape| one(flag(scrape.running.ledger.is_writable()));
        "gipam_books_last_sync_timestamp" Gauge "seconds" []
            "When the books were last synced; absent before the first commit since the start"
            |scrape| optional(scrape.running.ledger.synced_at().map(seconds));
        "gipam_books_size" Gauge "bytes" [] "Size of the books without their WAL"
            |scrape| optional(scrape.sizes[0].map(|bytes| bytes as f64));
        "gipam_books_wal_size" Gauge "bytes" [] "Size of the WAL of the books"
            |scrape| optional(scrape.sizes[1].map(|bytes| bytes as f64));
        "gipam_books_log_held" Gauge "" []
            "1 while more than 64 MiB of the WAL are in use because a long-running reader keeps the WAL from being reset, 0 if not"
            |scrape| one(flag(scrape.found.log.is_some()));
        "gipam_books_counting_duration" Gauge "seconds" []
            "How long the last count of subnets and addresses took; absent while it fails"
            |scrape| optional(scrape.census.as_ref().map(|census| census.took.as_secs_f64()));
        "gipam_books_counted" Gauge "" []
            "1 if subnets and addresses could be counted for this scrape, 0 if not"
            |scrape| one(flag(scrape.census.is_some()));
    }
    "Repair" {
        "gipam_engine_up" Gauge "" []
            "1 if the Engine answered the last check, 0 if not; absent before the first check and if repair is off"
            |scrape| optional(scrape.running.repair.last().answers.map(flag));
        "gipam_repair_looks" Counter "" ["outcome"] "Checks of the Engine's lists: ok or failed"
            |scrape| each(["ok", "failed"].into_iter().zip(scrape.running.repair.looks.each_ref().map(|looks| looks.get())));
        "gipam_repair_last_look_timestamp" Gauge "seconds" [] "When the last successful check ended"
            |scrape| optional(scrape.running.repair.last().looked_at.map(seconds));
        "gipam_repair_findings" Gauge "" ["what"]
            "Findings of the last check that are not fixed yet: leases and subnets that seem dead, networks that are missing from the books"
            |scrape| each(FOUND.into_iter().zip(scrape.running.repair.last().found.map(|count| count as f64)));
        "gipam_repair_freed" Counter "" [] "Leases and subnets freed because the Engine does not know them"
            |scrape| one(scrape.running.repair.freed.get());
        "gipam_repair_learned" Counter "" []
            "Leases that were adopted or identified because the Engine showed them"
            |scrape| one(scrape.running.repair.learned.get());
    }
    "Probes" {
        "gipam_quarantined_addresses" Gauge "" []
            "Addresses that machines on a LAN have which are not containers of this host; absent if no pool is probed"
            |scrape| optional(scrape.running.probes.row().map(|row| row.quarantined as f64));
        "gipam_probe_strangers" Counter "" [] "Machines found by probes that have an address of a pool"
            |scrape| one(scrape.running.probes.row().unwrap_or_default().found);
        "gipam_probe_packets" Counter "" [] "Packets sent to probe addresses"
            |scrape| one(scrape.running.probes.row().unwrap_or_default().sent);
        "gipam_probe_missed" Counter "" []
            "Addresses of probed pools given without a probe, because it was not possible or there was no time for it"
            |scrape| one(scrape.running.probes.row().unwrap_or_default().unprobed);
    }
    "Hooks" {
        "gipam_hook_undelivered" Gauge "" ["hook"]
            "Events not yet delivered to a hook; absent while they cannot be counted"
            |scrape| each(scrape.hooks.iter().filter_map(|hook| Some((&hook.hook, hook.behind? as f64))));
        "gipam_hook_delivered" Counter "" ["hook"] "Events delivered to a hook"
            |scrape| each(scrape.hooks.iter().map(|hook| (&hook.hook, hook.delivered)));
        "gipam_hook_failures" Counter "" ["hook"] "Deliveries to a hook that failed and were retried"
            |scrape| each(scrape.hooks.iter().map(|hook| (&hook.hook, hook.failures)));
        "gipam_hook_passed_over" Counter "" ["hook"] "Events that a hook permanently rejected and that were skipped"
            |scrape| each(scrape.hooks.iter().map(|hook| (&hook.hook, hook.passed_over)));
        "gipam_hook_failing" Gauge "" ["hook"] "1 if the last delivery to a hook failed, 0 if not"
            |scrape| each(scrape.hooks.iter().map(|hook| (&hook.hook, flag(hook.failing_since.is_some()))));
    }
    "The program" {
        "gipam_build" Info "" ["version"] "The version" env!("CARGO_PKG_VERSION");
        "gipam_start_timestamp" Gauge "seconds" [] "When the daemon started"
            |scrape| one(seconds(scrape.running.started));
        "gipam_page_viewers" Gauge "" [] "Open web pages that receive live updates"
            |scrape| one(scrape.viewers as f64);
    }
}

const BEFORE: &str = "\
# Metrics

<!-- Generated by `gipam config metrics`; change src/web/table.rs, not this page. -->

`gipam --http PORT` serves metrics at `/metrics`, in the OpenMetrics text format; see [page.md](page.md). Units are seconds and
bytes, times are seconds since 1970. Counters begin at zero at each start.

A scrape counts subnets and addresses, with short reads of the plan that do not delay anything else: at most once a second, and for at
most a twentieth of the time. Only the fullest subnets are counted one by one (`metrics_subnets` in the configuration, 100 unless
set), so that the number of series is limited: five for each of these subnets, eight for each pool, and a few dozen others.

Alert rules are in `packaging/prometheus/gipam.rules.yml`, and a Grafana dashboard is in `packaging/grafana/gipam.json`.
";

/// The page `docs/metrics.md`.
pub fn page() -> String {
    let mut page = BEFORE.to_owned();
    for (heading, metrics) in TABLE {
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {heading}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n");
        for metric in *metrics {
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let name = if matches!(metric.kind(), Kind::Info) {
                format!("{}_info", metric.base)
            } else {
                metric.name()
            };
            let (kind, labels) = (metric.kind(), labels.join(", "));
            let _ = writeln!(page, "| `{name}` | {} | {labels} | {} |", kind.as_str(), metric.help);
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_matches_the_table() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
        assert!(
            std::fs::read_to_string(file).unwrap() == page(),
            "run: gipam config metrics > docs/metrics.md"
        );
    }

    #[test]
    fn names_use_base_units_and_are_unique() {
        let mut seen = std::collections::BTreeSet::new();
        for metric in TABLE.iter().flat_map(|(_, metrics)| *metrics) {
            assert!(metric.base.starts_with("gipam_"), "{}", metric.base);
            for unit in ["_ms", "_millis", "_minutes", "_kb", "_total", "_seconds", "_bytes"] {
                assert!(!metric.base.ends_with(unit), "{}", metric.base);
            }
            assert!(seen.insert(metric.name()), "duplicate {}", metric.base);
        }
    }
}
