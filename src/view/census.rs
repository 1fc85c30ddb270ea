//! Counts how full pools and subnets are, by reading the plan.
//!
//! Promises: exact counts, by the plan's own rules, made in bites (short steps) between two batches, so that no request waits
//! longer than one bite; keeps only counts; lists the fullest subnets individually, the others only in totals. For metrics,
//! counts at most once a second and at most a twentieth of the time. A change between two bites may or may not be counted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::rows::PoolRow;
use super::source::{Budget, HASTE, Source};
use super::subnets::pool_rows;
use super::{COUNTABLE, Fullness, Refusal};
use crate::ledger::Ledger;
use crate::plan::change::Serial;
use crate::plan::counts::{AddressCounts, ShownCounts};
use crate::plan::host_use::HostUse;
use crate::plan::prefix::Prefix;
use crate::plan::request::Space;
use crate::plan::{Plan, Subnet};

/// The minimum age of counts before they are made again.
const FRESH: Duration = Duration::from_secs(1);
/// Counting takes at most 1/`DUTY` of the time.
const DUTY: u32 = 20;
/// Number of subnets between two checks of the time.
const STEP: usize = 16;
/// The minimum number of subnets that are listed individually.
pub const FULLEST: usize = 5;

/// The counts of one held subnet.
#[derive(Clone, Debug)]
pub struct SubnetCount {
    /// Its prefix, followed by its PoolID if another subnet in its address space has the same prefix.
    pub subnet: String,
    pub prefix: Prefix,
    /// The PoolID.
    pub id: String,
    pub serial: Serial,
    /// The generation of its grant.
    pub generation: u64,
    /// Its pool; empty outside all pools.
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
    /// One row for each family of each pool.
    pub pools: Vec<PoolRow>,
    /// The fullest subnets, fullest first; subnets that are too large to fill up come last.
    pub fullest: Vec<SubnetCount>,
    /// Numbers of held and of cooling subnets, by family.
    pub subnets: [[u64; 2]; 2],
    /// Numbers of leased and of cooling addresses in held subnets, by family.
    pub addresses: [[u128; 2]; 2],
    /// Number of reserved addresses in held subnets.
    pub reserved: u128,
    /// Numbers of cooling and of pinned addresses that the leases view shows.
    pub shown: ShownCounts,
    /// Numbers of pools in the settings, and of reservations in the configuration.
    pub settings: [u64; 2],
    /// How long the counting took.
    pub took: Duration,
}

/// The counts of a subnet, before its texts are added.
#[derive(Clone, Copy, Debug)]
struct Counted {
    serial: Serial,
    prefix: Prefix,
    space: Space,
    counts: AddressCounts,
    /// `None` if the subnet is too large for a share to mean anything.
    full: Option<Fullness>,
}

/// The result of one bite.
#[derive(Debug, Default)]
struct Bite {
    held: Vec<Counted>,
    /// Cooling subnets by family.
    cooling: [u64; 2],
    shown: ShownCounts,
}

impl Census {
    /// Counts now, and lists the `most` fullest subnets individually.
    pub fn take(source: &Source, most: usize, in_use: HostUse) -> Result<Self, Refusal> {
        let begun = Instant::now();
        let mut census = Self { pools: pool_rows(source, in_use)?, ..Self::default() };
        (census.shown, census.settings) = source.look(|plan| {
            let settings = plan.settings();
            let sizes = [settings.pools.len(), settings.reserved.len()];
            (plan.count_pinned_alone(), sizes.map(|size| size as u64))
        })?;
        let (mut copies, mut fullest) = (BTreeMap::<(Space, Prefix), u32>::new(), Vec::new());
        source.walk(0, bite, |bite: Bite| {
            for counted in &bite.held {
                census.add(counted);
                *copies.entry((counted.space, counted.prefix)).or_default() += 1;
            }
            for (subnets, cooling) in census.subnets.iter_mut().zip(bite.cooling) {
                subnets[1] += cooling;
            }
            census.shown += bite.shown;
            fullest.extend(bite.held);
            if fullest.len() > 2 * most.max(100) {
                cut(&mut fullest, most);
            }
            Ok(true)
        })?;
        cut(&mut fullest, most);
        for part in fullest.chunks(STEP) {
            let part: Vec<(Counted, bool)> =
                part.iter().map(|one| (*one, copies.get(&(one.space, one.prefix)) > Some(&1))).collect();
            census.fullest.extend(source.look(move |plan| named(plan, &part))?);
        }
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

/// How full a subnet is, unless it is too large to fill up.
pub(super) fn share(counts: &AddressCounts) -> Option<Fullness> {
    let all = counts.leased.saturating_add(counts.cooling).saturating_add(counts.free);
    (all <= COUNTABLE).then(|| Fullness::of_subnet(counts))
}

/// Counts subnets from this serial on, until the budget is spent.
fn bite(plan: &Plan, from: Serial, budget: &Budget) -> (Bite, Option<Serial>) {
    let mut bite = Bite::default();
    for (n, subnet) in plan.subnets_from(from).enumerate() {
        let (serial, prefix, space) = (subnet.state.serial, subnet.state.prefix, subnet.state.space);
        if n % STEP == STEP - 1 && budget.is_spent() {
            return (bite, Some(serial));
        }
        bite.shown += plan.count_shown(subnet);
        if subnet.is_held() {
            let counts = plan.count_addresses(subnet);
            bite.held.push(Counted { serial, prefix, space, counts, full: share(&counts) });
        } else if subnet.state.cool_until > plan.now() {
            bite.cooling[prefix.family() as usize] += 1;
        }
    }
    (bite, None)
}

/// Keeps only the `most` fullest subnets, fullest first: by share, then by leases.
fn cut(found: &mut Vec<Counted>, most: usize) {
    let rank = |one: &Counted| (one.full.map_or(-1.0, |full| full.0), one.counts.leased as f64);
    found.sort_by(|a, b| {
        let (a_rank, b_rank) = (rank(a), rank(b));
        let by_rank = b_rank.0.total_cmp(&a_rank.0).then(b_rank.1.total_cmp(&a_rank.1));
        by_rank.then_with(|| (a.prefix, a.serial).cmp(&(b.prefix, b.serial)))
    });
    found.truncate(most);
}

/// Adds the texts. The PoolID is appended if the prefix alone would name two time series.
fn named(plan: &Plan, part: &[(Counted, bool)]) -> Vec<SubnetCount> {
    let row = |(counted, is_one_of_several): &(Counted, bool)| {
        let state = plan.subnet(counted.serial).map(|subnet: &Subnet| &subnet.state)?;
        let prefix = state.prefix;
        Some(SubnetCount {
            subnet: if *is_one_of_several { format!("{prefix} {}", state.id) } else { prefix.to_string() },
            prefix,
            id: state.id.clone(),
            serial: state.serial,
            generation: state.generation,
            pool: state.pool.clone().unwrap_or_default(),
            space: state.space.name(),
            counts: counted.counts,
            full: Fullness::of_subnet(&counted.counts),
        })
    };
    part.iter().filter_map(row).collect()
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
    /// The number of commits that it includes at least.
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

    /// The counts, made again if they are too old. A request that arrives during a count waits for it. `host` returns what this
    /// host uses of the given base prefixes.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::prefix::Family;
    use crate::plan::request::{Request, SubnetRequest, Wanted};
    use crate::plan::settings::{AddressOrder, Base, PoolSettings, Settings};

    #[test]
    fn bites_count_each_subnet_once_and_each_is_bounded() {
        let base = Prefix::parse("10.0.0.0/8").unwrap();
        let v4 = Some(Base { base, size: 24, addresses: AddressOrder::Sequential });
        let name = "lan".to_owned();
        let pool = PoolSettings { name, v4, v6: None, cooling: 0, subnet_cooling: 0, closed: false };
        let mut plan = Plan::new(Settings { pools: vec![pool], storm_limit: 0, ..Settings::default() });
        for random in 0..20_000 {
            let request = Request::Subnet(SubnetRequest {
                space: Space::Local,
                family: Family::V4,
                wanted: Wanted::Any { size: None },
                range: None,
                options: BTreeMap::new(),
                pools: None,
                in_use: HostUse::default(),
                in_a_row: 0,
                dead: Arc::default(),
            });
            for change in &plan.decide(&request, random).changes {
                plan.apply(change);
            }
        }
        let (mut from, mut serials, mut bites) = (Some(0), Vec::new(), 0);
        while let Some(serial) = from {
            let (bite, next) = bite(&plan, serial, &Budget::now());
            serials.extend(bite.held.iter().map(|counted| counted.serial));
            (from, bites) = (next, bites + 1);
        }
        let held: Vec<Serial> = plan.subnets().map(|subnet| subnet.state.serial).collect();
        assert_eq!((serials.len(), &serials), (20_000, &held));
        assert!(bites > 1, "one read counted everything");
    }
}
