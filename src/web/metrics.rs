//! `/metrics`: writes all metrics in the OpenMetrics text format.
//!
//! Promises: writes every metric of `table` with its name, unit and labels; if the books cannot be counted, their gauges are
//! omitted, one metric reports that, and all others are written. Counts nothing itself.

use std::fmt::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::table::{self, Metric};
use crate::admin::RunningDaemon;
use crate::docker::counters::{METHODS, OUTCOMES};
use crate::plan::prefix::Family;
use crate::plan::settings::Millis;
use crate::reconcile;
use crate::view::census::Census;
use crate::view::rows::HookRow;
use crate::watch::{Subject, WatchFound};

/// Everything that one scrape writes.
#[derive(Debug)]
pub struct Scrape {
    pub running: RunningDaemon,
    /// What the books hold, if they could be counted.
    pub census: Option<Arc<Census>>,
    /// Sizes of the books and of their WAL.
    pub sizes: [Option<u64>; 2],
    /// What is filling up, and whether a reader keeps the WAL from being reset.
    pub found: WatchFound,
    pub hooks: Vec<HookRow>,
    /// Subnets that are written one by one.
    pub subnets: usize,
    /// Number of pages that follow events.
    pub viewers: usize,
}

/// The sizes of the books and of their WAL, in bytes.
pub fn sizes(books: &Path) -> [Option<u64>; 2] {
    let mut log = books.as_os_str().to_owned();
    log.push("-wal");
    [books, Path::new(&log)].map(|path| std::fs::metadata(path).ok().map(|found| found.len()))
}

impl Scrape {
    pub fn text(self) -> Result<String, Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// Writes metric families one after the other.
struct MetricsWriter<'a>(DescriptorEncoder<'a>);

impl MetricsWriter<'_> {
    /// Writes a family with its samples: the label values in the table's order, and the metric.
    fn family<'v, M: EncodeMetric>(
        &mut self,
        metric: &Metric,
        samples: impl IntoIterator<Item = (Vec<&'v str>, M)>,
    ) -> Result<(), Error> {
        let unit = metric.unit();
        let mut family = self.0.encode_descriptor(metric.base, metric.help, unit.as_ref(), metric.kind)?;
        for (values, sample) in samples {
            let labels: Vec<(&str, &str)> = metric.labels.iter().copied().zip(values).collect();
            if labels.is_empty() {
                return sample.encode(family);
            }
            sample.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauge(&mut self, metric: &Metric, value: Option<f64>) -> Result<(), Error> {
        let Some(value) = value else { return Ok(()) };
        self.family(metric, [(Vec::new(), ConstGauge::new(value))])
    }

    fn counter(&mut self, metric: &Metric, value: u64) -> Result<(), Error> {
        self.family(metric, [(Vec::new(), ConstCounter::new(value))])
    }
}

/// Milliseconds as seconds.
fn seconds(millis: Millis) -> f64 {
    millis as f64 / 1_000.0
}

const fn flag(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

/// One sample for each state. Above 2^53 the float is rounded, as every reader of metrics would do anyway.
fn states<'v>(labels: &[&'v str], counts: &[(&'v str, u128)]) -> Vec<(Vec<&'v str>, ConstGauge<f64>)> {
    let sample = |(state, count): &(&'v str, u128)| {
        let labels = labels.iter().copied().chain([*state]).collect();
        (labels, ConstGauge::new(*count as f64))
    };
    counts.iter().map(sample).collect()
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), Error> {
        let mut writer = MetricsWriter(encoder);
        if let Some(census) = &self.census {
            write_census(&mut writer, census, self.subnets)?;
        }
        let pools =
            self.found.filling.keys().filter(|subject| matches!(subject, Subject::Pool { .. })).count();
        let counts = [("pools", pools), ("subnets", self.found.filling.len() - pools)];
        let filling = counts.map(|(what, count)| (vec![what], ConstGauge::new(count as f64)));
        writer.family(&table::FILLING, filling)?;
        self.write_calls(&mut writer)?;
        self.write_books(&mut writer)?;
        self.write_repair(&mut writer)?;
        self.write_hooks(&mut writer)?;
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        writer.family(&table::BUILD, [(Vec::new(), version)])?;
        writer.gauge(&table::STARTED, Some(seconds(self.running.started)))?;
        writer.gauge(&table::VIEWERS, Some(self.viewers as f64))
    }
}

fn write_census(writer: &mut MetricsWriter<'_>, census: &Census, most: usize) -> Result<(), Error> {
    let pools = census.pools.iter().flat_map(|pool| {
        let counts = [
            ("used", pool.subnets.0),
            ("cooling", pool.cooling.0),
            ("reserved", pool.reserved.0),
            ("free", pool.free.0),
        ];
        states(&[&pool.pool, &pool.family], &counts)
    });
    writer.family(&table::POOL_SUBNETS, pools)?;
    let pools = census.pools.iter().filter(|pool| !pool.closed);
    let pools =
        pools.map(|pool| (vec![pool.pool.as_str(), pool.family.as_str()], ConstGauge::new(pool.share.0)));
    writer.family(&table::POOL_FULLNESS, pools)?;
    let fullest = || census.fullest.iter().take(most);
    let subnets = fullest().flat_map(|subnet| {
        let counts = &subnet.counts;
        let counts = [
            ("used", counts.leased),
            ("cooling", counts.cooling),
            ("reserved", counts.reserved + counts.never_given + counts.slot),
            ("free", counts.free),
        ];
        states(&[&subnet.subnet, &subnet.pool, subnet.space], &counts)
    });
    writer.family(&table::SUBNET_ADDRESSES, subnets)?;
    let subnets = fullest().map(|subnet| {
        let labels = vec![subnet.subnet.as_str(), subnet.pool.as_str(), subnet.space];
        (labels, ConstGauge::new(subnet.full.0))
    });
    writer.family(&table::SUBNET_FULLNESS, subnets)?;
    let omitted = census.held().saturating_sub(fullest().count() as u64);
    writer.gauge(&table::SUBNETS_OMITTED, Some(omitted as f64))?;
    let both = Family::BOTH.map(|family| (family.name(), family as usize));
    let subnets = both.iter().flat_map(|(name, at)| {
        let [held, cooling] = census.subnets[*at];
        states(&[name], &[("used", held.into()), ("cooling", cooling.into())])
    });
    writer.family(&table::SUBNETS, subnets)?;
    let addresses = both.iter().flat_map(|(name, at)| {
        let [leased, cooling] = census.addresses[*at];
        states(&[name], &[("used", leased), ("cooling", cooling)])
    });
    writer.family(&table::ADDRESSES, addresses)
}

impl Scrape {
    fn write_calls(&self, writer: &mut MetricsWriter<'_>) -> Result<(), Error> {
        let calls = || {
            METHODS
                .iter()
                .map(|path| path.rsplit('.').next().unwrap_or(path))
                .zip(&self.running.counters.calls)
        };
        let outcomes = calls().flat_map(|(method, calls)| {
            let outcomes = OUTCOMES.iter().zip(&calls.outcomes);
            outcomes.map(move |(outcome, count)| (vec![method, *outcome], ConstCounter::new(count.get())))
        });
        writer.family(&table::REQUESTS, outcomes)?;
        let times = calls().map(|(method, calls)| (vec![method], calls.seconds.clone()));
        writer.family(&table::REQUEST_SECONDS, times)?;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        writer.counter(&table::MALFORMED, read(&self.running.counters.malformed))?;
        writer.counter(&table::EMPTY_BODIES, read(&self.running.counters.empty))?;
        writer.counter(&table::UNDONE, read(&self.running.counters.undone))?;
        writer.counter(&table::STORMS, self.running.ledger.storms.get())
    }

    fn write_books(&self, writer: &mut MetricsWriter<'_>) -> Result<(), Error> {
        writer.family(&table::COMMIT_SECONDS, [(Vec::new(), self.running.ledger.commits.clone())])?;
        writer.family(&table::BATCH_REQUESTS, [(Vec::new(), self.running.ledger.batches.clone())])?;
        writer.counter(&table::COMMIT_FAILURES, self.running.ledger.failures.get())?;
        writer.gauge(&table::WRITABLE, Some(flag(self.running.ledger.is_writable())))?;
        writer.gauge(&table::SYNCED, self.running.ledger.synced_at().map(seconds))?;
        let [books, log] = self.sizes.map(|size| size.map(|bytes| bytes as f64));
        writer.gauge(&table::BOOKS_BYTES, books)?;
        writer.gauge(&table::WAL_BYTES, log)?;
        writer.gauge(&table::WAL_HELD, Some(flag(self.found.log.is_some())))?;
        let took = self.census.as_ref().map(|census| census.took.as_secs_f64());
        writer.gauge(&table::COUNTING_SECONDS, took)?;
        writer.gauge(&table::COUNTED, Some(flag(self.census.is_some())))
    }

    fn write_hooks(&self, writer: &mut MetricsWriter<'_>) -> Result<(), Error> {
        let hooks = || self.hooks.iter().map(|hook| (vec![hook.hook.as_str()], hook));
        let waiting = hooks().filter_map(|(name, hook)| Some((name, ConstGauge::new(hook.behind? as f64))));
        writer.family(&table::HOOK_UNDELIVERED, waiting)?;
        let delivered = hooks().map(|(name, hook)| (name, ConstCounter::new(hook.delivered)));
        writer.family(&table::HOOK_DELIVERED, delivered)?;
        let failures = hooks().map(|(name, hook)| (name, ConstCounter::new(hook.failures)));
        writer.family(&table::HOOK_FAILURES, failures)?;
        let passed_over = hooks().map(|(name, hook)| (name, ConstCounter::new(hook.passed_over)));
        writer.family(&table::HOOK_PASSED_OVER, passed_over)?;
        let failing = |hook: &HookRow| ConstGauge::new(flag(hook.failing_since.is_some()));
        writer.family(&table::HOOK_FAILING, hooks().map(|(name, hook)| (name, failing(hook))))
    }

    fn write_repair(&self, writer: &mut MetricsWriter<'_>) -> Result<(), Error> {
        let repair = &self.running.repair;
        writer.gauge(&table::ENGINE_UP, repair.engine_answers().map(flag))?;
        let looks = ["ok", "failed"].into_iter().zip(&repair.looks);
        writer.family(
            &table::LOOKS,
            looks.map(|(outcome, looks)| (vec![outcome], ConstCounter::new(looks.get()))),
        )?;
        writer.gauge(&table::LAST_LOOK, repair.looked_at().map(seconds))?;
        let found = reconcile::FOUND.into_iter().zip(repair.found());
        writer.family(
            &table::FINDINGS,
            found.map(|(what, count)| (vec![what], ConstGauge::new(count as f64))),
        )?;
        writer.counter(&table::FREED, repair.freed.get())?;
        writer.counter(&table::LEARNED, repair.learned.get())
    }
}
