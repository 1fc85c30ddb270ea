//! The thread that keeps the routes: it follows the plan, the books and the kernel, and tells the hooks of changes.
//!
//! Promises: sleeps while nothing changes. After a burst of notifications it looks once, and if others keep on changing gipam's routes,
//! it waits longer each time, up to a second. If the plan is not known, the routes in the kernel stay as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::difference::{Difference, difference};
use super::kernel::{News, Reach, RouteSocket, is};
use super::routes::{SliceRoute, WantedRoutes};
use super::state::{self, EdgeState};
use crate::claims::{HostsPlan, SharedPlan};
use crate::clock;
use crate::hooks::{Event, Hooks};
use crate::ledger::Ledger;
use crate::plan::prefix::Prefix;
use crate::view::routes::PROTOCOL;
use crate::view::rows::{KernelRoutesRow, RouteRow, UnmadeRoute};
use crate::view::slices::{BooksOfRoutes, routes_of};

/// How long to wait after a notification, so that changes close together are handled together.
const TOGETHER: Duration = Duration::from_millis(50);
/// The longest such wait, if somebody keeps on changing gipam's routes.
const LONGEST: Duration = Duration::from_secs(1);
/// How long to wait after a failure of netlink itself.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// Changes by others that are further apart than this are not a dispute.
const CALM: Duration = Duration::from_secs(60);
/// How long to wait after a commit before the slices in the books are read again.
const AFTER_COMMIT: Duration = Duration::from_secs(1);
/// Checks take at most 1/`DUTY` of the time.
const DUTY: u32 = 20;
/// How often the kernel's set is read again after a change before a difference is left for the next check.
const PASSES: u32 = 3;

/// What the thread is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeCourse {
    /// Keep no routes.
    Off,
    /// Keep the routes of the plan.
    Routes,
    /// Remove the routes, and end.
    End,
    /// Leave the routes as they are, and end.
    Leave,
}

/// A handle to the thread; cheap to clone.
#[derive(Clone, Debug)]
pub struct Edge {
    orders: watch::Sender<Orders>,
    pub state: EdgeState,
}

/// What the thread was last told.
#[derive(Clone, Copy, Debug)]
struct Orders {
    course: EdgeCourse,
    /// How often hooks were configured. New ones do not know the routes yet.
    hooks: u64,
}

impl Edge {
    /// Changes what the thread does. The same course again makes it compare the kernel's routes with the plan's.
    pub fn steer(&self, course: EdgeCourse) {
        self.orders.send_modify(|orders| orders.course = course);
    }

    /// Sends all routes to the hooks, which were just configured.
    pub fn tell_hooks(&self) {
        self.orders.send_modify(|orders| orders.hooks += 1);
    }
}

/// Starts the thread.
pub fn start(
    ledger: Ledger,
    plan: &SharedPlan,
    hooks: Hooks,
    course: EdgeCourse,
) -> io::Result<(Edge, std::thread::JoinHandle<()>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (orders, ordered) = watch::channel(Orders { course, hooks: 0 });
    let state = EdgeState::default();
    let keeper = Keeper {
        orders: ordered,
        plan: plan.follow(),
        commits: ledger.meters().follow(),
        ledger,
        state: state.clone(),
        hooks,
        hooks_told: 0,
        told: None,
        socket: None,
        wanted: WantedRoutes::default(),
        pools: BTreeSet::new(),
        pause: TOGETHER,
        calm: Instant::now(),
    };
    let run = move || runtime.block_on(keeper.run());
    let thread = std::thread::Builder::new().name("edge".to_owned()).spawn(run)?;
    Ok((Edge { orders, state }, thread))
}

struct Keeper {
    orders: watch::Receiver<Orders>,
    plan: watch::Receiver<Option<Arc<HostsPlan>>>,
    commits: watch::Receiver<u64>,
    ledger: Ledger,
    state: EdgeState,
    hooks: Hooks,
    /// The last order to tell them that was followed.
    hooks_told: u64,
    /// The routes that the hooks know.
    told: Option<Vec<RouteRow>>,
    /// Open while gipam keeps routes.
    socket: Option<(RouteSocket, UnixDatagram)>,
    /// What the kernel was last made equal to.
    wanted: WantedRoutes,
    /// Where routes of gipam may be: in the pools of the plan, and until they are removed, in those of the plan before it.
    pools: BTreeSet<Prefix>,
    /// The wait after the next notification.
    pause: Duration,
    /// A change by others before this time comes soon after the last one.
    calm: Instant,
}

impl Keeper {
    async fn run(mut self) {
        let mut is_doubtful = true;
        loop {
            let Orders { course, hooks } = *self.orders.borrow_and_update();
            let hosts = self.plan.borrow_and_update().clone();
            self.commits.mark_unchanged();
            match course {
                EdgeCourse::End => return self.withdraw(),
                EdgeCourse::Leave => return,
                EdgeCourse::Off => self.withdraw(),
                EdgeCourse::Routes => {}
            }
            let rows = tokio::select! {
                rows = rows(&self.ledger, hosts.as_deref()) => rows,
                // While the disk hangs, the ledger does not answer.
                ordered = self.orders.changed() => match ordered {
                    Ok(()) => {
                        is_doubtful = true;
                        continue;
                    }
                    Err(_) => return,
                },
            };
            if let Some(rows) = rows {
                if let (EdgeCourse::Routes, Some(hosts)) = (course, hosts.as_deref()) {
                    self.keep(&rows, hosts, is_doubtful);
                }
                self.tell(rows, hooks);
            }
            match self.rest(course).await {
                Some(doubtful) => is_doubtful = doubtful,
                None => return,
            }
        }
    }

    /// Sleeps until there is something to do; returns whether the kernel may have changed, or `None` when the daemon has ended.
    async fn rest(&mut self, course: EdgeCourse) -> Option<bool> {
        let is_hopeful = self.state.row().is_some_and(|row| !row.unmade.is_empty());
        let least = if is_hopeful { News::Hopeful } else { News::Doubtful };
        let has_failed = self.state.row().is_some_and(|row| row.error.is_some()) && self.socket.is_none();
        let mut is_doubtful = course == EdgeCourse::Routes && has_failed;
        let mut due = is_doubtful.then(|| Instant::now() + AFTER_FAILURE);
        let has_plan = self.plan.borrow().is_some();
        loop {
            let Self { orders, plan, commits, socket, pause, .. } = self;
            let rung = async {
                match socket {
                    Some((_, bell)) => drop(bell.readable().await),
                    None => std::future::pending().await,
                }
            };
            let waited = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ordered = orders.changed() => return ordered.ok().map(|()| true),
                known = plan.changed() => return known.ok().map(|()| is_doubtful),
                _ = commits.changed(), if has_plan => due = due.or(Some(Instant::now() + AFTER_COMMIT)),
                () = waited => return Some(is_doubtful),
                () = rung => {
                    let news = socket.as_mut().map_or(Ok(News::Nothing), |(socket, bell)| {
                        // Only clears the readiness; all pending notifications are read next.
                        let ringing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
                        drop(bell.try_io(Interest::READABLE, ringing));
                        socket.news()
                    });
                    if news.as_ref().map_or(true, |news| *news >= least) && !is_doubtful {
                        is_doubtful = true;
                        due = Some(Instant::now() + *pause);
                    }
                    if let Err(error) = news {
                        tracing::debug!("cannot read the notifications of the kernel: {error}");
                        *socket = None;
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

    /// Makes the kernel's routes equal to the plan's, if either may have changed.
    fn keep(&mut self, rows: &[RouteRow], hosts: &HostsPlan, is_doubtful: bool) {
        let pools = hosts.division.iter().flat_map(|division| &division.pools);
        let wanted = WantedRoutes::of(rows, pools.map(|pool| pool.base));
        if is_doubtful || wanted != self.wanted {
            self.agree(wanted, is_doubtful);
        }
    }

    fn agree(&mut self, wanted: WantedRoutes, is_doubtful: bool) {
        let begun = Instant::now();
        self.pools.extend(&wanted.pools);
        let row = match self.make_equal(&wanted) {
            Ok((row, changes)) => {
                self.pools.clone_from(&wanted.pools);
                let disturbed = is_doubtful && changes > 0 && begun < self.calm;
                self.pause = if disturbed { (self.pause * 2).min(LONGEST) } else { TOGETHER };
                row
            }
            Err(error) if is(&error, Errno::PERM) => {
                KernelRoutesRow::failed(wanted.routes.len(), state::FORBIDDEN)
            }
            Err(error) => {
                self.socket = None;
                let text = format!(
                    "the routes of this host cannot be kept: {error}; gipam tries again in a few seconds"
                );
                KernelRoutesRow::failed(wanted.routes.len(), &text)
            }
        };
        self.state.set(Some(row));
        self.wanted = wanted;
        self.calm = Instant::now() + CALM;
        self.pause = self.pause.max(begun.elapsed() * DUTY);
    }

    /// Removes what is not wanted and adds what lacks; returns the state, and how many routes were changed.
    fn make_equal(&mut self, wanted: &WantedRoutes) -> io::Result<(KernelRoutesRow, usize)> {
        let pools = self.pools.clone();
        let socket = self.socket()?;
        let (mut added, mut removed) = (0, 0);
        let mut reach = BTreeMap::new();
        for via in wanted.routes.keys().filter_map(SliceRoute::via) {
            reach.insert(via, socket.reach(via)?);
        }
        // The kernel would accept an IPv4 address of this host, and then look for it on the network.
        let is_here =
            |route: &&SliceRoute| route.via().is_some_and(|via| reach.get(&via) == Some(&Reach::Here));
        let here = wanted.routes.keys().filter(is_here).map(|route| (*route, Errno::INVAL.into()));
        let mut refused: BTreeMap<SliceRoute, io::Error> = here.collect();
        for _ in 0..PASSES {
            let possible = wanted.routes.keys().filter(|route| !refused.contains_key(route)).copied();
            let Difference { surplus, lacking } = difference(possible, socket.found(&pools, &reach)?);
            if surplus.is_empty() && lacking.is_empty() {
                break;
            }
            for raw in &surplus {
                socket.remove(raw)?;
            }
            removed += surplus.len();
            for route in lacking {
                match socket.add(&route) {
                    Ok(()) => added += 1,
                    Err(error) if is(&error, Errno::PERM) || error.raw_os_error().is_none() => {
                        return Err(error);
                    }
                    Err(error) => _ = refused.insert(route, error),
                }
            }
        }
        let host = |route: &SliceRoute| wanted.routes.get(route).map_or("", String::as_str);
        let unmade = refused.iter().map(|(route, error)| state::unmade(route, host(route), error));
        let unmade: Vec<UnmadeRoute> = unmade.collect();
        let kept = wanted.routes.len() - unmade.len();
        if added + removed > 0 {
            tracing::info!("{}", state::changed(added, removed, kept));
        }
        let wanted = wanted.routes.len() as u64;
        Ok((KernelRoutesRow { wanted, kept: kept as u64, unmade, error: None }, added + removed))
    }

    /// The open socket.
    fn socket(&mut self) -> io::Result<&mut RouteSocket> {
        if self.socket.is_none() {
            let socket = RouteSocket::open()?;
            // The runtime does not support netlink sockets, but wakes up for any descriptor.
            let bell = UnixDatagram::from_std(socket.bell()?.into())?;
            self.socket = Some((socket, bell));
        }
        let socket = self.socket.as_mut().map(|(socket, _)| socket);
        socket.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Removes all routes of gipam.
    fn withdraw(&mut self) {
        let pools = std::mem::take(&mut self.pools);
        if !pools.is_empty()
            && let Err(error) = self.remove_all(&pools)
        {
            tracing::warn!(
                "the routes of the plan stay in the kernel: {error}; remove them: ip route flush proto {PROTOCOL}"
            );
        }
        (self.socket, self.wanted) = (None, WantedRoutes::default());
        self.state.set(None);
    }

    fn remove_all(&mut self, pools: &BTreeSet<Prefix>) -> io::Result<()> {
        let socket = self.socket()?;
        let found = socket.found(pools, &BTreeMap::new())?;
        for route in &found {
            socket.remove(&route.raw)?;
        }
        if !found.is_empty() {
            tracing::info!("the routes of the plan were removed from the kernel: {}", found.len());
        }
        Ok(())
    }
}

/// The routes of the plan, as `gipam routes` prints them; `None` while it is not known.
async fn rows(ledger: &Ledger, hosts: Option<&HostsPlan>) -> Option<Vec<RouteRow>> {
    let Some(hosts) = hosts else { return Some(Vec::new()) };
    // What only the books say is not the whole plan: routes to other hosts stay.
    hosts.division.as_ref().filter(|division| division.complete)?;
    let books = ledger.look(BooksOfRoutes::of).await.ok()?;
    routes_of(hosts, books, None).ok()
}
