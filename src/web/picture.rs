//! The books as the page shows them, read once for all pages.
//!
//! Promises: the rows are those of the admin views; they are read without the ledger, only when somebody looks and something
//! changed, for at most a tenth of the time, and by a task that goes on when its client leaves; they are forgotten a minute
//! after the last look.
//! Changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio::time::{Instant, sleep};

use super::state::ByHand;
use crate::admin::{Admin, Readers};
use crate::clock;
use crate::hooks::Report;
use crate::ledger::Ledger;
use crate::plan::Plan;
use crate::plan::error::{ErrorKind, Refusal};
use crate::plan::host_use::HostUse;
use crate::view::Fullness;
use crate::view::map::Whose;
use crate::view::query::Query;
use crate::view::rows::{Count, LeaseRow, PoolRow, Status, SubnetRow};
use crate::view::views::View;

/// The least age of a picture before another is made.
const FRESH: Duration = Duration::from_secs(1);
/// A picture is made again after this time also without commits: addresses stop cooling.
const OLD: Duration = Duration::from_secs(10);
/// Reading takes at most one part in this many of the time.
const DUTY: u32 = 10;
/// After the last look.
const FORGET: Duration = Duration::from_secs(60);

/// A subnet: the view's row and what the page shows in addition.
#[derive(Clone, Debug, Serialize)]
pub struct ShownSubnet {
    /// The row of the view.
    #[serde(flatten)]
    pub row: SubnetRow,
    /// Addresses that could be given now.
    pub free: Count,
    /// Addresses that are not given: reserved, the gateway's place, network and broadcast.
    pub reserved: Count,
    /// How full it is, 0 to 1.
    pub share: Fullness,
    /// The same as text.
    pub full: String,
}

/// Everything at one moment.
pub struct Picture {
    /// The commits that are in it, at least.
    pub commits: u64,
    /// And what changed without a commit.
    pub turns: u64,
    pub pools: Vec<PoolRow>,
    /// The held subnets, sorted by prefix.
    pub subnets: Vec<ShownSubnet>,
    /// Leased, cooling and pinned addresses, sorted by subnet and address.
    pub leases: Vec<LeaseRow>,
    /// The plan, for the map.
    pub plan: Plan,
    /// The state of the daemon, as far as the books know.
    pub status: Status,
    /// The state of each hook.
    pub hooks: Vec<Report>,
    /// What people reserved and pinned.
    pub by_hand: ByHand,
    pub in_use: HostUse,
}

impl Picture {
    fn read(
        books: &Path,
        (commits, turns): (u64, u64),
        hooks: Vec<Report>,
        in_use: HostUse,
    ) -> Result<Self, Refusal> {
        let at = clock::now();
        let view = View::open(books, at)?.on(|_| in_use.clone());
        let (leases, rows) = (view.leases(Query("all=true"))?, view.subnets());
        let (pools, status) = (view.pools(), view.status(books));
        let plan = view.into_plan();
        let shown = |row: SubnetRow| {
            let counts = plan.held(&row.id).map(|subnet| plan.count_addresses(subnet)).unwrap_or_default();
            let share = Fullness::of_subnet(&counts);
            ShownSubnet {
                free: Count(counts.free),
                reserved: Count(counts.reserved + counts.never_given + counts.slot),
                share,
                full: share.to_string(),
                row,
            }
        };
        let subnets = rows.into_iter().map(shown).collect();
        let by_hand = ByHand::of(&plan, &leases);
        Ok(Self { commits, turns, pools, subnets, leases, plan, status, hooks, by_hand, in_use })
    }
}

impl Picture {
    /// What the Engine calls a network or a holder, for the map.
    pub fn name(&self, (serial, _, address): Whose) -> Option<String> {
        let id = &self.plan.subnet(serial)?.state.id;
        match address.map(|address| address.to_string()) {
            None => self.subnets.iter().find(|subnet| subnet.row.id == *id)?.row.network.clone(),
            Some(address) => {
                let here = |row: &&LeaseRow| row.address == address && row.id.as_ref() == Some(id);
                self.leases.iter().find(here)?.holder.clone()
            }
        }
    }
}

struct KeptPicture {
    picture: Arc<Picture>,
    /// When it was read, and how long that took.
    read: Instant,
    cost: Duration,
    looked: Instant,
}

impl KeptPicture {
    /// When another may be made.
    fn due(&self) -> Instant {
        self.read + FRESH.max(self.cost * DUTY)
    }
}

/// The one picture that all pages share.
#[derive(Clone)]
pub struct Gallery {
    books: PathBuf,
    admin: Arc<Admin>,
    commits: watch::Receiver<u64>,
    turns: watch::Receiver<u64>,
    readers: Readers,
    kept: Arc<Mutex<Option<KeptPicture>>>,
}

impl Gallery {
    /// Of the books that this ledger writes, and of the hooks that this admin knows.
    pub fn new(books: PathBuf, ledger: &Ledger, admin: Arc<Admin>, readers: Readers) -> Self {
        let (commits, turns) = (ledger.meters().follow(), admin.turns());
        Self { books, admin, commits, turns, readers, kept: Arc::default() }
    }

    /// The picture, read again if something changed and it is time.
    pub async fn look(&self) -> Result<Arc<Picture>, Refusal> {
        let mut kept = self.kept.clone().lock_owned().await;
        let moment = (*self.commits.borrow(), *self.turns.borrow());
        let now = Instant::now();
        if let Some(kept) = kept.as_mut() {
            kept.looked = now;
            let changed = (kept.picture.commits, kept.picture.turns) != moment || kept.read.elapsed() > OLD;
            if !changed || now < kept.due() {
                return Ok(kept.picture.clone());
            }
        }
        // It goes on when the client has left: the next one finds it done.
        let reading = tokio::spawn(self.clone().read(kept, moment));
        reading.await.unwrap_or_else(|error| Err(Refusal::new(ErrorKind::Failed, error.to_string())))
    }

    /// Reads it again; requests that come meanwhile wait for this one.
    async fn read(
        self,
        mut kept: OwnedMutexGuard<Option<KeptPicture>>,
        moment: (u64, u64),
    ) -> Result<Arc<Picture>, Refusal> {
        let (books, admin) = (self.books.clone(), self.admin.clone());
        let reading = self.readers.read(move || {
            let begun = Instant::now();
            Ok((Picture::read(&books, moment, admin.hooks(), admin.in_use())?, begun.elapsed()))
        });
        let (picture, cost) = reading.await?;
        let (picture, read) = (Arc::new(picture), Instant::now());
        let first =
            kept.replace(KeptPicture { picture: picture.clone(), read, cost, looked: read }).is_none();
        if first {
            tokio::spawn(forget(self.kept.clone()));
        }
        Ok(picture)
    }

    /// Waits until a new picture would show what happened meanwhile.
    pub async fn ripe(&self) {
        let due = self.kept.lock().await.as_ref().map(KeptPicture::due);
        if let Some(due) = due {
            tokio::time::sleep_until(due).await;
        }
    }
}

/// Drops the picture when no page uses it any more.
async fn forget(kept: Arc<Mutex<Option<KeptPicture>>>) {
    loop {
        sleep(FORGET / 2).await;
        let mut kept = kept.lock().await;
        if kept.as_ref().is_none_or(|kept| kept.looked.elapsed() > FORGET) {
            *kept = None;
            return;
        }
    }
}
