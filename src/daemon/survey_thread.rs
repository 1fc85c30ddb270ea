//! Surveys which prefixes this host uses: a dedicated thread follows the changes and answers requests that
//! choose a subnet.
//!
//! Promises: an answer contains everything in the pools that was in use when the question arrived, and delays
//! only the requests that wait for it; simultaneous requests share one survey. If the kernel does not report
//! what is in use, the request is refused with the reason: a subnet is never granted on a guess. If
//! nameservers cannot be read, this only logs a warning. Sleeps while nothing changes.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::mpsc::error::TryRecvError;

use crate::docker::{Ask, Surveyor};
use crate::host::{self, RouteChange, RouteWatch, nameservers};
use crate::plan::host_use::HostUse;
use crate::plan::prefix::Prefix;
use crate::plan::request::InUse;

/// Maximum number of times that everything is read if notifications are lost meanwhile.
const TRIES: u32 = 3;
/// Rereading everything because an entry may be gone takes at most this fraction of the time.
const DUTY: u32 = 20;

/// Starts the thread. It ends when all senders of questions are gone.
pub(super) fn start(questions: Surveyor, bases: Box<[Prefix]>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let rest = Instant::now();
    let survey =
        SurveyThread { bases, watch: None, in_use: HostUse::default(), named: BTreeSet::new(), rest };
    let run = move || runtime.block_on(survey.run(questions));
    std::thread::Builder::new().name("survey".to_owned()).spawn(run)?;
    Ok(())
}

/// The state of the thread.
struct SurveyThread {
    /// The base prefixes of all pools.
    bases: Box<[Prefix]>,
    /// `None` before the first question, and after a failure.
    watch: Option<(RouteWatch, UnixDatagram)>,
    in_use: HostUse,
    /// The nameservers contained in `in_use`.
    named: BTreeSet<InUse>,
    /// Until this time, entries that may be gone are kept.
    rest: Instant,
}

impl SurveyThread {
    async fn run(mut self, mut questions: Surveyor) {
        // Read in advance, so that the first request does not wait for a very long list of routes.
        drop(self.look());
        loop {
            let mut waiting = Vec::new();
            match &self.watch {
                None => waiting.extend(questions.recv().await),
                Some((_, bell)) => tokio::select! {
                    asked = questions.recv() => waiting.extend(asked),
                    _ = bell.readable() => {
                        // Only clears the readiness: `look` then reads all pending notifications.
                        let ringing = || Err::<(), _>(std::io::ErrorKind::WouldBlock.into());
                        drop(bell.try_io(Interest::READABLE, ringing));
                        drop(self.look());
                        continue;
                    }
                },
            }
            loop {
                match questions.try_recv() {
                    Ok(asked) => waiting.push(asked),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) if waiting.is_empty() => return,
                    Err(TryRecvError::Disconnected) => break,
                }
            }
            self.answer(waiting);
        }
    }

    /// Answers all waiting questions with one survey, which includes everything from before they arrived.
    fn answer(&mut self, mut waiting: Vec<Ask>) {
        if let Some(bases) = waiting.iter_mut().rev().find_map(|asked| asked.bases.take())
            && self.bases != bases
        {
            self.bases = bases;
            self.watch = None;
        }
        let unsure = self.watch.as_ref().is_some_and(|(watch, _)| watch.is_unsure());
        if unsure && Instant::now() >= self.rest {
            self.watch = None;
        }
        let looked = self.look().and_then(|()| self.nameservers());
        tracing::debug!(
            "read the addresses and routes of this host; requests that waited: {}",
            waiting.len()
        );
        for asked in waiting {
            asked.answer(match &looked {
                Ok(()) => Ok(self.in_use.clone()),
                Err(error) => Err(error.to_string()),
            });
        }
    }

    /// Catches up with the kernel.
    fn look(&mut self) -> Result<(), host::HostError> {
        let looked = self.catch_up();
        if let Err(error) = &looked {
            tracing::error!("{error}");
            self.watch = None;
        }
        looked
    }

    fn catch_up(&mut self) -> Result<(), host::HostError> {
        // A shared copy, dropped before `in_use` changes, so that the data itself is not copied.
        let minds = self.in_use.clone();
        let minded = |prefix: &ipnet::IpNet| minds.minds(Prefix::from_net(*prefix));
        let mut changes = match &mut self.watch {
            Some((watch, _)) => watch.catch_up(&minded)?,
            None => None,
        };
        drop(minds);
        let mut tries = 0;
        while changes.is_none() {
            tries += 1;
            changes = self.begin(tries == TRIES)?;
        }
        for change in changes.into_iter().flatten() {
            match change {
                RouteChange::Come(used) => self.in_use.add(used),
                RouteChange::Gone(used) => self.in_use.remove(&used),
            }
        }
        Ok(())
    }

    /// Reads everything again; `None` if notifications were lost meanwhile. The last attempt does not check
    /// for lost notifications: it read everything after all waiting requests had arrived, and a later
    /// question starts a new watch.
    fn begin(&mut self, last: bool) -> Result<Option<Vec<RouteChange>>, host::HostError> {
        let begun = Instant::now();
        self.watch = None;
        self.in_use = HostUse::limited_to(self.bases.iter().copied());
        self.named.clear();
        let minds = self.in_use.clone();
        let minded = |prefix: &ipnet::IpNet| minds.minds(Prefix::from_net(*prefix));
        let mut watch = RouteWatch::begin(&minded)?;
        self.rest = Instant::now() + begun.elapsed() * DUTY;
        if last {
            return Ok(Some(watch.begun()));
        }
        let changes = watch.catch_up(&minded)?;
        // The runtime does not support netlink sockets, but wakes up for any descriptor.
        let bell = watch.bell().and_then(|bell| UnixDatagram::from_std(bell.into()));
        let bell = bell.map_err(host::HostError::netlink(host::CHANGES))?;
        self.watch = Some((watch, bell));
        Ok(changes)
    }

    /// Updates the nameservers from their files.
    fn nameservers(&mut self) -> Result<(), host::HostError> {
        let path = Path::new(nameservers::RESOLV_CONF);
        let named = match nameservers::in_use(path, Path::new(nameservers::SYSTEMD_RESOLV_CONF)) {
            Ok(named) => named.into_iter().collect(),
            Err(error) => {
                tracing::warn!("{error}; choosing a subnet without them");
                return Ok(());
            }
        };
        for gone in self.named.difference(&named) {
            self.in_use.remove(gone);
        }
        for come in named.difference(&self.named) {
            self.in_use.add(come.clone());
        }
        self.named = named;
        Ok(())
    }
}
