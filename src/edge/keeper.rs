//! The thread that keeps gipam's objects in the kernel: it follows the plan, the books and the kernel, and tells the hooks of changes
//! of routes.
//!
//! Promises: sleeps while nothing changes. After a burst of notifications it looks once, and if others keep on changing gipam's
//! objects, it waits longer each time, up to a second. If it is not known what is wanted, the objects in the kernel stay as they are.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::gather::{Gathered, gather};
use super::kept::{DUTY, KeptKinds, LONGEST};
use super::kind::{EdgeSettings, Facts};
use super::leases::LeaseFollower;
use super::places::KnownPlaces;
use super::state::EdgeState;
use super::sysctls::Sysctls;
use crate::claims::{HostsPlan, SharedPlan};
use crate::clock;
use crate::config::KernelAtEnd;
use crate::hooks::{Event, Hooks};
use crate::ledger::Ledger;
use crate::view::rows::RouteRow;

/// How long to wait after a failure of netlink itself.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// How long to wait after a commit before the slices in the books are read again.
const AFTER_COMMIT: Duration = Duration::from_secs(1);
/// How long to wait after a lease has changed, so that leases close together are handled together.
const AFTER_LEASE: Duration = Duration::from_millis(5);

/// What the thread is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeCourse {
    /// Keep what these settings say, and remove everything else of gipam's.
    Keep(EdgeSettings),
    /// Remove everything, and end.
    End,
    /// Leave everything as it is, and end.
    Leave,
}

/// A handle to the thread; cheap to clone.
#[derive(Clone, Debug)]
pub struct Edge {
    orders: watch::Sender<Orders>,
    pub state: EdgeState,
}

/// What the thread was last told.
#[derive(Clone, Debug)]
struct Orders {
    course: EdgeCourse,
    /// How often hooks were configured. New ones do not know the routes yet.
    hooks: u64,
}

impl Edge {
    /// Changes what the thread does. The same course again makes it compare the kernel with what is wanted.
    pub fn steer(&self, course: EdgeCourse) {
        self.orders.send_modify(|orders| orders.course = course);
    }

    /// Ends the thread. What is in the kernel is removed, unless the configuration says that it stays. After a failure it stays, as after a
    /// crash: the supervisor starts gipam again.
    pub fn end(&self, is_orderly: bool) {
        self.orders.send_modify(|orders| {
            let stays = matches!(&orders.course, EdgeCourse::Keep(it) if it.at_end == KernelAtEnd::Keep);
            orders.course = if stays || !is_orderly { EdgeCourse::Leave } else { EdgeCourse::End };
        });
    }

    /// Sends all routes to the hooks, which were just configured.
    pub fn tell_hooks(&self) {
        self.orders.send_modify(|orders| orders.hooks += 1);
    }
}

/// What the thread has to know at its start.
#[derive(Clone, Debug)]
pub struct EdgeAtStart {
    /// The boot of the machine.
    pub boot: String,
    /// What the books contain under [`SYSCTLS`](super::SYSCTLS).
    pub sysctls: Option<String>,
    /// What they contain under [`PLACES`](super::PLACES).
    pub places: Option<String>,
}

/// Starts the thread.
pub fn start(
    ledger: Ledger,
    plan: &SharedPlan,
    hooks: Hooks,
    course: EdgeCourse,
    known: EdgeAtStart,
) -> io::Result<(Edge, std::thread::JoinHandle<()>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (orders, ordered) = watch::channel(Orders { course, hooks: 0 });
    let state = EdgeState::default();
    let places = KnownPlaces::new(ledger.clone(), known.boot.clone(), known.places.as_deref());
    let keeper = Keeper {
        orders: ordered,
        plan: plan.follow(),
        commits: ledger.meters().follow(),
        leases: LeaseFollower::new(ledger.clone()),
        sysctls: Sysctls::new(ledger.clone(), known.boot, known.sysctls.as_deref()),
        ledger,
        took: Duration::ZERO,
        hooks,
        hooks_told: 0,
        told: None,
        kept: KeptKinds::after(&places, state.clone()),
        places,
    };
    let run = move || runtime.block_on(keeper.run());
    let thread = std::thread::Builder::new().name("edge".to_owned()).spawn(run)?;
    Ok((Edge { orders, state }, thread))
}

struct Keeper {
    orders: watch::Receiver<Orders>,
    plan: watch::Receiver<Option<Arc<HostsPlan>>>,
    commits: watch::Receiver<u64>,
    leases: LeaseFollower,
    sysctls: Sysctls,
    ledger: Ledger,
    /// How long the last round took.
    took: Duration,
    hooks: Hooks,
    /// The last order to tell them that was followed.
    hooks_told: u64,
    /// The routes that the hooks know.
    told: Option<Vec<RouteRow>>,
    kept: KeptKinds,
    /// Where objects may be, as far as the books know.
    places: KnownPlaces,
}

impl Keeper {
    async fn run(mut self) {
        loop {
            let Orders { course, hooks } = self.orders.borrow_and_update().clone();
            let hosts = self.plan.borrow_and_update().clone();
            self.commits.mark_unchanged();
            let settings = match course {
                EdgeCourse::End => {
                    self.kept.withdraw();
                    self.places.settle(self.kept.places()).await;
                    self.sysctls.keep(&BTreeSet::new()).await;
                    return;
                }
                EdgeCourse::Leave => return,
                EdgeCourse::Keep(settings) => settings,
            };
            let (begun, hosts) = (Instant::now(), hosts.as_deref());
            self.kept.listen(&settings);
            let Self { orders, ledger, leases, sysctls, .. } = &mut self;
            let gathered = tokio::select! {
                gathered = gather(ledger, leases, sysctls, &settings, hosts) => gathered,
                // While the disk hangs, the ledger does not answer.
                ordered = orders.changed() => match ordered {
                    Ok(()) => {
                        self.doubt();
                        continue;
                    }
                    Err(_) => return,
                },
            };
            if let Some(Gathered { rows, discarded, proxied, sysctl_trouble, leases }) = gathered {
                let wishes = self.kept.want(&Facts {
                    settings: &settings,
                    hosts,
                    routes: rows.as_deref(),
                    discarded: &discarded,
                    proxied: &proxied,
                    leases: leases.as_ref(),
                    sysctl_trouble: sysctl_trouble.as_deref(),
                });
                self.places.cover(&self.kept.places()).await;
                self.kept.keep(wishes);
                self.places.settle(self.kept.places()).await;
                if let Some(rows) = rows {
                    self.tell(rows, hooks);
                }
            }
            self.took = begun.elapsed();
            if !self.rest(!settings.pools.is_empty()).await {
                return;
            }
        }
    }

    /// Anything may have changed.
    fn doubt(&mut self) {
        self.kept.doubt();
        self.leases.doubt();
    }

    /// Sleeps until there is something to do; returns false when the daemon has ended.
    async fn rest(&mut self, has_pools: bool) -> bool {
        let has_failed = self.kept.has_failed() || self.sysctls.must_retry();
        let mut due = has_failed.then(|| Instant::now() + AFTER_FAILURE);
        let follows = has_pools || self.plan.borrow().is_some();
        let soon = AFTER_LEASE.max(self.took * DUTY).min(LONGEST);
        loop {
            let Self { orders, plan, commits, leases, kept, .. } = self;
            let waited = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ordered = orders.changed() => {
                    kept.doubt();
                    leases.doubt();
                    return ordered.is_ok();
                }
                known = plan.changed() => return known.is_ok(),
                _ = commits.changed(), if follows => due = due.or(Some(Instant::now() + AFTER_COMMIT)),
                () = leases.changed() => due = earlier(due, Instant::now() + soon),
                () = waited => return true,
                () = kept.rung() => {
                    if kept.news() {
                        due = earlier(due, Instant::now() + kept.pause());
                    }
                }
            }
        }
    }

    /// Sends the routes to the hooks if these do not know them.
    fn tell(&mut self, rows: Vec<RouteRow>, order: u64) {
        let is_new = self.told.as_ref().map_or(!rows.is_empty(), |told| *told != rows);
        let is_asked = order != self.hooks_told && !rows.is_empty();
        if order > 0 && (is_new || is_asked) {
            self.hooks.tell(&Event::of_routes(rows.clone(), clock::now()));
            self.told = Some(rows);
        }
        self.hooks_told = order;
    }
}

fn earlier(due: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(due.map_or(other, |due| due.min(other)))
}
