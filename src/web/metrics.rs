//! `/metrics`: writes the metrics of `table` in the OpenMetrics text format.
//!
//! Promises: every metric has its name, unit and labels; if the books cannot be counted, their gauges are omitted, one metric
//! reports that, and all others are written. Counts nothing itself.

use std::fmt::Error;
use std::path::Path;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::table::{Metric, MetricReader, Sample, TABLE};
use crate::admin::RunningDaemon;
use crate::claims::StoreHealth;
use crate::claims::division::{HostPlan, HostState};
use crate::docker::counters::{Calls, METHODS};
use crate::view::census::{Census, CountedSubnet};
use crate::view::rows::{HookRow, PoolRow, SubnetRow};
use crate::watch::WatchFound;

/// Everything that one scrape writes.
#[derive(Debug)]
pub struct Scrape {
    pub running: RunningDaemon,
    /// The counts of subnets and addresses, if they could be made.
    pub census: Option<Arc<Census>>,
    /// Sizes of the books and of their WAL.
    pub sizes: [Option<u64>; 2],
    /// Pools and subnets that are filling up, and whether a reader keeps the WAL from being reset.
    pub found: WatchFound,
    pub hooks: Vec<HookRow>,
    /// The maximum number of subnets that are written one by one.
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

    pub(super) fn pools(&self) -> impl Iterator<Item = &PoolRow> {
        self.census.iter().flat_map(|census| &census.pools)
    }

    /// The subnets that are written one by one, with their labels.
    pub(super) fn fullest(&self) -> impl Iterator<Item = ([&str; 3], &SubnetRow)> {
        let fullest = self.census.iter().flat_map(|census| census.fullest.iter().take(self.subnets));
        fullest.map(|CountedSubnet { label, row, .. }| {
            ([label.as_str(), row.pool.as_deref().unwrap_or_default(), &row.space], row)
        })
    }

    /// How many hosts of the plan are in each state; nothing without a plan.
    pub(super) fn plan_hosts(&self) -> Vec<(&'static str, f64)> {
        let Some(division) = self.running.plan.get().and_then(|plan| plan.division.clone()) else {
            return Vec::new();
        };
        let state = |host: &HostPlan| host.record.as_ref().map_or(HostState::Active, |record| record.state);
        let count = |wanted| division.hosts.iter().filter(|host| state(host) == wanted).count() as f64;
        HostState::ALL.map(|wanted| (wanted.name(), count(wanted))).into()
    }

    /// The store of the plan, if this host has joined it.
    pub(super) fn plan_store(&self) -> Option<StoreHealth> {
        self.running.plan.get()?.store.clone().filter(|store| store.joined)
    }

    pub(super) fn calls(&self) -> impl Iterator<Item = (&'static str, &Calls)> {
        let names = METHODS.iter().map(|path| path.rsplit('.').next().unwrap_or(path));
        names.zip(&self.running.counters.calls)
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), Error> {
        for metric in TABLE.iter().flat_map(|(_, metrics)| *metrics) {
            let to = &mut encoder;
            match metric.read {
                MetricReader::Gauge(read) => write(to, metric, read(self), ConstGauge::new)?,
                MetricReader::Counter(read) => write(to, metric, read(self), ConstCounter::new)?,
                MetricReader::Histogram(read) => write(to, metric, read(self), |histogram| histogram)?,
                MetricReader::Info(value) => {
                    let labels = metric.labels.iter().map(|label| (*label, value)).collect();
                    write(to, metric, vec![(Vec::new(), labels)], Info::<Vec<_>>::new)?;
                }
            }
        }
        Ok(())
    }
}

/// Writes a metric with its samples, unless there are none.
fn write<T, M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    metric: &Metric,
    samples: Vec<Sample<T>>,
    made: impl Fn(T) -> M,
) -> Result<(), Error> {
    if samples.is_empty() {
        return Ok(());
    }
    let unit = metric.unit();
    let mut family = encoder.encode_descriptor(metric.base, metric.help, unit.as_ref(), metric.kind())?;
    for (values, value) in samples {
        if values.is_empty() {
            return made(value).encode(family);
        }
        let labels: Vec<(&str, String)> = metric.labels.iter().copied().zip(values).collect();
        made(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
