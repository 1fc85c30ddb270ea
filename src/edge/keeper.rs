//! The thread that keeps gipam's objects in the kernel: it follows the plan, the books and the kernel, and tells the hooks of changes
//! of routes.
//!
//! Promises: sleeps while nothing changes. After a burst of notifications it looks once, and if others keep on changing gipam's
//! objects, it waits longer each time, up to a second. If it is not known what is wanted, the objects in the kernel stay as they are.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::discards::Discards;
use super::gather::{Gathered, gather};
use super::kernel::{KernelSockets, News, Notice, is};
use super::kind::{Changes, EdgeSettings, Facts, KernelKind, KindWish};
use super::leases::LeaseFollower;
use super::proxies::Proxies;
use super::slice_routes::SliceRoutes;
use super::state::{self, EdgeState};
use super::sysctls::Sysctls;
use super::translated::TranslationTable;
use crate::claims::{HostsPlan, SharedPlan};
use crate::clock;
use crate::config::KernelAtEnd;
use crate::hooks::{Event, Hooks};
use crate::ledger::Ledger;
use crate::view::kernel::{KernelRow, KindName};
use crate::view::rows::RouteRow;

/// How long to wait after a notification, so that changes close together are handled together.
const TOGETHER: Duration = Duration::from_millis(50);
/// The longest such wait, if somebody keeps on changing gipam's objects.
const LONGEST: Duration = Duration::from_secs(1);
/// How long to wait after a failure of netlink itself.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// Changes by others that are further apart than this are not a dispute.
const CALM: Duration = Duration::from_secs(60);
/// How long to wait after a commit before the slices in the books are read again.
const AFTER_COMMIT: Duration = Duration::from_secs(1);
/// How long to wait after a lease has changed, so that leases close together are handled together.
const AFTER_LEASE: Duration = Duration::from_millis(5);
/// Checks take at most 1/`DUTY` of the time.
const DUTY: u32 = 20;

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
        kept: KeptKinds {
            kinds: vec![
                KeptKind::new(SliceRoutes::default()),
                KeptKind::new(Discards::default()),
                KeptKind::new(Proxies::default()),
                KeptKind::new(TranslationTable::default()),
            ],
            socket: None,
            state: state.clone(),
            pause: TOGETHER,
            calm: Instant::now(),
        },
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
}

/// A kind of objects, and whether those in the kernel may have changed.
struct KeptKind {
    kind: Box<dyn KernelKind>,
    is_doubtful: bool,
}

impl KeptKind {
    fn new(kind: impl KernelKind + 'static) -> Self {
        Self { kind: Box::new(kind), is_doubtful: true }
    }
}

/// Everything that is kept in the kernel.
struct KeptKinds {
    kinds: Vec<KeptKind>,
    /// Open while gipam keeps anything.
    socket: Option<(KernelSockets, UnixDatagram)>,
    state: EdgeState,
    /// The wait after the next notification.
    pause: Duration,
    /// A change by others before this time comes soon after the last one.
    calm: Instant,
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
                    self.sysctls.keep(&BTreeSet::new()).await;
                    return;
                }
                EdgeCourse::Leave => return,
                EdgeCourse::Keep(settings) => settings,
            };
            let (begun, hosts) = (Instant::now(), hosts.as_deref());
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
            if let Some(Gathered { rows, bases, discarded, proxied, sysctl_trouble, leases }) = gathered {
                self.kept.keep(&Facts {
                    settings: &settings,
                    hosts,
                    routes: rows.as_deref(),
                    bases: &bases,
                    discarded: &discarded,
                    proxied: &proxied,
                    leases: leases.as_ref(),
                    sysctl_trouble: sysctl_trouble.as_deref(),
                });
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
        let mut due = self.kept.has_failed().then(|| Instant::now() + AFTER_FAILURE);
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
                        due = earlier(due, Instant::now() + kept.pause);
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

impl KeptKinds {
    /// Makes the kernel's objects equal to those that are wanted, if either may have changed.
    fn keep(&mut self, facts: &Facts<'_>) {
        let begun = Instant::now();
        let (mut changes, mut was_doubtful, mut has_looked) = (0, false, false);
        let mut kinds = std::mem::take(&mut self.kinds);
        for kept in &mut kinds {
            match kept.kind.want(facts) {
                KindWish::Off => {
                    self.remove(&mut *kept.kind);
                    kept.is_doubtful = false;
                }
                KindWish::Unknown => {}
                KindWish::Same if !kept.is_doubtful => {}
                KindWish::Same | KindWish::New => {
                    let Changes { added, removed } = self.agree(kept);
                    has_looked = true;
                    if kept.is_doubtful {
                        (changes, was_doubtful) = (changes + added + removed, true);
                    }
                    kept.is_doubtful = false;
                }
            }
        }
        self.kinds = kinds;
        if self.kinds.iter().all(|kept| !kept.kind.may_have_objects()) {
            self.socket = None;
        }
        if has_looked {
            let disturbed = was_doubtful && changes > 0 && begun < self.calm;
            self.pause = if disturbed { (self.pause * 2).min(LONGEST) } else { TOGETHER };
            self.calm = Instant::now() + CALM;
            self.pause = self.pause.max(begun.elapsed() * DUTY);
        }
    }

    /// Makes the objects of one kind equal, and keeps its state.
    fn agree(&mut self, kept: &mut KeptKind) -> Changes {
        let (kind, is_doubtful) = (&mut kept.kind, kept.is_doubtful);
        let made = self.socket().and_then(|socket| kind.make_equal(socket, is_doubtful));
        let (row, changes) = match made {
            Ok(agreed) => (agreed.row, agreed.changes),
            Err(error) if is(&error, Errno::PERM) => {
                (KernelRow::failed(kind.name(), kind.wanted(), kind.forbidden()), Changes::default())
            }
            Err(error) => {
                self.socket = None;
                let all = kind.name().all();
                let text = format!("the {all} cannot be kept: {error}; gipam tries again in a few seconds");
                (KernelRow::failed(kind.name(), kind.wanted(), &text), Changes::default())
            }
        };
        let is_single = kind.name() == KindName::Proxies && !is_doubtful;
        match changes == Changes::default() {
            true => {}
            // Single leases come and go all the time.
            false if is_single => tracing::debug!("{}", state::changed(&row, changes)),
            false => tracing::info!("{}", state::changed(&row, changes)),
        }
        self.state.set(row);
        changes
    }

    /// The open socket.
    fn socket(&mut self) -> io::Result<&mut KernelSockets> {
        if self.socket.is_none() {
            let socket = KernelSockets::open()?;
            // The runtime does not support netlink sockets, but wakes up for any descriptor.
            let bell = UnixDatagram::from_std(socket.bell()?.into())?;
            self.socket = Some((socket, bell));
        }
        let socket = self.socket.as_mut().map(|(socket, _)| socket);
        socket.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Removes all objects of one kind.
    fn remove(&mut self, kind: &mut dyn KernelKind) {
        self.state.remove(kind.name());
        if !kind.may_have_objects() {
            return;
        }
        let all = kind.name().all();
        match self.socket().and_then(|socket| kind.remove_all(socket)) {
            Ok(0) => {}
            Ok(removed) => tracing::info!("the {all} were removed from the kernel: {removed}"),
            Err(error) => {
                tracing::warn!("the {all} stay in the kernel: {error}; remove them: {}", kind.by_hand());
            }
        }
    }

    /// Removes everything of gipam.
    fn withdraw(&mut self) {
        for mut kept in std::mem::take(&mut self.kinds) {
            self.remove(&mut *kept.kind);
        }
        self.socket = None;
    }

    /// Anything may have changed.
    fn doubt(&mut self) {
        self.kinds.iter_mut().for_each(|kept| kept.is_doubtful = true);
    }

    /// Whether netlink itself failed, so that gipam has to try again by itself. Then anything may have changed.
    fn has_failed(&mut self) -> bool {
        let has_failed = self.socket.is_none() && self.state.rows().iter().any(|row| row.error.is_some());
        if has_failed {
            self.doubt();
        }
        has_failed
    }

    /// Resolves when the kernel has sent notifications.
    async fn rung(&self) {
        match &self.socket {
            Some((_, bell)) => drop(bell.readable().await),
            None => std::future::pending().await,
        }
    }

    /// Reads the notifications; returns whether they give a reason to compare a kind again that there was not before.
    fn news(&mut self) -> bool {
        let Some((socket, bell)) = &mut self.socket else { return false };
        // Only clears the readiness; all pending notifications are read next.
        let ringing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        drop(bell.try_io(Interest::READABLE, ringing));
        let (kinds, rows) = (&mut self.kinds, self.state.rows());
        let is_complete =
            |kept: &KeptKind| rows.iter().all(|row| row.kind != kept.kind.name() || row.kept == row.wanted);
        let least: Vec<News> =
            kinds.iter().map(|kept| if is_complete(kept) { News::Doubtful } else { News::Hopeful }).collect();
        let mut is_new = false;
        let mut each = |notice: Notice<'_>| {
            for (kept, least) in kinds.iter_mut().zip(&least).filter(|(kept, _)| !kept.is_doubtful) {
                kept.is_doubtful = kept.kind.may_have_objects() && kept.kind.news(notice) >= *least;
                is_new |= kept.is_doubtful;
            }
        };
        if let Err(error) = socket.news(&mut each) {
            tracing::debug!("cannot read the notifications of the kernel: {error}");
            self.socket = None;
            self.doubt();
            is_new = true;
        }
        is_new
    }
}

fn earlier(due: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(due.map_or(other, |due| due.min(other)))
}
