//! Where a view gets the plan: from the ledger of this daemon, or from books that no daemon serves.
//!
//! Promises: a daemon has one plan; a look at it runs between batches and is limited by a [`Budget`], so long
//! reads are split into bites. A change between two bites may or may not be seen. A look blocks, so it must run on a thread
//! that may block; while the disk hangs, it gives up after a while with an error that says so.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;

pub use crate::ledger::Budget;
use crate::ledger::{Ledger, Refusal};
use crate::plan::change::Serial;
use crate::plan::error::ErrorKind;
use crate::plan::{Plan, Subnet};

/// How long a look may wait for its turn if the view has no other data to show.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long a look may wait for its turn if older data can be shown instead.
pub const HASTE: Duration = Duration::from_secs(2);

/// Access to the plan.
#[derive(Clone, Debug)]
pub enum Source {
    /// The ledger that has the plan, a runtime on which to wait, and how long to wait.
    Ledger(Ledger, Handle, Duration),
    /// A plan that does not change.
    Plan(Arc<Plan>),
}

impl Source {
    /// The plan of a ledger; looks wait up to `patience` for their turn. Must be called on a runtime with time enabled.
    pub fn of(ledger: &Ledger, patience: Duration) -> Self {
        Self::Ledger(ledger.clone(), Handle::current(), patience)
    }

    /// Runs `look` on the plan; it must be short.
    pub fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Plan) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        match self {
            Self::Plan(plan) => Ok(look(plan)),
            Self::Ledger(ledger, runtime, patience) => {
                let looking = runtime.block_on(async { timeout(*patience, ledger.look(look)).await });
                looking.unwrap_or_else(|_| Err(stalled(ledger, *patience)))
            }
        }
    }

    /// Does a long read in several looks. Each look gets a start and a budget, and returns what it found and where the next
    /// look starts, if there is more. `take` returns whether to continue.
    pub fn walk<C: Send + 'static, T: Send + 'static>(
        &self,
        first: C,
        bite: impl Fn(&Plan, C, &Budget) -> (T, Option<C>) + Clone + Send + 'static,
        mut take: impl FnMut(T) -> Result<bool, Refusal>,
    ) -> Result<(), Refusal> {
        let mut from = Some(first);
        while let Some(here) = from {
            let bite = bite.clone();
            let (found, next) = self.look(move |plan| bite(plan, here, &Budget::now()))?;
            from = if take(found)? { next } else { None };
        }
        Ok(())
    }

    /// Walks through all subnets in several looks: `take` receives what `each` returns for every subnet.
    pub fn each_subnet<T: Send + 'static>(
        &self,
        each: impl Fn(&Plan, &Subnet) -> Option<T> + Clone + Send + 'static,
        mut take: impl FnMut(T) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let bite = move |plan: &Plan, from, budget: &Budget| subnets_from(plan, from, budget, &each);
        self.walk(0, bite, |found| found.into_iter().try_for_each(&mut take).map(|()| true))
    }

    /// Walks through these items in several looks: `take` receives what `each` returns for every item.
    pub fn each_of<I: Send + Sync + 'static, T: Send + 'static>(
        &self,
        items: Vec<I>,
        each: impl Fn(&Plan, &I) -> Option<T> + Clone + Send + 'static,
        mut take: impl FnMut(T) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let items: Arc<[I]> = items.into();
        let bite = move |plan: &Plan, from: usize, budget: &Budget| {
            let mut found = Vec::new();
            for (n, item) in items.iter().enumerate().skip(from) {
                if n > from && budget.is_spent() {
                    return (found, Some(n));
                }
                found.extend(each(plan, item));
            }
            (found, None)
        };
        self.walk(0, bite, |found| found.into_iter().try_for_each(&mut take).map(|()| true))
    }
}

/// What `each` returns for the subnets from this serial on, until the budget is spent, and the serial of the next one.
fn subnets_from<T>(
    plan: &Plan,
    from: Serial,
    budget: &Budget,
    each: &impl Fn(&Plan, &Subnet) -> Option<T>,
) -> (Vec<T>, Option<Serial>) {
    let mut found = Vec::new();
    for subnet in plan.subnets_from(from) {
        let serial = subnet.state.serial;
        if serial > from && budget.is_spent() {
            return (found, Some(serial));
        }
        found.extend(each(plan, subnet));
    }
    (found, None)
}

/// The refusal for a look that did not get its turn in time.
fn stalled(ledger: &Ledger, patience: Duration) -> Refusal {
    let stalled = ledger.meters().stalled().unwrap_or(patience).as_secs();
    let text = format!("the disk of the books has held up a write for {stalled} s; see: gipam doctor");
    Refusal::new(ErrorKind::Unavailable, text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::plan::host_use::HostUse;
    use crate::plan::prefix::{Family, Prefix};
    use crate::plan::request::{Request, Space, SubnetRequest, Wanted};
    use crate::plan::settings::{AddressOrder, Base, PoolSettings, Settings};

    #[test]
    fn bites_read_each_subnet_once_and_each_is_bounded() {
        let base = Prefix::parse("10.0.0.0/8").unwrap();
        let v4 = Some(Base::new(base, 24, AddressOrder::Sequential));
        let name = "lan".to_owned();
        let pool = PoolSettings {
            name,
            v4,
            v6: None,
            cooling: 0,
            subnet_cooling: 0,
            closed: false,
            provenance: Default::default(),
        };
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
                cannot: Default::default(),
            });
            for change in &plan.decide(&request, random).changes {
                plan.apply(change);
            }
        }
        let (mut from, mut serials, mut bites) = (Some(0), Vec::new(), 0);
        while let Some(serial) = from {
            let serial_of = |plan: &Plan, subnet: &Subnet| {
                plan.count_addresses(subnet);
                Some(subnet.state.serial)
            };
            let (found, next) = subnets_from(&plan, serial, &Budget::now(), &serial_of);
            serials.extend(found);
            (from, bites) = (next, bites + 1);
        }
        let held: Vec<Serial> = plan.subnets().map(|subnet| subnet.state.serial).collect();
        assert_eq!((serials.len(), &serials), (20_000, &held));
        assert!(bites > 1, "one bite read everything");
    }
}
