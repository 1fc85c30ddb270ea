//! THE PURE PLAN: times decisions and their application in memory, without disk and wire.
//!
//! Promises: every figure is the time to make one decision and apply its changes, as the median of samples
//! that each take a while. Untimed samples come first, so that memory and branch predictors are warm.

use std::time::Duration;

use gipam::plan::prefix::Family;

use crate::desk::{BATCH, Desk};
use crate::stats::median;

/// Addresses in the range that is filled: a /16, or a /112 of a /64 (a whole /64 cannot be filled).
const RANGE: u64 = 65_536;
/// Occupancies, in percent.
pub const OCCUPANCIES: [u64; 6] = [0, 25, 50, 75, 90, 99];
/// Numbers of subnets that are already held.
pub const STANDING: [usize; 4] = [0, 100, 1_000, 10_000];
/// Samples per figure; the first ones are discarded.
const SAMPLES: usize = 25;
const WARM_UP: usize = 5;
/// The intended duration of a sample.
const SAMPLE: Duration = Duration::from_millis(30);

/// A figure with its labels.
#[derive(Clone, Debug)]
pub struct Figure {
    /// The name of the series, as in `address v4 scattered`.
    pub series: String,
    /// The occupancy in percent, or the number of subnets held.
    pub at: u64,
    /// The median time of one call, in nanoseconds.
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

    /// The slowest figure of all series whose names begin with this.
    pub fn slowest(&self, begin: &str) -> f64 {
        let figures = self.figures.iter().filter(|figure| figure.series.starts_with(begin));
        figures.map(|figure| figure.nanos).fold(f64::NAN, f64::max)
    }

    /// The ratio of the slowest figure of a series to the fastest.
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
        // as many rounds as fill a sample, estimated from the first few
        let first = timed(BATCH).as_secs_f64() / BATCH as f64;
        let rounds = ((SAMPLE.as_secs_f64() / first) as u64).max(BATCH);
        let samples = (0..SAMPLES).map(|_| timed(rounds).as_nanos() as f64 / rounds as f64);
        let nanos = median(samples.skip(WARM_UP));
        self.figures.push(Figure { series: series.to_owned(), at, nanos });
    }
}
