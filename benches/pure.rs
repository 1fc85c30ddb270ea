//! THE PURE PLAN: decide and apply in memory, without disk and wire, timed.
//!
//! Promises: every figure is one decision and its changes applied, the median of samples that each take a while; before
//! them as much is done untimed, so that memory and branches are warm.

use std::time::Duration;

use gipam::plan::prefix::Family;

use crate::desk::{BATCH, Desk};
use crate::stats::median;

/// Addresses in the range that is filled: a /16, or a /112 of a /64 (nobody fills a /64).
const RANGE: u64 = 65_536;
/// Percent.
pub const OCCUPANCIES: [u64; 6] = [0, 25, 50, 75, 90, 99];
/// Subnets that are held already.
pub const STANDING: [usize; 4] = [0, 100, 1_000, 10_000];
/// Of one figure; the first are not taken.
const SAMPLES: usize = 25;
const WARM_UP: usize = 5;
/// How long a sample is meant to take.
const SAMPLE: Duration = Duration::from_millis(30);

/// A figure, by its label.
#[derive(Clone, Debug)]
pub struct Figure {
    /// As in `address v4 scattered`.
    pub series: String,
    /// Percent, or subnets.
    pub at: u64,
    /// Nanoseconds of one call, the median.
    pub nanos: f64,
}

/// All figures.
#[derive(Clone, Debug, Default)]
pub struct Pure {
    /// In the order of measurement.
    pub figures: Vec<Figure>,
}

impl Pure {
    /// The figures of one series.
    pub fn series(&self, name: &str) -> Vec<(u64, f64)> {
        let of_name = self.figures.iter().filter(|figure| figure.series == name);
        of_name.map(|figure| (figure.at, figure.nanos)).collect()
    }

    /// The slowest whose series begins so.
    pub fn slowest(&self, begin: &str) -> f64 {
        let figures = self.figures.iter().filter(|figure| figure.series.starts_with(begin));
        figures.map(|figure| figure.nanos).fold(f64::NAN, f64::max)
    }

    /// The slowest over the fastest of one series.
    pub fn spread(&self, begin: &str) -> f64 {
        let figures = self.figures.iter().filter(|figure| figure.series.starts_with(begin));
        let fastest = figures.map(|figure| figure.nanos).fold(f64::NAN, f64::min);
        self.slowest(begin) / fastest
    }
}

/// Measures everything.
pub fn run() -> Pure {
    let mut pure = Pure::default();
    for family in Family::BOTH {
        for scattered in [false, true] {
            let series = format!("address {family} {}", if scattered { "scattered" } else { "contiguous" });
            for at in OCCUPANCIES {
                let mut desk =
                    Desk::with_leases(family, 16, (RANGE * at / 100).min(RANGE - 3 - BATCH), scattered);
                pure.measure(&series, at, |rounds| desk.time_addresses(rounds));
            }
        }
    }
    for family in Family::BOTH {
        let mut desk = Desk::with_leases(family, 16, RANGE / 2, true);
        pure.measure(&format!("churn {family} scattered"), 50, |rounds| desk.time_churn(rounds));
    }
    for family in Family::BOTH {
        for at in STANDING {
            let mut desk = Desk::with_subnets(family, at);
            pure.measure(&format!("pool {family}"), at as u64, |rounds| desk.time_subnets(rounds));
        }
    }
    pure
}

impl Pure {
    fn measure(&mut self, series: &str, at: u64, mut timed: impl FnMut(u64) -> Duration) {
        // as many rounds as fill a sample, by what the first few cost
        let first = timed(BATCH).as_secs_f64() / BATCH as f64;
        let rounds = ((SAMPLE.as_secs_f64() / first) as u64).max(BATCH);
        let samples = (0..SAMPLES).map(|_| timed(rounds).as_nanos() as f64 / rounds as f64);
        let nanos = median(samples.skip(WARM_UP));
        self.figures.push(Figure { series: series.to_owned(), at, nanos });
    }
}
