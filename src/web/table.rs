//! The table of all metrics. `docs/metrics.md` is generated from it, and `metrics` takes names, labels and help texts from it.
//!
//! Promises: base units (seconds, bytes); code and documentation use the same names, labels and help texts; a test compares
//! the table with a scrape. Counts nothing.

use std::fmt::Write;

pub use prometheus_client::metrics::MetricType as Kind;
use prometheus_client::registry::Unit;

#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name without unit and `_total`.
    pub base: &'static str,
    /// counter, gauge or histogram.
    pub kind: Kind,
    /// `seconds`, `bytes`, `ratio`, or nothing for plain counts.
    pub unit: &'static str,
    /// Its labels, in their order.
    pub labels: &'static [&'static str],
    /// Its help text.
    pub help: &'static str,
}

impl Metric {
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
        if matches!(self.kind, Kind::Counter) { family + "_total" } else { family }
    }
}

const fn metric(
    base: &'static str,
    kind: Kind,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { base, kind, unit, labels, help }
}

macro_rules! metrics {
    ($($heading:literal { $($constant:ident $base:literal $kind:ident $unit:literal [$($label:literal),*] $help:literal;)* })*) => {
        $($(#[doc = $help] pub const $constant: Metric =
            metric($base, Kind::$kind, $unit, &[$($label),*], $help);)*)*

        /// All metrics, grouped under headings.
        pub const TABLE: &[(&str, &[Metric])] = &[$(($heading, &[$($constant),*])),*];
    };
}

metrics! {
    "Usage" {
        POOL_SUBNETS "gipam_pool_subnets" Gauge "" ["pool", "family", "state"]
            "Subnets of a pool: used, cooling, reserved (kept free by reservations) and free, the last two in subnets of the pool's size";
        POOL_FULLNESS "gipam_pool_fullness" Gauge "ratio" ["pool", "family"]
            "How full a pool is, 0 to 1: the part of its space that subnets occupy, or that is too small for a subnet of the pool's size";
        SUBNET_ADDRESSES "gipam_subnet_addresses" Gauge "" ["subnet", "pool", "space", "state"]
            "Addresses of the fullest subnets: used, cooling, reserved (never given, reserved, or kept for the gateway) and free; they add up to the subnet";
        SUBNET_FULLNESS "gipam_subnet_fullness" Gauge "ratio" ["subnet", "pool", "space"]
            "How full each of these subnets is, 0 to 1: leased and cooling addresses of all that could be given";
        SUBNETS_OMITTED "gipam_subnets_omitted" Gauge "" []
            "Held subnets beyond metrics_subnets, whose addresses are not counted one by one";
        SUBNETS "gipam_subnets" Gauge "" ["family", "state"] "Subnets in and outside of pools: used and cooling";
        ADDRESSES "gipam_addresses" Gauge "" ["family", "state"]
            "Addresses of all held subnets: used (leased) and cooling";
    }
    "Pools and subnets that are filling up" {
        FILLING "gipam_filling" Gauge "" ["what"]
            "Pools and subnets that have reached warn_at and have not dropped well below it since";
    }
    "Docker's calls" {
        REQUESTS "gipam_requests" Counter "" ["method", "outcome"]
            "Calls by method and outcome: ok, or the kind of the refusal";
        REQUEST_SECONDS "gipam_request_duration" Histogram "seconds" ["method"]
            "Time from the complete request to its answer, including the commit";
        MALFORMED "gipam_malformed_requests" Counter "" []
            "Requests that never became a call: broken, too large or too slow";
        EMPTY_BODIES "gipam_empty_bodies" Counter "" []
            "Calls without a body: how Docker repeats a call whose connection broke";
        UNDONE "gipam_undone" Counter "" []
            "Grants undone because their answer could not be delivered";
        STORMS "gipam_storms" Counter "" []
            "Storms stopped: Docker refused subnet after subnet and asked for the next";
    }
    "The books" {
        COMMIT_SECONDS "gipam_commit_duration" Histogram "seconds" [] "Time of one commit, including its sync";
        BATCH_REQUESTS "gipam_commit_requests" Histogram "" [] "Requests made durable by one commit";
        COMMIT_FAILURES "gipam_commit_failures" Counter "" [] "Commits that failed: the disk was full, busy or broken";
        WRITABLE "gipam_books_writable" Gauge "" [] "1 if the last commit succeeded, 0 if not";
        SYNCED "gipam_books_last_sync_timestamp" Gauge "seconds" []
            "When the books were last synced; absent before the first commit since the start";
        BOOKS_BYTES "gipam_books_size" Gauge "bytes" [] "Size of the books without their WAL";
        WAL_BYTES "gipam_books_wal_size" Gauge "bytes" [] "Size of the WAL of the books";
        WAL_HELD "gipam_books_log_held" Gauge "" []
            "1 while more than 64 MiB of the WAL are in use because a long-running reader keeps the WAL from being reset, 0 if not";
        COUNTING_SECONDS "gipam_books_counting_duration" Gauge "seconds" []
            "How long the last count of subnets and addresses took; absent while it fails";
        COUNTED "gipam_books_counted" Gauge "" []
            "1 if subnets and addresses could be counted for this scrape, 0 if not";
    }
    "Repair" {
        ENGINE_UP "gipam_engine_up" Gauge "" []
            "1 if the Engine answered the last check, 0 if not; absent before the first check and if repair is off";
        LOOKS "gipam_repair_looks" Counter "" ["outcome"] "Checks of the Engine's lists: ok or failed";
        LAST_LOOK "gipam_repair_last_look_timestamp" Gauge "seconds" [] "When the last successful check ended";
        FINDINGS "gipam_repair_findings" Gauge "" ["what"]
            "What the last check found and is not fixed yet: leases and subnets that seem dead, networks that are missing from the books";
        FREED "gipam_repair_freed" Counter "" [] "Leases and subnets freed because the Engine does not know them";
        LEARNED "gipam_repair_learned" Counter "" []
            "Leases that were adopted or identified because the Engine showed them";
    }
    "Hooks" {
        HOOK_UNDELIVERED "gipam_hook_undelivered" Gauge "" ["hook"]
            "Events not yet delivered to a hook; absent while they cannot be counted";
        HOOK_DELIVERED "gipam_hook_delivered" Counter "" ["hook"] "Events delivered to a hook";
        HOOK_FAILURES "gipam_hook_failures" Counter "" ["hook"] "Deliveries to a hook that failed and were retried";
        HOOK_PASSED_OVER "gipam_hook_passed_over" Counter "" ["hook"] "Events that a hook permanently rejected and that were skipped";
        HOOK_FAILING "gipam_hook_failing" Gauge "" ["hook"] "1 if the last delivery to a hook failed, 0 if not";
    }
    "The program" {
        BUILD "gipam_build" Info "" ["version"] "The version";
        STARTED "gipam_start_timestamp" Gauge "seconds" [] "When the daemon started";
        VIEWERS "gipam_page_viewers" Gauge "" [] "Open web pages that receive live updates";
    }
}

const BEFORE: &str = "\
# Metrics

<!-- Made by `gipam config metrics`; change src/web/table.rs, not this page. -->

`gipam --http PORT` serves metrics at `/metrics`, in the OpenMetrics text format; see [page.md](page.md). Units are seconds and
bytes, times are seconds since 1970. Counters begin at zero at each start.

A scrape counts subnets and addresses, in a read of the books that does not delay anything else: at most once a second, and for at
most a twentieth of the time. Only the fullest subnets are counted one by one (`metrics_subnets` in the configuration, 100 unless
set), so that the number of series is limited: four for each of these subnets, eight for each pool, and a few dozen others.

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
            let name = if matches!(metric.kind, Kind::Info) {
                format!("{}_info", metric.base)
            } else {
                metric.name()
            };
            let kind = metric.kind.as_str();
            let _ = writeln!(page, "| `{name}` | {kind} | {} | {} |", labels.join(", "), metric.help);
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_the_table() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
        assert!(
            std::fs::read_to_string(file).unwrap() == page(),
            "run: gipam config metrics > docs/metrics.md"
        );
    }

    #[test]
    fn names_are_in_base_units_and_stand_once() {
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
