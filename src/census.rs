//! How full things are, counted for metrics without rebuilding the plan.
//!
//! Promises: exact, by the plan's own rules; reads the books without the ledger, keeps nothing but the counts; the
//! fullest subnets one by one, all others together. At most once a second, and a twentieth of the time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::plan::change::Serial;
use crate::plan::counts::{AddressCounts, SubnetCounts};
use crate::plan::host_use::HostUse;
use crate::plan::prefix::Family;
use crate::plan::settings::Millis;
use crate::plan::{Plan, Subnet};
use crate::store::{Error, Reader};
use crate::view::Fullness;

/// Counts are at least this old before they are made again.
const FRESH: Duration = Duration::from_secs(1);
/// Counting takes at most this fraction of the time.
const DUTY: u32 = 20;

/// One family of a pool.
#[derive(Clone, Debug)]
pub struct PoolCount {
    /// Its name.
    pub pool: String,
    /// The family.
    pub family: Family,
    /// Its subnets.
    pub counts: SubnetCounts,
    /// How full it is.
    pub full: Fullness,
    /// It gives no new subnets.
    pub closed: bool,
}

/// One held subnet.
#[derive(Clone, Debug)]
pub struct SubnetCount {
    /// Its prefix; with the PoolID behind it where it is not the only one of that prefix in its space.
    pub subnet: String,
    /// Its pool, or nothing.
    pub pool: String,
    /// Its address space.
    pub space: &'static str,
    /// Its addresses.
    pub counts: AddressCounts,
    /// How full it is.
    pub full: Fullness,
}

/// Everything that was counted.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// By pool and family.
    pub pools: Vec<PoolCount>,
    /// The fullest subnets.
    pub fullest: Vec<SubnetCount>,
    /// Held subnets that are not among them.
    pub omitted: usize,
    /// Subnets by family: held, cooling.
    pub subnets: [[u64; 2]; 2],
    /// Addresses of held subnets by family: leased, cooling.
    pub addresses: [[u128; 2]; 2],
    /// How long the counting took.
    pub took: Duration,
}

impl Census {
    /// Counts now.
    pub fn take(books: &Path, now: Millis, most: usize, in_use: &HostUse) -> Result<Self, Error> {
        let begun = Instant::now();
        let reader = Reader::open(books)?;
        let mut plan = Plan::new(reader.settings()?);
        reader.load_subnets(|change| plan.apply(&change))?;
        plan.advance(now);
        let mut census = Self { pools: pools(&plan, in_use), ..Self::default() };
        let longest = plan.settings().pools.iter().map(|pool| pool.cooling);
        let longest = longest.chain([plan.settings().cooling]).max().unwrap_or(0);
        let mut counter = Counter { plan: &plan, most, serial: 0, given: Vec::new(), found: Vec::new() };
        let mut seen = std::collections::BTreeSet::new();
        reader.given(now.saturating_sub(longest), |serial, address, leased, since| {
            if counter.serial != serial {
                counter.close(&mut census);
                counter.serial = serial;
                seen.insert(serial);
            }
            counter.given.push((address, leased, since));
        })?;
        counter.close(&mut census);
        for subnet in plan.subnets() {
            if subnet.is_held() && !seen.contains(&subnet.state.serial) {
                counter.serial = subnet.state.serial;
                counter.close(&mut census);
            }
        }
        census.fullest = counter.finish();
        for subnet in plan.subnets().filter(|subnet| !subnet.is_held() && subnet.state.cool_until > now) {
            census.subnets[subnet.state.prefix.family() as usize][1] += 1;
        }
        let held: u64 = census.subnets.iter().map(|[held, _]| held).sum();
        census.omitted = usize::try_from(held).unwrap_or(usize::MAX).saturating_sub(census.fullest.len());
        census.took = begun.elapsed();
        Ok(census)
    }
}

fn pools(plan: &Plan, in_use: &HostUse) -> Vec<PoolCount> {
    let families = |pool| Family::BOTH.into_iter().map(move |family| (pool, family));
    let all = plan.settings().pools.iter().flat_map(families);
    let count = |(pool, family): (&crate::plan::settings::PoolSettings, Family)| {
        let base = pool.base(family)?;
        let mut counts = plan.count_subnets(base);
        let full = Fullness::of_pool(base, &counts);
        if pool.closed || Plan::unusable(base.base, in_use).is_some() {
            counts.free = 0;
        }
        Some(PoolCount { pool: pool.name.clone(), family, counts, full, closed: pool.closed })
    };
    all.filter_map(count).collect()
}

/// Counts one subnet after the other.
struct Counter<'a> {
    plan: &'a Plan,
    most: usize,
    serial: Serial,
    given: Vec<(u128, bool, Millis)>,
    /// The fullest so far, and at times some more.
    found: Vec<(Fullness, Serial, AddressCounts)>,
}

impl Counter<'_> {
    fn close(&mut self, census: &mut Census) {
        let given = std::mem::take(&mut self.given);
        let Some(subnet) = self.plan.subnet(self.serial) else { return };
        if !subnet.is_held() {
            return;
        }
        let family = subnet.state.prefix.family() as usize;
        let counts = self.plan.count_given(subnet, given.into_iter());
        census.subnets[family][0] += 1;
        census.addresses[family][0] += counts.leased;
        census.addresses[family][1] += counts.cooling;
        self.found.push((Fullness::of_subnet(&counts), self.serial, counts));
        if self.found.len() > 2 * self.most.max(100) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.found.sort_by(|(a, first, _), (b, second, _)| b.0.total_cmp(&a.0).then(first.cmp(second)));
        self.found.truncate(self.most);
    }

    fn finish(mut self) -> Vec<SubnetCount> {
        self.cut();
        let row = |(full, serial, counts): &(Fullness, Serial, AddressCounts)| {
            let subnet = self.plan.subnet(*serial)?;
            let state = &subnet.state;
            Some(SubnetCount {
                subnet: self.name(subnet),
                pool: state.pool.clone().unwrap_or_default(),
                space: state.space.name(),
                counts: *counts,
                full: *full,
            })
        };
        self.found.iter().filter_map(row).collect()
    }

    /// The prefix, and the PoolID where that alone names two series.
    fn name(&self, subnet: &Subnet) -> String {
        let state = &subnet.state;
        let same = |other: &&Subnet| {
            other.is_held() && other.state.prefix == state.prefix && other.state.space == state.space
        };
        let prefix = state.prefix.to_string();
        if self.plan.subnets().filter(same).count() > 1 { format!("{prefix} {}", state.id) } else { prefix }
    }
}

/// The last census, kept for a moment.
#[derive(Debug)]
pub struct Counting {
    books: PathBuf,
    most: usize,
    last: Mutex<Option<(Instant, Arc<Census>)>>,
}

impl Counting {
    /// For these books, with this many subnets counted one by one.
    pub fn new(books: PathBuf, most: usize) -> Self {
        Self { books, most, last: Mutex::new(None) }
    }

    /// The counts, made again if it is time. Reads the books.
    pub fn look(&self, in_use: &HostUse) -> Result<Arc<Census>, Error> {
        // A request that comes during a count waits for that count.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, census)) = last.as_ref()
            && at.elapsed() < FRESH.max(census.took * DUTY)
        {
            return Ok(census.clone());
        }
        let census = Arc::new(Census::take(&self.books, clock::now(), self.most, in_use)?);
        *last = Some((Instant::now(), census.clone()));
        Ok(census)
    }
}
