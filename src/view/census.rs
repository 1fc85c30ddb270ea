//! How full things are, counted by looks at the ledger's plan.
//!
//! Promises: exact, by the plan's own rules; in bites between two batches, so that no request waits longer than for one of
//! them; keeps nothing but the counts; the fullest subnets one by one, all others together. For metrics at most once a second,
//! and for a twentieth of the time. What changes between two bites may be counted or not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::Fullness;
use crate::ledger::{Ledger, Refusal};
use crate::plan::Plan;
use crate::plan::change::Serial;
use crate::plan::counts::{AddressCounts, SubnetCounts};
use crate::plan::host_use::HostUse;
use crate::plan::prefix::{Family, Prefix};
use crate::plan::request::Space;

/// Counts are at least this old before they are made again.
const FRESH: Duration = Duration::from_secs(1);
/// Counting takes at most this fraction of the time.
const DUTY: u32 = 20;
/// A look takes no longer than this, and a few subnets more.
const BITE: Duration = Duration::from_micros(300);
/// Subnets that are counted between two glances at the clock.
const STEP: usize = 16;

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

/// A counted subnet, without its texts.
#[derive(Clone, Copy, Debug)]
struct Counted {
    serial: Serial,
    prefix: Prefix,
    space: Space,
    counts: AddressCounts,
    full: Fullness,
}

/// What one look counted.
#[derive(Debug, Default)]
struct Bite {
    held: Vec<Counted>,
    /// Cooling subnets by family.
    cooling: [u64; 2],
    /// Where the next look begins.
    next: Option<Serial>,
}

impl Census {
    /// Counts now, `most` of the fullest subnets one by one.
    pub async fn take(ledger: &Ledger, most: usize, in_use: HostUse) -> Result<Self, Refusal> {
        let begun = Instant::now();
        let pools = ledger.look(move |plan| pools(plan, &in_use)).await?;
        let mut census = Self { pools, ..Self::default() };
        let (mut copies, mut fullest) = (BTreeMap::<(Space, Prefix), u32>::new(), Vec::new());
        let mut from = Some(0);
        while let Some(serial) = from {
            let bite = ledger.look(move |plan| bite(plan, serial)).await?;
            for counted in &bite.held {
                census.add(counted);
                *copies.entry((counted.space, counted.prefix)).or_default() += 1;
            }
            for (subnets, cooling) in census.subnets.iter_mut().zip(bite.cooling) {
                subnets[1] += cooling;
            }
            fullest.extend(bite.held);
            if fullest.len() > 2 * most.max(100) {
                cut(&mut fullest, most);
            }
            from = bite.next;
        }
        cut(&mut fullest, most);
        for part in fullest.chunks(STEP) {
            let part: Vec<(Counted, bool)> =
                part.iter().map(|one| (*one, copies.get(&(one.space, one.prefix)) > Some(&1))).collect();
            census.fullest.extend(ledger.look(move |plan| named(plan, &part)).await?);
        }
        let held: u64 = census.subnets.iter().map(|[held, _]| held).sum();
        census.omitted = usize::try_from(held).unwrap_or(usize::MAX).saturating_sub(census.fullest.len());
        census.took = begun.elapsed();
        Ok(census)
    }

    fn add(&mut self, Counted { prefix, counts, .. }: &Counted) {
        let family = prefix.family() as usize;
        self.subnets[family][0] += 1;
        self.addresses[family][0] += counts.leased;
        self.addresses[family][1] += counts.cooling;
    }
}

/// Counts subnets from this serial on, as far as one look goes.
fn bite(plan: &Plan, from: Serial) -> Bite {
    let (begun, mut bite) = (Instant::now(), Bite::default());
    for (n, subnet) in plan.subnets_from(from).enumerate() {
        let (serial, prefix, space) = (subnet.state.serial, subnet.state.prefix, subnet.state.space);
        if n % STEP == STEP - 1 && begun.elapsed() >= BITE {
            bite.next = Some(serial);
            break;
        }
        if subnet.is_held() {
            let counts = plan.count_addresses(subnet);
            bite.held.push(Counted { serial, prefix, space, counts, full: Fullness::of_subnet(&counts) });
        } else if subnet.state.cool_until > plan.now() {
            bite.cooling[prefix.family() as usize] += 1;
        }
    }
    bite
}

/// Leaves the fullest of them, the fullest first.
fn cut(found: &mut Vec<Counted>, most: usize) {
    found.sort_by(|a, b| b.full.0.total_cmp(&a.full.0).then(a.serial.cmp(&b.serial)));
    found.truncate(most);
}

/// With their texts: the PoolID is added where the prefix alone would name two series.
fn named(plan: &Plan, part: &[(Counted, bool)]) -> Vec<SubnetCount> {
    let row = |(counted, is_one_of_several): &(Counted, bool)| {
        let state = &plan.subnet(counted.serial)?.state;
        let prefix = state.prefix;
        Some(SubnetCount {
            subnet: if *is_one_of_several { format!("{prefix} {}", state.id) } else { prefix.to_string() },
            pool: state.pool.clone().unwrap_or_default(),
            space: state.space.name(),
            counts: counted.counts,
            full: counted.full,
        })
    };
    part.iter().filter_map(row).collect()
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

/// The last census, kept for a moment.
#[derive(Debug)]
pub struct Counting {
    ledger: Ledger,
    most: usize,
    last: Mutex<Option<(Instant, Arc<Census>)>>,
}

impl Counting {
    /// Of this ledger, with this many subnets counted one by one.
    pub fn new(ledger: Ledger, most: usize) -> Self {
        Self { ledger, most, last: Mutex::new(None) }
    }

    /// The counts, made again if it is time; a request that comes during a count waits for that count.
    pub async fn look(&self, in_use: HostUse) -> Result<Arc<Census>, Refusal> {
        let mut last = self.last.lock().await;
        if let Some((at, census)) = last.as_ref()
            && at.elapsed() < FRESH.max(census.took * DUTY)
        {
            return Ok(census.clone());
        }
        let census = Arc::new(Census::take(&self.ledger, self.most, in_use).await?);
        *last = Some((Instant::now(), census.clone()));
        Ok(census)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::request::{Context, Request, SubnetRequest, Wanted};
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
            for change in &plan.decide(&request, Context { now: 1, random }).changes {
                plan.apply(change);
            }
        }
        let (mut from, mut serials, mut bites) = (Some(0), Vec::new(), 0);
        while let Some(serial) = from {
            let bite = bite(&plan, serial);
            serials.extend(bite.held.iter().map(|counted| counted.serial));
            (from, bites) = (bite.next, bites + 1);
        }
        let held: Vec<Serial> = plan.subnets().map(|subnet| subnet.state.serial).collect();
        assert_eq!((serials.len(), &serials), (20_000, &held));
        assert!(bites > 1, "one look counted everything");
    }
}
