//! Counts how full pools and subnets are, by reading the plan.
//!
//! Promises: exact counts, by the plan's own rules, made in bites (short steps) between batches, so that no request waits
//! longer than one bite; keeps only counts; lists the fullest subnets individually, the others only in totals. For metrics, it
//! counts at most once a second, and for at most a twentieth of the time. A change between two bites may or may not be counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::rows::{PoolRow, SubnetRow};
use super::source::{HASTE, Source};
use super::sources::{SourceRow, StaleCounts, source_rows, stale_of};
use super::subnets::{pool_rows, subnet_row};
use super::{COUNTABLE, Fullness, Refusal};
use crate::ledger::Ledger;
use crate::plan::change::{Serial, SubnetState};
use crate::plan::counts::{AddressCounts, ShownCounts, SliceCounts};
use crate::plan::host_use::HostUse;
use crate::plan::prefix::Prefix;
use crate::plan::request::Space;
use crate::plan::{Plan, Subnet};

/// Counts that are younger than this are used again.
const FRESH: Duration = Duration::from_secs(1);
/// Counting for metrics takes at most 1/`DUTY` of the time.
const DUTY: u32 = 20;
/// The minimum number of subnets that are listed individually.
pub const FULLEST: usize = 5;

/// A subnet that is listed individually.
#[derive(Clone, Debug)]
pub struct CountedSubnet {
    /// Its prefix, followed by its PoolID if another subnet in its address space has the same prefix.
    pub label: String,
    pub serial: Serial,
    /// The generation of its grant.
    pub generation: u64,
    /// Its row, without the name of its network.
    pub row: SubnetRow,
}

/// Everything that was counted.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// One row for each family of each pool.
    pub pools: Vec<PoolRow>,
    /// The fullest subnets, fullest first; subnets that are too large to fill up come last.
    pub fullest: Vec<CountedSubnet>,
    /// Numbers of held and of cooling subnets, by family.
    pub subnets: [[u64; 2]; 2],
    /// Numbers of leased and of cooling addresses in held subnets, by family.
    pub addresses: [[u128; 2]; 2],
    /// Number of reserved addresses in held subnets.
    pub reserved: u128,
    /// Numbers of cooling and of pinned addresses that the leases view shows.
    pub shown: ShownCounts,
    /// The slices of this host.
    pub slices: SliceCounts,
    /// Pools whose base comes from a source or that have stale subnets.
    pub sources: Vec<SourceRow>,
    /// Numbers of pools in the settings, and of reservations in the configuration.
    pub settings: [u64; 2],
    /// How long the counting took.
    pub took: Duration,
}

/// The counts of a held subnet, without its texts.
#[derive(Clone, Copy, Debug)]
struct Counted {
    serial: Serial,
    prefix: Prefix,
    space: Space,
    counts: AddressCounts,
}

impl Census {
    /// Counts now, and lists the `most` fullest subnets individually.
    pub fn take(source: &Source, most: usize, in_use: HostUse) -> Result<Self, Refusal> {
        let begun = Instant::now();
        let mut census = Self { pools: pool_rows(source, in_use)?, ..Self::default() };
        (census.shown, census.settings, census.slices) = source.look(|plan| {
            let settings = plan.settings();
            let sizes = [settings.pools.len(), settings.reserved.len()];
            (plan.count_pinned_alone(), sizes.map(|size| size as u64), plan.count_slices())
        })?;
        let (mut copies, mut fullest) = (BTreeMap::<(Space, Prefix), u32>::new(), Vec::new());
        let count = |plan: &Plan, subnet: &Subnet| {
            let SubnetState { serial, prefix, space, cool_until, .. } = subnet.state;
            let counts = || plan.count_addresses(subnet);
            let held = subnet.is_held().then(|| Counted { serial, prefix, space, counts: counts() });
            let is_cooling = held.is_none() && cool_until > plan.now();
            let cooling = is_cooling.then_some(prefix.family());
            Some((plan.count_shown(subnet), held, cooling, stale_of(plan, subnet)))
        };
        let mut stale = StaleCounts::new();
        source.each_subnet(count, |(shown, held, cooling, of_stale)| {
            census.shown += shown;
            if let Some(pool) = of_stale {
                *stale.entry(pool).or_default() += 1;
            }
            if let Some(family) = cooling {
                census.subnets[family as usize][1] += 1;
            }
            if let Some(counted) = held {
                census.add(&counted);
                *copies.entry((counted.space, counted.prefix)).or_default() += 1;
                fullest.push(counted);
            }
            if fullest.len() > 2 * most.max(100) {
                cut(&mut fullest, most);
            }
            Ok(())
        })?;
        census.sources = source.look(move |plan| source_rows(plan, &stale))?;
        cut(&mut fullest, most);
        let labelled = |plan: &Plan, counted: &Counted| {
            let (serial, generation, row) = subnet_row(plan, plan.subnet(counted.serial)?);
            Some(CountedSubnet { label: row.prefix.clone(), serial, generation, row })
        };
        let is_copied = |one: &Counted| copies.get(&(one.space, one.prefix)) > Some(&1);
        let copied: BTreeSet<Serial> =
            fullest.iter().filter(|one| is_copied(one)).map(|one| one.serial).collect();
        source.each_of(fullest, labelled, |mut subnet| {
            if copied.contains(&subnet.serial) {
                // The prefix alone would name two time series.
                subnet.label = format!("{} {}", subnet.row.prefix, subnet.row.id);
            }
            census.fullest.push(subnet);
            Ok(())
        })?;
        census.took = begun.elapsed();
        Ok(census)
    }

    /// Held subnets of both families.
    pub fn held(&self) -> u64 {
        self.subnets.iter().map(|[held, _]| held).sum()
    }

    /// Leases of both families.
    pub fn leases(&self) -> u64 {
        let leased: u128 = self.addresses.iter().map(|[leased, _]| leased).sum();
        u64::try_from(leased).unwrap_or(u64::MAX)
    }

    /// How many rows the leases view has.
    pub(super) fn rows(&self) -> usize {
        let rows = self.leases() + self.shown.cooling + self.shown.pinned;
        usize::try_from(rows).unwrap_or(usize::MAX)
    }

    fn add(&mut self, Counted { prefix, counts, .. }: &Counted) {
        let family = prefix.family() as usize;
        self.subnets[family][0] += 1;
        self.addresses[family][0] += counts.leased;
        self.addresses[family][1] += counts.cooling;
        self.reserved += counts.reserved;
    }
}

/// Keeps only the `most` fullest subnets, fullest first: by share, then by leases.
fn cut(found: &mut Vec<Counted>, most: usize) {
    let rank = |Counted { counts, .. }: &Counted| {
        let is_countable =
            counts.leased.saturating_add(counts.cooling).saturating_add(counts.free) <= COUNTABLE;
        (if is_countable { Fullness::of_subnet(counts).0 } else { -1.0 }, counts.leased as f64)
    };
    found.sort_by(|a, b| {
        let (a_rank, b_rank) = (rank(a), rank(b));
        let by_rank = b_rank.0.total_cmp(&a_rank.0).then(b_rank.1.total_cmp(&a_rank.1));
        by_rank.then_with(|| (a.prefix, a.serial).cmp(&(b.prefix, b.serial)))
    });
    found.truncate(most);
}

/// How old counts may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CensusAge {
    /// Nothing has been committed since they were made.
    Current,
    /// They may be a moment old.
    AMoment,
}

/// A cached census.
#[derive(Debug)]
struct KeptCensus {
    census: Arc<Census>,
    made: Instant,
    /// It includes at least this many commits.
    commits: u64,
}

/// Makes a census and caches it for a moment.
#[derive(Debug)]
pub struct Counting {
    source: Source,
    commits: watch::Receiver<u64>,
    most: usize,
    last: Mutex<Option<KeptCensus>>,
}

impl Counting {
    /// Counts this ledger's plan, with the `most` fullest subnets listed individually. Must be called on a runtime.
    pub fn new(ledger: &Ledger, most: usize) -> Self {
        let (source, commits) = (Source::of(ledger, HASTE), ledger.meters().follow());
        Self { source, commits, most: most.max(FULLEST), last: Mutex::new(None) }
    }

    /// The counts, made again if they are too old. A request that arrives during a count waits for it. `host` returns which
    /// parts of the given base prefixes this host uses.
    pub fn look(
        &self,
        host: impl FnOnce(Box<[Prefix]>) -> HostUse,
        age: CensusAge,
    ) -> Result<Arc<Census>, Refusal> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let commits = *self.commits.borrow();
        if let Some(kept) = last.as_ref() {
            let is_fresh = kept.made.elapsed() < FRESH.max(kept.census.took * DUTY);
            if is_fresh && (age == CensusAge::AMoment || kept.commits == commits) {
                return Ok(kept.census.clone());
            }
        }
        let in_use = host(self.source.look(Plan::bases)?);
        let census = Arc::new(Census::take(&self.source, self.most, in_use)?);
        *last = Some(KeptCensus { census: census.clone(), made: Instant::now(), commits });
        Ok(census)
    }

    /// The last counts, whatever their age.
    pub fn last(&self) -> Option<Arc<Census>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().map(|kept| kept.census.clone())
    }
}
