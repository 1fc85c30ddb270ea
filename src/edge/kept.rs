//! Everything that gipam keeps in the kernel: the kinds, their sockets, and how often they are compared.
//!
//! Promises: a kind is compared only if what it wants, or what the kernel has, may have changed. If others keep on changing gipam's
//! objects, the wait before the next comparison grows, up to a second, and comparisons use at most a part of the processor's time.
//! Objects that cannot be removed are reported once. Does not derive what is wanted.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::time::Instant;

use super::discards::Discards;
use super::kernel::{KernelSockets, News, Notice, is};
use super::kind::{Changes, EdgeSettings, Facts, KernelKind, KindWish};
use super::places::{KnownPlaces, Places};
use super::proxies::Proxies;
use super::slice_routes::SliceRoutes;
use super::state::{self, EdgeState};
use super::translated::TranslationTable;
use crate::clock;
use crate::view::kernel::{KernelRow, KindName};

/// How long to wait after a notification, so that changes close together are handled together.
const TOGETHER: Duration = Duration::from_millis(50);
/// The longest such wait, if somebody keeps on changing gipam's objects.
pub(super) const LONGEST: Duration = Duration::from_secs(1);
/// Changes by others that are further apart than this are not a dispute.
const CALM: Duration = Duration::from_secs(60);
/// Checks take at most 1/`DUTY` of the time.
pub(super) const DUTY: u32 = 20;

/// A kind of objects, and whether those in the kernel may have changed.
struct KeptKind {
    kind: Box<dyn KernelKind>,
    is_doubtful: bool,
    /// Its objects could not be removed. The next try is at a reload or at the next start.
    is_stuck: bool,
}

impl KeptKind {
    fn new(kind: impl KernelKind + 'static) -> Self {
        Self { kind: Box::new(kind), is_doubtful: true, is_stuck: false }
    }
}

/// Everything that is kept in the kernel.
pub(super) struct KeptKinds {
    kinds: Vec<KeptKind>,
    /// Open while gipam keeps anything.
    socket: Option<(KernelSockets, UnixDatagram)>,
    state: EdgeState,
    /// The wait after the next notification.
    pause: Duration,
    /// A change by others before this time comes soon after the last one.
    calm: Instant,
}

impl KeptKinds {
    /// All kinds. An earlier process may have left objects in these places.
    pub(super) fn after(places: &KnownPlaces, state: EdgeState) -> Self {
        Self {
            kinds: vec![
                KeptKind::new(SliceRoutes::after(places.of(KindName::Routes))),
                KeptKind::new(Discards::after(places.of(KindName::Discards))),
                KeptKind::new(Proxies::after(places.of(KindName::Proxies))),
                KeptKind::new(TranslationTable::after(places.of(KindName::Translations))),
            ],
            socket: None,
            state,
            pause: TOGETHER,
            calm: Instant::now(),
        }
    }

    /// The wait after a notification.
    pub(super) const fn pause(&self) -> Duration {
        self.pause
    }

    /// Receives notifications from now on, if there may be anything to keep: facts that are read later are never too old.
    pub(super) fn listen(&mut self, settings: &EdgeSettings) {
        if !settings.pools.is_empty()
            && let Err(error) = self.socket()
        {
            tracing::debug!("cannot listen to the kernel: {error}");
        }
    }

    /// What each kind wants.
    pub(super) fn want(&mut self, facts: &Facts<'_>) -> Vec<KindWish> {
        self.kinds.iter_mut().map(|kept| kept.kind.want(facts)).collect()
    }

    /// Where objects may be.
    pub(super) fn places(&self) -> Places {
        let each = self.kinds.iter().map(|kept| (kept.kind.name(), kept.kind.places().clone()));
        each.filter(|(_, places)| !places.is_empty()).collect()
    }

    /// Makes the kernel's objects equal to those that are wanted, if either may have changed.
    pub(super) fn keep(&mut self, wishes: Vec<KindWish>) {
        let begun = clock::thread_time();
        let (mut changes, mut was_doubtful, mut has_looked) = (0, false, false);
        let is_dispute = Instant::now() < self.calm;
        let mut kinds = std::mem::take(&mut self.kinds);
        for (kept, wish) in kinds.iter_mut().zip(wishes) {
            match wish {
                KindWish::Off => {
                    self.remove(kept);
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
            let disturbed = was_doubtful && changes > 0 && is_dispute;
            self.pause = if disturbed { (self.pause * 2).min(LONGEST) } else { TOGETHER };
            self.calm = Instant::now() + CALM;
            // Not the time that has passed: on a busy machine, a check of a few entries would delay the next one by many seconds.
            self.pause = self.pause.max(clock::thread_time().saturating_sub(begun) * DUTY);
        }
    }

    /// Makes the objects of one kind equal, and keeps its state.
    fn agree(&mut self, kept: &mut KeptKind) -> Changes {
        kept.is_stuck = false;
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
    fn remove(&mut self, kept: &mut KeptKind) {
        let kind = &mut kept.kind;
        self.state.remove(kind.name());
        if !kind.may_have_objects() || kept.is_stuck {
            return;
        }
        let all = kind.name().all();
        match self.socket().and_then(|socket| kind.remove_all(socket)) {
            Ok(0) => {}
            Ok(removed) => tracing::info!("the {all} were removed from the kernel: {removed}"),
            Err(error) => {
                tracing::warn!("the {all} stay in the kernel: {error}; remove them: {}", kind.by_hand());
                kept.is_stuck = true;
            }
        }
    }

    /// Removes everything of gipam.
    pub(super) fn withdraw(&mut self) {
        let mut kinds = std::mem::take(&mut self.kinds);
        kinds.iter_mut().for_each(|kept| self.remove(kept));
        self.kinds = kinds;
        self.socket = None;
    }

    /// Anything may have changed.
    pub(super) fn doubt(&mut self) {
        self.kinds.iter_mut().for_each(|kept| (kept.is_doubtful, kept.is_stuck) = (true, false));
    }

    /// Whether netlink itself failed, so that gipam has to try again by itself. Then anything may have changed.
    pub(super) fn has_failed(&mut self) -> bool {
        let has_failed = self.socket.is_none() && self.state.rows().iter().any(|row| row.error.is_some());
        if has_failed {
            self.doubt();
        }
        has_failed
    }

    /// Resolves when the kernel has sent notifications.
    pub(super) async fn rung(&self) {
        match &self.socket {
            Some((_, bell)) => drop(bell.readable().await),
            None => std::future::pending().await,
        }
    }

    /// Reads the notifications; returns whether they give a reason to compare a kind again that there was not before.
    pub(super) fn news(&mut self) -> bool {
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
